//! Q3_K: 256 weights in 16 groups of 16; each group has a six-bit scale, each weight three bits.
//!
//! ```text
//!   0                32                   96             108      110
//!   ┌────────────────┬────────────────────┬──────────────┬────────┐
//!   │ h: 32 × 8 bits │ q: 2 × 32 × 4 × 2  │ s: 16 × six  │ d: f16 │  w ≈ d · (s − 32) · (level − 4)
//!   │ bit j: run j   │ bits, see pairs.rs │ bits, below  │        │  s that of the group
//!   └────────────────┴────────────────────┴──────────────┴────────┘  3.4375 bits per weight
//! ```
//!
//! Byte `j` of the first 8 of `s` has the low four bits of the scales of groups `j` and `j + 8`;
//! byte `j` of the last 4 the high two bits of groups `j`, `j + 4`, `j + 8` and `j + 12`.
//!
//! Bit-exact with `quantize_row_q3_K_ref` of ggml, and by importance with `quantize_row_q3_K_impl`.

use super::groups::{self, each, peak_of, symmetric, turned};
use super::packing::packing;
use super::rows::{self, LAST_PLACE_1, Packing};
use super::{descent, pairs, search};

pub(super) const LEN: usize = 256;
pub(super) const GROUP: usize = 16;
pub(super) const GROUPS: usize = LEN / GROUP;
pub(super) const BYTES: usize = LEN / 8 + LEN / 4 + 12 + 2;

packing! {
    name: "q3_k",
    ggml_id: 11,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const LOOKS_AT_MEAN: bool = false;

    // Of few groups any level moves: those of many blocks fill the lanes.
    const AT_ONCE: usize = 64;

    #[inline(always)]
    fn encode_some(weights: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        let mut scales = [[0.0; GROUPS]; Self::AT_ONCE];
        let groups = weights.as_flattened().as_chunks().0;
        descent::scales(groups, scales.as_flattened_mut());
        for ((weights, scales), out) in weights.iter().zip(scales).zip(out) {
            let levels = |g: usize| descent::levels(&weights.as_chunks().0[g]);
            put_by_peak(weights, levels, scales, out);
        }
    }

    #[inline(always)]
    fn search(weights: &[f32; LEN], importance: &[f32; LEN], _: f32, out: &mut [u8; BYTES]) {
        let square = 2.0 * groups::squares(weights) / LEN as f32;
        let x = turned::<GROUP, GROUPS>(weights);
        let counts = groups::counts(&x, &turned(importance), &[square; GROUPS]);
        let found = symmetric(&x, &counts, 4.0);
        let (scales, sums) = (found.scale, groups::sums(&counts));
        // Where squares of weights overflow, a scale is NaN: ggml passes over it.
        let scales = scales.map(|s| if s.is_nan() { 0.0 } else { s });
        let mut small = [0; GROUPS];
        let d = search::symmetric(&scales, &sums, 32.0, &mut small);
        let levels = |g: usize| found.levels(g, &weights.as_chunks().0[g], 4.0);
        put(weights, levels, small, d, out);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let (high, rest) = bytes.split_at(LEN / 8);
        let Some((q, rest)) = rest.split_first_chunk() else { return };
        let Some((packed, d)) = rest.split_first_chunk() else { return };
        let (d, scales) = (rows::get_f16([d[0], d[1]]), get_scales(packed));
        for (run, weights) in weights.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let levels = pairs::get(q, run);
            for (group, scale) in scales[2 * run..][..2].iter().enumerate() {
                let step = d * (f32::from(*scale) - 32.0);
                for i in GROUP * group..GROUP * (group + 1) {
                    let level = levels[i] | (high[i] >> run & 1) << 2;
                    weights[i] = step * (f32::from(level) - 4.0);
                }
            }
        }
    }
}

#[inline(always)]
fn put_by_peak(
    weights: &[f32; LEN],
    levels: impl Fn(usize) -> [u8; GROUP],
    scales: [f32; GROUPS],
    out: &mut [u8; BYTES],
) {
    let peak = peak_of(&scales);
    if peak == 0.0 {
        put(weights, levels, [0; GROUPS], 0.0, out);
        return;
    }
    let inverse = -32.0 / peak;
    let scales = rows::levels(&scales, |s| {
        (rows::nearest(inverse * s) as i8).clamp(-32, 31).wrapping_add(32) as u8
    });
    put(weights, levels, scales, 1.0 / inverse, out);
}

