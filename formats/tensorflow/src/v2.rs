//! Version 2: `BundleHeaderProto`, `BundleEntryProto`.

use std::collections::BTreeMap;
use std::ops::Range;

use protobuf::{Field, Message, once};
use wire::{Endian, Error, Result, Why};

use crate::checkpoint::{Checkpoint, Data, Piece, Tensor, Version, name};
use crate::kind::{DataType, kind};
use crate::ordered;
use crate::parser::Parser;
use crate::shape::{Shape, shape};
use crate::slice::{Slice, slice};
use crate::table::{Value, shown};

/// Fields of `BundleEntryProto`: `tensorflow/core/protobuf/tensor_bundle.proto`.
pub(crate) mod field {
    pub(crate) const DTYPE: u64 = 1;
    pub(crate) const SHAPE: u64 = 2;
    pub(crate) const SHARD: u64 = 3;
    pub(crate) const OFFSET: u64 = 4;
    pub(crate) const SIZE: u64 = 5;
    pub(crate) const SUM: u64 = 6;
    pub(crate) const SLICES: u64 = 7;
}

/// What a program must be able to read at least: `kTensorBundleVersion`.
const VERSION: i32 = 1;

/// The name of a file of weights has five digits for its number.
const SHARDS_MAX: u64 = 99_999;

/// A checkpoint that is being read.
pub(crate) struct Bundle {
    shards: u32,
    endian: Endian,
    tensors: Vec<Entry>,
    /// Entries of slices, by their keys.
    slices: BTreeMap<Vec<u8>, Entry>,
}

/// `BundleEntryProto`.
#[derive(Default)]
struct Entry {
    at: u64,
    name: String,
    kind: Option<DataType>,
    shape: Option<Shape>,
    shard: Option<u32>,
    offset: Option<u64>,
    size: Option<u64>,
    sum: Option<u32>,
    slices: Vec<Slice>,
}

const WHAT: &str = "BundleEntryProto";

impl Bundle {
    /// Reads the header.
    pub(crate) fn begin(value: &Value<'_>) -> Result<Self> {
        const WHAT: &str = "BundleHeaderProto";
        let (mut shards, mut endian, mut needs) = (None, None, None);
        Parser::entry_of(value, &mut |parser, of, field| match field.number {
            1 => once(&mut shards, field.varint("BundleHeaderProto.num_shards")?, field, WHAT),
            2 => once(&mut endian, field.varint(WHAT)?, field, WHAT),
            3 => once(&mut needs, min_consumer(parser, of, field)?, field, WHAT),
            _ => Ok(()),
        })?;
        let at = value.range.start;
        if needs.is_some_and(|version| version > VERSION) {
            let found = needs.unwrap_or_default();
            let text = format!("a checkpoint of version {found}, later than {VERSION}");
            return Err(Error::unsupported(at, "BundleHeaderProto.version", text));
        }
        let shards = shards.unwrap_or(0);
        let count =
            u32::try_from(shards).ok().filter(|n| (1..=SHARDS_MAX).contains(&u64::from(*n)));
        let shards = count.ok_or_else(|| {
            let rule = format!("found {}, expected 1 to {SHARDS_MAX}", shards.cast_signed());
            Error::invalid(at, "BundleHeaderProto.num_shards", rule)
        })?;
        let endian = match endian {
            None | Some(0) => Endian::Little,
            Some(1) => Endian::Big,
            Some(other) => {
                let why = Why::Unknown { value: other.to_string() };
                return Err(Error::new(at, "BundleHeaderProto.endianness", why));
            }
        };
        Ok(Self { shards, endian, tensors: Vec::new(), slices: BTreeMap::new() })
    }

    /// Takes an entry.
    pub(crate) fn take(&mut self, key: &[u8], value: &Value<'_>) -> Result<()> {
        let mut entry = Entry { at: value.range.start, ..Entry::default() };
        Parser::entry_of(value, &mut |parser, of, field| entry.take(parser, of, field))?;
        if key.first() == Some(&0) {
            self.slices.insert(key.to_vec(), entry);
        } else {
            entry.name = name(key, value)?;
            self.tensors.push(entry);
        }
        Ok(())
    }

    /// Joins slices with their tensors.
    pub(crate) fn finish(mut self) -> Result<Checkpoint> {
        let tensors = std::mem::take(&mut self.tensors);
        let tensors = tensors.into_iter().map(|entry| self.tensor(entry));
        let tensors = tensors.collect::<Result<Vec<Tensor>>>()?;
        if let Some((key, entry)) = self.slices.first_key_value() {
            let rule = format!("{} is a slice of no tensor", shown(key));
            return Err(Error::invalid(entry.at, WHAT, rule));
        }
        let version = Version::V2 { shards: self.shards, endian: self.endian };
        Ok(Checkpoint { version, tensors })
    }

