//! OPT: <https://arxiv.org/abs/2205.01068>. llama.cpp has none.
//!
//! The first position has row 2 of the table. The 350 M model normalises after the sums, and its
//! embedding is narrower than its layers.

use super::llama::{LLAMA, head_size};
use super::table::{
    Arch, Bias, BlockShape, Default, Entries, Expected, Fix, Hooks, Key, Need, Norm, Role, Row, at,
    key, row,
};
use crate::ir::{Activation, Config, Field, Hyper, Result, Scalar, Value};

/// `OPTForCausalLM`.
pub(super) static OPT: Arch = Arch {
    gguf: "opt",
    in_llama_cpp: false,
    hf: &["OPTForCausalLM"],
    model_type: "opt",
    keys: &[OPT_KEYS],
    hooks: Hooks { from_json, to_json, ..Hooks::NONE },
    expects: &[("layer_norm_elementwise_affine", Expected::Flag(true))],
    tied: true,
    rows: &[OPT_ROWS],
    drops: &[],
    block: BlockShape { norm: Norm::Layer, first_position: 2, ..BlockShape::USUAL },
    ..LLAMA
};

#[rustfmt::skip]
static OPT_KEYS: &[Key] = &[
    key(Field::Vocab,          &["vocab_size"],              "vocab_size",                   Default::Is(Scalar::Count(50272))),
    key(Field::Context,        &["max_position_embeddings"], "context_length",               Default::Is(Scalar::Count(2048))),
    key(Field::Hidden,         &["hidden_size"],             "embedding_length",             Default::Is(Scalar::Count(768))),
    key(Field::EmbeddingWidth, &["word_embed_proj_dim"],     "",                             Default::Same(Field::Hidden)),
    key(Field::Layers,         &["num_hidden_layers"],       "block_count",                  Default::Is(Scalar::Count(12))),
    key(Field::FeedForward,    &["ffn_dim"],                 "feed_forward_length",          Default::Is(Scalar::Count(3072))),
    key(Field::Heads,          &["num_attention_heads"],     "attention.head_count",         Default::Is(Scalar::Count(12))),
    key(Field::KvHeads,        &[],                          "",                             Default::Same(Field::Heads)),
    key(Field::KeyDim,         &[],                          "",                             Default::From(head_size)),
    key(Field::ValueDim,       &[],                          "",                             Default::From(head_size)),
    key(Field::NormEpsilon,    &[],                          "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::Activation,     &["activation_function"],     "",                             Default::Is(Scalar::Activation(Activation::Relu))),
    key(Field::PostNorm,       &[],                          "",                             Default::None),
];

#[rustfmt::skip]
static OPT_ROWS: &[Row] = &[
    row(Role::Embedding,       &[at("model.decoder.embed_tokens")],                        &[at("token_embd")],          Fix::Keep, Need::Always, Bias::Never),
    row(Role::Positions,       &[at("model.decoder.embed_positions")],                     &[at("position_embd")],       Fix::Keep, Need::Always, Bias::Never),
    row(Role::ProjectIn,       &[at("model.decoder.project_in")],                          &[at("project_in")],          Fix::Keep, Need::Optional, Bias::Never),
    row(Role::AttentionNorm,   &[at("model.decoder.layers.{i}.self_attn_layer_norm")],     &[at("blk.{i}.attn_norm")],   Fix::Keep, Need::Always, Bias::Always),
    row(Role::Query,           &[at("model.decoder.layers.{i}.self_attn.q_proj")],         &[at("blk.{i}.attn_q")],      Fix::Keep, Need::Always, Bias::If("enable_bias", true)),
    row(Role::Key,             &[at("model.decoder.layers.{i}.self_attn.k_proj")],         &[at("blk.{i}.attn_k")],      Fix::Keep, Need::Always, Bias::If("enable_bias", true)),
    row(Role::Value,           &[at("model.decoder.layers.{i}.self_attn.v_proj")],         &[at("blk.{i}.attn_v")],      Fix::Keep, Need::Always, Bias::If("enable_bias", true)),
    row(Role::AttentionOutput, &[at("model.decoder.layers.{i}.self_attn.out_proj")],       &[at("blk.{i}.attn_output")], Fix::Keep, Need::Always, Bias::If("enable_bias", true)),
    row(Role::FeedForwardNorm, &[at("model.decoder.layers.{i}.final_layer_norm")],         &[at("blk.{i}.ffn_norm")],    Fix::Keep, Need::Always, Bias::Always),
    row(Role::Up,              &[at("model.decoder.layers.{i}.fc1")],                      &[at("blk.{i}.ffn_up")],      Fix::Keep, Need::Always, Bias::If("enable_bias", true)),
    row(Role::Down,            &[at("model.decoder.layers.{i}.fc2")],                      &[at("blk.{i}.ffn_down")],    Fix::Keep, Need::Always, Bias::If("enable_bias", true)),
    row(Role::OutputNorm,      &[at("model.decoder.final_layer_norm")],                    &[at("output_norm")],         Fix::Keep, Need::Optional, Bias::Always),
    row(Role::ProjectOut,      &[at("model.decoder.project_out")],                         &[at("project_out")],         Fix::Keep, Need::Optional, Bias::Never),
    row(Role::Output,          &[at("lm_head")],                                           &[at("output")],              Fix::Keep, Need::UnlessTied(Role::Embedding), Bias::Never),
];

fn from_json(config: &Config, hyper: &mut Hyper) -> Result<()> {
    let before = config.get("do_layer_norm_before").and_then(Value::as_bool);
    hyper.post_norm = Some(before == Some(false));
    Ok(())
}

fn to_json(hyper: &Hyper, entries: &mut Entries) {
    entries.insert("do_layer_norm_before".into(), Value::Bool(hyper.post_norm.is_none()));
    if hyper.embedding_width.is_none() {
        entries.insert("word_embed_proj_dim".into(), Value::U64(hyper.hidden.unwrap_or(0)));
    }
}
