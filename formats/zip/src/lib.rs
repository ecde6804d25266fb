//! The zip container, read so that one file has one reading.
//!
//! ```text
//!  ┌──────────────────────────┬───┬───────────────────┬──────────────────┬──────────────┐
//!  │ entry: local header,     │ … │ central directory │ zip64 end record │ end record   │
//!  │ name, extra, data, [sum] │   │ one row per entry │ and its locator  │ comment      │
//!  └──────────────────────────┴───┴───────────────────┴──────────────────┴──────────────┘
//! ```
//!
//! Scanners read one of two contradicting statements and loaders the other, so whatever is said
//! twice must agree: local header and directory row, end record and zip64 end record. Names are
//! labels, unique even when case is ignored; none ever becomes a path. Data of two entries never
//! overlap.
//!
//! Specification: PKWARE APPNOTE.TXT 6.3.10. Refused: encryption, several volumes, methods other
//! than stored and deflated, symbolic links, bytes before or between the tables at the end.
//!
//! This crate finds, inflates and checks entries, and writes archives of stored ones. It looks at
//! no content.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod crc;
mod end;
mod entry;
mod inflate;
mod local;
mod text;
mod write;

use std::collections::{BTreeMap, BTreeSet};

pub use crc::{Crc32, combine, crc32};
use end::Directory;
pub use end::{END, END64, LOCATOR64};
pub use entry::{Entry, Method};
pub use inflate::Deflated;
pub use local::LOCAL;
use local::Local;
pub use text::quoted;
use wire::{Cursor, Error, ReadAt, Result};
pub use write::{Plan, Writer, stored};

/// The signature of a row of the directory.
pub const ROW: u32 = 0x0201_4b50;

const ROW_LEN: u64 = 46;
/// The value of a 32-bit field that says: see the zip64 extra field.
pub const SEE64: u64 = 0xFFFF_FFFF;

const ENCRYPTED: u16 = 1 << 0 | 1 << 6 | 1 << 13;
/// Sizes and checksum follow the data, because the writer did not know them before.
const STREAMED: u16 = 1 << 3;
/// Bits 1 and 2 say how hard the writer compressed, bit 11 that the name is UTF-8.
const FLAGS_KNOWN: u16 = 1 << 1 | 1 << 2 | STREAMED | 1 << 11;

/// All entries, in the order of the directory, and found by name.
pub struct Archive {
    /// The entries.
    pub entries: Vec<Entry>,
    by_name: BTreeMap<String, usize>,
}

impl Archive {
    /// Reads the directory and holds every entry against it.
    ///
    /// # Errors
    /// `Malformed` or `Unsupported`, naming the entry.
    pub fn open(source: &dyn ReadAt) -> Result<Self> {
        let directory = Directory::find(source)?;
        let mut entries = rows(source, &directory)?;
        unique(&entries)?;
        place(source, &directory, &mut entries)?;
        let by_name = entries.iter().enumerate().map(|(at, e)| (e.name.clone(), at)).collect();
        Ok(Self { entries, by_name })
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(*self.by_name.get(name)?)
    }
}

fn rows(source: &dyn ReadAt, directory: &Directory) -> Result<Vec<Entry>> {
    let mut c = Cursor::new(source);
    c.seek(directory.offset);
    let end = directory.offset.saturating_add(directory.len);
    let mut entries = Vec::new();
    for _ in 0..directory.count {
        entries.push(row(&mut c)?);
        if c.offset() > end {
            let rule = format!("its rows reach past its end at {end:#x}");
            return Err(Error::invalid(c.offset(), "zip directory", rule));
        }
    }
    if c.offset() != end {
        let rule = format!(
            "{} rows are counted, but {} bytes follow them: entries would be lost",
            directory.count,
            end.saturating_sub(c.offset())
        );
        return Err(Error::invalid(c.offset(), "zip directory", rule));
    }
    Ok(entries)
}

