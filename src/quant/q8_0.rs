//! Q8_0: 32 weights share a scale; each keeps a signed byte.
//!
//! ```text
//!   0        2                         34
//!   ┌────────┬──────────────────────────┐
//!   │ d: f16 │ q: 32 × i8               │     w[i] ≈ d · q[i],   d = max|w| / 127
//!   └────────┴──────────────────────────┘     8.5 bits per weight
//! ```
//!
//! Bit-exact with `quantize_row_q8_0_ref` of ggml, which has no use for importance.

use super::packing::packing;
use super::rows;
use super::rows::Packing;

pub(super) const LEN: usize = 32;
pub(super) const BYTES: usize = 2 + LEN;

packing! {
    name: "q8_0",
    ggml_id: 8,
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
        // ggml rounds halves away from zero, before `d` loses bits to f16.
        put(d, rows::levels(weights, |x| rows::low_byte_of_nearest(x * per_unit)), out);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, q @ ..] = bytes;
        let d = rows::get_f16([*d0, *d1]);
        for (x, q) in weights.iter_mut().zip(q) {
            *x = d * f32::from(*q as i8);
        }
    }
}

#[inline(always)]
pub(super) fn put(d: f32, levels: [u8; LEN], out: &mut [u8; BYTES]) {
    let [d0, d1, q @ ..] = out;
    [*d0, *d1] = rows::put_f16(d);
    *q = levels;
}

/// Half a step by rounding, and up to 127 steps, each off by what d lost to f16, 2⁻¹¹ of it: 0.57
/// steps. No search can gain on that by much; 0.75 leave room for one that moves d by 0.15 %.
pub(super) fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * (0.75 / 127.0) + 127.0 * rows::F16_FLOOR
}
