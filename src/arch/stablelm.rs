//! StableLM, StarCoder 2 and Nemotron: Llamas with norms that subtract the mean.
//! <https://arxiv.org/abs/2402.17834>, <https://arxiv.org/abs/2402.19173>,
//! <https://arxiv.org/abs/2402.16819>.
//!
//! StableLM and Nemotron rotate a part of each head. StarCoder 2 and Nemotron have no gate.
//! Nemotron's scales of norms are stored less 1 by Hugging Face, whole by GGUF.

use super::gptneox::quarter_of_head;
use super::llama::{HALVES, KEYS, LLAMA, ROWS};
use super::phi::{PARTIAL, half_of_head};
use super::table::{
    Arch, Bias, BlockShape, Default, Fix, Key, Need, Norm, QueryNorm, Role, Row, at, each, key, row,
};
use crate::ir::{Activation, Field, Scalar};

/// `StableLmForCausalLM`.
pub(super) static STABLELM: Arch = Arch {
    gguf: "stablelm",
    hf: &["StableLmForCausalLM", "StableLMEpochForCausalLM"],
    model_type: "stablelm",
    keys: &[KEYS, STABLELM_KEYS],
    rows: &[ROWS, HALVES, LAYER_NORMS, STABLELM_ROWS],
    block: BlockShape { norm: Norm::Layer, query_norm: QueryNorm::EachHead, ..BlockShape::USUAL },
    ..LLAMA
};

/// `Starcoder2ForCausalLM`.
pub(super) static STARCODER2: Arch = Arch {
    gguf: "starcoder2",
    hf: &["Starcoder2ForCausalLM"],
    model_type: "starcoder2",
    keys: &[KEYS, STARCODER2_KEYS],
    ignored: &[Field::SlidingWindow],
    tied: true,
    rows: &[ROWS, LAYER_NORMS, STARCODER2_ROWS],
    block: BlockShape { norm: Norm::Layer, ..BlockShape::USUAL },
    ..LLAMA
};

/// `NemotronForCausalLM`.
pub(super) static NEMOTRON: Arch = Arch {
    gguf: "nemotron",
    hf: &["NemotronForCausalLM"],
    model_type: "nemotron",
    keys: &[KEYS, NEMOTRON_KEYS],
    rows: &[ROWS, HALVES, NEMOTRON_ROWS],
    block: BlockShape { norm: Norm::Layer, hf_norm_lacks: 1.0, ..BlockShape::USUAL },
    ..LLAMA
};

