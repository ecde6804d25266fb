//! Packings, quantizers and policies: how weights share bytes, how their values are chosen, and
//! which tensor gets which.
//!
//! Every packing of ggml is in [`BLOCKS`], so that tensors of any type can be listed and carried
//! along. Those with a codec are decoded, and multiplied; those in [`QUANTIZERS`] are written.

mod apply;
mod grids;
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
mod nibbles;
mod plain;
pub mod policy;
mod q4_0;
mod q4_1;
mod q5_0;
mod q5_1;
mod q6_k;
mod q8_0;
pub(crate) mod rows;
mod search;
pub(crate) mod simd;
mod ternary;
#[cfg(test)]
mod tests;

pub use apply::{Mixture, Types, apply, dtype_by_name};

use crate::ir::{Block, DType, Quantizer};

/// Every packing of ggml's `enum ggml_type`, by number.
pub static BLOCKS: &[&Block] = &[
    &q4_0::BLOCK,
    &q4_1::BLOCK,
    &q5_0::BLOCK,
    &q5_1::BLOCK,
    &q8_0::BLOCK,
    &Q8_1,
    &Q2_K,
    &Q3_K,
    &Q4_K,
    &Q5_K,
    &q6_k::BLOCK,
    &Q8_K,
    &iq2_xxs::BLOCK,
    &iq2_xs::BLOCK,
    &iq3_xxs::BLOCK,
    &iq1_s::BLOCK,
    &iq4_nl::BLOCK,
    &iq3_s::BLOCK,
    &iq2_s::BLOCK,
    &iq4_xs::BLOCK,
    &iq1_m::BLOCK,
    &TQ1_0,
    &TQ2_0,
    &MXFP4,
    &NVFP4,
    &Q1_0,
    &Q2_0,
];

/// Every quantizer, by the number of its packing.
pub static QUANTIZERS: &[&Quantizer] = &[
    &q4_0::QUANTIZER,
    &q4_1::QUANTIZER,
    &q5_0::QUANTIZER,
    &q5_1::QUANTIZER,
    &q8_0::QUANTIZER,
    &q6_k::QUANTIZER,
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

// Packings that are only carried along. The sizes are those of `ggml_blck_size` and
// `ggml_type_size`; a test holds all of `BLOCKS` against them.
static Q8_1: Block = carried("q8_1", 9, 32, 36);
static Q2_K: Block = carried("q2_k", 10, 256, 84);
static Q3_K: Block = carried("q3_k", 11, 256, 110);
static Q4_K: Block = carried("q4_k", 12, 256, 144);
static Q5_K: Block = carried("q5_k", 13, 256, 176);
static Q8_K: Block = carried("q8_k", 15, 256, 292);
static TQ1_0: Block = carried("tq1_0", 34, 256, 54);
static TQ2_0: Block = carried("tq2_0", 35, 256, 66);
static MXFP4: Block = carried("mxfp4", 39, 32, 17);
static NVFP4: Block = carried("nvfp4", 40, 64, 36);
static Q1_0: Block = carried("q1_0", 41, 128, 18);
static Q2_0: Block = carried("q2_0", 42, 64, 18);

const fn carried(name: &'static str, ggml_id: u32, len: usize, bytes: usize) -> Block {
    Block { name, ggml_id, len, bytes, needs_importance: false, codec: None }
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
