//! Dot products with weights that are plain floats, in the lanes of all dot products.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::rows::{LANES, PIECE, add_products, total};
use crate::ir::simd::dispatch;

dispatch!(
    /// Little-endian binary32 weights times as many activations.
    pub(super) fn dot_f32(bytes: &[u8], activations: &[f32]) -> f32 = f32_rows
);
dispatch!(
    /// Little-endian binary16 weights times as many activations.
    pub(super) fn dot_f16(bytes: &[u8], activations: &[f32]) -> f32 = f16_rows
);
dispatch!(
    /// Little-endian bfloat16 weights times as many activations.
    pub(super) fn dot_bf16(bytes: &[u8], activations: &[f32]) -> f32 = bf16_rows
);

#[inline(always)]
fn f32_rows(bytes: &[u8], activations: &[f32]) -> f32 {
    rows::<4>(bytes, activations, |bytes, weights| {
        for (w, bytes) in weights.iter_mut().zip(bytes) {
            *w = f32::from_le_bytes(*bytes);
        }
    })
}

#[inline(always)]
fn bf16_rows(bytes: &[u8], activations: &[f32]) -> f32 {
    rows::<2>(bytes, activations, |bytes, weights| {
        for (w, bytes) in weights.iter_mut().zip(bytes) {
            *w = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    })
}

#[inline(always)]
fn f16_rows(bytes: &[u8], activations: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (mut halves, mut weights) = ([f16::ZERO; PIECE], [0.0; PIECE]);
    let bytes = bytes.as_chunks().0.chunks(PIECE);
    for (bytes, activations) in bytes.zip(activations.chunks(PIECE)) {
        let (halves, weights) = (&mut halves[..bytes.len()], &mut weights[..bytes.len()]);
        for (half, bytes) in halves.iter_mut().zip(bytes) {
            *half = f16::from_le_bytes(*bytes);
        }
        // Only slices of halves are converted with the processor's instruction.
        halves.convert_to_f32_slice(weights);
        add_products(&mut sums, weights, activations);
    }
    total(sums)
}

#[inline(always)]
fn rows<const SIZE: usize>(
    bytes: &[u8],
    activations: &[f32],
    decode: impl Fn(&[[u8; SIZE]], &mut [f32]),
) -> f32 {
    let mut sums = [0.0; LANES];
    let (pieces, left) = bytes.as_chunks::<SIZE>().0.as_chunks::<LANES>();
    let (activations, activations_left) = activations.as_chunks::<LANES>();
    let mut weights = [0.0; LANES];
    for (piece, activations) in pieces.iter().zip(activations) {
        decode(piece, &mut weights);
        add_products(&mut sums, &weights, activations);
    }
    decode(left, &mut weights[..left.len()]);
    add_products(&mut sums, &weights[..left.len()], activations_left);
    total(sums)
}
