//! Q2_K: scales and offsets for the groups of a block.

use super::Choose;
use super::fit::{self, Spans};
use super::super_block::{Units, multiples, unit};
use crate::quant::groups::turned;
use crate::quant::packing::quantizer;
use crate::quant::q2_k as packing;

use packing::{BYTES, GROUP, GROUPS, LEN};

quantizer!(packing::BLOCK, super::pack::<Best, LEN, BYTES>);

const SPANS: Spans = Spans {
    top: 3.0,
    least: 1.0,
    most: 4.0,
    tries: &[
        (3.5, 0.25),
        (3.5, 0.5),
        (3.5, 0.0),
        (3.75, 0.5),
        (3.75, 0.25),
        (3.75, 0.75),
        (3.75, 0.0),
        (2.75, -0.25),
    ],
    above_zero: false,
};

/// The greatest multiple.
const TOP: f32 = 15.0;

struct Best;

impl Choose<LEN, BYTES> for Best {
    const AT_ONCE: usize = 1;

    #[inline(always)]
    fn choose(weights: &[[f32; LEN]], counts: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        for ((weights, counts), out) in weights.iter().zip(counts).zip(out) {
            let x = turned::<GROUP, GROUPS>(weights);
            let counts = turned(counts);
            let found = fit::affine(&x, &counts, &SPANS);
            let (d, m) = unit(&found.scale, &found.low, TOP);
            let units = Units { scale: [d; GROUPS], low: [m; GROUPS] };
            let (scales, lows) = multiples(&x, &counts, &found, &units, (&SPANS, TOP));
            packing::put(weights, |_, _| [0; GROUP], (d, m), (&scales, &lows), out);
        }
    }
}
