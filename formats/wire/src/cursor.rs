//! A place in a file, and the reading of fields from it.

use std::borrow::Cow;
use std::io;

use crate::{Error, ReadAt, Result, Why};

/// The order of the bytes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// Headers are read through a window of this many bytes, so a field costs no system call.
const WINDOW: u64 = 64 * 1024;

/// A place in a file, and the reading of fields from it.
pub struct Cursor<'a> {
    source: &'a dyn ReadAt,
    size: u64,
    offset: u64,
    endian: Endian,
    window: Vec<u8>,
    window_at: u64,
}

macro_rules! number {
    ($($name:ident),*) => {$(
        /// The next number of this type, in the cursor's byte order.
        ///
        /// # Errors
        /// `Truncated` if the file ends before it.
        pub fn $name(&mut self, what: &'static str) -> Result<$name> {
            let bytes = self.array(what)?;
            Ok(match self.endian {
                Endian::Little => $name::from_le_bytes(bytes),
                Endian::Big => $name::from_be_bytes(bytes),
            })
        }
    )*};
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `source`, reading little-endian numbers.
    pub fn new(source: &'a dyn ReadAt) -> Self {
        let (size, window) = (source.size(), Vec::new());
        Self { source, size, offset: 0, endian: Endian::Little, window, window_at: 0 }
    }

    /// The offset of the next byte, from the start of the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The length of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes between here and the end of the file.
    pub fn remaining(&self) -> u64 {
        self.size.saturating_sub(self.offset)
    }

    /// Numbers from here on have this byte order.
    pub fn set_endian(&mut self, endian: Endian) {
        self.endian = endian;
    }

    /// Continues at `offset`, which may lie past the end: then the next read is `Truncated`.
    pub fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// Passes over `len` bytes.
    ///
    /// # Errors
    /// `Truncated` if fewer remain.
    pub fn skip(&mut self, len: u64, what: impl Into<Cow<'static, str>>) -> Result<()> {
        self.offset = self.end_of(len, what)?;
        Ok(())
    }

    number!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

    /// The next `N` bytes.
    ///
    /// # Errors
    /// `Truncated` if fewer remain.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// The next `len` bytes; memory is taken only once they are known to exist.
    ///
    /// # Errors
    /// `TooLarge` above `max` (the limit that is called `lift`), `Truncated` if fewer remain.
    pub fn bytes(
        &mut self,
        len: u64,
        max: u64,
        lift: &'static str,
        what: &'static str,
    ) -> Result<Vec<u8>> {
        if len > max {
            return Err(Error::new(self.offset, what, Why::TooLarge { value: len, max, lift }));
        }
        self.end_of(len, what)?;
        let refused = || Error::new(self.offset, what, Why::TooLarge { value: len, max: 0, lift });
        let size = usize::try_from(len).map_err(|_| refused())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| refused())?;
        bytes.resize(size, 0);
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// The offset at which a field of `len` bytes from here ends.
    fn end_of(&self, len: u64, what: impl Into<Cow<'static, str>>) -> Result<u64> {
        let end = self.offset.checked_add(len).filter(|&end| end <= self.size);
        let why = Why::Truncated { need: len, have: self.remaining() };
        end.ok_or_else(|| Error::new(self.offset, what, why))
    }

    fn fill(&mut self, into: &mut [u8], what: &'static str) -> Result<()> {
        let end = self.end_of(into.len() as u64, what)?;
        if into.len() as u64 > WINDOW {
            self.read(self.offset, into, what)?;
        } else {
            into.copy_from_slice(self.window(end, what)?);
        }
        self.offset = end;
        Ok(())
    }

    /// The bytes from here to `end`, which lie within the file and are no more than a window.
    fn window(&mut self, end: u64, what: &'static str) -> Result<&[u8]> {
        let held = self.window_at.saturating_add(self.window.len() as u64);
        if self.offset < self.window_at || end > held {
            let len = usize::try_from(self.remaining().min(WINDOW)).unwrap_or(0);
            let mut window = std::mem::take(&mut self.window);
            window.resize(len, 0);
            self.read(self.offset, &mut window, what)?;
            (self.window, self.window_at) = (window, self.offset);
        }
        let at = |offset: u64| usize::try_from(offset.saturating_sub(self.window_at)).unwrap_or(0);
        let why = Why::Truncated { need: end, have: self.size };
        let range = at(self.offset)..at(end);
        self.window.get(range).ok_or_else(|| Error::new(self.offset, what, why))
    }

    fn read(&self, offset: u64, into: &mut [u8], what: &'static str) -> Result<()> {
        self.source.read_at(offset, into).map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    Why::Io { cause: "the file is now shorter than when it was opened".to_owned() }
                }
                _ => Why::Io { cause: error.to_string() },
            };
            Error::new(offset, what, why)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_both_orders() {
        let bytes = vec![1u8, 2, 3, 4, 1, 2, 3, 4];
        let mut c = Cursor::new(&bytes);
        assert_eq!(c.u32("n").unwrap(), 0x0403_0201);
        c.set_endian(Endian::Big);
        assert_eq!(c.u32("n").unwrap(), 0x0102_0304);
        let error = c.u8("n").unwrap_err();
        assert_eq!((error.offset, error.why), (8, Why::Truncated { need: 1, have: 0 }));
    }

    #[test]
    fn lengths_are_checked_before_memory_is_taken() {
        let bytes = vec![0u8; 10];
        let mut c = Cursor::new(&bytes);
        let why = c.bytes(1 << 60, 1 << 62, "x", "blob").unwrap_err().why;
        assert_eq!(why, Why::Truncated { need: 1 << 60, have: 10 });
        let why = c.bytes(9, 8, "x", "blob").unwrap_err().why;
        assert_eq!(why, Why::TooLarge { value: 9, max: 8, lift: "x" });
        assert_eq!(c.bytes(10, 10, "x", "blob").unwrap().len(), 10);
    }

    #[test]
    fn fields_cross_the_window() {
        let bytes: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        let mut c = Cursor::new(&bytes);
        for n in 0..200_000 {
            assert_eq!(c.u32("n").unwrap(), n);
        }
        c.seek(4);
        assert_eq!(c.u32("n").unwrap(), 1);
    }
}
