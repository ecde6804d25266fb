//! A field, and what its value may be taken for.

use std::ops::Range;

use wire::{Error, Result, Why};

/// The value of a field, by its kind on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An integer, a truth value or a number of an enumeration.
    Varint(u64),
    /// A binary64 or an integer of 64 bits.
    Fixed64([u8; 8]),
    /// Where bytes, text, a message or packed numbers lie.
    Bytes(Range<u64>),
    /// Where the fields of a group lie.
    Group(Range<u64>),
    /// A binary32 or an integer of 32 bits.
    Fixed32([u8; 4]),
}

/// A field: where it stands, its number, its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The whole field, from the start of the file: its tag, its length, its value.
    pub span: Range<u64>,
    /// Its number in the schema.
    pub number: u64,
    /// What it holds.
    pub value: Value,
}

impl Field {
    /// An error that this field is not what the schema says.
    pub fn wrong(&self, what: &'static str, expected: &str) -> Error {
        let found = match &self.value {
            Value::Varint(value) => format!("varint {value}"),
            Value::Fixed64(_) => "8 bytes".to_owned(),
            Value::Bytes(at) => format!("a field of {} bytes", at.end.saturating_sub(at.start)),
            Value::Group(_) => "a group".to_owned(),
            Value::Fixed32(_) => "4 bytes".to_owned(),
        };
        let why = Why::Mismatch { found, expected: expected.to_owned() };
        Error::new(self.span.start, what, why)
    }

    /// Where its bytes lie.
    ///
    /// # Errors
    /// `Mismatch` for any other kind of field.
    pub fn bytes(&self, what: &'static str) -> Result<Range<u64>> {
        match &self.value {
            Value::Bytes(at) => Ok(at.clone()),
            _ => Err(self.wrong(what, "a field of bytes")),
        }
    }

    /// A varint as it is.
    ///
    /// # Errors
    /// `Mismatch` for any other kind of field.
    pub fn varint(&self, what: &'static str) -> Result<u64> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.wrong(what, "a varint")),
        }
    }

    /// A signed integer of 64 bits.
    ///
    /// # Errors
    /// `Mismatch` for any other kind of field.
    pub fn int64(&self, what: &'static str) -> Result<i64> {
        self.varint(what).map(u64::cast_signed)
    }

    /// A signed integer of 32 bits, which is written with its sign in 64.
    ///
    /// # Errors
    /// `Mismatch` for any other kind of field, or a number that has no room.
    pub fn int32(&self, what: &'static str) -> Result<i32> {
        let wide = self.int64(what)?;
        i32::try_from(wide).map_err(|_| self.wrong(what, "a signed number of 32 bits"))
    }

    /// A truth value.
    ///
    /// # Errors
    /// `Mismatch` for anything but 0 and 1.
    pub fn truth(&self, what: &'static str) -> Result<bool> {
        match self.value {
            Value::Varint(value @ (0 | 1)) => Ok(value == 1),
            _ => Err(self.wrong(what, "0 or 1")),
        }
    }

    /// A binary32.
    ///
    /// # Errors
    /// `Mismatch` for any other kind of field.
    pub fn float(&self, what: &'static str) -> Result<f32> {
        match self.value {
            Value::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(self.wrong(what, "4 bytes")),
        }
    }

    /// The row of a table of values, numbered from 1, that this one names.
    ///
    /// # Errors
    /// `Mismatch` for a number that the table lacks.
    pub fn one_of<T: Copy>(&self, what: &'static str, all: &[(u64, T)]) -> Result<T> {
        let found = all.iter().find(|(id, _)| self.value == Value::Varint(*id));
        let last = all.len();
        found.map(|(_, value)| *value).ok_or_else(|| self.wrong(what, &format!("1 to {last}")))
    }
}
