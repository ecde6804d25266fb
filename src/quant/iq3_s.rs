//! IQ3_S: 256 weights in 8 groups of 32; each four share a code.
//!
//! ```text
//!   0        2               66             74           106         110
//!   ┌────────┬───────────────┬──────────────┬────────────┬───────────┐
//!   │ d: f16 │ code: 64 × u8 │ high: 64 × u1│ ±: 32 × u8 │ s: 8 × u4 │
//!   └────────┴───────────────┴──────────────┴────────────┴───────────┘
//!   w ≈ ± d · (2 s + 1) · point[code | high << 8]          3.4375 bits per weight
//! ```
//!
//! Bit-exact with `quantize_iq3_s` of ggml, with importance and without.

use super::packing::packing;
use super::plan::{Again, Group, Plan, Signs};
use super::rows::Packing;
use super::{grids, lattice, plan, rows, search};

const LEN: usize = 256;
const GROUP: usize = 32;
const GROUPS: usize = LEN / GROUP;
const POINTS: usize = GROUP / 4;
const BYTES: usize = 2 + 64 + 8 + 32 + 4;

packing! {
    name: "iq3_s",
    ggml_id: 21,
    needs_importance: false,
    error_bound: grids::error_bound,
}

/// How groups are searched.
const PLAN: Plan = Plan {
    signs: Signs::Free,
    zero: f32::from_bits(1),
    reach: 9,
    step: 0.2,
    again: Again::AllIfAnyOffGrid,
};

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        encode_counted(weights, |_, x| x.map(|x| x * x), out);
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
        let (codes, rest) = rest.split_at(64);
        let (high, rest) = rest.split_at(8);
        let (signs, scales) = rest.split_at(32);
        for (i, weights) in weights.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let s = scales[i / 8] >> (i / 4 % 2 * 4) & 15;
            let scale = d * f32::from(1 + 2 * s);
            for (four, weights) in weights.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let high = usize::from(high[i / 4] >> (i % 4 * 2 + four) & 1);
                let point = grids::IQ3_S.point(usize::from(codes[2 * i + four]) | high << 8);
                *weights = grids::signed(scale, point, signs[i] >> (4 * four));
            }
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
    let (place_of_d, rest) = out.split_at_mut(2);
    let (codes, rest) = rest.split_at_mut(64);
    let (high, rest) = rest.split_at_mut(8);
    let (signs, places_of_s) = rest.split_at_mut(32);
    let mut written = 0;
    for (i, (x, group)) in weights.as_chunks().0.iter().zip(&mut groups).enumerate() {
        // ggml does not leave the place of a group of zeros free: those after it move up, and are
        // decoded where they do not belong. Its bytes are kept, not only where they are good.
        let Some(chosen) = PLAN.choose::<4, POINTS, GROUP>(&lattice::IQ3_S, x, &counts(i, x))
        else {
            continue;
        };
        for (k, code) in chosen.codes.iter().enumerate() {
            codes[POINTS * written + k] = *code as u8;
            high[i] |= ((code >> 8) as u8) << k;
        }
        signs[4 * written..][..4].copy_from_slice(&chosen.signs);
        *group = chosen;
        written += 1;
    }
    let scales = groups.map(|group| group.scale);
    let Some((d, s)) = plan::steps(scales, 31.0, 1.033) else {
        return;
    };
    place_of_d.copy_from_slice(&d);
    for (i, s) in s.iter().enumerate() {
        places_of_s[i / 2] |= s << (4 * (i % 2));
    }
}
