//! Model → safetensors: one file, or the directory that the hub's libraries expect.

use safetensors::{Dtype, Entry, Plan};

use super::WriteOptions;
use super::hub::{self, Container};
use super::layout::{FilePlan, Layout, Part};
use crate::ir::{DType, Error, Model, Notes, Result, Tensor};

const CONTAINER: Container = Container {
    name: "safetensors",
    shard: safetensors::shard_name,
    index: "model.safetensors.index.json",
    file,
};

/// The layout of the file or directory that this model becomes.
///
/// # Errors
/// Unsupported, naming the tensor, for a dtype that safetensors lacks.
pub fn layout(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Layout> {
    let mut tensors: Vec<(&String, &Tensor)> = model.tensors.iter().collect();
    // Wide elements first, as the reference does, so that each stays aligned; then by name.
    tensors.sort_by_key(|(name, tensor)| (u64::MAX - tensor.dtype().block_bytes(), *name));
    hub::layout(&CONTAINER, model, &tensors, options, notes)
}

fn file(name: String, tensors: &[(&String, &Tensor)]) -> Result<FilePlan> {
    let entries: Vec<Entry> = tensors
        .iter()
        .map(|(name, tensor)| {
            let dtype = dtype(tensor.dtype()).map_err(|error| error.at(name))?;
            Ok(Entry { name: (*name).clone(), dtype, shape: tensor.shape().dims().to_vec() })
        })
        .collect::<Result<_>>()?;
    // transformers refuses files that do not say which framework's layout they have.
    let metadata = [("format".to_owned(), "pt".to_owned())];
    let plan = Plan::new(&metadata, &entries)
        .map_err(|error| Error::unsupported(format!("safetensors: cannot be written: {error}")))?;
    let mut parts = vec![(0, Part::Bytes(plan.header))];
    parts.extend(tensors.iter().zip(plan.spans).map(|((name, tensor), span)| {
        (span.offset, Part::Tensor { name: (*name).clone(), tensor: (*tensor).clone() })
    }));
    Ok(FilePlan { name, len: plan.len, parts })
}

fn dtype(dtype: DType) -> Result<Dtype> {
    Ok(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::Bf16,
        DType::F8E4M3 => Dtype::F8E4M3,
        DType::F8E5M2 => Dtype::F8E5M2,
        DType::F8E4M3Fnuz => Dtype::F8E4M3Fnuz,
        DType::F8E5M2Fnuz => Dtype::F8E5M2Fnuz,
        DType::F8E8M0 => Dtype::F8E8M0,
        DType::F4E2M1 => Dtype::F4,
        DType::C64 => Dtype::C64,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::Bool,
        DType::Packed(block) => {
            let text = format!("safetensors has no packing {}; give --type", block.name);
            return Err(Error::unsupported(text));
        }
        DType::C128 | DType::F6E2M3 | DType::F6E3M2 => return Err(lacks(dtype)),
        DType::I4 | DType::U4 | DType::I2 | DType::U2 => return Err(lacks(dtype)),
    })
}

fn lacks(dtype: DType) -> Error {
    Error::unsupported(format!("safetensors has no type {dtype}; --exclude the tensor"))
}
