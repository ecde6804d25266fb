//! Qwen 2 and 2.5: <https://arxiv.org/abs/2407.10671>.
//!
//! Queries, keys and values have biases, whatever config.json says. The window is used by the
//! last layers only, if at all; llama.cpp knows nothing of it.

use super::layers;
use super::llama::{HALVES, KEYS, LLAMA, ROWS};
use super::table::{
    Arch, Bias, BlockShape, Default, Fix, Hooks, Key, Need, Role, Row, at, key, row,
};
use crate::ir::{Field, Scalar};

/// `Qwen2ForCausalLM`.
pub(super) static QWEN2: Arch = Arch {
    gguf: "qwen2",
    hf: &["Qwen2ForCausalLM"],
    model_type: "qwen2",
    keys: &[KEYS, QWEN2_KEYS],
    hooks: Hooks { from_json: layers::last_windowed, to_json: layers::write, ..Hooks::NONE },
    rows: &[ROWS, HALVES, BIASES],
    block: BlockShape::USUAL,
    ..LLAMA
};

#[rustfmt::skip]
pub(super) static QWEN2_KEYS: &[Key] = &[
    key(Field::Context,       &["max_position_embeddings"],  "context_length",                      Default::Is(Scalar::Count(32768))),
    key(Field::KvHeads,       &["num_key_value_heads"],      "attention.head_count_kv",             Default::Is(Scalar::Count(32))),
];

#[rustfmt::skip]
pub(super) static BIASES: &[Row] = &[
    row(Role::Query,           &[at("model.layers.{i}.self_attn.q_proj")], &[at("blk.{i}.attn_q")],      Fix::Keep, Need::Always, Bias::Always),
    row(Role::Key,             &[at("model.layers.{i}.self_attn.k_proj")], &[at("blk.{i}.attn_k")],      Fix::Keep, Need::Always, Bias::Always),
    row(Role::Value,           &[at("model.layers.{i}.self_attn.v_proj")], &[at("blk.{i}.attn_v")],      Fix::Keep, Need::Always, Bias::Always),
    row(Role::AttentionOutput, &[at("model.layers.{i}.self_attn.o_proj")], &[at("blk.{i}.attn_output")], Fix::Keep, Need::Always, Bias::Never),
];
