//! Metadata keys set and unset by hand, in the spelling of the file that is written.

use indexmap::IndexMap;

use crate::ir::{Error, Result, Value};

/// What to change in the metadata of the output.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    /// Keys and values.
    pub set: Vec<(String, String)>,
    /// Keys to remove.
    pub unset: Vec<String>,
}

impl Edits {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.unset.is_empty()
    }

    /// Changes the entries. A key that exists keeps its type; a new one takes the type that its
    /// value looks like: a truth value, a whole number, a number, else text.
    ///
    /// # Errors
    /// Usage if a value does not fit the type of its key, or a key to remove is not there.
    pub(super) fn apply(&self, entries: &mut IndexMap<String, Value>) -> Result<()> {
        for (key, text) in &self.set {
            let value = match entries.get(key) {
                Some(old) => same_kind(old, text).ok_or_else(|| {
                    Error::usage(format!("--set {key}={text}: does not fit {}", kind_of(old)))
                })?,
                None => guess(text),
            };
            entries.insert(key.clone(), value);
        }
        for key in &self.unset {
            if entries.shift_remove(key).is_none() {
                return Err(Error::usage(format!("--unset {key}: the output has no such key")));
            }
        }
        Ok(())
    }
}

fn same_kind(old: &Value, text: &str) -> Option<Value> {
    match old {
        Value::Null => Some(guess(text)),
        Value::Bool(_) => text.parse().ok().map(Value::Bool),
        Value::U8(_) => text.parse().ok().map(Value::U8),
        Value::I8(_) => text.parse().ok().map(Value::I8),
        Value::U16(_) => text.parse().ok().map(Value::U16),
        Value::I16(_) => text.parse().ok().map(Value::I16),
        Value::U32(_) => text.parse().ok().map(Value::U32),
        Value::I32(_) => text.parse().ok().map(Value::I32),
        Value::U64(_) => text.parse().ok().map(Value::U64),
        Value::I64(_) => text.parse().ok().map(Value::I64),
        Value::F32(_) => text.parse().ok().map(Value::F32),
        Value::F64(_) => text.parse().ok().map(Value::F64),
        Value::Text(_) => Some(Value::Text(text.to_owned())),
        Value::List(_) | Value::Map(_) => None,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::List(_) | Value::Map(_) => "a list or a map, which cannot be set by hand",
        Value::Bool(_) => "true or false",
        Value::F32(_) | Value::F64(_) => "a number",
        _ => "a whole number of its width",
    }
}

fn guess(text: &str) -> Value {
    let whole = || text.parse().ok().map(Value::U32).or_else(|| text.parse().ok().map(Value::I64));
    let number = || text.parse().ok().map(Value::F32);
    let truth = text.parse().ok().map(Value::Bool);
    truth.or_else(whole).or_else(number).unwrap_or_else(|| Value::Text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_type() {
        assert_eq!(same_kind(&Value::U16(1), "70000"), None);
        assert_eq!(same_kind(&Value::F32(1.0), "2"), Some(Value::F32(2.0)));
        assert_eq!(same_kind(&Value::Text("a".into()), "2"), Some(Value::Text("2".into())));
        assert_eq!(guess("true"), Value::Bool(true));
        assert_eq!(guess("12"), Value::U32(12));
        assert_eq!(guess("-1.5"), Value::F32(-1.5));
        assert_eq!(guess("x"), Value::Text("x".into()));
    }
}
