//! BLOOM and MPT: <https://arxiv.org/abs/2211.05100>, <https://www.databricks.com/blog/mpt-7b>.
//!
//! Positions are ALiBi's. BLOOM has each head's query, key and value in turn as one tensor, which
//! GGUF sorts; MPT has them one after the other.

use super::gpt2::four_times_hidden;
use super::llama::{LLAMA, head_size};
use super::table::{
    Arch, Bias, BlockShape, Default, Fix, Groups, Key, Need, Norm, Role, Row, at, key, part, row,
};
use crate::ir::{Activation, Field, Scalar};

/// `BloomForCausalLM`.
pub(super) static BLOOM: Arch = Arch {
    gguf: "bloom",
    hf: &["BloomForCausalLM"],
    model_type: "bloom",
    keys: &[BLOOM_KEYS],
    tied: true,
    optional_prefix: "transformer.",
    rows: &[BLOOM_ROWS],
    drops: &[],
    block: BlockShape { norm: Norm::Layer, ..BlockShape::USUAL },
    ..LLAMA
};

/// `MptForCausalLM`.
pub(super) static MPT: Arch = Arch {
    gguf: "mpt",
    hf: &["MptForCausalLM", "MPTForCausalLM"],
    model_type: "mpt",
    keys: &[MPT_KEYS],
    rows: &[MPT_ROWS],
    ..BLOOM
};

