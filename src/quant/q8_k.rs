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

use super::rows;
use crate::ir::simd::dispatch;
use crate::ir::{Block, Codec, Quantizer};

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
    for (place, levels) in sums.as_chunks_mut::<2>().0.iter_mut().zip(levels.as_chunks::<16>().0) {
        let sum: i16 = levels.iter().copied().map(i16::from).sum();
        *place = sum.to_le_bytes();
    }
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
