//! Bytes → fields.

use std::ops::Range;

use wire::{Cursor, Error, ReadAt, Result, Why};

use crate::{Field, LEVELS_MAX, Limits, Value};

/// The name of [`Limits::field`].
const FIELD: &str = "protobuf-field";

/// Reads fields from a file through a window, so that it need not lie in memory.
pub struct Reader<'a> {
    cursor: Cursor<'a>,
    limits: Limits,
    /// Messages that were begun.
    messages: u64,
}

/// A message: a range of a file, and how far it has been read.
#[derive(Debug, Clone)]
pub struct Message {
    at: u64,
    end: u64,
    level: u32,
}

impl Message {
    /// What of the file has not been read yet.
    pub fn span(&self) -> Range<u64> {
        self.at..self.end
    }
}

impl<'a> Reader<'a> {
    /// A reader of this file.
    pub fn new(source: &'a dyn ReadAt, limits: &Limits) -> Self {
        Self { cursor: Cursor::new(source), limits: *limits, messages: 0 }
    }

    /// The file as a message.
    pub fn whole(&self) -> Message {
        Message { at: 0, end: self.cursor.size(), level: 0 }
    }

    /// The message in a range of the file that a field was found to hold before.
    pub fn within(&self, range: Range<u64>) -> Message {
        Message { at: range.start, end: range.end, level: 0 }
    }

    /// The next field of a message, if it has one more.
    ///
    /// # Errors
    /// `Truncated`, `Invalid` or `Unknown`, for bytes that are no field.
    pub fn next(&mut self, message: &mut Message) -> Result<Option<Field>> {
        if message.at >= message.end {
            return Ok(None);
        }
        self.cursor.seek(message.at);
        let (number, kind) = self.tag(message.end)?;
        let value = self.value(number, kind, message)?;
        let span = message.at..self.cursor.offset();
        message.at = span.end;
        Ok(Some(Field { span, number, value }))
    }

    /// The message that a field of another holds.
    ///
    /// # Errors
    /// `Mismatch` for a field that holds none, `TooLarge` below a hundred levels or for more
    /// messages than the limit.
    pub fn inside(&mut self, of: &Message, field: &Field, what: &'static str) -> Result<Message> {
        let range = field.bytes(what)?;
        self.messages = self.messages.saturating_add(1);
        if self.messages > self.limits.messages {
            let (value, max) = (self.messages, self.limits.messages);
            let why = Why::TooLarge { value, max, lift: "protobuf-messages" };
            return Err(Error::new(field.span.start, what, why));
        }
        let level = of.level.saturating_add(1);
        if level > LEVELS_MAX {
            return Err(too_deep(field.span.start, level));
        }
        Ok(Message { at: range.start, end: range.end, level })
    }

    /// The bytes of a field.
    ///
    /// # Errors
    /// `Mismatch` for another kind of field, `TooLarge` above the limit.
    pub fn bytes(&mut self, field: &Field, what: &'static str) -> Result<Vec<u8>> {
        self.range(field.bytes(what)?, what)
    }

    /// The bytes of a range of the file.
    ///
    /// # Errors
    /// `Truncated` past its end, `TooLarge` above the limit of a field.
    pub fn range(&mut self, at: Range<u64>, what: &'static str) -> Result<Vec<u8>> {
        self.cursor.seek(at.start);
        let len = at.end.saturating_sub(at.start);
        self.cursor.bytes(len, self.limits.field, FIELD, what)
    }

    /// The text of a field.
    ///
    /// # Errors
    /// As [`Self::bytes`], and `Invalid` for what is not UTF-8.
    pub fn text(&mut self, field: &Field, what: &'static str) -> Result<String> {
        let bytes = self.bytes(field, what)?;
        let start = field.bytes(what)?.start;
        String::from_utf8(bytes).map_err(|_| Error::invalid(start, what, "not UTF-8 text"))
    }

    /// Puts text that stands once into its slot.
    ///
    /// # Errors
    /// As [`Self::text`] and [`once`].
    pub fn text_once(
        &mut self,
        slot: &mut Option<String>,
        field: &Field,
        what: &'static str,
    ) -> Result<()> {
        once(slot, self.text(field, what)?, field, what)
    }

