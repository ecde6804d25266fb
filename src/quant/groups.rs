//! The groups of a block, searched side by side, one in each lane.
//!
//! ggml searches one group after the other. Here weight `i` of several groups is at hand at once, so
//! each lane still adds up in ggml's order, and no lane waits for what another has found.

use super::rows::{LAST_PLACE_1, byte, levels, nearest};
use super::search::{self, ZERO_MAX};

/// Weight `i` of each group.
pub(super) type Lanes<const N: usize, const G: usize> = [[f32; G]; N];

/// `G` groups of `N` weights, turned; `G` is a power of two.
#[inline(always)]
pub(super) fn turned<const N: usize, const G: usize>(x: &[f32]) -> Lanes<N, G> {
    const { assert!(G.is_power_of_two() && G > 1) };
    let (mut lanes, mut other) = ([[0.0; G]; N], [[0.0; G]; N]);
    // Place (g, i) has bits of both numbers. Each time the highest becomes the lowest, until those
    // of g, which are first, are behind those of i.
    let (mut to, mut next) = (lanes.as_flattened_mut(), other.as_flattened_mut());
    if G.ilog2().is_multiple_of(2) {
        (to, next) = (next, to);
    }
    interleave(x, to);
    for _ in 1..G.ilog2() {
        interleave(to, next);
        (to, next) = (next, to);
    }
    lanes
}

/// The first half and the second, number by number in turn.
#[inline(always)]
fn interleave(x: &[f32], out: &mut [f32]) {
    let (first, second) = x.split_at(x.len() / 2);
    for i in 0..x.len() / 2 {
        out[2 * i] = first[i];
        out[2 * i + 1] = second[i];
    }
}

/// A number for each lane. Not `from_fn`, which is compiled for what every processor has if it is
/// not inlined.
#[inline(always)]
pub(super) fn each<T: Copy + Default, const G: usize>(number: impl Fn(usize) -> T) -> [T; G] {
    let mut all = [T::default(); G];
    for (g, place) in all.iter_mut().enumerate() {
        *place = number(g);
    }
    all
}

/// A number for each weight of each lane.
#[inline(always)]
pub(super) fn every<const N: usize, const G: usize>(
    number: impl Fn(usize, usize) -> f32,
) -> Lanes<N, G> {
    let mut all = [[0.0; G]; N];
    for (i, lanes) in all.iter_mut().enumerate() {
        for (g, place) in lanes.iter_mut().enumerate() {
            *place = number(i, g);
        }
    }
    all
}

/// Some blocks, and zeros where they are fewer than are searched at once.
#[inline(always)]
pub(super) fn filled<const LEN: usize, const COUNT: usize>(
    blocks: &[[f32; LEN]],
) -> [[f32; LEN]; COUNT] {
    let mut all = [[0.0; LEN]; COUNT];
    all[..blocks.len()].copy_from_slice(blocks);
    all
}

/// The groups of some blocks side by side, of which `BLOCKS` fill the lanes.
#[inline(always)]
pub(super) fn turned_some<const LEN: usize, const BLOCKS: usize, const N: usize, const G: usize>(
    blocks: &[[f32; LEN]],
) -> Lanes<N, G> {
    let spare;
    let blocks = if blocks.len() == BLOCKS {
        blocks
    } else {
        spare = filled::<LEN, BLOCKS>(blocks);
        &spare
    };
    turned(blocks.as_flattened())
}

/// Some blocks, one in each lane.
#[inline(always)]
pub(super) fn side_by_side<const LEN: usize, const G: usize>(
    blocks: &[[f32; LEN]],
) -> Lanes<LEN, G> {
    turned_some::<LEN, G, LEN, G>(blocks)
}

/// How much each weight counts, given, for each lane, the mean square by which small weights count
/// too: ggml's choice where importance is known.
#[inline(always)]
pub(super) fn counts<const N: usize, const G: usize>(
    x: &Lanes<N, G>,
    importance: &Lanes<N, G>,
    square: &[f32; G],
) -> Lanes<N, G> {
    every(|i, g| importance[i][g] * (square[g] + x[i][g] * x[i][g]).sqrt())
}

