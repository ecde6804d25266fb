//! The text form of a model: what tests compare, and what `inspect --dump` prints.
//!
//! One line a fact, in the model's own order, with nothing that depends on where a file lies.

use std::fmt::Write;

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
        let _ = writeln!(out, "config {} = {}", escape(key), value_text(value));
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
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Text(text) => format!("\"{}\"", escape(text)),
        Value::F32(x) => format!("{x:?}"),
        Value::F64(x) => format!("{x:?}"),
        Value::Map(map) => {
            let items =
                map.iter().map(|(key, value)| format!("{}: {}", escape(key), value_text(value)));
            format!("{{{}}}", items.collect::<Vec<_>>().join(", "))
        }
        Value::List(items) => list_text(items),
        whole => whole
            .as_u64()
            .map(|n| n.to_string())
            .or_else(|| whole.as_f64().map(|x| x.to_string()))
            .unwrap_or_default(),
    }
}

fn list_text(items: &List) -> String {
    let shown: Vec<String> =
        (0..items.len().min(ITEMS)).filter_map(|i| items.get(i)).map(|v| value_text(&v)).collect();
    let more = items.len() - shown.len();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("[{}{more}]", shown.join(", "))
}
