//! Q5_0: 32 weights share a scale; each keeps five bits.
//!
//! ```text
//!   0        2          6                      22
//!   ┌────────┬──────────┬──────────────────────┐
//!   │ d: f16 │ fifth    │ q: 16 × (low, high)  │     w[i] ≈ d · (level[i] − 16)
//!   │        │ bits: u32│ byte j: j and j + 16 │     d = w / −16 for the w of largest magnitude
//!   └────────┴──────────┴──────────────────────┘     5.5 bits per weight
//! ```
//!
//! Bit-exact with `quantize_row_q5_0_ref` of ggml, and by importance with `quantize_row_q5_0_impl`.

use super::groups::{self, side_by_side, symmetric};
use super::packing::packing;
use super::rows::Packing;
use super::{nibbles, rows};

pub(super) const LEN: usize = 32;
pub(super) const BYTES: usize = 2 + 4 + LEN / 2;

packing! {
    name: "q5_0",
    ggml_id: 6,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const AT_ONCE: usize = 16;

    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        let d = rows::signed_peak(weights) / -16.0;
        let per_unit = rows::reciprocal(d);
        // Cut off after a half is added, as ggml does: the level −16 is always there, +16 never.
        let level = |x: f32| (rows::low_byte(x * per_unit + 16.5) as i8).min(31) as u8;
        put(d, rows::levels(weights, level), out);
    }

    #[inline(always)]
    fn search_some(
        weights: &[[f32; LEN]],
        importance: &[[f32; LEN]],
        mean: f32,
        out: &mut [[u8; BYTES]],
    ) {
        let x = side_by_side(weights);
        let counts = groups::counts(&x, &side_by_side(importance), &[mean; Self::AT_ONCE]);
        let found = symmetric(&x, &counts, 16.0);
        for (i, (weights, out)) in weights.iter().zip(out).enumerate() {
            put(found.scale[i], found.levels(i, weights, 16.0), out);
        }
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, h0, h1, h2, h3, q @ ..] = bytes;
        let d = rows::get_f16([*d0, *d1]);
        let levels = nibbles::get_five([*h0, *h1, *h2, *h3], q);
        for (x, level) in weights.iter_mut().zip(&levels) {
            *x = d * (f32::from(*level) - 16.0);
        }
    }
}

#[inline(always)]
pub(super) fn put(d: f32, levels: [u8; LEN], out: &mut [u8; BYTES]) {
    let [d0, d1, h0, h1, h2, h3, q @ ..] = out;
    [*d0, *d1] = rows::put_f16(d);
    [*h0, *h1, *h2, *h3] = nibbles::put_fifth(&levels);
    nibbles::put(&levels, q);
}

/// See [`rows::SEARCH_MAX`]. Below 16 half steps of f16, levels lose their scale.
pub(super) fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * rows::SEARCH_MAX + 16.0 * rows::F16_FLOOR
}
