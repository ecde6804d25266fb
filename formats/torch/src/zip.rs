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
//! It finds the entries; it inflates nothing.

use std::collections::{BTreeMap, BTreeSet};

use wire::{Cursor, Error, ReadAt, Result, Why};

use crate::text::quoted;

const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
const ROW: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;
const SUM: u32 = 0x0807_4b50;

const END_LEN: u64 = 22;
const LOCATOR_LEN: u64 = 20;
const END64_LEN: u64 = 56;
const ROW_LEN: u64 = 46;
const LOCAL_LEN: u64 = 30;
const COMMENT_MAX: u64 = 0xFFFF;
/// The value of a 32-bit field that says: see the zip64 extra field.
const SEE64: u64 = 0xFFFF_FFFF;

const ENCRYPTED: u16 = 1 << 0 | 1 << 6 | 1 << 13;
/// Sizes and checksum follow the data, because the writer did not know them before.
const STREAMED: u16 = 1 << 3;
/// Bits 1 and 2 say how hard the writer compressed, bit 11 that the name is UTF-8.
const FLAGS_KNOWN: u16 = 1 << 1 | 1 << 2 | STREAMED | 1 << 11;

/// How the bytes of an entry are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Stored,
    Deflated,
}

/// One file of the archive.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Where its local header begins.
    pub(crate) header: u64,
    /// Where its data begins.
    pub(crate) offset: u64,
    /// Bytes that its data takes in the file.
    pub(crate) len: u64,
    pub(crate) crc: u32,
    pub(crate) method: Method,
    /// Bytes that its data takes once inflated.
    inflated: u64,
    flags: u16,
}

/// All entries, in the order of the directory, and found by name.
pub(crate) struct Archive {
    pub(crate) entries: Vec<Entry>,
    by_name: BTreeMap<String, usize>,
}

impl Archive {
    /// Reads the directory and holds every entry against it.
    ///
    /// # Errors
    /// `Malformed` or `Unsupported`, naming the entry.
    pub(crate) fn open(source: &dyn ReadAt) -> Result<Self> {
        let directory = Directory::find(source)?;
        let mut entries = rows(source, &directory)?;
        unique(&entries)?;
        place(source, &directory, &mut entries)?;
        let by_name = entries.iter().enumerate().map(|(at, e)| (e.name.clone(), at)).collect();
        Ok(Self { entries, by_name })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(*self.by_name.get(name)?)
    }
}

/// Where the central directory is.
struct Directory {
    offset: u64,
    len: u64,
    count: u64,
}

impl Directory {
    fn find(source: &dyn ReadAt) -> Result<Self> {
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
    let bad = |rule: &str| Error::invalid(at, "zip entry name", rule);
    let name = String::from_utf8(bytes).map_err(|_| bad("is not UTF-8"))?;
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
        return Ok(name);
    };
    Err(bad(&format!("{} {rule}", quoted(&name))))
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
            let what = format!("zip entry {}", quoted(&entry.name));
            let rule = "another entry has this name, or the same but for case";
            return Err(Error::invalid(entry.header, what, rule));
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
        let what = format!("zip entry {}", quoted(&entry.name));
        if entry.header < free {
            let rule = format!("overlaps the entry before it, which ends at {free:#x}");
            return Err(Error::invalid(entry.header, what, rule));
        }
        free = Local { source, limit: directory.offset, what }.check(entry)?;
    }
    Ok(())
}

/// One local header, held against its row of the directory.
struct Local<'a> {
    source: &'a dyn ReadAt,
    /// Where the directory begins: nothing of an entry lies beyond.
    limit: u64,
    what: String,
}

impl Local<'_> {
    /// Fills in where the data begins; answers where the entry ends.
    fn check(&self, entry: &mut Entry) -> Result<u64> {
        let name_len = entry.name.len() as u64;
        // Read exactly: a cursor's window would read 64 KiB for each of 100,000 headers.
        let bytes = self.read(entry.header, LOCAL_LEN.saturating_add(name_len))?;
        let mut c = Cursor::new(&bytes);
        let signature = c.u32("signature")?;
        if signature != LOCAL {
            return self.invalid(entry, "its local header does not begin with PK 03 04");
        }
        c.skip(2, "version")?;
        let (flags, method) = (c.u16("flags")?, c.u16("method")?);
        c.skip(4, "time")?;
        let crc = c.u32("checksum")?;
        let lens = [u64::from(c.u32("stored length")?), u64::from(c.u32("length")?)];
        let named = u64::from(c.u16("name length")?);
        let extra_len = u64::from(c.u16("extra length")?);
        if named != name_len || !bytes.ends_with(entry.name.as_bytes()) {
            return self.invalid(entry, "its local header states another name");
        }
        let method_here = if entry.method == Method::Stored { 0 } else { 8 };
        if flags != entry.flags || method != method_here {
            return self.invalid(entry, "its local header states other flags or another method");
        }
        let extra_at = entry.header.saturating_add(bytes.len() as u64);
        entry.offset = extra_at.saturating_add(extra_len);
        let [len, inflated] = lens;
        let mut stated = [inflated, len];
        if flags & STREAMED == 0 && stated.contains(&SEE64) {
            let extra = self.read(extra_at, extra_len)?;
            let widened = widen(&extra, &mut stated, Sizes::AtLeast);
            widened.map_err(|rule| Error::invalid(entry.header, self.what.clone(), rule))?;
        }
        let same = stated == [entry.inflated, entry.len] && crc == entry.crc;
        let blank = |&len: &u64| len == 0 || len == SEE64;
        let left_blank = flags & STREAMED != 0 && crc == 0 && stated.iter().all(blank);
        if !same && !left_blank {
            return self.invalid(entry, "its local header states other lengths or checksum");
        }
        self.end(entry)
    }

    fn end(&self, entry: &Entry) -> Result<u64> {
        let end = entry.offset.checked_add(entry.len).filter(|&end| end <= self.limit);
        let Some(end) = end else {
            let rule = format!(
                "its {} bytes from {:#x} reach past the directory's begin at {:#x}",
                entry.len, entry.offset, self.limit
            );
            return self.invalid(entry, &rule);
        };
        if entry.flags & STREAMED == 0 {
            return Ok(end);
        }
        let room = self.limit.saturating_sub(end).min(24);
        let found = self.read(end, room)?;
        let narrow = |len: u64| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        let wide = [entry.len.to_le_bytes(), entry.inflated.to_le_bytes()].concat();
        let short = [narrow(entry.len), narrow(entry.inflated)].concat();
        // The signature is customary, not required; the lengths have 4 or 8 bytes (4.3.9).
        for signature in [SUM.to_le_bytes().as_slice(), &[]] {
            for lens in [&wide, &short] {
                let sum = [signature, &entry.crc.to_le_bytes(), lens].concat();
                if found.starts_with(&sum) {
                    return Ok(end.saturating_add(sum.len() as u64));
                }
            }
        }
        self.invalid(entry, "the descriptor after its data states other lengths or checksum")
    }

    fn invalid<T>(&self, entry: &Entry, rule: &str) -> Result<T> {
        Err(Error::invalid(entry.header, self.what.clone(), rule))
    }

    fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let error = |why| Error::new(offset, self.what.clone(), why);
        if wire::fits(offset, len, self.limit).is_none() {
            let have = self.limit.saturating_sub(offset);
            return Err(error(Why::Truncated { need: len, have }));
        }
        // At most a name, an extra field and the header: 128 KiB.
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let read = self.source.read_at(offset, &mut bytes);
        read.map_err(|cause| error(Why::Io { cause: cause.to_string() }))?;
        Ok(bytes)
    }
}
