//! Q4_0: a scale for 32 weights.

use super::Choose;
use super::fit::{self, Levels, Places, Scales};
use crate::quant::groups::side_by_side;
use crate::quant::packing::quantizer;
use crate::quant::{q4_0 as packing, rows};

use packing::{BYTES, LEN};

quantizer!(packing::BLOCK, super::pack::<Best, LEN, BYTES>);

const SCALES: Scales =
    Scales { low: -8.0, high: 7.0, places: Places { first: 6.4, step: 0.2, count: 16 } };

struct Best;

impl Choose<LEN, BYTES> for Best {
    const AT_ONCE: usize = 16;

    #[inline(always)]
    fn choose(weights: &[[f32; LEN]], counts: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        let x = side_by_side::<LEN, { Self::AT_ONCE }>(weights);
        let scales = fit::scale(&x, &side_by_side(counts), &SCALES);
        for ((weights, out), scale) in weights.iter().zip(out).zip(scales) {
            let (scale, per_unit) = fit::rounded(scale);
            let level = |x| rows::byte(SCALES.level(x, per_unit) - SCALES.low);
            packing::put(scale, rows::levels(weights, level), out);
        }
    }
}
