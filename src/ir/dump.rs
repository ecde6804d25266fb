//! The text form of a model: what tests compare, and what `inspect --dump` prints.
//!
//! One line a fact, in the model's own order, with nothing that depends on where a file lies.

use std::fmt::{self, Write};

use super::error::escape;
use super::value::List;
use super::{Model, Tensor, Value};

/// Items of a list that are shown; the rest is counted.
const ITEMS: usize = 8;

/// The model as text.
pub fn dump(model: &Model) -> String {
    let mut out = String::new();
    let version = model.version.map(|v| format!(" {v}")).unwrap_or_default();
    let _ = writeln!(out, "format {}{version}", model.format);
    let _ = writeln!(out, "naming {:?}", model.naming);
    for (key, value) in &model.config.entries {
        let _ = writeln!(out, "config {} = {value}", escape(key));
    }
    if let Some(tokenizer) = &model.tokenizer {
        let _ = writeln!(
            out,
            "tokenizer {} of {} tokens",
            tokenizer.kind_name(),
            tokenizer.tokens.len()
        );
    }
    for (name, tensor) in &model.tensors {
        let (dtype, shape) = (tensor.dtype(), tensor.shape());
        let _ = writeln!(out, "tensor {} {dtype} {shape} = {}", escape(name), recipe(tensor));
    }
    for (name, what) in &model.refused {
        let _ = writeln!(out, "refused {}: {}", escape(name), escape(what));
    }
    for (name, blob) in &model.side_files {
        let _ = writeln!(out, "file {} of {} bytes", escape(name), blob.size());
    }
    out
}

/// How a tensor is made: its steps, the last first, down to the bytes of a file.
pub fn recipe(tensor: &Tensor) -> String {
    match tensor.op() {
        Some(op) => {
            let inputs: Vec<String> = op.inputs().into_iter().map(recipe).collect();
            format!("{op} ← {}", inputs.join(", "))
        }
        None => {
            let blob = tensor.blobs().into_iter().next();
            let name = blob.map_or("", |blob| blob.name().rsplit('/').next().unwrap_or_default());
            match tensor.place() {
                Some((_, start)) => format!("{}:{start:#x}", escape(name)),
                None => format!("a view of {}", escape(name)),
            }
        }
    }
}

/// A value on one line; long lists are cut.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(yes) => write!(f, "{yes}"),
            Self::Text(text) => write!(f, "\"{}\"", escape(text)),
            Self::F32(x) => write!(f, "{x:?}"),
            Self::F64(x) => write!(f, "{x:?}"),
            Self::Map(map) => {
                let items = map.iter().map(|(key, value)| format!("{}: {value}", escape(key)));
                write!(f, "{{{}}}", items.collect::<Vec<_>>().join(", "))
            }
            Self::List(items) => f.write_str(&list_text(items)),
            Self::U8(n) => write!(f, "{n}"),
            Self::I8(n) => write!(f, "{n}"),
            Self::U16(n) => write!(f, "{n}"),
            Self::I16(n) => write!(f, "{n}"),
            Self::U32(n) => write!(f, "{n}"),
            Self::I32(n) => write!(f, "{n}"),
            Self::U64(n) => write!(f, "{n}"),
            Self::I64(n) => write!(f, "{n}"),
        }
    }
}

fn list_text(items: &List) -> String {
    let shown: Vec<String> =
        (0..items.len().min(ITEMS)).filter_map(|i| items.get(i)).map(|v| v.to_string()).collect();
    let more = items.len() - shown.len();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("[{}{more}]", shown.join(", "))
}
