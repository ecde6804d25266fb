//! One file of an archive: where its data are, and the data themselves.

use wire::{Cursor, Error, ReadAt, Result};

use crate::{Crc32, Deflated, crc32, quoted};

/// How the bytes of an entry are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// As they are.
    Stored,
    /// Compressed: RFC 1951.
    Deflated,
}

/// One file of the archive.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name, a label that never becomes a path.
    pub name: String,
    /// Where its local header begins.
    pub header: u64,
    /// Where its data begins.
    pub offset: u64,
    /// Bytes that its data takes in the file.
    pub len: u64,
    /// The CRC-32 of its data once inflated.
    pub crc: u32,
    /// How its bytes are kept.
    pub method: Method,
    /// Bytes that its data takes once inflated.
    pub inflated: u64,
    pub(super) flags: u16,
}

impl Entry {
    /// Its data, inflated and held against its checksum; at most `max` bytes.
    ///
    /// # Errors
    /// `TooLarge` above `max`, which `lift` names; `Invalid` for data that are damaged; `Io`.
    pub fn data(&self, source: &dyn ReadAt, max: u64, lift: &'static str) -> Result<Vec<u8>> {
        let bytes = match self.method {
            Method::Stored => {
                let mut c = Cursor::new(source);
                c.seek(self.offset);
                let wanted = wire::Why::TooLarge { value: self.len, max, lift };
                if self.len > max {
                    return Err(Error::new(self.offset, self.what(), wanted));
                }
                c.bytes(self.len, self.len, lift, "entry data")?
            }
            Method::Deflated => self.stream(source).all(max, lift)?,
        };
        let mut crc = Crc32::default();
        crc.update(&bytes);
        self.check(crc.value())?;
        Ok(bytes)
    }

    /// The first bytes of its data, `len` of them if it has as many, inflated. They are held
    /// against no checksum, which is one of all bytes.
    ///
    /// # Errors
    /// `Invalid` for data that are damaged; `Io`.
    pub fn head(&self, source: &dyn ReadAt, len: usize) -> Result<Vec<u8>> {
        match self.method {
            Method::Stored => {
                let mut c = Cursor::new(source);
                c.seek(self.offset);
                let len = self.len.min(len as u64);
                c.bytes(len, len, "", "entry data")
            }
            Method::Deflated => self.stream(source).head(len),
        }
    }

    /// Holds its data against its checksum; in pieces, so none of them are kept.
    ///
    /// # Errors
    /// `Invalid` for data that are damaged; `Io`.
    pub fn verify(&self, source: &dyn ReadAt) -> Result<()> {
        let found = match self.method {
            Method::Stored => crc32(source, self.offset, self.len)?,
            Method::Deflated => {
                let mut crc = Crc32::default();
                self.stream(source).each(&mut |piece| crc.update(piece))?;
                crc.value()
            }
        };
        self.check(found)
    }

    fn stream<'a>(&self, source: &'a dyn ReadAt) -> Deflated<'a> {
        let place = self.offset..self.offset.saturating_add(self.len);
        Deflated { source, place, len: self.inflated, what: self.what() }
    }

    fn check(&self, found: u32) -> Result<()> {
        if found == self.crc {
            return Ok(());
        }
        let rule = format!("has the checksum {found:08x}, and states {:08x}", self.crc);
        Err(Error::invalid(self.offset, self.what(), rule))
    }

    /// What an error calls it.
    pub(super) fn what(&self) -> String {
        format!("zip entry {}", quoted(&self.name))
    }
}
