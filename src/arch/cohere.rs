//! Command R: <https://docs.cohere.com/docs/command-r>; and Granite, SmolLM 3 and GLM 4, which are
//! Llamas but for a few numbers: <https://arxiv.org/abs/2407.13739>,
//! <https://huggingface.co/blog/smollm3>, <https://arxiv.org/abs/2406.12793>.
//!
//! Command R has attention and feed-forward side by side after one norm. Granite multiplies
//! embedding, attention, what joins the stream, and divides logits. SmolLM 3 does not rotate every
//! fourth layer. GLM 4 rotates pairs of half of each head, and has norms before and after.

use super::json::lookup;
use super::layers;
use super::llama::{HALVES, KEYS, LLAMA, ROWS, THETA};
use super::phi::{FUSED_GATE, PARTIAL, half_of_head};
use super::table::{
    Arch, Bias, BlockShape, Default, Entries, Fix, Hooks, Key, Need, Norm, Pairing, QueryNorm,
    Role, Row, at, key, row,
};
use crate::ir::value::List;
use crate::ir::{Config, Error, Field, Hyper, LayerSet, Model, Result, Scalar, Value};

/// `CohereForCausalLM`.
pub(super) static COHERE: Arch = Arch {
    gguf: "command-r",
    hf: &["CohereForCausalLM"],
    model_type: "cohere",
    keys: &[KEYS, COHERE_KEYS],
    tied: true,
    rows: &[ROWS, HALVES, COHERE_ROWS],
    block: BlockShape {
        norm: Norm::Layer,
        hf_pairing: Pairing::Pairs,
        gguf_pairing: Pairing::Pairs,
        query_norm: QueryNorm::EachHead,
        ..BlockShape::USUAL
    },
    ..LLAMA
};

/// `GraniteForCausalLM`.
pub(super) static GRANITE: Arch = Arch {
    gguf: "granite",
    hf: &["GraniteForCausalLM"],
    model_type: "granite",
    keys: &[KEYS, GRANITE_KEYS],
    ..LLAMA
};

/// `SmolLM3ForCausalLM`.
pub(super) static SMOLLM3: Arch = Arch {
    gguf: "smollm3",
    hf: &["SmolLM3ForCausalLM"],
    model_type: "smollm3",
    keys: &[KEYS, SMOLLM3_KEYS],
    hooks: Hooks {
        from_json: smollm3_from_json,
        from_gguf: smollm3_from_gguf,
        to_json: smollm3_to_json,
        ..Hooks::NONE
    },
    tied: true,
    ..LLAMA
};

/// `Glm4ForCausalLM`.
pub(super) static GLM4: Arch = Arch {
    gguf: "glm4",
    hf: &["Glm4ForCausalLM"],
    model_type: "glm4",
    keys: &[KEYS, GLM4_KEYS],
    rows: &[ROWS, FUSED_GATE, GLM4_ROWS],
    block: BlockShape {
        hf_pairing: Pairing::Pairs,
        gguf_pairing: Pairing::Pairs,
        ..BlockShape::USUAL
    },
    ..LLAMA
};

