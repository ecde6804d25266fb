//! GPT-2: <https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf>.
//!
//! Hugging Face stores matrices with their columns for rows (`Conv1D`); queries, keys and values
//! are one tensor on both sides. Positions are learned.

use super::llama::{LLAMA, head_size};
use super::table::{
    Arch, Bias, BlockShape, Default, Expected, Fix, Groups, Hooks, Key, Need, Norm, Role, Row, at,
    key, part, row,
};
use crate::ir::{Activation, Config, Field, Hyper, Result, Scalar, Value};

/// `GPT2LMHeadModel`.
pub(super) static GPT2: Arch = Arch {
    gguf: "gpt2",
    hf: &["GPT2LMHeadModel"],
    model_type: "gpt2",
    keys: &[GPT2_KEYS],
    hooks: Hooks { from_json: attention_scale, to_json: write_attention_scale, ..Hooks::NONE },
    expects: &[("add_cross_attention", Expected::Flag(false))],
    tied: true,
    optional_prefix: "transformer.",
    rows: &[GPT2_ROWS],
    drops: GPT2_DROPS,
    block: BlockShape { norm: Norm::Layer, ..BlockShape::USUAL },
    ..LLAMA
};

#[rustfmt::skip]
static GPT2_KEYS: &[Key] = &[
    key(Field::Vocab,        &["vocab_size"],                              "vocab_size",                    Default::Is(Scalar::Count(50257))),
    key(Field::Context,      &["n_positions", "max_position_embeddings", "n_ctx"], "context_length",        Default::Is(Scalar::Count(1024))),
    key(Field::Hidden,       &["n_embd", "hidden_size"],                   "embedding_length",              Default::Is(Scalar::Count(768))),
    key(Field::Layers,       &["n_layer", "num_hidden_layers"],            "block_count",                   Default::Is(Scalar::Count(12))),
    key(Field::FeedForward,  &["n_inner"],                                 "feed_forward_length",           Default::From(four_times_hidden)),
    key(Field::Heads,        &["n_head", "num_attention_heads"],           "attention.head_count",          Default::Is(Scalar::Count(12))),
    key(Field::KvHeads,      &[],                                          "",                              Default::Same(Field::Heads)),
    key(Field::KeyDim,       &[],                                          "",                              Default::From(head_size)),
    key(Field::ValueDim,     &[],                                          "",                              Default::From(head_size)),
    key(Field::NormEpsilon,  &["layer_norm_epsilon"],                      "attention.layer_norm_epsilon",  Default::Is(Scalar::Real(1e-5))),
    key(Field::Activation,   &["activation_function"],                     "",                              Default::Is(Scalar::Activation(Activation::GeluTanh))),
    key(Field::ScaleByLayer, &["scale_attn_by_inverse_layer_idx"],         "",                              Default::None),
];

const QKV: [super::Home; 3] = [
    part("transformer.h.{i}.attn.c_attn", Groups::One, 0).transposed(),
    part("transformer.h.{i}.attn.c_attn", Groups::One, 1).transposed(),
    part("transformer.h.{i}.attn.c_attn", Groups::One, 2).transposed(),
];

#[rustfmt::skip]
static GPT2_ROWS: &[Row] = &[
    row(Role::Embedding,       &[at("transformer.wte")],                                &[at("token_embd")],                          Fix::Keep, Need::Always, Bias::Never),
    row(Role::Positions,       &[at("transformer.wpe")],                                &[at("position_embd")],                       Fix::Keep, Need::Always, Bias::Never),
    row(Role::AttentionNorm,   &[at("transformer.h.{i}.ln_1")],                         &[at("blk.{i}.attn_norm")],                   Fix::Keep, Need::Always, Bias::Always),
    row(Role::Query,           &[QKV[0]],                                               &[part("blk.{i}.attn_qkv", Groups::One, 0)],  Fix::Keep, Need::Always, Bias::Always),
    row(Role::Key,             &[QKV[1]],                                               &[part("blk.{i}.attn_qkv", Groups::One, 1)],  Fix::Keep, Need::Always, Bias::Always),
    row(Role::Value,           &[QKV[2]],                                               &[part("blk.{i}.attn_qkv", Groups::One, 2)],  Fix::Keep, Need::Always, Bias::Always),
    row(Role::AttentionOutput, &[at("transformer.h.{i}.attn.c_proj").transposed()],     &[at("blk.{i}.attn_output")],                 Fix::Keep, Need::Always, Bias::Always),
    row(Role::FeedForwardNorm, &[at("transformer.h.{i}.ln_2")],                         &[at("blk.{i}.ffn_norm")],                    Fix::Keep, Need::Always, Bias::Always),
    row(Role::Up,              &[at("transformer.h.{i}.mlp.c_fc").transposed()],        &[at("blk.{i}.ffn_up")],                      Fix::Keep, Need::Always, Bias::Always),
    row(Role::Down,            &[at("transformer.h.{i}.mlp.c_proj").transposed()],      &[at("blk.{i}.ffn_down")],                    Fix::Keep, Need::Always, Bias::Always),
    row(Role::OutputNorm,      &[at("transformer.ln_f")],                               &[at("output_norm")],                         Fix::Keep, Need::Always, Bias::Always),
    row(Role::Output,          &[at("lm_head")],                                        &[at("output")],                              Fix::Keep, Need::UnlessTied(Role::Embedding), Bias::Never),
];

/// Masks that PyTorch keeps as buffers.
#[rustfmt::skip]
static GPT2_DROPS: &[(&str, &str)] = &[
    ("transformer.h.{i}.attn.bias",        "the causal mask"),
    ("transformer.h.{i}.attn.masked_bias", "the causal mask"),
];

/// The feed-forward size where it is not stated.
pub(super) fn four_times_hidden(hyper: &Hyper) -> Option<Scalar> {
    hyper.hidden.map(|hidden| Scalar::Count(hidden.saturating_mul(4)))
}

/// Scores are not divided by the root of the head's size if `scale_attn_weights` is off.
pub(super) fn attention_scale(config: &Config, hyper: &mut Hyper) -> Result<()> {
    if config.get("scale_attn_weights").and_then(Value::as_bool) == Some(false) {
        hyper.attention_scale = Some(1.0);
    }
    Ok(())
}

fn write_attention_scale(hyper: &Hyper, entries: &mut super::Entries) {
    let scaled = hyper.attention_scale != Some(1.0);
    entries.insert("scale_attn_weights".into(), Value::Bool(scaled));
}
