//! Which of the codes around a combination of levels errs least.
//!
//! An error is a sum over the weights of a point, and what a weight adds to it depends on nothing
//! but its level. So all that may be added is computed once for each scale, and the errors of codes
//! are sums of what is looked up: the same floats, added in ggml's order. The lanes are eight codes
//! under two scales.

use super::lattice::{Lattice, Place, bits_of};
use crate::ir::wide::{HALF, LANES, Mask, Wide};

/// A point of `N` weights.
#[derive(Clone, Copy)]
pub(super) struct Point<'a, const N: usize> {
    pub(super) x: &'a [f32; N],
    /// How much the square of each weight's error counts.
    pub(super) counts: &'a [f32; N],
}

/// What each level of each weight adds to an error under two scales.
pub(super) struct Errors<W: Wide, const N: usize> {
    tables: [W::Floats; N],
    /// Whether both scales are the same.
    one: bool,
}

/// The code with the least error.
#[derive(Clone, Copy)]
pub(super) struct Nearest {
    /// As bits.
    pub(super) levels: u16,
}

/// What the errors of a point under any scale are made of, about: under scale s, a code errs by
/// a + s · (s · c − b).
pub(super) struct Parabolas<W: Wide, const N: usize> {
    a: f32,
    /// What each level of each weight adds to b and to c.
    b: [W::Floats; N],
    c: [W::Floats; N],
    /// The most that c may be.
    most: f32,
}

impl<const N: usize> Point<'_, N> {
    /// The errors where the levels stand for some multiples of the scales: `values` has all of them
    /// again and again.
    #[inline(always)]
    pub(super) fn errors<W: Wide>(
        &self,
        w: W,
        scales: [f32; 2],
        values: &[f32; LANES],
    ) -> Errors<W, N> {
        let one = scales[0] == scales[1];
        let scales = w.halves(scales);
        let of_levels = w.mul(scales, w.load(values));
        let mut tables = [of_levels; N];
        for (table, (x, count)) in tables.iter_mut().zip(self.x.iter().zip(self.counts)) {
            let off = w.sub(of_levels, w.splat(*x));
            *table = w.mul(w.mul(w.splat(*count), off), off);
        }
        Errors { tables, one }
    }

    /// What the same errors are about under any scale.
    #[inline(always)]
    pub(super) fn parabolas<W: Wide>(&self, w: W, values: &[f32; LANES]) -> Parabolas<W, N> {
        let greatest = values[2 * LANES / N - 1];
        let values = w.load(values);
        let squares = w.mul(values, values);
        let (mut b, mut c, mut a, mut most) = ([values; N], [values; N], 0.0, 0.0);
        for i in 0..N {
            let (x, count) = (self.x[i], self.counts[i]);
            b[i] = w.mul(w.splat(2.0 * count * x), values);
            c[i] = w.mul(w.splat(count), squares);
            a += count * x * x;
            most += count * greatest * greatest;
        }
        Parabolas { a, b, c, most }
    }
}

/// Moves the levels of the next weight to where those of the last were.
#[inline(always)]
pub(super) fn next<W: Wide, const N: usize>(w: W, levels: W::Ints) -> W::Ints {
    match bits_of(N) {
        2 => w.shift_right::<2>(levels),
        _ => w.shift_right::<4>(levels),
    }
}

impl<W: Wide, const N: usize> Errors<W, N> {
    /// The errors of codes by their levels; what is infinite or no number is the greatest float.
    #[inline(always)]
    fn of_codes(&self, w: W, levels: W::Ints) -> W::Floats {
        w.lower(sum::<W, N>(w, &self.tables, levels), w.splat(f32::MAX))
    }

    /// The first code around a place with the least error under each scale; the first of all if none
    /// has a finite one.
    #[inline(always)]
    pub(super) fn nearest(&self, w: W, lattice: &Lattice<N>, place: Place) -> [Nearest; 2] {
        if self.one {
            return [Nearest { levels: self.nearest_of_one(w, lattice, place) }; 2];
        }
        let lots = usize::from(place.lots);
        let (mut least, mut of_lot) = (w.splat(f32::MAX), w.splat(0.0));
        for lot in 0..lots {
            let mask = if lot + 1 == lots { Mask::from(place.last) * 0x101 } else { 0xffff };
            let errors = self.of_codes(w, w.twice::<N>(lattice.lot(place, lot)));
            let errors = w.choose(mask, errors, w.splat(f32::MAX));
            of_lot = w.choose(w.less(errors, least), w.splat(lot as f32), of_lot);
            least = w.lower(errors, least);
        }
        let at_least = w.at_most(least, w.least_of_half(least));
        // Not a closure: its instructions would stay calls.
        let low = first::<W, HALF>(w, of_lot, at_least & 0xff);
        let high = first::<W, HALF>(w, of_lot, at_least & !0xff);
        let levels = |index| lattice.lot(place, index / HALF)[index % HALF];
        [Nearest { levels: levels(low) }, Nearest { levels: levels(high) }]
    }

    /// The levels of that code if both scales are the same: the lanes are twice as many codes.
    #[inline(always)]
    fn nearest_of_one(&self, w: W, lattice: &Lattice<N>, place: Place) -> u16 {
        let (mut least, mut of_pair) = (w.splat(f32::MAX), w.splat(0.0));
        for pair in 0..place.pairs() {
            let errors = self.of_codes(w, w.widen(lattice.two_lots(place, pair)));
            let errors = w.choose(place.mask(pair), errors, w.splat(f32::MAX));
            of_pair = w.choose(w.less(errors, least), w.splat(pair as f32), of_pair);
            least = w.lower(errors, least);
        }
        let index = first::<W, LANES>(w, of_pair, w.at_most(least, w.splat(w.least(least))));
        lattice.two_lots(place, index / LANES)[index % LANES]
    }
}

