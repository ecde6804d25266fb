//! A metadata value: thirteen kinds, of which one is an array of any of them.

/// The kind of a metadata value: `enum gguf_metadata_value_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "each is the Rust type of that name")]
pub enum ValueKind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Text = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

/// A metadata value. Floats keep their bits, so a NaN is unequal to itself, as always.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each is the Rust type of that name")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array value: its items have one kind, and an empty one has a kind too.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each is the Rust type of that name")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    Text(Vec<String>),
    /// The items may be arrays of different kinds. ggml itself reads no such file.
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl ValueKind {
    /// Every kind; the place in this list is the number in the file.
    #[rustfmt::skip]
    pub const ALL: [Self; 13] = [
        Self::U8, Self::I8, Self::U16, Self::I16, Self::U32, Self::I32, Self::F32,
        Self::Bool, Self::Text, Self::Array, Self::U64, Self::I64, Self::F64,
    ];

    /// The number in the file.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// The kind with this number.
    pub fn of_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// The specification's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::F32 => "float32",
            Self::Bool => "bool",
            Self::Text => "string",
            Self::Array => "array",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F64 => "float64",
        }
    }
}

impl Value {
    /// Its kind.
    pub fn kind(&self) -> ValueKind {
        match self {
            Self::U8(_) => ValueKind::U8,
            Self::I8(_) => ValueKind::I8,
            Self::U16(_) => ValueKind::U16,
            Self::I16(_) => ValueKind::I16,
            Self::U32(_) => ValueKind::U32,
            Self::I32(_) => ValueKind::I32,
            Self::F32(_) => ValueKind::F32,
            Self::Bool(_) => ValueKind::Bool,
            Self::Text(_) => ValueKind::Text,
            Self::Array(_) => ValueKind::Array,
            Self::U64(_) => ValueKind::U64,
            Self::I64(_) => ValueKind::I64,
            Self::F64(_) => ValueKind::F64,
        }
    }

    /// An integer of any width that is not negative. Writers disagree about widths.
    pub fn unsigned(&self) -> Option<u64> {
        match *self {
            Self::U64(n) => Some(n),
            _ => u64::try_from(self.signed()?).ok(),
        }
    }

