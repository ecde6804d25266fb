//! IQ1_S: 256 weights in 8 groups of 32; each eight share a code, a group a shift.
//!
//! ```text
//!   0        2               34                                     50
//!   ┌────────┬───────────────┬──────────────────────────────────────┐
//!   │ d: f16 │ code: 32 × u8 │ 8 × u16: 4 × 3 high bits, 3 of s, −  │
//!   └────────┴───────────────┴──────────────────────────────────────┘
//!   w ≈ d · (2 s + 1) · (point[code | high << 8] − 1 ± ⅛)    1.5625 bits per weight
//! ```
//!
//! Bit-exact with `quantize_iq1_s` of ggml, which needs importance.

use super::packing::packing;
use super::rows::Packing;
use super::search::Sums;
use super::ternary::{LANES, MINUS, PLUS, Shift, Split, by_ends, lanes, shifted};
use super::{grids, plan, rows, search, ternary};

const LEN: usize = 256;
const GROUP: usize = 32;
const GROUPS: usize = LEN / GROUP;
/// Where a level may begin or end, and some more, for whole registers.
const PLACES: usize = GROUP + 8;
const BYTES: usize = 2 + 32 + 16;

packing! {
    name: "iq1_s",
    ggml_id: 19,
    needs_importance: true,
    error_bound: grids::error_bound,
}

/// How far the levels −1, 0 and 1 of a group are moved up or down.
pub(super) const SHIFT: f32 = 0.125;

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
        let mean = 2.0 * plan::square_sum(weights) / LEN as f32;
        let importance = importance.as_chunks::<GROUP>().0;
        let mut groups = [Group::ZERO; GROUPS];
        for (i, (x, group)) in weights.as_chunks().0.iter().zip(&mut groups).enumerate() {
            *group = choose(x, &search::counts(x, &importance[i], mean)).unwrap_or(Group::ZERO);
        }
        put(&groups, out);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let [d0, d1, rest @ ..] = bytes;
        let d = rows::get_f16([*d0, *d1]);
        let (codes, rest) = rest.split_at(32);
        let rest = rest.as_chunks::<2>().0;
        for (i, weights) in weights.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let rest = u16::from_le_bytes(rest[i / 4]);
            let scale = d * f32::from(2 * (rest >> 12 & 7) + 1);
            let shift = if rest >> 15 == 1 { -SHIFT } else { SHIFT };
            let high = usize::from(rest >> (i % 4 * 3) & 7);
            let point = grids::IQ1_S.point(usize::from(codes[i]) | high << 8);
            *weights = point.map(|level| scale * (level - 1.0 + shift));
        }
    }
}

/// What was chosen for 32 weights.
#[derive(Clone, Copy)]
struct Group {
    scale: f32,
    codes: [u16; 4],
    down: bool,
}

impl Group {
    const ZERO: Self = Self { scale: 0.0, codes: [0; 4], down: false };
}

/// Splits a group into levels in every way that keeps the order of its weights, moved up and
/// moved down; the way with the least error is brought onto the grid.
#[inline(always)]
fn choose(x: &[f32; GROUP], counts: &[f32; GROUP]) -> Option<Group> {
    if rows::peak(x) < 1e-12 {
        return None;
    }
    let order = ternary::order(x);
    let mut sums = Sums { x: [0.0; PLACES], counts: [f32::INFINITY; PLACES] };
    sums.counts[0] = 0.0;
    for (j, i) in order.iter().enumerate() {
        sums.x[j + 1] = sums.x[j] + counts[*i] * x[*i];
        sums.counts[j + 1] = sums.counts[j] + counts[*i];
    }
    let best = split(&[sums]);
    let chosen = best.onto_grid::<GROUP, 4>(x, counts, &order)?;
    let down = chosen.shifts[0] == MINUS;
    Some(Group { scale: chosen.scale, codes: chosen.codes, down })
}

/// The split with the least error.
#[inline(always)]
fn split(sums: &[Sums<PLACES>; 1]) -> Split {
    const WAYS: [[Shift; 2]; 2] = [[PLUS; 2], [MINUS; 2]];
    const LEVELS: [[[f32; LANES]; 3]; 1] = [shifted(&WAYS, 0)];
    const ROOM: usize = 2 * PLACES + LANES;
    let [Sums { x: sum_x, counts: sum }] = sums;
    let x_to_high: [f32; ROOM] = by_ends(sum_x, WAYS.len());
    let to_high: [f32; ROOM] = by_ends(sum, WAYS.len());
    let mut best = Split::NONE;
    for lot in search::near_best::<1, 2, PLACES, GROUP>(sums, &LEVELS).iter() {
        let (low, first) = (usize::from(lot.low), usize::from(lot.first));
        let (x_high, high) = (lanes(&x_to_high, first), lanes(&to_high, first));
        let (mut xl, mut l2) = ([0.0; LANES], [0.0; LANES]);
        let (x_below, below) = (sum_x[low] - sum_x[0], sum[low] - sum[0]);
        for i in 0..LANES {
            let (p, q, r) = (LEVELS[0][0][i], LEVELS[0][1][i], LEVELS[0][2][i]);
            let (b, c) = (x_high[i] - sum_x[low], sum_x[GROUP] - x_high[i]);
            xl[i] = x_below * p + b * q + c * r;
            let (b, c) = (high[i] - sum[low], sum[GROUP] - high[i]);
            l2[i] = below * p * p + b * q * q + c * r * r;
        }
        best.consider((&xl, &l2), low, first, &WAYS);
    }
    best
}

#[inline(always)]
fn put(groups: &[Group; GROUPS], out: &mut [u8; BYTES]) {
    let steps = plan::steps(groups.map(|group| group.scale), 15.0, 1.125);
    let (place_of_d, rest) = out.split_at_mut(2);
    place_of_d.copy_from_slice(&steps.map_or([0; 2], |(d, _)| d));
    let (codes, rest) = rest.split_at_mut(32);
    let places = codes.as_chunks_mut::<4>().0.iter_mut().zip(rest.as_chunks_mut().0);
    for (i, (group, (codes, rest))) in groups.iter().zip(places).enumerate() {
        *codes = group.codes.map(|code| code as u8);
        let high = group.codes.iter().enumerate();
        let high = high.fold(0, |all, (k, code)| all | code >> 8 << (3 * k));
        let step = steps.map_or(0, |(_, s)| u16::from(s[i]) << 12 | u16::from(group.down) << 15);
        *rest = (high | step).to_le_bytes();
    }
}
