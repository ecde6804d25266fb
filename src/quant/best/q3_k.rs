//! Q3_K: scales for the groups of a block.

use super::Choose;
use super::fit::{Places, Scales};
use super::q6_k::multiples;
use crate::quant::groups::turned;
use crate::quant::packing::quantizer;
use crate::quant::{q3_k as packing, rows};

use packing::{BYTES, GROUP, GROUPS, LEN};

quantizer!(packing::BLOCK, super::pack::<Best, LEN, BYTES>);

const SCALES: Scales =
    Scales { low: -4.0, high: 3.0, places: Places { first: 2.4, step: 0.2, count: 16 } };

struct Best;

impl Choose<LEN, BYTES> for Best {
    const AT_ONCE: usize = 1;

    #[inline(always)]
    fn choose(weights: &[[f32; LEN]], counts: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        for ((weights, counts), out) in weights.iter().zip(counts).zip(out) {
            let x = turned::<GROUP, GROUPS>(weights);
            let (d, scales) = multiples(&x, &turned(counts), &SCALES, -32.0);
            let scales = rows::levels(&scales, |scale| rows::byte(scale + 32.0));
            packing::put(weights, |_| [0; GROUP], scales, d, out);
        }
    }
}
