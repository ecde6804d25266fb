//! GPT-NeoX, Pythia: <https://arxiv.org/abs/2204.06745>; and GPT-J, from which it comes.
//!
//! NeoX has each head's query, key and value in turn as one tensor, which GGUF sorts. llama.cpp
//! has no GPT-J.

use super::gpt2::{attention_scale, four_times_hidden};
use super::llama::{LLAMA, head_size};
use super::table::{
    Arch, Bias, BlockShape, Default, Fix, Groups, Hooks, Key, Need, Norm, Pairing, Role, Row, at,
    key, part, row,
};
use crate::ir::{Activation, Field, Hyper, Scalar};

/// `GPTNeoXForCausalLM`.
pub(super) static GPT_NEOX: Arch = Arch {
    gguf: "gptneox",
    hf: &["GPTNeoXForCausalLM"],
    model_type: "gpt_neox",
    keys: &[NEOX_KEYS],
    optional_prefix: "gpt_neox.",
    rows: &[NEOX_ROWS],
    drops: NEOX_DROPS,
    block: BlockShape { norm: Norm::Layer, ..BlockShape::USUAL },
    ..LLAMA
};

/// `GPTJForCausalLM`.
pub(super) static GPTJ: Arch = Arch {
    gguf: "gptj",
    in_llama_cpp: false,
    hf: &["GPTJForCausalLM"],
    model_type: "gptj",
    keys: &[GPTJ_KEYS],
    hooks: Hooks { from_json: attention_scale, ..Hooks::NONE },
    optional_prefix: "transformer.",
    rows: &[GPTJ_ROWS],
    drops: GPTJ_DROPS,
    block: BlockShape {
        norm: Norm::Layer,
        hf_pairing: Pairing::Pairs,
        gguf_pairing: Pairing::Pairs,
        ..BlockShape::USUAL
    },
    ..LLAMA
};

