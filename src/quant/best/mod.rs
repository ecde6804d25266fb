//! Quantizers that fill the same packings with less error than the reference's: `--search best`.
//!
//! A scale that spans the weights is moved a little, many times; under each, weights have levels,
//! to which scale and offset are fitted by least squares, each weight counted by the importance of
//! its column. What errs least is kept, rounded as the packing has it, and the levels are chosen
//! again under what the bytes say. Blocks, or groups, lie side by side in the lanes.
//!
//! The bytes are of the same format, so whatever reads the reference's reads these.

mod fit;
mod iq4_nl;
mod iq4_xs;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod super_block;
#[cfg(test)]
mod tests;

use crate::ir::Quantizer;

/// Every quantizer that errs less than the reference's, by the number of its packing.
pub static QUANTIZERS: &[&Quantizer] = &[
    &q4_0::QUANTIZER,
    &q4_1::QUANTIZER,
    &q5_0::QUANTIZER,
    &q5_1::QUANTIZER,
    &q8_0::QUANTIZER,
    &q2_k::QUANTIZER,
    &q3_k::QUANTIZER,
    &q4_k::QUANTIZER,
    &q5_k::QUANTIZER,
    &q6_k::QUANTIZER,
    &iq4_nl::QUANTIZER,
    &iq4_xs::QUANTIZER,
];

/// As many blocks as any packing takes together.
const AT_MOST: usize = 16;

/// How the blocks of a packing are chosen.
trait Choose<const LEN: usize, const BYTES: usize> {
    /// Blocks that are taken together, at most [`AT_MOST`].
    const AT_ONCE: usize;

    /// Fills up to [`AT_ONCE`](Self::AT_ONCE) blocks; each weight counts as much as `counts` say.
    fn choose(weights: &[[f32; LEN]], counts: &[[f32; LEN]], out: &mut [[u8; BYTES]]);
}

/// Encodes whole rows; without importance, all columns count alike.
#[inline(always)]
fn pack<C: Choose<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    weights: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    debug_assert_eq!(weights.len() / LEN * BYTES, out.len());
    if columns < LEN {
        return;
    }
    let alike = [[1.0; LEN]; AT_MOST];
    let rows = weights.chunks_exact(columns).zip(out.chunks_exact_mut(columns / LEN * BYTES));
    for (row, out) in rows {
        let (blocks, places) = (row.as_chunks().0, out.as_chunks_mut().0);
        let chunks = blocks.chunks(C::AT_ONCE).zip(places.chunks_mut(C::AT_ONCE));
        for (i, (weights, out)) in chunks.enumerate() {
            match importance {
                Some(all) => {
                    let counts = &all.as_chunks().0[i * C::AT_ONCE..][..weights.len()];
                    C::choose(weights, counts, out);
                }
                None => C::choose(weights, &alike[..weights.len()], out),
            }
        }
    }
}