/// What some codes add up to, by their levels.
#[inline(always)]
fn sum<W: Wide, const N: usize>(w: W, tables: &[W::Floats; N], mut levels: W::Ints) -> W::Floats {
    let mut sum = w.pick::<N>(tables[0], levels);
    for table in &tables[1..] {
        levels = next::<W, N>(w, levels);
        sum = w.add(sum, w.pick::<N>(*table, levels));
    }
    sum
}

/// The first of the codes in some lanes, of `LEN` in each lot, by the lot of each lane.
#[inline(always)]
fn first<W: Wide, const LEN: usize>(w: W, of_lot: W::Floats, mut mask: Mask) -> usize {
    let (mut lots, mut index) = ([0.0; LANES], usize::MAX);
    w.store(of_lot, &mut lots);
    while mask != 0 {
        let lane = mask.trailing_zeros() as usize;
        index = index.min(lots[lane] as usize * LEN + lane % LEN);
        mask &= mask - 1;
    }
    index
}

/// Errors may differ by this part of all that is added to and taken from them, and be equal.
const NOISE: f32 = 1.0 / 131_072.0;

impl<W: Wide, const N: usize> Parabolas<W, N> {
    /// Whether no float is too small or too large, under scales up to one, for what is about right
    /// to be near what ggml computes.
    #[inline(always)]
    pub(super) fn are_plain(&self, scale: f32) -> bool {
        (1e-25..1e30).contains(&self.a) && self.most * scale * scale < 1e30
    }

    /// The levels of the code around a place that errs least under each of some scales, of which the
    /// last is the least; whether all others err more than rounding can do, for all of them.
    #[inline(always)]
    pub(super) fn nearest<const PAIRS: usize>(
        &self,
        w: W,
        lattice: &Lattice<N>,
        place: Place,
        scales: &[f32],
        levels: &mut [u16],
    ) -> bool {
        let noise = 5.0 * NOISE * self.a / scales[scales.len() - 1];
        let around = self.around::<PAIRS>(w, lattice, place, noise);
        let (mut clear, mut left) = (true, 0..scales.len());
        // What errs least under two scales does so under all between: the errors of two codes differ
        // by s · (s · c − b). Nothing foretells whether it does.
        if W::NARROW && scales.len() > 2 {
            let last = scales.len() - 1;
            let (from, sure) = around.nearest(w, scales[0]);
            let (to, also_sure) = around.nearest(w, scales[last]);
            clear = sure & also_sure;
            if clear & (from == to) {
                levels.fill(around.levels(lattice, from));
                return true;
            }
            (levels[0], levels[last]) = (around.levels(lattice, from), around.levels(lattice, to));
            left = 1..last;
        }
        for t in left {
            let (code, sure) = around.nearest(w, scales[t]);
            levels[t] = around.levels(lattice, code);
            clear &= sure;
        }
        clear
    }

    /// The parabolas of all codes around a place.
    #[inline(always)]
    fn around<const PAIRS: usize>(
        &self,
        w: W,
        lattice: &Lattice<N>,
        place: Place,
        noise: f32,
    ) -> Around<W, PAIRS> {
        let (b, c) = ([w.splat(0.0); PAIRS], [w.splat(0.0); PAIRS]);
        let mut around = Around { place, pairs: place.pairs().min(PAIRS), b, c, noise };
        for pair in 0..around.pairs {
            let codes = w.widen(lattice.two_lots(place, pair));
            around.c[pair] = sum::<W, N>(w, &self.c, codes);
            let b = sum::<W, N>(w, &self.b, codes);
            around.b[pair] = w.choose(place.mask(pair), b, w.splat(-f32::MAX));
        }
        around
    }
}

/// The b and c of codes around a place, see [`Parabolas`].
struct Around<W: Wide, const PAIRS: usize> {
    place: Place,
    pairs: usize,
    b: [W::Floats; PAIRS],
    c: [W::Floats; PAIRS],
    /// What all s · c − b may err.
    noise: f32,
}

impl<W: Wide, const PAIRS: usize> Around<W, PAIRS> {
    /// The code with the least error under a scale, and whether all others err clearly more.
    ///
    /// All that ggml adds up for an error are squares, and what rounding changes in a difference of
    /// a weight and what stands for it is a part of either. The squares of what stands for weights
    /// add up to at most 2 a + 2 (a + s · (s · c − b)).
    #[inline(always)]
    fn nearest(&self, w: W, scale: f32) -> (usize, bool) {
        let scale = w.splat(scale);
        let mut least = w.sub(w.mul(scale, self.c[0]), self.b[0]);
        let (mut of_pair, mut second) = (w.splat(0.0), w.splat(f32::MAX));
        for pair in 1..self.pairs {
            let errors = w.sub(w.mul(scale, self.c[pair]), self.b[pair]);
            second = w.lower(second, w.higher(errors, least));
            of_pair = w.choose(w.less(errors, least), w.splat(pair as f32), of_pair);
            least = w.lower(errors, least);
        }
        let bound = w.splat(w.least(least) * (1.0 + 2.0 * NOISE) + self.noise);
        let near = w.at_most(least, bound);
        if PAIRS == 1 {
            return (near.trailing_zeros() as usize % LANES, near.is_power_of_two());
        }
        let clear = near.is_power_of_two() & (w.at_most(second, bound) == 0);
        (first::<W, LANES>(w, of_pair, near & near.wrapping_neg()), clear)
    }

    #[inline(always)]
    fn levels<const N: usize>(&self, lattice: &Lattice<N>, code: usize) -> u16 {
        lattice.two_lots(self.place, (code / LANES).min(self.pairs - 1))[code % LANES]
    }
}
