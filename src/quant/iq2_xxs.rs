//! IQ2_XXS: 256 weights in 8 groups of 32; each eight share a code and seven signs.
//!
//! ```text
//!   0        2                                        66
//!   ┌────────┬────────────────────────────────────────┐
//!   │ d: f16 │ 8 groups: codes 4 × u8 │ u32: 4 × 7    │    w ≈ ± d · (s + ½) / 4 · point[code]
//!   │        │                        │ signs, 4 of s │
//!   └────────┴────────────────────────────────────────┘    2.0625 bits per weight
//! ```
//!
//! Bit-exact with `quantize_iq2_xxs` of ggml, which needs importance.

use super::groups::{positive, turned};
use super::packing::packing;
use super::plan::{Again, Group, Plan, Signs};
use super::rows::Packing;
use super::{grids, lattice, plan, rows, search};

const LEN: usize = 256;
const GROUP: usize = 32;
const GROUPS: usize = LEN / GROUP;
const POINTS: usize = GROUP / 8;
const BYTES: usize = 2 + 8 * 8;

packing! {
    name: "iq2_xxs",
    ggml_id: 16,
    needs_importance: true,
    error_bound: grids::error_bound,
}

/// The greatest level that a fit without a grid may use.
const TOP: f32 = 4.0;

/// How groups are searched.
const PLAN: Plan =
    Plan { signs: Signs::Even, zero: search::ZERO_MAX, reach: 6, step: 0.1, again: Again::All };

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    /// ggml has no way without importance; here all columns are then alike.
    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        Self::search(weights, &[1.0; LEN], 0.0, out);
    }

    #[inline(always)]
    fn search(weights: &[f32; LEN], importance: &[f32; LEN], _: f32, out: &mut [u8; BYTES]) {
        let mean = plan::square_sum(weights) / LEN as f32;
        let importance = importance.as_chunks().0;
        encode_counted(weights, |i, x| search::counts(x, &importance[i], mean), out);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, groups @ ..] = bytes;
        let d = rows::get_f16([*d0, *d1]);
        for (group, weights) in
            groups.as_chunks::<8>().0.iter().zip(weights.as_chunks_mut::<32>().0)
        {
            let [codes @ .., a, b, c, e] = group;
            let rest = u32::from_le_bytes([*a, *b, *c, *e]);
            let scale = d * (0.5 + (rest >> 28) as f32) * 0.25;
            for (i, weights) in weights.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let point = grids::IQ2_XXS.point(codes[i].into());
                *weights = grids::signed(scale, point, grids::even_signs(rest >> (7 * i)));
            }
        }
    }
}

/// The points of all groups. The scales that are tried lie around one that is fitted as if there
/// were no grid.
#[inline(always)]
fn choose(
    weights: &[f32; LEN],
    counts: impl Fn(usize, &[f32; GROUP]) -> [f32; GROUP],
) -> [Group<POINTS>; GROUPS] {
    let mut all = [[0.0; GROUP]; GROUPS];
    let (mut parts, mut magnitudes) = ([None; GROUPS], [[0.0; GROUP]; GROUPS]);
    for (i, x) in weights.as_chunks().0.iter().enumerate() {
        all[i] = counts(i, x);
        parts[i] = PLAN.split(x, &all[i]);
        magnitudes[i] = parts[i].map_or([0.0; GROUP], |parts| parts.x);
    }
    let x = turned::<GROUP, GROUPS>(magnitudes.as_flattened());
    let fitted = positive(&x, &turned(all.as_flattened()), TOP);
    let mut groups = [Group::ZERO; GROUPS];
    for i in 0..GROUPS {
        if let Some(parts) = &parts[i] {
            let around = (fitted[i] * (TOP - 1.0), fitted[i]);
            let lattice = &lattice::IQ2_XXS;
            let group = PLAN.choose_around::<8, POINTS, GROUP, 1>(lattice, parts, &all[i], around);
            groups[i] = group.unwrap_or(Group::ZERO);
        }
    }
    groups
}

#[inline(always)]
fn encode_counted(
    weights: &[f32; LEN],
    counts: impl Fn(usize, &[f32; GROUP]) -> [f32; GROUP],
    out: &mut [u8; BYTES],
) {
    out.fill(0);
    let groups = choose(weights, counts);
    let scales = groups.map(|group| group.scale);
    let Some((d, s)) = plan::steps(scales, 31.0, 1.0) else {
        return;
    };
    let (place, places) = out.split_at_mut(2);
    place.copy_from_slice(&d);
    for ((group, s), place) in groups.iter().zip(s).zip(places.as_chunks_mut::<8>().0) {
        let mut rest = u32::from(s) << 28;
        for (k, (code, signs)) in group.codes.iter().zip(group.signs).enumerate() {
            place[k] = *code as u8;
            rest |= u32::from(signs) << (7 * k);
        }
        place[4..].copy_from_slice(&rest.to_le_bytes());
    }
}
