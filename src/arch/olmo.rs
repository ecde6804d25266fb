//! OLMo, OLMo 2 and OLMoE: <https://arxiv.org/abs/2402.00838>, <https://arxiv.org/abs/2501.00656>,
//! <https://arxiv.org/abs/2409.02060>.
//!
//! OLMo's norms have no scales. OLMo 2 normalises what attention and feed-forward give, not what
//! they get. OLMo 2 and OLMoE normalise queries and keys over all heads together.

use super::llama::{HALVES, KEYS, LLAMA, ROWS};
use super::qwen_moe::{EXPERT_KEYS, EXPERTS};
use super::qwen3::QUERY_NORMS;
use super::table::{
    Arch, Bias, BlockShape, Default, Fix, Key, Need, Norm, QueryNorm, Role, Row, at, key, row,
};
use crate::ir::{Field, Scalar};

/// `OlmoForCausalLM`.
pub(super) static OLMO: Arch = Arch {
    gguf: "olmo",
    hf: &["OlmoForCausalLM"],
    model_type: "olmo",
    keys: &[KEYS, OLMO_KEYS],
    rows: &[ROWS, NO_NORMS],
    block: BlockShape { norm: Norm::Plain, ..LLAMA.block },
    ..LLAMA
};

/// `Olmo2ForCausalLM`.
pub(super) static OLMO2: Arch = Arch {
    gguf: "olmo2",
    hf: &["Olmo2ForCausalLM"],
    model_type: "olmo2",
    keys: &[KEYS, OLMO2_KEYS],
    rows: &[ROWS, HALVES, QUERY_NORMS, POST_NORMS],
    block: BlockShape { query_norm: QueryNorm::Whole, ..BlockShape::USUAL },
    ..LLAMA
};

/// `OlmoeForCausalLM`.
pub(super) static OLMOE: Arch = Arch {
    gguf: "olmoe",
    hf: &["OlmoeForCausalLM"],
    model_type: "olmoe",
    keys: &[KEYS, EXPERT_KEYS, OLMOE_KEYS],
    rows: &[ROWS, HALVES, QUERY_NORMS, NO_DENSE, EXPERTS],
    block: BlockShape { query_norm: QueryNorm::Whole, ..BlockShape::USUAL },
    ..LLAMA
};

#[rustfmt::skip]
static OLMO_KEYS: &[Key] = &[
    key(Field::NormEpsilon, &[],            "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::QkvClip,     &["clip_qkv"],  "attention.clamp_kqv",          Default::None),
];

#[rustfmt::skip]
static OLMO2_KEYS: &[Key] = &[
    key(Field::NormEpsilon, &["rms_norm_eps"], "attention.layer_norm_rms_epsilon", Default::Is(Scalar::Real(1e-5))),
];

#[rustfmt::skip]
static OLMOE_KEYS: &[Key] = &[
    key(Field::Context,           &["max_position_embeddings"],          "context_length",                    Default::Is(Scalar::Count(4096))),
    key(Field::NormEpsilon,       &["rms_norm_eps"],                     "attention.layer_norm_rms_epsilon",  Default::Is(Scalar::Real(1e-5))),
    key(Field::QkvClip,           &["clip_qkv"],                         "attention.clamp_kqv",               Default::None),
    key(Field::Experts,           &["num_experts", "num_local_experts"], "expert_count",                      Default::Is(Scalar::Count(64))),
    key(Field::ExpertFeedForward, &[],                                   "",                                  Default::Same(Field::FeedForward)),
];

#[rustfmt::skip]
static NO_NORMS: &[Row] = &[
    row(Role::AttentionNorm,   &[], &[], Fix::Keep, Need::Optional, Bias::Never),
    row(Role::FeedForwardNorm, &[], &[], Fix::Keep, Need::Optional, Bias::Never),
    row(Role::OutputNorm,      &[], &[], Fix::Keep, Need::Optional, Bias::Never),
];

#[rustfmt::skip]
static POST_NORMS: &[Row] = &[
    row(Role::AttentionNorm,       &[],                                                  &[],                                  Fix::Keep, Need::Optional, Bias::Never),
    row(Role::AttentionPostNorm,   &[at("model.layers.{i}.post_attention_layernorm")],   &[at("blk.{i}.post_attention_norm")], Fix::Keep, Need::Always,   Bias::Never),
    row(Role::FeedForwardNorm,     &[],                                                  &[],                                  Fix::Keep, Need::Optional, Bias::Never),
    row(Role::FeedForwardPostNorm, &[at("model.layers.{i}.post_feedforward_layernorm")], &[at("blk.{i}.post_ffw_norm")],       Fix::Keep, Need::Always,   Bias::Never),
];

#[rustfmt::skip]
static NO_DENSE: &[Row] = &[
    row(Role::Gate, &[], &[], Fix::Keep, Need::Optional, Bias::Never),
    row(Role::Up,   &[], &[], Fix::Keep, Need::Optional, Bias::Never),
    row(Role::Down, &[], &[], Fix::Keep, Need::Optional, Bias::Never),
];
