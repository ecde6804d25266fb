//! Gemma: <https://arxiv.org/abs/2403.08295>.
//!
//! Scales of norms are stored less 1 by Hugging Face, whole by GGUF. The embedding is multiplied
//! by the root of its size.

use super::llama::{HALVES, KEYS, LLAMA, ROWS};
use super::table::{
    Arch, Bias, BlockShape, Default, Expected, Fix, Hooks, Key, Need, Role, Row, at, key, row,
};
use crate::ir::{Activation, Config, Field, Hyper, Result, Scalar, Value};

/// `GemmaForCausalLM`.
pub(super) static GEMMA: Arch = Arch {
    gguf: "gemma",
    hf: &["GemmaForCausalLM"],
    model_type: "gemma",
    keys: &[KEYS, GEMMA_KEYS],
    hooks: Hooks { from_json: activation, ..Hooks::NONE },
    expects: &[("use_bidirectional_attention", Expected::Flag(false))],
    tied: true,
    rows: &[ROWS, HALVES, NORMS],
    block: BlockShape { hf_norm_lacks: 1.0, ..BlockShape::USUAL },
    ..LLAMA
};

#[rustfmt::skip]
pub(super) static GEMMA_KEYS: &[Key] = &[
    key(Field::Context,        &["max_position_embeddings"], "context_length",         Default::Is(Scalar::Count(8192))),
    key(Field::KeyDim,         &["head_dim"],                "attention.key_length",   Default::Is(Scalar::Count(256))),
    key(Field::ValueDim,       &["head_dim"],                "attention.value_length", Default::Is(Scalar::Count(256))),
    key(Field::Activation,     &["hidden_act"],              "",                       Default::Is(Scalar::Activation(Activation::GeluTanh))),
    key(Field::EmbeddingScale, &[],                          "",                       Default::From(root_of_hidden)),
];

#[rustfmt::skip]
static NORMS: &[Row] = &[
    row(Role::AttentionNorm,   &[at("model.layers.{i}.input_layernorm")],          &[at("blk.{i}.attn_norm")], Fix::Add(1.0), Need::Always, Bias::Never),
    row(Role::FeedForwardNorm, &[at("model.layers.{i}.post_attention_layernorm")], &[at("blk.{i}.ffn_norm")],  Fix::Add(1.0), Need::Always, Bias::Never),
    row(Role::OutputNorm,      &[at("model.norm")],                                &[at("output_norm")],       Fix::Add(1.0), Need::Always, Bias::Never),
];

/// The multiplier of the embedding.
pub(super) fn root_of_hidden(hyper: &Hyper) -> Option<Scalar> {
    hyper.hidden.map(|hidden| Scalar::Real((hidden as f64).sqrt() as f32))
}

/// The first checkpoints say `gelu` and mean its approximation.
fn activation(config: &Config, hyper: &mut Hyper) -> Result<()> {
    if config.get("hidden_act").and_then(Value::as_text) == Some("gelu") {
        hyper.activation = Some(Activation::GeluTanh);
    }
    Ok(())
}
