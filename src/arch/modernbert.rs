//! ModernBERT: <https://arxiv.org/abs/2412.13663>.
//!
//! Rotary positions, gated feed-forward, norms before; most layers see only half of
//! `local_attention` to either side, and rotate by a theta of their own. The first layer has no
//! norm before its attention: that of the embedding has been there.

use super::bert::head_size;
use super::layers;
use super::llama::LLAMA;
use super::table::{
    Arch, Bias, BlockShape, Default, Entries, Fix, Groups, Hooks, Key, Need, Norm, Plan, Role, Row,
    at, key, part, row,
};
use crate::ir::{Activation, Config, Field, Hyper, LayerSet, Model, Result, Scalar, Value};

/// `ModernBertForMaskedLM`.
pub(super) static MODERNBERT: Arch = Arch {
    gguf: "modern-bert",
    in_llama_cpp: true,
    hf: &["ModernBertForMaskedLM"],
    model_type: "modernbert",
    keys: &[KEYS, HEAD_KEYS],
    hooks: Hooks {
        from_json: layers_of_json,
        from_gguf: layers_of_gguf,
        to_json: layers_to_json,
        to_gguf: layers_to_gguf,
    },
    expects: &[],
    ignored: &[],
    unknown: &[Role::Output, Role::OutputBias],
    tied: true,
    optional_prefix: "model.",
    rows: &[BODY, HEAD],
    drops: &[],
    forgets: &[],
    block: BlockShape { norm: Norm::Layer, plan: Plan::Encoder, ..BlockShape::USUAL },
    ..LLAMA
};

/// `ModernBertModel`.
pub(super) static MODERNBERT_MODEL: Arch =
    Arch { hf: &["ModernBertModel"], rows: &[BODY], ..MODERNBERT };

#[rustfmt::skip]
static KEYS: &[Key] = &[
    //  ours                     config.json                                                     gguf                             where nothing is said
    key(Field::Vocab,            &["vocab_size"],                                                "vocab_size",                    Default::Is(Scalar::Count(50368))),
    key(Field::Context,          &["max_position_embeddings"],                                   "context_length",                Default::Is(Scalar::Count(8192))),
    key(Field::Hidden,           &["hidden_size"],                                               "embedding_length",              Default::Is(Scalar::Count(768))),
    key(Field::Layers,           &["num_hidden_layers"],                                         "block_count",                   Default::Is(Scalar::Count(22))),
    key(Field::Heads,            &["num_attention_heads"],                                       "attention.head_count",          Default::Is(Scalar::Count(12))),
    key(Field::KvHeads,          &[],                                                            "",                              Default::Same(Field::Heads)),
    key(Field::KeyDim,           &[],                                                            "",                              Default::From(head_size)),
    key(Field::ValueDim,         &[],                                                            "",                              Default::Same(Field::KeyDim)),
    key(Field::RopeDims,         &[],                                                            "",                              Default::Same(Field::KeyDim)),
    key(Field::FeedForward,      &["intermediate_size"],                                         "feed_forward_length",           Default::Is(Scalar::Count(1152))),
    key(Field::NormEpsilon,      &["norm_eps"],                                                  "attention.layer_norm_epsilon",  Default::Is(Scalar::Real(1e-5))),
    key(Field::RopeTheta,        &["global_rope_theta", "rope_parameters.full_attention.rope_theta"],    "rope.freq_base",        Default::Is(Scalar::Real(160_000.0))),
    key(Field::LocalTheta,       &["local_rope_theta", "rope_parameters.sliding_attention.rope_theta"],  "rope.freq_base_swa",    Default::Is(Scalar::Real(10_000.0))),
    key(Field::SlidingWindow,    &["local_attention"],                                           "attention.sliding_window",      Default::Is(Scalar::Count(128))),
    key(Field::Activation,       &["hidden_activation"],                                         "",                              Default::Is(GELU)),
];

#[rustfmt::skip]
static HEAD_KEYS: &[Key] = &[
    key(Field::HeadActivation,   &["classifier_activation"],                                     "",                              Default::Is(GELU)),
];

const GELU: Scalar = Scalar::Activation(Activation::Gelu);

const QKV: [super::Home; 3] = [
    part("model.layers.{i}.attn.Wqkv", Groups::One, 0),
    part("model.layers.{i}.attn.Wqkv", Groups::One, 1),
    part("model.layers.{i}.attn.Wqkv", Groups::One, 2),
];

const NORM: Bias = Bias::If("norm_bias", false);
const ATTENTION: Bias = Bias::If("attention_bias", false);
const MLP: Bias = Bias::If("mlp_bias", false);