/// The sum of each lane.
#[inline(always)]
pub(super) fn sums<const N: usize, const G: usize>(counts: &Lanes<N, G>) -> [f32; G] {
    counts.iter().fold([0.0; G], |sums: [f32; G], counts| each(|g| sums[g] + counts[g]))
}

/// The sum of squares, one after the other.
#[inline(always)]
pub(super) fn squares(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + x * x)
}

/// The scales that [`affine`] tries: (`first` + `step` · t + `top`) levels span the weights.
pub(super) struct Tries {
    pub(super) first: f32,
    pub(super) step: f32,
    pub(super) count: u8,
    /// The greatest level.
    pub(super) top: f32,
    pub(super) errors: Errors,
}

impl Tries {
    /// Those that ggml makes where importance is known.
    pub(super) const fn fine(top: f32) -> Self {
        Self { first: -0.9, step: 0.05, count: 37, top, errors: Errors::Squared }
    }
}

/// What is to be small.
#[derive(Clone, Copy)]
pub(super) enum Errors {
    Squared,
    Absolute,
}

/// What [`affine`] finds: x ≈ scale · level + low, low ≤ 0, in each lane.
pub(super) struct Found<const G: usize> {
    pub(super) scale: [f32; G],
    pub(super) low: [f32; G],
    inverse: [f32; G],
    began: [f32; G],
}

impl<const G: usize> Found<G> {
    /// The levels of group `g`, as the search had them.
    #[inline(always)]
    pub(super) fn levels<const N: usize>(&self, g: usize, x: &[f32; N], top: f32) -> [u8; N] {
        levels(x, |x| byte(level(x, self.began[g], self.inverse[g], top)))
    }
}

/// A scale and an offset for each lane. The scale that spans the weights is tried, then those of
/// `tries`, each fitted by least squares. `make_qkx2_quants` and `make_qkx3_quants` of ggml, which
/// for finite weights are the same.
#[inline(always)]
pub(super) fn affine<const N: usize, const G: usize>(
    x: &Lanes<N, G>,
    counts: &Lanes<N, G>,
    tries: &Tries,
) -> Found<G> {
    let all = Sums::of(x, counts);
    let low = all.low;
    let inverse: [f32; G] = each(|g| tries.top / (all.high[g] - low[g]));
    let flat: [bool; G] = each(|g| all.high[g] <= low[g]);
    let scale = each(|g| if flat[g] { 0.0 } else { 1.0 / inverse[g] });
    let mut found = Found { scale, low, inverse: each(|g| bounded(inverse[g])), began: low };
    let levels = every(|i, g| level(x[i][g], found.began[g], found.inverse[g], tries.top));
    let least = error(x, counts, &levels, (&scale, &low), tries.errors);
    // Nothing is better for a group of equal weights.
    let mut least: [f32; G] = each(|g| if flat[g] { f32::NEG_INFINITY } else { least[g] });
    for t in 0..tries.count {
        let span = tries.first + tries.step * f32::from(t) + tries.top;
        let began = found.low;
        let inverse = each(|g| bounded(span / (all.high[g] - began[g])));
        let (levels, fit) = Fit::of(x, counts, (&began, &inverse), tries.top);
        let (scale, low, determinant) = fit.solved(&all);
        let error = error(x, counts, &levels, (&scale, &low), tries.errors);
        for g in 0..G {
            let better = determinant[g] > 0.0 && error[g] < least[g];
            let choose = |new: f32, old: f32| if better { new } else { old };
            least[g] = choose(error[g], least[g]);
            found.scale[g] = choose(scale[g], found.scale[g]);
            found.low[g] = choose(low[g], found.low[g]);
            found.inverse[g] = choose(inverse[g], found.inverse[g]);
            found.began[g] = choose(began[g], found.began[g]);
        }
    }
    found
}

/// Where the span is subnormal, its inverse is infinite, and all levels are 0 in ggml: the bits of
/// an infinite sum are read as an integer. An inverse of 0 gives that too.
#[inline(always)]
fn bounded(inverse: f32) -> f32 {
    if inverse == f32::INFINITY { 0.0 } else { inverse }
}

