//! Gemma 2 and 3: <https://arxiv.org/abs/2408.00118>, <https://arxiv.org/abs/2503.19786>.
//!
//! Norms before and after attention and feed-forward. Most layers have a window; Gemma 3 rotates
//! those by another theta, and normalises queries and keys. llama.cpp knows which layers have the
//! window by their numbers, and the multiplier of attention by the size of the model.

use super::gemma::{GEMMA, GEMMA_KEYS, root_of_hidden};
use super::layers;
use super::llama::{HALVES, KEYS, ROWS};
use super::table::{Arch, Bias, Default, Entries, Fix, Hooks, Key, Need, Role, Row, at, key, row};
use crate::ir::{Activation, Config, Field, Hyper, Model, Result, Scalar, Value};

/// `Gemma2ForCausalLM`.
pub(super) static GEMMA2: Arch = Arch {
    gguf: "gemma2",
    hf: &["Gemma2ForCausalLM"],
    model_type: "gemma2",
    keys: &[KEYS, GEMMA_KEYS, GEMMA2_KEYS],
    hooks: Hooks {
        from_json: gemma2_from_json,
        to_json: write,
        from_gguf: gemma2_from_gguf,
        ..Hooks::NONE
    },
    rows: &[ROWS, HALVES, NORMS],
    ..GEMMA
};

/// `Gemma3ForCausalLM`.
pub(super) static GEMMA3: Arch = Arch {
    gguf: "gemma3",
    hf: &["Gemma3ForCausalLM"],
    model_type: "gemma3_text",
    keys: &[KEYS, GEMMA_KEYS, GEMMA2_KEYS, GEMMA3_KEYS],
    hooks: Hooks {
        from_json: gemma3_from_json,
        to_json: write,
        from_gguf: gemma3_from_gguf,
        ..Hooks::NONE
    },
    rows: &[ROWS, HALVES, NORMS, QUERY_NORMS],
    ..GEMMA2
};

#[rustfmt::skip]
static GEMMA2_KEYS: &[Key] = &[
    key(Field::KvHeads,       &["num_key_value_heads"],              "attention.head_count_kv",   Default::Is(Scalar::Count(4))),
    key(Field::Activation,    &["hidden_activation"],                "",                          Default::Is(Scalar::Activation(Activation::GeluTanh))),
    key(Field::AttentionCap,  &["attn_logit_softcapping"],           "attn_logit_softcapping",    Default::Is(Scalar::Real(50.0))),
    key(Field::LogitCap,      &["final_logit_softcapping"],          "final_logit_softcapping",   Default::Is(Scalar::Real(30.0))),
    key(Field::SlidingWindow, &["sliding_window"],                   "attention.sliding_window",  Default::Is(Scalar::Count(4096))),
    key(Field::EmbeddingScale, &[],                                  "",                          Default::From(root_of_hidden)),
];

#[rustfmt::skip]
static GEMMA3_KEYS: &[Key] = &[
    key(Field::Context,       &["max_position_embeddings"],          "context_length",            Default::Is(Scalar::Count(131072))),
    key(Field::AttentionCap,  &["attn_logit_softcapping"],           "attn_logit_softcapping",    Default::None),
    key(Field::LogitCap,      &["final_logit_softcapping"],          "final_logit_softcapping",   Default::None),
    key(Field::RopeTheta,     &["rope_theta", "rope_parameters.rope_theta", "rope_parameters.full_attention.rope_theta"], "rope.freq_base", Default::Is(Scalar::Real(1_000_000.0))),
    key(Field::LocalTheta,    &["rope_local_base_freq", "rope_parameters.sliding_attention.rope_theta"], "rope.freq_base_swa", Default::Is(Scalar::Real(10_000.0))),
];

