//! IQ3_XXS: 256 weights in 8 groups of 32; each four share a code, each eight seven signs.
//!
//! ```text
//!   0        2               66                              98
//!   ┌────────┬───────────────┬───────────────────────────────┐
//!   │ d: f16 │ code: 64 × u8 │ 8 × u32: 4 × 7 signs, 4 of s  │    w ≈ ± d · (s + ½) / 2 · point[code]
//!   └────────┴───────────────┴───────────────────────────────┘    3.0625 bits per weight
//! ```
//!
//! Bit-exact with `quantize_iq3_xxs` of ggml, with importance and without.

use super::packing::packing;
use super::plan::{Again, Group, Plan, Signs};
use super::rows::Packing;
use super::{grids, lattice, plan, rows, search};

const LEN: usize = 256;
const GROUP: usize = 32;
const GROUPS: usize = LEN / GROUP;
const POINTS: usize = GROUP / 4;
const BYTES: usize = 2 + 64 + 8 * 4;

packing! {
    name: "iq3_xxs",
    ggml_id: 18,
    needs_importance: true,
    error_bound: grids::error_bound,
}

/// How groups are searched.
const PLAN: Plan =
    Plan { signs: Signs::Even, zero: 1e-8, reach: 15, step: 0.2, again: Again::OffGrid };

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
        let (codes, rest) = (codes.as_chunks::<2>().0, rest.as_chunks::<4>().0);
        for (i, weights) in weights.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let rest = u32::from_le_bytes(rest[i / 4]);
            let scale = d * (0.5 + (rest >> 28) as f32) * 0.5;
            let signs = grids::even_signs(rest >> (i % 4 * 7));
            let [low, high] = codes[i].map(|code| grids::IQ3_XXS.point(code.into()));
            weights[..4].copy_from_slice(&grids::signed(scale, low, signs));
            weights[4..].copy_from_slice(&grids::signed(scale, high, signs >> 4));
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
        *group = PLAN.choose(&lattice::IQ3_XXS, x, &counts(i, x)).unwrap_or(Group::ZERO);
    }
    let scales = groups.map(|group| group.scale);
    let Some((d, s)) = plan::steps(scales, 31.0, 1.0125) else {
        return;
    };
    let (place, rest) = out.split_at_mut(2);
    place.copy_from_slice(&d);
    let (codes, rest) = rest.split_at_mut(64);
    let places = codes.as_chunks_mut::<POINTS>().0.iter_mut().zip(rest.as_chunks_mut().0);
    for ((group, s), (codes, rest)) in groups.iter().zip(s).zip(places) {
        *codes = group.codes.map(|code| code as u8);
        let signs = group.signs.iter().enumerate();
        let signs = signs.fold(0, |all, (k, signs)| all | u32::from(*signs) << (7 * k));
        *rest = (signs | u32::from(s) << 28).to_le_bytes();
    }
}
