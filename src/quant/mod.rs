//! Packings, quantizers and policies: how weights share bytes, how their values are chosen, and
//! which tensor gets which.
//!
//! Every packing of ggml is in [`BLOCKS`], so that tensors of any type can be listed and carried
//! along. Those with a codec are decoded, and multiplied; those in [`QUANTIZERS`] are written.

mod apply;
mod best;
mod descent;
mod fit;
mod fp4;
mod grids;
mod groups;
mod importance;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod lattice;
mod legacy;
mod mxfp4;
mod nearest;
mod nibbles;
mod nvfp4;
mod order;
mod packing;
mod pairs;
mod plain;
mod plan;
pub mod policy;
mod q1_0;
mod q2_0;
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
mod q8_1;
mod q8_k;
pub(crate) mod rows;
mod search;
mod super_block;
mod ternary;
#[cfg(test)]
mod tests;
mod tq1_0;
mod tq2_0;
mod trits;

pub use apply::{Mixture, Types, apply, dtype_by_name, sizes};
pub use best::QUANTIZERS as BEST_QUANTIZERS;
pub use importance::{ImportanceMatrix, require_importance};
pub use legacy::LEGACY;
pub use order::words_of;

use crate::ir::{Block, DType, Quantizer};

/// Every packing of ggml's `enum ggml_type`, by number.
pub static BLOCKS: &[&Block] = &[
    &q4_0::BLOCK,
    &q4_1::BLOCK,
    &q5_0::BLOCK,
    &q5_1::BLOCK,
    &q8_0::BLOCK,
    &q8_1::BLOCK,
    &q2_k::BLOCK,
    &q3_k::BLOCK,
    &q4_k::BLOCK,
    &q5_k::BLOCK,
    &q6_k::BLOCK,
    &q8_k::BLOCK,
    &iq2_xxs::BLOCK,
    &iq2_xs::BLOCK,
    &iq3_xxs::BLOCK,
    &iq1_s::BLOCK,
    &iq4_nl::BLOCK,
    &iq3_s::BLOCK,
    &iq2_s::BLOCK,
    &iq4_xs::BLOCK,
    &iq1_m::BLOCK,
    &tq1_0::BLOCK,
    &tq2_0::BLOCK,
    &mxfp4::BLOCK,
    &nvfp4::BLOCK,
    &q1_0::BLOCK,
    &q2_0::BLOCK,
];

/// Every quantizer, by the number of its packing.
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
    &tq1_0::QUANTIZER,
    &tq2_0::QUANTIZER,
    &mxfp4::QUANTIZER,
    &nvfp4::QUANTIZER,
    &q1_0::QUANTIZER,
    &q2_0::QUANTIZER,
    &iq4_nl::QUANTIZER,
    &iq4_xs::QUANTIZER,
    &iq3_s::QUANTIZER,
    &iq3_xxs::QUANTIZER,
    &iq2_s::QUANTIZER,
    &iq2_xs::QUANTIZER,
    &iq2_xxs::QUANTIZER,
    &iq1_m::QUANTIZER,
    &iq1_s::QUANTIZER,
];

/// What ggml makes of activations, to multiply packed weights with; no file has such tensors.
pub static ACTIVATIONS: &[&Quantizer] = &[&q8_1::QUANTIZER, &q8_k::QUANTIZER];

/// The packing of a number of ggml's `enum ggml_type`.
pub fn block_by_id(ggml_id: u32) -> Option<&'static Block> {
    BLOCKS.iter().copied().find(|block| block.ggml_id == ggml_id)
}

/// The packing of a name such as `q4_0`, in any case.
pub fn block_by_name(name: &str) -> Option<&'static Block> {
    BLOCKS.iter().copied().find(|block| block.name.eq_ignore_ascii_case(name))
}

/// As [`block_by_name`], and also what ggml has no more, such as `q4_0_v1`.
pub fn block_of_any_time(name: &str) -> Option<&'static Block> {
    block_by_name(name).or_else(|| LEGACY.iter().copied().find(|block| block.name == name))
}

/// How the numbers of a packing are chosen, where there is a choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Search {
    /// As ggml does, byte for byte.
    #[default]
    Reference,
    /// With the least squared error, counted by importance, that a search of like length finds.
    Best,
}

/// The quantizer that fills a packing as the reference does, if this version has one.
pub fn quantizer_for(block: &Block) -> Option<&'static Quantizer> {
    QUANTIZERS.iter().copied().find(|quantizer| quantizer.block == block)
}

/// The quantizer that fills a packing with less error than the reference's, if this version has one.
pub fn best_quantizer_for(block: &Block) -> Option<&'static Quantizer> {
    BEST_QUANTIZERS.iter().copied().find(|quantizer| quantizer.block == block)
}

/// Multiplies weights, as they lie in a file, with as many activations.
pub type Dot = fn(bytes: &[u8], activations: &[f32]) -> f32;

/// The dot product for weights of a type, if it has one: the same bits on every machine, namely
/// those of the decoded weights in 32 fused sums, added up as a tree.
pub fn dot(dtype: DType) -> Option<Dot> {
    match dtype {
        DType::F32 => Some(plain::dot_f32),
        DType::F16 => Some(plain::dot_f16),
        DType::BF16 => Some(plain::dot_bf16),
        DType::Packed(block) => block.codec.map(|codec| codec.dot),
        _ => None,
    }
}
