//! Checksums of what is written, for headers that state them.
//!
//! Every piece is summed by whoever writes it, and the sums of pieces are combined in the order
//! of the file once all are there: so the result depends neither on the pieces nor on the workers.
//! A sum that is stated is a piece, too: other sums may be of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::ir::{Blob, Error, Result};
use crate::store::Place;

use super::layout::{Checksum, Layout, Part};

/// A number or an answer for each kind of checksum.
pub(super) type PerKind<T> = [T; KINDS.len()];

const KINDS: [Checksum; 2] = [Checksum::Crc32, Checksum::MaskedCrc32c];

impl Checksum {
    fn of(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Crc32 => {
                let mut sum = ::torch::Crc32::default();
                sum.update(bytes);
                sum.value()
            }
            Self::MaskedCrc32c => {
                let mut sum = ::tensorflow::Sum::default();
                sum.update(bytes);
                sum.value()
            }
        }
    }

    /// The sum of bytes whose sum is `first` and of `len` others, whose sum is `second`.
    fn combined(self, first: u32, second: u32, len: u64) -> u32 {
        match self {
            Self::Crc32 => ::torch::combine(first, second, len),
            Self::MaskedCrc32c => ::tensorflow::combine(first, second, len),
        }
    }

    /// The sum as it is stated.
    fn stated(self, sum: u32) -> [u8; 4] {
        match self {
            Self::Crc32 => sum.to_le_bytes(),
            Self::MaskedCrc32c => ::tensorflow::mask(sum).to_le_bytes(),
        }
    }
}

/// A checksum that a layout asks for.
pub(super) struct Wanted<'l> {
    /// Where it is stated: the number of the file, and the place in it.
    pub(super) file: usize,
    pub(super) at: u64,
    /// What it is of: the number of the file, and the bytes of it.
    of: (usize, &'l Range<u64>),
    kind: Checksum,
}

/// The sums that a layout asks for, and those of all pieces written so far, by file and place.
pub(super) struct Sums<'l> {
    wanted: Vec<Wanted<'l>>,
    /// Sums of all pieces, whoever asks.
    always: PerKind<bool>,
    /// Where ranges begin that are summed, where they end, and how.
    ranges: BTreeMap<(usize, u64), (u64, Checksum)>,
    pieces: Mutex<BTreeMap<(usize, u64), Piece>>,
}

#[derive(Clone, Copy)]
struct Piece {
    sums: PerKind<u32>,
    len: u64,
}

impl<'l> Sums<'l> {
    /// `is_noted` says whether a journal wants the CRC-32 of every part.
    pub(super) fn of(layout: &'l Layout, is_noted: bool) -> Self {
        let numbers: BTreeMap<&str, usize> =
            layout.files.iter().enumerate().map(|(no, file)| (file.name.as_str(), no)).collect();
        let mut wanted = Vec::new();
        for (no, plan) in layout.files.iter().enumerate() {
            for (at, part) in &plan.parts {
                let Part::Sum { file, of, kind } = part else { continue };
                // `Layout::validate` has found the file.
                let of_file = file.as_deref().and_then(|file| numbers.get(file)).copied();
                let of = (of_file.unwrap_or(no), of);
                wanted.push(Wanted { file: no, at: *at, of, kind: *kind });
            }
        }
        let range = |sum: &Wanted<'_>| ((sum.of.0, sum.of.1.start), (sum.of.1.end, sum.kind));
        let ranges = wanted.iter().map(range).collect();
        Self { wanted, always: [is_noted, false], ranges, pieces: Mutex::default() }
    }

    /// How what is written at a place is summed.
    pub(super) fn kinds(&self, file: usize, at: u64) -> PerKind<bool> {
        let mut kinds = self.always;
        let before = self.ranges.range(..=(file, at)).next_back();
        if let Some((&(of, start), &(end, kind))) = before
            && of == file
            && (at == start || at < end)
        {
            kinds[kind as usize] = true;
        }
        kinds
    }

    /// A piece that lies there already, or has just been written.
    pub(super) fn add(&self, file: usize, offset: u64, sums: PerKind<u32>, len: u64) {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.insert((file, offset), Piece { sums, len });
    }

    /// A place that sums what is written to it, if it is to be summed.
    pub(super) fn watch<'a>(
        &'a self,
        (file, kinds): (usize, PerKind<bool>),
        place: &'a dyn Place,
    ) -> impl Place + 'a {
        Watched { sums: self, file, kinds, place }
    }

    /// The sums in an order in which each comes after those that it is of.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Wanted<'l>> {
        let places: BTreeSet<(usize, u64)> =
            self.wanted.iter().map(|sum| (sum.file, sum.at)).collect();
        let is_of_sums = move |sum: &&Wanted<'_>| {
            let (file, of) = sum.of;
            places.range((file, of.start)..(file, of.end)).next().is_some()
        };
        let (second, first): (Vec<_>, Vec<_>) = self.wanted.iter().partition(is_of_sums);
        first.into_iter().chain(second)
    }

    /// The bytes of a checksum of what has been written whole.
    ///
    /// # Errors
    /// Bug if it has not.
    pub(super) fn stated(&self, wanted: &Wanted<'_>) -> Result<[u8; 4]> {
        let (file, of) = wanted.of;
        Ok(wanted.kind.stated(self.sum(file, of, wanted.kind)?))
    }

    /// The checksum of a range that has been written whole.
    ///
    /// # Errors
    /// Bug if it has not.
    pub(super) fn sum(&self, file: usize, of: &Range<u64>, kind: Checksum) -> Result<u32> {
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut sum, mut at) = (0, of.start);
        for (&(_, start), piece) in pieces.range((file, of.start)..(file, of.end)) {
            if start != at {
                break;
            }
            sum = kind.combined(sum, piece.sums[kind as usize], piece.len);
            at += piece.len;
        }
        if at != of.end {
            return Err(Error::bug(format!("{at:#x} of a checksum was not written")));
        }
        Ok(sum)
    }
}

struct Watched<'a, 'l> {
    sums: &'a Sums<'l>,
    file: usize,
    kinds: PerKind<bool>,
    place: &'a dyn Place,
}

impl Place for Watched<'_, '_> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.kinds.contains(&true) {
            let sum = |kind: Checksum| if self.kinds[kind as usize] { kind.of(bytes) } else { 0 };
            self.sums.add(self.file, offset, KINDS.map(sum), bytes.len() as u64);
        }
        self.place.write_at(offset, bytes)
    }

    /// What the kernel copies is not seen, so nothing that is summed is left to it.
    fn copy_from(&self, blob: &Blob, start: u64, len: u64, offset: u64) -> Result<u64> {
        match self.kinds.contains(&true) {
            false => self.place.copy_from(blob, start, len, offset),
            true => Ok(0),
        }
    }
}
