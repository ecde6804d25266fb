//! Archives of stored entries, as NumPy's `savez` writes them.

use wire::{Error, Result, Why};

use crate::{Crc32, END, LOCAL, ROW, SEE64};

/// The version that reading needs: 2.0.
const NEEDED: u16 = 20;
/// 1980-01-01, the first day that a zip can state: the same entries give the same bytes.
const DATE: u16 = 1 << 5 | 1;

/// An archive of these entries, stored, in this order.
///
/// # Errors
/// `TooLarge` for 65 535 entries or 4 GiB, which this form of the container cannot state.
pub fn stored(entries: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let offset = narrow(out.len())?;
        let mut crc = Crc32::default();
        crc.update(bytes);
        let row = Row { name, crc: crc.value(), len: narrow(bytes.len())? };
        put(&mut out, &[LOCAL.to_le_bytes().as_slice(), &row.fields()?, &[0, 0], name.as_bytes()]);
        out.extend_from_slice(bytes);
        let versions = [&ROW.to_le_bytes()[..], &NEEDED.to_le_bytes()].concat();
        // No extra field, no comment, volume 0, no attributes.
        put(&mut directory, &[&versions, &row.fields()?, &[0; 12], &offset.to_le_bytes()]);
        directory.extend_from_slice(name.as_bytes());
    }
    let count = u16::try_from(entries.len()).ok().filter(|count| *count < u16::MAX);
    let count = count.ok_or_else(|| too_large(entries.len() as u64, u64::from(u16::MAX)))?;
    let (start, len) = (narrow(out.len())?, narrow(directory.len())?);
    out.append(&mut directory);
    let counts =
        [[0; 4], [count.to_le_bytes(); 2].concat().try_into().unwrap_or_default()].concat();
    put(
        &mut out,
        &[&END.to_le_bytes(), &counts, &len.to_le_bytes(), &start.to_le_bytes(), &[0; 2]],
    );
    Ok(out)
}

/// What a local header and a row of the directory both say.
struct Row<'a> {
    name: &'a str,
    crc: u32,
    len: u32,
}

impl Row<'_> {
    fn fields(&self) -> Result<Vec<u8>> {
        let name = self.name.len();
        let name = u16::try_from(name).map_err(|_| too_large(name as u64, u64::from(u16::MAX)))?;
        // Flags, method and time are 0.
        let fixed = [NEEDED, 0, 0, 0, DATE].map(u16::to_le_bytes).concat();
        let sums = [self.crc, self.len, self.len].map(u32::to_le_bytes).concat();
        Ok([fixed, sums, name.to_le_bytes().to_vec()].concat())
    }
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn narrow(len: usize) -> Result<u32> {
    let value = len as u64;
    let fits = u32::try_from(len).ok().filter(|len| u64::from(*len) < SEE64);
    fits.ok_or_else(|| too_large(value, SEE64))
}

fn too_large(value: u64, max: u64) -> Error {
    Error::new(0, "zip archive", Why::TooLarge { value, max, lift: "entries of 4 GiB in all" })
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
