//! Values of MessagePack. What may be large stays where it is: its place is known.

use std::io;
use std::ops::Range;

use wire::{Cursor, Endian, Error, ReadAt, Result, Why};

use crate::{DEPTH_MAX, Limits};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// A truth value.
    Bool(bool),
    /// An integer of up to 64 bits, with a sign or without.
    Int(i128),
    /// A number of 32 or 64 bits.
    Float(f64),
    /// Text.
    Text(String),
    /// Where bytes lie.
    Bytes(Range<u64>),
    /// Values in order.
    List(Vec<Value>),
    /// Pairs of key and value in order.
    Map(Vec<(Value, Value)>),
    /// A type of the application, and where its bytes lie.
    Ext(i8, Range<u64>),
}

/// Reads the one value that fills `place`.
///
/// # Errors
/// `Truncated`, `Invalid`, `Unknown`: the bytes break the format. `TooLarge`: values too many, too
/// long or too deep. `Io`.
pub fn parse(source: &dyn ReadAt, place: Range<u64>, limits: &Limits) -> Result<Value> {
    value(source, place.start..place.end.min(source.size()), limits)
}

/// The same of a value that lies in `place`, of which the first bytes, `head` of them, hold all but
/// what is passed over. They are read alone: there may be very many such values.
pub(crate) fn parse_head(
    source: &dyn ReadAt,
    place: Range<u64>,
    head: usize,
    limits: &Limits,
) -> Result<Value> {
    let len = place.end.saturating_sub(place.start);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(head).min(head)];
    let failed =
        |cause: io::Error| Error::new(place.start, "value", Why::Io { cause: cause.to_string() });
    source.read_at(place.start, &mut bytes).map_err(failed)?;
    value(&Head { start: place.start, bytes }, place, limits)
}

/// Some bytes of a file, at their place in it.
struct Head {
    start: u64,
    bytes: Vec<u8>,
}

impl ReadAt for Head {
    fn size(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let at = offset.checked_sub(self.start).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.bytes.read_at(at, into)
    }
}

fn value(source: &dyn ReadAt, place: Range<u64>, limits: &Limits) -> Result<Value> {
    let mut c = Cursor::new(source);
    c.set_endian(Endian::Big);
    c.seek(place.start);
    let mut parser = Parser { c, end: place.end, values: 0, limits: *limits };
    let value = parser.value(0)?;
    let at = parser.c.offset();
    match place.end.saturating_sub(at) {
        0 => Ok(value),
        rest => Err(Error::invalid(at, "value", format!("{rest} bytes follow it"))),
    }
}

struct Parser<'a> {
    c: Cursor<'a>,
    /// Where the value must end.
    end: u64,
    values: u64,
    limits: Limits,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Value> {
        let at = self.c.offset();
        self.values = self.values.saturating_add(1);
        if depth > DEPTH_MAX {
            let (value, max) = (depth as u64, DEPTH_MAX as u64);
            let why = Why::TooLarge { value, max, lift: "what reading by recursion allows" };
            return Err(Error::new(at, "levels of values in values", why));
        }
        if self.values > self.limits.values {
            let (value, max) = (self.values, self.limits.values);
            let why = Why::TooLarge { value, max, lift: "msgpack-values" };
            return Err(Error::new(at, "values of a file", why));
        }
        let first = self.c.u8("value")?;
        Ok(match first {
            0x00..=0x7F => Value::Int(first.into()),
            0x80..=0x8F => self.map((first & 15).into(), depth)?,
            0x90..=0x9F => self.list((first & 15).into(), depth)?,
            0xA0..=0xBF => self.text((first & 31).into())?,
            0xC0 => Value::Nil,
            0xC2 => Value::Bool(false),
            0xC3 => Value::Bool(true),
            0xC4..=0xC6 => {
                let len = self.length(first.saturating_sub(0xC4))?;
                Value::Bytes(self.pass(len, "bytes")?)
            }
            0xC7..=0xC9 => {
                let len = self.length(first.saturating_sub(0xC7))?;
                self.ext(len)?
            }
            0xCA => Value::Float(self.c.f32("number")?.into()),
            0xCB => Value::Float(self.c.f64("number")?),
            0xCC => Value::Int(self.c.u8("number")?.into()),
            0xCD => Value::Int(self.c.u16("number")?.into()),
            0xCE => Value::Int(self.c.u32("number")?.into()),
            0xCF => Value::Int(self.c.u64("number")?.into()),
            0xD0 => Value::Int(self.c.i8("number")?.into()),
            0xD1 => Value::Int(self.c.i16("number")?.into()),
            0xD2 => Value::Int(self.c.i32("number")?.into()),
            0xD3 => Value::Int(self.c.i64("number")?.into()),
            0xD4..=0xD8 => self.ext(1 << first.saturating_sub(0xD4))?,
            0xD9..=0xDB => {
                let len = self.length(first.saturating_sub(0xD9))?;
                self.text(len)?
            }
            0xDC | 0xDD => {
                let count = self.length(first.saturating_sub(0xDB))?;
                self.list(count, depth)?
            }
            0xDE | 0xDF => {
                let count = self.length(first.saturating_sub(0xDD))?;
                self.map(count, depth)?
            }
            0xC1 => return Err(Error::new(at, "value", Why::Unknown { value: "0xc1".into() })),
            0xE0..=0xFF => Value::Int(i8::from_le_bytes([first]).into()),
        })
    }

    /// A length of 1, 2 or 4 bytes: 2 to the power of `size`.
    fn length(&mut self, size: u8) -> Result<u64> {
        Ok(match size {
            0 => self.c.u8("length")?.into(),
            1 => self.c.u16("length")?.into(),
            _ => self.c.u32("length")?.into(),
        })
    }

    /// Passes over bytes within the value's place.
    fn pass(&mut self, len: u64, what: &'static str) -> Result<Range<u64>> {
        let start = self.c.offset();
        let have = self.end.saturating_sub(start);
        if len > have {
            return Err(Error::new(start, what, Why::Truncated { need: len, have }));
        }
        self.c.seek(start.saturating_add(len));
        Ok(start..self.c.offset())
    }

    fn text(&mut self, len: u64) -> Result<Value> {
        let at = self.c.offset();
        let bytes = self.c.bytes(len, self.limits.text, "msgpack-text", "text")?;
        let text = String::from_utf8(bytes);
        text.map(Value::Text).map_err(|_| Error::invalid(at, "text", "it is not UTF-8"))
    }

    fn ext(&mut self, len: u64) -> Result<Value> {
        let kind = self.c.i8("extension type")?;
        Ok(Value::Ext(kind, self.pass(len, "extension")?))
    }

    /// Each item has a byte at least.
    fn counted(&mut self, count: u64, least: u64) -> Result<()> {
        let (at, have) = (self.c.offset(), self.end.saturating_sub(self.c.offset()));
        let need = count.saturating_mul(least);
        if need > have {
            return Err(Error::new(at, "items", Why::Truncated { need, have }));
        }
        Ok(())
    }

    fn list(&mut self, count: u64, depth: usize) -> Result<Value> {
        self.counted(count, 1)?;
        let items = (0..count).map(|_| self.value(depth.saturating_add(1)));
        items.collect::<Result<_>>().map(Value::List)
    }

    fn map(&mut self, count: u64, depth: usize) -> Result<Value> {
        self.counted(count, 2)?;
        let depth = depth.saturating_add(1);
        let pairs = (0..count).map(|_| Ok((self.value(depth)?, self.value(depth)?)));
        pairs.collect::<Result<_>>().map(Value::Map)
    }
}
