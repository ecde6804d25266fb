//! Falcon: <https://arxiv.org/abs/2311.16867>.
//!
//! Queries, keys and values of the heads that share a key are one group of rows; GGUF sorts
//! them. The larger models, of the "new decoder architecture", have a norm for attention and one
//! for feed-forward; GGUF calls the second `attn_norm`, and the first `attn_norm_2`.

use super::gpt2::four_times_hidden;
use super::llama::{LLAMA, THETA, head_size};
use super::table::{
    Alibi, Arch, Bias, BlockShape, Default, Entries, Fix, Groups, Hooks, Key, Need, Norm, Role,
    Row, at, key, part, row,
};
use crate::ir::{Activation, Config, Field, Hyper, Model, Naming, Result, Scalar, Value};

/// `FalconForCausalLM` with two norms.
pub(super) static FALCON_NEW: Arch = Arch {
    when: has_two_norms,
    rows: &[FALCON_ROWS, TWO_NORMS],
    unknown: &[],
    hooks: Hooks { from_json, from_gguf, to_json: new_to_json, ..Hooks::NONE },
    ..FALCON
};

/// `FalconForCausalLM`.
pub(super) static FALCON: Arch = Arch {
    gguf: "falcon",
    hf: &["FalconForCausalLM", "RWForCausalLM"],
    model_type: "falcon",
    keys: &[FALCON_KEYS],
    hooks: Hooks { from_json, from_gguf, to_json, ..Hooks::NONE },
    tied: true,
    optional_prefix: "transformer.",
    unknown: &[Role::FeedForwardNorm],
    rows: &[FALCON_ROWS],
    drops: &[],
    block: BlockShape { norm: Norm::Layer, alibi: Alibi::Rounded, ..BlockShape::USUAL },
    ..LLAMA
};