/// The nearest level, as a float; 0 for what is no number.
#[inline(always)]
fn level(x: f32, low: f32, inverse: f32, top: f32) -> f32 {
    let l = inverse * (x - low);
    let l = (if l > 0.0 { l } else { 0.0 }) + LAST_PLACE_1;
    let top = top + LAST_PLACE_1;
    (if l < top { l } else { top }) - LAST_PLACE_1
}

/// The error of each lane.
#[inline(always)]
fn error<const N: usize, const G: usize>(
    x: &Lanes<N, G>,
    counts: &Lanes<N, G>,
    levels: &Lanes<N, G>,
    (scale, low): (&[f32; G], &[f32; G]),
    errors: Errors,
) -> [f32; G] {
    let mut sums = [0.0; G];
    for i in 0..N {
        for g in 0..G {
            let off = scale[g] * levels[i][g] + low[g] - x[i][g];
            let off = match errors {
                Errors::Squared => off * off,
                Errors::Absolute => off.abs(),
            };
            sums[g] += counts[i][g] * off;
        }
    }
    sums
}

/// What all tries have in common.
struct Sums<const G: usize> {
    low: [f32; G],
    high: [f32; G],
    sum: [f32; G],
    sum_x: [f32; G],
}

impl<const G: usize> Sums<G> {
    #[inline(always)]
    fn of<const N: usize>(x: &Lanes<N, G>, counts: &Lanes<N, G>) -> Self {
        let mut all =
            Self { low: x[0], high: x[0], sum: counts[0], sum_x: each(|g| counts[0][g] * x[0][g]) };
        for (x, counts) in x.iter().zip(counts).skip(1) {
            for g in 0..G {
                all.low[g] = if x[g] < all.low[g] { x[g] } else { all.low[g] };
                all.high[g] = if x[g] > all.high[g] { x[g] } else { all.high[g] };
                all.sum[g] += counts[g];
                all.sum_x[g] += counts[g] * x[g];
            }
        }
        all.low = each(|g| if all.low[g] > 0.0 { 0.0 } else { all.low[g] });
        all
    }
}

/// The sums of one try.
struct Fit<const G: usize> {
    sum_l: [f32; G],
    sum_l2: [f32; G],
    sum_xl: [f32; G],
}

impl<const G: usize> Fit<G> {
    #[inline(always)]
    fn of<const N: usize>(
        x: &Lanes<N, G>,
        counts: &Lanes<N, G>,
        (low, inverse): (&[f32; G], &[f32; G]),
        top: f32,
    ) -> (Lanes<N, G>, Self) {
        let mut levels = [[0.0; G]; N];
        let zero = [0.0; G];
        let mut fit = Self { sum_l: zero, sum_l2: zero, sum_xl: zero };
        for i in 0..N {
            for g in 0..G {
                let l = level(x[i][g], low[g], inverse[g], top);
                let weighted = counts[i][g] * l;
                fit.sum_l[g] += weighted;
                fit.sum_l2[g] += weighted * l;
                fit.sum_xl[g] += weighted * x[i][g];
                levels[i][g] = l;
            }
        }
        (levels, fit)
    }

    /// Scales, offsets, and the determinants, without which they mean nothing.
    #[inline(always)]
    fn solved(&self, all: &Sums<G>) -> ([f32; G], [f32; G], [f32; G]) {
        let (mut scale, mut low, mut determinant) = ([0.0; G], [0.0; G], [0.0; G]);
        for g in 0..G {
            let (l, l2, xl) = (self.sum_l[g], self.sum_l2[g], self.sum_xl[g]);
            determinant[g] = all.sum[g] * l2 - l * l;
            let slope = (all.sum[g] * xl - all.sum_x[g] * l) / determinant[g];
            let offset = (l2 * all.sum_x[g] - l * xl) / determinant[g];
            low[g] = if offset > 0.0 { 0.0 } else { offset };
            scale[g] = if offset > 0.0 { xl / l2 } else { slope };
        }
        (scale, low, determinant)
    }
}

