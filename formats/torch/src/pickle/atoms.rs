//! Numbers, text and bytes.

use wire::Result;

use super::{FALSE, Machine, NONE, PLAIN, TRUE, escapes};
use crate::value::{Id, Value};

impl Machine<'_, '_> {
    /// Opcodes that push one value and take none.
    pub(super) fn atom(&mut self, op: u8) -> Result<bool> {
        let id = match op {
            b'N' => NONE,
            0x88 => TRUE,
            0x89 => FALSE,
            b'I' | b'L' | b'F' => self.number_line(op)?,
            b'J' => {
                let value = i32::from_le_bytes(self.array("integer")?);
                self.int(value.into())?
            }
            b'K' => {
                let value = u8::from_le_bytes(self.array("integer")?);
                self.int(value.into())?
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array("integer")?);
                self.int(value.into())?
            }
            0x8a => {
                let len = u64::from(u8::from_le_bytes(self.array("integer length")?));
                self.long(len)?
            }
            0x8b => {
                let len = i32::from_le_bytes(self.array("integer length")?);
                match u64::try_from(len) {
                    Ok(len) => self.long(len)?,
                    Err(_) => return self.invalid(format!("an integer of {len} bytes")),
                }
            }
            b'G' => {
                self.array::<8>("float")?;
                PLAIN
            }
            b'S' | b'V' => self.text_line(op)?,
            b'X' | 0x8c | 0x8d => self.unicode(op)?,
            b'T' | b'U' => self.string(op)?,
            b'B' | b'C' | 0x8e | 0x96 => self.blob(op)?,
            _ => return Ok(false),
        };
        self.push(id)?;
        Ok(true)
    }

    fn int(&mut self, value: i64) -> Result<Id> {
        self.make(Value::Int(value))
    }

    /// Two's complement, least byte first; no bytes at all are zero.
    fn long(&mut self, len: u64) -> Result<Id> {
        self.need(len, "integer")?;
        let bytes = self.c.bytes(len, self.limits.integer, "pickle-integer", "integer")?;
        let sign = if bytes.last().is_some_and(|top| top & 0x80 != 0) { 0xFF } else { 0 };
        let mut wide = [sign; 8];
        match wide.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(&bytes);
                self.int(i64::from_le_bytes(wide))
            }
            None => self.make(Value::Big(bytes.into())),
        }
    }

    fn number_line(&mut self, op: u8) -> Result<Id> {
        let line = self.line()?;
        let digits = line.strip_suffix('L').filter(|_| op == b'L').unwrap_or(&line);
        match (op, digits) {
            // Protocol 0 has no other booleans.
            (b'I', "00") => return Ok(FALSE),
            (b'I', "01") => return Ok(TRUE),
            (b'F', _) if digits.parse::<f64>().is_ok() => return Ok(PLAIN),
            (b'F', _) => return self.invalid("not a number"),
            _ => {}
        }
        if let Ok(value) = digits.parse() {
            return self.int(value);
        }
        if let Ok(value) = digits.parse::<i128>() {
            return self.make(Value::Big(minimal(&value.to_le_bytes()).into()));
        }
        let plain = digits.strip_prefix('-').unwrap_or(digits);
        let long = plain.len() as u64;
        if plain.is_empty() || !plain.bytes().all(|b| b.is_ascii_digit()) {
            return self.invalid(format!("{long} characters that are no number"));
        }
        self.within(long, (self.limits.integer, "pickle-integer"), "digits of an integer")?;
        Ok(PLAIN)
    }

    /// Text in the line protocol: of Unicode, or bytes of Python 2 in quotes.
    fn text_line(&mut self, op: u8) -> Result<Id> {
        let line = self.line_bytes()?;
        let text = if op == b'V' { escapes::unicode(&line) } else { self.quoted_line(&line)? };
        match text {
            Some(text) => self.make(Value::Text(text.into())),
            None if op == b'V' => self.invalid("text with an escape that stands for nothing"),
            None => Ok(PLAIN),
        }
    }

    /// A string of Python 2, which is text where it can be.
    fn quoted_line(&self, line: &[u8]) -> Result<Option<String>> {
        match escapes::unquoted(line.trim_ascii_end()).and_then(escapes::bytes) {
            Some(bytes) => Ok(String::from_utf8(bytes).ok()),
            None => self.invalid("a string without its quotes, or with an escape cut short"),
        }
    }

    fn unicode(&mut self, op: u8) -> Result<Id> {
        let bytes = self.sized(op)?;
        match String::from_utf8(bytes) {
            Ok(text) => self.make(Value::Text(text.into())),
            Err(_) => self.invalid("text that is not UTF-8"),
        }
    }

    /// A string of Python 2, which is text where it can be.
    fn string(&mut self, op: u8) -> Result<Id> {
        let bytes = self.sized(op)?;
        match String::from_utf8(bytes) {
            Ok(text) => self.make(Value::Text(text.into())),
            Err(_) => Ok(PLAIN),
        }
    }

    fn blob(&mut self, op: u8) -> Result<Id> {
        let len = self.length(op)?;
        self.need(len, "bytes")?;
        self.c.skip(len, "bytes")?;
        Ok(PLAIN)
    }

    fn sized(&mut self, op: u8) -> Result<Vec<u8>> {
        let len = self.length(op)?;
        self.need(len, "text")?;
        self.c.bytes(len, len, "", "text")
    }

    fn length(&mut self, op: u8) -> Result<u64> {
        Ok(match op {
            b'U' | b'C' | 0x8c => u64::from(u8::from_le_bytes(self.array("length")?)),
            b'X' | b'B' => u64::from(u32::from_le_bytes(self.array("length")?)),
            b'T' => {
                let len = i32::from_le_bytes(self.array("length")?);
                match u64::try_from(len) {
                    Ok(len) => len,
                    Err(_) => return self.invalid(format!("a string of {len} bytes")),
                }
            }
            _ => u64::from_le_bytes(self.array("length")?),
        })
    }

    /// The text up to the next newline.
    pub(super) fn line(&mut self) -> Result<String> {
        let bytes = self.line_bytes()?;
        String::from_utf8(bytes).or_else(|_| self.invalid("a line that is not UTF-8"))
    }

    fn line_bytes(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            match self.array("line of text")? {
                [b'\n'] => return Ok(bytes),
                [byte] => bytes.push(byte),
            }
            let limit = (self.limits.line, "pickle-line");
            self.within(bytes.len() as u64, limit, "line of text")?;
        }
    }
}

/// Two's complement without the bytes that only repeat the sign, as LONG1 has it.
fn minimal(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [head @ .., last, sign] = rest
        && [0, 0xFF].contains(sign)
        && last >> 7 == sign >> 7
    {
        rest = rest.get(..head.len().saturating_add(1)).unwrap_or(rest);
    }
    rest
}
