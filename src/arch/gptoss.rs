//! gpt-oss: <https://arxiv.org/abs/2508.10925>.
//!
//! A score for each head that belongs to no position takes from the weights of all. Hugging Face
//! has the experts of a layer as one tensor, columns for rows, gate and up in turn.

use super::layers;
use super::llama::{HALVES, KEYS, LLAMA, ROWS, THETA};
use super::table::{
    Arch, Bias, BlockShape, Default, Entries, Fix, Groups, Hooks, Key, Need, Role, Row, at, key,
    part, row,
};
use crate::ir::{Config, Field, Hyper, Model, Result, Routing, Scalar, Scaling, Value};

/// `GptOssForCausalLM`.
pub(super) static GPT_OSS: Arch = Arch {
    gguf: "gpt-oss",
    hf: &["GptOssForCausalLM"],
    model_type: "gpt_oss",
    keys: &[KEYS, GPT_OSS_KEYS],
    hooks: Hooks { from_json, from_gguf, to_json, ..Hooks::NONE },
    rows: &[ROWS, HALVES, GPT_OSS_ROWS],
    block: BlockShape::USUAL,
    ..LLAMA
};

#[rustfmt::skip]
static GPT_OSS_KEYS: &[Key] = &[
    key(Field::Context,           &["max_position_embeddings"],          "context_length",                   Default::Is(Scalar::Count(131_072))),
    key(Field::KvHeads,           &["num_key_value_heads"],              "attention.head_count_kv",          Default::Is(Scalar::Count(8))),
    key(Field::KeyDim,            &["head_dim"],                         "attention.key_length",             Default::Is(Scalar::Count(64))),
    key(Field::ValueDim,          &["head_dim"],                         "attention.value_length",           Default::Is(Scalar::Count(64))),
    key(Field::NormEpsilon,       &["rms_norm_eps"],                     "attention.layer_norm_rms_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::RopeTheta,         THETA,                                 "rope.freq_base",                   Default::Is(Scalar::Real(150_000.0))),
    key(Field::SlidingWindow,     &["sliding_window"],                   "attention.sliding_window",         Default::Is(Scalar::Count(128))),
    key(Field::Experts,           &["num_local_experts", "num_experts"], "expert_count",                     Default::Is(Scalar::Count(128))),
    key(Field::ExpertsUsed,       &["num_experts_per_tok", "experts_per_token"], "expert_used_count",        Default::Is(Scalar::Count(4))),
    key(Field::ExpertFeedForward, &["intermediate_size"],                "expert_feed_forward_length",       Default::Same(Field::FeedForward)),
    key(Field::Routing,           &[],                                   "",                                 Default::Is(Scalar::Routing(Routing::TopSoftmax))),
    key(Field::GateAlpha,         &["swiglu_alpha"],                     "",                                 Default::Is(Scalar::Real(1.702))),
    key(Field::GateLimit,         &["swiglu_limit"],                     "",                                 Default::Is(Scalar::Real(7.0))),
];

#[rustfmt::skip]
static GPT_OSS_ROWS: &[Row] = &[
    row(Role::Query,           &[at("model.layers.{i}.self_attn.q_proj")],              &[at("blk.{i}.attn_q")],              Fix::Keep, Need::Always,   Bias::If("attention_bias", true)),
    row(Role::Key,             &[at("model.layers.{i}.self_attn.k_proj")],              &[at("blk.{i}.attn_k")],              Fix::Keep, Need::Always,   Bias::If("attention_bias", true)),
    row(Role::Value,           &[at("model.layers.{i}.self_attn.v_proj")],              &[at("blk.{i}.attn_v")],              Fix::Keep, Need::Always,   Bias::If("attention_bias", true)),
    row(Role::AttentionOutput, &[at("model.layers.{i}.self_attn.o_proj")],              &[at("blk.{i}.attn_output")],         Fix::Keep, Need::Always,   Bias::If("attention_bias", true)),
    row(Role::Sinks,           &[at("model.layers.{i}.self_attn.sinks").bare()],        &[at("blk.{i}.attn_sinks")],          Fix::Keep, Need::Always,   Bias::Never),
    row(Role::FeedForwardNorm, &[at("model.layers.{i}.post_attention_layernorm")],      &[at("blk.{i}.post_attention_norm")], Fix::Keep, Need::Always,   Bias::Never),
    row(Role::Gate,            &[],                                                     &[],                                  Fix::Keep, Need::Optional, Bias::Never),
    row(Role::Up,              &[],                                                     &[],                                  Fix::Keep, Need::Optional, Bias::Never),
    row(Role::Down,            &[],                                                     &[],                                  Fix::Keep, Need::Optional, Bias::Never),
    row(Role::Router,          &[at("model.layers.{i}.mlp.router")],                    &[at("blk.{i}.ffn_gate_inp")],        Fix::Keep, Need::Sparse,   Bias::Always),
    row(Role::ExpertGate,      &[part("model.layers.{i}.mlp.experts.gate_up_proj", Groups::Rows, 0).bare().transposed()], &[at("blk.{i}.ffn_gate_exps")], Fix::Keep, Need::Sparse, Bias::Always),
    row(Role::ExpertUp,        &[part("model.layers.{i}.mlp.experts.gate_up_proj", Groups::Rows, 1).bare().transposed()], &[at("blk.{i}.ffn_up_exps")],   Fix::Keep, Need::Sparse, Bias::Always),
    row(Role::ExpertDown,      &[at("model.layers.{i}.mlp.experts.down_proj").bare().transposed()],                       &[at("blk.{i}.ffn_down_exps")], Fix::Keep, Need::Sparse, Bias::Always),
];

fn from_json(config: &Config, hyper: &mut Hyper) -> Result<()> {
    let said = ["rope_scaling", "rope_parameters"].iter().any(|key| config.get(key).is_some());
    if !said {
        hyper.scaling = Scaling::Yarn {
            factor: 32.0,
            original: 4096,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: super::scaling::yarn_attention(32.0, 1.0),
            truncate: false,
        };
    }
    layers::windowed(config, hyper, ("sliding_window", Some(128)), |layer| layer % 2 == 0)
}

fn from_gguf(_: &Model, hyper: &mut Hyper) -> Result<()> {
    layers::by_pattern(hyper, 2);
    Ok(())
}

fn to_json(hyper: &Hyper, entries: &mut Entries) {
    layers::write(hyper, entries);
    // Where nothing is said, rotation is scaled.
    if hyper.scaling == Scaling::None {
        let plain = ("rope_type".to_owned(), Value::Text("default".into()));
        entries.insert("rope_scaling".into(), Value::Map([plain].into_iter().collect()));
    }
    entries.shift_remove("use_sliding_window");
    entries.shift_remove("max_window_layers");
}
