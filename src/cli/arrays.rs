//! Named arrays in an .npz: a zip of .npy files.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use npy::{Descr, Kind};
use wire::Endian;

use crate::ir::{Access, Blob, Error, Result};
use crate::run::graph::{Array, Type, Value};

/// Most bytes of one array: it is held in memory.
const ARRAY_MAX: u64 = 16 << 30;

/// NumPy's types and ours.
#[rustfmt::skip]
const TYPES: &[(Kind, u64, Type)] = &[
    (Kind::Bool,  1, Type::Bool),
    (Kind::Int,   1, Type::I8),
    (Kind::Int,   2, Type::I16),
    (Kind::Int,   4, Type::I32),
    (Kind::Int,   8, Type::I64),
    (Kind::Uint,  1, Type::U8),
    (Kind::Uint,  2, Type::U16),
    (Kind::Uint,  4, Type::U32),
    (Kind::Uint,  8, Type::U64),
    (Kind::Float, 2, Type::F16),
    (Kind::Float, 4, Type::F32),
    (Kind::Float, 8, Type::F64),
];

/// Reads all arrays of a file.
///
/// # Errors
/// Io; Malformed for what is no such file; Unsupported for arrays of text or of complex numbers.
pub(crate) fn read(path: &Path) -> Result<IndexMap<String, Value>> {
    let blob = Blob::open(path, Access::Read)?;
    let place = |error: wire::Error| Error::from(error).at(blob.name());
    let archive = zip::Archive::open(&blob).map_err(place)?;
    let mut arrays = IndexMap::new();
    for entry in &archive.entries {
        let name = entry.name.strip_suffix(".npy").unwrap_or(&entry.name);
        let bytes = entry.data(&blob, ARRAY_MAX, "memory for one array").map_err(place)?;
        let array = array(bytes).map_err(|error| error.at(name).at(blob.name()))?;
        arrays.insert(name.to_owned(), array.into());
    }
    Ok(arrays)
}

/// The array of an .npy file.
fn array(bytes: Vec<u8>) -> Result<Array> {
    let header = npy::read(&bytes, &npy::Limits::default())?;
    let row = TYPES.iter().find(|row| (row.0, row.1) == (header.descr.kind, header.descr.size));
    let dtype = row.ok_or_else(|| Error::unsupported(format!("elements of {}", header.descr)))?.2;
    let (start, len) = (header.data_offset as usize, header.data_len as usize);
    let mut data = bytes[start..start + len].to_vec();
    if header.descr.endian == Endian::Big {
        data.chunks_exact_mut(header.descr.size as usize).for_each(<[u8]>::reverse);
    }
    let mut shape: Vec<usize> = header.shape.iter().map(|dim| *dim as usize).collect();
    if !header.fortran {
        return Array::from_bytes(dtype, shape, &data);
    }
    shape.reverse();
    Array::from_bytes(dtype, shape, &data)?.transposed()
}

/// The bytes of a file with these values. Types that NumPy lacks are written as f32; the members
/// of a sequence by its name and their number, those of a map by its name and their keys.
///
/// # Errors
/// Unsupported for text; Limit above 4 GiB.
pub(crate) fn write(values: &IndexMap<String, Value>) -> Result<Vec<u8>> {
    let mut entries = Vec::new();
    for (name, value) in values {
        add(name, value, &mut entries).map_err(|error| error.at(name))?;
    }
    Ok(zip::stored(&entries)?)
}

fn add(name: &str, value: &Value, entries: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    match value {
        Value::Nothing => {}
        Value::Sequence(values) => {
            for (i, value) in Arc::clone(values).iter().enumerate() {
                add(&format!("{name}.{i}"), value, entries)?;
            }
        }
        Value::Map(map) => {
            let (keys, values) = &**map;
            for i in 0..keys.len() {
                let key = match keys.slice::<String>() {
                    Ok(texts) => texts[i].clone(),
                    Err(_) => keys.ints()?[i].to_string(),
                };
                add(&format!("{name}.{key}"), &values.range(i, Vec::new())?.into(), entries)?;
            }
        }
        Value::Tensor(array) => entries.push((format!("{name}.npy"), file(array)?)),
    }
    Ok(())
}

fn file(array: &Array) -> Result<Vec<u8>> {
    if array.dtype() == Type::Text {
        return Err(Error::unsupported("text, which .npy holds as no number"));
    }
    let Some((kind, size, _)) = TYPES.iter().find(|row| row.2 == array.dtype()) else {
        return file(&Array::of(array.shape().to_vec(), array.floats()?.into_owned())?);
    };
    let descr = Descr { kind: *kind, size: *size, endian: Endian::Little };
    let shape: Vec<u64> = array.shape().iter().map(|dim| *dim as u64).collect();
    let mut bytes = npy::header(descr, &shape)?;
    bytes.extend(array.to_bytes());
    Ok(bytes)
}
