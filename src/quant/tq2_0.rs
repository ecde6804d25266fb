//! TQ2_0: 256 weights share a scale; each is −1, 0 or 1, in two bits.
//!
//! ```text
//!   0                        64       66
//!   ┌────────────────────────┬────────┐
//!   │ q: 64 × four levels    │ d: f16 │     w[i] ≈ d · (level[i] − 1)
//!   └────────────────────────┴────────┘     d = max|w|,  2.0625 bits per weight
//! ```
//!
//! Byte `m` of each half of `q` holds weights `m`, `m + 32`, `m + 64` and `m + 96` of that half of
//! the block, the first in the lowest bits.
//!
//! Bit-exact with `quantize_row_tq2_0_ref` of ggml, which importance does not change.

use super::packing::packing;
use super::rows::Packing;
use super::{rows, trits};

const LEN: usize = 256;
const BYTES: usize = 64 + 2;

packing! {
    name: "tq2_0",
    ggml_id: 35,
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
        let halves = weights.as_chunks::<128>().0.iter().zip(out.as_chunks_mut::<32>().0);
        for (weights, out) in halves {
            for (m, out) in out.iter_mut().enumerate() {
                let level = |n: usize| trits::level(weights[m + 32 * n], per_unit, 1);
                *out = (0..4).fold(0, |q, n| q | level(n) << (2 * n));
            }
        }
        out[BYTES - 2..].copy_from_slice(&rows::put_f16(d));
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let d = rows::get_f16([bytes[BYTES - 2], bytes[BYTES - 1]]);
        let halves = weights.as_chunks_mut::<128>().0.iter_mut().zip(bytes.as_chunks::<32>().0);
        for (weights, bytes) in halves {
            for (n, weights) in weights.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                for (x, q) in weights.iter_mut().zip(bytes) {
                    *x = (f32::from(q >> (2 * n) & 3) - 1.0) * d;
                }
            }
        }
    }
}

/// See [`trits::error_bound`].
fn error_bound(weights: &[f32]) -> f32 {
    trits::error_bound(weights)
}
