//! Where blocks hold numbers of several bytes: what a machine of the other byte order has the
//! other way round.
//!
//! Source: the structs of ggml's `ggml-common.h`. llama.cpp's `gguf_convert_endian.py` reverses
//! the same of the types that it knows: Q4_0, Q8_0, Q4_K, Q6_K, MXFP4 and NVFP4.

use super::{
    iq1_s, iq2_s, iq2_xs, iq3_s, iq4_nl, iq4_xs, mxfp4, nvfp4, q1_0, q2_0, q2_k, q3_k, q4_0, q4_1,
    q4_k, q5_k, q6_k, q8_0, tq1_0, tq2_0,
};
use crate::ir::Block;
use crate::ir::op::Word;

/// Each packing and its numbers.
///
/// Absent are Q5_0, Q5_1, IQ1_M, IQ2_XXS and IQ3_XXS: ggml declares some of their words as bytes or
/// reads words as bytes, so that its own code disagrees on the other kind of machine; and the
/// forms of activations, which no file has.
#[rustfmt::skip]
static NUMBERS: &[(&Block, &[Word])] = &[
    (&q4_0::BLOCK,   &[(0, 2)]),
    (&q4_1::BLOCK,   &[(0, 2), (2, 2)]),
    (&q8_0::BLOCK,   &[(0, 2)]),
    (&q2_k::BLOCK,   &[(80, 2), (82, 2)]),
    (&q3_k::BLOCK,   &[(108, 2)]),
    (&q4_k::BLOCK,   &[(0, 2), (2, 2)]),
    (&q5_k::BLOCK,   &[(0, 2), (2, 2)]),
    (&q6_k::BLOCK,   &[(208, 2)]),
    (&iq1_s::BLOCK,  &[(0, 2), (34, 2), (36, 2), (38, 2), (40, 2), (42, 2), (44, 2), (46, 2), (48, 2)]),
    (&iq2_xs::BLOCK, &words::<33>()),
    (&iq2_s::BLOCK,  &[(0, 2)]),
    (&iq3_s::BLOCK,  &[(0, 2)]),
    (&iq4_nl::BLOCK, &[(0, 2)]),
    (&iq4_xs::BLOCK, &[(0, 2), (2, 2)]),
    (&tq1_0::BLOCK,  &[(52, 2)]),
    (&tq2_0::BLOCK,  &[(64, 2)]),
    (&q1_0::BLOCK,   &[(0, 2)]),
    (&q2_0::BLOCK,   &[(0, 2)]),
    (&mxfp4::BLOCK,  &[]),
    (&nvfp4::BLOCK,  &[]),
];

/// `N` numbers of two bytes, from the block's first byte on.
const fn words<const N: usize>() -> [Word; N] {
    let mut words = [(0, 2); N];
    let mut i = 0;
    while i < N {
        words[i].0 = 2 * i;
        i += 1;
    }
    words
}

/// The numbers of a block, as offset and length, if the other byte order of the packing is known.
pub fn words_of(block: &Block) -> Option<&'static [Word]> {
    NUMBERS.iter().find(|row| row.0 == block).map(|row| row.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers follow each other and end with the block at the latest.
    #[test]
    fn numbers_lie_within_their_block() {
        for (block, words) in NUMBERS {
            let mut free = 0;
            for &(offset, len) in *words {
                assert!(free <= offset && len == 2, "{}", block.name);
                free = offset + len;
            }
            assert!(free <= block.bytes, "{}", block.name);
        }
    }
}
