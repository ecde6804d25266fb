//! A file of arrays, planned before their elements exist: byte for byte as
//! `flax.serialization.msgpack_serialize` writes them, its keys in sorted order.

use std::collections::BTreeMap;
use std::ops::Range;

use wire::{Error, Result, product};

use crate::{CHUNKED, DEPTH_MAX, Dtype, ext};

/// Bytes of an array above which Flax writes it in pieces, and of a piece: `MAX_CHUNK_SIZE`.
pub const CHUNK: u64 = 1 << 30;

/// An array to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The keys that lead to it, joined with `/`.
    pub name: String,
    /// The type of the elements.
    pub dtype: Dtype,
    /// The outermost dimension first.
    pub shape: Vec<u64>,
}

/// A file yet to be written: every byte up to `len` is of `headers` or of a piece.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is known, and where it goes.
    pub headers: Vec<(u64, Vec<u8>)>,
    /// For each array, where its elements go: in one piece or in several, in order.
    pub pieces: Vec<Vec<Range<u64>>>,
    /// Bytes of the whole file.
    pub len: u64,
}

/// Keys and what they lead to, sorted.
enum Node {
    Leaf(usize),
    Branch(BTreeMap<String, Node>),
}

impl Plan {
    /// A file of these arrays, with pieces of at most `chunk` bytes: [`CHUNK`].
    ///
    /// # Errors
    /// `Invalid` for two names of which one leads to an array and beyond, or more keys in a name
    /// than are read again; for a shape whose bytes pass 63 bits.
    pub fn new(entries: &[Entry], chunk: u64) -> Result<Self> {
        let mut root = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            insert(&mut root, entry, index)?;
        }
        let pieces = vec![Vec::new(); entries.len()];
        let plan = Self { pieces, ..Self::default() };
        let mut writer = Writer { entries, chunk: chunk.max(1), plan, open: Vec::new() };
        writer.node(&Node::Branch(root))?;
        writer.close();
        Ok(writer.plan)
    }
}

fn insert(root: &mut BTreeMap<String, Node>, entry: &Entry, index: usize) -> Result<()> {
    let twice = || {
        let rule =
            format!("{:?} or what it begins with is an array and leads to others", entry.name);
        Error::invalid(0, "name", rule)
    };
    let keys: Vec<&str> = entry.name.split('/').collect();
    if keys.len() >= DEPTH_MAX {
        let rule = format!("{} keys in one name, expected fewer than {DEPTH_MAX}", keys.len());
        return Err(Error::invalid(0, "name", rule));
    }
    let Some((last, path)) = keys.split_last() else { return Err(twice()) };
    let mut at = root;
    for key in path {
        let next = at.entry((*key).to_owned()).or_insert_with(|| Node::Branch(BTreeMap::new()));
        let Node::Branch(below) = next else { return Err(twice()) };
        at = below;
    }
    match at.insert((*last).to_owned(), Node::Leaf(index)) {
        None => Ok(()),
        Some(_) => Err(twice()),
    }
}

struct Writer<'a> {
    entries: &'a [Entry],
    chunk: u64,
    plan: Plan,
    /// Known bytes that end at `plan.len`.
    open: Vec<u8>,
}

