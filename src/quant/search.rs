//! Scales found by trial: several are tried, and the one with the least weighted error is kept.
//!
//! ggml tries one scale after the other, and adds up the error of each weight by weight. Its bytes
//! depend on the order of those additions. Here the scales are tried side by side, one in each
//! lane, so each sum still has ggml's order, and the machine computes many of them at once.

use std::array::from_fn;

use super::rows::{nearest, signed_peak};

/// ggml's `GROUP_MAX_EPS`: a group with no weight above it counts as zero.
pub(super) const ZERO_MAX: f32 = 1e-15;

/// How much the errors of a block's weights count: ggml's choice where importance is known.
#[inline(always)]
pub(super) fn counts<const N: usize>(x: &[f32; N], importance: &[f32; N], mean: f32) -> [f32; N] {
    from_fn(|i| importance[i] * (mean + x[i] * x[i]).sqrt())
}

/// Levels `0..2 * half` and a scale such that x ≈ scale · (level − half).
///
/// The scale that puts the peak at −half is tried, and 18 more around it; each is then fitted by
/// least squares. `make_qx_quants` of ggml, with `rmse_type` 1 and `counts` given.
#[inline(always)]
pub(super) fn symmetric<const N: usize>(
    x: &[f32; N],
    counts: &[f32; N],
    half: f32,
    levels: &mut [u8; N],
) -> f32 {
    // In ggml's order, then some that only fill the registers of the machine: a try that equals
    // an earlier one can still seem better by a rounding, so those must not be looked at.
    const TRIES: usize = 19;
    const LANES: usize = 24;
    const STEPS: [i8; LANES] =
        [0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0];
    let peak = signed_peak(x);
    if peak.abs() < ZERO_MAX {
        levels.fill(0);
        return 0.0;
    }
    // Within ±half, the float rounded by the same sum is as good as the integer of `nearest`.
    let level = |x: f32, inverse: f32| {
        let l = (inverse * x + 12_582_912.0) - 12_582_912.0;
        let l = if l > -half { l } else { -half };
        if l < half - 1.0 { l } else { half - 1.0 }
    };
    let inverse: [f32; LANES] = from_fn(|t| -(half + 0.1 * f32::from(STEPS[t])) / peak);
    let (mut xl, mut l2) = ([0.0f32; LANES], [0.0f32; LANES]);
    for (x, count) in x.iter().zip(counts) {
        let weighted = count * x;
        for t in 0..LANES {
            let l = level(*x, inverse[t]);
            xl[t] += weighted * l;
            l2[t] += count * l * l;
        }
    }
    let mut scale = if l2[0] == 0.0 { 0.0 } else { xl[0] / l2[0] };
    let (mut best, mut least) = (0, scale * xl[0]);
    for t in 1..TRIES {
        if l2[t] > 0.0 && xl[t] * xl[t] > least * l2[t] {
            scale = xl[t] / l2[t];
            (best, least) = (t, scale * xl[t]);
        }
    }
    *levels = x.map(|x| (level(x, inverse[best]) + half) as u8);
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

/// A scale and an offset: x ≈ scale · level + low.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) scale: f32,
    pub(super) low: f32,
}

