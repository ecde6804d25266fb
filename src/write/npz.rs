//! Model → npz: a zip of .npy files, one for each tensor, as NumPy's `savez` writes them.

use ::npy::{Descr, Kind};

use super::WriteOptions;
use super::hub::{self, Container};
use super::layout::{Checksum, FilePlan, Layout, Part};
use crate::ir::{DType, Error, Model, Notes, Result, Tensor};

const CONTAINER: Container =
    Container { name: "npz", shard: |_, _| String::new(), index: "", file };

/// The layout of the file that this model becomes: tensors in the model's order.
///
/// # Errors
/// Unsupported, naming the tensor, for a dtype that NumPy lacks or a name that a zip cannot hold;
/// Usage for parts.
pub fn layout(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Layout> {
    let tensors: Vec<(&String, &Tensor)> = model.tensors.iter().collect();
    hub::layout(&CONTAINER, model, &tensors, options, notes)
}

fn file(name: String, tensors: &[(&String, &Tensor)]) -> Result<FilePlan> {
    let mut zip = zip::Writer::new("");
    let mut parts = Vec::new();
    for (name, tensor) in tensors {
        let named = |error: Error| error.at(name);
        let descr = descr(tensor.dtype()).map_err(named)?;
        let header = ::npy::header(descr, tensor.shape().dims()).map_err(|e| named(e.into()))?;
        let entry = format!("{name}.npy");
        let place = zip::check_name(0, &entry)
            .and_then(|()| zip.later(&entry, &header, tensor.bytes()))
            .map_err(|error| {
                named(Error::unsupported(format!("npz: cannot be written: {error}")))
            })?;
        let tensor = Part::Tensor { name: (*name).clone(), tensor: (*tensor).clone() };
        parts.push((place.start, tensor));
    }
    let plan = zip.end();
    let kind = Checksum::Crc32;
    parts.extend(plan.headers.into_iter().map(|(at, bytes)| (at, Part::Bytes(bytes))));
    parts.extend(plan.sums.into_iter().map(|(at, of)| (at, Part::Sum { file: None, of, kind })));
    // What is empty lies before what begins there.
    parts.sort_by_key(|(offset, part)| (*offset, part.len()));
    Ok(FilePlan { name, len: plan.len, parts })
}

/// NumPy's word for a type.
pub(super) fn descr(dtype: DType) -> Result<Descr> {
    let kind = match dtype {
        DType::Bool => Kind::Bool,
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => Kind::Int,
        DType::U8 | DType::U16 | DType::U32 | DType::U64 => Kind::Uint,
        DType::F16 | DType::F32 | DType::F64 => Kind::Float,
        DType::C64 | DType::C128 => Kind::Complex,
        lacking => {
            let text = format!("NumPy has no type {lacking}; give --type f32");
            return Err(Error::unsupported(text));
        }
    };
    Ok(Descr { kind, size: dtype.block_bytes(), endian: wire::Endian::Little })
}
