//! IQ2_XS: 256 weights in 16 groups of 16; each eight share a code and seven signs.
//!
//! ```text
//!   0        2                             66           74
//!   ┌────────┬─────────────────────────────┬────────────┐
//!   │ d: f16 │ 32 × u16: nine bits of code,│ s: 16 × u4 │    w ≈ ± d · (s + ½) / 4 · point[code]
//!   │        │ seven signs                 │ low first  │
//!   └────────┴─────────────────────────────┴────────────┘    2.3125 bits per weight
//! ```
//!
//! Bit-exact with `quantize_iq2_xs` of ggml, which needs importance.

use super::packing::packing;
use super::plan::{Again, Group, Plan, Signs};
use super::rows::Packing;
use super::{grids, lattice, plan, rows, search};

const LEN: usize = 256;
const GROUP: usize = 16;
const GROUPS: usize = LEN / GROUP;
const POINTS: usize = GROUP / 8;
const BYTES: usize = 2 + 64 + 8;

packing! {
    name: "iq2_xs",
    ggml_id: 17,
    needs_importance: true,
    error_bound: grids::error_bound,
}

/// How groups are searched.
const PLAN: Plan =
    Plan { signs: Signs::Even, zero: search::ZERO_MAX, reach: 9, step: 0.1, again: Again::OffGrid };

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
        let [d0, d1, rest @ ..] = bytes;
        let d = rows::get_f16([*d0, *d1]);
        let (codes, scales) = rest.split_at(64);
        let eights = codes.as_chunks().0.iter().zip(weights.as_chunks_mut::<8>().0);
        for (i, (code, weights)) in eights.enumerate() {
            let code = u16::from_le_bytes(*code);
            let scale = d * (0.5 + f32::from(scales[i / 4] >> (i / 2 % 2 * 4) & 15)) * 0.25;
            let point = grids::IQ2_XS.point(usize::from(code & 511));
            *weights = grids::signed(scale, point, grids::even_signs(u32::from(code >> 9)));
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
        *group = PLAN.choose(&lattice::IQ2_XS, x, &counts(i, x)).unwrap_or(Group::ZERO);
    }
    let scales = groups.map(|group| group.scale);
    let Some((d, s)) = plan::steps(scales, 31.0, 1.0) else {
        return;
    };
    let (place, rest) = out.split_at_mut(2);
    place.copy_from_slice(&d);
    let (codes, scales) = rest.split_at_mut(64);
    for (i, (group, s)) in groups.iter().zip(s).enumerate() {
        let places = codes[4 * i..].as_chunks_mut().0;
        for ((code, signs), place) in group.codes.iter().zip(group.signs).zip(places) {
            *place = (code | u16::from(signs) << 9).to_le_bytes();
        }
        scales[i / 2] |= s << (4 * (i % 2));
    }
}
