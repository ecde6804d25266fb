//! E2M1, the four-bit float of MXFP4 and NVFP4: a sign, two bits of exponent, one of mantissa.
//!
//! ggml keeps twice its numbers as integers, and half of each scale. The second zero is never
//! chosen, and decodes to the first.

use std::array::from_fn;

use super::rows;

/// Twice the number of each code: `kvalues_mxfp4` of ggml.
const DOUBLED: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

/// The code whose number is nearest to each weight, the first of equals; `unit` is half the scale,
/// and of so few bits that all numbers, and what lies midway between two, are exact.
#[inline(always)]
pub(super) fn nearest<const N: usize>(weights: &[f32; N], unit: f32) -> [u8; N] {
    let mut codes = [0; N];
    // Beyond, all numbers may err by as much, as the errors are rounded.
    if !(rows::peak(weights) <= 65_536.0 * unit) {
        for (code, x) in codes.iter_mut().zip(weights) {
            *code = first_nearest(*x, unit);
        }
        return codes;
    }
    let midway: [f32; 7] = from_fn(|code| (DOUBLED[code] + DOUBLED[code + 1]) / 2.0 * unit);
    for i in 0..N {
        let mut code = 0;
        for midway in midway {
            code += u32::from(weights[i].abs() > midway);
        }
        let minus = if code > 0 { weights[i].to_bits() >> 31 << 3 } else { 0 };
        codes[i] = (code | minus) as u8;
    }
    codes
}

/// As ggml's `best_index_mxfp4`: one code after the other is tried.
#[cold]
fn first_nearest(x: f32, unit: f32) -> u8 {
    let (mut nearest, mut least) = (0, x.abs());
    for code in 1..16 {
        let error = (number(code, unit) - x).abs();
        if error < least {
            (nearest, least) = (code, error);
        }
    }
    nearest
}

/// The number of the low four bits of `code`.
#[inline(always)]
pub(super) fn number(code: u8, unit: f32) -> f32 {
    DOUBLED[usize::from(code & 15)] * unit
}
