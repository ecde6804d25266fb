//! Checkpoints, of either version.

use std::ops::Range;
use std::sync::Arc;

use wire::{Endian, Error, ReadAt, Result};

use crate::kind::DataType;
use crate::parser::Parser;
use crate::table;
use crate::tensor::Values;
use crate::{Limits, v1, v2};

/// How a checkpoint is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Large blocks, which hold weights, are held to their checksums too.
    pub checksums: bool,
    /// How much of a file is accepted.
    pub limits: Limits,
}

/// Which of the two layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One file holds everything.
    V1,
    /// An index, and files of weights: so many, with numbers of this order of bytes.
    V2 {
        /// How many files hold weights.
        shards: u32,
        /// The order of the bytes of their elements.
        endian: Endian,
    },
}

/// A checkpoint.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Which layout it has.
    pub version: Version,
    /// The tensors, sorted by name.
    pub tensors: Vec<Tensor>,
}

/// A tensor, whole or in pieces.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its name, unique.
    pub name: String,
    /// The type of its elements.
    pub kind: DataType,
    /// Its dimensions, outermost first.
    pub dims: Vec<u64>,
    /// One piece that is the whole, or slices.
    pub pieces: Vec<Piece>,
}

/// A part of a tensor.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Its first element in each dimension of the tensor.
    pub start: Vec<u64>,
    /// Its own dimensions.
    pub dims: Vec<u64>,
    /// Its elements.
    pub data: Data,
}

/// Where elements are.
#[derive(Debug, Clone)]
pub enum Data {
    /// In one of the files of weights.
    Shard {
        /// Which file, from 0.
        shard: u32,
        /// Where in it.
        at: Range<u64>,
        /// The masked CRC-32C of these bytes.
        sum: u32,
    },
    /// In the file itself.
    Here {
        /// The elements.
        values: Values,
        /// The block that they lie in, if it was packed; else they lie in the file.
        block: Option<Arc<Vec<u8>>>,
    },
}

/// Whether a file is a table of LevelDB, which is what checkpoints are.
pub fn probe(source: &dyn ReadAt) -> bool {
    table::probe(source)
}

/// Reads the index of a checkpoint, or a whole one of version 1. No weights are read, but for
/// checksums if `options` ask.
///
/// # Errors
/// With the offset and the field at fault.
pub fn read(source: &dyn ReadAt, options: &Options) -> Result<Checkpoint> {
    let mut reading = None;
    table::entries(source, options, &mut |key, value| match &mut reading {
        None if key.is_empty() => {
            reading = Some(Reading::begin(value)?);
            Ok(())
        }
        None => {
            let rule = format!("begins with {}, expected the header, \"\"", table::shown(key));
            Err(Error::invalid(value.range.start, "checkpoint", rule))
        }
        Some(Reading::Bundle(bundle)) => bundle.take(key, value),
        Some(Reading::Slices(slices)) => slices.take(key, value),
    })?;
    match reading {
        None => Err(Error::invalid(0, "checkpoint", "has no header: the table is empty")),
        Some(Reading::Bundle(bundle)) => bundle.finish(),
        Some(Reading::Slices(slices)) => slices.finish(),
    }
}

enum Reading {
    Bundle(v2::Bundle),
    Slices(v1::Slices),
}

impl Reading {
    /// The header of version 2 begins with a number, that of version 1 with a message.
    fn begin(value: &table::Value<'_>) -> Result<Self> {
        let mut is_message = false;
        Parser::entry_of(value, &mut |_, _, field| {
            is_message |= field.number == 1 && matches!(field.value, protobuf::Value::Bytes(_));
            Ok(())
        })?;
        match is_message {
            true => v1::Slices::begin(value).map(Self::Slices),
            false => v2::Bundle::begin(value).map(Self::Bundle),
        }
    }
}

/// Text that is a key.
pub(crate) fn name(key: &[u8], value: &table::Value<'_>) -> Result<String> {
    let rule = || format!("{} is not UTF-8 text", table::shown(key));
    let text = std::str::from_utf8(key);
    text.map(str::to_owned).map_err(|_| Error::invalid(value.range.start, "key of a table", rule()))
}
