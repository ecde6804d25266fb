//! The smallest conforming file: superblock 2, object headers 2, links in the headers, contiguous
//! data. Every reader since HDF5 1.8 (2008) opens it.
//!
//! ```text
//!  superblock │ object headers, by path │ global heap of texts │ data, each at a multiple of 8
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use wire::{Error, Result, align_up, product};

use crate::checksum::lookup3;
use crate::datatype::Float;
use crate::limits::RANK_MAX;
use crate::{SIGNATURE, message};

/// What the elements of a written array are, little-endian all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Whole numbers of so many bytes, with a sign or none.
    Integer(u8, bool),
    /// Floats of so many bytes.
    Float(Float, u8),
    /// Pairs of floats of so many bytes, as h5py has complex numbers.
    Complex(Float, u8),
    /// Truth values of a byte, as h5py has them.
    Bool,
    /// So many bytes each, of which no more is said.
    Opaque(u8),
}

/// The value of a written attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// A text of any length.
    One(String),
    /// Texts, all in the room of the longest. No texts are stored as no numbers, as h5py does.
    Many(Vec<String>),
}

/// Groups, arrays and attributes that are to be written.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// Nothing for a group.
    array: Option<(Element, Vec<u64>)>,
    attributes: Vec<(String, Text)>,
}

/// What lies where.
#[derive(Debug, Clone)]
pub struct Plan {
    /// All but the data, from the first byte on.
    pub header: Vec<u8>,
    /// The place of each array by its path.
    pub data: BTreeMap<String, Range<u64>>,
    /// Length of the file.
    pub len: u64,
}

const SUPERBLOCK: u64 = 48;
/// Signature, version, flags, size; and the checksum.
const HEADER: u64 = 14;
/// Most bytes of a message: its size has 16 bits.
const MESSAGE_MAX: usize = 65535;
/// Fewest bytes of a global heap that libhdf5 reads.
const HEAP_MIN: u64 = 4096;
const UNDEFINED: u64 = u64::MAX;

/// Where things lie, once that is known.
struct Places {
    headers: BTreeMap<String, u64>,
    data: BTreeMap<String, Range<u64>>,
    heap: u64,
}

impl Tree {
    /// Adds a group, and those around it.
    ///
    /// # Errors
    /// `Invalid` for a path that is none, or that leads through an array.
    pub fn group(&mut self, path: &str) -> Result<()> {
        self.node(path).map(drop)
    }

    /// Adds an array, and the groups around it.
    ///
    /// # Errors
    /// `Invalid` for a path that is none, or that is taken.
    pub fn array(&mut self, path: &str, element: Element, shape: &[u64]) -> Result<()> {
        let is_taken = self.nodes.contains_key(path);
        let node = self.node(path)?;
        if is_taken || path.is_empty() {
            return Err(invalid(path, "this path is taken"));
        }
        if shape.len() > usize::from(RANK_MAX) {
            let rule = format!("{} dimensions, at most {RANK_MAX}", shape.len());
            return Err(invalid(path, &rule));
        }
        node.array = Some((element, shape.to_vec()));
        Ok(())
    }

    /// Adds an attribute to a group or array.
    ///
    /// # Errors
    /// `Invalid` if it has no room in a header: more than 64 KiB of texts.
    pub fn attribute(&mut self, path: &str, name: &str, value: Text) -> Result<()> {
        let attribute = (name.to_owned(), value);
        if attribute_message(&attribute, (0, 1)).len() > MESSAGE_MAX {
            return Err(invalid(path, &format!("attribute {name} has more than 64 KiB")));
        }
        self.node(path)?.attributes.push(attribute);
        Ok(())
    }

    fn node(&mut self, path: &str) -> Result<&mut Node> {
        let is_name = |name: &str| !matches!(name, "" | ".") && !name.contains('\0');
        if !path.is_empty() && !path.split('/').all(is_name) {
            return Err(invalid(path, "a path of names, with '/' between them, is expected"));
        }
        let ends = path.match_indices('/').map(|(at, _)| at);
        for above in std::iter::once(0).chain(ends).filter_map(|at| path.get(..at)) {
            let node = self.nodes.entry(above.to_owned()).or_default();
            if node.array.is_some() {
                return Err(invalid(path, &format!("'{above}' is an array, not a group")));
            }
        }
        Ok(self.nodes.entry(path.to_owned()).or_default())
    }

