//! Messages of object headers: their numbers, and those that several objects share.

use wire::{Error, Result, Why};

use crate::datatype::Datatype;
use crate::fields::{Fields, Image};
use crate::limits::RANK_MAX;
use crate::{datatype, header};

pub(crate) const DATASPACE: u16 = 0x01;
pub(crate) const LINK_INFO: u16 = 0x02;
pub(crate) const DATATYPE: u16 = 0x03;
pub(crate) const FILL_OLD: u16 = 0x04;
pub(crate) const FILL: u16 = 0x05;
pub(crate) const LINK: u16 = 0x06;
pub(crate) const EXTERNAL: u16 = 0x07;
pub(crate) const LAYOUT: u16 = 0x08;
pub(crate) const GROUP_INFO: u16 = 0x0a;
pub(crate) const FILTERS: u16 = 0x0b;
pub(crate) const ATTRIBUTE: u16 = 0x0c;
pub(crate) const CONTINUATION: u16 = 0x10;
pub(crate) const SYMBOL_TABLE: u16 = 0x11;
pub(crate) const ATTRIBUTE_INFO: u16 = 0x15;

/// Those that are read; others (times, comments, growth hints, padding) say nothing of content.
const KNOWN: &[u16] = &[
    DATASPACE,
    LINK_INFO,
    DATATYPE,
    FILL_OLD,
    FILL,
    LINK,
    EXTERNAL,
    LAYOUT,
    FILTERS,
    ATTRIBUTE,
    SYMBOL_TABLE,
    ATTRIBUTE_INFO,
];

/// Whether a message of this type is kept.
pub(crate) fn is_known(kind: u16) -> bool {
    KNOWN.contains(&kind)
}

/// One statement about an object.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) flags: u8,
    /// Where in the file its body begins.
    pub(crate) offset: u64,
    pub(crate) body: Vec<u8>,
}

/// A flag of messages whose body is elsewhere.
const SHARED: u8 = 2;

impl Message {
    /// Its fields.
    pub(crate) fn fields(&self, image: &Image<'_>) -> Fields<'_> {
        image.fields(&self.body, self.offset.saturating_sub(image.base))
    }

    /// This message, or the one that it stands for.
    pub(crate) fn resolved(self, image: &Image<'_>) -> Result<Self> {
        if self.flags & SHARED == 0 {
            return Ok(self);
        }
        elsewhere(image, &mut self.fields(image), self.kind)
    }
}

/// The message that a shared one stands for: that of a committed datatype, for example.
pub(crate) fn elsewhere(image: &Image<'_>, fields: &mut Fields<'_>, kind: u16) -> Result<Message> {
    let at = fields.offset();
    let version = fields.version(&[1, 2, 3], "shared message version")?;
    let stored = fields.u8("shared message type")?;
    if version == 3 && stored == 1 {
        return Err(Error::unsupported(at, "shared message", "messages in a heap of the file"));
    }
    if version == 1 {
        fields.skip(6, "shared message")?;
    }
    let address = fields.defined("shared message address")?;
    let all = header::read(image, address)?;
    let found = all.into_iter().find(|m| m.kind == kind && m.flags & SHARED == 0);
    let rule = || format!("{address:#x} has no message of type {kind:#x}");
    found.ok_or_else(|| Error::invalid(at, "shared message", rule()))
}

/// The one message of this type.
pub(crate) fn find(messages: &[Message], kind: u16) -> Option<&Message> {
    messages.iter().find(|message| message.kind == kind)
}

/// The datatype of an object, its own or a committed one.
pub(crate) fn datatype(image: &Image<'_>, message: &Message) -> Result<Datatype> {
    let message = message.clone().resolved(image)?;
    datatype::read(&mut message.fields(image), 0)
}

/// The dimensions of a dataspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) dims: Vec<u64>,
    /// What each may grow to; nothing where it is without bound.
    pub(crate) max: Vec<Option<u64>>,
}

/// Reads a dataspace; nothing for one without elements.
pub(crate) fn dataspace(fields: &mut Fields<'_>) -> Result<Option<Space>> {
    let version = fields.version(&[1, 2], "dataspace version")?;
    let rank_at = fields.offset();
    let rank = fields.u8("dataspace rank")?;
    if rank > RANK_MAX {
        let lift = "as many as libhdf5 has";
        let why = Why::TooLarge { value: rank.into(), max: RANK_MAX.into(), lift };
        return Err(Error::new(rank_at, "dataspace rank", why));
    }
    let flags = fields.u8("dataspace flags")?;
    let is_null = if version == 1 {
        fields.skip(5, "dataspace")?;
        false
    } else {
        fields.u8("dataspace type")? == 2
    };
    let dims = (0..rank).map(|_| fields.length("dataspace dimension"));
    let dims = dims.collect::<Result<Vec<_>>>()?;
    let mut max: Vec<Option<u64>> = dims.iter().copied().map(Some).collect();
    if flags & 1 != 0 {
        let unbounded = fields.unbounded();
        for max in &mut max {
            let stated = fields.length("dataspace dimension")?;
            *max = (stated != unbounded).then_some(stated);
        }
    }
    Ok((!is_null).then_some(Space { dims, max }))
}

/// The value of elements that were never written; nothing where none is stated.
pub(crate) fn fill(image: &Image<'_>, messages: &[Message]) -> Result<Option<Vec<u8>>> {
    if let Some(message) = find(messages, FILL) {
        let message = message.clone().resolved(image)?;
        let mut fields = message.fields(image);
        let version = fields.version(&[1, 2, 3], "fill value version")?;
        let is_defined = if version == 3 {
            fields.u8("fill value flags")? & 0x20 != 0
        } else {
            fields.skip(2, "fill value times")?;
            fields.u8("fill value defined")? != 0
        };
        return if is_defined { fill_value(&mut fields) } else { Ok(None) };
    }
    find(messages, FILL_OLD).map_or(Ok(None), |message| fill_value(&mut message.fields(image)))
}

fn fill_value(fields: &mut Fields<'_>) -> Result<Option<Vec<u8>>> {
    let len = fields.size(4, "fill value size")?;
    if len == 0 {
        return Ok(None);
    }
    Ok(Some(fields.take(len, "fill value")?.to_vec()))
}