#[rustfmt::skip]
static BLOOM_KEYS: &[Key] = &[
    key(Field::Vocab,          &["vocab_size"],                               "vocab_size",                   Default::Is(Scalar::Count(250_880))),
    key(Field::Context,        &["seq_length"],                               "context_length",               Default::Is(Scalar::Count(2048))),
    key(Field::Hidden,         &["hidden_size", "n_embed"],                   "embedding_length",             Default::Is(Scalar::Count(64))),
    key(Field::Layers,         &["n_layer", "num_hidden_layers"],             "block_count",                  Default::Is(Scalar::Count(2))),
    key(Field::FeedForward,    &[],                                           "feed_forward_length",          Default::From(four_times_hidden)),
    key(Field::Heads,          &["n_head", "num_attention_heads"],            "attention.head_count",         Default::Is(Scalar::Count(8))),
    key(Field::KvHeads,        &[],                                           "attention.head_count_kv",      Default::Same(Field::Heads)),
    key(Field::KeyDim,         &[],                                           "",                             Default::From(head_size)),
    key(Field::ValueDim,       &[],                                           "",                             Default::From(head_size)),
    key(Field::NormEpsilon,    &["layer_norm_epsilon"],                       "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::Alibi,          &[],                                           "",                             Default::Is(Scalar::Real(8.0))),
    key(Field::Activation,     &[],                                           "",                             Default::Is(Scalar::Activation(Activation::GeluTanh))),
    key(Field::NormedResidual, &["apply_residual_connection_post_layernorm"], "",                             Default::None),
];

const QKV: Groups = Groups::Of(Field::Heads);

#[rustfmt::skip]
static BLOOM_ROWS: &[Row] = &[
    row(Role::Embedding,       &[at("transformer.word_embeddings")],                                &[at("token_embd")],                         Fix::Keep, Need::Always, Bias::Never),
    row(Role::EmbeddingNorm,   &[at("transformer.word_embeddings_layernorm")],                      &[at("token_embd_norm")],                    Fix::Keep, Need::Always, Bias::Always),
    row(Role::AttentionNorm,   &[at("transformer.h.{i}.input_layernorm")],                          &[at("blk.{i}.attn_norm")],                  Fix::Keep, Need::Always, Bias::Always),
    row(Role::Query,           &[part("transformer.h.{i}.self_attention.query_key_value", QKV, 0)], &[part("blk.{i}.attn_qkv", Groups::One, 0)], Fix::Keep, Need::Always, Bias::Always),
    row(Role::Key,             &[part("transformer.h.{i}.self_attention.query_key_value", QKV, 1)], &[part("blk.{i}.attn_qkv", Groups::One, 1)], Fix::Keep, Need::Always, Bias::Always),
    row(Role::Value,           &[part("transformer.h.{i}.self_attention.query_key_value", QKV, 2)], &[part("blk.{i}.attn_qkv", Groups::One, 2)], Fix::Keep, Need::Always, Bias::Always),
    row(Role::AttentionOutput, &[at("transformer.h.{i}.self_attention.dense")],                     &[at("blk.{i}.attn_output")],                Fix::Keep, Need::Always, Bias::Always),
    row(Role::FeedForwardNorm, &[at("transformer.h.{i}.post_attention_layernorm")],                 &[at("blk.{i}.ffn_norm")],                   Fix::Keep, Need::Always, Bias::Always),
    row(Role::Up,              &[at("transformer.h.{i}.mlp.dense_h_to_4h")],                        &[at("blk.{i}.ffn_up")],                     Fix::Keep, Need::Always, Bias::Always),
    row(Role::Down,            &[at("transformer.h.{i}.mlp.dense_4h_to_h")],                        &[at("blk.{i}.ffn_down")],                   Fix::Keep, Need::Always, Bias::Always),
    row(Role::OutputNorm,      &[at("transformer.ln_f")],                                           &[at("output_norm")],                        Fix::Keep, Need::Always, Bias::Always),
    row(Role::Output,          &[at("lm_head")],                                                    &[at("output")],                             Fix::Keep, Need::UnlessTied(Role::Embedding), Bias::Never),
];

/// transformers computes these options of MPT one way, whatever config.json says: biases, ALiBi
/// and its greatest slope, and the size of the feed-forward network.
#[rustfmt::skip]
static MPT_KEYS: &[Key] = &[
    key(Field::Vocab,          &["vocab_size"],                     "vocab_size",                   Default::Is(Scalar::Count(50368))),
    key(Field::Context,        &["max_seq_len"],                    "context_length",               Default::Is(Scalar::Count(2048))),
    key(Field::Hidden,         &["d_model", "hidden_size"],         "embedding_length",             Default::Is(Scalar::Count(2048))),
    key(Field::Layers,         &["n_layers", "num_hidden_layers"],  "block_count",                  Default::Is(Scalar::Count(24))),
    key(Field::FeedForward,    &[],                                 "feed_forward_length",          Default::From(four_times_hidden)),
    key(Field::Heads,          &["n_heads", "num_attention_heads"], "attention.head_count",         Default::Is(Scalar::Count(16))),
    key(Field::KvHeads,        &[],                                 "",                             Default::Same(Field::Heads)),
    key(Field::KeyDim,         &[],                                 "",                             Default::From(head_size)),
    key(Field::ValueDim,       &[],                                 "",                             Default::From(head_size)),
    key(Field::NormEpsilon,    &["layer_norm_epsilon"],             "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::Alibi,          &[],                                 "attention.max_alibi_bias",     Default::Is(Scalar::Real(8.0))),
    key(Field::Activation,     &[],                                 "",                             Default::Is(Scalar::Activation(Activation::Gelu))),
    key(Field::QkvClip,        &["attn_config.clip_qkv"],           "attention.clamp_kqv",          Default::None),
    key(Field::AttentionScale, &["attn_config.softmax_scale"],      "",                             Default::None),
];

#[rustfmt::skip]
static MPT_ROWS: &[Row] = &[
    row(Role::Embedding,       &[at("transformer.wte")],                                          &[at("token_embd")],                         Fix::Keep, Need::Always, Bias::Never),
    row(Role::AttentionNorm,   &[at("transformer.blocks.{i}.norm_1")],                            &[at("blk.{i}.attn_norm")],                  Fix::Keep, Need::Always, Bias::Never),
    row(Role::Query,           &[part("transformer.blocks.{i}.attn.Wqkv", Groups::One, 0)],       &[part("blk.{i}.attn_qkv", Groups::One, 0)], Fix::Keep, Need::Always, Bias::Never),
    row(Role::Key,             &[part("transformer.blocks.{i}.attn.Wqkv", Groups::One, 1)],       &[part("blk.{i}.attn_qkv", Groups::One, 1)], Fix::Keep, Need::Always, Bias::Never),
    row(Role::Value,           &[part("transformer.blocks.{i}.attn.Wqkv", Groups::One, 2)],       &[part("blk.{i}.attn_qkv", Groups::One, 2)], Fix::Keep, Need::Always, Bias::Never),
    row(Role::AttentionOutput, &[at("transformer.blocks.{i}.attn.out_proj")],                     &[at("blk.{i}.attn_output")],                Fix::Keep, Need::Always, Bias::Never),
    row(Role::FeedForwardNorm, &[at("transformer.blocks.{i}.norm_2")],                            &[at("blk.{i}.ffn_norm")],                   Fix::Keep, Need::Always, Bias::Never),
    row(Role::Up,              &[at("transformer.blocks.{i}.ffn.up_proj")],                       &[at("blk.{i}.ffn_up")],                     Fix::Keep, Need::Always, Bias::Never),
    row(Role::Down,            &[at("transformer.blocks.{i}.ffn.down_proj")],                     &[at("blk.{i}.ffn_down")],                   Fix::Keep, Need::Always, Bias::Never),
    row(Role::OutputNorm,      &[at("transformer.norm_f")],                                       &[at("output_norm")],                        Fix::Keep, Need::Always, Bias::Never),
    row(Role::Output,          &[at("lm_head")],                                                  &[at("output")],                             Fix::Keep, Need::UnlessTied(Role::Embedding), Bias::Never),
];
