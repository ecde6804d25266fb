//! Q8_1: 32 weights share a scale; each keeps a signed byte. ggml makes such blocks of activations,
//! to multiply them with; no file of llama.cpp has them.
//!
//! ```text
//!   0        2                 4                          36
//!   ┌────────┬─────────────────┬──────────────────────────┐
//!   │ d: f16 │ s: f16          │ q: 32 × i8               │     w[i] ≈ d · q[i]
//!   │        │ d · sum of all q│                          │     9 bits per weight
//!   └────────┴─────────────────┴──────────────────────────┘
//! ```
//!
//! The sum follows from the levels, and is not looked at. The blocks of `quantize_row_q8_1_ref` of
//! ggml, which has no function for the way back.

use super::packing::packing;
use super::rows::{self, Packing};

const LEN: usize = 32;
const BYTES: usize = 2 + 2 + LEN;

packing! {
    name: "q8_1",
    ggml_id: 9,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const BY_IMPORTANCE: bool = false;

    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        let d = rows::peak(weights) / 127.0;
        let per_unit = rows::reciprocal(d);
        let levels = weights.map(|x| rows::low_byte_of_nearest(x * per_unit) as i8);
        let sum: i32 = levels.iter().copied().map(i32::from).sum();
        let [d0, d1, s0, s1, q @ ..] = out;
        [*d0, *d1] = rows::put_f16(d);
        [*s0, *s1] = rows::put_f16(sum as f32 * d);
        *q = levels.map(|level| level as u8);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, _, _, q @ ..] = bytes;
        let d = rows::get_f16([*d0, *d1]);
        for (x, q) in weights.iter_mut().zip(q) {
            *x = d * f32::from(*q as i8);
        }
    }
}

/// As that of Q8_0, whose scale and levels these are.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * (0.75 / 127.0) + 127.0 * rows::F16_FLOOR
}
