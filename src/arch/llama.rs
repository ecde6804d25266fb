//! Llama, and Mistral, which is Llama with a sliding window: <https://arxiv.org/abs/2302.13971>,
//! <https://arxiv.org/abs/2310.06825>.
//!
//! GGUF wants each head's query and key rows interleaved (x0 y0 x1 y1 …) where Hugging Face has
//! halves (x0 x1 … y0 y1 …): `Interleave`. llama.cpp knows Mistral as `llama`, and ignores its
//! window. Llama 3.1's frequency scaling is a tensor in GGUF, numbers in config.json.

use super::table::{
    Arch, Bias, BlockShape, Default, Fix, Hooks, Key, Need, Pairing, Role, Row, at, key, row,
};
use crate::ir::{Activation, Field, Hyper, Scalar};

/// `LlamaForCausalLM`.
pub(super) static LLAMA: Arch = Arch {
    gguf: "llama",
    in_llama_cpp: true,
    hf: &["LlamaForCausalLM"],
    model_type: "llama",
    keys: &[KEYS],
    when: |_| true,
    hooks: Hooks::NONE,
    expects: &[],
    ignored: &[],
    unknown: &[],
    tied: false,
    optional_prefix: "model.",
    rows: &[ROWS],
    drops: DROPS,
    forgets: &[],
    block: BlockShape { gguf_pairing: Pairing::Pairs, ..BlockShape::USUAL },
};

/// `MistralForCausalLM`.
pub(super) static MISTRAL: Arch = Arch {
    hf: &["MistralForCausalLM"],
    model_type: "mistral",
    keys: &[KEYS, MISTRAL_KEYS],
    ignored: &[Field::SlidingWindow],
    ..LLAMA
};

/// What most decoders state, and how.
#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    //  ours                  config.json                    gguf                                   where nothing is said
    key(Field::Vocab,         &["vocab_size"],               "vocab_size",                          Default::Required),
    key(Field::Context,       &["max_position_embeddings"],  "context_length",                      Default::Is(Scalar::Count(2048))),
    key(Field::Hidden,        &["hidden_size"],              "embedding_length",                    Default::Required),
    key(Field::Layers,        &["num_hidden_layers"],        "block_count",                         Default::Required),
    key(Field::FeedForward,   &["intermediate_size"],        "feed_forward_length",                 Default::Required),
    key(Field::Heads,         &["num_attention_heads"],      "attention.head_count",                Default::Required),
    key(Field::KvHeads,       &["num_key_value_heads"],      "attention.head_count_kv",             Default::Same(Field::Heads)),
    key(Field::KeyDim,        &["head_dim"],                 "attention.key_length",                Default::From(head_size)),
    key(Field::ValueDim,      &["head_dim"],                 "attention.value_length",              Default::From(head_size)),
    key(Field::NormEpsilon,   &["rms_norm_eps"],             "attention.layer_norm_rms_epsilon",    Default::Is(Scalar::Real(1e-6))),
    key(Field::RopeDims,      &[],                           "rope.dimension_count",                Default::Same(Field::KeyDim)),
    key(Field::RopeTheta,     THETA,                         "rope.freq_base",                      Default::Is(Scalar::Real(10000.0))),
    key(Field::Activation,    &["hidden_act"],               "",                                    Default::Is(Scalar::Activation(Activation::Silu))),
];

#[rustfmt::skip]
static MISTRAL_KEYS: &[Key] = &[
    key(Field::Context,       &["max_position_embeddings"],  "context_length",                      Default::Is(Scalar::Count(4096 * 32))),
    key(Field::KvHeads,       &["num_key_value_heads"],      "attention.head_count_kv",             Default::Is(Scalar::Count(8))),
    key(Field::SlidingWindow, &["sliding_window"],           "attention.sliding_window",            Default::Is(Scalar::Count(4096))),
];

/// `rope_parameters` is of transformers 5, which still prefers a `rope_scaling`.
pub(super) static THETA: &[&str] =
    &["rope_theta", "rope_parameters.rope_theta", "rope_scaling.rope_theta"];

