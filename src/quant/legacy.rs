//! The blocks that ggml had before 19 May 2023: 32 weights that share a scale, and no quantizer.
//!
//! ```text
//!  q4_0_v1   d: f32 │ q: 16                     w = d · (level − 8)     byte j: weights 2j, 2j + 1
//!  q4_1_v1   d: f32 │ m: f32 │ q: 16            w = d · level + m       the same
//!  q4_2_v1   two of  d: f16 │ q: 8              w = d · (level − 8)     the same, of 16 weights
//!  q5_0_v1   d: f16 │ fifth: u32 │ q: 16        w = d · (level − 16)    the same
//!  q5_1_v1   d: f16 │ m: f16 │ fifth: u32 │ q   w = d · level + m       the same
//!  q4_0_v2   d: f32 │ q: 16                     as q4_0_v1              byte j: weights j, j + 16
//!  q4_1_v2   d: f32 │ m: f32 │ q: 16            as q4_1_v1              the same
//!  q8_0_v2   d: f32 │ q: 32 × i8                w = d · level
//! ```
//!
//! The names end in the version of ggjt that had such blocks last. Source: `ggml.c` of llama.cpp
//! before its pull requests 1405 (order of weights) and 1508 (scales of f16).

use super::packing::block;
use super::rows::{self, Packing};
use super::{nibbles, q5_0, q5_1, q8_0};
use crate::ir::Block;

/// Every packing that ggml once had and has no more.
pub static LEGACY: &[&Block] = &[
    &q4_0_v1::BLOCK,
    &q4_1_v1::BLOCK,
    &q4_2_v1::BLOCK,
    &q5_0_v1::BLOCK,
    &q5_1_v1::BLOCK,
    &q4_0_v2::BLOCK,
    &q4_1_v2::BLOCK,
    &q8_0_v2::BLOCK,
];

const LEN: usize = 32;

/// A packing that is only decoded. Its number is one that no file has and ggml does not give; its bound
/// on errors is that of the nearest packing of today.
macro_rules! packing {
    ($name:ident, $id:literal, $bytes:literal, $bound:expr, $decode:expr) => {
        mod $name {
            use super::*;

            const BYTES: usize = $bytes;

            block! {
                name: stringify!($name),
                ggml_id: $id,
                needs_importance: false,
                error_bound: $bound,
            }

            struct Rows;

            impl Packing<LEN, BYTES> for Rows {
                #[inline(always)]
                fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
                    ($decode)(bytes, weights);
                }
            }
        }
    };
}

packing!(
    q4_0_v1,
    0x1_0001,
    20,
    q5_0::error_bound,
    |bytes: &[u8; BYTES], weights: &mut [f32; LEN]| {
        let [d0, d1, d2, d3, q @ ..] = bytes;
        scaled(f32::from_le_bytes([*d0, *d1, *d2, *d3]), 8.0, &neighbours::<16, LEN>(q), weights);
    }
);
packing!(
    q4_1_v1,
    0x1_0002,
    24,
    q5_1::error_bound,
    |bytes: &[u8; BYTES], weights: &mut [f32; LEN]| {
        let [d0, d1, d2, d3, m0, m1, m2, m3, q @ ..] = bytes;
        let (d, m) = ([*d0, *d1, *d2, *d3], [*m0, *m1, *m2, *m3]);
        offset(f32::from_le_bytes(d), f32::from_le_bytes(m), &neighbours::<16, LEN>(q), weights);
    }
);
packing!(
    q4_2_v1,
    0x1_0003,
    20,
    q5_0::error_bound,
    |bytes: &[u8; BYTES], weights: &mut [f32; LEN]| {
        for (bytes, weights) in bytes.as_chunks::<10>().0.iter().zip(weights.chunks_mut(16)) {
            let [d0, d1, q @ ..] = bytes;
            scaled(rows::get_f16([*d0, *d1]), 8.0, &neighbours::<8, 16>(q), weights);
        }
    }
);
packing!(
    q5_0_v1,
    0x1_0004,
    22,
    q5_0::error_bound,
    |bytes: &[u8; BYTES], weights: &mut [f32; LEN]| {
        let [d0, d1, h0, h1, h2, h3, q @ ..] = bytes;
        let levels = neighbours_of_five([*h0, *h1, *h2, *h3], q);
        scaled(rows::get_f16([*d0, *d1]), 16.0, &levels, weights);
    }
);
packing!(
    q5_1_v1,
    0x1_0005,
    24,
    q5_1::error_bound,
    |bytes: &[u8; BYTES], weights: &mut [f32; LEN]| {
        let [d0, d1, m0, m1, h0, h1, h2, h3, q @ ..] = bytes;
        let levels = neighbours_of_five([*h0, *h1, *h2, *h3], q);
        offset(rows::get_f16([*d0, *d1]), rows::get_f16([*m0, *m1]), &levels, weights);
    }
);
packing!(
    q4_0_v2,
    0x1_0006,
    20,
    q5_0::error_bound,
    |bytes: &[u8; BYTES], weights: &mut [f32; LEN]| {
        let [d0, d1, d2, d3, q @ ..] = bytes;
        scaled(f32::from_le_bytes([*d0, *d1, *d2, *d3]), 8.0, &nibbles::get(q), weights);
    }
);
packing!(
    q4_1_v2,
    0x1_0007,
    24,
    q5_1::error_bound,
    |bytes: &[u8; BYTES], weights: &mut [f32; LEN]| {
        let [d0, d1, d2, d3, m0, m1, m2, m3, q @ ..] = bytes;
        let (d, m) = ([*d0, *d1, *d2, *d3], [*m0, *m1, *m2, *m3]);
        offset(f32::from_le_bytes(d), f32::from_le_bytes(m), &nibbles::get(q), weights);
    }
);
packing!(
    q8_0_v2,
    0x1_0008,
    36,
    q8_0::error_bound,
    |bytes: &[u8; BYTES], weights: &mut [f32; LEN]| {
        let [d0, d1, d2, d3, q @ ..] = bytes;
        let d = f32::from_le_bytes([*d0, *d1, *d2, *d3]);
        for (x, q) in weights.iter_mut().zip(q) {
            *x = d * f32::from(*q as i8);
        }
    }
);

/// Levels of which neighbours share a byte, the first in the lower half.
#[inline(always)]
fn neighbours<const BYTES: usize, const N: usize>(q: &[u8; BYTES]) -> [u8; N] {
    let mut levels = [0; N];
    for (pair, byte) in levels.as_chunks_mut::<2>().0.iter_mut().zip(q) {
        *pair = [byte & 15, byte >> 4];
    }
    levels
}

/// The same, with a fifth bit for each.
#[inline(always)]
fn neighbours_of_five(fifth: [u8; 4], q: &[u8; 16]) -> [u8; LEN] {
    let fifth = u32::from_le_bytes(fifth);
    let mut levels = neighbours(q);
    for (i, level) in levels.iter_mut().enumerate() {
        *level |= ((fifth >> i & 1) << 4) as u8;
    }
    levels
}

#[inline(always)]
fn scaled(d: f32, middle: f32, levels: &[u8], weights: &mut [f32]) {
    for (x, level) in weights.iter_mut().zip(levels) {
        *x = d * (f32::from(*level) - middle);
    }
}

#[inline(always)]
fn offset(d: f32, m: f32, levels: &[u8], weights: &mut [f32]) {
    for (x, level) in weights.iter_mut().zip(levels) {
        *x = d * f32::from(*level) + m;
    }
}
