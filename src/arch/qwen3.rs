//! Qwen 3: <https://arxiv.org/abs/2505.09388>. Queries and keys are normalised head by head.

use super::layers;
use super::llama::{HALVES, KEYS, LLAMA, ROWS};
use super::table::{
    Arch, Bias, BlockShape, Default, Fix, Hooks, Key, Need, Role, Row, at, key, row,
};
use crate::ir::{Field, Scalar};

/// `Qwen3ForCausalLM`.
pub(super) static QWEN3: Arch = Arch {
    gguf: "qwen3",
    hf: &["Qwen3ForCausalLM"],
    model_type: "qwen3",
    keys: &[KEYS, QWEN3_KEYS],
    hooks: Hooks { from_json: layers::last_windowed, to_json: layers::write, ..Hooks::NONE },
    rows: &[ROWS, HALVES, QUERY_NORMS],
    block: BlockShape::USUAL,
    ..LLAMA
};

#[rustfmt::skip]
static QWEN3_KEYS: &[Key] = &[
    key(Field::Context,  &["max_position_embeddings"], "context_length",          Default::Is(Scalar::Count(32768))),
    key(Field::KvHeads,  &["num_key_value_heads"],     "attention.head_count_kv", Default::Is(Scalar::Count(32))),
    key(Field::KeyDim,   &["head_dim"],                "attention.key_length",    Default::Is(Scalar::Count(128))),
    key(Field::ValueDim, &["head_dim"],                "attention.value_length",  Default::Is(Scalar::Count(128))),
];

#[rustfmt::skip]
pub(super) static QUERY_NORMS: &[Row] = &[
    row(Role::QueryNorm, &[at("model.layers.{i}.self_attn.q_norm")], &[at("blk.{i}.attn_q_norm")], Fix::Keep, Need::Always, Bias::Never),
    row(Role::KeyNorm,   &[at("model.layers.{i}.self_attn.k_norm")], &[at("blk.{i}.attn_k_norm")], Fix::Keep, Need::Always, Bias::Never),
];
