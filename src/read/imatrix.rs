//! Importance matrices as llama-imatrix writes them: GGUF, and the format before it.
//!
//! ```text
//! GGUF: general.type = "imatrix", imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size;
//!   for each tensor T of the model
//!   T.in_sum2   f32 [matrices, columns]   sums of the squares of the inputs
//!   T.counts    f32 [matrices, 1]         how many inputs were summed
//!
//! before it, little-endian:
//!  ┌────────┬──────────────────────────────────────────────────┬────────┬───────────────┐
//!  │ n: i32 │ n times: len: i32, name, calls: i32, values: i32,│ chunks:│ len: i32, name│
//!  │        │          values × f32, sums over calls           │ i32    │ of the text   │
//!  └────────┴──────────────────────────────────────────────────┴────────┴───────────────┘
//!                                                                └── may be missing ─────┘
//! ```
//!
//! Both from llama.cpp: tools/imatrix/imatrix.cpp, and their readers in tools/quantize/quantize.cpp.

use std::sync::Arc;

use indexmap::IndexMap;
use wire::{Cursor, Why};

use crate::ir::{Blob, Error, Limits, Result};
use crate::quant::ImportanceMatrix;

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

/// Bytes of a name in the format before GGUF: ggml's names have at most 63.
const NAME_MAX: u64 = 4096;

/// Reads an importance matrix of either format.
///
/// # Errors
/// Malformed if it is none, or is damaged; Unsupported for sums that are not f32; Io; Limit.
pub fn read(blob: &Blob, limits: &Limits) -> Result<ImportanceMatrix> {
    let head = super::head(blob)?;
    let matrix = if gguf::probe(&head) { current(blob, limits) } else { legacy(blob) };
    let matrix = matrix.map_err(|error| error.at("importance matrix").at(blob.name()))?;
    Ok(ImportanceMatrix { file: blob.name().to_owned(), ..matrix })
}

fn current(blob: &Blob, limits: &Limits) -> Result<ImportanceMatrix> {
    let container = gguf::Limits {
        string: limits.gguf_string,
        metadata: limits.gguf_metadata,
        ..gguf::Limits::default()
    };
    let file = gguf::read(blob, &container)?;
    if file.endian == gguf::Endian::Big {
        return Err(Error::unsupported("a big-endian GGUF"));
    }
    let entry = |key: &str| file.metadata.get(key);
    let kind = entry("general.type").and_then(gguf::Value::text);
    if kind != Some("imatrix") {
        let found = kind.map_or("nothing".to_owned(), |kind| format!("\"{kind}\""));
        return Err(Error::malformed(format!(
            "general.type: found {found}, expected \"imatrix\"; give what llama-imatrix writes"
        )));
    }
    let missing = |key: &str| Error::malformed(format!("{key} is missing"));
    let datasets = entry("imatrix.datasets").and_then(gguf::Value::array);
    let datasets = datasets.and_then(gguf::Array::texts).map(<[String]>::to_vec);
    let chunks = entry("imatrix.chunk_count").and_then(gguf::Value::unsigned);
    let chunks = chunks.ok_or_else(|| missing("imatrix.chunk_count"))?;
    Ok(ImportanceMatrix {
        file: String::new(),
        datasets: datasets.ok_or_else(|| missing("imatrix.datasets"))?,
        chunks: chunks.try_into().unwrap_or(u32::MAX),
        entries: means(blob, &file.tensors)?,
    })
}

/// The sums of each tensor, divided by their counts.
fn means(blob: &Blob, tensors: &[gguf::TensorInfo]) -> Result<IndexMap<String, Arc<[f32]>>> {
    let find = |name: &str| tensors.iter().find(|info| info.name == name);
    let lonely = |info: &gguf::TensorInfo, other: &str| {
        Err(Error::malformed(format!("tensor '{}': there is no '{other}'", info.name)))
    };
    let mut entries = IndexMap::new();
    for info in tensors {
        if let Some(name) = info.name.strip_suffix(COUNTS) {
            let sums = format!("{name}{SUMS}");
            if find(&sums).is_none() {
                return lonely(info, &sums);
            }
        }
        let Some(name) = info.name.strip_suffix(SUMS) else { continue };
        let other = format!("{name}{COUNTS}");
        let Some(counts) = find(&other) else { return lonely(info, &other) };
        let columns = info.dims.first().copied().unwrap_or(1);
        let (sums, counts) = (floats(blob, info)?, floats(blob, counts)?);
        let mean = mean(&sums, &counts, columns as usize);
        let mean = mean.map_err(|error| error.at(format!("tensor '{}'", info.name)))?;
        entries.insert(name.to_owned(), mean.into());
    }
    Ok(entries)
}