    /// The varints of a field that is repeated: one, or many packed into bytes.
    ///
    /// # Errors
    /// `Mismatch` for another kind of field, `TooLarge` above the limit of a field, or what `each`
    /// says.
    pub fn varints(
        &mut self,
        field: &Field,
        what: &'static str,
        mut each: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let range = match &field.value {
            Value::Varint(value) => return each(*value),
            _ => field.bytes(what)?,
        };
        // Each takes up to eight times the memory that it has bytes here.
        let (value, max) = (range.end.saturating_sub(range.start), self.limits.field);
        if value > max {
            let why = Why::TooLarge { value, max, lift: FIELD };
            return Err(Error::new(range.start, what, why));
        }
        self.cursor.seek(range.start);
        while self.cursor.offset() < range.end {
            each(self.varint(range.end, what)?)?;
        }
        Ok(())
    }

    fn tag(&mut self, end: u64) -> Result<(u64, u64)> {
        let offset = self.cursor.offset();
        let tag = self.varint(end, "tag")?;
        let (number, kind) = (tag >> 3, tag & 7);
        if number == 0 || number >= 1 << 29 {
            let rule = format!("field number {number}, expected 1 to 536870911");
            return Err(Error::invalid(offset, "tag", rule));
        }
        Ok((number, kind))
    }

    fn value(&mut self, number: u64, kind: u64, of: &Message) -> Result<Value> {
        let end = of.end;
        Ok(match kind {
            0 => Value::Varint(self.varint(end, "varint")?),
            1 => {
                self.room(8, end, "fixed64")?;
                Value::Fixed64(self.cursor.array("fixed64")?)
            }
            2 => {
                let len = self.varint(end, "length")?;
                let start = self.cursor.offset();
                self.pass(len, end, "field")?;
                Value::Bytes(start..self.cursor.offset())
            }
            3 => self.group(number, of)?,
            5 => {
                self.room(4, end, "fixed32")?;
                Value::Fixed32(self.cursor.array("fixed32")?)
            }
            4 => return Err(Error::invalid(of.at, "tag", "a group ends that has not begun")),
            _ => {
                let value = format!("wire type {kind}");
                return Err(Error::new(of.at, "tag", Why::Unknown { value }));
            }
        })
    }

    /// Passes over a group and those within it, without recursion.
    fn group(&mut self, number: u64, of: &Message) -> Result<Value> {
        let (start, mut open) = (self.cursor.offset(), vec![number]);
        while let Some(&last) = open.last() {
            let at = self.cursor.offset();
            let (number, kind) = self.tag(of.end)?;
            match kind {
                0 => drop(self.varint(of.end, "varint")?),
                1 => self.pass(8, of.end, "fixed64")?,
                2 => {
                    let len = self.varint(of.end, "length")?;
                    self.pass(len, of.end, "field")?;
                }
                3 => {
                    let level = of.level.saturating_add(u32::try_from(open.len()).unwrap_or(1));
                    if level >= LEVELS_MAX {
                        return Err(too_deep(at, level));
                    }
                    open.push(number);
                }
                4 if number == last => {
                    open.pop();
                    if open.is_empty() {
                        return Ok(Value::Group(start..at));
                    }
                }
                4 => {
                    let rule = format!("group {last} ends as group {number}");
                    return Err(Error::invalid(at, "tag", rule));
                }
                5 => self.pass(4, of.end, "fixed32")?,
                _ => {
                    let value = format!("wire type {kind}");
                    return Err(Error::new(at, "tag", Why::Unknown { value }));
                }
            }
        }
        Err(Error::invalid(start, "group", "does not end"))
    }

    fn pass(&mut self, len: u64, end: u64, what: &'static str) -> Result<()> {
        self.room(len, end, what)?;
        self.cursor.skip(len, what)
    }

    /// Whether the message, too, has that many bytes left, and not only the file.
    fn room(&self, need: u64, end: u64, what: &'static str) -> Result<()> {
        room(&self.cursor, need, end, what)
    }

    fn varint(&mut self, end: u64, what: &'static str) -> Result<u64> {
        read_varint(&mut self.cursor, end, what)
    }
}

/// Sets what may stand once: libraries take the last or merge, so two readers may see two files.
///
/// # Errors
/// `Invalid` for what stands twice.
pub fn once<T>(slot: &mut Option<T>, value: T, field: &Field, what: &'static str) -> Result<()> {
    match slot.replace(value) {
        Some(_) => Err(Error::invalid(field.span.start, what, "stands twice")),
        None => Ok(()),
    }
}

