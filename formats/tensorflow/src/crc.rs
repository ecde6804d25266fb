//! CRC-32C, and the mask that it is stored under.
//!
//! A checksum of bytes that hold checksums is weak, so a stored one is rotated and moved.
//! Source: `tensorflow/core/lib/hash/crc32c.h`.

use std::ops::Range;

use wire::{Error, ReadAt, Result, Why};

const MASK: u32 = 0xa282_ead8;

/// Bytes that are read at a time.
const PIECE: u64 = 1 << 20;

/// The sum as it is stored.
pub fn mask(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(MASK)
}

/// A running CRC-32C of bytes that arrive in pieces.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    value: u32,
}

impl Sum {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.value = crc32c::crc32c_append(self.value, bytes);
    }

    /// The sum of all bytes taken so far, without a mask.
    pub fn value(self) -> u32 {
        self.value
    }

    /// Takes a range of a file, in pieces of a mebibyte.
    ///
    /// # Errors
    /// `Io` if it cannot be read.
    pub fn take(&mut self, source: &dyn ReadAt, range: &Range<u64>) -> Result<()> {
        let len = range.end.saturating_sub(range.start).min(PIECE);
        let mut piece = vec![0; usize::try_from(len).unwrap_or(0)];
        let mut at = range.start;
        while at < range.end {
            let left = usize::try_from(range.end.saturating_sub(at)).unwrap_or(usize::MAX);
            let Some(part) = piece.get_mut(..left.min(usize::try_from(PIECE).unwrap_or(0))) else {
                break;
            };
            source.read_at(at, part).map_err(|error| {
                Error::new(at, "checksummed bytes", Why::Io { cause: error.to_string() })
            })?;
            self.update(part);
            at = at.saturating_add(part.len() as u64);
        }
        Ok(())
    }
}

/// The CRC-32C of some bytes and `len` others after them, from the CRC-32C of each: so pieces are
/// summed by whoever has them, in any order.
pub fn combine(first: u32, second: u32, len: u64) -> u32 {
    crc32c::crc32c_combine(first, second, usize::try_from(len).unwrap_or(usize::MAX))
}

/// Compares a range of a file with its stated, masked sum.
///
/// # Errors
/// `Mismatch` if they differ; `Io`.
pub fn verify(
    source: &dyn ReadAt,
    range: &Range<u64>,
    stated: u32,
    what: &'static str,
) -> Result<()> {
    let mut sum = Sum::default();
    sum.take(source, range)?;
    compare(sum, stated, range.start, what)
}

/// Compares a sum with a stated, masked one.
pub(crate) fn compare(sum: Sum, stated: u32, at: u64, what: &'static str) -> Result<()> {
    let found = mask(sum.value());
    if found == stated {
        return Ok(());
    }
    let found = format!("bytes whose checksum is {found:#010x}");
    let expected = format!("{stated:#010x}, as is stated: the file is damaged");
    Err(Error::new(at, what, Why::Mismatch { found, expected }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4, and `crc32c::Mask` of TensorFlow's own test.
    #[test]
    fn known_values() {
        let mut sum = Sum::default();
        sum.update(&[0; 16]);
        sum.update(&[0; 16]);
        assert_eq!(sum.value(), 0x8a91_36aa);
        assert_eq!(mask(0), 0xa282_ead8);
        let zeros = vec![0u8; 32];
        verify(&zeros, &(0..32), mask(0x8a91_36aa), "zeros").unwrap();
        let error = verify(&zeros, &(0..31), mask(0x8a91_36aa), "zeros").unwrap_err();
        assert!(error.to_string().contains("the file is damaged"), "{error}");
        let (mut first, mut second) = (Sum::default(), Sum::default());
        first.update(b"1234");
        second.update(b"56789");
        assert_eq!(combine(first.value(), second.value(), 5), 0xe306_9283);
    }
}
