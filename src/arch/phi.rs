//! Phi 1, 1.5, 2 and 3: <https://arxiv.org/abs/2306.11644>, <https://arxiv.org/abs/2404.14219>.
//!
//! The first rotate a part of each head and have attention and feed-forward side by side; Phi 3
//! is a Llama whose queries, keys and values are one tensor, as are gate and up, on both sides.

use super::llama::{HALVES, KEYS, LLAMA, ROWS, THETA};
use super::table::{
    Arch, Bias, BlockShape, Default, Entries, Fix, Groups, Hooks, Key, Need, Norm, Role, Row, at,
    key, part, row,
};
use crate::ir::{Activation, Config, Field, Hyper, Result, Scalar, Scaling, Value};

/// `PhiForCausalLM`.
pub(super) static PHI: Arch = Arch {
    gguf: "phi2",
    hf: &["PhiForCausalLM"],
    model_type: "phi",
    keys: &[KEYS, PHI_KEYS],
    unknown: &[Role::QueryNorm, Role::KeyNorm],
    rows: &[ROWS, HALVES, PHI_ROWS],
    block: BlockShape { norm: Norm::Layer, ..BlockShape::USUAL },
    ..LLAMA
};

/// `Phi3ForCausalLM`.
pub(super) static PHI3: Arch = Arch {
    gguf: "phi3",
    hf: &["Phi3ForCausalLM"],
    model_type: "phi3",
    keys: &[KEYS, PHI3_KEYS],
    hooks: Hooks { from_json: usual_context, to_json: state_context, ..Hooks::NONE },
    ignored: &[Field::SlidingWindow],
    rows: &[ROWS, FUSED_QKV, FUSED_GATE],
    block: BlockShape::USUAL,
    ..LLAMA
};

/// Rotary dimensions, as a part of the head.
pub(super) static PARTIAL: &[&str] = &[
    "partial_rotary_factor",
    "rope_parameters.partial_rotary_factor",
    "rope_scaling.partial_rotary_factor",
];

