//! IQ4_NL: 32 weights share a scale; each keeps four bits, which stand for 16 uneven levels.
//!
//! ```text
//!   0        2                      18
//!   ┌────────┬──────────────────────┐
//!   │ d: f16 │ q: 16 × (low, high)  │     w[i] ≈ d · LEVELS[q[i]]
//!   │        │ byte j: j and j + 16 │     levels are closer around zero, where most weights are
//!   └────────┴──────────────────────┘     4.5 bits per weight
//! ```
//!
//! Bit-exact with `quantize_iq4_nl` of ggml, with importance and without. (ggml's `_ref`, which
//! its tests use, tries no other scales; llama-quantize does not write what it gives.)

use std::array::from_fn;

use super::packing::packing;
use super::rows::Packing;
use super::{nibbles, rows, search};

pub(super) const LEN: usize = 32;
pub(super) const BYTES: usize = 2 + LEN / 2;

packing! {
    name: "iq4_nl",
    ggml_id: 20,
    needs_importance: false,
    error_bound: error_bound,
}

/// The levels, `kvalues_iq4nl` of ggml.
pub(super) const LEVELS: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0,
    89.0, 113.0,
];

/// The least numbers that are not nearer to the level below, in ggml's arithmetic.
const BORDERS: [f32; 15] = {
    let mut borders = [0.0; 15];
    let mut i = 0;
    while i < borders.len() {
        let (low, high) = (LEVELS[i], LEVELS[i + 1]);
        let mut border = (low + high) / 2.0;
        while border.next_down() - low >= high - border.next_down() {
            border = border.next_down();
        }
        borders[i] = border;
        i += 1;
    }
    borders
};

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        let scale = fit(weights, &weights.map(|x| x * x));
        // By the scale before it is rounded, as in ggml.
        put((scale, rows::reciprocal(scale)), weights, out);
    }

    #[inline(always)]
    fn search(weights: &[f32; LEN], importance: &[f32; LEN], _: f32, out: &mut [u8; BYTES]) {
        let counts = search::counts(weights, importance, spread(weights));
        let scale = fit(weights, &counts);
        put((scale, rows::reciprocal(scale)), weights, out);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, q @ ..] = bytes;
        unpack(rows::get_f16([*d0, *d1]), q, weights);
    }
}

#[inline(always)]
pub(super) fn put((scale, per_unit): (f32, f32), weights: &[f32; LEN], out: &mut [u8; BYTES]) {
    let [d0, d1, q @ ..] = out;
    [*d0, *d1] = rows::put_f16(scale);
    nibbles::put(&levels(weights, per_unit), q);
}

/// Decodes 32 levels.
#[inline(always)]
pub(super) fn unpack(scale: f32, q: &[u8; LEN / 2], weights: &mut [f32; LEN]) {
    *weights = nibbles::get(q).map(|level| scale * LEVELS[usize::from(level & 15)]);
}

/// Twice the mean square of a block.
#[inline(always)]
pub(super) fn spread(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |sum: f32, x| sum + x * x) * (2.0 / block.len() as f32)
}

/// The scale of 32 weights: of 16 that put the peak at one end or near it, each fitted by least
/// squares, the one with the least error. `quantize_row_iq4_nl_impl` of ggml, with 7 tries to
/// either side; all are made at once, one in each lane, see [`search`].
#[inline(always)]
pub(super) fn fit(x: &[f32; LEN], counts: &[f32; LEN]) -> f32 {
    const TRIES: usize = 16;
    let peak = rows::signed_peak(x);
    if peak.abs() < search::ZERO_MAX {
        return 0.0;
    }
    // The first is tried again among those after it, but not with the same rounding.
    let inverse: [f32; TRIES] = from_fn(|t| match t {
        0 => 1.0 / (-peak / LEVELS[0]),
        t => (t as f32 - 8.0 + LEVELS[0]) / peak,
    });
    let (mut xl, mut l2) = ([0.0f32; TRIES], [0.0f32; TRIES]);
    for (x, count) in x.iter().zip(counts) {
        for t in 0..TRIES {
            let l = nearest_level(inverse[t] * x);
            xl[t] += count * l * x;
            l2[t] += count * l * l;
        }
    }
    let mut scale = if l2[0] > 0.0 { xl[0] / l2[0] } else { 0.0 };
    let mut least = scale * xl[0];
    for t in 1..TRIES {
        if l2[t] > 0.0 && xl[t] * xl[t] > least * l2[t] {
            scale = xl[t] / l2[t];
            least = scale * xl[t];
        }
    }
    scale
}

/// The level nearest to a number; the last for NaN, as in ggml.
#[inline(always)]
pub(super) fn nearest_level(x: f32) -> f32 {
    let mut level = LEVELS[0];
    for (i, border) in BORDERS.iter().enumerate() {
        level += if x < *border { 0.0 } else { LEVELS[i + 1] - LEVELS[i] };
    }
    level
}

/// The numbers of the levels nearest to weights times `inverse`.
#[inline(always)]
pub(super) fn levels(x: &[f32; LEN], inverse: f32) -> [u8; LEN] {
    let mut levels = [0; LEN];
    for (level, x) in levels.iter_mut().zip(x) {
        let x = inverse * x;
        let mut number = 0;
        for border in &BORDERS {
            number += if x < *border { 0 } else { 1u32 };
        }
        *level = number as u8;
    }
    levels
}

/// As [`rows::SEARCH_MAX`]. It lies lower, because these levels may overshoot the peak, which then
/// errs by less than a half if the scale is halved.
pub(super) const SEARCH_MAX: f32 = 0.46;

/// Below 127 half steps of f16, levels lose their scale.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * SEARCH_MAX + 127.0 * rows::F16_FLOOR
}
