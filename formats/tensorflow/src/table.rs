//! The table of LevelDB: keys and values in blocks, each with its checksum.

use std::ops::Range;
use std::sync::Arc;

use protobuf::{put_varint, read_varint};
use wire::{Cursor, Error, ReadAt, Result, Why};

use crate::{Limits, Options, crc};

/// The end of a file that is a table: `kTableMagicNumber` of `format.h`.
pub(crate) const MAGIC: u64 = 0xdb47_7524_8b80_fb57;

/// Bytes of the footer: two places of blocks, filled up, and the magic.
pub(crate) const FOOTER: u64 = 48;

/// Bytes behind a block: its type and its checksum.
pub(crate) const TRAILER: u64 = 5;

/// A block up to this size is always held to its checksum.
const SMALL: u64 = 1 << 20;

/// Most bytes that Snappy makes of one: copies of 64 bytes take three.
const RATIO: u64 = 22;

/// Whether a file ends as a table does.
pub(crate) fn probe(source: &dyn ReadAt) -> bool {
    let mut magic = [0; 8];
    let at = source.size().checked_sub(FOOTER);
    let at = at.and_then(|at| at.checked_add(FOOTER.saturating_sub(8)));
    at.is_some_and(|at| source.read_at(at, &mut magic).is_ok())
        && u64::from_le_bytes(magic) == MAGIC
}

/// The value of an entry: bytes of the file, or of a block that was packed.
pub(crate) struct Value<'a> {
    /// The file, or the block.
    pub(crate) source: &'a dyn ReadAt,
    /// Where in it.
    pub(crate) range: Range<u64>,
    /// The block, if it was packed.
    pub(crate) inflated: Option<&'a Arc<Vec<u8>>>,
    pub(crate) limits: &'a Limits,
}

/// What is done with an entry: its key, its value.
pub(crate) type Each<'e> = &'e mut dyn FnMut(&[u8], &Value<'_>) -> Result<()>;

/// Hands every entry to `each`, by ascending keys. Large blocks are held to their checksums only
/// if `options` ask: they hold weights.
///
/// # Errors
/// With the offset and the field at fault; offsets in a packed block count from its begin.
pub(crate) fn entries(source: &dyn ReadAt, options: &Options, each: Each<'_>) -> Result<()> {
    let table = Table { source, options };
    let (meta, index) = table.footer()?;
    // Filters of keys, which TensorFlow neither writes nor reads.
    table.block(&meta, "metaindex block")?.entries(&mut |_, _| Ok(()))?;
    let mut last: Option<Vec<u8>> = None;
    table.block(&index, "index block")?.entries(&mut |bound, value| {
        let place = table.handle(value)?;
        let block = table.block(&place, "data block")?;
        block.entries(&mut |key, value| {
            if last.as_deref().is_some_and(|last| last >= key) || key > bound {
                let rule = format!("{} stands out of order", shown(key));
                return Err(Error::invalid(value.range.start, "key of a table", rule));
            }
            last = Some(key.to_vec());
            each(key, value)
        })
    })
}

/// A key for messages.
pub(crate) fn shown(key: &[u8]) -> String {
    format!("key \"{}\"", key.escape_ascii())
}

struct Table<'a> {
    source: &'a dyn ReadAt,
    options: &'a Options,
}