#[rustfmt::skip]
static PHI_KEYS: &[Key] = &[
    key(Field::NormEpsilon, &["layer_norm_eps"], "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::RopeDims,    PARTIAL,             "rope.dimension_count",         Default::From(half_of_head)),
    key(Field::Activation,  &["hidden_act"],     "",                             Default::Is(Scalar::Activation(Activation::GeluTanh))),
    key(Field::Parallel,    &[],                 "",                             Default::Is(Scalar::Flag(true))),
];

#[rustfmt::skip]
static PHI_ROWS: &[Row] = &[
    row(Role::AttentionNorm,   &[at("model.layers.{i}.input_layernorm")],         &[at("blk.{i}.attn_norm")],   Fix::Keep, Need::Always, Bias::Always),
    row(Role::Query,           &[at("model.layers.{i}.self_attn.q_proj")],        &[at("blk.{i}.attn_q")],      Fix::Keep, Need::Always, Bias::Always),
    row(Role::Key,             &[at("model.layers.{i}.self_attn.k_proj")],        &[at("blk.{i}.attn_k")],      Fix::Keep, Need::Always, Bias::Always),
    row(Role::Value,           &[at("model.layers.{i}.self_attn.v_proj")],        &[at("blk.{i}.attn_v")],      Fix::Keep, Need::Always, Bias::Always),
    row(Role::QueryNorm,       &[at("model.layers.{i}.self_attn.q_layernorm")],   &[at("blk.{i}.attn_q_norm")], Fix::Keep, Need::If("qk_layernorm", false), Bias::Always),
    row(Role::KeyNorm,         &[at("model.layers.{i}.self_attn.k_layernorm")],   &[at("blk.{i}.attn_k_norm")], Fix::Keep, Need::If("qk_layernorm", false), Bias::Always),
    row(Role::AttentionOutput, &[at("model.layers.{i}.self_attn.dense")],         &[at("blk.{i}.attn_output")], Fix::Keep, Need::Always, Bias::Always),
    row(Role::FeedForwardNorm, &[],                                               &[],                          Fix::Keep, Need::Optional, Bias::Never),
    row(Role::Gate,            &[],                                               &[],                          Fix::Keep, Need::Optional, Bias::Never),
    row(Role::Up,              &[at("model.layers.{i}.mlp.fc1")],                 &[at("blk.{i}.ffn_up")],      Fix::Keep, Need::Always, Bias::Always),
    row(Role::Down,            &[at("model.layers.{i}.mlp.fc2")],                 &[at("blk.{i}.ffn_down")],    Fix::Keep, Need::Always, Bias::Always),
    row(Role::OutputNorm,      &[at("model.final_layernorm")],                    &[at("output_norm")],         Fix::Keep, Need::Always, Bias::Always),
    row(Role::Output,          &[at("lm_head")],                                  &[at("output")],              Fix::Keep, Need::UnlessTied(Role::Embedding), Bias::Always),
];

#[rustfmt::skip]
static PHI3_KEYS: &[Key] = &[
    key(Field::Context,       &["max_position_embeddings"], "context_length",           Default::Is(Scalar::Count(4096))),
    key(Field::NormEpsilon,   &["rms_norm_eps"],            "attention.layer_norm_rms_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::RopeDims,      PARTIAL,                      "rope.dimension_count",     Default::Same(Field::KeyDim)),
    key(Field::RopeTheta,     THETA,                        "rope.freq_base",           Default::Is(Scalar::Real(10000.0))),
    key(Field::SlidingWindow, &["sliding_window"],          "attention.sliding_window", Default::None),
];

#[rustfmt::skip]
static FUSED_QKV: &[Row] = &[
    row(Role::Query, &[part("model.layers.{i}.self_attn.qkv_proj", Groups::One, 0)], &[part("blk.{i}.attn_qkv", Groups::One, 0)], Fix::Keep, Need::Always, Bias::Never),
    row(Role::Key,   &[part("model.layers.{i}.self_attn.qkv_proj", Groups::One, 1)], &[part("blk.{i}.attn_qkv", Groups::One, 1)], Fix::Keep, Need::Always, Bias::Never),
    row(Role::Value, &[part("model.layers.{i}.self_attn.qkv_proj", Groups::One, 2)], &[part("blk.{i}.attn_qkv", Groups::One, 2)], Fix::Keep, Need::Always, Bias::Never),
];

#[rustfmt::skip]
pub(super) static FUSED_GATE: &[Row] = &[
    row(Role::Gate, &[part("model.layers.{i}.mlp.gate_up_proj", Groups::One, 0)], &[part("blk.{i}.ffn_up", Groups::One, 0)], Fix::Keep, Need::Always, Bias::Never),
    row(Role::Up,   &[part("model.layers.{i}.mlp.gate_up_proj", Groups::One, 1)], &[part("blk.{i}.ffn_up", Groups::One, 1)], Fix::Keep, Need::Always, Bias::Never),
    row(Role::Down, &[at("model.layers.{i}.mlp.down_proj")],                      &[at("blk.{i}.ffn_down")],                 Fix::Keep, Need::Always, Bias::Never),
];

/// Half of each head, where nothing is said.
pub(super) fn half_of_head(hyper: &Hyper) -> Option<Scalar> {
    hyper.key_dim.map(|dim| Scalar::Count(dim / 2))
}

/// Where a scaling does not state the context of the pretraining, it is 4096.
fn usual_context(config: &Config, hyper: &mut Hyper) -> Result<()> {
    let stated = config.get("original_max_position_embeddings").is_some();
    if let Scaling::Long { original, attention_factor, .. } = &mut hyper.scaling
        && !stated
    {
        let rope = config.get("rope_scaling").or_else(|| config.get("rope_parameters"));
        let says = |key: &str| rope.is_some_and(|rope| rope.get(key).is_some());
        *original = 4096;
        if !says("attention_factor") && !says("factor") {
            let ratio = hyper.context.unwrap_or(4096) as f64 / 4096.0;
            *attention_factor = super::scaling::long_attention(ratio, 4096);
        }
    }
    Ok(())
}

/// The context of the pretraining stands outside of the scaling, where it counts.
fn state_context(hyper: &Hyper, entries: &mut Entries) {
    if let Scaling::Long { original, .. } = hyper.scaling {
        entries.insert("original_max_position_embeddings".into(), Value::U64(original));
    }
}