/// What most decoders have.
#[rustfmt::skip]
pub(super) static ROWS: &[Row] = &[
    //  for                      hugging face                                            gguf                             fix                              needed                              bias
    row(Role::Embedding,         &[at("model.embed_tokens")],                            &[at("token_embd")],             Fix::Keep,                       Need::Always,                       Bias::Never),
    row(Role::AttentionNorm,     &[at("model.layers.{i}.input_layernorm")],              &[at("blk.{i}.attn_norm")],      Fix::Keep,                       Need::Always,                       Bias::Never),
    row(Role::Query,             &[at("model.layers.{i}.self_attn.q_proj")],             &[at("blk.{i}.attn_q")],         Fix::Interleave(Field::Heads),   Need::Always,                       Bias::If("attention_bias", false)),
    row(Role::Key,               &[at("model.layers.{i}.self_attn.k_proj")],             &[at("blk.{i}.attn_k")],         Fix::Interleave(Field::KvHeads), Need::Always,                       Bias::If("attention_bias", false)),
    row(Role::Value,             &[at("model.layers.{i}.self_attn.v_proj")],             &[at("blk.{i}.attn_v")],         Fix::Keep,                       Need::Always,                       Bias::If("attention_bias", false)),
    row(Role::AttentionOutput,   &[at("model.layers.{i}.self_attn.o_proj")],             &[at("blk.{i}.attn_output")],    Fix::Keep,                       Need::Always,                       Bias::If("attention_bias", false)),
    row(Role::FeedForwardNorm,   &[at("model.layers.{i}.post_attention_layernorm")],     &[at("blk.{i}.ffn_norm")],       Fix::Keep,                       Need::Always,                       Bias::Never),
    row(Role::Gate,              &[at("model.layers.{i}.mlp.gate_proj")],                &[at("blk.{i}.ffn_gate")],       Fix::Keep,                       Need::Always,                       Bias::If("mlp_bias", false)),
    row(Role::Up,                &[at("model.layers.{i}.mlp.up_proj")],                  &[at("blk.{i}.ffn_up")],         Fix::Keep,                       Need::Always,                       Bias::If("mlp_bias", false)),
    row(Role::Down,              &[at("model.layers.{i}.mlp.down_proj")],                &[at("blk.{i}.ffn_down")],       Fix::Keep,                       Need::Always,                       Bias::If("mlp_bias", false)),
    row(Role::OutputNorm,        &[at("model.norm")],                                    &[at("output_norm")],            Fix::Keep,                       Need::Always,                       Bias::Never),
    row(Role::Output,            &[at("lm_head")],                                       &[at("output")],                 Fix::Keep,                       Need::UnlessTied(Role::Embedding),  Bias::Never),
    row(Role::RopeFactors,       &[],                                                    &[at("rope_freqs")],             Fix::FromScaling,                Need::Optional,                     Bias::Never),
    row(Role::RopeLong,          &[],                                                    &[at("rope_factors_long")],      Fix::FromScaling,                Need::Optional,                     Bias::Never),
    row(Role::RopeShort,         &[],                                                    &[at("rope_factors_short")],     Fix::FromScaling,                Need::Optional,                     Bias::Never),
];

/// Queries and keys whose rows GGUF leaves in halves: what most families but Llama have.
#[rustfmt::skip]
pub(super) static HALVES: &[Row] = &[
    row(Role::Query,             &[at("model.layers.{i}.self_attn.q_proj")],             &[at("blk.{i}.attn_q")],         Fix::Keep,                       Need::Always,                       Bias::If("attention_bias", false)),
    row(Role::Key,               &[at("model.layers.{i}.self_attn.k_proj")],             &[at("blk.{i}.attn_k")],         Fix::Keep,                       Need::Always,                       Bias::If("attention_bias", false)),
];

/// Checkpoints before transformers 4.32 carry these.
pub(super) static DROPS: &[(&str, &str)] = &[
    ("model.layers.{i}.self_attn.rotary_emb.inv_freq", "follows from rope theta"),
    ("model.rotary_emb.inv_freq", "follows from rope theta"),
];

/// The size of a head where it is not stated.
pub(super) fn head_size(hyper: &Hyper) -> Option<Scalar> {
    let (hidden, heads) = (hyper.hidden?, hyper.heads?);
    hidden.checked_div(heads).map(Scalar::Count)
}