/// One row of the directory; `offset` is filled in once the local header is read.
fn row(c: &mut Cursor<'_>) -> Result<Entry> {
    let at = c.offset();
    if c.u32("zip directory row")? != ROW {
        return Err(Error::invalid(at, "zip directory row", "does not begin with PK 01 02"));
    }
    c.skip(4, "versions")?;
    let flags = c.u16("flags")?;
    let method = c.u16("method")?;
    c.skip(4, "time")?;
    let crc = c.u32("checksum")?;
    let len = u64::from(c.u32("stored length")?);
    let inflated = u64::from(c.u32("length")?);
    let lens = [c.u16("name length")?, c.u16("extra length")?, c.u16("comment length")?];
    let disk = c.u16("disk")?;
    c.skip(2, "internal attributes")?;
    let mode = c.u32("attributes")? >> 16;
    let header = u64::from(c.u32("local header offset")?);
    let [name_len, extra_len, comment_len] = lens.map(u64::from);
    let name = c.bytes(name_len, name_len, "", "entry name")?;
    let extra = c.bytes(extra_len, extra_len, "", "extra field")?;
    c.skip(comment_len, "entry comment")?;
    let name = checked_name(at, name)?;
    let what = || format!("zip entry {}", quoted(&name));
    let mut fields = [inflated, len, header];
    widen(&extra, &mut fields, Sizes::Exact).map_err(|rule| Error::invalid(at, what(), rule))?;
    let [inflated, len, header] = fields;
    if disk != 0 {
        return Err(Error::unsupported(at, what(), "an archive of several volumes"));
    }
    // The upper half of the attributes is the Unix mode; 0o120000 is a symbolic link.
    if mode & 0o170_000 == 0o120_000 {
        return Err(Error::invalid(at, what(), "is a symbolic link; a checkpoint holds none"));
    }
    let method = readable(at, &what(), flags, method)?;
    if method == Method::Stored && len != inflated {
        let rule = format!("is stored, so its two lengths ({len} and {inflated}) must be equal");
        return Err(Error::invalid(at, what(), rule));
    }
    Ok(Entry { name, header, offset: 0, len, crc, method, inflated, flags })
}

fn readable(at: u64, what: &str, flags: u16, method: u16) -> Result<Method> {
    let unsupported = |feature: String| Err(Error::unsupported(at, what.to_owned(), feature));
    if flags & ENCRYPTED != 0 || method == 99 {
        return unsupported("it is encrypted; decrypt it first".to_owned());
    }
    if flags & !FLAGS_KNOWN != 0 {
        return unsupported(format!("flags {flags:#06x}"));
    }
    match method {
        0 => Ok(Method::Stored),
        8 => Ok(Method::Deflated),
        other => unsupported(format!("compression method {other}")),
    }
}

/// An entry's name, which must be a plain relative label.
fn checked_name(at: u64, bytes: Vec<u8>) -> Result<String> {
    let name = String::from_utf8(bytes);
    let name = name.map_err(|_| Error::invalid(at, "zip entry name", "is not UTF-8"))?;
    check_name(at, &name)?;
    Ok(name)
}

/// Whether this is a name that an archive's reader takes: a plain relative label. Python's writer
/// and ours take others, too.
///
/// # Errors
/// `Invalid` at byte `at`, saying what is wrong with it.
pub fn check_name(at: u64, name: &str) -> Result<()> {
    let bad = |rule: &str| Error::invalid(at, "zip entry name", rule);
    if name.is_empty() {
        return Err(bad("is empty"));
    }
    let rule = if name.contains(['\0', '\\']) {
        "contains NUL or a backslash"
    } else if name.starts_with('/') {
        "is absolute"
    } else if name.trim_end_matches('/').split('/').any(|part| matches!(part, "" | "." | "..")) {
        "has a part that is empty, '.' or '..'"
    } else {
        return Ok(());
    };
    Err(bad(&format!("{} {rule}", quoted(name))))
}

/// How a zip64 extra field must relate to the fields that refer to it.
#[derive(PartialEq, Eq)]
enum Sizes {
    /// It holds exactly those, as in the directory.
    Exact,
    /// It holds at least those, as in a local header, which always states both lengths.
    AtLeast,
}

