//! safetensors → Model: one file, shards with their index, or a directory of the hub.

use std::sync::Arc;

use super::hub::{self, Weights};
use crate::ir::{Blob, Error, Limits, Model, Notes, Result, Shape, Tensor};
use crate::store::Source;
use crate::types;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Whether the source is a safetensors file, or a directory that holds some.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    match source.entry() {
        Some(name) if name.ends_with(".index.json") => Ok(name.contains("safetensors")),
        Some(name) => {
            let blob = source.open(name)?;
            Ok(safetensors::probe(&super::head(&blob)?, blob.size()))
        }
        None => Ok(source.names()?.iter().any(|name| {
            name == INDEX
                || std::path::Path::new(name).extension().is_some_and(|e| e == "safetensors")
        })),
    }
}

/// Reads the tensors, and what lies beside them.
///
/// # Errors
/// What the container says; Malformed if shards and index contradict each other.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let weights = match source.entry() {
        Some(name) if name.ends_with(".index.json") => sharded(source, name, limits, notes)?,
        Some(name) => file(&source.open(name)?, limits)?,
        None if source.find(INDEX)?.is_some() => sharded(source, INDEX, limits, notes)?,
        None => file(&source.open(&single(source)?)?, limits)?,
    };
    let model = hub::model("safetensors", weights, source, limits, notes)?;
    super::gptq::unpack(super::mlx::unpack(model, notes)?, source, limits, notes)
}

/// The only safetensors file of a directory without an index.
fn single(source: &dyn Source) -> Result<String> {
    let names = source.names()?;
    let is = |name: &&String| name.ends_with(".safetensors");
    let all: Vec<&String> = names.iter().filter(is).collect();
    match all[..] {
        [only] => Ok(only.clone()),
        _ if all.iter().any(|name| *name == SINGLE) => Ok(SINGLE.into()),
        _ => Err(Error::malformed(format!(
            "{} safetensors files and no {INDEX}; name one of them, or add the index",
            all.len()
        ))
        .at(source.label())),
    }
}

/// Every tensor of one file, in the order of its data.
fn file(blob: &Arc<Blob>, limits: &Limits) -> Result<Weights> {
    let place = |error: Error| error.at("safetensors").at(blob.name());
    let container = safetensors::Limits { header: limits.safetensors_header };
    let file = safetensors::read(&**blob, &container).map_err(|error| place(error.into()))?;
    let mut weights = Weights::default();
    for info in file.tensors {
        let named = |error: Error| place(error.at(format!("tensor '{}'", info.name)));
        let Some(dtype) = types::SAFETENSORS.ours(info.dtype) else {
            weights.refused.insert(info.name, format!("of type {}", info.dtype.name()));
            continue;
        };
        let shape = Shape::new(info.shape.clone()).map_err(named)?;
        let tensor = Tensor::span(dtype, shape, Arc::clone(blob), info.offset).map_err(named)?;
        weights.tensors.insert(info.name, tensor);
    }
    Ok(weights)
}

/// The weights of all shards; index and shards must agree.
fn sharded(
    source: &dyn Source,
    index_name: &str,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<Weights> {
    hub::sharded(source, index_name, limits, notes, &mut |blob, _| file(blob, limits))
}
