//! Scales and offsets with the least squared error, in every lane.

use crate::quant::groups::{Lanes, peaks};
use crate::quant::rows::{self, LAST_PLACE_1};

/// Levels, and the scales that are tried for them.
pub(super) trait Levels {
    /// The sides of zero on which the weight of the largest magnitude is put, as signs.
    const SIDES: &'static [f32];

    /// The nearest level.
    fn level(&self, x: f32, per_unit: f32) -> f32;

    /// Where that weight is put where nothing counts.
    fn low(&self) -> f32;

    /// How far from zero that weight is put, on each side.
    fn places(&self) -> Places;
}

/// So far, then `step` farther, `count` times.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) first: f32,
    pub(super) step: f32,
    pub(super) count: u8,
}

impl Places {
    #[inline(always)]
    fn place(self, t: u8) -> f32 {
        self.first + self.step * f32::from(t)
    }
}

/// All integers from `low` to `high`; the weight of the largest magnitude is put below zero.
pub(super) struct Scales {
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) places: Places,
}

impl Levels for Scales {
    const SIDES: &'static [f32] = &[-1.0];

    #[inline(always)]
    fn level(&self, x: f32, per_unit: f32) -> f32 {
        between((x * per_unit + LAST_PLACE_1) - LAST_PLACE_1, self.low, self.high)
    }

    #[inline(always)]
    fn low(&self) -> f32 {
        self.low
    }

    #[inline(always)]
    fn places(&self) -> Places {
        self.places
    }
}

/// Kept between two bounds; the lower one for what is no number.
#[inline(always)]
fn between(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}

/// A scale for each lane: x ≈ scale · level.
///
/// No scale is beyond those that are tried, however unevenly the weights count.
#[inline(always)]
pub(super) fn scale<const N: usize, const G: usize, L: Levels>(
    x: &Lanes<N, G>,
    counts: &Lanes<N, G>,
    levels: &L,
) -> [f32; G] {
    let (peak, places) = (peaks(x), levels.places());
    let (nearest, farthest) = (places.place(0), places.place(places.count - 1));
    let (mut found, mut most) = ([0.0; G], [0.0; G]);
    for g in 0..G {
        found[g] = peak[g] / levels.low();
    }
    for side in L::SIDES {
        for t in 0..places.count {
            let place = side * places.place(t);
            let mut per_unit = [0.0; G];
            for g in 0..G {
                per_unit[g] = place / peak[g];
            }
            let (xl, l2) = sums(x, counts, |x, g| levels.level(x, per_unit[g]));
            for g in 0..G {
                // In units of the peak, of the sign of that side.
                let fitted = side * xl[g] / (l2[g] * peak[g]);
                let scale = between(fitted, 1.0 / farthest, 1.0 / nearest) * (side * peak[g]);
                // What the squares of the weights lose by it.
                let gain = scale * (2.0 * xl[g] - scale * l2[g]);
                let better = gain > most[g];
                most[g] = if better { gain } else { most[g] };
                found[g] = if better { scale } else { found[g] };
            }
        }
    }
    found
}

/// Of the products of weights and levels, and of levels and levels, by their counts.
#[inline(always)]
fn sums<const N: usize, const G: usize>(
    x: &Lanes<N, G>,
    counts: &Lanes<N, G>,
    level: impl Fn(f32, usize) -> f32,
) -> ([f32; G], [f32; G]) {
    let (mut xl, mut l2) = ([0.0; G], [0.0; G]);
    for i in 0..N {
        for g in 0..G {
            let level = level(x[i][g], g);
            let counted = counts[i][g] * level;
            xl[g] += counted * x[i][g];
            l2[g] += counted * level;
        }
    }
    (xl, l2)
}

/// Levels from 0 to `top`, and the scales that are tried for them.
pub(super) struct Spans {
    pub(super) top: f32,
    /// So many levels the weights span at least, and at most.
    pub(super) least: f32,
    pub(super) most: f32,
    /// So many levels the weights span, and so far below 0 the least of them lies, in levels.
    ///
    /// Each list is chosen greedily from spans in steps of a third or half of a level and starts in
    /// steps of a quarter: the next try is the one that lowers the error most, of normal weights, of
    /// such with heavier tails, and of such that count unevenly.
    pub(super) tries: &'static [(f32, f32)],
    /// Whether offsets above zero can be written.
    pub(super) above_zero: bool,
}

