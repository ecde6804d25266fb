//! Q8_K: 256 weights share a scale; each keeps a signed byte. ggml makes such blocks of activations,
//! to multiply them with; no file of llama.cpp has them.
//!
//! ```text
//!   0        4                260                    292
//!   ┌────────┬────────────────┬──────────────────────┐
//!   │ d: f32 │ q: 256 × i8    │ sums: 16 × i16       │     w[i] ≈ d · q[i]
//!   │        │                │ of 16 levels each    │     9.125 bits per weight
//!   └────────┴────────────────┴──────────────────────┘
//! ```
//!
//! The sums follow from the levels, and are not looked at. Bit-exact with `dequantize_row_q8_K`.

use super::packing::packing;
use super::rows::{self, Packing};

const LEN: usize = 256;
const BYTES: usize = 4 + LEN + LEN / 16 * 2;

packing! {
    name: "q8_k",
    ggml_id: 15,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const BY_IMPORTANCE: bool = false;

    /// The bits of `quantize_row_q8_K_ref`.
    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        let peak = rows::signed_peak(weights);
        if peak == 0.0 {
            out.fill(0);
            return;
        }
        let per_unit = -127.0 / peak;
        let levels = weights.map(|x| rows::nearest(per_unit * x).min(127) as i8);
        let (d, rest) = out.split_at_mut(4);
        let (q, sums) = rest.split_at_mut(LEN);
        d.copy_from_slice(&(1.0 / per_unit).to_le_bytes());
        for (place, level) in q.iter_mut().zip(levels) {
            *place = level as u8;
        }
        for (place, levels) in
            sums.as_chunks_mut::<2>().0.iter_mut().zip(levels.as_chunks::<16>().0)
        {
            let sum: i16 = levels.iter().copied().map(i16::from).sum();
            *place = sum.to_le_bytes();
        }
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, d2, d3, q @ ..] = bytes;
        let d = f32::from_le_bytes([*d0, *d1, *d2, *d3]);
        for (x, q) in weights.iter_mut().zip(q) {
            *x = d * f32::from(*q as i8);
        }
    }
}

/// Half a step by rounding, and a half more for the peak, which may be at −127 or at 128.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * (1.0 / 127.0)
}
