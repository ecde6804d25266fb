//! Mixtral: Mistral with a choice of experts: <https://arxiv.org/abs/2401.04088>.
//!
//! llama.cpp knows it as `llama`, and has the experts of a layer as one tensor.

use super::llama::{KEYS, LLAMA, ROWS};
use super::table::{
    Arch, Bias, Default, Fix, Groups, Key, Need, Role, Row, at, each, key, part, row,
};
use crate::ir::{Field, Routing, Scalar};

/// `MixtralForCausalLM`.
pub(super) static MIXTRAL: Arch = Arch {
    hf: &["MixtralForCausalLM"],
    model_type: "mixtral",
    keys: &[KEYS, MIXTRAL_KEYS],
    ignored: &[Field::SlidingWindow],
    rows: &[ROWS, EXPERTS],
    ..LLAMA
};

#[rustfmt::skip]
static MIXTRAL_KEYS: &[Key] = &[
    key(Field::Context,           &["max_position_embeddings"],             "context_length",           Default::Is(Scalar::Count(4096 * 32))),
    key(Field::KvHeads,           &["num_key_value_heads"],                 "attention.head_count_kv",  Default::Is(Scalar::Count(8))),
    key(Field::NormEpsilon,       &["rms_norm_eps"],                        "attention.layer_norm_rms_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::SlidingWindow,     &["sliding_window"],                      "attention.sliding_window", Default::None),
    key(Field::Experts,           &["num_local_experts", "num_experts"],    "expert_count",             Default::Is(Scalar::Count(8))),
    key(Field::ExpertsUsed,       &["num_experts_per_tok"],                 "expert_used_count",        Default::Is(Scalar::Count(2))),
    key(Field::ExpertFeedForward, &[],                                      "",                         Default::Same(Field::FeedForward)),
    key(Field::Routing,           &[],                                      "",                         Default::Is(Scalar::Routing(Routing::Softmax))),
    key(Field::NormalizedRoutes,  &[],                                      "",                         Default::Is(Scalar::Flag(true))),
];

#[rustfmt::skip]
static EXPERTS: &[Row] = &[
    row(Role::Gate,       &[], &[], Fix::Keep, Need::Dense, Bias::Never),
    row(Role::Up,         &[], &[], Fix::Keep, Need::Dense, Bias::Never),
    row(Role::Down,       &[], &[], Fix::Keep, Need::Dense, Bias::Never),
    row(Role::Router,     &[at("model.layers.{i}.block_sparse_moe.gate"), at("model.layers.{i}.mlp.gate")], &[at("blk.{i}.ffn_gate_inp")], Fix::Keep, Need::Sparse, Bias::Never),
    row(Role::ExpertGate, &[each("model.layers.{i}.block_sparse_moe.experts.{e}.w1", Field::Experts), part("model.layers.{i}.mlp.experts.gate_up_proj", Groups::One, 0).bare()],
                          &[at("blk.{i}.ffn_gate_exps"), each("blk.{i}.ffn_gate.{e}", Field::Experts)], Fix::Keep, Need::Sparse, Bias::Never),
    row(Role::ExpertUp,   &[each("model.layers.{i}.block_sparse_moe.experts.{e}.w3", Field::Experts), part("model.layers.{i}.mlp.experts.gate_up_proj", Groups::One, 1).bare()],
                          &[at("blk.{i}.ffn_up_exps"), each("blk.{i}.ffn_up.{e}", Field::Experts)], Fix::Keep, Need::Sparse, Bias::Never),
    row(Role::ExpertDown, &[each("model.layers.{i}.block_sparse_moe.experts.{e}.w2", Field::Experts), at("model.layers.{i}.mlp.experts.down_proj").bare()],
                          &[at("blk.{i}.ffn_down_exps"), each("blk.{i}.ffn_down.{e}", Field::Experts)], Fix::Keep, Need::Sparse, Bias::Never),
];