impl Spans {
    /// The nearest level, as a float.
    #[inline(always)]
    pub(super) fn level(&self, x: f32) -> f32 {
        between((x + LAST_PLACE_1) - LAST_PLACE_1, 0.0, self.top)
    }
}

/// A scale and an offset: x ≈ scale · level + low.
#[derive(Clone, Copy)]
pub(super) struct Affine<const G: usize> {
    pub(super) scale: [f32; G],
    pub(super) low: [f32; G],
}

/// The sums of one lane's weights and levels, by their counts; weights from the least one on.
#[derive(Clone, Copy, Default)]
struct Sums {
    count: f32,
    x: f32,
    l: f32,
    l2: f32,
    xl: f32,
}

/// A scale and an offset for each lane.
///
/// No scale is beyond those that are tried, no offset far from the least weight, however unevenly
/// the weights count.
#[inline(always)]
pub(super) fn affine<const N: usize, const G: usize>(
    x: &Lanes<N, G>,
    counts: &Lanes<N, G>,
    tries: &Spans,
) -> Affine<G> {
    let (low, range) = ranges(x, tries.above_zero);
    let mut found = Affine { scale: [0.0; G], low };
    let (mut most, mut sum, mut sum_x) = ([0.0; G], [0.0; G], [0.0; G]);
    for (scale, range) in found.scale.iter_mut().zip(&range) {
        *scale = range / tries.top;
    }
    for i in 0..N {
        for g in 0..G {
            sum[g] += counts[i][g];
            sum_x[g] += counts[i][g] * (x[i][g] - low[g]);
        }
    }
    for (span, start) in tries.tries {
        let mut per_unit = [0.0; G];
        for g in 0..G {
            per_unit[g] = span / range[g];
        }
        let (mut l, mut l2, mut xl) = ([0.0f32; G], [0.0f32; G], [0.0f32; G]);
        for i in 0..N {
            for g in 0..G {
                let from_low = x[i][g] - low[g];
                let level = tries.level(from_low * per_unit[g] - start);
                let counted = counts[i][g] * level;
                l[g] += counted;
                l2[g] += counted * level;
                xl[g] += counted * from_low;
            }
        }
        for g in 0..G {
            let (count, x) = (sum[g], sum_x[g]);
            let sums = Sums { count, x, l: l[g], l2: l2[g], xl: xl[g] };
            let (scale, offset, gain) = solved(&sums, low[g], range[g], tries);
            let better = gain > most[g];
            most[g] = if better { gain } else { most[g] };
            found.scale[g] = if better { scale } else { found.scale[g] };
            found.low[g] = if better { low[g] + offset } else { found.low[g] };
        }
    }
    found
}

/// The least weight of each lane, and how far the greatest is from it; zero is among them where
/// offsets above it cannot be written.
#[inline(always)]
fn ranges<const N: usize, const G: usize>(
    x: &Lanes<N, G>,
    above_zero: bool,
) -> ([f32; G], [f32; G]) {
    let (mut low, mut high) = (x[0], x[0]);
    for x in x {
        for g in 0..G {
            low[g] = if x[g] < low[g] { x[g] } else { low[g] };
            high[g] = if x[g] > high[g] { x[g] } else { high[g] };
        }
    }
    for g in 0..G {
        low[g] = if above_zero || low[g] < 0.0 { low[g] } else { 0.0 };
        high[g] -= low[g];
    }
    (low, high)
}

/// Scale, offset from the least weight, and what the squares of the weights lose by both.
#[inline(always)]
fn solved(sums: &Sums, low: f32, range: f32, tries: &Spans) -> (f32, f32, f32) {
    let Sums { count, x, l, l2, xl } = *sums;
    let fitted = (count * xl - x * l) / (count * l2 - l * l);
    let (finest, coarsest) = (range / tries.most, range / tries.least);
    let scale = between(fitted, finest, coarsest);
    let offset = between((x - scale * l) / count, -scale, 1.5 * scale);
    let offset = if tries.above_zero || low + offset < 0.0 { offset } else { -low };
    // Where the offset was moved, the scale has to follow.
    let scale = between((xl - offset * l) / l2, finest, coarsest);
    let gain = scale * (2.0 * (xl - offset * l) - scale * l2) + offset * (2.0 * x - offset * count);
    (scale, offset, gain)
}

/// A scale as the bytes have it, and its reciprocal.
#[inline(always)]
pub(super) fn rounded(scale: f32) -> (f32, f32) {
    let scale = rows::get_f16(rows::put_f16(scale));
    (scale, rows::reciprocal(scale))
}
