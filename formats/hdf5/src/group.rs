//! Groups: names, and what they lead to.

use wire::{Error, Result, Why};

use crate::fields::{Fields, Image};
use crate::message::{self, Message};
use crate::{btree1, btree2, heap};

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The object header at this address.
    Object(u64),
    /// A path of the same file.
    Path(String),
}

/// A name in a group.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) target: Target,
    /// Where in the file it is stated.
    pub(crate) offset: u64,
}

/// Whether these are the messages of a group.
pub(crate) fn is_group(messages: &[Message]) -> bool {
    let kinds = [message::SYMBOL_TABLE, message::LINK_INFO, message::LINK];
    messages.iter().any(|message| kinds.contains(&message.kind))
}

/// The links of a group, in the order of the file; `room` of them at most.
pub(crate) fn links(image: &Image<'_>, messages: &[Message], room: u64) -> Result<Vec<Link>> {
    let mut found = Links { found: Vec::new(), room };
    for message in messages.iter().filter(|m| m.kind == message::LINK) {
        found.add(link(&mut message.fields(image))?)?;
    }
    if let Some(message) = message::find(messages, message::LINK_INFO) {
        dense(image, &mut message.fields(image), &mut found)?;
    }
    if let Some(message) = message::find(messages, message::SYMBOL_TABLE) {
        symbols(image, &mut message.fields(image), &mut found)?;
    }
    Ok(found.found)
}

struct Links {
    found: Vec<Link>,
    room: u64,
}

impl Links {
    fn add(&mut self, link: Link) -> Result<()> {
        let what = format!("link '{}'", link.name);
        let is_name = !link.name.is_empty() && link.name != "." && !link.name.contains('/');
        if !is_name {
            return Err(Error::invalid(link.offset, what, "is no name"));
        }
        let value = (self.found.len() as u64).saturating_add(1);
        if value > self.room {
            let why = Why::TooLarge { value, max: self.room, lift: "hdf5-objects" };
            return Err(Error::new(link.offset, what, why));
        }
        self.found.push(link);
        Ok(())
    }
}

/// A link as new groups have it.
fn link(fields: &mut Fields<'_>) -> Result<Link> {
    let offset = fields.offset();
    fields.version(&[1], "link version")?;
    let flags = fields.u8("link flags")?;
    let kind = if flags & 8 == 0 { 0 } else { fields.u8("link type")? };
    fields.skip(if flags & 4 == 0 { 0 } else { 8 }, "link creation order")?;
    fields.skip(if flags & 16 == 0 { 0 } else { 1 }, "link character set")?;
    let len = fields.size(1 << (flags & 3), "link name length")?;
    let name = fields.name(len, "link name")?;
    let target = match kind {
        0 => Target::Object(fields.defined("link target")?),
        1 => {
            let len = fields.size(2, "soft link length")?;
            Target::Path(fields.name(len, "soft link")?)
        }
        64 => return Err(external(offset, &name, fields)),
        other => {
            let feature = format!("links of the type {other}, which an application defines");
            return Err(Error::unsupported(offset, format!("link '{name}'"), feature));
        }
    };
    Ok(Link { name, target, offset })
}

fn external(offset: u64, name: &str, fields: &mut Fields<'_>) -> Error {
    let file = |fields: &mut Fields<'_>| -> Result<String> {
        let len = fields.size(2, "external link length")?;
        fields.skip(1, "external link")?;
        fields.name(len.saturating_sub(1), "external link")
    };
    let file = match file(fields) {
        Ok(file) => file,
        Err(error) => return error,
    };
    let feature = format!(
        "it leads into another file, '{file}', and none is opened; copy its content into this one"
    );
    Error::unsupported(offset, format!("link '{name}'"), feature)
}

/// Links in a fractal heap.
fn dense(image: &Image<'_>, fields: &mut Fields<'_>, found: &mut Links) -> Result<()> {
    fields.version(&[0], "link info version")?;
    let flags = fields.u8("link info flags")?;
    fields.skip(if flags & 1 == 0 { 0 } else { 8 }, "link info")?;
    let heap = fields.address("link heap address")?;
    let names = fields.address("link index address")?;
    let (Some(heap), Some(names)) = (heap, names) else { return Ok(()) };
    let heap = heap::Fractal::open(image, heap)?;
    let id_len = heap.id_len();
    btree2::each(image, names, &[5], &mut |mut record| {
        record.skip(4, "link hash")?;
        let object = heap.object(image, &mut record.part(id_len, "link identifier")?)?;
        found.add(link(&mut object.fields(image))?)
    })
}

/// Links in the symbol table of an old group.
fn symbols(image: &Image<'_>, fields: &mut Fields<'_>, found: &mut Links) -> Result<()> {
    let tree = fields.defined("symbol table tree")?;
    let heap = heap::Local::open(image, fields.defined("symbol table heap")?)?;
    let kind = btree1::Kind { number: 0, key: image.widths.length };
    let mut seen = std::collections::BTreeSet::new();
    btree1::each(image, tree, &kind, &mut |_, node| {
        if !seen.insert(node) {
            let at = image.base.saturating_add(node);
            return Err(Error::invalid(at, "symbol node", "stands twice in its tree"));
        }
        symbol_node(image, node, &heap, found)
    })
}

fn symbol_node(
    image: &Image<'_>,
    address: u64,
    heap: &heap::Local,
    found: &mut Links,
) -> Result<()> {
    let head = image.block(address, 8, "symbol node")?;
    let mut fields = image.fields(&head, address);
    fields.signature(b"SNOD", "symbol node")?;
    fields.version(&[1], "symbol node version")?;
    fields.skip(1, "symbol node")?;
    let count = usize::from(fields.u16("number of symbols")?);
    let entry = image.widths.address.saturating_mul(2).saturating_add(24);
    let len = count.saturating_mul(entry).saturating_add(8);
    let bytes = image.block(address, len as u64, "number of symbols")?;
    let mut fields = image.fields(&bytes, address);
    fields.skip(8, "symbol node")?;
    for _ in 0..count {
        let offset = fields.offset();
        let name = heap.text(fields.defined("symbol name")?, "symbol name")?;
        let object = fields.address("symbol address")?;
        let cached = fields.u32("symbol cache type")?;
        fields.skip(4, "symbol")?;
        let mut scratch = fields.part(16, "symbol cache")?;
        let target = match (cached, object) {
            (2, _) => Target::Path(heap.text(scratch.u32("soft link")?.into(), "soft link")?),
            (0 | 1, Some(object)) => Target::Object(object),
            _ => {
                let rule = format!("is of type {cached} and has no address");
                return Err(Error::invalid(offset, format!("link '{name}'"), rule));
            }
        };
        found.add(Link { name, target, offset })?;
    }
    Ok(())
}
