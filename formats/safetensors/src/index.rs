//! The index of a model in several files: which tensor is in which.
//!
//! ```text
//! {"metadata": {"total_size": 8, …}, "weight_map": {"w": "model-00001-of-00002.safetensors", …}}
//! ```
//!
//! `model.safetensors.index.json` and `pytorch_model.bin.index.json` have the same form, which
//! transformers defines by writing it: `save_pretrained` in `modeling_utils.py`.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use wire::{Error, Why};

use crate::json::{Fault, Texts, Unique, quoted};

/// What an index says.
#[derive(Debug, Clone, PartialEq)]
pub struct Index {
    /// `total_size` and what else the writer noted; often wrong, never needed.
    pub metadata: Map<String, Value>,
    /// Tensor and file, in the order of the index; each file name is [`contained`].
    pub weight_map: Vec<(String, String)>,
    /// Other fields, by name: nobody knows what they mean, so they are not kept.
    pub ignored: Vec<String>,
}

/// Reads an index.
///
/// Whether the files exist, are files, and hold the tensors is for the caller to see.
///
/// # Errors
/// `Invalid` or `Mismatch` if the text is not such JSON, if a key stands twice, or if a file
/// name leads out of the directory.
pub fn read_index(text: &[u8]) -> wire::Result<Index> {
    let mut fault = Fault::default();
    let mut json = serde_json::Deserializer::from_slice(text);
    let index = Whole(&mut fault).deserialize(&mut json);
    let index = index.and_then(|index| json.end().map(|()| index));
    index.map_err(|error| fault.error((0, text), "index", &error))
}

struct Whole<'f>(&'f mut Fault);

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Index;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Index, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
        let Self(fault) = self;
        let (mut metadata, mut weight_map, mut ignored) = (None, None, Vec::new());
        while let Some(field) = map.next_key::<String>()? {
            let known = matches!(field.as_str(), "metadata" | "weight_map");
            let again = (field == "metadata" && metadata.is_some())
                || (field == "weight_map" && weight_map.is_some())
                || ignored.contains(&field);
            if again {
                return Err(fault.twice(&field));
            }
            fault.within = Some(quoted(&field));
            if field == "weight_map" {
                let texts = Texts { fault: &mut *fault, key: "tensor", check: contain };
                weight_map = Some(map.next_value_seed(texts)?);
            } else {
                let value = map.next_value_seed(Unique(&mut *fault))?;
                match value {
                    Value::Object(value) if known => metadata = Some(value),
                    _ if known => return Err(fault.refuse(not_an_object())),
                    _ => ignored.push(field),
                }
            }
            fault.within = None;
        }
        let none = || Why::Invalid { rule: "it has no weight_map".to_owned() };
        let weight_map = weight_map.ok_or_else(none).map_err(|why| fault.refuse(why))?;
        Ok(Index { metadata: metadata.unwrap_or_default(), weight_map, ignored })
    }
}

fn not_an_object() -> Why {
    Why::Invalid { rule: "it must be an object".to_owned() }
}

/// Whether `name`, joined to a directory, stays below it on every system.
///
/// Symbolic links are for whoever opens the file.
///
/// # Errors
/// `Invalid`, with the reason, if it is empty or absolute, or has `.`, `..`, an empty part, a
/// backslash, a colon (drives, URLs) or a NUL.
pub fn contained(name: &str) -> wire::Result<()> {
    contain(name).map_err(|why| Error::new(0, "file name", why))
}

fn contain(name: &str) -> Result<(), Why> {
    let fault = match name {
        "" => "is empty",
        _ if name.contains('\0') => "has a NUL",
        _ if name.contains('\\') => "has a backslash: parts are separated by /",
        _ if name.contains(':') => "has a colon, as URLs and drives have",
        _ if name.starts_with('/') => "is absolute",
        _ if name.split('/').any(|part| part == "..") => "climbs out of the directory",
        _ if name.split('/').any(|part| matches!(part, "" | ".")) => "is not a plain file's",
        _ => return Ok(()),
    };
    let rule = format!("the file name {} {fault}; it must stay beside the index", quoted(name));
    Err(Why::Invalid { rule })
}

/// The index as transformers writes it: indented by 2, keys sorted, ASCII only, newline at the end.
///
/// `total_size` is in bytes. `weight_map` is from tensor to file.
pub fn write_index(
    total_size: u64,
    total_parameters: u64,
    weight_map: &BTreeMap<String, String>,
) -> Vec<u8> {
    let mut out = format!(
        "{{\n  \"metadata\": {{\n    \"total_parameters\": {total_parameters},\n    \
         \"total_size\": {total_size}\n  }},\n  \"weight_map\": {{"
    );
    let mut separator = "\n    ";
    for (tensor, file) in weight_map {
        out.push_str(separator);
        ascii(tensor, &mut out);
        out.push_str(": ");
        ascii(file, &mut out);
        separator = ",\n    ";
    }
    out.push_str(if weight_map.is_empty() { "}\n}\n" } else { "\n  }\n}\n" });
    out.into_bytes()
}

/// `text` as Python's `json` writes it: all but printable ASCII escaped, in UTF-16.
fn ascii(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a `String` cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// The name of file `no`, counted from 1, of `count`, as huggingface_hub gives it: a single
/// file has no number.
pub fn shard_name(no: u64, count: u64) -> String {
    match count {
        0 | 1 => "model.safetensors".to_owned(),
        _ => format!("model-{no:05}-of-{count:05}.safetensors"),
    }
}
