//! Tensors and where they are to lie → the index of a checkpoint, byte for byte as TensorFlow
//! writes it, but for checksums of what is not known yet.

use std::ops::Range;

use protobuf::{fixed32, put_varint, varint};
use wire::{Error, Result};

use crate::crc::{Sum, mask};
use crate::kind::DataType;
use crate::table::{FOOTER, MAGIC, handle};
use crate::v2::field;

/// A block that has so many bytes is full: `Options::block_size` of `table_options.h`.
const BLOCK: usize = 256 << 10;

/// Every so many entries, a key is written whole: `Options::block_restart_interval`.
const INTERVAL: usize = 16;

/// A tensor, and where its elements are to lie.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub kind: DataType,
    /// Its dimensions, outermost first.
    pub dims: Vec<u64>,
    /// Which file of weights, from 0.
    pub shard: u32,
    /// Where in it.
    pub at: Range<u64>,
}

/// The bytes of an index, and what they lack.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The file, with zeros where sums are to stand.
    pub bytes: Vec<u8>,
    /// For each tensor where its sum is to stand: the masked CRC-32C of its elements.
    pub sums: Vec<u64>,
    /// Where sums of the index's own blocks are to stand, and of what: masked CRC-32C of bytes that
    /// hold sums themselves.
    pub blocks: Vec<(u64, Range<u64>)>,
}

impl Plan {
    /// The index of these tensors in so many files. They are sorted by name.
    ///
    /// # Errors
    /// `Invalid` for names that are not, or that no tensor may have.
    pub fn new(shards: u32, entries: &[Entry]) -> Result<Self> {
        let mut table = Table::default();
        table.add(b"", &header(shards));
        for entry in entries {
            let name = entry.name.as_bytes();
            if table.last_key.as_slice() >= name || name.starts_with(&[0]) {
                let rule = format!("'{}' is empty, stands twice or begins with NUL", entry.name);
                return Err(Error::invalid(0, "name of a tensor", rule));
            }
            // A sum is the last of its entry.
            let end = table.add(name, &message(entry));
            table.plan.sums.push(end.saturating_sub(4));
        }
        Ok(table.finish())
    }
}

/// `BundleHeaderProto`: one version, little-endian.
fn header(shards: u32) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, 1, u64::from(shards));
    protobuf::bytes(&mut out, 3, b"\x08\x01");
    out
}

/// `BundleEntryProto`, its sum zero. What is zero is left out, as protocol buffers do.
fn message(entry: &Entry) -> Vec<u8> {
    let mut shape = Vec::new();
    for dim in &entry.dims {
        let mut size = Vec::new();
        optional(&mut size, 1, *dim);
        protobuf::bytes(&mut shape, 2, &size);
    }
    let mut out = Vec::new();
    varint(&mut out, field::DTYPE, entry.kind.id());
    protobuf::bytes(&mut out, field::SHAPE, &shape);
    optional(&mut out, field::SHARD, u64::from(entry.shard));
    optional(&mut out, field::OFFSET, entry.at.start);
    optional(&mut out, field::SIZE, entry.at.end.saturating_sub(entry.at.start));
    fixed32(&mut out, field::SUM, [0; 4]);
    out
}

fn optional(out: &mut Vec<u8>, number: u64, value: u64) {
    if value != 0 {
        varint(out, number, value);
    }
}

/// A table that is being made: `table_builder.cc`.
#[derive(Default)]
struct Table {
    plan: Plan,
    block: Block,
    last_key: Vec<u8>,
    /// The entries of the index, but for the last one, whose key depends on what follows.
    index: Block,
    /// The place of the block before this one.
    pending: Option<Range<u64>>,
}

impl Table {
    /// Appends an entry; where in the file its value ends.
    fn add(&mut self, key: &[u8], value: &[u8]) -> u64 {
        if let Some(place) = self.pending.take() {
            let bound = separator(&self.last_key, key);
            self.index.add(&bound, &handle(&place), 1);
        }
        self.block.add(key, value, INTERVAL);
        self.last_key = key.to_vec();
        let end = self.plan.bytes.len().saturating_add(self.block.bytes.len()) as u64;
        if self.block.size() >= BLOCK {
            self.flush();
        }
        end
    }