#[rustfmt::skip]
static NORMS: &[Row] = &[
    row(Role::AttentionNorm,       &[at("model.layers.{i}.input_layernorm")],            &[at("blk.{i}.attn_norm")],           Fix::Add(1.0), Need::Always, Bias::Never),
    row(Role::AttentionPostNorm,   &[at("model.layers.{i}.post_attention_layernorm")],   &[at("blk.{i}.post_attention_norm")], Fix::Add(1.0), Need::Always, Bias::Never),
    row(Role::FeedForwardNorm,     &[at("model.layers.{i}.pre_feedforward_layernorm")],  &[at("blk.{i}.ffn_norm")],            Fix::Add(1.0), Need::Always, Bias::Never),
    row(Role::FeedForwardPostNorm, &[at("model.layers.{i}.post_feedforward_layernorm")], &[at("blk.{i}.post_ffw_norm")],       Fix::Add(1.0), Need::Always, Bias::Never),
    row(Role::OutputNorm,          &[at("model.norm")],                                  &[at("output_norm")],                 Fix::Add(1.0), Need::Always, Bias::Never),
];

#[rustfmt::skip]
static QUERY_NORMS: &[Row] = &[
    row(Role::QueryNorm, &[at("model.layers.{i}.self_attn.q_norm")], &[at("blk.{i}.attn_q_norm")], Fix::Add(1.0), Need::Always, Bias::Never),
    row(Role::KeyNorm,   &[at("model.layers.{i}.self_attn.k_norm")], &[at("blk.{i}.attn_k_norm")], Fix::Add(1.0), Need::Always, Bias::Never),
];

fn gemma2_from_json(config: &Config, hyper: &mut Hyper) -> Result<()> {
    attention_scale(config, hyper);
    layers::windowed(config, hyper, ("sliding_window", Some(4096)), |layer| layer % 2 == 0)
}

fn gemma3_from_json(config: &Config, hyper: &mut Hyper) -> Result<()> {
    attention_scale(config, hyper);
    let period = config.get("sliding_window_pattern").and_then(Value::as_u64).unwrap_or(6).max(1);
    let is_in = |layer: u64| !(layer + 1).is_multiple_of(period);
    layers::windowed(config, hyper, ("sliding_window", Some(4096)), is_in)
}

/// The multiplier of attention, where it is not that of the head's size.
fn attention_scale(config: &Config, hyper: &mut Hyper) {
    let size = config.get("query_pre_attn_scalar").and_then(Value::as_f64).unwrap_or(256.0);
    hyper.attention_scale = unusual(size, hyper);
}

fn unusual(size: f64, hyper: &Hyper) -> Option<f32> {
    (Some(size) != hyper.key_dim.map(|dim| dim as f64)).then(|| (1.0 / size.sqrt()) as f32)
}

fn gemma2_from_gguf(_: &Model, hyper: &mut Hyper) -> Result<()> {
    layers::by_pattern(hyper, 2);
    by_size(hyper, 46);
    Ok(())
}

fn gemma3_from_gguf(_: &Model, hyper: &mut Hyper) -> Result<()> {
    layers::by_pattern(hyper, 6);
    by_size(hyper, 62);
    Ok(())
}

/// The largest model, known by its number of layers, has a multiplier of its own.
fn by_size(hyper: &mut Hyper, layers: u64) {
    if hyper.layers == Some(layers)
        && let (Some(hidden), Some(heads)) = (hyper.hidden, hyper.heads)
    {
        hyper.attention_scale = unusual((hidden / heads.max(1)) as f64, hyper);
    }
}

fn write(hyper: &Hyper, entries: &mut Entries) {
    layers::write(hyper, entries);
    entries.shift_remove("use_sliding_window");
    entries.shift_remove("max_window_layers");
    let usual = hyper.key_dim.unwrap_or(1) as f64;
    let size =
        hyper.attention_scale.map_or(usual, |scale| (1.0 / f64::from(scale).powi(2)).round());
    entries.insert("query_pre_attn_scalar".into(), Value::U64(size as u64));
}
