//! Parts to bytes: every header of the archive, and the place of each storage, before any data
//! exists.
//!
//! ```text
//!  NAME/data.pkl   NAME/byteorder   NAME/data/0   NAME/data/1 …   NAME/version   directory   end
//! ```
//!
//! As `torch.save` has it: stored entries, each aligned to 64 bytes by a padding field `FB`, the
//! epoch of zip as their time. Local headers state lengths and checksums, which torch leaves to a
//! descriptor after the data; the records `.format_version` and `serialization_id` are left out,
//! because they promise torch's own places and make two files of the same tensors differ.
//!
//! Source: `getPadding` in `caffe2/serialize/inline_container.cc` of PyTorch 2, APPNOTE 6.3.10.

use std::ops::Range;

use wire::{Error, Result};

use crate::dtype::Dtype;
use crate::pickler;

/// The directory that all entries share; torch's own name for an archive that has none.
const ROOT: &str = "archive/";

/// The version of the layout, as torch has written it since 1.6.
const VERSION: &[u8] = b"3\n";

/// A tensor yet to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key in the dictionary.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Sizes, outermost dimension first.
    pub shape: Vec<u64>,
    /// Which storage it is a view of: any number. Tensors with the same one share their bytes,
    /// and are of one type and length.
    pub storage: usize,
}

/// A file yet to be written.
///
/// It is `headers`, then each storage's bytes at its place, the CRC-32 of a storage at each of
/// `sums`, and zeros nowhere: every byte up to `len` is one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is known, and where it goes.
    pub headers: Vec<(u64, Vec<u8>)>,
    /// Where the bytes of each tensor go; those of one storage go to one place.
    pub tensors: Vec<Range<u64>>,
    /// Where the CRC-32 of the bytes in a range goes: four bytes, little-endian.
    pub sums: Vec<(u64, Range<u64>)>,
    /// Bytes of the whole file.
    pub len: u64,
}

impl Plan {
    /// Plans a checkpoint: a dictionary of these tensors, contiguous and little-endian.
    ///
    /// # Errors
    /// `Invalid`, naming the tensor, for a name given twice, a shape that does not fit in 63
    /// bits, or a storage shared by tensors of two types or lengths.
    pub fn new(entries: &[Entry]) -> Result<Self> {
        if entries.is_empty() {
            return Err(Error::invalid(0, "checkpoint", "no tensors, which no reader expects"));
        }
        if entries.iter().any(|entry| entry.name.is_empty()) {
            return Err(Error::invalid(0, "tensor", "a name that is empty"));
        }
        let storages = pickler::storages(entries)?;
        let mut zip = zip::Writer::new(ROOT);
        zip.known("data.pkl", &pickler::pickle(entries, &storages))?;
        zip.known("byteorder", b"little")?;
        let mut places = Vec::new();
        for (key, len) in storages.lens.iter().enumerate() {
            places.push(zip.later(&format!("data/{key}"), &[], *len)?);
        }
        zip.known("version", VERSION)?;
        let zip = zip.end();
        let place = |&key: &usize| places.get(key).cloned().unwrap_or_default();
        let tensors = storages.keys.iter().map(place).collect();
        Ok(Self { headers: zip.headers, tensors, sums: zip.sums, len: zip.len })
    }
}
