//! What Q4_K and Q5_K share, and Q2_K in part: the groups of a block have scales and offsets that
//! are small multiples of the block's.

use super::fit::{self, Spans};
use crate::quant::groups::{Lanes, again, filled, turned};
use crate::quant::rows;
use crate::quant::super_block::{AT_ONCE, Chosen, GROUP, LEN, head, steps};

const GROUPS: usize = LEN / GROUP;
const LANES: usize = AT_ONCE * GROUPS;

/// The greatest multiple.
const TOP: f32 = 63.0;

/// Chooses the bytes of some blocks of Q4_K or Q5_K.
#[inline(always)]
pub(super) fn choose(
    weights: &[[f32; LEN]],
    counts: &[[f32; LEN]],
    tries: &Spans,
) -> [Chosen; AT_ONCE] {
    let weights = filled::<LEN, AT_ONCE>(weights);
    let x = turned::<GROUP, LANES>(weights.as_flattened());
    let counts = turned(filled::<LEN, AT_ONCE>(counts).as_flattened());
    let found = fit::affine(&x, &counts, tries);
    let (scales, lows) = (parts(&found.scale), parts(&found.low));
    let units = [unit::<GROUPS>(&scales[0], &lows[0], TOP), unit(&scales[1], &lows[1], TOP)];
    let mut by_lane = Units { scale: [0.0; LANES], low: [0.0; LANES] };
    for g in 0..LANES {
        (by_lane.scale[g], by_lane.low[g]) = units[g / GROUPS];
    }
    let (scales, lows) = multiples(&x, &counts, &found, &by_lane, (tries, TOP));
    let (scales, lows) = (parts(&scales), parts(&lows));
    let block = |b: usize| {
        let (d, m) = units[b];
        let head = head(d, m, &scales[b], &lows[b]);
        let mut levels = [0; LEN];
        let groups = weights[b].as_chunks().0.iter().zip(levels.as_chunks_mut::<GROUP>().0);
        for ((x, levels), step) in groups.zip(steps(&head)) {
            *levels = again(x, step, tries.top as i32, || [0; GROUP]);
        }
        Chosen { head, levels }
    };
    [block(0), block(1)]
}

/// What lies in the lanes, block by block.
#[inline(always)]
fn parts<T: Copy>(of: &[T; LANES]) -> [[T; GROUPS]; AT_ONCE] {
    let (blocks, _) = of.as_chunks::<GROUPS>();
    [blocks[0], blocks[1]]
}

/// The scale and the offset of a block, such that the greatest of its groups are `top` times those.
#[inline(always)]
pub(super) fn unit<const G: usize>(scales: &[f32; G], lows: &[f32; G], top: f32) -> (f32, f32) {
    let (mut scale, mut low) = (0.0, 0.0);
    for g in 0..G {
        scale = if scales[g] > scale { scales[g] } else { scale };
        low = if -lows[g] > low { -lows[g] } else { low };
    }
    (fit::rounded(scale / top).0, fit::rounded(low / top).0)
}

/// The scale and the offset of each lane's block.
pub(super) struct Units<const G: usize> {
    pub(super) scale: [f32; G],
    pub(super) low: [f32; G],
}

/// The multiples of each lane, scales and offsets: of those next to what was found, the pair with
/// the least error.
#[inline(always)]
pub(super) fn multiples<const N: usize, const G: usize>(
    x: &Lanes<N, G>,
    counts: &Lanes<N, G>,
    found: &fit::Affine<G>,
    units: &Units<G>,
    (tries, top): (&Spans, f32),
) -> ([u8; G], [u8; G]) {
    const NEAR: [f32; 3] = [0.0, -1.0, 1.0];
    let (mut scales, mut lows, mut least) = ([0.0; G], [0.0; G], [f32::INFINITY; G]);
    for to_scale in NEAR {
        for to_low in NEAR {
            let (mut s, mut o, mut step) = ([0.0; G], [0.0; G], [0.0; G]);
            let (mut low, mut per_unit) = ([0.0; G], [0.0; G]);
            for g in 0..G {
                s[g] = multiple(found.scale[g], units.scale[g], to_scale, top);
                o[g] = multiple(-found.low[g], units.low[g], to_low, top);
                (step[g], low[g]) = (s[g] * units.scale[g], o[g] * units.low[g]);
                per_unit[g] = rows::reciprocal(step[g]);
            }
            let mut error = [0.0; G];
            for i in 0..N {
                for g in 0..G {
                    let level = tries.level((x[i][g] + low[g]) * per_unit[g]);
                    let off = step[g] * level - low[g] - x[i][g];
                    error[g] += counts[i][g] * (off * off);
                }
            }
            for g in 0..G {
                let better = error[g] < least[g];
                least[g] = if better { error[g] } else { least[g] };
                scales[g] = if better { s[g] } else { scales[g] };
                lows[g] = if better { o[g] } else { lows[g] };
            }
        }
    }
    (rows::levels(&scales, rows::byte), rows::levels(&lows, rows::byte))
}

/// The nearest multiple, or one next to it.
#[inline(always)]
fn multiple(x: f32, unit: f32, next: f32, top: f32) -> f32 {
    let nearest = (x * rows::reciprocal(unit) + rows::LAST_PLACE_1) - rows::LAST_PLACE_1 + next;
    let nearest = if nearest > 0.0 { nearest } else { 0.0 };
    if nearest < top { nearest } else { top }
}
