//! From the bytes of a file to the place and the form of its array.

use wire::{Cursor, Error, ReadAt, Result, Why, product};

use crate::literal::{Header, parse};
use crate::{Descr, Limits, MAGIC};

/// An array, and where its elements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// The type of the elements.
    pub descr: Descr,
    /// The outermost dimension first, in Fortran order too.
    pub shape: Vec<u64>,
    /// Whether the first index runs fastest, instead of the last.
    pub fortran: bool,
    /// Byte offset of the first element.
    pub data_offset: u64,
    /// Bytes of all elements.
    pub data_len: u64,
}

/// Whether a file that begins with `head` is an npy file.
pub fn probe(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Reads the header; of the data, only the length is checked.
///
/// # Errors
/// - `Truncated`, `Invalid`, `Mismatch`, `Unknown`: the file breaks the format, see the crate.
/// - `TooLarge`: the header is longer than the limit.
/// - `Unsupported`: elements that are no plain numbers.
/// - `Io`: reading failed.
pub fn read(source: &dyn ReadAt, limits: &Limits) -> Result<Array> {
    header(source, source.size(), limits)
}

/// The same of a file of which only the first bytes are at hand: all, or [`Limits::head`] of
/// them.
///
/// # Errors
/// As [`read`]; `size` is the length of the file.
pub fn read_head(head: &[u8], size: u64, limits: &Limits) -> Result<Array> {
    header(&head, size, limits)
}

/// Reads the header from the begin of a file of `size` bytes.
fn header(head: &dyn ReadAt, size: u64, limits: &Limits) -> Result<Array> {
    let mut c = Cursor::new(head);
    let magic: [u8; 6] = c.array("magic")?;
    if magic != *MAGIC {
        let found = format!("\"{}\"", magic.escape_ascii());
        let expected = format!("\"{}\": this is no npy file", MAGIC.escape_ascii());
        return Err(Error::new(0, "magic", Why::Mismatch { found, expected }));
    }
    let version_at = c.offset();
    let version = c.array("version")?;
    let length_at = c.offset();
    let len = match version {
        [1, 0] => u64::from(c.u16("header length")?),
        [2 | 3, 0] => u64::from(c.u32("header length")?),
        [major, minor] => {
            let value = format!("{major}.{minor}");
            return Err(Error::new(version_at, "version", Why::Unknown { value }));
        }
    };
    let have = size.saturating_sub(c.offset());
    if len > have {
        // Before the limit: a length that exceeds the file is damage, and no option cures it.
        return Err(Error::new(length_at, "header length", Why::Truncated { need: len, have }));
    }
    let start = c.offset();
    let text = c.bytes(len, limits.header, "npy-header", "header length")?;
    let Header { descr, fortran, shape } = parse(&text, start)?;
    // The size is a factor like the others: a huge dimension beside an empty one is not real.
    let data_len = product(&[shape.as_slice(), &[descr.size]].concat());
    let wraps = || format!("the bytes of {shape:?} pass 64-bit numbers");
    let data_len = data_len.ok_or_else(|| Error::invalid(start, "shape", wraps()))?;
    let array = Array { descr, shape, fortran, data_offset: c.offset(), data_len };
    array.fills(size).map(|()| array)
}

impl Array {
    /// The data end where the file does.
    fn fills(&self, size: u64) -> Result<()> {
        let have = size.saturating_sub(self.data_offset);
        match have.checked_sub(self.data_len) {
            Some(0) => Ok(()),
            Some(rest) => {
                let at = self.data_offset.saturating_add(self.data_len);
                Err(Error::invalid(at, "data", format!("{rest} bytes follow the last element")))
            }
            None => {
                let why = Why::Truncated { need: self.data_len, have };
                Err(Error::new(self.data_offset, "data", why))
            }
        }
    }
}
