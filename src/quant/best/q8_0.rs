//! Q8_0: a scale for 32 weights.

use super::Choose;
use super::fit::{self, Levels, Places, Scales};
use crate::quant::groups::side_by_side;
use crate::quant::packing::quantizer;
use crate::quant::{q8_0 as packing, rows};

use packing::{BYTES, LEN};

quantizer!(packing::BLOCK, super::pack::<Best, LEN, BYTES>);

const SCALES: Scales =
    Scales { low: -127.0, high: 127.0, places: Places { first: 113.75, step: 0.65, count: 22 } };

struct Best;

impl Choose<LEN, BYTES> for Best {
    const AT_ONCE: usize = 16;

    #[inline(always)]
    fn choose(weights: &[[f32; LEN]], counts: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        let x = side_by_side::<LEN, { Self::AT_ONCE }>(weights);
        let scales = fit::scale(&x, &side_by_side(counts), &SCALES);
        for ((weights, out), scale) in weights.iter().zip(out).zip(scales) {
            let (scale, per_unit) = fit::rounded(scale);
            let level = |x| rows::byte(SCALES.level(x, per_unit));
            packing::put(scale, rows::levels(weights, level), out);
        }
    }
}