#[rustfmt::skip]
static FALCON_KEYS: &[Key] = &[
    key(Field::Vocab,       &["vocab_size"],                     "vocab_size",                   Default::Is(Scalar::Count(65024))),
    key(Field::Context,     &["max_position_embeddings"],        "context_length",               Default::Is(Scalar::Count(2048))),
    key(Field::Hidden,      &["hidden_size", "n_embed"],         "embedding_length",             Default::Is(Scalar::Count(4544))),
    key(Field::Layers,      &["num_hidden_layers", "n_layer"],   "block_count",                  Default::Is(Scalar::Count(32))),
    key(Field::FeedForward, &["ffn_hidden_size"],                "feed_forward_length",          Default::From(four_times_hidden)),
    key(Field::Heads,       &["num_attention_heads", "n_head"],  "attention.head_count",         Default::Is(Scalar::Count(71))),
    key(Field::KvHeads,     &["num_kv_heads", "n_head_kv"],      "attention.head_count_kv",      Default::Same(Field::Heads)),
    key(Field::KeyDim,      &[],                                 "",                             Default::From(head_size)),
    key(Field::ValueDim,    &[],                                 "",                             Default::From(head_size)),
    key(Field::NormEpsilon, &["layer_norm_epsilon"],             "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::RopeDims,    &[],                                 "",                             Default::Same(Field::KeyDim)),
    key(Field::RopeTheta,   THETA,                               "rope.freq_base",               Default::Is(Scalar::Real(10000.0))),
    key(Field::Alibi,       &[],                                 "",                             Default::None),
    key(Field::Activation,  &["activation"],                     "",                             Default::Is(Scalar::Activation(Activation::Gelu))),
    key(Field::Parallel,    &["parallel_attn"],                  "",                             Default::Is(Scalar::Flag(true))),
];

const QKV: Groups = Groups::Of(Field::KvHeads);

#[rustfmt::skip]
static FALCON_ROWS: &[Row] = &[
    row(Role::Embedding,       &[at("transformer.word_embeddings")],                                &[at("token_embd")],                         Fix::Keep, Need::Always, Bias::Never),
    row(Role::AttentionNorm,   &[at("transformer.h.{i}.input_layernorm")],                          &[at("blk.{i}.attn_norm")],                  Fix::Keep, Need::Always, Bias::Always),
    row(Role::Query,           &[part("transformer.h.{i}.self_attention.query_key_value", QKV, 0)], &[part("blk.{i}.attn_qkv", Groups::One, 0)], Fix::Keep, Need::Always, Bias::If("bias", false)),
    row(Role::Key,             &[part("transformer.h.{i}.self_attention.query_key_value", QKV, 1)], &[part("blk.{i}.attn_qkv", Groups::One, 1)], Fix::Keep, Need::Always, Bias::If("bias", false)),
    row(Role::Value,           &[part("transformer.h.{i}.self_attention.query_key_value", QKV, 2)], &[part("blk.{i}.attn_qkv", Groups::One, 2)], Fix::Keep, Need::Always, Bias::If("bias", false)),
    row(Role::AttentionOutput, &[at("transformer.h.{i}.self_attention.dense")],                     &[at("blk.{i}.attn_output")],                Fix::Keep, Need::Always, Bias::If("bias", false)),
    row(Role::FeedForwardNorm, &[at("transformer.h.{i}.post_attention_layernorm")],                 &[at("blk.{i}.ffn_norm")],                   Fix::Keep, Need::Optional, Bias::Always),
    row(Role::Up,              &[at("transformer.h.{i}.mlp.dense_h_to_4h")],                        &[at("blk.{i}.ffn_up")],                     Fix::Keep, Need::Always, Bias::If("bias", false)),
    row(Role::Down,            &[at("transformer.h.{i}.mlp.dense_4h_to_h")],                        &[at("blk.{i}.ffn_down")],                   Fix::Keep, Need::Always, Bias::If("bias", false)),
    row(Role::OutputNorm,      &[at("transformer.ln_f")],                                           &[at("output_norm")],                        Fix::Keep, Need::Always, Bias::Always),
    row(Role::Output,          &[at("lm_head")],                                                    &[at("output")],                             Fix::Keep, Need::UnlessTied(Role::Embedding), Bias::Never),
];

#[rustfmt::skip]
static TWO_NORMS: &[Row] = &[
    row(Role::AttentionNorm,   &[at("transformer.h.{i}.ln_attn")], &[at("blk.{i}.attn_norm_2")], Fix::Keep, Need::Always, Bias::Always),
    row(Role::FeedForwardNorm, &[at("transformer.h.{i}.ln_mlp")],  &[at("blk.{i}.attn_norm")],   Fix::Keep, Need::Always, Bias::Always),
];

fn has_two_norms(model: &Model) -> bool {
    match model.naming {
        Naming::Gguf => model.tensors.contains_key("blk.0.attn_norm_2.weight"),
        Naming::HuggingFace => {
            let norms = model.config.get("num_ln_in_parallel_attn").and_then(Value::as_u64);
            says(&model.config, "new_decoder_architecture", false) && norms.unwrap_or(2) == 2
        }
    }
}

fn says(config: &Config, key: &str, usual: bool) -> bool {
    config.get(key).and_then(Value::as_bool).unwrap_or(usual)
}

fn from_json(config: &Config, hyper: &mut Hyper) -> Result<()> {
    if says(config, "new_decoder_architecture", false) {
        hyper.parallel = Some(true);
    } else if says(config, "multi_query", true) {
        hyper.kv_heads = Some(1);
    } else {
        hyper.kv_heads = hyper.heads;
    }
    if says(config, "alibi", false) {
        hyper.alibi = Some(8.0);
        (hyper.rope_theta, hyper.rope_dims) = (None, None);
    }
    Ok(())
}

/// Files of one key and value head were made before the key that says so.
fn from_gguf(model: &Model, hyper: &mut Hyper) -> Result<()> {
    if model.config.get("falcon.attention.head_count_kv").is_none() {
        hyper.kv_heads = Some(1);
    }
    Ok(())
}

fn to_json(hyper: &Hyper, entries: &mut Entries) {
    let flag = |yes| Value::Bool(yes);
    let is_grouped = hyper.kv_heads != Some(1) && hyper.kv_heads != hyper.heads;
    entries.insert("new_decoder_architecture".into(), flag(is_grouped));
    entries.insert("num_ln_in_parallel_attn".into(), Value::U64(1));
    entries.insert("multi_query".into(), flag(hyper.kv_heads == Some(1)));
    entries.insert("alibi".into(), flag(hyper.alibi.is_some()));
}

fn new_to_json(hyper: &Hyper, entries: &mut Entries) {
    to_json(hyper, entries);
    entries.insert("new_decoder_architecture".into(), Value::Bool(true));
    entries.insert("num_ln_in_parallel_attn".into(), Value::U64(2));
}
