//! Checksums of what is written, for headers that state them.
//!
//! Every piece is summed by whoever writes it, and the sums of pieces are combined in the order
//! of the file once all are there: so the result depends neither on the pieces nor on the workers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ::torch::Crc32;

use crate::ir::{Blob, Error, Result};
use crate::store::Place;

use super::layout::Checksum;

/// The sums of all pieces written so far, by file and place.
#[derive(Default)]
pub(super) struct Sums(Mutex<BTreeMap<(usize, u64), Piece>>);

#[derive(Clone, Copy)]
struct Piece {
    sum: u32,
    len: u64,
}

impl Sums {
    /// A place that sums what is written to it.
    pub(super) fn watch<'a>(&'a self, file: usize, place: &'a dyn Place) -> impl Place + 'a {
        Watched { sums: self, file, place }
    }

    /// The bytes of the checksum of a range that has been written whole.
    ///
    /// # Errors
    /// Bug if it has not.
    pub(super) fn of(&self, file: usize, of: &Range<u64>, kind: Checksum) -> Result<[u8; 4]> {
        let sum = self.crc32(file, of)?;
        match kind {
            Checksum::Crc32 => Ok(sum.to_le_bytes()),
        }
    }

    /// A piece that lies there already.
    pub(super) fn add(&self, file: usize, offset: u64, sum: u32, len: u64) {
        let mut pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.insert((file, offset), Piece { sum, len });
    }

    /// The CRC-32 of a range that has been written whole.
    ///
    /// # Errors
    /// Bug if it has not.
    pub(super) fn crc32(&self, file: usize, of: &Range<u64>) -> Result<u32> {
        let pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut sum, mut at) = (0, of.start);
        for (&(_, start), piece) in pieces.range((file, of.start)..(file, of.end)) {
            if start != at {
                break;
            }
            sum = ::torch::combine(sum, piece.sum, piece.len);
            at += piece.len;
        }
        if at != of.end {
            return Err(Error::bug(format!("{:#x} of a checksum was not written", at)));
        }
        Ok(sum)
    }
}

struct Watched<'a> {
    sums: &'a Sums,
    file: usize,
    place: &'a dyn Place,
}

impl Place for Watched<'_> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut sum = Crc32::default();
        sum.update(bytes);
        self.sums.add(self.file, offset, sum.value(), bytes.len() as u64);
        self.place.write_at(offset, bytes)
    }

    /// What the kernel copies is not seen, so nothing is left to it.
    fn copy_from(&self, _: &Blob, _: u64, _: u64, _: u64) -> Result<u64> {
        Ok(0)
    }
}
