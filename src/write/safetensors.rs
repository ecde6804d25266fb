//! Model → safetensors: one file, or the directory that the hub's libraries expect.

use safetensors::{Entry, Plan};

use super::WriteOptions;
use super::hub::{self, Container};
use super::layout::{FilePlan, Layout, Part};
use crate::ir::{Error, Model, Notes, Result, Tensor};
use crate::types;

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
            let dtype =
                types::SAFETENSORS.theirs(tensor.dtype()).map_err(|error| error.at(name))?;
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
