//! Local headers, and what follows the data of streamed entries.

use wire::{Cursor, Error, ReadAt, Result, Why};

use super::{Entry, Method, SEE64, STREAMED, Sizes, widen};

/// The signature of a local header.
pub const LOCAL: u32 = 0x0403_4b50;
const SUM: u32 = 0x0807_4b50;
const LOCAL_LEN: u64 = 30;

/// One local header, held against its row of the directory.
pub(super) struct Local<'a> {
    pub(super) source: &'a dyn ReadAt,
    /// Where the directory begins: nothing of an entry lies beyond.
    pub(super) limit: u64,
    /// The entry, as an error calls it.
    pub(super) what: String,
}

impl Local<'_> {
    /// Fills in where the data begins; answers where the entry ends.
    pub(super) fn check(&self, entry: &mut Entry) -> Result<u64> {
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