/// `lost` has the levels of a group whose scale is lost.
#[inline(always)]
pub(super) fn put(
    weights: &[f32; LEN],
    lost: impl Fn(usize) -> [u8; GROUP],
    scales: [u8; GROUPS],
    d: f32,
    out: &mut [u8; BYTES],
) {
    let (high, rest) = out.split_at_mut(LEN / 8);
    let Some((q, rest)) = rest.split_first_chunk_mut() else { return };
    let Some((packed, unit)) = rest.split_first_chunk_mut() else { return };
    put_scales(&scales, packed);
    let d = rows::put_f16(d);
    unit.copy_from_slice(&d);
    let steps = each(|g| rows::get_f16(d) * (f32::from(scales[g]) - 32.0));
    let mut levels = nearest_levels(weights, &steps).unwrap_or_else(|| {
        let mut levels = [0; LEN];
        let groups = weights.as_chunks::<GROUP>().0.iter().zip(levels.as_chunks_mut().0);
        for (g, (x, levels)) in groups.enumerate() {
            let level = |x| (rows::nearest(x / steps[g]).clamp(-4, 3) + 4) as u8;
            *levels = if steps[g] == 0.0 { lost(g) } else { rows::levels(x, level) };
        }
        levels
    });
    high.fill(0);
    for (run, levels) in levels.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (high, level) in high.iter_mut().zip(levels) {
            *high |= *level >> 2 << run;
            *level &= 3;
        }
    }
    pairs::put(&levels, q);
}

/// What is nearest to the quotients of weights and steps, plus 4.
///
/// Reciprocals give the quotients to within 2⁻²⁰ of a level, where they are not beyond all levels:
/// nothing is known of a block with a quotient that near to the border between two.
#[inline(always)]
fn nearest_levels(weights: &[f32; LEN], steps: &[f32; GROUPS]) -> Option<[u8; LEN]> {
    const SURE: f32 = 0.5 - 1.0 / 262_144.0;
    let per_step: [f32; GROUPS] = each(|g| 1.0 / steps[g]);
    let (mut levels, mut unsure) = ([0; LEN], [0; GROUP]);
    let groups = weights.as_chunks::<GROUP>().0.iter().zip(levels.as_chunks_mut::<GROUP>().0);
    for ((x, levels), per_step) in groups.zip(per_step) {
        for i in 0..GROUP {
            let quotient = x[i] * per_step;
            let nearest = (quotient + LAST_PLACE_1) - LAST_PLACE_1;
            let sure = ((quotient - nearest).abs() < SURE) & (quotient.abs() < rows::FAR);
            unsure[i] |= u32::from(!sure);
            let level = if nearest > -4.0 { nearest } else { -4.0 };
            levels[i] = rows::byte(if level < 3.0 { level } else { 3.0 } + 4.0);
        }
    }
    (unsure == [0; GROUP]).then_some(levels)
}

#[inline(always)]
fn put_scales(scales: &[u8; GROUPS], packed: &mut [u8; 12]) {
    for j in 0..8 {
        packed[j] = scales[j] & 15 | scales[j + 8] << 4;
    }
    for j in 0..4 {
        let two = |k: usize| scales[j + 4 * k] >> 4 << (2 * k);
        packed[8 + j] = two(0) | two(1) | two(2) | two(3);
    }
}

#[inline(always)]
fn get_scales(packed: &[u8; 12]) -> [u8; GROUPS] {
    std::array::from_fn(|g| {
        let low = packed[g % 8] >> (4 * (g / 8)) & 15;
        low | (packed[8 + g % 4] >> (2 * (g / 4)) & 3) << 4
    })
}

/// See [`rows::WHOLE_MAX`]. Four levels by 32 steps of a group lose half a step of f16 each.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * rows::WHOLE_MAX + 128.0 * rows::F16_FLOOR
}