/// Levels `0..=top` with a scale and an offset that is not above zero.
///
/// The scale that spans the weights is tried, and 37 more around it, each fitted by least squares.
/// `make_qkx3_quants` of ggml, called with rmin −0.9, rdelta 0.05 and 36 steps.
#[inline(always)]
pub(super) fn affine<const N: usize>(
    x: &[f32; N],
    counts: &[f32; N],
    top: i32,
    levels: &mut [u8; N],
) -> Affine {
    const TRIES: usize = 37;
    let mut all = Sums { sum: counts[0], sum_x: counts[0] * x[0], high: x[0], top };
    let mut low = x[0];
    for (x, count) in x.iter().zip(counts).skip(1) {
        low = if *x < low { *x } else { low };
        all.high = if *x > all.high { *x } else { all.high };
        all.sum += count;
        all.sum_x += count * x;
    }
    low = if low > 0.0 { 0.0 } else { low };
    levels.fill(0);
    if all.high <= low {
        return Affine { scale: 0.0, low };
    }
    let inverse = top as f32 / (all.high - low);
    let mut found = Affine { scale: 1.0 / inverse, low };
    *levels = x.map(|x| level(x, low, inverse, top) as u8);
    let mut least = 0.0;
    for ((x, count), level) in x.iter().zip(counts).zip(&*levels) {
        let off = found.scale * f32::from(*level) + low - x;
        least += count * (off * off);
    }
    let mut tried = 0;
    while tried < TRIES {
        // A better offset is where the next tries begin, so those after it are made again.
        let fits = Fits::from(tried, x, counts, &all, found.low);
        let lanes = 0..SIDE_BY_SIDE.min(TRIES - tried);
        let better = |t: &usize| fits.determinant[*t] > 0.0 && fits.error[*t] < least;
        let Some(lane) = lanes.into_iter().find(better) else {
            tried += SIDE_BY_SIDE;
            continue;
        };
        *levels = x.map(|x| level(x, found.low, fits.inverse[lane], top) as u8);
        least = fits.error[lane];
        found = Affine { scale: fits.scale[lane], low: fits.low[lane] };
        tried += lane + 1;
    }
    found
}

/// Tries of [`affine`] that are made at once.
const SIDE_BY_SIDE: usize = 8;

/// What all tries of [`affine`] have in common.
struct Sums {
    sum: f32,
    sum_x: f32,
    high: f32,
    top: i32,
}

/// The fits of some tries, and their errors.
struct Fits {
    inverse: [f32; SIDE_BY_SIDE],
    determinant: [f32; SIDE_BY_SIDE],
    scale: [f32; SIDE_BY_SIDE],
    low: [f32; SIDE_BY_SIDE],
    error: [f32; SIDE_BY_SIDE],
}

impl Fits {
    #[inline(always)]
    fn from<const N: usize>(
        first: usize,
        x: &[f32; N],
        counts: &[f32; N],
        &Sums { sum, sum_x, high, top }: &Sums,
        low: f32,
    ) -> Self {
        let inverse: [f32; SIDE_BY_SIDE] =
            from_fn(|t| (-0.9 + 0.05 * (first + t) as f32 + top as f32) / (high - low));
        let zero = [0.0f32; SIDE_BY_SIDE];
        let (mut sum_l, mut sum_l2, mut sum_xl) = (zero, zero, zero);
        for (x, count) in x.iter().zip(counts) {
            for t in 0..SIDE_BY_SIDE {
                let l = level(*x, low, inverse[t], top) as f32;
                sum_l[t] += count * l;
                sum_l2[t] += count * l * l;
                sum_xl[t] += count * l * x;
            }
        }
        let mut fits = Self { inverse, determinant: zero, scale: zero, low: zero, error: zero };
        for t in 0..SIDE_BY_SIDE {
            let determinant = sum * sum_l2[t] - sum_l[t] * sum_l[t];
            let fitted = (sum_l2[t] * sum_x - sum_l[t] * sum_xl[t]) / determinant;
            let scale = (sum * sum_xl[t] - sum_x * sum_l[t]) / determinant;
            fits.determinant[t] = determinant;
            fits.low[t] = if fitted > 0.0 { 0.0 } else { fitted };
            fits.scale[t] = if fitted > 0.0 { sum_xl[t] / sum_l2[t] } else { scale };
        }
        for (x, count) in x.iter().zip(counts) {
            for (t, inverse) in inverse.iter().enumerate() {
                let level = level(*x, low, *inverse, top) as f32;
                let off = fits.scale[t] * level + fits.low[t] - x;
                fits.error[t] += count * (off * off);
            }
        }
        fits
    }
}

#[inline(always)]
fn level(x: f32, low: f32, inverse: f32, top: i32) -> i32 {
    nearest(inverse * (x - low)).min(top).max(0)
}
