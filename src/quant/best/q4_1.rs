//! Q4_1: a scale and an offset for 32 weights.

use super::Choose;
use super::fit::{self, Spans};
use crate::quant::groups::side_by_side;
use crate::quant::packing::quantizer;
use crate::quant::{q4_1 as packing, rows};

use packing::{BYTES, LEN};

quantizer!(packing::BLOCK, super::pack::<Best, LEN, BYTES>);

pub(super) const SPANS: Spans = Spans {
    top: 15.0,
    least: 12.5,
    most: 16.0,
    tries: &[
        (15.35, 0.25),
        (15.35, 0.0),
        (15.35, 0.5),
        (14.3, 0.25),
        (15.7, 0.0),
        (14.3, 0.0),
        (15.0, 0.0),
        (15.7, 0.5),
        (14.65, 0.0),
        (15.0, -0.25),
        (15.7, 0.25),
        (12.9, 0.0),
    ],
    above_zero: true,
};

struct Best;

impl Choose<LEN, BYTES> for Best {
    const AT_ONCE: usize = 16;

    #[inline(always)]
    fn choose(weights: &[[f32; LEN]], counts: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        let x = side_by_side::<LEN, { Self::AT_ONCE }>(weights);
        let found = fit::affine(&x, &side_by_side(counts), &SPANS);
        for (i, (weights, out)) in weights.iter().zip(out).enumerate() {
            let (scale, per_unit) = fit::rounded(found.scale[i]);
            let (low, _) = fit::rounded(found.low[i]);
            let level = |x| rows::byte(SPANS.level((x - low) * per_unit));
            packing::put((scale, low), rows::levels(weights, level), out);
        }
    }
}
