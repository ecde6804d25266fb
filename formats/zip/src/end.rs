//! The end of the archive: where the directory is, said once or twice.

use wire::{Cursor, Error, ReadAt, Result, Why};

use super::{ROW_LEN, SEE64};

/// The signature of the end record.
pub const END: u32 = 0x0605_4b50;
/// The signature of the zip64 end record.
pub const END64: u32 = 0x0606_4b50;
/// The signature of the locator of the zip64 end record.
pub const LOCATOR64: u32 = 0x0706_4b50;

const END_LEN: u64 = 22;
const LOCATOR_LEN: u64 = 20;
const END64_LEN: u64 = 56;
const COMMENT_MAX: u64 = 0xFFFF;

/// Where the central directory is.
pub(super) struct Directory {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) count: u64,
}

impl Directory {
    pub(super) fn find(source: &dyn ReadAt) -> Result<Self> {
        let end = end_record(source)?;
        let mut c = Cursor::new(source);
        c.seek(end.saturating_add(4));
        let disks = [c.u16("disk number")?, c.u16("disk of the directory")?];
        let here = u64::from(c.u16("entries on this disk")?);
        let count = u64::from(c.u16("entries")?);
        let len = u64::from(c.u32("directory length")?);
        let offset = u64::from(c.u32("directory offset")?);
        let (directory, tables) = match zip64(source, end)? {
            Some((wide, at)) => {
                let pairs = [
                    (here, 0xFFFF, wide.count),
                    (count, 0xFFFF, wide.count),
                    (len, SEE64, wide.len),
                    (offset, SEE64, wide.offset),
                ];
                if pairs.iter().any(|&(narrow, see, wide)| narrow != see && narrow != wide) {
                    return Err(Error::invalid(end, "zip end record", "contradicts zip64's"));
                }
                (wide, at)
            }
            None => (Self { offset, len, count }, end),
        };
        if disks.iter().any(|&disk| disk != 0 && disk != 0xFFFF) || here != count {
            let feature = "an archive of several volumes; join them first";
            return Err(Error::unsupported(end, "zip end record", feature));
        }
        directory.checked(tables)
    }

    /// The directory must end where the tables after it begin, and have room for its rows.
    fn checked(self, tables: u64) -> Result<Self> {
        if self.offset.checked_add(self.len) != Some(tables) {
            let why = Why::Mismatch {
                found: format!("{} bytes from {:#x}", self.len, self.offset),
                expected: format!("bytes that end at {tables:#x}"),
            };
            return Err(Error::new(tables, "zip directory", why));
        }
        let need = self.count.saturating_mul(ROW_LEN);
        if need > self.len {
            let why = Why::Truncated { need, have: self.len };
            return Err(Error::new(self.offset, "zip directory", why));
        }
        Ok(self)
    }
}

/// The one end record whose comment ends with the file.
fn end_record(source: &dyn ReadAt) -> Result<u64> {
    let what = "zip end record";
    let size = source.size();
    let tail = size.min(END_LEN.saturating_add(COMMENT_MAX));
    let mut c = Cursor::new(source);
    c.seek(size.saturating_sub(tail));
    let bytes = c.bytes(tail, tail, "", what)?;
    let mut found = Vec::new();
    for (at, window) in bytes.windows(22).enumerate() {
        let [a, b, d, e, .., low, high] = window else { continue };
        let comment = u64::from(u16::from_le_bytes([*low, *high]));
        let end = (at as u64).saturating_add(END_LEN).saturating_add(comment);
        if u32::from_le_bytes([*a, *b, *d, *e]) == END && end == tail {
            found.push(size.saturating_sub(tail).saturating_add(at as u64));
        }
    }
    match *found.as_slice() {
        [at] => Ok(at),
        [] => {
            let rule = "there is none: the file is cut short, damaged, or not a zip";
            Err(Error::invalid(size, what, rule))
        }
        [first, ..] => {
            Err(Error::invalid(first, what, "there are two, so the file has two readings"))
        }
    }
}

/// The zip64 end record before the end record at `end`, and where it begins.
fn zip64(source: &dyn ReadAt, end: u64) -> Result<Option<(Directory, u64)>> {
    let Some(at) = end.checked_sub(LOCATOR_LEN) else { return Ok(None) };
    let mut c = Cursor::new(source);
    c.seek(at);
    if c.u32("zip64 locator")? != LOCATOR64 {
        return Ok(None);
    }
    let what = "zip64 end record";
    let disk = c.u32("zip64 disk")?;
    let record = c.u64("zip64 end record offset")?;
    let disks = c.u32("zip64 disks")?;
    if disk != 0 || disks > 1 {
        return Err(Error::unsupported(at, "zip64 locator", "an archive of several volumes"));
    }
    if record.checked_add(END64_LEN).is_none_or(|least| least > at) {
        let rule = format!("it would begin at {record:#x}, but must end at {at:#x}");
        return Err(Error::invalid(at, what, rule));
    }
    c.seek(record);
    let signature = c.u32(what)?;
    let len = c.u64("zip64 end record length")?;
    if signature != END64 || record.saturating_add(12).checked_add(len) != Some(at) {
        let rule = format!("the locator names {record:#x}, where none of fitting length is");
        return Err(Error::invalid(record, what, rule));
    }
    c.skip(4, "zip64 versions")?;
    let disks = [c.u32("disk number")?, c.u32("disk of the directory")?];
    let here = c.u64("entries on this disk")?;
    let count = c.u64("entries")?;
    if disks != [0, 0] || here != count {
        return Err(Error::unsupported(record, what, "an archive of several volumes"));
    }
    let len = c.u64("directory length")?;
    let offset = c.u64("directory offset")?;
    Ok(Some((Directory { offset, len, count }, record)))
}
