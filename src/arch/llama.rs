//! Llama, and Mistral, which is Llama with a sliding window: <https://arxiv.org/abs/2302.13971>,
//! <https://arxiv.org/abs/2310.06825>.
//!
//! GGUF wants each head's query and key rows interleaved (x0 y0 x1 y1 …) where Hugging Face has
//! halves (x0 x1 … y0 y1 …): `Interleave`. llama.cpp knows Mistral as `llama`, and ignores its
//! window. Llama 3.1's frequency scaling is a tensor in GGUF, numbers in config.json.

use super::table::{
    Activation, Arch, Bias, BlockShape, Default, FeedForward, Fix, Key, Need, Norm, Pairing, Role,
    Row,
};
use crate::ir::{Field, Hyper, Scalar};

/// `LlamaForCausalLM`.
#[rustfmt::skip]
pub(super) static LLAMA: Arch = Arch {
    gguf: "llama",
    hf: &["LlamaForCausalLM"],
    model_type: "llama",
    keys: &[
        //  ours                  config.json                                       gguf                                   where nothing is said
        key(Field::Vocab,         &["vocab_size"],                                  "vocab_size",                          Default::Required),
        key(Field::Context,       &["max_position_embeddings"],                     "context_length",                      Default::Is(Scalar::Count(2048))),
        key(Field::Hidden,        &["hidden_size"],                                 "embedding_length",                    Default::Required),
        key(Field::Layers,        &["num_hidden_layers"],                           "block_count",                         Default::Required),
        key(Field::FeedForward,   &["intermediate_size"],                           "feed_forward_length",                 Default::Required),
        key(Field::Heads,         &["num_attention_heads"],                         "attention.head_count",                Default::Required),
        key(Field::KvHeads,       &["num_key_value_heads"],                         "attention.head_count_kv",             Default::Same(Field::Heads)),
        key(Field::KeyDim,        &["head_dim"],                                    "attention.key_length",                Default::From(head_size)),
        key(Field::ValueDim,      &["head_dim"],                                    "attention.value_length",              Default::From(head_size)),
        key(Field::NormEpsilon,   &["rms_norm_eps"],                                "attention.layer_norm_rms_epsilon",    Default::Is(Scalar::Real(1e-6))),
        key(Field::RopeDims,      &[],                                              "rope.dimension_count",                Default::Same(Field::KeyDim)),
        key(Field::RopeTheta,     THETA,                                            "rope.freq_base",                      Default::Is(Scalar::Real(10000.0))),
        key(Field::SlidingWindow, &[],                                              "attention.sliding_window",            Default::None),
    ],
    differs: &[],
    expects: &[("hidden_act", &["silu", "swish"])],
    optional_prefix: "model.",
    rows: ROWS,
    drops: DROPS,
    block: BLOCK,
};

/// `MistralForCausalLM`.
#[rustfmt::skip]
pub(super) static MISTRAL: Arch = Arch {
    gguf: "llama",
    hf: &["MistralForCausalLM"],
    model_type: "mistral",
    differs: &[
        key(Field::Context,       &["max_position_embeddings"],                     "context_length",                      Default::Is(Scalar::Count(4096 * 32))),
        key(Field::KvHeads,       &["num_key_value_heads"],                         "attention.head_count_kv",             Default::Is(Scalar::Count(8))),
        key(Field::SlidingWindow, &["sliding_window"],                              "attention.sliding_window",            Default::Is(Scalar::Count(4096))),
    ],
    ..LLAMA
};

/// `rope_parameters` is of transformers 5, which still prefers a `rope_scaling`.
static THETA: &[&str] = &["rope_theta", "rope_parameters.rope_theta", "rope_scaling.rope_theta"];

#[rustfmt::skip]
static ROWS: &[Row] = &[
    //  for                      hugging face                                        gguf                     fix                              needed                              bias
    row(Role::Embedding,         &["model.embed_tokens"],                            "token_embd",            Fix::Keep,                       Need::Always,                       Bias::Never),
    row(Role::AttentionNorm,     &["model.layers.{i}.input_layernorm"],              "blk.{i}.attn_norm",     Fix::Keep,                       Need::Always,                       Bias::Never),
    row(Role::Query,             &["model.layers.{i}.self_attn.q_proj"],             "blk.{i}.attn_q",        Fix::Interleave(Field::Heads),   Need::Always,                       Bias::If("attention_bias")),
    row(Role::Key,               &["model.layers.{i}.self_attn.k_proj"],             "blk.{i}.attn_k",        Fix::Interleave(Field::KvHeads), Need::Always,                       Bias::If("attention_bias")),
    row(Role::Value,             &["model.layers.{i}.self_attn.v_proj"],             "blk.{i}.attn_v",        Fix::Keep,                       Need::Always,                       Bias::If("attention_bias")),
    row(Role::AttentionOutput,   &["model.layers.{i}.self_attn.o_proj"],             "blk.{i}.attn_output",   Fix::Keep,                       Need::Always,                       Bias::If("attention_bias")),
    row(Role::FeedForwardNorm,   &["model.layers.{i}.post_attention_layernorm"],     "blk.{i}.ffn_norm",      Fix::Keep,                       Need::Always,                       Bias::Never),
    row(Role::Gate,              &["model.layers.{i}.mlp.gate_proj"],                "blk.{i}.ffn_gate",      Fix::Keep,                       Need::Always,                       Bias::If("mlp_bias")),
    row(Role::Up,                &["model.layers.{i}.mlp.up_proj"],                  "blk.{i}.ffn_up",        Fix::Keep,                       Need::Always,                       Bias::If("mlp_bias")),
    row(Role::Down,              &["model.layers.{i}.mlp.down_proj"],                "blk.{i}.ffn_down",      Fix::Keep,                       Need::Always,                       Bias::If("mlp_bias")),
    row(Role::OutputNorm,        &["model.norm"],                                    "output_norm",           Fix::Keep,                       Need::Always,                       Bias::Never),
    row(Role::Output,            &["lm_head"],                                       "output",                Fix::Keep,                       Need::UnlessTied(Role::Embedding),  Bias::Never),
    row(Role::RopeFactors,       &[],                                                "rope_freqs",            Fix::FromScaling,                Need::Optional,                     Bias::Never),
];

/// Checkpoints before transformers 4.32 carry these.
static DROPS: &[(&str, &str)] = &[
    ("model.layers.{i}.self_attn.rotary_emb.inv_freq", "follows from rope theta"),
    ("model.rotary_emb.inv_freq", "follows from rope theta"),
];

static BLOCK: BlockShape = BlockShape {
    norm: Norm::Rms,
    gguf_pairing: Pairing::Pairs,
    feed_forward: FeedForward::Gated(Activation::Silu),
};

const fn key(
    field: Field,
    json: &'static [&'static str],
    gguf: &'static str,
    default: Default,
) -> Key {
    Key { field, json, gguf, default }
}

const fn row(
    role: Role,
    hf: &'static [&'static str],
    gguf: &'static str,
    fix: Fix,
    need: Need,
    bias: Bias,
) -> Row {
    Row { role, hf, gguf, fix, need, bias }
}

fn head_size(hyper: &Hyper) -> Option<Scalar> {
    let (hidden, heads) = (hyper.hidden?, hyper.heads?);
    hidden.checked_div(heads).map(Scalar::Count)
}
