//! Model → PyTorch: one checkpoint, or the directory that the hub's libraries expect.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::torch::{Entry, Plan};

use super::WriteOptions;
use super::hub::{self, Container};
use super::layout::{Checksum, FilePlan, Layout, Part};
use crate::ir::{Blob, Error, Model, Notes, Op, Result, Tensor};
use crate::types;

const CONTAINER: Container =
    Container { name: "PyTorch", shard: shard_name, index: "pytorch_model.bin.index.json", file };

/// The layout of the file or directory that this model becomes: tensors in the model's order.
///
/// # Errors
/// Unsupported, naming the tensor, for a dtype that torch lacks.
pub fn layout(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Layout> {
    let tensors: Vec<(&String, &Tensor)> = model.tensors.iter().collect();
    hub::layout(&CONTAINER, model, &tensors, options, notes)
}

/// The name of shard `no`, counted from 1, as transformers gives it: a single file has no number.
fn shard_name(no: u64, count: u64) -> String {
    match count {
        0 | 1 => "pytorch_model.bin".to_owned(),
        _ => format!("pytorch_model-{no:05}-of-{count:05}.bin"),
    }
}

fn file(name: String, tensors: &[(&String, &Tensor)]) -> Result<FilePlan> {
    let storages = storages(tensors);
    let entries = tensors.iter().zip(&storages).map(|((name, tensor), &storage)| {
        let dtype = types::TORCH.theirs(tensor.dtype()).map_err(|error| error.at(name))?;
        let shape = tensor.shape().dims().to_vec();
        Ok(Entry { name: (*name).clone(), dtype, shape, storage })
    });
    let plan = Plan::new(&entries.collect::<Result<Vec<_>>>()?)
        .map_err(|error| Error::unsupported(format!("pytorch: cannot be written: {error}")))?;
    let headers = plan.headers.into_iter().map(|(at, bytes)| (at, Part::Bytes(bytes)));
    let kind = Checksum::Crc32;
    let sums = plan.sums.into_iter().map(|(at, of)| (at, Part::Sum { file: None, of, kind }));
    let first = tensors.iter().zip(plan.tensors).zip(storages.iter().enumerate());
    // Of tensors that share a storage, the first writes it.
    let first = first.filter(|(_, (no, storage))| no == *storage);
    let data = first.map(|(((name, tensor), range), _)| {
        (range.start, Part::Tensor { name: (*name).clone(), tensor: (*tensor).clone() })
    });
    let mut parts: Vec<(u64, Part)> = headers.chain(sums).chain(data).collect();
    // What is empty lies before what begins there.
    parts.sort_by_key(|(offset, part)| (*offset, part.len()));
    Ok(FilePlan { name, len: plan.len, parts })
}

/// For each tensor the number of the first that is made of the same bytes of the same file in the
/// same way: tied weights are written once, and torch loads them as one.
fn storages(tensors: &[(&String, &Tensor)]) -> Vec<usize> {
    let mut first = BTreeMap::new();
    let numbered = tensors.iter().enumerate().map(|(no, (_, tensor))| {
        origin(tensor).map_or(no, |origin| *first.entry(origin).or_insert(no))
    });
    numbered.collect()
}

/// Where a tensor is read, its bytes there, and the types that it goes through element by element.
type Origin = (*const Blob, u64, u64, Vec<&'static str>);

fn origin(tensor: &Tensor) -> Option<Origin> {
    if let Some((blob, start)) = tensor.place() {
        return Some((Arc::as_ptr(blob), start, tensor.bytes(), vec![tensor.dtype().name()]));
    }
    let (Op::Cast { input, .. } | Op::SwapBytes { input }) = tensor.op()? else { return None };
    let (blob, start, bytes, mut types) = origin(input)?;
    types.push(tensor.dtype().name());
    Some((blob, start, bytes, types))
}
