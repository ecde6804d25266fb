//! Q5_1: 32 weights share a scale and an offset; each keeps five bits.
//!
//! ```text
//!   0        2        4          8                      24
//!   ┌────────┬────────┬──────────┬──────────────────────┐
//!   │ d: f16 │ m: f16 │ fifth    │ q: 16 × (low, high)  │     w[i] ≈ d · level[i] + m
//!   │        │        │ bits: u32│ byte j: j and j + 16 │     d = (max − min) / 31, m = min
//!   └────────┴────────┴──────────┴──────────────────────┘     6 bits per weight
//! ```
//!
//! Bit-exact with `quantize_row_q5_1_ref` of ggml, and by importance with `quantize_row_q5_1_impl`.

use super::groups::{self, Tries, affine, side_by_side};
use super::packing::packing;
use super::rows::Packing;
use super::{nibbles, rows};

pub(super) const LEN: usize = 32;
pub(super) const BYTES: usize = 4 + 4 + LEN / 2;

/// The scales that are tried where importance is known.
const FINE: Tries = Tries::fine(31.0);

packing! {
    name: "q5_1",
    ggml_id: 7,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const AT_ONCE: usize = 16;

    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        let (low, high) = rows::range(weights);
        let scale = (high - low) / 31.0;
        let per_unit = rows::reciprocal(scale);
        let level = |x: f32| rows::low_byte((x - low) * per_unit + 0.5);
        put((scale, low), rows::levels(weights, level), out);
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
        let found = affine(&x, &counts, &FINE);
        for (i, (weights, out)) in weights.iter().zip(out).enumerate() {
            put((found.scale[i], found.low[i]), found.levels(i, weights, 31.0), out);
        }
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, m0, m1, h0, h1, h2, h3, q @ ..] = bytes;
        let (d, m) = (rows::get_f16([*d0, *d1]), rows::get_f16([*m0, *m1]));
        let levels = nibbles::get_five([*h0, *h1, *h2, *h3], q);
        for (x, level) in weights.iter_mut().zip(&levels) {
            *x = d * f32::from(*level) + m;
        }
    }
}

#[inline(always)]
pub(super) fn put((scale, low): (f32, f32), levels: [u8; LEN], out: &mut [u8; BYTES]) {
    let [d0, d1, m0, m1, h0, h1, h2, h3, q @ ..] = out;
    [*d0, *d1] = rows::put_f16(scale);
    [*m0, *m1] = rows::put_f16(low);
    [*h0, *h1, *h2, *h3] = nibbles::put_fifth(&levels);
    nibbles::put(&levels, q);
}

/// See [`rows::SEARCH_MAX`], of the span with zero: the search has no offset above it. 31 levels and
/// the offset lose half a step of f16 each.
pub(super) fn error_bound(weights: &[f32]) -> f32 {
    let (low, high) = rows::span(weights);
    (high - low) * rows::SEARCH_MAX + 32.0 * rows::F16_FLOOR
}
