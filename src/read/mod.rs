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

use crate::formats::{FORMATS, Format};
use crate::ir::tokenizer::Tokenizer;
use crate::ir::{Blob, Error, Fault, Notes, Result};
use crate::store::Source;

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

/// Containers that are known but not read yet, by their first bytes (offset, bytes, name).
const FOREIGN: &[(usize, &[u8], &str)] = &[
    (0, b"algg", "a legacy GGML adapter (ggla)"),
    (0, b"PK\x03\x04", "a zip archive that is no checkpoint of PyTorch, Keras or NumPy"),
    (0, b"PK\x05\x06", "an empty zip archive"),
];

/// Things that are often found in a model's place, by their first bytes.
const MISTAKEN: &[(&[u8], &str)] = &[
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with git lfs pull"),
    (b"<", "a page of HTML or XML, perhaps an error page of a download"),
    (b"\x1f\x8b", "gzip; unpack it first"),
    (b"{", "JSON text, not weights"),
];

/// The error for a source whose content is of no format: what it is instead, as far as known.
///
/// A file whose extension names a format is left to that format, which says what is wrong with it.
pub(crate) fn unknown(source: &dyn Source) -> Result<&'static Format> {
    let Some(name) = source.entry() else {
        let expected = "*.safetensors, pytorch_model*.bin, flax_model.msgpack or one *.gguf";
        let text = format!("no model in this directory: expected {expected}");
        return Err(Error::malformed(text).at(source.label()));
    };
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let claimed = extension.and_then(|e| FORMATS.iter().find(|f| f.extensions.contains(&e)));
    let head = head(&*source.open(name)?)?;
    // Many formats are zip archives: the one that the name claims says what is missing in it.
    if let Some(format) = claimed.filter(|_| head.starts_with(b"PK")) {
        return Ok(format);
    }
    let foreign =
        FOREIGN.iter().find(|(at, bytes, _)| head.get(*at..).is_some_and(|h| h.starts_with(bytes)));
    if let Some((_, _, what)) = foreign {
        let text = format!("this is {what}: not read by this version");
        return Err(Error::unsupported(text).at(source.label()));
    }
    if let Some((_, what)) = MISTAKEN.iter().find(|(bytes, _)| head.starts_with(bytes)) {
        return Err(Error::malformed(format!("this is {what}")).at(source.label()));
    }
    if let Some(format) = claimed {
        return Ok(format);
    }
    let start: String = head.iter().take(8).map(|byte| format!("{byte:02x} ")).collect();
    let found = if head.is_empty() { "is empty".into() } else { format!("begins with {start}") };
    let known: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    let text = format!("the file {found}, which no format does; known: {}", known.join(", "));
    Err(Error::malformed(text).at(source.label()))
}