/// Replaces each field that says "see zip64" by its value there.
fn widen(extra: &[u8], fields: &mut [u64], sizes: Sizes) -> std::result::Result<(), String> {
    let mut wide: &[u8] = &[];
    let mut seen = false;
    let mut rest = extra;
    while let [a, b, c, d, after @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*c, *d]));
        let (Some(body), Some(next)) = (after.get(..len), after.get(len..)) else {
            return Err("its extra field is longer than its header says".to_owned());
        };
        if u16::from_le_bytes([*a, *b]) == 1 {
            if seen {
                return Err("it has two zip64 extra fields".to_owned());
            }
            (wide, seen) = (body, true);
        }
        rest = next;
    }
    for field in fields.iter_mut().filter(|field| **field == SEE64) {
        let Some((value, next)) = wide.split_first_chunk() else {
            return Err("its zip64 extra field is missing or too short".to_owned());
        };
        (*field, wide) = (u64::from_le_bytes(*value), next);
    }
    if sizes == Sizes::Exact && !wide.is_empty() {
        let rule = "its zip64 extra field holds values that the directory row states itself";
        return Err(rule.to_owned());
    }
    Ok(())
}

/// No two names are equal, nor equal but for case.
fn unique(entries: &[Entry]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for entry in entries {
        if !seen.insert(entry.name.to_lowercase()) {
            let rule = "another entry has this name, or the same but for case";
            return Err(Error::invalid(entry.header, entry.what(), rule));
        }
    }
    Ok(())
}

/// Reads the local headers in the order of the file, and checks that no entry reaches into the
/// next one or into the directory.
fn place(source: &dyn ReadAt, directory: &Directory, entries: &mut [Entry]) -> Result<()> {
    let mut order: Vec<&mut Entry> = entries.iter_mut().collect();
    order.sort_by_key(|entry| entry.header);
    let mut free = 0;
    for entry in order {
        let what = entry.what();
        if entry.header < free {
            let rule = format!("overlaps the entry before it, which ends at {free:#x}");
            return Err(Error::invalid(entry.header, what, rule));
        }
        free = Local { source, limit: directory.offset, what }.check(entry)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that is there, whole, and says no more than it is asked.
    #[test]
    fn zip64_fields_answer_exactly_what_is_asked() {
        let field = |values: &[u64]| {
            let body: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            [&[1, 0, u8::try_from(body.len()).unwrap(), 0], body.as_slice()].concat()
        };
        let read = |extra: &[u8], sizes| {
            let mut fields = [SEE64, 7];
            widen(extra, &mut fields, sizes).map(|()| fields)
        };
        assert_eq!(read(&field(&[1 << 40]), Sizes::Exact), Ok([1 << 40, 7]));
        let padded = [b"FB\x02\0ZZ".as_slice(), &field(&[5])].concat();
        assert_eq!(read(&padded, Sizes::Exact), Ok([5, 7]));
        assert_eq!(read(&field(&[5, 6]), Sizes::AtLeast), Ok([5, 7]));
        assert!(read(&field(&[5, 6]), Sizes::Exact).unwrap_err().contains("states itself"));
        assert!(read(&field(&[]), Sizes::Exact).unwrap_err().contains("too short"));
        assert!(read(b"", Sizes::Exact).unwrap_err().contains("missing"));
        let twice = [field(&[5]), field(&[6])].concat();
        assert!(read(&twice, Sizes::Exact).unwrap_err().contains("two zip64"));
        assert!(read(&[1, 0, 9, 0], Sizes::Exact).unwrap_err().contains("longer"));
    }

    #[test]
    fn names_are_labels() {
        let name = |text: &str| checked_name(0, text.as_bytes().to_vec());
        for good in ["a", "a/data/0", ".data/x", "a/"] {
            assert_eq!(name(good).unwrap(), good);
        }
        for bad in ["", "/a", "a//b", "../a", "a/..", "a/./b", "a\\b", "a\0b", "/"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