    /// An integer of any width that fits in 64 signed bits.
    pub fn signed(&self) -> Option<i64> {
        match *self {
            Self::U8(n) => Some(n.into()),
            Self::I8(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::I16(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::I32(n) => Some(n.into()),
            Self::U64(n) => i64::try_from(n).ok(),
            Self::I64(n) => Some(n),
            _ => None,
        }
    }

    /// A float of either width.
    pub fn float(&self) -> Option<f64> {
        match *self {
            Self::F32(x) => Some(x.into()),
            Self::F64(x) => Some(x),
            _ => None,
        }
    }

    /// A truth value.
    pub fn bool(&self) -> Option<bool> {
        if let Self::Bool(yes) = *self { Some(yes) } else { None }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// An array.
    pub fn array(&self) -> Option<&Array> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }
}

impl Array {
    /// The kind of the items.
    pub fn kind(&self) -> ValueKind {
        match self {
            Self::U8(_) => ValueKind::U8,
            Self::I8(_) => ValueKind::I8,
            Self::U16(_) => ValueKind::U16,
            Self::I16(_) => ValueKind::I16,
            Self::U32(_) => ValueKind::U32,
            Self::I32(_) => ValueKind::I32,
            Self::F32(_) => ValueKind::F32,
            Self::Bool(_) => ValueKind::Bool,
            Self::Text(_) => ValueKind::Text,
            Self::Array(_) => ValueKind::Array,
            Self::U64(_) => ValueKind::U64,
            Self::I64(_) => ValueKind::I64,
            Self::F64(_) => ValueKind::F64,
        }
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(items) => items.len(),
            Self::I8(items) => items.len(),
            Self::U16(items) => items.len(),
            Self::I16(items) => items.len(),
            Self::U32(items) => items.len(),
            Self::I32(items) => items.len(),
            Self::F32(items) => items.len(),
            Self::Bool(items) => items.len(),
            Self::Text(items) => items.len(),
            Self::Array(items) => items.len(),
            Self::U64(items) => items.len(),
            Self::I64(items) => items.len(),
            Self::F64(items) => items.len(),
        }
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at `index` as a value of its own.
    pub fn get(&self, index: usize) -> Option<Value> {
        Some(match self {
            Self::U8(items) => Value::U8(*items.get(index)?),
            Self::I8(items) => Value::I8(*items.get(index)?),
            Self::U16(items) => Value::U16(*items.get(index)?),
            Self::I16(items) => Value::I16(*items.get(index)?),
            Self::U32(items) => Value::U32(*items.get(index)?),
            Self::I32(items) => Value::I32(*items.get(index)?),
            Self::F32(items) => Value::F32(*items.get(index)?),
            Self::Bool(items) => Value::Bool(*items.get(index)?),
            Self::Text(items) => Value::Text(items.get(index)?.clone()),
            Self::Array(items) => Value::Array(items.get(index)?.clone()),
            Self::U64(items) => Value::U64(*items.get(index)?),
            Self::I64(items) => Value::I64(*items.get(index)?),
            Self::F64(items) => Value::F64(*items.get(index)?),
        })
    }

    /// The items, if they are texts.
    pub fn texts(&self) -> Option<&[String]> {
        if let Self::Text(items) = self { Some(items) } else { None }
    }

    /// The items, if each is an integer that fits in 64 signed bits.
    pub fn integers(&self) -> Option<Vec<i64>> {
        match self {
            Self::U8(items) => Some(items.iter().map(|&n| n.into()).collect()),
            Self::I8(items) => Some(items.iter().map(|&n| n.into()).collect()),
            Self::U16(items) => Some(items.iter().map(|&n| n.into()).collect()),
            Self::I16(items) => Some(items.iter().map(|&n| n.into()).collect()),
            Self::U32(items) => Some(items.iter().map(|&n| n.into()).collect()),
            Self::I32(items) => Some(items.iter().map(|&n| n.into()).collect()),
            Self::U64(items) => items.iter().map(|&n| i64::try_from(n).ok()).collect(),
            Self::I64(items) => Some(items.clone()),
            _ => None,
        }
    }

    /// The items, if they are floats of 32 bits.
    pub fn floats(&self) -> Option<&[f32]> {
        if let Self::F32(items) = self { Some(items) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_their_place_in_the_list() {
        for (id, kind) in (0..).zip(ValueKind::ALL) {
            assert_eq!((kind.id(), ValueKind::of_id(id)), (id, Some(kind)));
        }
        assert_eq!(ValueKind::of_id(13), None);
    }

    #[test]
    fn integers_of_any_width_are_one() {
        assert_eq!(Value::U8(7).unsigned(), Some(7));
        assert_eq!(Value::I32(-7).unsigned(), None);
        assert_eq!(Value::I32(-7).signed(), Some(-7));
        assert_eq!(Value::U64(u64::MAX).unsigned(), Some(u64::MAX));
        assert_eq!(Value::U64(u64::MAX).signed(), None);
        assert_eq!(Value::F32(7.0).unsigned(), None);
        assert_eq!(Array::U64(vec![1, u64::MAX]).integers(), None);
        assert_eq!(Array::I8(vec![-1, 2]).integers(), Some(vec![-1, 2]));
    }

    #[test]
    fn items_come_out_with_the_kind_of_the_array() {
        let array = Array::Array(vec![Array::U16(vec![]), Array::Text(vec!["x".to_owned()])]);
        assert_eq!((array.len(), array.is_empty()), (2, false));
        assert_eq!(array.get(0), Some(Value::Array(Array::U16(vec![]))));
        assert_eq!(array.get(2), None);
    }
}