#[rustfmt::skip]
static NEOX_KEYS: &[Key] = &[
    key(Field::Vocab,       &["vocab_size"],               "vocab_size",                   Default::Is(Scalar::Count(50432))),
    key(Field::Context,     &["max_position_embeddings"],  "context_length",               Default::Is(Scalar::Count(2048))),
    key(Field::Hidden,      &["hidden_size"],              "embedding_length",             Default::Is(Scalar::Count(6144))),
    key(Field::Layers,      &["num_hidden_layers"],        "block_count",                  Default::Is(Scalar::Count(44))),
    key(Field::FeedForward, &["intermediate_size"],        "feed_forward_length",          Default::Is(Scalar::Count(24576))),
    key(Field::Heads,       &["num_attention_heads"],      "attention.head_count",         Default::Is(Scalar::Count(64))),
    key(Field::KvHeads,     &[],                           "",                             Default::Same(Field::Heads)),
    key(Field::KeyDim,      &[],                           "",                             Default::From(head_size)),
    key(Field::ValueDim,    &[],                           "",                             Default::From(head_size)),
    key(Field::NormEpsilon, &["layer_norm_eps"],           "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::RopeDims,    &["rotary_pct", "partial_rotary_factor", "rope_parameters.partial_rotary_factor"], "rope.dimension_count", Default::From(quarter_of_head)),
    key(Field::RopeTheta,   &["rotary_emb_base", "rope_theta", "rope_parameters.rope_theta"], "rope.freq_base", Default::Is(Scalar::Real(10000.0))),
    key(Field::Activation,  &["hidden_act"],               "",                             Default::Is(Scalar::Activation(Activation::Gelu))),
    key(Field::Parallel,    &["use_parallel_residual"],    "use_parallel_residual",        Default::Is(Scalar::Flag(true))),
];

const QKV: Groups = Groups::Of(Field::Heads);

#[rustfmt::skip]
static NEOX_ROWS: &[Row] = &[
    row(Role::Embedding,       &[at("gpt_neox.embed_in")],                                      &[at("token_embd")],                         Fix::Keep, Need::Always, Bias::Never),
    row(Role::AttentionNorm,   &[at("gpt_neox.layers.{i}.input_layernorm")],                    &[at("blk.{i}.attn_norm")],                  Fix::Keep, Need::Always, Bias::Always),
    row(Role::Query,           &[part("gpt_neox.layers.{i}.attention.query_key_value", QKV, 0)], &[part("blk.{i}.attn_qkv", Groups::One, 0)], Fix::Keep, Need::Always, Bias::If("attention_bias", true)),
    row(Role::Key,             &[part("gpt_neox.layers.{i}.attention.query_key_value", QKV, 1)], &[part("blk.{i}.attn_qkv", Groups::One, 1)], Fix::Keep, Need::Always, Bias::If("attention_bias", true)),
    row(Role::Value,           &[part("gpt_neox.layers.{i}.attention.query_key_value", QKV, 2)], &[part("blk.{i}.attn_qkv", Groups::One, 2)], Fix::Keep, Need::Always, Bias::If("attention_bias", true)),
    row(Role::AttentionOutput, &[at("gpt_neox.layers.{i}.attention.dense")],                    &[at("blk.{i}.attn_output")],                Fix::Keep, Need::Always, Bias::If("attention_bias", true)),
    row(Role::FeedForwardNorm, &[at("gpt_neox.layers.{i}.post_attention_layernorm")],           &[at("blk.{i}.ffn_norm")],                   Fix::Keep, Need::Always, Bias::Always),
    row(Role::Up,              &[at("gpt_neox.layers.{i}.mlp.dense_h_to_4h")],                  &[at("blk.{i}.ffn_up")],                     Fix::Keep, Need::Always, Bias::Always),
    row(Role::Down,            &[at("gpt_neox.layers.{i}.mlp.dense_4h_to_h")],                  &[at("blk.{i}.ffn_down")],                   Fix::Keep, Need::Always, Bias::Always),
    row(Role::OutputNorm,      &[at("gpt_neox.final_layer_norm")],                              &[at("output_norm")],                        Fix::Keep, Need::Always, Bias::Always),
    row(Role::Output,          &[at("embed_out"), at("lm_head")],                               &[at("output")],                             Fix::Keep, Need::UnlessTied(Role::Embedding), Bias::Never),
];

#[rustfmt::skip]
static NEOX_DROPS: &[(&str, &str)] = &[
    ("gpt_neox.layers.{i}.attention.bias",                "the causal mask"),
    ("gpt_neox.layers.{i}.attention.masked_bias",         "the causal mask"),
    ("gpt_neox.layers.{i}.attention.rotary_emb.inv_freq", "follows from rope theta"),
];

#[rustfmt::skip]
static GPTJ_KEYS: &[Key] = &[
    key(Field::Vocab,       &["vocab_size"],                             "vocab_size",                   Default::Is(Scalar::Count(50400))),
    key(Field::Context,     &["n_positions", "max_position_embeddings"], "context_length",               Default::Is(Scalar::Count(2048))),
    key(Field::Hidden,      &["n_embd", "hidden_size"],                  "embedding_length",             Default::Is(Scalar::Count(4096))),
    key(Field::Layers,      &["n_layer", "num_hidden_layers"],           "block_count",                  Default::Is(Scalar::Count(28))),
    key(Field::FeedForward, &["n_inner"],                                "feed_forward_length",          Default::From(four_times_hidden)),
    key(Field::Heads,       &["n_head", "num_attention_heads"],          "attention.head_count",         Default::Is(Scalar::Count(16))),
    key(Field::KvHeads,     &[],                                         "",                             Default::Same(Field::Heads)),
    key(Field::KeyDim,      &[],                                         "",                             Default::From(head_size)),
    key(Field::ValueDim,    &[],                                         "",                             Default::From(head_size)),
    key(Field::NormEpsilon, &["layer_norm_epsilon"],                     "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::RopeDims,    &["rotary_dim"],                             "rope.dimension_count",         Default::Is(Scalar::Count(64))),
    key(Field::RopeTheta,   &[],                                         "rope.freq_base",               Default::Is(Scalar::Real(10000.0))),
    key(Field::Activation,  &["activation_function"],                    "",                             Default::Is(Scalar::Activation(Activation::GeluTanh))),
    key(Field::Parallel,    &[],                                         "",                             Default::Is(Scalar::Flag(true))),
];

#[rustfmt::skip]
static GPTJ_ROWS: &[Row] = &[
    row(Role::Embedding,       &[at("transformer.wte")],                  &[at("token_embd")],          Fix::Keep, Need::Always, Bias::Never),
    row(Role::AttentionNorm,   &[at("transformer.h.{i}.ln_1")],           &[at("blk.{i}.attn_norm")],   Fix::Keep, Need::Always, Bias::Always),
    row(Role::Query,           &[at("transformer.h.{i}.attn.q_proj")],    &[at("blk.{i}.attn_q")],      Fix::Keep, Need::Always, Bias::Never),
    row(Role::Key,             &[at("transformer.h.{i}.attn.k_proj")],    &[at("blk.{i}.attn_k")],      Fix::Keep, Need::Always, Bias::Never),
    row(Role::Value,           &[at("transformer.h.{i}.attn.v_proj")],    &[at("blk.{i}.attn_v")],      Fix::Keep, Need::Always, Bias::Never),
    row(Role::AttentionOutput, &[at("transformer.h.{i}.attn.out_proj")],  &[at("blk.{i}.attn_output")], Fix::Keep, Need::Always, Bias::Never),
    row(Role::Up,              &[at("transformer.h.{i}.mlp.fc_in")],      &[at("blk.{i}.ffn_up")],      Fix::Keep, Need::Always, Bias::Always),
    row(Role::Down,            &[at("transformer.h.{i}.mlp.fc_out")],     &[at("blk.{i}.ffn_down")],    Fix::Keep, Need::Always, Bias::Always),
    row(Role::OutputNorm,      &[at("transformer.ln_f")],                 &[at("output_norm")],         Fix::Keep, Need::Always, Bias::Always),
    row(Role::Output,          &[at("lm_head")],                          &[at("output")],              Fix::Keep, Need::UnlessTied(Role::Embedding), Bias::Always),
];

#[rustfmt::skip]
static GPTJ_DROPS: &[(&str, &str)] = &[
    ("transformer.h.{i}.attn.bias",            "the causal mask"),
    ("transformer.h.{i}.attn.masked_bias",     "the causal mask"),
    ("transformer.h.{i}.attn.embed_positions", "follows from the rotary dimensions"),
];

/// A quarter of each head, where nothing is said.
pub(super) fn quarter_of_head(hyper: &Hyper) -> Option<Scalar> {
    hyper.key_dim.map(|dim| Scalar::Count(dim / 4))
}