/// What [`symmetric`] finds: x ≈ scale · (level − half) in each lane.
pub(super) struct Symmetric<const G: usize> {
    pub(super) scale: [f32; G],
    inverse: [f32; G],
    zero: [bool; G],
}

impl<const G: usize> Symmetric<G> {
    /// The levels of group `g`, as the search had them.
    #[inline(always)]
    pub(super) fn levels<const N: usize>(&self, g: usize, x: &[f32; N], half: f32) -> [u8; N] {
        let zero = self.zero[g];
        levels(x, |x| {
            let level = byte(signed_level(x, self.inverse[g], half) + half);
            if zero { 0 } else { level }
        })
    }
}

/// A scale for levels `-half..half` of each lane: the one that puts the peak at −half is tried,
/// and 18 more around it; each is then fitted by least squares. `make_qx_quants` of ggml, with
/// `rmse_type` 1 and `counts` given.
#[inline(always)]
pub(super) fn symmetric<const N: usize, const G: usize>(
    x: &Lanes<N, G>,
    counts: &Lanes<N, G>,
    half: f32,
) -> Symmetric<G> {
    let peak = peaks(x);
    let zero: [bool; G] = each(|g| peak[g].abs() < ZERO_MAX);
    let mut found = Symmetric { scale: [0.0; G], inverse: [0.0; G], zero };
    let mut least = [0.0; G];
    for (t, step) in search::STEPS.into_iter().enumerate() {
        let inverse: [f32; G] = each(|g| -(half + 0.1 * f32::from(step)) / peak[g]);
        let (mut xl, mut l2) = ([0.0f32; G], [0.0f32; G]);
        for i in 0..N {
            for g in 0..G {
                let l = signed_level(x[i][g], inverse[g], half);
                xl[g] += counts[i][g] * x[i][g] * l;
                l2[g] += counts[i][g] * l * l;
            }
        }
        for g in 0..G {
            let better = (t == 0) | (l2[g] > 0.0) & (xl[g] * xl[g] > least[g] * l2[g]);
            let scale = if l2[g] == 0.0 { 0.0 } else { xl[g] / l2[g] };
            found.scale[g] = if better { scale } else { found.scale[g] };
            found.inverse[g] = if better { inverse[g] } else { found.inverse[g] };
            least[g] = if better { scale * xl[g] } else { least[g] };
        }
    }
    found.scale = each(|g| if zero[g] { 0.0 } else { found.scale[g] });
    found
}

/// The first scale of the largest magnitude. Where squares of weights overflow, a scale is NaN: that
/// is no peak, to ggml either.
#[inline(always)]
pub(super) fn peak_of(scales: &[f32]) -> f32 {
    scales.iter().fold(0.0, |peak, s| if s.abs() > peak.abs() { *s } else { peak })
}

/// The first weight of the largest magnitude in each lane.
#[inline(always)]
pub(super) fn peaks<const N: usize, const G: usize>(x: &Lanes<N, G>) -> [f32; G] {
    let mut peak = [0.0f32; G];
    for x in x {
        for g in 0..G {
            peak[g] = if x[g].abs() > peak[g].abs() { x[g] } else { peak[g] };
        }
    }
    peak
}

/// The nearest level from −half to half − 1, as a float.
///
/// Within ±half, the float rounded by this sum is as good as the integer of [`nearest`].
#[inline(always)]
pub(super) fn signed_level(x: f32, inverse: f32, half: f32) -> f32 {
    let l = (inverse * x + LAST_PLACE_1) - LAST_PLACE_1;
    let l = if l > -half { l } else { -half };
    if l < half - 1.0 { l } else { half - 1.0 }
}

