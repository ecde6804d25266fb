//! Scales found by trial: several are tried, and the one with the least weighted error is kept.
//!
//! ggml tries one scale after the other, and adds up the error of each weight by weight. Its bytes
//! depend on the order of those additions. Here the scales are tried side by side, one in each
//! lane, so each sum still has ggml's order, and the machine computes many of them at once.

use std::array::from_fn;

use super::groups::signed_level;
use super::rows::{self, byte, nearest, signed_peak};
use crate::ir::simd::widest;
use crate::ir::wide::{LANES, Wide};

/// ggml's `GROUP_MAX_EPS`: a group with no weight above it counts as zero.
pub(super) const ZERO_MAX: f32 = 1e-15;

/// Where the scales that a symmetric search tries lie, in tenths of a level, in ggml's order.
pub(super) const STEPS: [i8; 19] =
    [0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/// How much the errors of a block's weights count: ggml's choice where importance is known.
#[inline(always)]
pub(super) fn counts<const N: usize>(x: &[f32; N], importance: &[f32; N], mean: f32) -> [f32; N] {
    let mut counts = [0.0; N];
    for i in 0..N {
        counts[i] = importance[i] * (mean + x[i] * x[i]).sqrt();
    }
    counts
}

/// Levels `0..2 * half` and a scale such that x ≈ scale · (level − half).
///
/// As [`groups::symmetric`](super::groups::symmetric), for a group that is alone: its tries are
/// the lanes.
#[inline(always)]
pub(super) fn symmetric<const N: usize>(
    x: &[f32; N],
    counts: &[f32; N],
    half: f32,
    levels: &mut [u8; N],
) -> f32 {
    // Some lanes only fill the registers of the machine: a try that equals an earlier one can
    // still seem better by a rounding, so those must not be looked at.
    const TRIES: usize = 24;
    let step = |t: usize| f32::from(STEPS.get(t).copied().unwrap_or(0));
    let peak = signed_peak(x);
    if peak.abs() < ZERO_MAX {
        levels.fill(0);
        return 0.0;
    }
    let level = |x, inverse| signed_level(x, inverse, half);
    let inverse: [f32; TRIES] = from_fn(|t| -(half + 0.1 * step(t)) / peak);
    let (mut xl, mut l2) = ([0.0f32; TRIES], [0.0f32; TRIES]);
    for (x, count) in x.iter().zip(counts) {
        let weighted = count * x;
        for t in 0..TRIES {
            let l = level(*x, inverse[t]);
            xl[t] += weighted * l;
            l2[t] += count * l * l;
        }
    }
    let mut scale = if l2[0] == 0.0 { 0.0 } else { xl[0] / l2[0] };
    let (mut best, mut least) = (0, scale * xl[0]);
    for t in 1..STEPS.len() {
        if l2[t] > 0.0 && xl[t] * xl[t] > least * l2[t] {
            scale = xl[t] / l2[t];
            (best, least) = (t, scale * xl[t]);
        }
    }
    *levels = rows::levels(x, |x| byte(level(x, inverse[best]) + half));
    scale
}

/// Levels `0..=top` and a scale such that x ≈ scale · level; no x is far below zero.
///
/// The scale that puts the greatest at `top` is tried, and 8 more around it. Then level after level
/// is moved to where the fit is best, five times round. `make_qp_quants` of ggml.
#[inline(always)]
pub(super) fn positive<const N: usize>(
    x: &[f32; N],
    counts: &[f32; N],
    top: i32,
    levels: &mut [u8; N],
) -> f32 {
    let peak = x.iter().fold(0.0, |peak, x| if peak > *x { peak } else { *x });
    if peak < ZERO_MAX {
        levels.fill(0);
        return 0.0;
    }
    let inverse = best_inverse(x, counts, top, peak);
    let (mut xl, mut l2) = (0.0, 0.0);
    for ((x, count), level) in x.iter().zip(counts).zip(&mut *levels) {
        let l = nearest(inverse * x).min(top);
        *level = l as u8;
        xl += count * x * l as f32;
        l2 += count * l as f32 * l as f32;
    }
    for _ in 0..5 {
        let mut changed = false;
        for ((x, count), level) in x.iter().zip(counts).zip(&mut *levels) {
            let old = f32::from(*level);
            let (xl_left, l2_left) = (xl - count * x * old, l2 - count * old * old);
            if !(xl_left > 0.0 && l2_left > 0.0) {
                continue;
            }
            let new = nearest(x * l2_left / xl_left).min(top);
            let (xl_new, l2_new) =
                (xl_left + count * x * new as f32, l2_left + count * new as f32 * new as f32);
            if new != i32::from(*level) && xl_new * xl_new * l2 > xl * xl * l2_new {
                (*level, xl, l2) = (new as u8, xl_new, l2_new);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    if l2 > 0.0 { xl / l2 } else { 0.0 }
}

/// The levels per unit with the least error, of nine.
#[inline(always)]
fn best_inverse<const N: usize>(x: &[f32; N], counts: &[f32; N], top: i32, peak: f32) -> f32 {
    const STEPS: [i8; 8] = [-4, -3, -2, -1, 1, 2, 3, 4];
    let mut best = top as f32 / peak;
    let scale = 1.0 / best;
    let mut least = 0.0;
    for (x, count) in x.iter().zip(counts) {
        // A byte even here, in ggml: what is below zero wraps.
        let off = x - scale * f32::from(nearest(best * x) as u8);
        least += count * off * off;
    }
    let inverse = STEPS.map(|step| (0.1 * f32::from(step) + top as f32) / peak);
    let scale = inverse.map(|inverse| 1.0 / inverse);
    let mut errors = [0.0; STEPS.len()];
    for (x, count) in x.iter().zip(counts) {
        for t in 0..STEPS.len() {
            let off = x - scale[t] * nearest(inverse[t] * x).min(top) as f32;
            errors[t] += count * off * off;
        }
    }
    for (error, inverse) in errors.into_iter().zip(inverse) {
        if error < least {
            (least, best) = (error, inverse);
        }
    }
    best
}

/// Sums over the first weights of a group in order, of one part of it: of those counted, and of the
/// counts. There are more places than weights: behind the last, the counts are infinite.
#[derive(Clone, Copy)]
pub(super) struct Sums<const PLACES: usize> {
    pub(super) x: [f32; PLACES],
    pub(super) counts: [f32; PLACES],
}

/// Three levels of each part of a group, 1 apart: of a way to move them in each lane, all ways again
/// and again.
pub(super) type Moved<const PARTS: usize> = [[[f32; LANES]; 3]; PARTS];

/// A lot of splits in three: where the second level begins, and the first of as many pairs as there
/// are lanes of a place where it ends and a way to move the levels. The ways of a place follow each
/// other.
#[derive(Clone, Copy)]
pub(super) struct Lot {
    pub(super) low: u8,
    pub(super) first: u8,
}

/// The most lots that any packing has.
const MOST: usize = 96;

/// Some lots, in ggml's order.
pub(super) struct Lots {
    lots: [Lot; MOST],
    count: usize,
}

impl Lots {
    #[inline(always)]
    fn push(&mut self, low: usize, first: usize) {
        if let Some(lot) = self.lots.get_mut(self.count) {
            *lot = Lot { low: low as u8, first: first as u8 };
            self.count += 1;
        }
    }

    #[inline(always)]
    pub(super) fn iter(&self) -> impl Iterator<Item = Lot> {
        self.lots[..self.count].iter().copied()
    }
}

widest!(
    /// The lots in which the best split may be.
    ///
    /// ggml keeps a split that is better than all before it, by what it computes: a split that is
    /// not within a five-hundredth of the best one is never the last that it keeps. Sums may here be
    /// computed in any order. If a float is too small or too large for that, all lots are returned.
    pub(super) fn near_best<const PARTS: usize, const WAYS: usize, const PLACES: usize, const GROUP: usize>(
        sums: &[Sums<PLACES>; PARTS],
        moved: &Moved<PARTS>,
    ) -> Lots = lots_near_best
);

#[inline(always)]
fn lots_near_best<
    W: Wide,
    const PARTS: usize,
    const WAYS: usize,
    const PLACES: usize,
    const GROUP: usize,
>(
    w: W,
    sums: &[Sums<PLACES>; PARTS],
    moved: &Moved<PARTS>,
) -> Lots {
    let splits = Splits::<W, PARTS, WAYS, PLACES, GROUP>::new(w, sums, moved);
    let (mut rows, mut best) = ([w.splat(0.0); PLACES], w.splat(0.0));
    for (low, row) in rows[..=GROUP].iter_mut().enumerate() {
        let (start, mut first) = (splits.start(w, low), WAYS * low);
        while first < WAYS * (GROUP + 1) {
            *row = w.higher(splits.score(w, start, first), *row);
            first += LANES;
        }
        best = w.higher(*row, best);
    }
    let best = w.greatest(best);
    let counts = sums.iter().fold(0.0, |sum, part| sum + part.counts[GROUP]);
    let plain = 1e-30..1e30;
    let plain =
        plain.contains(&best) && plain.contains(&counts) && plain.contains(&(best * counts));
    let mut lots = Lots { lots: [Lot { low: 0, first: 0 }; MOST], count: 0 };
    let bound = w.splat(best * (1.0 - 1.0 / 512.0));
    for (low, row) in rows[..=GROUP].iter().enumerate() {
        if plain && w.at_most(bound, *row) == 0 {
            continue;
        }
        let start = splits.start(w, low);
        let mut first = WAYS * low;
        while first < WAYS * (GROUP + 1) {
            if !plain || w.at_most(bound, splits.score(w, start, first)) != 0 {
                lots.push(low, first);
            }
            first += LANES;
        }
    }
    lots
}

/// The most pairs of a place and a way that any packing has.
const PAIRS: usize = 80;

/// What the sums of products of weights and levels, and of levels and levels, are put together from.
struct Splits<
    'a,
    W: Wide,
    const PARTS: usize,
    const WAYS: usize,
    const PLACES: usize,
    const GROUP: usize,
> {
    sums: &'a [Sums<PLACES>; PARTS],
    /// What a count adds in the first level and not in the second.
    below: [W::Floats; PARTS],
    /// For each pair what does not depend on where the second level begins.
    x: [f32; PAIRS],
    counts: [f32; PAIRS],
}

impl<W: Wide, const PARTS: usize, const WAYS: usize, const PLACES: usize, const GROUP: usize>
    Splits<'_, W, PARTS, WAYS, PLACES, GROUP>
{
    #[inline(always)]
    fn new<'a>(
        w: W,
        sums: &'a [Sums<PLACES>; PARTS],
        moved: &'a Moved<PARTS>,
    ) -> Splits<'a, W, PARTS, WAYS, PLACES, GROUP> {
        let zero = w.splat(0.0);
        let (mut x, mut counts, mut below) = ([0.0; PAIRS], [0.0; PAIRS], [zero; PARTS]);
        let (mut all_x, mut all, mut above) = (zero, zero, [zero; PARTS]);
        for part in 0..PARTS {
            let [a, b, c] = &moved[part];
            let [a, b, c] = [w.load(a), w.load(b), w.load(c)];
            let [aa, bb, cc] = [w.mul(a, a), w.mul(b, b), w.mul(c, c)];
            (below[part], above[part]) = (w.sub(aa, bb), w.sub(bb, cc));
            all_x = w.add(all_x, w.mul(w.splat(sums[part].x[GROUP]), c));
            all = w.add(all, w.mul(w.splat(sums[part].counts[GROUP]), cc));
        }
        for lot in 0..=WAYS * GROUP / LANES {
            let (mut of_x, mut of_counts) = (all_x, all);
            for part in 0..PARTS {
                let sums = &sums[part];
                let [x, counts] = [&sums.x, &sums.counts].map(|sums| &sums[lot * LANES / WAYS..]);
                if let (Some(x), Some(counts)) = (x.first_chunk(), counts.first_chunk()) {
                    of_x = w.sub(of_x, w.spread::<WAYS>(x));
                    of_counts = w.add(of_counts, w.mul(w.spread::<WAYS>(counts), above[part]));
                }
            }
            w.store(of_x, &mut x.as_chunks_mut().0[lot]);
            w.store(of_counts, &mut counts.as_chunks_mut().0[lot]);
        }
        Splits { sums, below, x, counts }
    }

    /// The rest of both sums where the second level begins at a place.
    #[inline(always)]
    fn start(&self, w: W, low: usize) -> [W::Floats; 2] {
        let (mut x, mut counts) = (0.0, w.splat(0.0));
        for part in 0..PARTS {
            x += self.sums[part].x[low];
            counts = w.add(counts, w.mul(self.below[part], w.splat(self.sums[part].counts[low])));
        }
        [w.splat(x), counts]
    }

    /// About how much of the squares of the weights the splits of a lot account for.
    #[inline(always)]
    fn score(&self, w: W, [x, counts]: [W::Floats; 2], first: usize) -> W::Floats {
        // No lot begins later: said here, it need not be asked for each slice.
        let first = first.min(PAIRS - LANES);
        let (of_x, of_counts) = (self.x[first..].first_chunk(), self.counts[first..].first_chunk());
        let (Some(of_x), Some(of_counts)) = (of_x, of_counts) else {
            return w.splat(0.0);
        };
        let xl = w.sub(w.load(of_x), x);
        w.about_quotient(w.mul(xl, xl), w.add(w.load(of_counts), counts))
    }
}
