//! Where a tensor's elements lie if not in the model: `TensorProto.external_data`.

use wire::{Error, Result};

/// A range of a file beside the model. The name is the file's word: where it may lead is for
/// whoever opens it to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The path, relative to the directory of the model.
    pub location: String,
    /// Where the elements begin, in bytes.
    pub offset: u64,
}

/// Keys of the specification, and `basepath`, which the reference library writes and ignores.
const KEYS: &[&str] = &["location", "offset", "length", "checksum", "basepath"];

/// Reads the entries of a tensor of so many bytes; `at` is the tensor's place.
pub(crate) fn external(entries: &[(String, String)], bytes: u64, at: u64) -> Result<External> {
    const WHAT: &str = "TensorProto.external_data";
    let wrong = |rule: String| Error::invalid(at, WHAT, rule);
    for (i, (key, _)) in entries.iter().enumerate() {
        if !KEYS.contains(&key.as_str()) {
            return Err(wrong(format!("has the key '{key}', expected {}", KEYS.join(", "))));
        }
        if entries.iter().skip(i.saturating_add(1)).any(|(other, _)| other == key) {
            return Err(wrong(format!("'{key}' stands twice")));
        }
    }
    let find = |key: &str| entries.iter().find(|(own, _)| own == key).map(|(_, text)| text);
    let number = |key: &str| match find(key) {
        None => Ok(None),
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse::<u64>().map(Some).map_err(|_| wrong(format!("{key} '{text}': too large")))
        }
        Some(text) => Err(wrong(format!("{key} '{text}', expected decimal digits"))),
    };
    let location = find("location").ok_or_else(|| wrong("has no location".to_owned()))?.clone();
    let offset = number("offset")?.unwrap_or(0);
    match number("length")? {
        Some(len) if len != bytes => {
            Err(wrong(format!("length {len}, expected {bytes} for this type and shape")))
        }
        _ => Ok(External { location, offset }),
    }
}
