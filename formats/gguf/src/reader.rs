//! The header's vocabulary: counts, texts and values, in either width and either byte order.

use wire::{Cursor, Endian, Error, Result, Why};

use crate::limits::Limit;
use crate::{Array, Limits, Value, ValueKind};

/// A cursor that knows how this file writes its numbers, and what it may ask for.
pub(crate) struct Reader<'a> {
    pub(crate) cursor: Cursor<'a>,
    pub(crate) limits: &'a Limits,
    endian: Endian,
    /// From version 2 on, counts, lengths and dimensions have 64 bits; in version 1, 32.
    wide: bool,
    /// Where the metadata begins, while it is being read: its length has a limit.
    metadata_at: Option<u64>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        cursor: Cursor<'a>,
        version: u32,
        endian: Endian,
        limits: &'a Limits,
    ) -> Self {
        Self { cursor, limits, endian, wide: version > 1, metadata_at: None }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.cursor.offset()
    }

    /// From here on, what is read counts against the limit of the metadata.
    pub(crate) fn begin_metadata(&mut self) {
        self.metadata_at = Some(self.offset());
    }

    pub(crate) fn end_metadata(&mut self) {
        self.metadata_at = None;
    }

    /// The least bytes of an entry: a key of one byte, a kind, and a value of one byte.
    pub(crate) fn entry_min(&self) -> u64 {
        self.width().saturating_add(1 + 4 + 1)
    }

    /// The least bytes of a tensor info: a name of one byte, a rank of 0, a kind and an offset.
    pub(crate) fn info_min(&self) -> u64 {
        self.width().saturating_add(1 + 4 + 4 + 8)
    }

    /// The least bytes of an array item.
    fn item_min(&self, kind: ValueKind) -> u64 {
        match kind {
            ValueKind::U8 | ValueKind::I8 | ValueKind::Bool => 1,
            ValueKind::U16 | ValueKind::I16 => 2,
            ValueKind::U32 | ValueKind::I32 | ValueKind::F32 => 4,
            ValueKind::U64 | ValueKind::I64 | ValueKind::F64 => 8,
            ValueKind::Text => self.width(),
            ValueKind::Array => self.width().saturating_add(4),
        }
    }

    /// Bytes of a count, a length or a dimension.
    fn width(&self) -> u64 {
        if self.wide { 8 } else { 4 }
    }

    /// A count, a length or a dimension.
    pub(crate) fn size(&mut self, what: &'static str) -> Result<u64> {
        if self.wide { self.cursor.u64(what) } else { Ok(self.cursor.u32(what)?.into()) }
    }

    /// How many things of at least `least` bytes follow: no more than have room in the file.
    pub(crate) fn count(
        &mut self,
        what: &'static str,
        least: u64,
        (max, lift): Limit,
    ) -> Result<usize> {
        let at = self.offset();
        let value = self.size(what)?;
        let remaining = self.cursor.remaining();
        let room = remaining.checked_div(least).unwrap_or(remaining);
        if value > room {
            let expected = format!("at most {room}, as {remaining} bytes remain");
            return Err(Error::new(at, what, Why::Mismatch { found: value.to_string(), expected }));
        }
        let too_large = || Error::new(at, what, Why::TooLarge { value, max, lift });
        usize::try_from(value).ok().filter(|_| value <= max).ok_or_else(too_large)
    }

    /// A length and so many bytes of UTF-8.
    pub(crate) fn text(&mut self, (max, lift): Limit, what: &'static str) -> Result<String> {
        let (len_at, len, at) = (self.offset(), self.size(what)?, self.offset());
        let have = self.cursor.remaining();
        // A length that no limit could save is damage, and not a matter of limits.
        if len > have {
            return Err(Error::new(at, what, Why::Truncated { need: len, have }));
        }
        if len > max {
            return Err(Error::new(len_at, what, Why::TooLarge { value: len, max, lift }));
        }
        self.spend(len, what)?;
        let bytes = self.cursor.bytes(len, max, lift, what)?;
        String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let bad = error.as_bytes().get(good).copied().unwrap_or(0);
            let rule = format!("is not UTF-8: byte {bad:#04x} at position {good}");
            Error::invalid(at.saturating_add(good as u64), what, rule)
        })
    }

    /// Checks that the metadata stays within its limit with the next `len` bytes.
    fn spend(&self, len: u64, what: &'static str) -> Result<()> {
        let Some(start) = self.metadata_at else { return Ok(()) };
        let (max, lift) = self.limits.metadata();
        let value = self.offset().saturating_sub(start).saturating_add(len);
        let why = Why::TooLarge { value, max, lift };
        if value > max { Err(Error::new(self.offset(), what, why)) } else { Ok(()) }
    }

    /// A kind and a value of it, and where the value begins.
    pub(crate) fn value(&mut self) -> Result<(Value, u64)> {
        let kind = self.value_kind("value kind")?;
        let at = self.offset();
        Ok((self.value_of(kind)?, at))
    }

    fn value_kind(&mut self, what: &'static str) -> Result<ValueKind> {
        let at = self.offset();
        let id = self.cursor.u32(what)?;
        let unknown = || Error::new(at, what, Why::Unknown { value: id.to_string() });
        ValueKind::of_id(id).ok_or_else(unknown)
    }

    fn value_of(&mut self, kind: ValueKind) -> Result<Value> {
        let (what, c) = ("value", &mut self.cursor);
        Ok(match kind {
            ValueKind::U8 => Value::U8(c.u8(what)?),
            ValueKind::I8 => Value::I8(c.i8(what)?),
            ValueKind::U16 => Value::U16(c.u16(what)?),
            ValueKind::I16 => Value::I16(c.i16(what)?),
            ValueKind::U32 => Value::U32(c.u32(what)?),
            ValueKind::I32 => Value::I32(c.i32(what)?),
            ValueKind::F32 => Value::F32(c.f32(what)?),
            ValueKind::Bool => Value::Bool(self.truth()?),
            ValueKind::Text => Value::Text(self.text(self.limits.string(), what)?),
            ValueKind::Array => Value::Array(self.array(1)?),
            ValueKind::U64 => Value::U64(c.u64(what)?),
            ValueKind::I64 => Value::I64(c.i64(what)?),
            ValueKind::F64 => Value::F64(c.f64(what)?),
        })
    }

    fn truth(&mut self) -> Result<bool> {
        let at = self.offset();
        let byte = self.cursor.u8("value")?;
        truth(byte).ok_or_else(|| untrue(byte, at))
    }

    /// An array that is itself `depth` deep.
    fn array(&mut self, depth: u64) -> Result<Array> {
        let (max, lift) = self.limits.nesting();
        if depth > max {
            let why = Why::TooLarge { value: depth, max, lift };
            return Err(Error::new(self.offset(), "array depth", why));
        }
        let kind = self.value_kind("item kind")?;
        let count = self.count("item count", self.item_min(kind), (u64::MAX, "array"))?;
        macro_rules! numbers {
            ($number:ty) => {
                self.numbers(count, <$number>::from_le_bytes, <$number>::from_be_bytes)?
            };
        }
        let string = self.limits.string();
        Ok(match kind {
            ValueKind::U8 => Array::U8(numbers!(u8)),
            ValueKind::I8 => Array::I8(numbers!(i8)),
            ValueKind::U16 => Array::U16(numbers!(u16)),
            ValueKind::I16 => Array::I16(numbers!(i16)),
            ValueKind::U32 => Array::U32(numbers!(u32)),
            ValueKind::I32 => Array::I32(numbers!(i32)),
            ValueKind::F32 => Array::F32(numbers!(f32)),
            ValueKind::Bool => Array::Bool(self.truths(count)?),
            ValueKind::Text => Array::Text(self.items(count, |r| r.text(string, "item"))?),
            ValueKind::Array => {
                let deeper = depth.saturating_add(1);
                Array::Array(self.items(count, |r| r.array(deeper))?)
            }
            ValueKind::U64 => Array::U64(numbers!(u64)),
            ValueKind::I64 => Array::I64(numbers!(i64)),
            ValueKind::F64 => Array::F64(numbers!(f64)),
        })
    }

    fn numbers<T, const N: usize>(
        &mut self,
        count: usize,
        little: fn([u8; N]) -> T,
        big: fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let bytes = self.array_bytes(count.saturating_mul(N) as u64)?;
        let number = if self.endian == Endian::Big { big } else { little };
        Ok(bytes.as_chunks().0.iter().map(|bytes| number(*bytes)).collect())
    }

    fn truths(&mut self, count: usize) -> Result<Vec<bool>> {
        let at = self.offset();
        let bytes = self.array_bytes(count as u64)?;
        (at..).zip(bytes).map(|(at, byte)| truth(byte).ok_or_else(|| untrue(byte, at))).collect()
    }

    fn array_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.spend(len, "array")?;
        let (max, lift) = self.limits.metadata();
        self.cursor.bytes(len, max, lift, "array")
    }

    fn items<T>(&mut self, count: usize, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        (0..count).map(|_| item(self)).collect()
    }
}

/// The specification: any other value than 0 and 1 is invalid, and the model with it.
fn truth(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn untrue(byte: u8, at: u64) -> Error {
    let why = Why::Mismatch { found: byte.to_string(), expected: "0 or 1".to_owned() };
    Error::new(at, "bool", why)
}
