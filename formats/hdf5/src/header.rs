//! Object headers: the list of messages that say what an object is.
//!
//! ```text
//!  version 1   1 ─ count u16  references u32  size u32  0000 │ messages, each: type u16 size u16 flags ─ ─ ─
//!  version 2   OHDR 2 flags [times] [attribute limits] size  │ messages, each: type u8 size u16 flags [order] │ sum
//!  continued   version 1: messages alone                     │ OCHK messages sum
//! ```

use std::collections::BTreeSet;

use wire::{Error, Result, Why};

use crate::fields::{Fields, Image};
use crate::message::{self, Message};

/// The messages of the object header at an address, those of all its pieces.
pub(crate) fn read(image: &Image<'_>, address: u64) -> Result<Vec<Message>> {
    let prefix = image.block(address, 4, "object header")?;
    let mut header = Header {
        image,
        seen: BTreeSet::from([address]),
        pieces: Vec::new(),
        found: Vec::new(),
        count: 0,
        ordered: false,
    };
    if prefix == *b"OHDR" {
        header.version_2(address)?
    } else {
        header.version_1(address)?
    }
    Ok(header.found)
}

struct Header<'a> {
    image: &'a Image<'a>,
    /// Where pieces begin that were read: none is read twice.
    seen: BTreeSet<u64>,
    /// Address and length of pieces that are still to be read.
    pieces: Vec<(u64, u64)>,
    found: Vec<Message>,
    count: u64,
    /// Whether messages of version 2 state when they were made.
    ordered: bool,
}

impl Header<'_> {
    fn version_1(&mut self, address: u64) -> Result<()> {
        let bytes = self.image.block(address, 16, "object header")?;
        let mut fields = self.image.fields(&bytes, address);
        fields.version(&[1], "object header version")?;
        fields.skip(1, "object header")?;
        let count_at = fields.offset();
        let count = u64::from(fields.u16("number of header messages")?);
        fields.skip(4, "object reference count")?;
        let size = u64::from(fields.u32("object header size")?);
        self.pieces.push((address.saturating_add(16), size));
        while let Some((address, len)) = self.pieces.pop() {
            let bytes = self.image.block(address, len, "object header")?;
            let mut fields = self.image.fields(&bytes, address);
            while fields.left() >= 8 {
                let kind = fields.u16("header message type")?;
                let size = fields.u16("header message size")?.into();
                let flags = fields.u8("header message flags")?;
                fields.skip(3, "header message")?;
                self.message(kind, flags, fields.part(size, "header message")?)?;
            }
        }
        if self.count != count {
            let (found, expected) = (format!("{} messages", self.count), count.to_string());
            let why = Why::Mismatch { found, expected };
            return Err(Error::new(count_at, "number of header messages", why));
        }
        Ok(())
    }

    fn version_2(&mut self, address: u64) -> Result<()> {
        let len = self.image.source.size().saturating_sub(self.image.base);
        let bytes =
            self.image.block(address, len.saturating_sub(address).min(38), "object header")?;
        let mut fields = self.image.fields(&bytes, address);
        fields.signature(b"OHDR", "object header")?;
        fields.version(&[2], "object header version")?;
        let flags = fields.u8("object header flags")?;
        self.ordered = flags & 4 != 0;
        let times = if flags & 0x20 == 0 { 0 } else { 16 };
        let limits = if flags & 0x10 == 0 { 0 } else { 4 };
        fields.skip(times, "object times")?;
        fields.skip(limits, "attribute limits")?;
        let size = fields.uint(1 << (flags & 3), "object header size")?;
        let prefix = fields.offset().saturating_sub(self.image.base).saturating_sub(address);
        let len = size.saturating_add(prefix).saturating_add(4);
        let bytes = self.image.summed(address, len, "object header")?;
        let mut fields = self.image.fields(&bytes, address);
        fields.skip(usize::try_from(prefix).unwrap_or(usize::MAX), "object header")?;
        self.messages(fields)?;
        while let Some((address, len)) = self.pieces.pop() {
            let bytes = self.image.summed(address, len, "object header continuation")?;
            let mut fields = self.image.fields(&bytes, address);
            fields.signature(b"OCHK", "object header continuation")?;
            self.messages(fields)?;
        }
        Ok(())
    }

    /// The messages of version 2; a gap at the end is shorter than a message's head.
    fn messages(&mut self, mut fields: Fields<'_>) -> Result<()> {
        let head = if self.ordered { 6 } else { 4 };
        while fields.left() >= head {
            let kind = fields.u8("header message type")?.into();
            let size = fields.u16("header message size")?.into();
            let flags = fields.u8("header message flags")?;
            if self.ordered {
                fields.skip(2, "header message order")?;
            }
            self.message(kind, flags, fields.part(size, "header message")?)?;
        }
        Ok(())
    }

    fn message(&mut self, kind: u16, flags: u8, mut body: Fields<'_>) -> Result<()> {
        self.count = self.count.saturating_add(1);
        let offset = body.offset();
        if kind == message::CONTINUATION {
            let address = body.defined("object header continuation")?;
            let len = body.length("object header continuation")?;
            if !self.seen.insert(address) {
                let rule = format!("{address:#x} was read before: the header goes in a circle");
                return Err(Error::invalid(offset, "object header continuation", rule));
            }
            self.pieces.push((address, len));
            return Ok(());
        }
        if message::is_known(kind) {
            self.found.push(Message { kind, flags, offset, body: body.rest().to_vec() });
        } else if flags & 0x80 != 0 {
            let feature = format!("messages of type {kind:#x}, which readers must know");
            return Err(Error::unsupported(offset, "header message type", feature));
        }
        Ok(())
    }
}
