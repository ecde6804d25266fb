//! Archives of stored entries, planned before their data exist.
//!
//! Each entry is aligned to 64 bytes by a padding field `FB`, so that its data can be used where
//! they lie; its time is the epoch of zip. Local headers state lengths and checksums.
//!
//! Source: `getPadding` in `caffe2/serialize/inline_container.cc` of PyTorch 2, APPNOTE 6.3.10.

use std::ops::Range;

use wire::{Error, Result};

use crate::{Crc32, END, END64, LOCAL, LOCATOR64, ROW, SEE64, quoted};

/// Data begins at multiples of this: `kFieldAlignment` of PyTorch.
const ALIGNMENT: u64 = 64;

/// The names in the archive are ASCII or UTF-8.
const FLAGS: u16 = 1 << 11;

/// 4.5 of the specification: what an archive with zip64 fields needs.
const NEEDED: u16 = 45;

/// An archive of these entries, in this order.
///
/// # Errors
/// `Invalid` for a name above 65 535 bytes.
pub fn stored(entries: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut writer = Writer::new("");
    for (name, bytes) in entries {
        writer.known(name, bytes)?;
    }
    Ok(writer.end().headers.into_iter().flat_map(|(_, bytes)| bytes).collect())
}

/// An archive yet to be written: `headers`, the bytes that are made later, and the CRC-32 of a
/// range at each of `sums`. Every byte up to `len` is one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is known, and where it goes.
    pub headers: Vec<(u64, Vec<u8>)>,
    /// Where the CRC-32 of the bytes in a range goes: four bytes, little-endian.
    pub sums: Vec<(u64, Range<u64>)>,
    /// Bytes of the whole file.
    pub len: u64,
}

/// A checksum that is known, or of bytes that will be written.
#[derive(Clone)]
enum Sum {
    Known(u32),
    Of(Range<u64>),
}

/// One entry, as the directory repeats it.
struct Row {
    name: String,
    header: u64,
    len: u64,
    sum: Sum,
}

/// An archive as it grows: bytes up to `at`, of which the last ones are still in `open`.
pub struct Writer {
    root: &'static str,
    headers: Vec<(u64, Vec<u8>)>,
    sums: Vec<(u64, Range<u64>)>,
    rows: Vec<Row>,
    /// The end of what is planned.
    at: u64,
    /// Known bytes that end at `at`.
    open: Vec<u8>,
}

impl Writer {
    /// An archive whose entries' names all begin so.
    pub fn new(root: &'static str) -> Self {
        let (headers, sums, rows, at, open) = Default::default();
        Self { root, headers, sums, rows, at, open }
    }

    /// An entry whose bytes are known.
    ///
    /// # Errors
    /// `Invalid` for a name above 65 535 bytes.
    pub fn known(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut crc = Crc32::default();
        crc.update(bytes);
        self.header(name, bytes.len() as u64, |_| Sum::Known(crc.value()))?;
        self.put(bytes);
        Ok(())
    }

    /// An entry of known bytes, and of others that are made later; where those go.
    ///
    /// # Errors
    /// `Invalid` for a name above 65 535 bytes, or a file that exceeds 63 bits.
    pub fn later(&mut self, name: &str, head: &[u8], len: u64) -> Result<Range<u64>> {
        let whole = len.saturating_add(head.len() as u64);
        self.header(name, whole, |start| match whole {
            0 => Sum::Known(0),
            _ => Sum::Of(start..start.saturating_add(whole)),
        })?;
        // What is summed is parts of its own.
        self.close();
        self.put(head);
        self.close();
        let start = self.at;
        self.at =
            start.checked_add(len).filter(|&end| end <= i64::MAX as u64).ok_or_else(|| {
                Error::invalid(start, format!("entry {}", quoted(name)), "the file exceeds 63 bits")
            })?;
        Ok(start..self.at)
    }

    /// A local header, padded so that data begins at a multiple of [`ALIGNMENT`].
    fn header(&mut self, name: &str, len: u64, sum: impl FnOnce(u64) -> Sum) -> Result<()> {
        let (name, header) = (format!("{}{name}", self.root), self.at);
        if name.len() >= 0xFFFF {
            let rule = format!("a name of {} bytes, expected fewer than 65535", name.len());
            return Err(Error::invalid(header, "zip entry", rule));
        }
        let mut extra = wide(&[len, len]);
        let before = [30, name.len(), extra.len(), 4].into_iter().map(|len| len as u64);
        let before = before.fold(header, u64::saturating_add);
        // A whole 64 where none is needed, as torch has it.
        let padding = ALIGNMENT.saturating_sub(before.checked_rem(ALIGNMENT).unwrap_or(0));
        extra.extend(b"FB");
        extra.extend(narrow16(padding).to_le_bytes());
        extra.extend(std::iter::repeat_n(b'Z', usize::try_from(padding).unwrap_or(0)));
        let sum = sum(before.saturating_add(padding));
        self.put(&LOCAL.to_le_bytes());
        self.fields(&sum, len);
        self.put(&narrow16(name.len() as u64).to_le_bytes());
        self.put(&narrow16(extra.len() as u64).to_le_bytes());
        self.put(name.as_bytes());
        self.put(&extra);
        self.rows.push(Row { name, header, len, sum });
        Ok(())
    }

