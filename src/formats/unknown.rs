//! A source whose content is of no format: what it is instead.

use super::{FORMATS, Format, by_extension};
use crate::ir::{Error, Result};
use crate::read;
use crate::store::Source;

/// Containers that are known but not read, by their first bytes.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"algg", "a legacy GGML adapter (ggla)"),
    (b"PK\x03\x04", "a zip archive that is no checkpoint of PyTorch, Keras or NumPy"),
    (b"PK\x05\x06", "an empty zip archive"),
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
pub(super) fn unknown(source: &dyn Source) -> Result<&'static Format> {
    let Some(name) = source.entry() else {
        let expected = "*.safetensors, pytorch_model*.bin, flax_model.msgpack or one *.gguf";
        let text = format!("no model in this directory: expected {expected}");
        return Err(Error::malformed(text).at(source.label()));
    };
    let claimed = name.rsplit_once('.').and_then(|(_, extension)| by_extension(extension.as_ref()));
    let head = read::head(&*source.open(name)?)?;
    // Many formats are zip archives: the one that the name claims says what is missing in it.
    if let Some(format) = claimed.filter(|_| head.starts_with(b"PK")) {
        return Ok(format);
    }
    let known = |table: &[(&[u8], &'static str)]| {
        table.iter().find(|(bytes, _)| head.starts_with(bytes)).map(|(_, what)| *what)
    };
    if let Some(what) = known(FOREIGN) {
        let text = format!("this is {what}: not read by this version");
        return Err(Error::unsupported(text).at(source.label()));
    }
    if let Some(what) = known(MISTAKEN) {
        return Err(Error::malformed(format!("this is {what}")).at(source.label()));
    }
    if let Some(format) = claimed {
        return Ok(format);
    }
    let start: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let found = match &start[..] {
        [] => "is empty".to_owned(),
        start => format!("begins with {}", start.join(" ")),
    };
    let known: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    let text = format!("the file {found}, which no format does; known: {}", known.join(", "));
    Err(Error::malformed(text).at(source.label()))
}