    /// Decides what lies where.
    ///
    /// # Errors
    /// `Invalid` for an array whose bytes pass 64-bit numbers.
    pub fn plan(&self) -> Result<Plan> {
        if self.nodes.is_empty() {
            return Err(invalid("/", "nothing is in it"));
        }
        let mut places = Places { headers: BTreeMap::new(), data: BTreeMap::new(), heap: 0 };
        let mut at = SUPERBLOCK;
        for (path, node) in &self.nodes {
            // Lengths do not depend on places: any will do.
            let len = self.messages(path, node, &places, &mut 0).len() as u64;
            places.headers.insert(path.clone(), at);
            at = aligned(at.saturating_add(len).saturating_add(HEADER));
        }
        let heap = self.heap();
        places.heap = at;
        at = at.saturating_add(heap.len() as u64);
        let header_len = at;
        for (path, node) in &self.nodes {
            let Some((element, shape)) = &node.array else { continue };
            let wraps = || invalid(path, "its bytes pass 64-bit numbers");
            let len =
                product(&[shape.as_slice(), &[element.bytes()]].concat()).ok_or_else(wraps)?;
            let end = at.checked_add(len).ok_or_else(wraps)?;
            places.data.insert(path.clone(), at..end);
            at = align_up(end, 8).ok_or_else(wraps)?;
        }
        let len = places.data.values().map(|range| range.end).fold(header_len, u64::max);
        let mut header = self.superblock(len, &places);
        let mut text = 0;
        for (path, node) in &self.nodes {
            let messages = self.messages(path, node, &places, &mut text);
            pad(&mut header, 8);
            header.extend(object_header(&messages));
        }
        pad(&mut header, 8);
        header.extend(heap);
        Ok(Plan { header, data: places.data, len })
    }

    fn superblock(&self, len: u64, places: &Places) -> Vec<u8> {
        let root = places.headers.get("").copied().unwrap_or(UNDEFINED);
        let mut block = SIGNATURE.to_vec();
        block.extend([2, 8, 8, 0]);
        for address in [0, UNDEFINED, len, root] {
            block.extend(address.to_le_bytes());
        }
        block.extend(lookup3(&block).to_le_bytes());
        block
    }

    /// The messages of an object; `text` counts the texts of the heap.
    fn messages(&self, path: &str, node: &Node, places: &Places, text: &mut u32) -> Vec<u8> {
        let mut out = Vec::new();
        match &node.array {
            Some((element, shape)) => {
                let data = places.data.get(path).cloned().unwrap_or(0..0);
                put(&mut out, message::DATASPACE, &dataspace(shape));
                put(&mut out, message::DATATYPE, &element.datatype());
                // Version 3: allocated late, filled if set, and no value is set.
                put(&mut out, message::FILL, &[3, 0x0a]);
                put(&mut out, message::LAYOUT, &layout(&data));
            }
            None => {
                let mut info = vec![0, 0];
                info.extend([0xff; 16]);
                put(&mut out, message::LINK_INFO, &info);
                put(&mut out, message::GROUP_INFO, &[0, 0]);
                for (name, child) in self.children(path) {
                    let address = places.headers.get(child).copied().unwrap_or(UNDEFINED);
                    put(&mut out, message::LINK, &link(name, address));
                }
            }
        }
        for attribute in &node.attributes {
            if matches!(attribute.1, Text::One(_)) {
                *text = text.saturating_add(1);
            }
            put(&mut out, message::ATTRIBUTE, &attribute_message(attribute, (places.heap, *text)));
        }
        out
    }

    /// Names and paths of what lies in a group.
    fn children<'t>(&'t self, group: &'t str) -> impl Iterator<Item = (&'t str, &'t str)> {
        self.nodes.keys().filter_map(move |path| {
            let rest = if group.is_empty() {
                path
            } else {
                path.strip_prefix(group)?.strip_prefix('/')?
            };
            (!rest.is_empty() && !rest.contains('/')).then_some((rest, path.as_str()))
        })
    }

    /// The global heap of all texts of any length, in the order of their attributes.
    fn heap(&self) -> Vec<u8> {
        let texts = self.nodes.values().flat_map(|node| &node.attributes);
        let texts = texts.filter_map(|(_, value)| match value {
            Text::One(text) => Some(text),
            Text::Many(_) => None,
        });
        let mut objects = Vec::new();
        for (text, index) in texts.zip(1u16..) {
            objects.extend(index.to_le_bytes());
            objects.extend([0; 6]);
            objects.extend((text.len() as u64).to_le_bytes());
            objects.extend(text.as_bytes());
            pad(&mut objects, 8);
        }
        if objects.is_empty() {
            return objects;
        }
        let used = (objects.len() as u64).saturating_add(16);
        // What is left over is an object of number 0, which has a head, too.
        let size = used.saturating_add(16).max(HEAP_MIN);
        let mut heap = b"GCOL\x01\0\0\0".to_vec();
        heap.extend(size.to_le_bytes());
        heap.extend(objects);
        heap.extend([0; 8]);
        heap.extend(size.saturating_sub(used).to_le_bytes());
        heap.resize(usize::try_from(size).unwrap_or(heap.len()), 0);
        heap
    }
}

fn invalid(path: &str, rule: &str) -> Error {
    Error::invalid(0, format!("'{path}'"), rule)
}

