//! TQ1_0: 256 weights share a scale; each is −1, 0 or 1, and five of them fill a byte.
//!
//! ```text
//!   0                      48          52       54
//!   ┌──────────────────────┬───────────┬────────┐
//!   │ q: 48 × five trits   │ 4 × four  │ d: f16 │     w[i] ≈ d · (trit[i] − 1)
//!   └──────────────────────┴───────────┴────────┘     d = max|w|,  1.6875 bits per weight
//! ```
//!
//! Byte `m` of the first 32 holds weights `m`, `m + 32`, … `m + 128`; byte `m` of the next 16
//! weights `160 + m`, `176 + m`, … `224 + m`; byte `m` of the last four `240 + m`, `244 + m`,
//! `248 + m` and `252 + m`. A byte is the number of base three, the first trit foremost, as a
//! fraction of 3⁵ and rounded up, in 256ths: so a trit is what three times the fraction carries.
//!
//! Bit-exact with `quantize_row_tq1_0_ref` of ggml, which importance does not change.

use super::packing::packing;
use super::rows::Packing;
use super::{rows, trits};

const LEN: usize = 256;
const BYTES: usize = 48 + 4 + 2;

/// Bytes whose trits lie side by side: where they begin, how many there are, the first weight, and
/// the trits in each.
const RUNS: [(usize, usize, usize, usize); 3] = [(0, 32, 0, 5), (32, 16, 160, 5), (48, 4, 240, 4)];

packing! {
    name: "tq1_0",
    ggml_id: 34,
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
        for (start, len, first, trits) in RUNS {
            for (m, out) in out[start..][..len].iter_mut().enumerate() {
                let level = |n: usize| trits::level(weights[first + m + n * len], per_unit, 1);
                let digits = (0..trits).fold(0, |q, n| 3 * q + u16::from(level(n)));
                let digits = if trits == 4 { 3 * digits } else { digits };
                *out = (digits * 256).div_ceil(243) as u8;
            }
        }
        out[BYTES - 2..].copy_from_slice(&rows::put_f16(d));
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let d = rows::get_f16([bytes[BYTES - 2], bytes[BYTES - 1]]);
        for (start, len, first, trits) in RUNS {
            let mut left: [u8; 32] = [0; 32];
            left[..len].copy_from_slice(&bytes[start..][..len]);
            for n in 0..trits {
                let weights = &mut weights[first + n * len..][..len];
                for (x, left) in weights.iter_mut().zip(&mut left) {
                    *x = (f32::from((u16::from(*left) * 3) >> 8) - 1.0) * d;
                    *left = left.wrapping_mul(3);
                }
            }
        }
    }
}

/// See [`trits::error_bound`].
fn error_bound(weights: &[f32]) -> f32 {
    trits::error_bound(weights)
}
