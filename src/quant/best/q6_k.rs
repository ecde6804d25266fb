//! Q6_K: scales for the groups of a block.

use super::Choose;
use super::fit::{self, Levels, Places, Scales};
use crate::quant::groups::{Lanes, peak_of, turned};
use crate::quant::packing::quantizer;
use crate::quant::{q6_k as packing, rows};

use packing::{BYTES, GROUP, GROUPS, LEN};

quantizer!(packing::BLOCK, super::pack::<Best, LEN, BYTES>);

const SCALES: Scales =
    Scales { low: -32.0, high: 31.0, places: Places { first: 27.0, step: 0.75, count: 10 } };

struct Best;

impl Choose<LEN, BYTES> for Best {
    const AT_ONCE: usize = 1;

    #[inline(always)]
    fn choose(weights: &[[f32; LEN]], counts: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        for ((weights, counts), out) in weights.iter().zip(counts).zip(out) {
            let x = turned::<GROUP, GROUPS>(weights);
            let (d, scales) = multiples(&x, &turned(counts), &SCALES, -128.0);
            let mut levels = [0; LEN];
            let groups = weights.as_chunks::<GROUP>().0.iter().zip(levels.as_chunks_mut().0);
            for ((x, levels), scale) in groups.zip(scales) {
                let per_unit = rows::reciprocal(d * scale);
                *levels = rows::levels(x, |x| rows::byte(SCALES.level(x, per_unit) - SCALES.low));
            }
            let scales = rows::levels(&scales, rows::byte).map(|scale| scale as i8);
            packing::put(&levels, &scales, rows::put_f16(d), out);
        }
    }
}

/// The scale of a block, and its multiples for the groups, from `last` to −`last` − 1: of those next to
/// what was found, the ones with the least error.
#[inline(always)]
pub(super) fn multiples<const N: usize, const G: usize, L: Levels>(
    x: &Lanes<N, G>,
    counts: &Lanes<N, G>,
    levels: &L,
    last: f32,
) -> (f32, [f32; G]) {
    let found = fit::scale(x, counts, levels);
    let (d, per_unit) = fit::rounded(peak_of(&found) / last);
    let (mut multiples, mut least) = ([0.0; G], [f32::INFINITY; G]);
    for next in [0.0, -1.0, 1.0] {
        let (mut multiple, mut per_step, mut error) = ([0.0; G], [0.0; G], [0.0; G]);
        for g in 0..G {
            let nearest = (found[g] * per_unit + rows::LAST_PLACE_1) - rows::LAST_PLACE_1 + next;
            let nearest = if nearest > last { nearest } else { last };
            multiple[g] = if nearest < -last - 1.0 { nearest } else { -last - 1.0 };
            per_step[g] = rows::reciprocal(d * multiple[g]);
        }
        for i in 0..N {
            for g in 0..G {
                let level = levels.level(x[i][g], per_step[g]);
                let off = d * multiple[g] * level - x[i][g];
                error[g] += counts[i][g] * (off * off);
            }
        }
        for g in 0..G {
            let better = error[g] < least[g];
            least[g] = if better { error[g] } else { least[g] };
            multiples[g] = if better { multiple[g] } else { multiples[g] };
        }
    }
    (d, multiples)
}
