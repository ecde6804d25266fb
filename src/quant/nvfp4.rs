//! NVFP4: 16 weights share a scale of eight bits; each is a float of four bits.
//!
//! ```text
//!   0                4                                  36
//!   ┌────────────────┬──────────────────────────────────┐
//!   │ scales: 4 × u8 │ q: 4 × 8 × (low, high)           │     w[i] ≈ e4m3(scale) · e2m1[q[i]]
//!   │ of each group  │ byte j of a group: j and j + 8   │     scale = max|w| / 6
//!   └────────────────┴──────────────────────────────────┘     4.5 bits per weight
//! ```
//!
//! There is no scale of the tensor here: weights beyond 6 · 448 are cut off, those below 2⁻¹⁰ are 0.
//!
//! Bit-exact with `quantize_row_nvfp4_ref` of ggml, which importance does not change.

use super::packing::packing;
use super::rows::Packing;
use super::{fp4, rows};

const LEN: usize = 64;
const GROUP: usize = 16;
const GROUPS: usize = LEN / GROUP;
const BYTES: usize = GROUPS + LEN / 2;

packing! {
    name: "nvfp4",
    ggml_id: 40,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const BY_IMPORTANCE: bool = false;

    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        let (scales, q) = out.split_at_mut(GROUPS);
        let places = scales.iter_mut().zip(q.as_chunks_mut::<8>().0);
        for (weights, (scale, q)) in weights.as_chunks::<GROUP>().0.iter().zip(places) {
            *scale = to_e4m3(rows::peak(weights) / 6.0);
            let codes = fp4::nearest(weights, half_e4m3(*scale));
            for (j, q) in q.iter_mut().enumerate() {
                *q = codes[j] | codes[j + 8] << 4;
            }
        }
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let (scales, q) = bytes.split_at(GROUPS);
        let groups = scales.iter().zip(q.as_chunks::<8>().0);
        for (weights, (scale, q)) in weights.as_chunks_mut::<GROUP>().0.iter_mut().zip(groups) {
            let unit = half_e4m3(*scale);
            for (j, q) in q.iter().enumerate() {
                weights[j] = fp4::number(*q, unit);
                weights[j + 8] = fp4::number(q >> 4, unit);
            }
        }
    }
}

/// A positive number as four bits of exponent and three of mantissa, halves rounded up; whatever
/// reaches the last exponent becomes 448, the largest of all, as in ggml.
#[inline(always)]
fn to_e4m3(x: f32) -> u8 {
    const LARGEST: u32 = 0x7e;
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 120;
    if exponent <= 0 {
        return ((x * 512.0 + 0.5) as u8).min(7);
    }
    // A carry out of the mantissa goes into the exponent.
    let rounded = (exponent as u32) << 3 | bits >> 20 & 7;
    let rounded = rounded + (bits >> 19 & 1);
    if rounded < 15 << 3 { rounded as u8 } else { LARGEST as u8 }
}

/// Half the number of a scale. The code of NaN is 0, and the sign is not looked at, as in ggml.
#[inline(always)]
fn half_e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(code >> 3 & 15), u32::from(code & 7));
    match exponent {
        _ if code == 0x7f => 0.0,
        0 => mantissa as f32 / 1024.0,
        _ => f32::from_bits((exponent + 119) << 23 | mantissa << 20),
    }
}

/// From 4 to 6 scales the step is two of them, so a sixth of the largest weight is lost, and a
/// sixteenth of that where the scale was rounded; scales below 2⁻⁶ are rounded to 2⁻⁹.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * 0.2 + 6.0 / 1024.0
}
