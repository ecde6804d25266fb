//! E2M1, the four-bit float of MXFP4 and NVFP4: a sign, two bits of exponent, one of mantissa.
//!
//! ggml keeps twice its numbers as integers, and half of each scale. The second zero is never
//! chosen, and decodes to the first.

use super::rows::{byte, levels};

/// Twice the number of each code: `kvalues_mxfp4` of ggml.
const DOUBLED: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

/// The code whose number is nearest to each weight, the first of equals; `unit` is half the scale.
#[inline(always)]
pub(super) fn nearest<const N: usize>(weights: &[f32; N], unit: f32) -> [u8; N] {
    let mut codes = [0.0f32; N];
    let mut least = [0.0; N];
    for i in 0..N {
        least[i] = weights[i].abs();
    }
    for (code, doubled) in DOUBLED.iter().enumerate() {
        let number = doubled * unit;
        for i in 0..N {
            let error = (number - weights[i]).abs();
            let nearer = error < least[i];
            codes[i] = if nearer { code as f32 } else { codes[i] };
            least[i] = if nearer { error } else { least[i] };
        }
    }
    levels(&codes, byte)
}

/// The number of the low four bits of `code`.
#[inline(always)]
pub(super) fn number(code: u8, unit: f32) -> f32 {
    DOUBLED[usize::from(code & 15)] * unit
}
