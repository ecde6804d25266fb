//! Packings, quantizers and policies: how weights share bytes, how their values are chosen, and
//! which tensor gets which.
//!
//! Every packing of ggml is in [`BLOCKS`], so that tensors of any type can be listed and carried
//! along. Those with a codec are decoded, and multiplied; those in [`QUANTIZERS`] are written.

mod apply;
mod fp4;
mod groups;
mod importance;
mod mxfp4;
mod nibbles;
mod nvfp4;
mod pairs;
mod plain;
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
pub(crate) mod simd;
mod super_block;
#[cfg(test)]
mod tests;
mod tq1_0;
mod tq2_0;
mod trits;

pub use apply::{Mixture, Types, apply, dtype_by_name};
pub use importance::{ImportanceMatrix, require_importance};

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
    &IQ2_XXS,
    &IQ2_XS,
    &IQ3_XXS,
    &IQ1_S,
    &IQ4_NL,
    &IQ3_S,
    &IQ2_S,
    &IQ4_XS,
    &IQ1_M,
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
];

// Packings that are only carried along. The sizes are those of `ggml_blck_size` and
// `ggml_type_size`; a test holds all of `BLOCKS` against them.
static IQ2_XXS: Block = hungry("iq2_xxs", 16, 256, 66);
static IQ2_XS: Block = hungry("iq2_xs", 17, 256, 74);
static IQ3_XXS: Block = hungry("iq3_xxs", 18, 256, 98);
static IQ1_S: Block = hungry("iq1_s", 19, 256, 50);
static IQ4_NL: Block = carried("iq4_nl", 20, 32, 18);
static IQ3_S: Block = carried("iq3_s", 21, 256, 110);
static IQ2_S: Block = hungry("iq2_s", 22, 256, 82);
static IQ4_XS: Block = carried("iq4_xs", 23, 256, 136);
static IQ1_M: Block = hungry("iq1_m", 29, 256, 56);

const fn carried(name: &'static str, ggml_id: u32, len: usize, bytes: usize) -> Block {
    Block { name, ggml_id, len, bytes, needs_importance: false, codec: None }
}

/// As [`carried`], for those that llama-quantize refuses to write without an importance matrix
/// (`tensor_requires_imatrix` in llama-quant.cpp).
const fn hungry(name: &'static str, ggml_id: u32, len: usize, bytes: usize) -> Block {
    Block { needs_importance: true, ..carried(name, ggml_id, len, bytes) }
}

/// The packing of a number of ggml's `enum ggml_type`.
pub fn block_by_id(ggml_id: u32) -> Option<&'static Block> {
    BLOCKS.iter().copied().find(|block| block.ggml_id == ggml_id)
}

/// The packing of a name such as `q4_0`, in any case.
pub fn block_by_name(name: &str) -> Option<&'static Block> {
    BLOCKS.iter().copied().find(|block| block.name.eq_ignore_ascii_case(name))
}

/// The quantizer that fills a packing, if this version has one.
pub fn quantizer_for(block: &Block) -> Option<&'static Quantizer> {
    QUANTIZERS.iter().copied().find(|quantizer| quantizer.block == block)
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