fn floats(blob: &Blob, info: &gguf::TensorInfo) -> Result<Vec<f32>> {
    if info.kind.name != "f32" {
        let text = format!("tensor '{}': of type {}, expected f32", info.name, info.kind.name);
        return Err(Error::unsupported(text));
    }
    // The container has held the length against the size of the file.
    let mut bytes = vec![0; info.len as usize];
    blob.read(info.offset, &mut bytes)?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// Sums by rows of `columns`, each divided by its count; a matrix that never saw an input counts
/// alike in all columns.
fn mean(sums: &[f32], counts: &[f32], columns: usize) -> Result<Vec<f32>> {
    let rows = sums.chunks(columns.max(1));
    if rows.len() != counts.len() {
        let text = format!("found {} counts, expected {}", counts.len(), rows.len());
        return Err(Error::malformed(text));
    }
    let mut mean = Vec::with_capacity(sums.len());
    for (row, count) in rows.zip(counts) {
        if *count > 0.0 {
            mean.extend(row.iter().map(|sum| sum / count));
        } else {
            mean.extend(row.iter().map(|_| 1.0));
        }
    }
    checked(mean)
}

/// Squares are neither negative nor NaN, and sums of them that overflowed say nothing.
fn checked(mean: Vec<f32>) -> Result<Vec<f32>> {
    match mean.iter().position(|x| !x.is_finite() || *x < 0.0) {
        None => Ok(mean),
        Some(i) => {
            let text = format!("value {i}: found {}, expected a mean of squares", mean[i]);
            Err(Error::malformed(text))
        }
    }
}

fn legacy(blob: &Blob) -> Result<ImportanceMatrix> {
    let mut c = Cursor::new(blob);
    let count = length(&mut c, "entry count")?;
    // Each entry has three lengths, a name and a value.
    if count == 0 || count > c.remaining() / 17 {
        return Err(Error::malformed("neither a GGUF nor what llama-imatrix wrote before it"));
    }
    let mut matrix = ImportanceMatrix::default();
    for index in 0..count {
        let (name, values) = entry(&mut c).map_err(|error| error.at(format!("entry {index}")))?;
        if matrix.entries.insert(name.clone(), values.into()).is_some() {
            return Err(Error::malformed(format!("entry {index}: '{name}' stands twice")));
        }
    }
    if c.remaining() > 0 {
        matrix.chunks = length(&mut c, "chunk count")?.try_into().unwrap_or(u32::MAX);
        matrix.datasets = vec![text(&mut c, "dataset")?];
    }
    if c.remaining() > 0 {
        let text = format!("{} bytes follow the end", c.remaining());
        return Err(wire::Error::invalid(c.offset(), "data", text).into());
    }
    Ok(matrix)
}

/// A name, and the sums over calls divided by their number.
fn entry(c: &mut Cursor<'_>) -> Result<(String, Vec<f32>)> {
    let name = text(c, "name")?;
    let calls = length(c, "calls")?;
    let len = length(c, "value count")?;
    let bytes = c.bytes(len * 4, u64::MAX, "the size of the file", "values")?;
    let sums = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let calls = if calls > 0 { calls as f32 } else { 1.0 };
    let mean = checked(sums.map(|sum| sum / calls).collect());
    mean.map(|mean| (name.clone(), mean)).map_err(|error| error.at(format!("'{name}'")))
}

/// An `int` that counts something.
fn length(c: &mut Cursor<'_>, what: &'static str) -> Result<u64> {
    let at = c.offset();
    let found = c.i32(what)?;
    u64::try_from(found).map_err(|_| {
        let why = Why::Mismatch { found: found.to_string(), expected: "a count".to_owned() };
        wire::Error::new(at, what, why).into()
    })
}

fn text(c: &mut Cursor<'_>, what: &'static str) -> Result<String> {
    let len = length(c, what)?;
    let at = c.offset();
    let bytes = c.bytes(len, NAME_MAX, "a name", what)?;
    String::from_utf8(bytes).map_err(|_| wire::Error::invalid(at, what, "is not UTF-8").into())
}
