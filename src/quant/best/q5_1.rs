//! Q5_1: a scale and an offset for 32 weights.

use super::Choose;
use super::fit::{self, Spans};
use crate::quant::groups::side_by_side;
use crate::quant::packing::quantizer;
use crate::quant::{q5_1 as packing, rows};

use packing::{BYTES, LEN};

quantizer!(packing::BLOCK, super::pack::<Best, LEN, BYTES>);

pub(super) const SPANS: Spans = Spans {
    top: 31.0,
    least: 28.0,
    most: 32.1,
    tries: &[
        (31.0, 0.0),
        (30.5, 0.25),
        (31.0, 0.25),
        (31.0, -0.25),
        (29.0, 0.0),
        (30.0, 0.0),
        (28.0, 0.0),
        (31.5, 0.25),
        (30.0, -0.25),
        (30.0, 0.25),
        (31.5, 0.0),
        (31.5, 0.5),
        (29.0, -0.25),
        (29.0, 0.25),
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
