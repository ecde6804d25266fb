//! An importance matrix as llama-imatrix writes it: see `read::imatrix` for the layout.

use gguf::{Array, Metadata, Value};

use crate::ir::{Error, Result};

/// What went into one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// GGUF's name of it.
    pub name: String,
    /// Σx² for each column, matrix by matrix.
    pub squares: Vec<f32>,
    /// How many vectors went into each matrix.
    pub counts: Vec<f32>,
}

/// A whole file. Entries are written in the order of their names.
///
/// # Errors
/// Unsupported for a name that GGUF cannot hold.
pub fn file(dataset: &str, chunks: u32, chunk_size: u32, entries: &[Entry]) -> Result<Vec<u8>> {
    let mut metadata = Metadata::default();
    let mut put = |key: &str, value| metadata.set(key, value);
    put("general.type", Value::Text("imatrix".to_owned()));
    put("imatrix.datasets", Value::Array(Array::Text(vec![dataset.to_owned()])));
    put("imatrix.chunk_count", Value::U32(chunks));
    put("imatrix.chunk_size", Value::U32(chunk_size));
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let f32 = gguf::KINDS.iter().find(|kind| kind.name == "f32");
    let f32 = f32.ok_or_else(|| Error::bug("GGUF knows no f32"))?;
    let parts = entries.iter().flat_map(|entry| {
        let matrices = entry.counts.len() as u64;
        let columns = entry.squares.len() as u64 / matrices.max(1);
        [("in_sum2", columns, &entry.squares), ("counts", 1, &entry.counts)].map(
            |(what, columns, values)| {
                ((format!("{}.{what}", entry.name), vec![columns, matrices], f32), values)
            },
        )
    });
    let (infos, values): (Vec<_>, Vec<_>) = parts.unzip();
    let plan = gguf::Plan::new(&metadata, &infos, gguf::ALIGNMENT_DEFAULT)?;
    let mut bytes = plan.header;
    for (place, values) in plan.tensors.iter().zip(values) {
        bytes.resize(place.offset as usize, 0);
        bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }
    bytes.resize(plan.len as usize, 0);
    Ok(bytes)
}
