//! IQ4_NL: a scale for 32 weights, whose levels are uneven.

use super::Choose;
use super::fit::{self, Levels, Places};
use crate::quant::groups::side_by_side;
use crate::quant::iq4_nl as packing;
use crate::quant::packing::quantizer;

use packing::{BYTES, LEN, LEVELS};

quantizer!(packing::BLOCK, super::pack::<Best, LEN, BYTES>);

/// The levels of IQ4_NL and IQ4_XS. Those above zero reach less far than those below, so that the
/// weight of the largest magnitude may be better off on either side.
pub(super) struct Uneven;

impl Levels for Uneven {
    const SIDES: &'static [f32] = &[-1.0, 1.0];

    #[inline(always)]
    fn level(&self, x: f32, per_unit: f32) -> f32 {
        packing::nearest_level(x * per_unit)
    }

    #[inline(always)]
    fn low(&self) -> f32 {
        LEVELS[0]
    }

    #[inline(always)]
    fn places(&self) -> Places {
        Places { first: 93.0, step: 3.5, count: 14 }
    }
}

struct Best;

impl Choose<LEN, BYTES> for Best {
    const AT_ONCE: usize = 16;

    #[inline(always)]
    fn choose(weights: &[[f32; LEN]], counts: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        let x = side_by_side::<LEN, { Self::AT_ONCE }>(weights);
        let scales = fit::scale(&x, &side_by_side(counts), &Uneven);
        for ((weights, out), scale) in weights.iter().zip(out).zip(scales) {
            packing::put(fit::rounded(scale), weights, out);
        }
    }
}
