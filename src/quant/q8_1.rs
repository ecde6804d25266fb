//! Q8_1: 32 weights share a scale; each keeps a signed byte. ggml makes such blocks of activations,
//! to multiply them with; no file of llama.cpp has them.
//!
//! ```text
//!   0        2                 4                          36
//!   ┌────────┬─────────────────┬──────────────────────────┐
//!   │ d: f16 │ s: f16          │ q: 32 × i8               │     w[i] ≈ d · q[i]
//!   │        │ d · sum of all q│                          │     9 bits per weight
//!   └────────┴─────────────────┴──────────────────────────┘
//! ```
//!
//! The sum follows from the levels, and is not looked at. The blocks of `quantize_row_q8_1_ref` of
//! ggml, which has no function for the way back.

use super::rows;
use crate::ir::simd::dispatch;
use crate::ir::{Block, Codec, Quantizer};

const LEN: usize = 32;
const BYTES: usize = 2 + 2 + LEN;

pub(super) static BLOCK: Block = Block {
    name: "q8_1",
    ggml_id: 9,
    len: LEN,
    bytes: BYTES,
    needs_importance: false,
    codec: Some(Codec { decode, dot, error_bound }),
};

pub(super) static QUANTIZER: Quantizer = Quantizer { block: &BLOCK, pack };

dispatch!(
    fn pack(weights: &[f32], columns: usize, importance: Option<&[f32]>, out: &mut [u8])
        = pack_blocks
);
dispatch!(fn decode(bytes: &[u8], weights: &mut [f32]) = decode_blocks);
dispatch!(fn dot(bytes: &[u8], activations: &[f32]) -> f32 = dot_blocks);

/// Importance changes nothing: there is one scale, and each weight is rounded to it.
#[inline(always)]
fn pack_blocks(weights: &[f32], _: usize, _: Option<&[f32]>, out: &mut [u8]) {
    for (weights, out) in weights.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        encode(weights, out);
    }
}

#[inline(always)]
fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
    let d = rows::peak(weights) / 127.0;
    let per_unit = rows::reciprocal(d);
    let levels = weights.map(|x| rows::low_byte_of_nearest(x * per_unit) as i8);
    let sum: i32 = levels.iter().copied().map(i32::from).sum();
    let [d0, d1, s0, s1, q @ ..] = out;
    [*d0, *d1] = rows::put_f16(d);
    [*s0, *s1] = rows::put_f16(sum as f32 * d);
    *q = levels.map(|level| level as u8);
}

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
    let [d0, d1, _, _, q @ ..] = bytes;
    let d = rows::get_f16([*d0, *d1]);
    for (x, q) in weights.iter_mut().zip(q) {
        *x = d * f32::from(*q as i8);
    }
}

/// As that of Q8_0, whose scale and levels these are.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * (0.75 / 127.0) + 127.0 * rows::F16_FLOOR
}