impl Writer<'_> {
    fn node(&mut self, node: &Node) -> Result<()> {
        match node {
            Node::Leaf(index) => self.array(*index),
            Node::Branch(below) => {
                self.put(&counted(below.len() as u64, MAP));
                below.iter().try_for_each(|(key, node)| {
                    self.text(key);
                    self.node(node)
                })
            }
        }
    }

    fn array(&mut self, index: usize) -> Result<()> {
        let Some(entry) = self.entries.get(index) else { return Ok(()) };
        let (dtype, size) = (entry.dtype, entry.dtype.bytes());
        let count = product(&entry.shape);
        let bytes = count.and_then(|count| count.checked_mul(size));
        let (Some(count), Some(bytes)) = (count, bytes.filter(|&bytes| bytes <= i64::MAX as u64))
        else {
            let rule = format!("{:?} of shape {:?} passes 63 bits", entry.name, entry.shape);
            return Err(Error::invalid(self.plan.len, "array", rule));
        };
        if bytes <= self.chunk {
            return self.piece(index, dtype, &entry.shape, bytes);
        }
        let most = self.chunk.checked_div(size).unwrap_or(1).max(1);
        self.put(&counted(3, MAP));
        self.text(CHUNKED);
        self.put(&[TRUE]);
        self.text("shape");
        self.put(&counted(entry.shape.len() as u64, MAP));
        for (number, dim) in (0u64..).zip(&entry.shape) {
            self.text(&number.to_string());
            self.put(&integer(*dim));
        }
        self.text("chunks");
        let chunks = count.div_ceil(most);
        self.put(&counted(chunks, MAP));
        for number in 0..chunks {
            let len = most.min(count.saturating_sub(number.saturating_mul(most)));
            self.text(&number.to_string());
            self.piece(index, dtype, &[len], len.saturating_mul(size))?;
        }
        Ok(())
    }

    /// An array's extension.
    fn piece(&mut self, index: usize, dtype: Dtype, shape: &[u64], bytes: u64) -> Result<()> {
        let mut inner = counted(3, LIST);
        inner.extend(counted(shape.len() as u64, LIST));
        inner.extend(shape.iter().flat_map(|dim| integer(*dim)));
        inner.extend(text(dtype.name()));
        inner.extend(counted(bytes, BYTES));
        let len = bytes.saturating_add(inner.len() as u64);
        let fixed = [1u64, 2, 4, 8, 16].iter().zip(0xD4..).find(|(fixed, _)| **fixed == len);
        match fixed {
            Some((_, code)) => self.put(&[code]),
            None => self.put(&counted(len, EXT)),
        }
        self.put(&ext::ARRAY.to_le_bytes());
        self.put(&inner);
        self.close();
        let start = self.plan.len;
        let end = start.checked_add(bytes).filter(|&end| end <= i64::MAX as u64);
        let passes = || Error::invalid(start, "array", "the file exceeds 63 bits");
        self.plan.len = end.ok_or_else(passes)?;
        if let Some(pieces) = self.plan.pieces.get_mut(index) {
            pieces.push(start..self.plan.len);
        }
        Ok(())
    }

    fn text(&mut self, content: &str) {
        self.put(&text(content));
    }

    fn put(&mut self, bytes: &[u8]) {
        self.open.extend(bytes);
        self.plan.len = self.plan.len.saturating_add(bytes.len() as u64);
    }

    /// Ends the run of known bytes.
    fn close(&mut self) {
        if !self.open.is_empty() {
            let start = self.plan.len.saturating_sub(self.open.len() as u64);
            self.plan.headers.push((start, std::mem::take(&mut self.open)));
        }
    }
}

/// The truth value.
const TRUE: u8 = 0xC3;

/// How lengths of a kind are written: in the first byte up to a number, else in 1, 2 or 4 bytes
/// after a code of its own. A code of 0 is one that the kind has not.
type Lengths = (u8, u64, [u8; 3]);

const MAP: Lengths = (0x80, 15, [0, 0xDE, 0xDF]);
const LIST: Lengths = (0x90, 15, [0, 0xDC, 0xDD]);
const TEXT: Lengths = (0xA0, 31, [0xD9, 0xDA, 0xDB]);
const BYTES: Lengths = (0, 0, [0xC4, 0xC5, 0xC6]);
const EXT: Lengths = (0, 0, [0xC7, 0xC8, 0xC9]);

fn counted(len: u64, (short, most, [one, two, four]): Lengths) -> Vec<u8> {
    let [low, next, third, fourth, ..] = len.to_le_bytes();
    match len {
        _ if short != 0 && len <= most => vec![short | low],
        0..=0xFF if one != 0 => vec![one, low],
        0..=0xFFFF => vec![two, next, low],
        // Pieces are of 1 GiB, names and counts far below 4 GiB.
        _ => vec![four, fourth, third, next, low],
    }
}

fn text(content: &str) -> Vec<u8> {
    [&counted(content.len() as u64, TEXT), content.as_bytes()].concat()
}

fn integer(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let (code, from) = match value {
        0..=0x7F => return vec![value.to_le_bytes()[0]],
        0x80..=0xFF => (0xCC, 7),
        0x100..=0xFFFF => (0xCD, 6),
        0x1_0000..=0xFFFF_FFFF => (0xCE, 4),
        _ => (0xCF, 0),
    };
    [&[code], bytes.get(from..).unwrap_or_default()].concat()
}
