//! CRC-32 as zip has it: polynomial 0xEDB88320, reflected, all ones before and after.
//!
//! Eight tables take eight bytes a step (Intel's slicing-by-8), so that checking a checkpoint
//! costs about as much as reading it.

use wire::{Error, ReadAt, Result, Why};

/// The polynomial, its highest power in the lowest bit.
const POLYNOMIAL: u32 = 0xEDB8_8320;

const TABLES: [[u32; 256]; 8] = tables();

#[allow(clippy::indexing_slicing, reason = "run by the compiler, which refuses a wrong index")]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, reason = "the same")]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { POLYNOMIAL ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut at = 256;
    while at < 8 * 256 {
        let before = tables[at / 256 - 1][at % 256];
        tables[at / 256][at % 256] = tables[0][(before & 0xFF) as usize] ^ (before >> 8);
        at += 1;
    }
    tables
}

/// A running CRC-32 of bytes that arrive in pieces.
#[derive(Debug, Clone, Copy)]
pub struct Crc32 {
    state: u32,
}

impl Default for Crc32 {
    fn default() -> Self {
        Self { state: u32::MAX }
    }
}

impl Crc32 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        self.state = eights.iter().fold(self.state, |crc, eight| {
            let folded = u64::from_le_bytes(*eight) ^ u64::from(crc);
            let tables = TABLES.iter().rev();
            tables.zip(folded.to_le_bytes()).fold(0, |sum, (table, byte)| sum ^ look(table, byte))
        });
        let [first, ..] = &TABLES;
        self.state = rest.iter().fold(self.state, |crc, &byte| {
            let [low, ..] = crc.to_le_bytes();
            look(first, low ^ byte) ^ (crc >> 8)
        });
    }

    /// The CRC-32 of all bytes taken so far.
    pub fn value(self) -> u32 {
        !self.state
    }
}

/// The CRC-32 of some bytes and `len` others after them, from the CRC-32 of each: so pieces are
/// summed by whoever has them, in any order.
///
/// A sum is a polynomial over GF(2); `len` bytes after it multiply it by x to the power 8·`len`.
/// Source: `crc32_combine` of zlib 1.2.12.
pub fn combine(first: u32, second: u32, len: u64) -> u32 {
    // x to the power 8, squared again and again.
    let (mut power, mut square, mut left) = (1 << 31, 1 << 23, len);
    while left > 0 {
        if left & 1 == 1 {
            power = product(power, square);
        }
        square = product(square, square);
        left >>= 1;
    }
    product(power, first) ^ second
}

/// The product of two polynomials, modulo the polynomial of the sum.
fn product(a: u32, b: u32) -> u32 {
    let (mut sum, mut b) = (0, b);
    for power in (0..32).rev() {
        if a >> power & 1 == 1 {
            sum ^= b;
        }
        b = if b & 1 == 1 { POLYNOMIAL ^ (b >> 1) } else { b >> 1 };
    }
    sum
}

/// A byte is always within its table; the other arm exists for the compiler alone.
fn look(table: &[u32; 256], byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

/// The CRC-32 of `len` bytes at `offset`, read in pieces of a mebibyte.
///
/// # Errors
/// `Truncated` if the source ends before them, `Io` if it cannot be read.
pub fn crc32(source: &dyn ReadAt, offset: u64, len: u64) -> Result<u32> {
    const PIECE: u64 = 1 << 20;
    let end = wire::fits(offset, len, source.size()).ok_or_else(|| {
        let have = source.size().saturating_sub(offset);
        Error::new(offset, "checksummed bytes", Why::Truncated { need: len, have })
    })?;
    let mut crc = Crc32::default();
    let mut piece = vec![0; usize::try_from(len.min(PIECE)).unwrap_or(0)];
    let mut at = offset;
    while at < end {
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let part = piece.len().min(left);
        let Some(part) = piece.get_mut(..part) else { break };
        source.read_at(at, part).map_err(|error| {
            Error::new(at, "checksummed bytes", Why::Io { cause: error.to_string() })
        })?;
        crc.update(part);
        at = at.saturating_add(part.len() as u64);
    }
    Ok(crc.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-32/ISO-HDLC, and every length around the step of eight.
    #[test]
    fn known_values() {
        let bytes = b"123456789".to_vec();
        assert_eq!(crc32(&bytes, 0, 9).unwrap(), 0xCBF4_3926);
        let long: Vec<u8> = (0..100u8).collect();
        for split in 0..long.len() {
            let mut crc = Crc32::default();
            crc.update(&long[..split]);
            crc.update(&long[split..]);
            // zlib.crc32(bytes(range(100)))
            assert_eq!(crc.value(), 0x58C9_32F5, "{split}");
            let (first, second) = (long[..split].to_vec(), long[split..].to_vec());
            let len = second.len() as u64;
            let first = crc32(&first, 0, first.len() as u64).unwrap();
            let second = crc32(&second, 0, len).unwrap();
            assert_eq!(combine(first, second, len), 0x58C9_32F5, "{split}");
        }
    }

    /// Five gibibytes of zeros after "a", whose sums `zlib.crc32` of Python 3.11 gave.
    #[test]
    fn long_pieces_combine() {
        assert_eq!(combine(0xE8B7_BE43, 0x1938_38C3, 5 << 30), 0x22F7_5126);
    }
}
