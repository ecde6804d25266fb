//! PyTorch checkpoints: `.pt`, `.pth`, `.bin`, TorchScript, torch.export.
//!
//! ```text
//!  zip (1.6 and later)                   stream (before)
//!  ┌───────────────────────────────┐     ┌───────┬──────────┬────────┬───────┬──────┬─────────┐
//!  │ NAME/data.pkl: the value      │     │ magic │ protocol │ system │ value │ keys │ u64 n,  │
//!  │ NAME/data/0, /1, …: storages  │     │       five pickles, one after the other │ bytes … │
//!  └───────────────────────────────┘     └───────┴──────────┴────────┴───────┴──────┴─────────┘
//! ```
//!
//! The value is a pickle, a program that Python would run. Here it is data: a closed set of
//! opcodes, whole names from a table, nothing imported, nothing called. A tensor is a view of a
//! storage: an offset, sizes and strides, all counted in elements. Several tensors may share a
//! storage; one that is the same view as an earlier one is a tied weight.
//!
//! Source: `torch/serialization.py` of PyTorch 2 and 1.5; there is no specification. The
//! tar container of 2016 and archives of torch.export (.pt2) are read as well. Sparse, quantized,
//! nested and meta tensors are listed apart from those that are read.
//!
//! This crate reads and writes the container: zip alone is written. It converts no element and
//! names no model.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod archive;
mod dtype;
mod export;
mod globals;
mod legacy;
mod limits;
mod names;
mod payload;
mod pickle;
mod pickler;
mod plan;
mod tar;
mod tensor;
mod value;
mod write;

use std::sync::Arc;

pub use dtype::Dtype;
pub use limits::Limits;
pub use tensor::{Storage, Stream, TensorInfo};
use wire::{Cursor, Endian, Error, ReadAt, Result};
pub use write::{Entry, Plan};
pub use zip::{Crc32, combine, crc32};

/// What a reader may leave out, and how much it accepts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Objects of foreign classes are left out, and tensors in their state are read; otherwise a
    /// file that mentions a foreign class is refused. Nothing is called either way.
    pub skip_objects: bool,
    /// How much of a file is accepted.
    pub limits: Limits,
}

/// What a checkpoint holds.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The tensors, in the order of the pickle.
    pub tensors: Vec<TensorInfo>,
    /// The tensors that have no plain elements, in the order of the pickle.
    pub refused: Vec<Refused>,
    /// Every storage that the pickle names, also those of tensors that were left out.
    pub storages: Vec<Arc<Storage>>,
    /// What was left out or could not be checked, one sentence each.
    pub notes: Vec<String>,
    /// The order of the bytes of every element.
    pub byteorder: Endian,
}

/// A tensor that is no plain view of a storage: sparse, quantized, conjugated, without values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The path to it in the pickled value, its parts joined with dots.
    pub name: String,
    /// What it is, such as `a sparse tensor`.
    pub what: String,
}

impl Checkpoint {
    /// Compares every storage with its checksum.
    ///
    /// # Errors
    /// `Mismatch` naming the first that is damaged, `Io` if the source cannot be read.
    pub fn verify(&self, source: &dyn ReadAt) -> Result<()> {
        self.storages.iter().try_for_each(|storage| storage.verify(source))
    }
}

/// Reads a checkpoint's tensors, not their elements.
///
/// # Errors
/// `Malformed`, `Unsupported` or a `Limit`, naming the place and, where there is one, the tensor.
/// A file that mentions foreign classes is `Malformed` unless [`Options::skip_objects`] is set.
pub fn read(source: &dyn ReadAt, options: &Options) -> Result<Checkpoint> {
    let head = head(source)?;
    let checkpoint = if is_zip(&head) {
        archive::read(source, options)?
    } else if tar::probe(&head, source) {
        tar::read(source, options)?
    } else {
        not_a_checkpoint(&head)?;
        legacy::read(source, options)?
    };
    if checkpoint.tensors.is_empty() && checkpoint.refused.is_empty() {
        return Err(Error::invalid(0, "checkpoint", "it holds no tensors"));
    }
    Ok(checkpoint)
}

/// Whether these are a PyTorch checkpoint, going by `head`, the first bytes of `source`, and for
/// a zip by the names in it. Damage elsewhere is for [`read`] to name.
pub fn probe(head: &[u8], source: &dyn ReadAt) -> bool {
    if !is_zip(head) {
        return legacy::probe(head) || tar::probe(head, source);
    }
    // Torch writes `data.pkl` first, so that a file cut short is known for what it was.
    let first = head.get(30..).unwrap_or_default();
    let name_len = head.get(26..28).map_or(0, |len| match *len {
        [low, high] => usize::from(u16::from_le_bytes([low, high])),
        _ => 0,
    });
    first.get(..name_len).is_some_and(|name| name.ends_with(b"/data.pkl"))
        || zip::Archive::open(source).is_ok_and(|archive| {
            archive::root(&archive).is_ok() || export::Export::find(&archive).is_some()
        })
}

fn is_zip(head: &[u8]) -> bool {
    // An entry, a directory, or the end record of an archive without entries.
    [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"].iter().any(|&magic| head.starts_with(magic))
}

fn head(source: &dyn ReadAt) -> Result<Vec<u8>> {
    let len = source.size().min(512);
    Cursor::new(source).bytes(len, len, "", "first bytes")
}

/// Says what a file is that is often found where a checkpoint was expected.
fn not_a_checkpoint(head: &[u8]) -> Result<()> {
    let text = head.trim_ascii_start();
    let rule = if head.is_empty() {
        "the file is empty"
    } else if text.starts_with(b"version https://git-lfs") {
        "this is a Git LFS pointer; fetch the file itself with git lfs pull"
    } else if text.starts_with(b"<") {
        "this is a web page; the download went wrong"
    } else {
        return Ok(());
    };
    Err(Error::invalid(0, "checkpoint", rule))
}
