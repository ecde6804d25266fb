//! Q8_K: 256 weights share a scale; each keeps a signed byte. ggml makes such blocks of activations,
//! to multiply them with, and `ggml_quantize_chunk` makes none: they are read here, not written.
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

use super::rows;
use super::simd::dispatch;
use crate::ir::{Block, Codec};

const LEN: usize = 256;
const BYTES: usize = 4 + LEN + LEN / 16 * 2;

pub(super) static BLOCK: Block = Block {
    name: "q8_k",
    ggml_id: 15,
    len: LEN,
    bytes: BYTES,
    needs_importance: false,
    codec: Some(Codec { decode, dot, error_bound }),
};

dispatch!(fn decode(bytes: &[u8], weights: &mut [f32]) = decode_blocks);
dispatch!(fn dot(bytes: &[u8], activations: &[f32]) -> f32 = dot_blocks);

#[inline(always)]
fn decode_blocks(bytes: &[u8], weights: &mut [f32]) {
    for (bytes, weights) in bytes.as_chunks().0.iter().zip(weights.as_chunks_mut().0) {
        decode_block(bytes, weights);
    }
}

#[inline(always)]
fn dot_blocks(bytes: &[u8], activations: &[f32]) -> f32 {
    let (mut sums, mut weights) = ([0.0; rows::LANES], [0.0; LEN]);
    for (bytes, activations) in bytes.as_chunks().0.iter().zip(activations.as_chunks::<LEN>().0) {
        decode_block(bytes, &mut weights);
        rows::add_products(&mut sums, &weights, activations);
    }
    rows::total(sums)
}

#[inline(always)]
fn decode_block(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
    let [d0, d1, d2, d3, q @ ..] = bytes;
    let d = f32::from_le_bytes([*d0, *d1, *d2, *d3]);
    for (x, q) in weights.iter_mut().zip(q) {
        *x = d * f32::from(*q as i8);
    }
}

/// Half a step by rounding, and a half more for the peak, which may be at −127 or at 128.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * (1.0 / 127.0)
}