    /// What local headers and rows of the directory have in common, up to the length of the name.
    fn fields(&mut self, sum: &Sum, len: u64) {
        self.put(&NEEDED.to_le_bytes());
        self.put(&FLAGS.to_le_bytes());
        // Stored; midnight of 1980-01-01, the first day that the field can state.
        self.put(&[0, 0, 0, 0, 0x21, 0]);
        match sum {
            Sum::Known(crc) => self.put(&crc.to_le_bytes()),
            Sum::Of(range) => {
                self.close();
                self.sums.push((self.at, range.clone()));
                self.at = self.at.saturating_add(4);
            }
        }
        self.put(&narrow(len).to_le_bytes());
        self.put(&narrow(len).to_le_bytes());
    }

    /// Ends with the directory, and the records that say where it is.
    pub fn end(mut self) -> Plan {
        let start = self.at;
        let rows = std::mem::take(&mut self.rows);
        for row in &rows {
            self.row(row);
        }
        let (end, count) = (self.at, rows.len() as u64);
        let len = end.saturating_sub(start);
        if [len, start].iter().any(|&n| n >= SEE64) || count >= 0xFFFF {
            self.put(&END64.to_le_bytes());
            self.put(&44u64.to_le_bytes());
            self.put(&[NEEDED.to_le_bytes(), NEEDED.to_le_bytes()].concat());
            self.put(&[0; 8]);
            for field in [count, count, len, start] {
                self.put(&field.to_le_bytes());
            }
            self.put(&LOCATOR64.to_le_bytes());
            self.put(&[0; 4]);
            self.put(&end.to_le_bytes());
            self.put(&1u32.to_le_bytes());
        }
        self.put(&END.to_le_bytes());
        self.put(&[0; 4]);
        self.put(&[narrow16(count).to_le_bytes(), narrow16(count).to_le_bytes()].concat());
        self.put(&narrow(len).to_le_bytes());
        self.put(&narrow(start).to_le_bytes());
        self.put(&[0; 2]);
        self.close();
        Plan { headers: self.headers, sums: self.sums, len: self.at }
    }

    fn row(&mut self, row: &Row) {
        // The directory states only those fields in zip64's that do not fit in its own.
        let extra = wide(&[row.len, row.len, row.header]);
        self.put(&ROW.to_le_bytes());
        self.put(&NEEDED.to_le_bytes());
        self.fields(&row.sum, row.len);
        self.put(&narrow16(row.name.len() as u64).to_le_bytes());
        self.put(&narrow16(extra.len() as u64).to_le_bytes());
        // No comment, volume 0, no attributes.
        self.put(&[0; 10]);
        self.put(&narrow(row.header).to_le_bytes());
        self.put(row.name.as_bytes());
        self.put(&extra);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.open.extend(bytes);
        self.at = self.at.saturating_add(bytes.len() as u64);
    }

    /// Ends the run of known bytes at `at`.
    fn close(&mut self) {
        if !self.open.is_empty() {
            let start = self.at.saturating_sub(self.open.len() as u64);
            self.headers.push((start, std::mem::take(&mut self.open)));
        }
    }
}

/// The zip64 extra field that holds those of `fields` that do not fit in 32 bits.
fn wide(fields: &[u64]) -> Vec<u8> {
    let large = fields.iter().filter(|&&field| field >= SEE64);
    let body: Vec<u8> = large.flat_map(|field| field.to_le_bytes()).collect();
    if body.is_empty() {
        return body;
    }
    [&[1, 0], narrow16(body.len() as u64).to_le_bytes().as_slice(), &body].concat()
}

/// A 32-bit field: the value, or what says that zip64's fields hold it.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A 16-bit field, likewise.
fn narrow16(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Archive;

    #[test]
    fn what_is_written_is_read() {
        let entries = [("a.npy", vec![1, 2, 3]), ("b/c", vec![]), ("d", vec![0; 70_000])];
        let entries = entries.map(|(name, bytes)| (name.to_owned(), bytes));
        let bytes = stored(&entries).unwrap();
        let archive = Archive::open(&bytes).unwrap();
        assert_eq!(archive.entries.len(), 3);
        for (name, content) in &entries {
            let entry = archive.get(name).unwrap();
            assert_eq!(entry.data(&bytes, 1 << 20, "").unwrap(), *content);
        }
        archive.get("d").unwrap().data(&bytes, 10, "").unwrap_err();
    }
}
