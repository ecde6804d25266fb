//! Q4_K: scales and offsets for the groups of a block.

use super::fit::Spans;
use super::{Choose, pack as pack_rows, q4_1, super_block};
use crate::ir::Quantizer;
use crate::ir::simd::dispatch;
use crate::quant::q4_k as packing;
use crate::quant::super_block::{AT_ONCE, LEN};

use packing::BYTES;

pub(super) static QUANTIZER: Quantizer = Quantizer { block: &packing::BLOCK, pack };

dispatch!(
    fn pack(weights: &[f32], columns: usize, importance: Option<&[f32]>, out: &mut [u8])
        = pack_rows::<Best, LEN, BYTES>
);

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
