//! PyTorch checkpoint → Model: tensors of the pickle, in place where they are contiguous.

use std::sync::Arc;

use indexmap::IndexMap;
use torch::Dtype;

use super::hub;
use crate::ir::{Blob, DType, Error, Limits, Model, Notes, Result, Shape, Tensor};
use crate::store::Source;

const SINGLE: &str = "pytorch_model.bin";
const INDEX: &str = "pytorch_model.bin.index.json";

/// Whether the source is a checkpoint, or a directory of the hub that holds one.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    match source.entry() {
        Some(name) if name.ends_with(".bin.index.json") => Ok(true),
        Some(name) => {
            let blob = source.open(name)?;
            Ok(torch::probe(&super::head(&blob)?, &*blob))
        }
        None => Ok(source.names()?.iter().any(|name| name == SINGLE || name == INDEX)),
    }
}

/// Reads the tensors, and what lies beside them.
///
/// # Errors
/// What the container says; Unsupported for what is not a plain view of bytes.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let tensors = match source.entry() {
        Some(name) if name.ends_with(".index.json") => sharded(source, name, limits, notes)?,
        Some(name) => file(&source.open(name)?, notes)?,
        None if source.find(INDEX)?.is_some() => sharded(source, INDEX, limits, notes)?,
        None => file(&source.open(SINGLE)?, notes)?,
    };
    hub::model("pytorch", tensors, source, limits, notes)
}
