//! Parts of a file → Model. One file per format; each translates the nouns of its container into
//! ours, and renames nothing.

pub mod flax;
pub mod ggml;
pub mod gguf;
mod gptq;
pub mod hdf5;
pub mod hub;
pub mod imatrix;
mod inflate;
pub mod keras;
mod mlx;
pub mod npy;
pub mod npz;
pub mod onnx;
pub mod safetensors;
pub mod tensorflow;
pub mod tflite;
pub mod tokenizer;
mod tokenizer_beside;
pub mod tokenizer_gguf;
pub mod tokenizer_json;
pub mod tokenizer_model;
mod tokenizer_ranks;
mod tokenizer_text;
pub mod torch;

use crate::ir::tokenizer::Tokenizer;
use crate::ir::{Blob, Error, Fault, Notes, Result};

/// The first bytes of a file, enough for any container to know itself.
pub(crate) fn head(blob: &Blob) -> Result<Vec<u8>> {
    let len = usize::try_from(blob.size().min(4096)).unwrap_or(4096);
    let mut head = vec![0; len];
    blob.read(0, &mut head)?;
    Ok(head)
}

/// A tokenizer that this version does not read is no reason to refuse the weights: whoever needs
/// it says why it is not there.
pub(crate) fn optional(
    read: Result<Option<Tokenizer>>,
    origin: &str,
    notes: &mut Notes,
) -> Result<(Option<Tokenizer>, Option<Error>)> {
    match read {
        Ok(tokenizer) => Ok((tokenizer, None)),
        Err(error) if error.fault == Fault::Unsupported => {
            notes.odd("tokenizer", format!("not read: {error}"));
            Ok((None, Some(error)))
        }
        Err(error) => Err(error.at(origin)),
    }
}