#[rustfmt::skip]
static STABLELM_KEYS: &[Key] = &[
    key(Field::Context,       &["max_position_embeddings"], "context_length",               Default::Is(Scalar::Count(4096))),
    key(Field::KvHeads,       &["num_key_value_heads"],     "attention.head_count_kv",      Default::Is(Scalar::Count(32))),
    key(Field::NormEpsilon,   &["layer_norm_eps"],          "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::RopeDims,      PARTIAL,                      "rope.dimension_count",         Default::From(quarter_of_head)),
    key(Field::Parallel,      &["use_parallel_residual"],   "use_parallel_residual",        Default::None),
];

#[rustfmt::skip]
static STARCODER2_KEYS: &[Key] = &[
    key(Field::Context,       &["max_position_embeddings"], "context_length",               Default::Is(Scalar::Count(4096))),
    key(Field::KvHeads,       &["num_key_value_heads"],     "attention.head_count_kv",      Default::Is(Scalar::Count(2))),
    key(Field::NormEpsilon,   &["norm_epsilon"],            "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::Activation,    &["hidden_act"],              "",                             Default::Is(Scalar::Activation(Activation::GeluTanh))),
    key(Field::SlidingWindow, &["sliding_window"],          "attention.sliding_window",     Default::None),
];

#[rustfmt::skip]
static NEMOTRON_KEYS: &[Key] = &[
    key(Field::Context,       &["max_position_embeddings"], "context_length",               Default::Is(Scalar::Count(4096))),
    key(Field::NormEpsilon,   &["norm_eps"],                "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::RopeDims,      PARTIAL,                      "rope.dimension_count",         Default::From(half_of_head)),
    key(Field::Activation,    &["hidden_act"],              "",                             Default::Is(Scalar::Activation(Activation::ReluSquared))),
];

#[rustfmt::skip]
static LAYER_NORMS: &[Row] = &[
    row(Role::AttentionNorm,   &[at("model.layers.{i}.input_layernorm")],          &[at("blk.{i}.attn_norm")], Fix::Keep, Need::Always, Bias::Always),
    row(Role::FeedForwardNorm, &[at("model.layers.{i}.post_attention_layernorm")], &[at("blk.{i}.ffn_norm")],  Fix::Keep, Need::Always, Bias::Always),
    row(Role::OutputNorm,      &[at("model.norm")],                                &[at("output_norm")],       Fix::Keep, Need::Always, Bias::Always),
];

#[rustfmt::skip]
static STABLELM_ROWS: &[Row] = &[
    row(Role::FeedForwardNorm, &[at("model.layers.{i}.post_attention_layernorm")],                             &[at("blk.{i}.ffn_norm")],    Fix::Keep, Need::Serial, Bias::Always),
    row(Role::Query,           &[at("model.layers.{i}.self_attn.q_proj")],                                     &[at("blk.{i}.attn_q")],      Fix::Keep, Need::Always, Bias::If("use_qkv_bias", false)),
    row(Role::Key,             &[at("model.layers.{i}.self_attn.k_proj")],                                     &[at("blk.{i}.attn_k")],      Fix::Keep, Need::Always, Bias::If("use_qkv_bias", false)),
    row(Role::Value,           &[at("model.layers.{i}.self_attn.v_proj")],                                     &[at("blk.{i}.attn_v")],      Fix::Keep, Need::Always, Bias::If("use_qkv_bias", false)),
    row(Role::AttentionOutput, &[at("model.layers.{i}.self_attn.o_proj")],                                     &[at("blk.{i}.attn_output")], Fix::Keep, Need::Always, Bias::Never),
    row(Role::QueryNorm,       &[each("model.layers.{i}.self_attn.q_layernorm.norms.{e}", Field::Heads)],      &[at("blk.{i}.attn_q_norm")], Fix::Keep, Need::If("qk_layernorm", false), Bias::Never),
    row(Role::KeyNorm,         &[each("model.layers.{i}.self_attn.k_layernorm.norms.{e}", Field::KvHeads)],    &[at("blk.{i}.attn_k_norm")], Fix::Keep, Need::If("qk_layernorm", false), Bias::Never),
    row(Role::Gate,            &[at("model.layers.{i}.mlp.gate_proj")],                                        &[at("blk.{i}.ffn_gate")],    Fix::Keep, Need::Always, Bias::Never),
    row(Role::Up,              &[at("model.layers.{i}.mlp.up_proj")],                                          &[at("blk.{i}.ffn_up")],      Fix::Keep, Need::Always, Bias::Never),
    row(Role::Down,            &[at("model.layers.{i}.mlp.down_proj")],                                        &[at("blk.{i}.ffn_down")],    Fix::Keep, Need::Always, Bias::Never),
];

#[rustfmt::skip]
static STARCODER2_ROWS: &[Row] = &[
    row(Role::Query,           &[at("model.layers.{i}.self_attn.q_proj")], &[at("blk.{i}.attn_q")],      Fix::Keep, Need::Always,   Bias::If("use_bias", true)),
    row(Role::Key,             &[at("model.layers.{i}.self_attn.k_proj")], &[at("blk.{i}.attn_k")],      Fix::Keep, Need::Always,   Bias::If("use_bias", true)),
    row(Role::Value,           &[at("model.layers.{i}.self_attn.v_proj")], &[at("blk.{i}.attn_v")],      Fix::Keep, Need::Always,   Bias::If("use_bias", true)),
    row(Role::AttentionOutput, &[at("model.layers.{i}.self_attn.o_proj")], &[at("blk.{i}.attn_output")], Fix::Keep, Need::Always,   Bias::If("use_bias", true)),
    row(Role::Gate,            &[],                                        &[],                          Fix::Keep, Need::Optional, Bias::Never),
    row(Role::Up,              &[at("model.layers.{i}.mlp.c_fc")],         &[at("blk.{i}.ffn_up")],      Fix::Keep, Need::Always,   Bias::If("use_bias", true)),
    row(Role::Down,            &[at("model.layers.{i}.mlp.c_proj")],       &[at("blk.{i}.ffn_down")],    Fix::Keep, Need::Always,   Bias::If("use_bias", true)),
];

#[rustfmt::skip]
static NEMOTRON_ROWS: &[Row] = &[
    row(Role::AttentionNorm,   &[at("model.layers.{i}.input_layernorm")],          &[at("blk.{i}.attn_norm")], Fix::Add(1.0), Need::Always,   Bias::Always),
    row(Role::FeedForwardNorm, &[at("model.layers.{i}.post_attention_layernorm")], &[at("blk.{i}.ffn_norm")],  Fix::Add(1.0), Need::Always,   Bias::Always),
    row(Role::OutputNorm,      &[at("model.norm")],                                &[at("output_norm")],       Fix::Add(1.0), Need::Always,   Bias::Always),
    row(Role::Gate,            &[],                                                &[],                        Fix::Keep,     Need::Optional, Bias::Never),
];