#[rustfmt::skip]
static BODY: &[Row] = &[
    //  for                      hugging face                                       gguf                                         fix        needed           bias
    row(Role::Embedding,         &[at("model.embeddings.tok_embeddings")],          &[at("token_embd")],                         Fix::Keep, Need::Always,    Bias::Never),
    row(Role::EmbeddingNorm,     &[at("model.embeddings.norm")],                    &[at("token_embd_norm")],                    Fix::Keep, Need::Always,    NORM),
    row(Role::AttentionNorm,     &[at("model.layers.{i}.attn_norm")],               &[at("blk.{i}.attn_norm")],                  Fix::Keep, Need::AfterFirst, NORM),
    row(Role::Query,             &[QKV[0]],                                         &[part("blk.{i}.attn_qkv", Groups::One, 0)], Fix::Keep, Need::Always,    ATTENTION),
    row(Role::Key,               &[QKV[1]],                                         &[part("blk.{i}.attn_qkv", Groups::One, 1)], Fix::Keep, Need::Always,    ATTENTION),
    row(Role::Value,             &[QKV[2]],                                         &[part("blk.{i}.attn_qkv", Groups::One, 2)], Fix::Keep, Need::Always,    ATTENTION),
    row(Role::AttentionOutput,   &[at("model.layers.{i}.attn.Wo")],                 &[at("blk.{i}.attn_output")],                Fix::Keep, Need::Always,    ATTENTION),
    row(Role::FeedForwardNorm,   &[at("model.layers.{i}.mlp_norm")],                &[at("blk.{i}.ffn_norm")],                   Fix::Keep, Need::Always,    NORM),
    row(Role::Gate,              &[part("model.layers.{i}.mlp.Wi", Groups::One, 0)], &[part("blk.{i}.ffn_up", Groups::One, 0)],  Fix::Keep, Need::Always,    MLP),
    row(Role::Up,                &[part("model.layers.{i}.mlp.Wi", Groups::One, 1)], &[part("blk.{i}.ffn_up", Groups::One, 1)],  Fix::Keep, Need::Always,    MLP),
    row(Role::Down,              &[at("model.layers.{i}.mlp.Wo")],                  &[at("blk.{i}.ffn_down")],                   Fix::Keep, Need::Always,    MLP),
    row(Role::OutputNorm,        &[at("model.final_norm")],                         &[at("output_norm")],                        Fix::Keep, Need::Always,    NORM),
];

#[rustfmt::skip]
static HEAD: &[Row] = &[
    row(Role::HeadDense,         &[at("head.dense")],                               &[at("cls")],                                Fix::Keep, Need::Always,    Bias::If("classifier_bias", false)),
    row(Role::HeadNorm,          &[at("head.norm")],                                &[at("cls.norm")],                           Fix::Keep, Need::Always,    NORM),
    row(Role::Output,            &[at("decoder")],                                  &[at("output")],                             Fix::Keep, Need::UnlessTied(Role::Embedding), Bias::Never),
    row(Role::OutputBias,        &[at("decoder.bias").bare()],                      &[at("output.bias").bare()],                 Fix::Keep, Need::If("decoder_bias", true), Bias::Never),
];

/// Of every few layers, the first sees all: how many, where nothing is said.
const EVERY: u64 = 3;

fn layers_of_json(config: &Config, hyper: &mut Hyper) -> Result<()> {
    let every = config.get("global_attn_every_n_layers").and_then(Value::as_u64);
    let every = every.unwrap_or(EVERY).max(1);
    layers::windowed(config, hyper, ("local_attention", Some(128)), |layer| layer % every != 0)
}

/// llama.cpp has a number of layers, of which the first sees all.
const PATTERN: &str = "modern-bert.attention.sliding_window_pattern";

fn layers_of_gguf(model: &Model, hyper: &mut Hyper) -> Result<()> {
    let every = model.config.get(PATTERN).and_then(Value::as_u64).unwrap_or(EVERY).max(1);
    let layers = hyper.layers.unwrap_or(0);
    hyper.windowed = Some(LayerSet::of(layers, |layer| layer % every != 0));
    Ok(())
}

/// Of how many layers the first sees all, if that describes them.
fn every(hyper: &Hyper) -> Option<u64> {
    let layers = hyper.layers.unwrap_or(0);
    let sees_all = |layer: u64| hyper.window(layer).is_none();
    let regular = |every: &u64| (0..layers).all(|layer| sees_all(layer) == (layer % every == 0));
    (1..=layers.max(EVERY)).find(regular)
}

fn layers_to_json(hyper: &Hyper, entries: &mut Entries) {
    layers::write(hyper, entries);
    // The window is spelled otherwise here, and nothing else decides which layers have it.
    for key in ["sliding_window", "use_sliding_window", "max_window_layers"] {
        entries.shift_remove(key);
    }
    let window = hyper.sliding_window.map_or(Value::U64(128), Value::U64);
    entries.insert("local_attention".into(), window);
    // What it would be where nothing is said may be beyond the vocabulary.
    entries.insert("pad_token_id".into(), Value::Null);
    if let Some(every) = every(hyper) {
        entries.insert("global_attn_every_n_layers".into(), Value::U64(every));
    }
}

fn layers_to_gguf(hyper: &Hyper, entries: &mut Entries) {
    entries.insert("modern-bert.attention.causal".into(), Value::Bool(false));
    if let Some(every) = every(hyper).and_then(|every| u32::try_from(every).ok()) {
        entries.insert(PATTERN.into(), Value::U32(every));
    }
}
