//! Fields of protocol buffers, in a slice.

use wire::{Error, Result, Why};

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// A field: where it stands, its number, its value.
pub(crate) struct Field<'a> {
    /// Of its tag, from the start of the file.
    pub(crate) offset: u64,
    /// Of the first byte inside, where it holds bytes.
    pub(crate) inside: u64,
    pub(crate) number: u64,
    pub(crate) value: Value<'a>,
}

/// The fields of a message, in order.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Fields<'a> {
    /// The fields of a message that begins at this offset of the file.
    pub(crate) fn new(bytes: &'a [u8], offset: u64) -> Self {
        Self { rest: bytes, offset }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Field<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let offset = self.offset;
        let tag = self.varint("tag")?;
        let number = tag >> 3;
        if number == 0 || number >= 1 << 29 {
            let rule = format!("field number {number}, expected 1 to 536870911");
            return Err(Error::invalid(offset, "tag", rule));
        }
        let mut inside = self.offset;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint("varint")?),
            1 => self.take(8, "fixed64").map(|_| Value::Fixed64)?,
            2 => {
                let len = self.varint("length")?;
                inside = self.offset;
                Value::Bytes(self.take(len, "field")?)
            }
            5 => {
                let bytes = self.take(4, "fixed32")?;
                Value::Fixed32(bytes.try_into().unwrap_or_default())
            }
            kind => {
                let value = format!("wire type {kind}");
                return Err(Error::new(offset, "tag", Why::Unknown { value }));
            }
        };
        Ok(Some(Field { offset, inside, number, value }))
    }

    fn take(&mut self, len: u64, what: &'static str) -> Result<&'a [u8]> {
        let have = self.rest.len() as u64;
        let split = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let why = Why::Truncated { need: len, have };
        let (taken, rest) = split.ok_or_else(|| Error::new(self.offset, what, why))?;
        self.rest = rest;
        self.offset = self.offset.saturating_add(len);
        Ok(taken)
    }

    /// Seven bits a byte, the lowest first; at most ten bytes, the last of which holds one bit.
    fn varint(&mut self, what: &'static str) -> Result<u64> {
        let start = self.offset;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1, what)?.first().copied().unwrap_or(0);
            let bits = u64::from(byte & 0x7f);
            let shifted = bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits);
            value |= shifted.ok_or_else(|| Error::invalid(start, what, "more than 64 bits"))?;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::invalid(start, what, "more than ten bytes"))
    }
}

impl<'a> Field<'a> {
    fn wrong(&self, what: &'static str, expected: &str) -> Error {
        let found = match self.value {
            Value::Varint(value) => format!("varint {value}"),
            Value::Fixed64 => "8 bytes".to_owned(),
            Value::Bytes(bytes) => format!("a field of {} bytes", bytes.len()),
            Value::Fixed32(_) => "4 bytes".to_owned(),
        };
        Error::new(self.offset, what, Why::Mismatch { found, expected: expected.to_owned() })
    }

    pub(crate) fn bytes(&self, what: &'static str) -> Result<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong(what, "a field of bytes")),
        }
    }

    pub(crate) fn text(&self, what: &'static str) -> Result<String> {
        let text = std::str::from_utf8(self.bytes(what)?);
        text.map(str::to_owned).map_err(|_| Error::invalid(self.inside, what, "not UTF-8 text"))
    }

    pub(crate) fn truth(&self, what: &'static str) -> Result<bool> {
        match self.value {
            Value::Varint(value @ (0 | 1)) => Ok(value == 1),
            _ => Err(self.wrong(what, "0 or 1")),
        }
    }

    /// An int32, which is written with the sign in 64 bits.
    pub(crate) fn int32(&self, what: &'static str) -> Result<i32> {
        match self.value {
            Value::Varint(value) => i32::try_from(value.cast_signed()).ok(),
            _ => None,
        }
        .ok_or_else(|| self.wrong(what, "a signed number of 32 bits"))
    }

    pub(crate) fn float(&self, what: &'static str) -> Result<f32> {
        match self.value {
            Value::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(self.wrong(what, "4 bytes")),
        }
    }

    pub(crate) fn one_of<T: Copy>(&self, what: &'static str, all: &[(u64, T)]) -> Result<T> {
        let found = all.iter().find(|(id, _)| self.value == Value::Varint(*id));
        let last = all.len();
        found.map(|(_, value)| *value).ok_or_else(|| self.wrong(what, &format!("1 to {last}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Option<(u64, Value<'_>)>> {
        Ok(Fields::new(bytes, 0).next()?.map(|field| (field.number, field.value)))
    }

    #[test]
    fn varints_end_and_fit() {
        assert_eq!(first(b"\x08\x96\x01").unwrap(), Some((1, Value::Varint(150))));
        let most = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(first(most).unwrap(), Some((1, Value::Varint(u64::MAX))));
        let wide = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02";
        assert!(first(wide).unwrap_err().to_string().contains("more than 64 bits"));
        let long = b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01";
        assert!(first(long).unwrap_err().to_string().contains("more than ten bytes"));
        assert!(first(b"\x08\x80").is_err());
    }

    #[test]
    fn bad_tags_and_lengths_are_refused() {
        for (bytes, expected) in [
            (&b"\x00\x00"[..], "field number 0"),
            (b"\x0b\x0c", "wire type 3"),
            (b"\x0f", "wire type 7"),
            (b"\x0a\x05abc", "needs 5 bytes, but 3 remain"),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "needs 9223372036854775807 bytes"),
            (b"\x0d\x00\x00", "needs 4 bytes"),
        ] {
            let message = first(bytes).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
