//! Structures of a file: read whole at their address, then field by field.

use wire::{Error, ReadAt, Result, Why, fits};

use crate::checksum::lookup3;

/// The file as its superblock describes it.
#[derive(Clone, Copy)]
pub(crate) struct Image<'a> {
    pub(crate) source: &'a dyn ReadAt,
    /// Where the superblock lies: addresses count from here.
    pub(crate) base: u64,
    pub(crate) widths: Widths,
    /// Most bytes of one structure.
    pub(crate) block_max: u64,
}

/// Bytes of an address, and of a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Widths {
    pub(crate) address: usize,
    pub(crate) length: usize,
}

impl Image<'_> {
    /// The place in the file of `len` bytes at an address.
    pub(crate) fn place(&self, address: u64, len: u64, what: &'static str) -> Result<u64> {
        let start = self.base.saturating_add(address);
        let size = self.source.size();
        let why = Why::Truncated { need: len, have: size.saturating_sub(start) };
        fits(start, len, size).ok_or_else(|| Error::new(start, what, why))?;
        Ok(start)
    }

    /// The bytes of a structure.
    pub(crate) fn block(&self, address: u64, len: u64, what: &'static str) -> Result<Vec<u8>> {
        let start = self.place(address, len, what)?;
        let too_large = |max| Why::TooLarge { value: len, max, lift: "hdf5-block" };
        if len > self.block_max {
            return Err(Error::new(start, what, too_large(self.block_max)));
        }
        let room = usize::try_from(len).map_err(|_| Error::new(start, what, too_large(0)))?;
        let mut bytes = vec![0; room];
        read(self.source, start, &mut bytes, what)?;
        Ok(bytes)
    }

    /// The bytes of a structure that ends in a checksum, without it.
    pub(crate) fn summed(&self, address: u64, len: u64, what: &'static str) -> Result<Vec<u8>> {
        let mut bytes = self.block(address, len, what)?;
        let at = bytes.len().saturating_sub(4);
        let stated = bytes.split_off(at);
        let stated = stated.iter().rev().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let found = lookup3(&bytes);
        if found != stated {
            let rule = format!("has the checksum {found:08x}, and states {stated:08x}: damaged");
            return Err(Error::invalid(self.base.saturating_add(address), what, rule));
        }
        Ok(bytes)
    }

    /// Reads the fields of what was read at an address.
    pub(crate) fn fields<'b>(&self, bytes: &'b [u8], address: u64) -> Fields<'b> {
        let start = self.base.saturating_add(address);
        Fields { bytes, at: 0, start, widths: self.widths }
    }
}

/// Fills `into`; what the system says is said of `what`.
pub(crate) fn read(
    source: &dyn ReadAt,
    at: u64,
    into: &mut [u8],
    what: &'static str,
) -> Result<()> {
    let io = |cause: std::io::Error| Error::new(at, what, Why::Io { cause: cause.to_string() });
    source.read_at(at, into).map_err(io)
}

/// Bytes that are held, and the next field among them.
#[derive(Clone)]
pub(crate) struct Fields<'b> {
    bytes: &'b [u8],
    at: usize,
    start: u64,
    widths: Widths,
}

impl<'b> Fields<'b> {
    /// Where in the file the next field begins.
    pub(crate) fn offset(&self) -> u64 {
        self.start.saturating_add(self.at as u64)
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The largest number that a length can be: it stands for *without bound*.
    pub(crate) fn unbounded(&self) -> u64 {
        match self.widths.length {
            2 => u16::MAX.into(),
            4 => u32::MAX.into(),
            _ => u64::MAX,
        }
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'b [u8]> {
        let end = self.at.saturating_add(len);
        let why = Why::Truncated { need: len as u64, have: self.left() as u64 };
        let bytes = self.bytes.get(self.at..end);
        let bytes = bytes.ok_or_else(|| Error::new(self.offset(), what, why))?;
        self.at = end;
        Ok(bytes)
    }

    /// The fields of the next `len` bytes, which are passed over here.
    pub(crate) fn part(&mut self, len: usize, what: &'static str) -> Result<Fields<'b>> {
        let start = self.offset();
        Ok(Fields { bytes: self.take(len, what)?, at: 0, start, widths: self.widths })
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'b [u8] {
        let bytes = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        bytes
    }

    pub(crate) fn skip(&mut self, len: usize, what: &'static str) -> Result<()> {
        self.take(len, what).map(drop)
    }

    /// Passes over what fills a structure of `len` bytes up to a multiple of eight.
    pub(crate) fn skip_padding(&mut self, len: usize, what: &'static str) -> Result<()> {
        self.skip(len.next_multiple_of(8).saturating_sub(len), what)
    }

    /// A little-endian number of up to eight bytes.
    pub(crate) fn uint(&mut self, width: usize, what: &'static str) -> Result<u64> {
        let bytes = self.take(width, what)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8> {
        Ok(self.take(1, what)?.first().copied().unwrap_or(0))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16> {
        Ok(u16::try_from(self.uint(2, what)?).unwrap_or(u16::MAX))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32> {
        Ok(u32::try_from(self.uint(4, what)?).unwrap_or(u32::MAX))
    }

    /// A number that memory can be measured with.
    pub(crate) fn size(&mut self, width: usize, what: &'static str) -> Result<usize> {
        let at = self.offset();
        let value = self.uint(width, what)?;
        let why = Why::TooLarge { value, max: usize::MAX as u64, lift: "of this machine" };
        usize::try_from(value).map_err(|_| Error::new(at, what, why))
    }

    /// A length, as wide as the superblock says.
    pub(crate) fn length(&mut self, what: &'static str) -> Result<u64> {
        self.uint(self.widths.length, what)
    }

    /// An address, unless undefined.
    pub(crate) fn address(&mut self, what: &'static str) -> Result<Option<u64>> {
        let bytes = self.take(self.widths.address, what)?;
        if bytes.iter().all(|byte| *byte == 0xff) {
            return Ok(None);
        }
        Ok(Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))))
    }

    /// An address that must be defined.
    pub(crate) fn defined(&mut self, what: &'static str) -> Result<u64> {
        let at = self.offset();
        self.address(what)?.ok_or_else(|| Error::invalid(at, what, "is undefined"))
    }

    /// Four letters that a structure begins with.
    pub(crate) fn signature(&mut self, expected: &[u8; 4], what: &'static str) -> Result<()> {
        let at = self.offset();
        let found = self.take(4, what)?;
        if found == expected {
            return Ok(());
        }
        let (found, expected) = (found.escape_ascii().to_string(), expected.escape_ascii());
        let why = Why::Mismatch { found, expected: format!("\"{expected}\"") };
        Err(Error::new(at, what, why))
    }

    /// A version that must be among those.
    pub(crate) fn version(&mut self, known: &[u8], what: &'static str) -> Result<u8> {
        let at = self.offset();
        let version = self.u8(what)?;
        if known.contains(&version) {
            return Ok(version);
        }
        Err(Error::new(at, what, Why::Unknown { value: format!("version {version}") }))
    }

    /// A name of this many bytes; NULs at its end are padding.
    pub(crate) fn name(&mut self, len: usize, what: &'static str) -> Result<String> {
        let at = self.offset();
        text(self.take(len, what)?, at, what)
    }
}

/// Text up to its first NUL.
pub(crate) fn text(bytes: &[u8], at: u64, what: &'static str) -> Result<String> {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let utf8 = std::str::from_utf8(bytes);
    Ok(utf8.map_err(|_| Error::invalid(at, what, "is not UTF-8"))?.to_owned())
}
