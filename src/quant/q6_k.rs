//! Q6_K: 256 weights in 16 groups of 16; each group has an 8-bit scale, each weight six bits.
//!
//! ```text
//!   0                  128               192            208      210
//!   ┌──────────────────┬─────────────────┬──────────────┬────────┐
//!   │ low: 2 × 64      │ high: 2 × 32    │ s: 16 × i8   │ d: f16 │    w ≈ d · s · (level − 32)
//!   │ four bits of two │ two bits of four│ one a group  │        │    d · s = step of the group
//!   └──────────────────┴─────────────────┴──────────────┴────────┘    6.5625 bits per weight
//! ```
//!
//! Each half of the block, 128 weights, is four runs of 32: byte `i` of `low` holds the low bits of
//! weight `i` of runs 0 and 2, byte `32 + i` those of runs 1 and 3; byte `i` of `high` holds, two
//! by two, the high bits of weight `i` of all four.
//!
//! Bit-exact with `quantize_row_q6_K_ref` of ggml, and by importance with `quantize_row_q6_K_impl`.

use super::groups::{peak_of, symmetric, turned};
use super::packing::packing;
use super::rows::Packing;
use super::{rows, search};

pub(super) const LEN: usize = 256;
pub(super) const GROUP: usize = 16;
pub(super) const GROUPS: usize = LEN / GROUP;
/// Levels lie from −32 to 31.
const HALF: f32 = 32.0;
pub(super) const BYTES: usize = 128 + 64 + GROUPS + 2;

packing! {
    name: "q6_k",
    ggml_id: 14,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const LOOKS_AT_MEAN: bool = false;

    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        // Without importance, errors of large weights count for more.
        encode_counted(weights, &weights.map(|x| x * x), out);
    }

    #[inline(always)]
    fn search(weights: &[f32; LEN], importance: &[f32; LEN], _: f32, out: &mut [u8; BYTES]) {
        encode_counted(weights, importance, out);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let (low, rest) = bytes.split_at(128);
        let (high, rest) = rest.split_at(64);
        let (scales, _) = rest.split_at(GROUPS);
        let d = rows::get_f16([bytes[BYTES - 2], bytes[BYTES - 1]]);
        for half in 0..2 {
            let (low, high) = (&low[64 * half..][..64], &high[32 * half..][..32]);
            for run in 0..4 {
                let low = &low[32 * (run % 2)..][..32];
                let weights = &mut weights[128 * half + 32 * run..][..32];
                let steps = &scales[8 * half + 2 * run..][..2];
                for (group, scale) in steps.iter().enumerate() {
                    let step = d * f32::from(*scale as i8);
                    for i in GROUP * group..GROUP * (group + 1) {
                        let level =
                            low[i] >> (4 * (run / 2)) & 15 | (high[i] >> (2 * run) & 3) << 4;
                        weights[i] = step * (f32::from(level) - 32.0);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn encode_counted(weights: &[f32; LEN], counts: &[f32; LEN], out: &mut [u8; BYTES]) {
    let found = symmetric(&turned::<GROUP, GROUPS>(weights), &turned(counts), HALF);
    let scales = found.scale;
    let peak = peak_of(&scales);
    if peak.abs() < search::ZERO_MAX {
        out.fill(0);
        return;
    }
    let inverse = -128.0 / peak;
    let d = rows::put_f16(1.0 / inverse);
    let scales = scales.map(|scale| rows::nearest(inverse * scale).min(127) as i8);
    let mut levels = [0; LEN];
    let groups = weights.as_chunks::<GROUP>().0.iter().zip(levels.as_chunks_mut().0);
    for (g, (x, levels)) in groups.enumerate() {
        let step = rows::get_f16(d) * f32::from(scales[g]);
        // A group whose scale is lost keeps its levels, as in ggml.
        *levels = if step == 0.0 {
            found.levels(g, x, HALF)
        } else {
            rows::levels(x, |x| (rows::nearest(x / step).clamp(-32, 31) + 32) as u8)
        };
    }
    put(&levels, &scales, d, out);
}

#[inline(always)]
pub(super) fn put(levels: &[u8; LEN], scales: &[i8; GROUPS], d: [u8; 2], out: &mut [u8; BYTES]) {
    let (low, rest) = out.split_at_mut(128);
    let (high, rest) = rest.split_at_mut(64);
    let halves = low.chunks_exact_mut(64).zip(high.chunks_exact_mut(32));
    for (levels, (low, high)) in levels.as_chunks::<128>().0.iter().zip(halves) {
        for i in 0..64 {
            low[i] = levels[i] & 15 | levels[i + 64] << 4;
        }
        for i in 0..32 {
            let two = |run: usize| levels[i + 32 * run] >> 4 << (2 * run);
            high[i] = two(0) | two(1) | two(2) | two(3);
        }
    }
    let (places, place_of_d) = rest.split_at_mut(GROUPS);
    for (place, scale) in places.iter_mut().zip(scales) {
        *place = *scale as u8;
    }
    place_of_d.copy_from_slice(&d);
}

/// See [`rows::SEARCH_MAX`]. 32 levels by 128 steps of a group lose half a step of f16 each.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * rows::SEARCH_MAX + 4096.0 * rows::F16_FLOOR
}
