//! MXFP4: 32 weights share a power of two; each is a float of four bits.
//!
//! ```text
//!   0       1                      17
//!   ┌───────┬──────────────────────┐
//!   │ e: u8 │ q: 16 × (low, high)  │     w[i] ≈ 2^(e − 127) · e2m1[q[i]]
//!   │       │ byte j: j and j + 16 │     e − 127 = ⌊log₂ max|w|⌋ − 2
//!   └───────┴──────────────────────┘     4.25 bits per weight
//! ```
//!
//! Elements as in the OCP Microscaling Formats (MX) Specification 1.0, 5.3.3 and 5.4.1; but e = 255
//! is a power of two like any other, not NaN.
//!
//! Bit-exact with `quantize_row_mxfp4_ref` of ggml, which importance does not change.

use super::packing::packing;
use super::rows::Packing;
use super::{fp4, nibbles, rows};

const LEN: usize = 32;
const BYTES: usize = 1 + LEN / 2;

packing! {
    name: "mxfp4",
    ggml_id: 39,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const BY_IMPORTANCE: bool = false;

    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        let [e, q @ ..] = out;
        *e = exponent(rows::peak(weights));
        nibbles::put(&fp4::nearest(weights, half(*e)), q);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [e, q @ ..] = bytes;
        let (unit, codes) = (half(*e), nibbles::get(q));
        for (x, code) in weights.iter_mut().zip(codes) {
            *x = fp4::number(code, unit);
        }
    }
}

/// The exponent for weights up to `peak`. ggml takes the floor of a `log2f`, which is a whole
/// number already a little below a power of two: for peaks next to 2ⁿ, log₂ is n − (1 − peak/2ⁿ)/ln 2,
/// rounded to a binary32. Exponents below 0 wrap, as they do there; such weights become 0.
#[inline(always)]
fn exponent(peak: f32) -> u8 {
    if peak == 0.0 {
        return 0;
    }
    let bits = f64::from(peak).to_bits();
    let next = (bits >> 52) as i32 - 1022;
    let part = f64::from_bits(bits & ((1 << 52) - 1) | 1022 << 52);
    let log2 = (f64::from(next) - (1.0 - part) * std::f64::consts::LOG2_E) as f32;
    (log2.floor() as i32 - 2 + 127) as u8
}

/// Half of 2^(e − 127), a subnormal number for the first two.
#[inline(always)]
fn half(e: u8) -> f32 {
    let e = u32::from(e);
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 })
}

/// The largest weight lies between 4 and 8 units. From 4 to 6 the step is two units, and what is
/// above 6 is cut off there: a quarter either way.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * (0.25 + 1.0 / 1024.0) + 4.0 * f32::MIN_POSITIVE
}
