//! Our own encoding of the reference to the candidate's types: what an honest conversion gives.

use std::sync::Arc;

use indexmap::IndexMap;

use super::pair::{Pair, Pairs};
use crate::ir::{Block, DType, Model, Op, Quantizer, Result, Tensor};

/// Who encodes a packing; nothing if this version cannot.
pub type QuantizerFor = fn(&Block) -> Option<&'static Quantizer>;

/// Whether elements of this type can be decoded to numbers.
pub(super) fn is_weights(dtype: DType) -> bool {
    match dtype {
        DType::Packed(block) => block.codec.is_some(),
        _ => dtype.is_float(),
    }
}

/// The recipe that encodes `reference` as `to`, a packing by the importance of its columns if that
/// is known; nothing if this version has no such encoder.
///
/// # Errors
/// Malformed if rows are not whole blocks.
pub(super) fn encoding(
    reference: &Tensor,
    to: DType,
    quantizer_for: impl Fn(&Block) -> Option<&'static Quantizer>,
    importance: Option<Arc<[f32]>>,
) -> Result<Option<Tensor>> {
    if reference.dtype() == to {
        return Ok(Some(reference.clone()));
    }
    let input = reference.clone();
    if !is_weights(reference.dtype()) {
        // What has no place as it is becomes bytes.
        let is_small = matches!(
            reference.dtype(),
            DType::Bool | DType::I4 | DType::U4 | DType::I2 | DType::U2
        );
        let widened = (is_small && to == DType::I8).then_some(Op::Widen { input });
        return widened.map(Tensor::of).transpose();
    }
    let op = match to {
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 => Op::Cast { input, to },
        DType::Packed(block) => match quantizer_for(block) {
            Some(quantizer) => Op::Pack { input, quantizer, importance },
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Tensor::of(op).map(Some)
}

/// The reference under its own names and conventions, each tensor encoded as its pair is in the
/// candidate; and the tensors that could not be. Encoding row by row and reordering rows can be
/// done in either order, so of the table that maps names nothing is needed here but what becomes
/// of a tensor, and whether its columns are the candidate's rows.
pub(super) fn model(
    reference: &Model,
    pairs: &Pairs,
    quantizer_for: impl Fn(&Block) -> Option<&'static Quantizer>,
) -> Result<(Model, Vec<String>)> {
    let by_reference = pairs.pairs.iter().map(|pair| (pair.reference_name.as_str(), pair));
    let by_reference: IndexMap<&str, &Pair> = by_reference.collect();
    let find = |name: &str| {
        // Of what becomes several, the one that keeps least stands for all.
        let parts = pairs.becomes.get(name).into_iter().flatten();
        let parts = parts.filter_map(|name| by_reference.get(name.as_str()));
        let least = || parts.min_by(|a, b| bytes_each(a).total_cmp(&bytes_each(b)));
        by_reference.get(name).or_else(least).copied()
    };
    let mut unknown = Vec::new();
    let mut model = reference.clone();
    for (name, tensor) in &mut model.tensors {
        let Some(pair) = find(name) else { continue };
        match encoded(tensor, pair, &quantizer_for).map_err(|error| error.at(name))? {
            Some(encoded) => *tensor = encoded,
            None => unknown.push(name.clone()),
        }
    }
    Ok((model, unknown))
}

/// Bytes of a weight of the candidate.
fn bytes_each(pair: &Pair) -> f64 {
    pair.candidate.bytes() as f64 / pair.candidate.shape().count().max(1) as f64
}

/// A tensor in the type of its pair's candidate, as it lies in the reference.
fn encoded(
    tensor: &Tensor,
    pair: &Pair,
    quantizer_for: impl Fn(&Block) -> Option<&'static Quantizer>,
) -> Result<Option<Tensor>> {
    let to = pair.candidate.dtype();
    if !to.is_packed() || to == tensor.dtype() || !is_turned(&pair.reference) {
        return encoding(tensor, to, quantizer_for, None);
    }
    let turned = Tensor::of(Op::Transpose { input: tensor.clone() })?;
    let Some(packed) = encoding(&turned, to, quantizer_for, None)? else { return Ok(None) };
    let values = Tensor::of(Op::Cast { input: packed, to: DType::F32 })?;
    Tensor::of(Op::Transpose { input: values }).map(Some)
}

/// Whether the columns of what this is made from are its rows. A transposition within each head
/// comes after the heads were told apart, and leaves the rows of the whole as they are.
fn is_turned(tensor: &Tensor) -> bool {
    let Some(op) = tensor.op() else { return false };
    let by_head = |input: &Tensor| matches!(input.op(), Some(Op::Reshape { .. }));
    match op {
        Op::Transpose { input } => !by_head(input),
        _ => op.inputs().into_iter().any(is_turned),
    }
}
