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
    /// Differences of errors up to this may be of rounding.
    noise: W::Floats,
}

/// The code with the least error.
#[derive(Clone, Copy)]
pub(super) struct Nearest {
    /// As bits.
    pub(super) levels: u16,
    /// Whether all others err more than rounding can do.
    clear: bool,
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
        let scales = w.halves(scales);
        let of_levels = w.mul(scales, w.load(values));
        let mut tables = [of_levels; N];
        let mut sum = 0.0;
        for (table, (x, count)) in tables.iter_mut().zip(self.x.iter().zip(self.counts)) {
            let off = w.sub(of_levels, w.splat(*x));
            *table = w.mul(w.mul(w.splat(*count), off), off);
            sum += count;
        }
        // Of a level that errs by a hundredth of the greatest, rounding changes the error by some
        // hundred-thousandths.
        let greatest = values[2 * LANES / N - 1];
        let noise = w.mul(w.mul(scales, scales), w.splat(1e-4 * greatest * greatest * sum));
        Errors { tables, noise }
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
    /// The errors of a lot of codes; what is infinite, no number or beyond the last code is the
    /// greatest float.
    #[inline(always)]
    fn of_lot(&self, w: W, lattice: &Lattice<N>, place: Place, lot: usize) -> W::Floats {
        let mut levels = w.twice::<N>(lattice.lot(place, lot));
        let mut sum = w.pick::<N>(self.tables[0], levels);
        for table in &self.tables[1..] {
            levels = next::<W, N>(w, levels);
            sum = w.add(sum, w.pick::<N>(*table, levels));
        }
        let nothing = w.splat(f32::MAX);
        let errors = w.lower(sum, nothing);
        if lot + 1 == usize::from(place.lots) {
            w.choose(Mask::from(place.last) * 0x101, errors, nothing)
        } else {
            errors
        }
    }

    /// The first code around a place with the least error under each scale; the first of all if none
    /// has a finite one.
    #[inline(always)]
    pub(super) fn nearest(&self, w: W, lattice: &Lattice<N>, place: Place) -> [Nearest; 2] {
        if place.lots == 1 {
            let errors = self.of_lot(w, lattice, place, 0);
            let (at_least, near) = self.near(w, errors);
            let levels = lattice.lot(place, 0);
            return [(at_least, near), (at_least >> HALF, near >> HALF)].map(|(at_least, near)| {
                let levels = levels[at_least.trailing_zeros() as usize % HALF];
                Nearest { levels, clear: (near as u8).is_power_of_two() }
            });
        }
        self.nearest_of_many(w, lattice, place)
    }

    /// The lanes with the least error of their half, and those whose errors are not clearly greater.
    #[inline(always)]
    fn near(&self, w: W, errors: W::Floats) -> (Mask, Mask) {
        let least = w.least_of_half(errors);
        let near = w.higher(w.mul(least, w.splat(1.0002)), self.noise);
        (w.at_most(errors, least), w.at_most(errors, near))
    }

    #[inline(always)]
    fn nearest_of_many(&self, w: W, lattice: &Lattice<N>, place: Place) -> [Nearest; 2] {
        // The least of each lane with its lot, and what is least but for that.
        let mut least = self.of_lot(w, lattice, place, 0);
        let (mut of_lot, mut second) = (w.splat(0.0), w.splat(f32::MAX));
        for lot in 1..usize::from(place.lots) {
            let errors = self.of_lot(w, lattice, place, lot);
            second = w.lower(second, w.higher(errors, least));
            of_lot = w.choose(w.less(errors, least), w.splat(lot as f32), of_lot);
            least = w.lower(errors, least);
        }
        let (at_least, near) = self.near(w, least);
        let bound = w.higher(w.mul(w.least_of_half(least), w.splat(1.0002)), self.noise);
        let also = w.at_most(second, bound);
        let mut lots = [0.0; LANES];
        w.store(of_lot, &mut lots);
        [0, HALF].map(|half| {
            let (mut at_least, mut index) = (at_least >> half & 0xff, usize::MAX);
            while at_least != 0 {
                let lane = at_least.trailing_zeros() as usize;
                index = index.min(lots[half + lane] as usize * HALF + lane);
                at_least &= at_least - 1;
            }
            let levels = lattice.lot(place, index / HALF)[index % HALF];
            let clear = ((near >> half) as u8).is_power_of_two() & ((also >> half) as u8 == 0);
            Nearest { levels, clear }
        })
    }
}

/// Whether what is nearest under two scales is nearest under all between, even as rounded.
///
/// The errors of two points differ by s · (a · s + b): if one is less at both ends, it is less
/// between. Rounding changes errors by some millionths, if they are not themselves so small.
#[inline(always)]
pub(super) fn same_between(a: Nearest, b: Nearest) -> bool {
    (a.levels == b.levels) & a.clear & b.clear
}