impl Table<'_> {
    /// Where the two blocks lie that the footer names.
    fn footer(&self) -> Result<(Range<u64>, Range<u64>)> {
        let size = self.source.size();
        let start = size.checked_sub(FOOTER).ok_or_else(|| {
            Error::new(0, "footer of a table", Why::Truncated { need: FOOTER, have: size })
        })?;
        let mut cursor = Cursor::new(self.source);
        cursor.seek(size.saturating_sub(8));
        let magic = cursor.u64("magic of a table")?;
        if magic != MAGIC {
            let (found, expected) = (format!("{magic:#018x}"), format!("{MAGIC:#018x}"));
            let why = Why::Mismatch { found, expected };
            return Err(Error::new(size.saturating_sub(8), "magic of a table", why));
        }
        cursor.seek(start);
        let places = (self.place(&mut cursor, size)?, self.place(&mut cursor, size)?);
        let rest = size.saturating_sub(8).saturating_sub(cursor.offset());
        let filling = cursor.bytes(rest, FOOTER, "bytes of a footer", "footer of a table")?;
        if filling.iter().any(|byte| *byte != 0) {
            let rule = "is filled up with something else than zeros";
            return Err(Error::invalid(start, "footer of a table", rule));
        }
        Ok(places)
    }

    /// The place of a block, as an entry of the index states it.
    fn handle(&self, value: &Value<'_>) -> Result<Range<u64>> {
        let mut cursor = Cursor::new(value.source);
        cursor.seek(value.range.start);
        self.place(&mut cursor, value.range.end)
    }

    fn place(&self, cursor: &mut Cursor<'_>, end: u64) -> Result<Range<u64>> {
        const WHAT: &str = "place of a block";
        let at = cursor.offset();
        let offset = read_varint(cursor, end, WHAT)?;
        let len = read_varint(cursor, end, WHAT)?;
        let room = self.source.size().saturating_sub(FOOTER + TRAILER);
        let wrong = |rule: String| Error::invalid(at, WHAT, rule);
        let end = wire::fits(offset, len, room).ok_or_else(|| {
            wrong(format!("{len} bytes at {offset:#x} reach past the blocks, {room:#x}"))
        })?;
        // A footer has no checksum, so nothing in it may be said in two ways.
        let place = offset..end;
        if cursor.offset().saturating_sub(at) != handle(&place).len() as u64 {
            return Err(wrong("a number that is longer than it need be".to_owned()));
        }
        Ok(place)
    }

    fn block(&self, place: &Range<u64>, what: &'static str) -> Result<Block<'_>> {
        let mut cursor = Cursor::new(self.source);
        cursor.seek(place.end);
        let kind = cursor.u8("type of a block")?;
        let stated = cursor.u32("checksum of a block")?;
        let len = place.end.saturating_sub(place.start);
        if self.options.checksums || len <= SMALL || kind != 0 {
            // The type is summed too.
            crc::verify(self.source, &(place.start..place.end.saturating_add(1)), stated, what)?;
        }
        match kind {
            0 => Ok(self.found(place.clone(), None)),
            1 => self.inflate(place, len),
            _ => {
                let value = format!("{kind}, where 0 is plain and 1 Snappy");
                Err(Error::new(place.end, "type of a block", Why::Unknown { value }))
            }
        }
    }

    fn inflate(&self, place: &Range<u64>, len: u64) -> Result<Block<'_>> {
        const WHAT: &str = "block packed by Snappy";
        let mut cursor = Cursor::new(self.source);
        cursor.seek(place.start);
        let max = self.options.limits.block;
        let packed = cursor.bytes(len, max, "tensorflow-block", WHAT)?;
        let wrong = |error: snap::Error| Error::invalid(place.start, WHAT, error.to_string());
        let made = snap::raw::decompress_len(&packed).map_err(wrong)? as u64;
        let most = len.saturating_mul(RATIO);
        if made > most {
            let rule = format!("states {made} bytes, but {len} can make at most {most}");
            return Err(Error::invalid(place.start, WHAT, rule));
        }
        if made > max {
            let why = Why::TooLarge { value: made, max, lift: "tensorflow-block" };
            return Err(Error::new(place.start, WHAT, why));
        }
        let bytes = snap::raw::Decoder::new().decompress_vec(&packed).map_err(wrong)?;
        let range = 0..bytes.len() as u64;
        Ok(self.found(range, Some(Arc::new(bytes))))
    }

    fn found(&self, place: Range<u64>, inflated: Option<Arc<Vec<u8>>>) -> Block<'_> {
        Block { source: self.source, place, inflated, limits: &self.options.limits }
    }
}

/// A block without its trailer.
struct Block<'a> {
    /// The file.
    source: &'a dyn ReadAt,
    /// Where the block lies in the file, or in its inflated bytes.
    place: Range<u64>,
    inflated: Option<Arc<Vec<u8>>>,
    limits: &'a Limits,
}

