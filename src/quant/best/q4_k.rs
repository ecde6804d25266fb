//! Q4_K: scales and offsets for the groups of a block.

use super::fit::Spans;
use super::{Choose, q4_1, super_block};
use crate::quant::packing::quantizer;
use crate::quant::q4_k as packing;
use crate::quant::super_block::{AT_ONCE, LEN};

use packing::BYTES;

quantizer!(packing::BLOCK, super::pack::<Best, LEN, BYTES>);

const SPANS: Spans = Spans { above_zero: false, ..q4_1::SPANS };

struct Best;

impl Choose<LEN, BYTES> for Best {
    const AT_ONCE: usize = AT_ONCE;

    #[inline(always)]
    fn choose(weights: &[[f32; LEN]], counts: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        let chosen = super_block::choose(weights, counts, &SPANS);
        for (chosen, out) in chosen.iter().zip(out) {
            packing::put(chosen, out);
        }
    }
}
