//! Flax checkpoint → Model: arrays in place, under the keys that lead to them.

use std::sync::Arc;

use msgpack::Array;

use super::hub::{self, Weights};
use crate::ir::{Blob, DType, Error, Limits, Model, Notes, Op, Result, Shape, Tensor};
use crate::store::Source;
use crate::types;

const SINGLE: &str = "flax_model.msgpack";
const INDEX: &str = "flax_model.msgpack.index.json";

/// The keys of a `TrainState`: its weights, and the moments that its optimizer keeps of them.
const WEIGHTS: &str = "params/";
const OPTIMIZER: &str = "opt_state/";

/// Names that a note lists; the rest is counted.
const SHOWN: usize = 8;

/// Whether the source is a checkpoint, or a directory of the hub that holds one.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    match source.entry() {
        Some(name) if name.ends_with(".msgpack.index.json") => Ok(true),
        Some(name) => Ok(msgpack::probe(&super::head(&*source.open(name)?)?)),
        None => Ok(source.names()?.iter().any(|name| name == SINGLE || name == INDEX)),
    }
}

/// Reads the tensors, and what lies beside them.
///
/// # Errors
/// What the container says.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let index = match source.entry() {
        Some(name) => Some(name).filter(|name| name.ends_with(".index.json")),
        None => source.find(INDEX)?.map(|_| INDEX),
    };
    let weights = match index {
        Some(index) => {
            let mut file = |blob: &Arc<Blob>, notes: &mut Notes| file(blob, limits, notes);
            hub::sharded(source, index, limits, notes, &mut file)?
        }
        None => file(&source.open(source.entry().unwrap_or(SINGLE))?, limits, notes)?,
    };
    hub::model("flax", weights, source, limits, notes)
}

fn file(blob: &Arc<Blob>, limits: &Limits, notes: &mut Notes) -> Result<Weights> {
    let container = msgpack::Limits { values: limits.msgpack_values, text: limits.msgpack_text };
    let place = |error: Error| error.at("flax").at(blob.name());
    let mut tree = msgpack::read(&**blob, &container).map_err(|error| place(error.into()))?;
    leave_out(&mut tree, blob.name(), notes);
    let mut weights = Weights { refused: tree.refused.into_iter().collect(), ..Weights::default() };
    for array in tree.arrays {
        let Some(dtype) = types::FLAX.ours(array.dtype) else {
            weights.refused.insert(array.name, format!("of type {}", array.dtype.name()));
            continue;
        };
        let tensor = tensor(blob, dtype, &array);
        let named = |error: Error| place(error.at(format!("array '{}'", array.name)));
        weights.tensors.insert(array.name.clone(), tensor.map_err(named)?);
    }
    Ok(weights)
}

/// Leaves out what is no weight: an optimizer's state beside the weights, numbers of Python's.
fn leave_out(tree: &mut msgpack::Tree, file: &str, notes: &mut Notes) {
    let is_state = tree.arrays.iter().any(|array| array.name.starts_with(WEIGHTS));
    let kept = |name: &str| !(is_state && name.starts_with(OPTIMIZER));
    let before = tree.arrays.len() + tree.refused.len();
    tree.arrays.retain(|array| kept(&array.name));
    tree.refused.retain(|(name, _)| kept(name));
    let lost = before - tree.arrays.len() - tree.refused.len();
    if lost > 0 {
        notes.lost(file, format!("{lost} arrays of the optimizer's state are left out"));
    }
    tree.others.retain(|name| kept(name));
    if !tree.others.is_empty() {
        let shown = tree.others.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>();
        let more = tree.others.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("values that are no arrays are left out: {}{more}", shown.join(", "));
        notes.lost(file, text);
    }
}

/// In place, or of its pieces one after the other.
fn tensor(blob: &Arc<Blob>, dtype: DType, array: &Array) -> Result<Tensor> {
    let shape = Shape::new(array.shape.clone())?;
    if let [piece] = &array.pieces[..] {
        return Tensor::span(dtype, shape, Arc::clone(blob), piece.start);
    }
    let size = array.dtype.bytes();
    let pieces = array.pieces.iter().map(|piece| {
        let count = Shape::new(vec![(piece.end - piece.start) / size])?;
        Tensor::span(dtype, count, Arc::clone(blob), piece.start)
    });
    let inputs = pieces.collect::<Result<_>>()?;
    let input = Tensor::of(Op::Merge { inputs, axis: 0, groups: 1 })?;
    Tensor::of(Op::Reshape { input, shape })
}
