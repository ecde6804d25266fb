//! Q2_0: 64 weights share a scale; each keeps two bits.
//!
//! ```text
//!   0        2                       18
//!   ┌────────┬───────────────────────┐
//!   │ d: f16 │ q: 16 × four levels   │     w[i] ≈ d · (level[i] − 1)
//!   └────────┴───────────────────────┘     d = max|w|,  2.25 bits per weight
//! ```
//!
//! Byte `m` holds weights `4 m` to `4 m + 3`, the first in the lowest bits. The fourth level, 2 d,
//! is read, but never chosen.
//!
//! Bit-exact with `quantize_row_q2_0_ref` of ggml, which importance does not change.

use super::packing::packing;
use super::rows::Packing;
use super::{rows, trits};

const LEN: usize = 64;
const BYTES: usize = 2 + LEN / 4;

packing! {
    name: "q2_0",
    ggml_id: 42,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const BY_IMPORTANCE: bool = false;

    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        let d = rows::peak(weights);
        let per_unit = rows::reciprocal(d);
        let [d0, d1, q @ ..] = out;
        [*d0, *d1] = rows::put_f16(d);
        for (out, weights) in q.iter_mut().zip(weights.as_chunks::<4>().0) {
            let level = |n: usize| trits::level(weights[n], per_unit, 0);
            *out = (0..4).fold(0, |q, n| q | level(n) << (2 * n));
        }
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, q @ ..] = bytes;
        let d = rows::get_f16([*d0, *d1]);
        for (weights, q) in weights.as_chunks_mut::<4>().0.iter_mut().zip(q) {
            for (n, x) in weights.iter_mut().enumerate() {
                *x = (f32::from(q >> (2 * n) & 3) - 1.0) * d;
            }
        }
    }
}

/// See [`trits::error_bound`].
fn error_bound(weights: &[f32]) -> f32 {
    trits::error_bound(weights)
}
