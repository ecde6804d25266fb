//! Configuration values: JSON's kinds, and GGUF's numbers with their widths.

use indexmap::IndexMap;

/// One configuration value.
///
/// Integers and floats keep the width that their file gave them, so that a GGUF's metadata is
/// written again as it was read; readers of values use the accessors, which do not care.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// JSON's null.
    Null,
    /// A truth value.
    Bool(bool),
    /// Unsigned, 8 bits.
    U8(u8),
    /// Signed, 8 bits.
    I8(i8),
    /// Unsigned, 16 bits.
    U16(u16),
    /// Signed, 16 bits.
    I16(i16),
    /// Unsigned, 32 bits.
    U32(u32),
    /// Signed, 32 bits.
    I32(i32),
    /// Unsigned, 64 bits.
    U64(u64),
    /// Signed, 64 bits.
    I64(i64),
    /// A binary32 number.
    F32(f32),
    /// A binary64 number.
    F64(f64),
    /// Text.
    Text(String),
    /// Values in order.
    List(List),
    /// Named values in order.
    Map(IndexMap<String, Value>),
}

/// Values in order, all of one kind where the file says so. Vocabularies of 250,000 entries are
/// lists, so the common kinds are stored without a tag each.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant is the kind of its name")]
pub enum List {
    Bool(Vec<bool>),
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Text(Vec<String>),
    /// Lists in a list.
    List(Vec<List>),
    /// JSON's lists, whose items may differ in kind.
    Any(Vec<Value>),
}

impl List {
    /// The number of items.
    pub fn len(&self) -> usize {
        match self {
            Self::Bool(items) => items.len(),
            Self::U8(items) => items.len(),
            Self::I8(items) => items.len(),
            Self::U16(items) => items.len(),
            Self::I16(items) => items.len(),
            Self::U32(items) => items.len(),
            Self::I32(items) => items.len(),
            Self::U64(items) => items.len(),
            Self::I64(items) => items.len(),
            Self::F32(items) => items.len(),
            Self::F64(items) => items.len(),
            Self::Text(items) => items.len(),
            Self::List(items) => items.len(),
            Self::Any(items) => items.len(),
        }
    }

    /// The item at `index`, as a value of its own.
    pub fn get(&self, index: usize) -> Option<Value> {
        match self {
            Self::Bool(items) => items.get(index).copied().map(Value::Bool),
            Self::U8(items) => items.get(index).copied().map(Value::U8),
            Self::I8(items) => items.get(index).copied().map(Value::I8),
            Self::U16(items) => items.get(index).copied().map(Value::U16),
            Self::I16(items) => items.get(index).copied().map(Value::I16),
            Self::U32(items) => items.get(index).copied().map(Value::U32),
            Self::I32(items) => items.get(index).copied().map(Value::I32),
            Self::U64(items) => items.get(index).copied().map(Value::U64),
            Self::I64(items) => items.get(index).copied().map(Value::I64),
            Self::F32(items) => items.get(index).copied().map(Value::F32),
            Self::F64(items) => items.get(index).copied().map(Value::F64),
            Self::Text(items) => items.get(index).cloned().map(Value::Text),
            Self::List(items) => items.get(index).cloned().map(Value::List),
            Self::Any(items) => items.get(index).cloned(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Value {
    /// As a count: any non-negative integer, of any width.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::U64(n) => Some(n),
            Self::I8(n) => n.try_into().ok(),
            Self::I16(n) => n.try_into().ok(),
            Self::I32(n) => n.try_into().ok(),
            Self::I64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// As a number: any integer or float.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(x) => Some(x.into()),
            Self::F64(x) => Some(x),
            Self::I8(n) => Some(n.into()),
            Self::I16(n) => Some(n.into()),
            Self::I32(n) => Some(n.into()),
            Self::I64(n) => Some(n as f64),
            _ => self.as_u64().map(|n| n as f64),
        }
    }

    /// As a truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// As text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value under `key`, if this is a map that has one that is not null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Map(map) => map.get(key).filter(|value| **value != Self::Null),
            _ => None,
        }
    }

    /// A list of texts.
    pub fn as_texts(&self) -> Option<Vec<&str>> {
        match self {
            Self::List(List::Text(items)) => Some(items.iter().map(String::as_str).collect()),
            Self::List(List::Any(items)) => items.iter().map(Value::as_text).collect(),
            _ => None,
        }
    }
}