impl Block<'_> {
    fn entries(&self, each: Each<'_>) -> Result<()> {
        let source: &dyn ReadAt = match &self.inflated {
            Some(bytes) => &**bytes,
            None => self.source,
        };
        let mut cursor = Cursor::new(source);
        let restarts = self.restarts(&mut cursor)?;
        let (start, end) = (self.place.start, restarts.start);
        let mut restart = Cursor::new(source);
        restart.seek(restarts.start);
        let mut next = Some(u64::from(restart.u32("restart of a block")?));
        let (mut at, mut key) = (start, Vec::new());
        while at < end {
            let is_restart = next == Some(at.saturating_sub(start));
            if is_restart {
                let more = restart.offset() < restarts.end;
                let one = more.then(|| restart.u32("restart of a block"));
                next = one.transpose()?.map(u64::from);
            }
            cursor.seek(at);
            let most = if is_restart { 0 } else { key.len() as u64 };
            let value = self.entry(&mut cursor, end, &mut key, most)?;
            at = value.end;
            let (inflated, limits) = (self.inflated.as_ref(), self.limits);
            each(&key, &Value { source, range: value, inflated, limits })?;
        }
        // An empty block has one restart, its begin.
        let is_empty = start == end && restart.offset() == restarts.end;
        if let Some(next) = next.filter(|next| !(is_empty && *next == 0)) {
            let rule = format!("a restart at {next:#x} of the block, where no entry begins");
            return Err(Error::invalid(restarts.start, "restarts of a block", rule));
        }
        Ok(())
    }

    /// Makes the next key of the one before it, of whose bytes it may share so many; where the value
    /// lies.
    fn entry(
        &self,
        cursor: &mut Cursor<'_>,
        end: u64,
        key: &mut Vec<u8>,
        most: u64,
    ) -> Result<Range<u64>> {
        const WHAT: &str = "entry of a block";
        let at = cursor.offset();
        let shared = read_varint(cursor, end, WHAT)?;
        let own = read_varint(cursor, end, WHAT)?;
        let len = read_varint(cursor, end, WHAT)?;
        if shared > most {
            let rule = format!("shares {shared} bytes with a key before it that has {most}");
            return Err(Error::invalid(at, WHAT, rule));
        }
        let (whole, max) = (shared.saturating_add(own), self.limits.key);
        if whole > max {
            let why = Why::TooLarge { value: whole, max, lift: "tensorflow-key" };
            return Err(Error::new(at, "key of a table", why));
        }
        let start = cursor.offset();
        let value = wire::fits(start, own, end).ok_or_else(|| short(start, own, end))?;
        let value_end = wire::fits(value, len, end).ok_or_else(|| short(value, len, end))?;
        let own = cursor.bytes(own, max, "tensorflow-key", "key of a table")?;
        key.truncate(usize::try_from(shared).unwrap_or(0));
        key.extend(own);
        Ok(value..value_end)
    }

    /// Where the places of the restarts stand.
    fn restarts(&self, cursor: &mut Cursor<'_>) -> Result<Range<u64>> {
        const WHAT: &str = "restarts of a block";
        let end = self.place.end.checked_sub(4).filter(|end| *end >= self.place.start);
        let end = end.ok_or_else(|| {
            let have = self.place.end.saturating_sub(self.place.start);
            Error::new(self.place.start, WHAT, Why::Truncated { need: 4, have })
        })?;
        cursor.seek(end);
        let count = u64::from(cursor.u32("count of restarts")?);
        let start = end.checked_sub(count.saturating_mul(4)).filter(|at| *at >= self.place.start);
        let start = start.filter(|_| count > 0);
        start.map(|start| start..end).ok_or_else(|| {
            let room = end.saturating_sub(self.place.start);
            let rule = format!("found {count}, expected at least 1, in {room} bytes");
            Error::invalid(end, WHAT, rule)
        })
    }
}

/// Where a block lies, as footers and indexes state it.
pub(crate) fn handle(place: &Range<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, place.start);
    put_varint(&mut out, place.end.saturating_sub(place.start));
    out
}

fn short(at: u64, need: u64, end: u64) -> Error {
    let have = end.saturating_sub(at);
    Error::new(at, "entry of a block", Why::Truncated { need, have })
}
