//! Scales found by trial: several are tried, and the one with the least weighted error is kept.
//!
//! ggml tries one scale after the other, and adds up the error of each weight by weight. Its bytes
//! depend on the order of those additions. Here the scales are tried side by side, one in each
//! lane, so each sum still has ggml's order, and the machine computes many of them at once.

use std::array::from_fn;

use super::groups::signed_level;
use super::rows::{self, byte, nearest, signed_peak};

/// ggml's `GROUP_MAX_EPS`: a group with no weight above it counts as zero.
pub(super) const ZERO_MAX: f32 = 1e-15;

/// Where the scales that a symmetric search tries lie, in tenths of a level, in ggml's order.
pub(super) const STEPS: [i8; 19] =
    [0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/// How much the errors of a block's weights count: ggml's choice where importance is known.
#[inline(always)]
pub(super) fn counts<const N: usize>(x: &[f32; N], importance: &[f32; N], mean: f32) -> [f32; N] {
    from_fn(|i| importance[i] * (mean + x[i] * x[i]).sqrt())
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
    const LANES: usize = 24;
    let step = |t: usize| f32::from(STEPS.get(t).copied().unwrap_or(0));
    let peak = signed_peak(x);
    if peak.abs() < ZERO_MAX {
        levels.fill(0);
        return 0.0;
    }
    let level = |x, inverse| signed_level(x, inverse, half);
    let inverse: [f32; LANES] = from_fn(|t| -(half + 0.1 * step(t)) / peak);
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