fn aligned(at: u64) -> u64 {
    align_up(at, 8).unwrap_or(u64::MAX)
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// Adds a message: type, size, no flags, body.
fn put(out: &mut Vec<u8>, kind: u16, body: &[u8]) {
    out.push(kind.to_le_bytes()[0]);
    out.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.push(0);
    out.extend(body);
}

fn object_header(messages: &[u8]) -> Vec<u8> {
    // Flags: the size has four bytes.
    let mut header = b"OHDR\x02\x02".to_vec();
    header.extend(u32::try_from(messages.len()).unwrap_or(u32::MAX).to_le_bytes());
    header.extend(messages);
    header.extend(lookup3(&header).to_le_bytes());
    header
}

fn dataspace(shape: &[u64]) -> Vec<u8> {
    let rank = u8::try_from(shape.len()).unwrap_or(u8::MAX);
    let mut space = vec![2, rank, 0, u8::from(rank > 0)];
    space.extend(shape.iter().flat_map(|dim| dim.to_le_bytes()));
    space
}

fn layout(data: &Range<u64>) -> Vec<u8> {
    let len = data.end.saturating_sub(data.start);
    let address = if len == 0 { UNDEFINED } else { data.start };
    let mut layout = vec![3, 1];
    layout.extend(address.to_le_bytes());
    layout.extend(len.to_le_bytes());
    layout
}

fn link(name: &str, address: u64) -> Vec<u8> {
    // Flags: a character set is stated, and the length of the name has four bytes.
    let mut link = vec![1, 0x12, 1];
    link.extend(u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
    link.extend(name.as_bytes());
    link.extend(address.to_le_bytes());
    link
}

/// An attribute; `(heap, number)` is where its text of any length is.
fn attribute_message((name, value): &(String, Text), (heap, number): (u64, u32)) -> Vec<u8> {
    let (datatype, space, bytes) = match value {
        Text::One(text) => {
            // A list (class 9) that is text, UTF-8, of characters.
            let mut datatype = vec![0x19, 1, 1, 0, 16, 0, 0, 0];
            datatype.extend([0x13, 0x10, 0, 0, 1, 0, 0, 0]);
            let mut bytes = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
            bytes.extend(heap.to_le_bytes());
            bytes.extend(number.to_le_bytes());
            (datatype, dataspace(&[]), bytes)
        }
        Text::Many(texts) if texts.is_empty() => {
            (Element::Float(Float::F64, 8).datatype(), dataspace(&[0]), Vec::new())
        }
        Text::Many(texts) => {
            let room = texts.iter().map(String::len).max().unwrap_or(0).max(1);
            let mut datatype = vec![0x13, 1, 0, 0];
            datatype.extend(u32::try_from(room).unwrap_or(u32::MAX).to_le_bytes());
            let filled = |text: &String| {
                let mut bytes = text.as_bytes().to_vec();
                bytes.resize(room, 0);
                bytes
            };
            let bytes = texts.iter().flat_map(filled).collect();
            (datatype, dataspace(&[texts.len() as u64]), bytes)
        }
    };
    let mut message = vec![3, 0];
    for len in [name.len().saturating_add(1), datatype.len(), space.len()] {
        message.extend(u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
    }
    message.push(1);
    message.extend(name.as_bytes());
    message.push(0);
    message.extend([datatype, space, bytes].concat());
    message
}

impl Element {
    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Integer(size, _) | Self::Float(_, size) | Self::Opaque(size) => size.into(),
            Self::Complex(_, size) => u64::from(size).saturating_mul(2),
            Self::Bool => 1,
        }
    }

    fn datatype(self) -> Vec<u8> {
        let head = |first: u8, flags: [u8; 2]| {
            let mut head = vec![first, flags[0], flags[1], 0];
            let size = u32::try_from(self.bytes()).unwrap_or(u32::MAX);
            head.extend(size.to_le_bytes());
            head
        };
        match self {
            Self::Integer(size, signed) => {
                let mut out = head(0x10, [if signed { 8 } else { 0 }, 0]);
                out.extend([0, 0, size.saturating_mul(8), 0]);
                out
            }
            Self::Float(form, size) => {
                // Little-endian, with an implied leading bit.
                let mut out = head(0x11, [0x20, form.sign_at]);
                out.extend([0, 0, size.saturating_mul(8), 0]);
                out.extend([form.exponent_at, form.exponent_bits]);
                out.extend([form.mantissa_at, form.mantissa_bits]);
                out.extend(form.bias.to_le_bytes());
                out
            }
            Self::Complex(form, size) => {
                let mut out = head(0x36, [2, 0]);
                for (name, offset) in [(b'r', 0), (b'i', size)] {
                    out.extend([name, 0, offset]);
                    out.extend(Self::Float(form, size).datatype());
                }
                out
            }
            Self::Bool => {
                let mut out = head(0x18, [2, 0]);
                out.extend(Self::Integer(1, true).datatype());
                out.extend(b"FALSE\0\0\0TRUE\0\0\0\0\x00\x01");
                out
            }
            Self::Opaque(_) => head(0x15, [0, 0]),
        }
    }
}
