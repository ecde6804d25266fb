//! Graphs of operators: the types that they compute in, and the weights that they hold.

mod integer;
mod narrow;
mod precision;
mod scope;
mod signatures;
mod weights;
mod widen;

pub use weights::{Constants, weights, weights_for_gguf};

use crate::ir::{DType, Error, Model, Notes, Result};

/// The types that a graph and its weights are to have.
#[derive(Debug, Clone, Copy)]
pub struct Retype {
    /// f32, f16 or bf16 to compute in; or i8 for weights in 8 bits.
    pub to: DType,
    /// Inputs and outputs stay f32.
    pub keep_io: bool,
    /// Weights are brought within the range of the narrow type, instead of refused.
    pub clamp: bool,
}

/// The model in other types, weights and computation.
///
/// # Errors
/// Unsupported for types that no graph computes in, for operators too old for the type, and for
/// values of types that nothing states.
pub fn retype(model: Model, how: &Retype, notes: &mut Notes) -> Result<Model> {
    match how.to {
        DType::F32 => widen::widen(model, notes),
        DType::F16 | DType::BF16 => narrow::narrow(model, how, notes),
        DType::I8 => integer::integer(model, notes),
        other => {
            Err(Error::unsupported(format!("type {other}: ONNX holds f32, f16, bf16 and int8")))
        }
    }
}