#[rustfmt::skip]
static COHERE_KEYS: &[Key] = &[
    key(Field::Context,        &["max_position_embeddings"], "context_length",               Default::Is(Scalar::Count(8192))),
    key(Field::NormEpsilon,    &["layer_norm_eps"],          "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
    key(Field::RopeTheta,      THETA,                        "rope.freq_base",               Default::Is(Scalar::Real(500_000.0))),
    key(Field::LogitScale,     &["logit_scale"],             "logit_scale",                  Default::Is(Scalar::Real(0.0625))),
    key(Field::Parallel,       &[],                          "",                             Default::Is(Scalar::Flag(true))),
];

#[rustfmt::skip]
static COHERE_ROWS: &[Row] = &[
    row(Role::FeedForwardNorm, &[],                                         &[],                          Fix::Keep, Need::Optional,                 Bias::Never),
    row(Role::QueryNorm,       &[at("model.layers.{i}.self_attn.q_norm")],  &[at("blk.{i}.attn_q_norm")], Fix::Keep, Need::If("use_qk_norm", false), Bias::Never),
    row(Role::KeyNorm,         &[at("model.layers.{i}.self_attn.k_norm")],  &[at("blk.{i}.attn_k_norm")], Fix::Keep, Need::If("use_qk_norm", false), Bias::Never),
];

#[rustfmt::skip]
static GRANITE_KEYS: &[Key] = &[
    key(Field::EmbeddingScale, &["embedding_multiplier"],    "embedding_scale",              Default::Is(Scalar::Real(1.0))),
    key(Field::LogitDivisor,   &["logits_scaling"],          "logit_scale",                  Default::Is(Scalar::Real(1.0))),
    key(Field::ResidualScale,  &["residual_multiplier"],     "residual_scale",               Default::Is(Scalar::Real(1.0))),
    key(Field::AttentionScale, &["attention_multiplier"],    "attention.scale",              Default::Is(Scalar::Real(1.0))),
];

#[rustfmt::skip]
static SMOLLM3_KEYS: &[Key] = &[
    key(Field::Context,        &["max_position_embeddings"], "context_length",               Default::Is(Scalar::Count(32768))),
    key(Field::KvHeads,        &["num_key_value_heads"],     "attention.head_count_kv",      Default::Is(Scalar::Count(4))),
    key(Field::RopeTheta,      THETA,                        "rope.freq_base",               Default::Is(Scalar::Real(2_000_000.0))),
];

#[rustfmt::skip]
static GLM4_KEYS: &[Key] = &[
    key(Field::Context,        &["max_position_embeddings"], "context_length",               Default::Is(Scalar::Count(131_072))),
    key(Field::KvHeads,        &["num_key_value_heads"],     "attention.head_count_kv",      Default::Is(Scalar::Count(2))),
    key(Field::KeyDim,         &["head_dim"],                "attention.key_length",         Default::Is(Scalar::Count(128))),
    key(Field::ValueDim,       &["head_dim"],                "attention.value_length",       Default::Is(Scalar::Count(128))),
    key(Field::NormEpsilon,    &["rms_norm_eps"],            "attention.layer_norm_rms_epsilon", Default::Is(Scalar::Real(1.5625e-7))),
    key(Field::RopeDims,       PARTIAL,                      "rope.dimension_count",         Default::From(half_of_head)),
];

#[rustfmt::skip]
static GLM4_ROWS: &[Row] = &[
    row(Role::Query,               &[at("model.layers.{i}.self_attn.q_proj")],         &[at("blk.{i}.attn_q")],              Fix::Keep, Need::Always, Bias::If("attention_bias", true)),
    row(Role::Key,                 &[at("model.layers.{i}.self_attn.k_proj")],         &[at("blk.{i}.attn_k")],              Fix::Keep, Need::Always, Bias::If("attention_bias", true)),
    row(Role::Value,               &[at("model.layers.{i}.self_attn.v_proj")],         &[at("blk.{i}.attn_v")],              Fix::Keep, Need::Always, Bias::If("attention_bias", true)),
    row(Role::AttentionOutput,     &[at("model.layers.{i}.self_attn.o_proj")],         &[at("blk.{i}.attn_output")],         Fix::Keep, Need::Always, Bias::Never),
    row(Role::AttentionPostNorm,   &[at("model.layers.{i}.post_self_attn_layernorm")], &[at("blk.{i}.post_attention_norm")], Fix::Keep, Need::Always, Bias::Never),
    row(Role::FeedForwardPostNorm, &[at("model.layers.{i}.post_mlp_layernorm")],       &[at("blk.{i}.post_ffw_norm")],       Fix::Keep, Need::Always, Bias::Never),
];

/// `no_rope_layers` has a 1 for each layer that rotates.
fn smollm3_from_json(config: &Config, hyper: &mut Hyper) -> Result<()> {
    let layers = hyper.layers.unwrap_or(0);
    hyper.unrotated = Some(match lookup(config, "no_rope_layers") {
        Some(Value::List(list)) if list.len() as u64 == layers => {
            let says = |layer: u64| list.get(layer as usize).and_then(|x| x.as_u64()) == Some(0);
            LayerSet::of(layers, says)
        }
        Some(Value::List(list)) => {
            let text = format!("config.json: {} no_rope_layers for {layers} layers", list.len());
            return Err(Error::malformed(text));
        }
        _ => {
            let every = config.get("no_rope_layer_interval").and_then(Value::as_u64);
            fourth(layers, every.unwrap_or(4).max(1))
        }
    });
    let unrotated = hyper.unrotated.unwrap_or_default();
    layers::windowed(config, hyper, ("sliding_window", None), |layer| unrotated.has(layer))?;
    // Where the layers are listed, the window counts whatever the flag says.
    if config.get("layer_types").is_none() {
        layers::only_if_used(config, hyper);
    }
    Ok(())
}

fn fourth(layers: u64, every: u64) -> LayerSet {
    LayerSet::of(layers, |layer| (layer + 1).is_multiple_of(every))
}

/// llama.cpp knows only models whose every fourth layer does not rotate.
fn smollm3_from_gguf(_: &Model, hyper: &mut Hyper) -> Result<()> {
    hyper.unrotated = Some(fourth(hyper.layers.unwrap_or(0), 4));
    Ok(())
}

fn smollm3_to_json(hyper: &Hyper, entries: &mut Entries) {
    layers::write(hyper, entries);
    entries.shift_remove("max_window_layers");
    let unrotated = hyper.unrotated.unwrap_or_default();
    let rotates = (0..hyper.layers.unwrap_or(0)).map(|layer| u64::from(!unrotated.has(layer)));
    entries.insert("no_rope_layers".into(), Value::List(List::U64(rotates.collect())));
}
