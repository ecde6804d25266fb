//! IQ2_S: 256 weights in 16 groups of 16; each eight share a code.
//!
//! ```text
//!   0        2               34            66             74           82
//!   ┌────────┬───────────────┬─────────────┬──────────────┬────────────┐
//!   │ d: f16 │ code: 32 × u8 │ ±: 32 × u8  │ high: 32 × u2│ s: 16 × u4 │
//!   └────────┴───────────────┴─────────────┴──────────────┴────────────┘
//!   w ≈ ± d · (s + ½) / 4 · point[code | high << 8]        2.5625 bits per weight
//! ```
//!
//! Bit-exact with `quantize_iq2_s` of ggml, with importance and without.

use super::packing::packing;
use super::plan::{Again, Group, Plan, Signs};
use super::rows::Packing;
use super::{grids, lattice, plan, rows, search};

const LEN: usize = 256;
const GROUP: usize = 16;
const GROUPS: usize = LEN / GROUP;
const POINTS: usize = GROUP / 8;
const BYTES: usize = 2 + 32 + 32 + 8 + 8;

packing! {
    name: "iq2_s",
    ggml_id: 22,
    needs_importance: true,
    error_bound: grids::error_bound,
}

/// How groups are searched.
const PLAN: Plan =
    Plan { signs: Signs::Free, zero: 1e-8, reach: 9, step: 0.1, again: Again::OffGrid };

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        let mean = 2.0 * plan::square_sum(weights) / LEN as f32;
        encode_counted(weights, |_, x| x.map(|x| 0.25 * mean + x * x), out);
    }

    #[inline(always)]
    fn search(weights: &[f32; LEN], importance: &[f32; LEN], _: f32, out: &mut [u8; BYTES]) {
        let mean = 2.0 * plan::square_sum(weights) / LEN as f32;
        let importance = importance.as_chunks().0;
        encode_counted(weights, |i, x| search::counts(x, &importance[i], mean), out);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, rest @ ..] = bytes;
        let d = rows::get_f16([*d0, *d1]);
        let (codes, rest) = rest.split_at(32);
        let (signs, rest) = rest.split_at(32);
        let (high, scales) = rest.split_at(8);
        for (i, weights) in weights.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let scale = d * (0.5 + f32::from(scales[i / 4] >> (i / 2 % 2 * 4) & 15)) * 0.25;
            let high = usize::from(high[i / 4] >> (i % 4 * 2) & 3);
            let point = grids::IQ2_S.point(usize::from(codes[i]) | high << 8);
            *weights = grids::signed(scale, point, signs[i]);
        }
    }
}

#[inline(always)]
fn encode_counted(
    weights: &[f32; LEN],
    counts: impl Fn(usize, &[f32; GROUP]) -> [f32; GROUP],
    out: &mut [u8; BYTES],
) {
    out.fill(0);
    let mut groups = [Group::<POINTS>::ZERO; GROUPS];
    for (i, (x, group)) in weights.as_chunks().0.iter().zip(&mut groups).enumerate() {
        *group = PLAN.choose(&lattice::IQ2_S, x, &counts(i, x)).unwrap_or(Group::ZERO);
    }
    let (place_of_d, rest) = out.split_at_mut(2);
    let (codes, rest) = rest.split_at_mut(32);
    let (signs, rest) = rest.split_at_mut(32);
    let (high, places_of_s) = rest.split_at_mut(8);
    for (i, group) in groups.iter().enumerate() {
        for (k, code) in group.codes.iter().enumerate() {
            codes[2 * i + k] = *code as u8;
            signs[2 * i + k] = group.signs[k];
            high[i / 2] |= ((code >> 8) as u8) << (i % 2 * 4 + 2 * k);
        }
    }
    let scales = groups.map(|group| group.scale);
    let Some((d, s)) = plan::steps(scales, 31.0, 0.9875) else {
        return;
    };
    place_of_d.copy_from_slice(&d);
    for (i, s) in s.iter().enumerate() {
        places_of_s[i / 2] |= s << (4 * (i % 2));
    }
}
