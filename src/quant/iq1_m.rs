//! IQ1_M: 256 weights in 16 groups of 16; each eight share a code and a shift.
//!
//! ```text
//!   0               32                         48                           56
//!   ┌───────────────┬──────────────────────────┬────────────────────────────┐
//!   │ code: 32 × u8 │ 32 × u4: 3 high bits, −  │ 4 × u16: 4 × 3 of s, 4 of d│
//!   └───────────────┴──────────────────────────┴────────────────────────────┘
//!   w ≈ d · (2 s + 1) · (point[code | high << 8] − 1 ± ⅛)    1.75 bits per weight
//! ```
//!
//! Bit-exact with `quantize_iq1_m` of ggml, with importance and without.

use super::lattice::IQ1;
use super::packing::packing;
use super::rows::Packing;
use super::search::Sums;
use super::ternary::{LANES, MINUS, PLUS, Shift, Split, by_ends, lanes, shifted};
use super::{grids, iq1_s, plan, rows, search, ternary};

const LEN: usize = 256;
const GROUP: usize = 16;
const GROUPS: usize = LEN / GROUP;
/// Where a level may begin or end, and some more, for whole registers.
const PLACES: usize = GROUP + 8;
const BYTES: usize = 32 + 16 + 8;

packing! {
    name: "iq1_m",
    ggml_id: 29,
    needs_importance: true,
    error_bound: grids::error_bound,
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
        let mean = 2.0 * plan::square_sum(weights) / LEN as f32;
        let importance = importance.as_chunks().0;
        encode_counted(weights, |i, x| search::counts(x, &importance[i], mean), out);
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let (codes, rest) = bytes.split_at(32);
        let (high, scales) = rest.split_at(16);
        let scales: [u16; 4] =
            std::array::from_fn(|i| u16::from_le_bytes([scales[2 * i], scales[2 * i + 1]]));
        let d = (0..4).fold(0, |d, i| d | scales[i] >> 12 << (4 * i));
        let d = rows::get_f16(d.to_le_bytes());
        for (i, weights) in weights.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let scale = d * f32::from(2 * (scales[i / 8] >> (i / 2 % 4 * 3) & 7) + 1);
            let high = high[i / 2] >> (i % 2 * 4);
            let shift = if high >> 3 & 1 == 1 { -iq1_s::SHIFT } else { iq1_s::SHIFT };
            let point = grids::IQ1_S.point(usize::from(codes[i]) | usize::from(high & 7) << 8);
            *weights = point.map(|level| scale * (level - 1.0 + shift));
        }
    }
}

/// What was chosen for 16 weights.
#[derive(Clone, Copy)]
struct Group {
    scale: f32,
    codes: [u16; 2],
    shifts: [Shift; 2],
}

impl Group {
    const ZERO: Self = Self { scale: 0.0, codes: [0; 2], shifts: [PLUS; 2] };
}

#[inline(always)]
fn encode_counted(
    weights: &[f32; LEN],
    counts: impl Fn(usize, &[f32; GROUP]) -> [f32; GROUP],
    out: &mut [u8; BYTES],
) {
    let x = weights.as_chunks::<GROUP>().0;
    let (mut groups, mut of_groups) = ([Group::ZERO; GROUPS], [[0.0; GROUP]; GROUPS]);
    for i in 0..GROUPS {
        of_groups[i] = counts(i, &x[i]);
        groups[i] = choose(&x[i], &of_groups[i]).unwrap_or(Group::ZERO);
    }
    let peak = groups.iter().fold(0.0f32, |peak, g| if peak > g.scale { peak } else { g.scale });
    let (mut d, mut s) = (0.0, [0; GROUPS]);
    if peak != 0.0 {
        d = peak / 15.0;
        s = plan::nearest_steps(groups.map(|group| group.scale), d, 15.0);
        let (mut xl, mut l2) = (0.0, 0.0);
        for i in 0..GROUPS {
            let times = f32::from(2 * s[i] + 1);
            for half in 0..2 {
                let (levels, shift) = (IQ1.point(groups[i].codes[half]), groups[i].shifts[half]);
                for (k, level) in levels.iter().enumerate() {
                    let (j, level) = (8 * half + k, shift[usize::from(*level)] * times);
                    xl += of_groups[i][j] * level * x[i][j];
                    l2 += of_groups[i][j] * level * level;
                }
            }
        }
        d = if l2 > 0.0 { xl / l2 } else { d };
    }
    let d = if peak == 0.0 { None } else { Some(d * 1.1125) };
    put(&groups, d, &s, out);
}