    fn flush(&mut self) {
        let block = std::mem::take(&mut self.block);
        if block.bytes.is_empty() {
            return;
        }
        let place = self.append(block);
        let end = place.end.saturating_add(1);
        // Its sum is of sums that are not known yet.
        self.plan.bytes.extend([0; 4]);
        self.plan.blocks.push((end, place.start..end));
        self.pending = Some(place);
    }

    /// Appends a block and its type; where it lies, without its type.
    fn append(&mut self, block: Block) -> Range<u64> {
        let start = self.plan.bytes.len() as u64;
        self.plan.bytes.extend(block.finish());
        let end = self.plan.bytes.len() as u64;
        self.plan.bytes.push(0);
        start..end
    }

    /// Appends a block whose bytes are known.
    fn append_known(&mut self, block: Block) -> Range<u64> {
        let place = self.append(block);
        let start = usize::try_from(place.start).unwrap_or(usize::MAX);
        let mut sum = Sum::default();
        sum.update(self.plan.bytes.get(start..).unwrap_or_default());
        self.plan.bytes.extend(mask(sum.value()).to_le_bytes());
        place
    }

    fn finish(mut self) -> Plan {
        self.flush();
        let meta = self.append_known(Block::default());
        if let Some(place) = self.pending.take() {
            let bound = successor(&self.last_key);
            self.index.add(&bound, &handle(&place), 1);
        }
        let index = std::mem::take(&mut self.index);
        let index = self.append_known(index);
        let mut footer = handle(&meta);
        footer.extend(handle(&index));
        footer.resize(usize::try_from(FOOTER).unwrap_or(0).saturating_sub(8), 0);
        footer.extend(MAGIC.to_le_bytes());
        self.plan.bytes.extend(footer);
        self.plan
    }
}

/// A block that is being made: `block_builder.cc`.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    last_key: Vec<u8>,
    count: usize,
}

impl Block {
    fn add(&mut self, key: &[u8], value: &[u8], interval: usize) {
        let is_restart = self.count.checked_rem(interval) == Some(0);
        if is_restart {
            self.restarts.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        }
        let shared = if is_restart { 0 } else { common(&self.last_key, key) };
        let own = key.get(shared..).unwrap_or_default();
        for len in [shared, own.len(), value.len()] {
            put_varint(&mut self.bytes, len as u64);
        }
        self.bytes.extend(own);
        self.bytes.extend(value);
        self.last_key = key.to_vec();
        self.count = self.count.saturating_add(1);
    }

    /// Bytes that it would have, without its trailer.
    fn size(&self) -> usize {
        self.restarts.len().saturating_add(1).saturating_mul(4).saturating_add(self.bytes.len())
    }

    fn finish(mut self) -> Vec<u8> {
        if self.restarts.is_empty() {
            self.restarts.push(0);
        }
        let count = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        let ends = self.restarts.iter().chain([&count]);
        self.bytes.extend(ends.flat_map(|number| number.to_le_bytes()));
        self.bytes
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A short key that is not below `last` and below `next`: `FindShortestSeparator`.
fn separator(last: &[u8], next: &[u8]) -> Vec<u8> {
    let at = common(last, next);
    match (last.split_at_checked(at), next.get(at)) {
        (Some((shared, [byte, ..])), Some(limit)) if byte.saturating_add(1) < *limit => {
            [shared, &[byte.saturating_add(1)]].concat()
        }
        _ => last.to_vec(),
    }
}

/// A short key that is not below `last`: `FindShortSuccessor`.
fn successor(last: &[u8]) -> Vec<u8> {
    let at = last.iter().take_while(|byte| **byte == 0xff).count();
    match last.split_at_checked(at) {
        Some((shared, [byte, ..])) => [shared, &[byte.saturating_add(1)]].concat(),
        _ => last.to_vec(),
    }
}
