//! The grids of the IQ packings of one to three bits: which combinations of levels are codes, and
//! which codes lie around the others.

use std::sync::LazyLock;

use super::grids::{self, tables};
use crate::ir::wide::{HALF, LANES, Mask};

pub(super) static IQ1: LazyLock<Lattice<8>> = LazyLock::new(|| Lattice::new(&tables::IQ1_S, 3, 3));
pub(super) static IQ2_XXS: LazyLock<Lattice<8>> =
    LazyLock::new(|| Lattice::new(&tables::IQ2_XXS, 3, 2));
pub(super) static IQ2_XS: LazyLock<Lattice<8>> =
    LazyLock::new(|| Lattice::new(&tables::IQ2_XS, 3, 2));
pub(super) static IQ2_S: LazyLock<Lattice<8>> =
    LazyLock::new(|| Lattice::new(&tables::IQ2_S, 3, 1));
pub(super) static IQ3_XXS: LazyLock<Lattice<4>> =
    LazyLock::new(|| Lattice::new(&tables::IQ3_XXS, 8, 2));
pub(super) static IQ3_S: LazyLock<Lattice<4>> =
    LazyLock::new(|| Lattice::new(&tables::IQ3_S, 8, 3));

/// A grid, and for each combination of levels its code or those around it.
pub(super) struct Lattice<const N: usize> {
    /// The levels of each code as bits, see [`Self::index`].
    points: Vec<u16>,
    /// By the levels as bits.
    places: Vec<Place>,
    /// Codes, and the levels of each as bits; a lot more than there are.
    around: Vec<u16>,
    levels_around: Vec<u16>,
    pub(super) top: i32,
}

/// Where the codes of a combination of levels are in `around`.
#[derive(Clone, Copy)]
pub(super) struct Place {
    start: u32,
    /// As many as the codes fill, and a bit for each code in the last.
    pub(super) lots: u8,
    pub(super) last: u8,
    pub(super) on_grid: bool,
}

impl Place {
    /// Its lots two by two.
    #[inline(always)]
    pub(super) fn pairs(self) -> usize {
        usize::from(self.lots).div_ceil(2)
    }

    /// A bit for each code of two lots.
    #[inline(always)]
    pub(super) fn mask(self, pair: usize) -> Mask {
        let last = Mask::from(self.last);
        match usize::from(self.lots) - 2 * pair {
            1 => last,
            2 => last << HALF | 0xff,
            _ => 0xffff,
        }
    }
}

/// How many bits a level takes of sixteen.
pub(super) const fn bits_of(weights: usize) -> usize {
    16 / weights
}

impl<const N: usize> Lattice<N> {
    /// `top` levels; around a combination that is no code are those at the `wanted` least
    /// distances. `iq2xs_init_impl` and `iq3xs_init_impl` of ggml.
    fn new(codes: &[u16], top: u8, wanted: usize) -> Self {
        let width = grids::level_bits(N);
        let level = |code: u16, i: usize| (code >> (width * i) & ((1 << width) - 1)) as u8;
        let codes = codes.iter().map(|code| std::array::from_fn(|i| level(*code, i)));
        let codes: Vec<[u8; N]> = codes.collect();
        let points: Vec<u16> = codes.iter().map(Self::index).collect();
        let nowhere = Place { start: 0, lots: 0, last: 0, on_grid: false };
        let mut places = vec![nowhere; 1 << (bits_of(N) * N)];
        let mut around: Vec<u16> = Vec::new();
        for (index, place) in places.iter_mut().enumerate() {
            let levels: [u8; N] = levels(index as u16);
            if levels.iter().any(|level| *level >= top) {
                continue;
            }
            let start = around.len();
            let code = points.iter().position(|point| usize::from(*point) == index);
            match code {
                Some(code) => around.push(code as u16),
                None => nearest_codes(&codes, &levels, wanted, &mut around),
            }
            let count = around.len() - start;
            let lots = count.div_ceil(HALF);
            let last = 0xff >> (lots * HALF - count);
            let (start, lots) = (start as u32, lots as u8);
            *place = Place { start, lots, last, on_grid: code.is_some() };
        }
        // The codes of a place are measured in whole lots, and in pairs of them.
        around.resize(around.len() + LANES, 0);
        let levels_around = around.iter().map(|code| points[usize::from(*code)]).collect();
        Self { points, places, around, levels_around, top: top.into() }
    }

    /// The levels as bits, the first in the lowest.
    #[inline(always)]
    pub(super) fn index(levels: &[u8; N]) -> u16 {
        let bits = levels.iter().enumerate();
        bits.fold(0, |index, (i, level)| index | u16::from(*level) << (bits_of(N) * i))
    }

    /// The levels of a code.
    #[inline(always)]
    pub(super) fn point(&self, code: u16) -> [u8; N] {
        levels(self.points[usize::from(code)])
    }

    /// What is known about a combination of levels.
    #[inline(always)]
    pub(super) fn place(&self, index: u16) -> Place {
        self.places[usize::from(index)]
    }

    /// The code with these levels, or the first of those around them.
    #[inline(always)]
    pub(super) fn code(&self, levels: u16) -> u16 {
        self.around[self.place(levels).start as usize]
    }

    /// The levels of a lot of the codes around a place; behind its last one lie others.
    #[inline(always)]
    pub(super) fn lot(&self, place: Place, lot: usize) -> &[u16; HALF] {
        let rest = &self.levels_around[place.start as usize + lot * HALF..];
        rest.first_chunk().expect("a lot behind the last list")
    }

    /// As [`lot`](Self::lot), of two lots at once.
    #[inline(always)]
    pub(super) fn two_lots(&self, place: Place, pair: usize) -> &[u16; LANES] {
        let rest = &self.levels_around[place.start as usize + pair * LANES..];
        rest.first_chunk().expect("two lots behind the last list")
    }
}

/// The levels from their bits.
#[inline(always)]
pub(super) fn levels<const N: usize>(bits: u16) -> [u8; N] {
    // Not `from_fn`, which is compiled for what every processor has.
    let (width, mut levels) = (bits_of(N), [0; N]);
    for (i, level) in levels.iter_mut().enumerate() {
        *level = (bits >> (width * i) & ((1 << width) - 1)) as u8;
    }
    levels
}

/// The codes at the `wanted` least distances, by distance, then by number.
fn nearest_codes<const N: usize>(
    points: &[[u8; N]],
    levels: &[u8; N],
    wanted: usize,
    around: &mut Vec<u16>,
) {
    let square = |(a, b): (&u8, &u8)| u32::from(a.abs_diff(*b)).pow(2);
    let distance = |point: &[u8; N]| point.iter().zip(levels).map(square).sum::<u32>();
    let distances: Vec<u32> = points.iter().map(distance).collect();
    let mut bound = None;
    for _ in 0..wanted {
        let beyond = distances.iter().filter(|d| bound.is_none_or(|bound| **d > bound));
        bound = beyond.min().copied().or(bound);
    }
    let start = around.len();
    around.extend((0..points.len() as u16).filter(|i| Some(distances[usize::from(*i)]) <= bound));
    around[start..].sort_by_key(|i| distances[usize::from(*i)]);
}
