//! Q2_K: 256 weights in 16 groups of 16; each group has a four-bit scale and a four-bit offset, each
//! weight two bits.
//!
//! ```text
//!   0                      16                   80       82       84
//!   ┌──────────────────────┬────────────────────┬────────┬────────┐
//!   │ 16 × (s low, o high) │ q: 2 × 32 × 4 × 2  │ d: f16 │ m: f16 │    w ≈ d · s · level − m · o
//!   │ of a group           │ bits, see pairs.rs │        │        │    s, o those of the group
//!   └──────────────────────┴────────────────────┴────────┴────────┘    2.625 bits per weight
//! ```
//!
//! Bit-exact with `quantize_row_q2_K_ref` of ggml, and by importance with `quantize_row_q2_K_impl`.

use super::groups::{self, Errors, Tries, affine, again, by_peak, turned};
use super::packing::packing;
use super::rows::{self, Packing};
use super::{pairs, search};

pub(super) const LEN: usize = 256;
pub(super) const GROUP: usize = 16;
pub(super) const GROUPS: usize = LEN / GROUP;
pub(super) const BYTES: usize = GROUPS + LEN / 4 + 2 + 2;

/// The scales that are tried where importance is known.
const FINE: Tries = Tries::fine(TOP);

/// The greatest level.
const TOP: f32 = 3.0;

packing! {
    name: "q2_k",
    ggml_id: 10,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const LOOKS_AT_MEAN: bool = false;

    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        const TRIES: Tries =
            Tries { first: -0.5, step: 0.1, count: 16, top: TOP, errors: Errors::Absolute };
        let x = turned::<GROUP, GROUPS>(weights);
        let found = affine(&x, &x.map(|x| x.map(f32::abs)), &TRIES);
        let (d, scales) = by_peak(&found.scale, 15.0);
        let (m, lows) = by_peak(&found.low.map(|low| -low), 15.0);
        put(weights, |g, x| found.levels(g, x, TOP), (d, m), (&scales, &lows), out);
    }

    #[inline(always)]
    fn search(weights: &[f32; LEN], importance: &[f32; LEN], _: f32, out: &mut [u8; BYTES]) {
        let square = groups::squares(weights) / LEN as f32;
        let x = turned::<GROUP, GROUPS>(weights);
        let counts = groups::counts(&x, &turned(importance), &[square; GROUPS]);
        let found = affine(&x, &counts, &FINE);
        let sums = groups::sums(&counts);
        let (mut scales, mut lows) = ([0; GROUPS], [0; GROUPS]);
        let d = search::positive(&found.scale, &sums, 15, &mut scales);
        let m = search::positive(&found.low.map(|low| -low), &sums, 15, &mut lows);
        put(weights, |g, x| found.levels(g, x, TOP), (d, m), (&scales, &lows), out);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let (head, rest) = bytes.split_at(GROUPS);
        let Some((q, units)) = rest.split_first_chunk() else { return };
        let (d, m) = (rows::get_f16([units[0], units[1]]), rows::get_f16([units[2], units[3]]));
        for (run, weights) in weights.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let levels = pairs::get(q, run);
            for (group, head) in head[2 * run..][..2].iter().enumerate() {
                let (step, low) = (d * f32::from(head & 15), m * f32::from(head >> 4));
                for i in GROUP * group..GROUP * (group + 1) {
                    weights[i] = step * f32::from(levels[i]) - low;
                }
            }
        }
    }
}

#[inline(always)]
pub(super) fn put(
    weights: &[f32; LEN],
    lost: impl Fn(usize, &[f32; GROUP]) -> [u8; GROUP],
    (d, m): (f32, f32),
    (scales, lows): (&[u8; GROUPS], &[u8; GROUPS]),
    out: &mut [u8; BYTES],
) {
    let (head, rest) = out.split_at_mut(GROUPS);
    let Some((q, units)) = rest.split_first_chunk_mut() else { return };
    let (d, m) = (rows::put_f16(d), rows::put_f16(m));
    units.copy_from_slice(&[d[0], d[1], m[0], m[1]]);
    let (d, m) = (rows::get_f16(d), rows::get_f16(m));
    let mut levels = [0; LEN];
    for (g, (x, levels)) in
        weights.as_chunks().0.iter().zip(levels.as_chunks_mut::<GROUP>().0).enumerate()
    {
        head[g] = scales[g] | lows[g] << 4;
        let step = (d * f32::from(head[g] & 15), m * f32::from(head[g] >> 4));
        *levels = again(x, step, 3, || lost(g, x));
    }
    pairs::put(&levels, q);
}

/// See [`rows::WHOLE_MAX`]. Three levels by 15 steps, and 15 offsets, lose half a step of f16 each.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * rows::WHOLE_MAX + 60.0 * rows::F16_FLOOR
}
