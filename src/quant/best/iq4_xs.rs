//! IQ4_XS: scales for the groups of a block, whose levels are those of IQ4_NL.

use super::Choose;
use super::iq4_nl::Uneven;
use super::q6_k::multiples;
use crate::quant::groups::{each, turned};
use crate::quant::packing::quantizer;
use crate::quant::{iq4_xs as packing, rows};

use packing::{BYTES, GROUP, GROUPS, LEN};

quantizer!(packing::BLOCK, super::pack::<Best, LEN, BYTES>);

struct Best;

impl Choose<LEN, BYTES> for Best {
    const AT_ONCE: usize = 1;

    #[inline(always)]
    fn choose(weights: &[[f32; LEN]], counts: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        for ((weights, counts), out) in weights.iter().zip(counts).zip(out) {
            let x = turned::<GROUP, GROUPS>(weights);
            let (d, scales) = multiples(&x, &turned(counts), &Uneven, -32.0);
            let per_unit = each(|g| rows::reciprocal(d * scales[g]));
            packing::put(weights, d, &each(|g| scales[g] as i32), &per_unit, out);
        }
    }
}