    fn tensor(&mut self, entry: Entry) -> Result<Tensor> {
        let dims = entry.shape.as_ref().map_or(Ok(Vec::new()), Shape::known)?;
        let kind = entry.kind()?;
        let pieces = if entry.slices.is_empty() {
            let start = vec![0; dims.len()];
            vec![Piece { start, dims: dims.clone(), data: entry.data(&dims, self.shards)? }]
        } else {
            self.pieces(&entry, kind, &dims)?
        };
        Ok(Tensor { name: entry.name, kind, dims, pieces })
    }

    fn pieces(&mut self, entry: &Entry, kind: DataType, dims: &[u64]) -> Result<Vec<Piece>> {
        let each = entry.slices.iter().map(|slice| {
            let (start, own) = slice.within(dims, entry.at)?;
            let key = ordered::key(&entry.name, slice);
            let piece = self.slices.remove(&key).ok_or_else(|| {
                let rule = format!("has a slice without an entry, {}", shown(&key));
                Error::invalid(entry.at, WHAT, rule)
            })?;
            let stated = piece.shape.as_ref().map_or(Ok(Vec::new()), Shape::known)?;
            if stated != own || piece.kind()? != kind {
                let rule = format!("a slice {stated:?}, expected {own:?} of {}", kind.name());
                return Err(Error::invalid(piece.at, WHAT, rule));
            }
            let data = piece.data(&own, self.shards)?;
            Ok(Piece { start, dims: own, data })
        });
        each.collect()
    }
}

impl Entry {
    fn take(&mut self, parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<()> {
        let positive = |what: &'static str| {
            let value = field.int64(what)?;
            u64::try_from(value).map_err(|_| field.wrong(what, "no negative number"))
        };
        match field.number {
            field::DTYPE => {
                once(&mut self.kind, kind(field, "BundleEntryProto.dtype")?, field, WHAT)
            }
            field::SHAPE => once(&mut self.shape, shape(parser, of, field)?, field, WHAT),
            field::SHARD => {
                let what = "BundleEntryProto.shard_id";
                let shard = u32::try_from(positive(what)?);
                let shard = shard.map_err(|_| field.wrong(what, "a number of 31 bits"))?;
                once(&mut self.shard, shard, field, what)
            }
            field::OFFSET => {
                let what = "BundleEntryProto.offset";
                once(&mut self.offset, positive(what)?, field, what)
            }
            field::SIZE => {
                let what = "BundleEntryProto.size";
                once(&mut self.size, positive(what)?, field, what)
            }
            field::SUM => {
                let what = "BundleEntryProto.crc32c";
                let protobuf::Value::Fixed32(bytes) = field.value else {
                    return Err(field.wrong(what, "4 bytes"));
                };
                once(&mut self.sum, u32::from_le_bytes(bytes), field, what)
            }
            field::SLICES => {
                self.slices.push(slice(parser, of, field)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn kind(&self) -> Result<DataType> {
        self.kind.ok_or_else(|| Error::invalid(self.at, WHAT, "has no dtype"))
    }

    /// Where the elements lie, of a piece of this shape.
    fn data(&self, dims: &[u64], shards: u32) -> Result<Data> {
        let wrong = |what: &'static str, rule: String| Error::invalid(self.at, what, rule);
        let shard = self.shard.unwrap_or(0);
        if shard >= shards {
            let rule = format!("found {shard}, of {shards} files of weights");
            return Err(wrong("BundleEntryProto.shard_id", rule));
        }
        let (start, size) = (self.offset.unwrap_or(0), self.size.unwrap_or(0));
        let at: Option<Range<u64>> = start.checked_add(size).map(|end| start..end);
        let at = at.filter(|at| i64::try_from(at.end).is_ok()).ok_or_else(|| {
            let rule = format!("{size} bytes from {start} are more than a file can have");
            wrong("BundleEntryProto.offset", rule)
        })?;
        if let Some(width) = self.kind()?.bytes() {
            let need = wire::product(dims).and_then(|count| count.checked_mul(width));
            if need != Some(size) {
                let name = self.kind()?.name();
                let rule = format!("found {size}, which is not what {dims:?} of {name} takes");
                return Err(wrong("BundleEntryProto.size", rule));
            }
        }
        Ok(Data::Shard { shard, at, sum: self.sum.unwrap_or(0) })
    }
}

fn min_consumer(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<i32> {
    const WHAT: &str = "VersionDef";
    let mut found = None;
    parser.inside(of, field, WHAT, &mut |_, _, field| match field.number {
        2 => once(&mut found, field.int32(WHAT)?, field, WHAT),
        _ => Ok(()),
    })?;
    Ok(found.unwrap_or(0))
}
