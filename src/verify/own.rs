//! Our own encoding of the reference to the candidate's types: what an honest conversion gives.

use indexmap::IndexMap;

use super::pair::Pair;
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

/// The recipe that encodes `reference` as `to`; nothing if this version has no such encoder.
///
/// # Errors
/// Malformed if rows are not whole blocks.
pub(super) fn encoding(
    reference: &Tensor,
    to: DType,
    quantizer_for: impl Fn(&Block) -> Option<&'static Quantizer>,
) -> Result<Option<Tensor>> {
    if reference.dtype() == to {
        return Ok(Some(reference.clone()));
    }
    if !is_weights(reference.dtype()) {
        return Ok(None);
    }
    let input = reference.clone();
    let op = match to {
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 => Op::Cast { input, to },
        DType::Packed(block) => match quantizer_for(block) {
            Some(quantizer) => Op::Pack { input, quantizer, importance: None },
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Tensor::of(op).map(Some)
}

/// The reference under its own names and conventions, each tensor encoded as its pair is in the
/// candidate; and the tensors that could not be. Encoding row by row and reordering rows can be
/// done in either order, so nothing of the table that maps names is needed here.
pub(super) fn model(
    reference: &Model,
    pairs: &[Pair],
    quantizer_for: impl Fn(&Block) -> Option<&'static Quantizer>,
) -> Result<(Model, Vec<String>)> {
    let types: IndexMap<&str, DType> =
        pairs.iter().map(|pair| (pair.reference_name.as_str(), pair.candidate.dtype())).collect();
    let mut unknown = Vec::new();
    let mut model = reference.clone();
    for (name, tensor) in &mut model.tensors {
        let Some(to) = types.get(name.as_str()) else { continue };
        match encoding(tensor, *to, &quantizer_for).map_err(|error| error.at(name))? {
            Some(encoded) => *tensor = encoded,
            None => unknown.push(name.clone()),
        }
    }
    Ok((model, unknown))
}