/// As [`iq1_s`] has it, but each half of a group is moved on its own.
#[inline(always)]
fn choose(x: &[f32; GROUP], counts: &[f32; GROUP]) -> Option<Group> {
    if rows::peak(x) < 1e-7 {
        return None;
    }
    let order = ternary::order(x);
    let halves = [0, 1].map(|half| sums_of_half(half, &order, x, counts));
    let best = split(&halves);
    let chosen = best.onto_grid::<GROUP, 2>(x, counts, &order)?;
    Some(Group { scale: chosen.scale, codes: chosen.codes, shifts: chosen.shifts })
}

/// The sums of one half of a group.
#[inline(always)]
fn sums_of_half(
    half: usize,
    order: &[usize; GROUP],
    x: &[f32; GROUP],
    counts: &[f32; GROUP],
) -> Sums<PLACES> {
    let (mut of_x, mut of_counts) = ([0.0; GROUP], [0.0; GROUP]);
    for i in GROUP / 2 * half..GROUP / 2 * (half + 1) {
        (of_x[i], of_counts[i]) = (counts[i] * x[i], counts[i]);
    }
    let mut sums = Sums { x: [0.0; PLACES], counts: [f32::INFINITY; PLACES] };
    sums.counts[0] = 0.0;
    for (j, i) in order.iter().enumerate() {
        sums.x[j + 1] = sums.x[j] + of_x[i % GROUP];
        sums.counts[j + 1] = sums.counts[j] + of_counts[i % GROUP];
    }
    sums
}

/// The split with the least error, of all with all shifts of both halves.
#[inline(always)]
fn split(halves: &[Sums<PLACES>; 2]) -> Split {
    const WAYS: [[Shift; 2]; 4] = [[PLUS, PLUS], [PLUS, MINUS], [MINUS, PLUS], [MINUS, MINUS]];
    const LEVELS: [[[f32; LANES]; 3]; 2] = [shifted(&WAYS, 0), shifted(&WAYS, 1)];
    const ROOM: usize = 4 * PLACES + LANES;
    let (mut x, mut counts) = ([[0.0; ROOM]; 2], [[0.0; ROOM]; 2]);
    for half in 0..2 {
        x[half] = by_ends(&halves[half].x, WAYS.len());
        counts[half] = by_ends(&halves[half].counts, WAYS.len());
    }
    let mut best = Split::NONE;
    for lot in search::near_best::<2, 4, PLACES, GROUP>(halves, &LEVELS).iter() {
        let (low, first) = (usize::from(lot.low), usize::from(lot.first));
        let (mut xl, mut l2) = ([[0.0; LANES]; 2], [[0.0; LANES]; 2]);
        for (half, sums) in halves.iter().enumerate() {
            let (x, counts) = (lanes(&x[half], first), lanes(&counts[half], first));
            for i in 0..LANES {
                // The levels lie 1 apart, so that the first is what the last would give, less
                // what lies before each step.
                let [a, b, c] = [LEVELS[half][0][i], LEVELS[half][1][i], LEVELS[half][2][i]];
                xl[half][i] = sums.x[GROUP] * c - (x[i] + sums.x[low]);
                let last = sums.counts[GROUP] * c * c;
                let below = (a * a - b * b) * sums.counts[low] + last;
                l2[half][i] = (b * b - c * c) * counts[i] + below;
            }
        }
        for i in 0..LANES {
            xl[0][i] += xl[1][i];
            l2[0][i] += l2[1][i];
        }
        best.consider((&xl[0], &l2[0]), low, first, &WAYS);
    }
    best
}

/// No scale is what a block of zeros gets, whose shifts ggml leaves out as well.
#[inline(always)]
fn put(groups: &[Group; GROUPS], d: Option<f32>, s: &[u8; GROUPS], out: &mut [u8; BYTES]) {
    let (codes, rest) = out.split_at_mut(32);
    let (high, scales) = rest.split_at_mut(16);
    let places = codes.as_chunks_mut::<2>().0.iter_mut().zip(high);
    for (group, (codes, high)) in groups.iter().zip(places) {
        *codes = group.codes.map(|code| code as u8);
        let down = group.shifts.map(|shift| u8::from(d.is_some() && shift == MINUS) << 3);
        let [low, top] = group.codes.map(|code| (code >> 8) as u8);
        *high = low | down[0] | (top | down[1]) << 4;
    }
    let d = d.map_or(0, |d| u16::from_le_bytes(rows::put_f16(d)));
    for (i, place) in scales.as_chunks_mut().0.iter_mut().enumerate() {
        let four = s[4 * i..][..4].iter().enumerate();
        let four = four.fold(0, |all, (k, s)| all | u16::from(*s) << (3 * k));
        *place = (four | (d >> (4 * i) & 15) << 12).to_le_bytes();
    }
}