fn room(cursor: &Cursor<'_>, need: u64, end: u64, what: &'static str) -> Result<()> {
    let at = cursor.offset();
    let have = end.saturating_sub(at);
    if need > have {
        return Err(Error::new(at, what, Why::Truncated { need, have }));
    }
    Ok(())
}

/// The varint at a cursor, which ends before `end`: at most ten bytes, the last of which holds one
/// bit. Other containers have the same numbers.
///
/// # Errors
/// `Truncated` where the bytes end before it, `Invalid` above 64 bits.
pub fn read_varint(cursor: &mut Cursor<'_>, end: u64, what: &'static str) -> Result<u64> {
    let start = cursor.offset();
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        room(cursor, 1, end, what)?;
        let byte = cursor.u8(what)?;
        let bits = u64::from(byte & 0x7f);
        let shifted = bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits);
        value |= shifted.ok_or_else(|| Error::invalid(start, what, "more than 64 bits"))?;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Error::invalid(start, what, "more than ten bytes"))
}

fn too_deep(offset: u64, level: u32) -> Error {
    let (value, max) = (u64::from(level), u64::from(LEVELS_MAX));
    let lift = "as deep as libraries of protocol buffers read";
    Error::new(offset, "levels of messages", Why::TooLarge { value, max, lift })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Option<(u64, Value)>> {
        let mut reader = Reader::new(&bytes, &Limits::default());
        let mut message = reader.whole();
        Ok(reader.next(&mut message)?.map(|field| (field.number, field.value)))
    }

    #[test]
    fn varints_end_and_fit() {
        assert_eq!(first(b"\x08\x96\x01").unwrap(), Some((1, Value::Varint(150))));
        assert_eq!(first(b"\x08\x96\x81\x00").unwrap(), Some((1, Value::Varint(150))));
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
            (b"\x0c", "a group ends that has not begun"),
            (b"\x0b\x14", "group 1 ends as group 2"),
            (b"\x0b\x08\x01", "tag (byte 0x3): needs 1 bytes"),
            (b"\x0f", "wire type 7"),
            (b"\x0a\x05abc", "needs 5 bytes, but 3 remain"),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "needs 9223372036854775807 bytes"),
            (b"\x0d\x00\x00", "needs 4 bytes"),
        ] {
            let message = first(bytes).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn groups_are_passed_over_and_do_not_nest_without_end() {
        let inside = b"\x0b\x13\x0a\x01\x0c\x14\x08\x05\x0c\x10\x07";
        assert_eq!(first(inside).unwrap(), Some((1, Value::Group(1..8))));
        let deep = [0x0b; 100_000];
        let error = first(&deep).unwrap_err();
        assert!(
            error.to_string().contains("expected at most 100 (as deep as libraries"),
            "{error}"
        );
    }

    #[test]
    fn a_list_of_numbers_is_bounded_as_other_fields() {
        let bytes = b"\x0a\x03\x01\x02\x03".to_vec();
        let read = |field| {
            let mut reader = Reader::new(&bytes, &Limits { field, ..Limits::default() });
            let mut whole = reader.whole();
            let field = reader.next(&mut whole)?.unwrap();
            let mut sum = 0;
            reader.varints(&field, "numbers", |value| {
                sum += value;
                Ok(())
            })?;
            Ok(sum)
        };
        assert_eq!(read(3), Ok(6));
        let why = Why::TooLarge { value: 3, max: 2, lift: FIELD };
        assert_eq!(read(2), Err(Error::new(2, "numbers", why)));
    }

    #[test]
    fn a_field_may_not_reach_past_its_message() {
        // Field 1 has two bytes; the length inside of it says five, and the file has them.
        let bytes = b"\x0a\x02\x0a\x05abcdef".to_vec();
        let mut reader = Reader::new(&bytes, &Limits::default());
        let mut whole = reader.whole();
        let field = reader.next(&mut whole).unwrap().unwrap();
        let mut inner = reader.inside(&whole, &field, "message").unwrap();
        let error = reader.next(&mut inner).unwrap_err();
        assert_eq!(error.why, Why::Truncated { need: 5, have: 0 });
    }
}
