//! IQ4_XS: 256 weights in 8 groups of 32; each group has a scale of six bits, each weight the
//! levels of IQ4_NL.
//!
//! ```text
//!   0        2           4               8                    136
//!   ┌────────┬───────────┬───────────────┬────────────────────┐
//!   │ d: f16 │ high: u16 │ low: 8 × u4   │ q: 8 × 16 bytes    │   w ≈ d · (s − 32) · LEVELS[q]
//!   │        │ two bits  │ byte j: 2 j   │ as in IQ4_NL       │   s = low | high << 4, of a group
//!   └────────┴───────────┴───────────────┴────────────────────┘   4.25 bits per weight
//! ```
//!
//! Bit-exact with `quantize_iq4_xs` of ggml, with importance and without.

use super::groups::{each, peak_of};
use super::packing::packing;
use super::rows::Packing;
use super::{iq4_nl, nibbles, rows, search};

pub(super) const LEN: usize = 256;
pub(super) const GROUP: usize = 32;
pub(super) const GROUPS: usize = LEN / GROUP;
pub(super) const BYTES: usize = 2 + 2 + GROUPS / 2 + LEN / 2;

packing! {
    name: "iq4_xs",
    ggml_id: 23,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        encode_counted(weights, |_, x| x.map(|x| x * x), out);
    }

    #[inline(always)]
    fn search(weights: &[f32; LEN], importance: &[f32; LEN], _: f32, out: &mut [u8; BYTES]) {
        let spread = iq4_nl::spread(weights);
        let importance = importance.as_chunks::<GROUP>().0;
        encode_counted(weights, |i, x| search::counts(x, &importance[i], spread), out);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, h0, h1, rest @ ..] = bytes;
        let d = rows::get_f16([*d0, *d1]);
        let high = u16::from_le_bytes([*h0, *h1]);
        let (low, q) = rest.split_at(GROUPS / 2);
        let groups = weights.as_chunks_mut().0.iter_mut().zip(q.as_chunks().0);
        for (i, (weights, q)) in groups.enumerate() {
            let s = low[i / 2] >> (4 * (i % 2)) & 15 | ((high >> (2 * i) & 3) as u8) << 4;
            iq4_nl::unpack(d * (f32::from(s) - 32.0), q, weights);
        }
    }
}

#[inline(always)]
fn encode_counted(
    weights: &[f32; LEN],
    counts: impl Fn(usize, &[f32; GROUP]) -> [f32; GROUP],
    out: &mut [u8; BYTES],
) {
    let groups = weights.as_chunks::<GROUP>().0;
    let mut scales = [0.0f32; GROUPS];
    for (i, (x, scale)) in groups.iter().zip(&mut scales).enumerate() {
        *scale = iq4_nl::fit(x, &counts(i, x));
    }
    let d = -peak_of(&scales) / 32.0;
    let inverse = rows::reciprocal(d);
    let steps: [i32; GROUPS] = each(|g| rows::nearest(inverse * scales[g]).clamp(-32, 31));
    // By `d` before it is rounded, as in ggml.
    let per_unit = each(|g| rows::reciprocal(d * steps[g] as f32));
    put(weights, d, &steps, &per_unit, out);
}

/// `steps` are the scales of the groups in units of `d`; the levels are those nearest to weights
/// times `per_unit`.
#[inline(always)]
pub(super) fn put(
    weights: &[f32; LEN],
    d: f32,
    steps: &[i32; GROUPS],
    per_unit: &[f32; GROUPS],
    out: &mut [u8; BYTES],
) {
    let [d0, d1, h0, h1, rest @ ..] = out;
    [*d0, *d1] = rows::put_f16(d);
    let (low, q) = rest.split_at_mut(GROUPS / 2);
    let mut high = 0;
    low.fill(0);
    let groups = weights.as_chunks::<GROUP>().0.iter().zip(q.as_chunks_mut().0);
    for (g, (x, q)) in groups.enumerate() {
        nibbles::put(&iq4_nl::levels(x, per_unit[g]), q);
        let s = (steps[g] + 32) as u8;
        low[g / 2] |= (s & 15) << (4 * (g % 2));
        high |= u16::from(s >> 4) << (2 * g);
    }
    [*h0, *h1] = high.to_le_bytes();
}

/// 127 levels by 32 steps of a group lose half a step of f16 each.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * iq4_nl::SEARCH_MAX + 4096.0 * rows::F16_FLOOR
}
