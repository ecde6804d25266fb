//! Q1_0: 128 weights share a scale; each keeps its sign.
//!
//! ```text
//!   0        2                  18
//!   ┌────────┬──────────────────┐
//!   │ d: f16 │ q: 128 × one bit │     w[i] ≈ d, or −d where the bit is 0
//!   └────────┴──────────────────┘     d = mean of |w|,  1.125 bits per weight
//! ```
//!
//! Bit-exact with `quantize_row_q1_0_ref` of ggml, which importance does not change.

use super::packing::packing;
use super::rows;
use super::rows::Packing;

const LEN: usize = 128;
const BYTES: usize = 2 + LEN / 8;

packing! {
    name: "q1_0",
    ggml_id: 41,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const BY_IMPORTANCE: bool = false;

    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        let [d0, d1, q @ ..] = out;
        [*d0, *d1] = rows::put_f16(mean(weights));
        for (out, weights) in q.iter_mut().zip(weights.as_chunks::<8>().0) {
            *out = (0..8).fold(0, |q, n| q | u8::from(weights[n] >= 0.0) << n);
        }
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, q @ ..] = bytes;
        let d = rows::get_f16([*d0, *d1]);
        for (weights, q) in weights.as_chunks_mut::<8>().0.iter_mut().zip(q) {
            for (n, x) in weights.iter_mut().enumerate() {
                *x = if q >> n & 1 == 1 { d } else { -d };
            }
        }
    }
}

/// The mean magnitude, added up one after the other, as in ggml: the sum must have the same bits.
#[inline(always)]
fn mean(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0, |sum: f32, x| sum + x.abs()) / LEN as f32
}

/// All weights become one magnitude, their mean: the farthest from it is the largest, or zero.
fn error_bound(weights: &[f32]) -> f32 {
    let d = mean(weights);
    (rows::peak(weights) - d).max(d) * (1.0 + 1.0 / 256.0) + rows::F16_FLOOR
}