/// As [`search::positive`], of the groups in all lanes: x ≈ scale · level, levels `0..=top`.
#[inline(always)]
pub(super) fn positive<const N: usize, const G: usize>(
    x: &Lanes<N, G>,
    counts: &Lanes<N, G>,
    top: f32,
) -> [f32; G] {
    let mut peak = [0.0; G];
    for x in x {
        for g in 0..G {
            peak[g] = if peak[g] > x[g] { peak[g] } else { x[g] };
        }
    }
    let inverse = best_inverse(x, counts, top, &peak);
    let (mut xl, mut l2, mut levels) = ([0.0; G], [0.0; G], [[0.0; G]; N]);
    for i in 0..N {
        for g in 0..G {
            let l = nearest(inverse[g] * x[i][g]).min(top as i32);
            // A byte, in ggml: what is below zero wraps.
            levels[i][g] = (l & 255) as f32;
            let (l, count) = (l as f32, counts[i][g]);
            xl[g] += count * x[i][g] * l;
            l2[g] += count * l * l;
        }
    }
    for _ in 0..5 {
        let mut changed = 0;
        for i in 0..N {
            for g in 0..G {
                let (x, w, old) = (x[i][g], counts[i][g], levels[i][g]);
                let (xl_left, l2_left) = (xl[g] - w * x * old, l2[g] - w * old * old);
                let level = nearest(x * l2_left / xl_left).min(top as i32);
                let new = level as f32;
                let (xl_new, l2_new) = (xl_left + w * x * new, l2_left + w * new * new);
                // `&`, not `&&`: the lanes go one way.
                let better = (xl_left > 0.0)
                    & (l2_left > 0.0)
                    & (new != old)
                    & (xl_new * xl_new * l2[g] > xl[g] * xl[g] * l2_new);
                levels[i][g] = if better { (level & 255) as f32 } else { old };
                xl[g] = if better { xl_new } else { xl[g] };
                l2[g] = if better { l2_new } else { l2[g] };
                changed |= u32::from(better);
            }
        }
        if changed == 0 {
            break;
        }
    }
    let fitted = |g: usize| if l2[g] > 0.0 { xl[g] / l2[g] } else { 0.0 };
    each(|g| if peak[g] < ZERO_MAX { 0.0 } else { fitted(g) })
}

/// The levels per unit with the least error, of nine, in each lane.
#[inline(always)]
fn best_inverse<const N: usize, const G: usize>(
    x: &Lanes<N, G>,
    counts: &Lanes<N, G>,
    top: f32,
    peak: &[f32; G],
) -> [f32; G] {
    let (mut best, mut least) = ([0.0; G], [0.0; G]);
    for step in [0, -4, -3, -2, -1, 1, 2, 3, 4] {
        let (mut inverse, mut scale, mut error) = ([0.0; G], [0.0; G], [0.0; G]);
        for g in 0..G {
            inverse[g] = (0.1 * step as f32 + top) / peak[g];
            scale[g] = 1.0 / inverse[g];
        }
        for i in 0..N {
            for g in 0..G {
                let l = nearest(inverse[g] * x[i][g]);
                // The first is not bounded, but a byte.
                let l = if step == 0 { l & 255 } else { l.min(top as i32) };
                let off = x[i][g] - scale[g] * l as f32;
                error[g] += counts[i][g] * off * off;
            }
        }
        for g in 0..G {
            let better = (step == 0) | (error[g] < least[g]);
            best[g] = if better { inverse[g] } else { best[g] };
            least[g] = if better { error[g] } else { least[g] };
        }
    }
    best
}

/// Small numbers for the groups' scales, and the unit that the greatest is `top` of.
#[inline(always)]
pub(super) fn by_peak<const GROUPS: usize>(
    scales: &[f32; GROUPS],
    top: f32,
) -> (f32, [u8; GROUPS]) {
    let peak = scales.iter().fold(0.0, |peak, s| if *s > peak { *s } else { peak });
    let inverse = if peak > 0.0 { top / peak } else { 0.0 };
    (peak / top, scales.map(|s| nearest(inverse * s) as u8))
}

/// The levels of a group whose step and offset are those that the bytes have; those of the search
/// where the step is lost, as in ggml.
#[inline(always)]
pub(super) fn again<const N: usize>(
    x: &[f32; N],
    (step, low): (f32, f32),
    top: i32,
    lost: impl FnOnce() -> [u8; N],
) -> [u8; N] {
    if step == 0.0 {
        return lost();
    }
    levels(x, |x| nearest((x + low) / step).min(top).max(0) as u8)
}
