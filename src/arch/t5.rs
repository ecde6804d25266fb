//! T5, its second version and mT5: <https://arxiv.org/abs/1910.10683>,
//! <https://arxiv.org/abs/2002.05202>, <https://arxiv.org/abs/2010.11934>.
//!
//! An encoder and a decoder that attends to it; positions are biases by distance, which the first
//! layer of each has for all. Scores are not scaled. The first version multiplies what its head
//! sees by the root of 1 / hidden size, which llama.cpp does not.

use super::llama::LLAMA;
use super::table::{
    Arch, Bias, BlockShape, Default, Entries, Fix, Home, Hooks, Key, Need, Plan, Role, Row, at,
    key, row,
};
use crate::ir::{Activation, Config, Error, Field, Hyper, Model, Result, Scalar, Value};

/// `T5ForConditionalGeneration`.
pub(super) static T5: Arch = Arch {
    gguf: "t5",
    in_llama_cpp: true,
    hf: &["T5ForConditionalGeneration", "T5WithLMHeadModel", "MT5ForConditionalGeneration"],
    model_type: "t5",
    keys: &[KEYS, DECODER_KEYS],
    hooks: Hooks { from_json: options, from_gguf: gate, to_json: write_options, to_gguf: epsilons },
    expects: &[],
    ignored: &[],
    unknown: &[],
    tied: true,
    optional_prefix: "",
    rows: &[ROWS, DECODER_ROWS],
    drops: &[],
    forgets: &[],
    block: BlockShape { plan: Plan::EncoderDecoder, ..BlockShape::USUAL },
    ..LLAMA
};

/// `T5EncoderModel`.
pub(super) static T5_ENCODER: Arch = Arch {
    gguf: "t5encoder",
    hf: &["T5EncoderModel", "MT5EncoderModel"],
    keys: &[KEYS],
    rows: &[ROWS],
    block: BlockShape { plan: Plan::Encoder, ..BlockShape::USUAL },
    ..T5
};

#[rustfmt::skip]
static KEYS: &[Key] = &[
    //  ours                       config.json                            gguf                                  where nothing is said
    key(Field::Vocab,              &["vocab_size"],                       "vocab_size",                         Default::Is(Scalar::Count(32128))),
    key(Field::Context,            &["n_positions"],                      "context_length",                     Default::Is(Scalar::Count(512))),
    key(Field::Hidden,             &["d_model", "hidden_size"],           "embedding_length",                   Default::Is(Scalar::Count(512))),
    key(Field::Layers,             &["num_layers", "num_hidden_layers"],  "block_count",                        Default::Is(Scalar::Count(6))),
    key(Field::Heads,              &["num_heads", "num_attention_heads"], "attention.head_count",               Default::Is(Scalar::Count(8))),
    key(Field::KvHeads,            &[],                                   "",                                   Default::Same(Field::Heads)),
    key(Field::KeyDim,             &["d_kv", "head_dim"],                 "attention.key_length",               Default::Is(Scalar::Count(64))),
    key(Field::ValueDim,           &["d_kv", "head_dim"],                 "attention.value_length",             Default::Same(Field::KeyDim)),
    key(Field::FeedForward,        &["d_ff"],                             "feed_forward_length",                Default::Is(Scalar::Count(2048))),
    key(Field::NormEpsilon,        &["layer_norm_epsilon"],               "attention.layer_norm_rms_epsilon",   Default::Is(Scalar::Real(1e-6))),
    key(Field::AttentionScale,     &[],                                   "",                                   Default::Is(Scalar::Real(1.0))),
    key(Field::DistanceBuckets,    &["relative_attention_num_buckets"],   "attention.relative_buckets_count",   Default::Is(Scalar::Count(32))),
    key(Field::MaxDistance,        &["relative_attention_max_distance"],  "",                                   Default::Is(Scalar::Count(128))),
    key(Field::Gated,              &[],                                   "",                                   Default::None),
    key(Field::Activation,         &[],                                   "",                                   Default::None),
];

#[rustfmt::skip]
static DECODER_KEYS: &[Key] = &[
    key(Field::DecoderLayers,      &["num_decoder_layers"],               "decoder_block_count",                Default::Same(Field::Layers)),
    key(Field::DecoderStart,       &["decoder_start_token_id"],           "decoder_start_token_id",             Default::None),
    key(Field::LogitScale,         &[],                                   "",                                   Default::None),
];

/// Only gated layers have a `wi_1`; the others have one `wi`.
const GATED: [Home; 2] = [
    at("encoder.block.{i}.layer.1.DenseReluDense.wi_1").only(Field::Gated, true),
    at("decoder.block.{i}.layer.2.DenseReluDense.wi_1").only(Field::Gated, true),
];

#[rustfmt::skip]
static ROWS: &[Row] = &[
    //  for                      hugging face                                                                  gguf                            fix        needed                            bias
    row(Role::Embedding,         &[at("shared"), at("encoder.embed_tokens"), at("decoder.embed_tokens")],      &[at("token_embd")],            Fix::Keep, Need::Always,                     Bias::Never),
    row(Role::DistanceBias,      &[at("encoder.block.0.layer.0.SelfAttention.relative_attention_bias")],       &[at("enc.blk.0.attn_rel_b")],  Fix::Keep, Need::Always,                     Bias::Never),
    row(Role::AttentionNorm,     &[at("encoder.block.{i}.layer.0.layer_norm")],                                &[at("enc.blk.{i}.attn_norm")], Fix::Keep, Need::Always,                     Bias::Never),
    row(Role::Query,             &[at("encoder.block.{i}.layer.0.SelfAttention.q")],                           &[at("enc.blk.{i}.attn_q")],    Fix::Keep, Need::Always,                     Bias::Never),
    row(Role::Key,               &[at("encoder.block.{i}.layer.0.SelfAttention.k")],                           &[at("enc.blk.{i}.attn_k")],    Fix::Keep, Need::Always,                     Bias::Never),
    row(Role::Value,             &[at("encoder.block.{i}.layer.0.SelfAttention.v")],                           &[at("enc.blk.{i}.attn_v")],    Fix::Keep, Need::Always,                     Bias::Never),
    row(Role::AttentionOutput,   &[at("encoder.block.{i}.layer.0.SelfAttention.o")],                           &[at("enc.blk.{i}.attn_o")],    Fix::Keep, Need::Always,                     Bias::Never),
    row(Role::FeedForwardNorm,   &[at("encoder.block.{i}.layer.1.layer_norm")],                                &[at("enc.blk.{i}.ffn_norm")],  Fix::Keep, Need::Always,                     Bias::Never),
    row(Role::Gate,              &[at("encoder.block.{i}.layer.1.DenseReluDense.wi_0")],                       &[at("enc.blk.{i}.ffn_gate")],  Fix::Keep, Need::Where(Field::Gated),        Bias::Never),
    row(Role::Up,                &[GATED[0], at("encoder.block.{i}.layer.1.DenseReluDense.wi")],               &[at("enc.blk.{i}.ffn_up")],    Fix::Keep, Need::Always,                     Bias::Never),
    row(Role::Down,              &[at("encoder.block.{i}.layer.1.DenseReluDense.wo")],                         &[at("enc.blk.{i}.ffn_down")],  Fix::Keep, Need::Always,                     Bias::Never),
    row(Role::OutputNorm,        &[at("encoder.final_layer_norm")],                                            &[at("enc.output_norm")],       Fix::Keep, Need::Always,                     Bias::Never),
];

#[rustfmt::skip]
static DECODER_ROWS: &[Row] = &[
    row(Role::DecoderDistanceBias,    &[at("decoder.block.0.layer.0.SelfAttention.relative_attention_bias")],  &[at("dec.blk.0.attn_rel_b")],        Fix::Keep, Need::Always,                Bias::Never),
    row(Role::DecoderAttentionNorm,   &[at("decoder.block.{i}.layer.0.layer_norm")],                           &[at("dec.blk.{i}.attn_norm")],       Fix::Keep, Need::Always,                Bias::Never),
    row(Role::DecoderQuery,           &[at("decoder.block.{i}.layer.0.SelfAttention.q")],                      &[at("dec.blk.{i}.attn_q")],          Fix::Keep, Need::Always,                Bias::Never),
    row(Role::DecoderKey,             &[at("decoder.block.{i}.layer.0.SelfAttention.k")],                      &[at("dec.blk.{i}.attn_k")],          Fix::Keep, Need::Always,                Bias::Never),
    row(Role::DecoderValue,           &[at("decoder.block.{i}.layer.0.SelfAttention.v")],                      &[at("dec.blk.{i}.attn_v")],          Fix::Keep, Need::Always,                Bias::Never),
    row(Role::DecoderAttentionOutput, &[at("decoder.block.{i}.layer.0.SelfAttention.o")],                      &[at("dec.blk.{i}.attn_o")],          Fix::Keep, Need::Always,                Bias::Never),
    row(Role::CrossNorm,              &[at("decoder.block.{i}.layer.1.layer_norm")],                           &[at("dec.blk.{i}.cross_attn_norm")], Fix::Keep, Need::Always,                Bias::Never),
    row(Role::CrossQuery,             &[at("decoder.block.{i}.layer.1.EncDecAttention.q")],                    &[at("dec.blk.{i}.cross_attn_q")],    Fix::Keep, Need::Always,                Bias::Never),
    row(Role::CrossKey,               &[at("decoder.block.{i}.layer.1.EncDecAttention.k")],                    &[at("dec.blk.{i}.cross_attn_k")],    Fix::Keep, Need::Always,                Bias::Never),
    row(Role::CrossValue,             &[at("decoder.block.{i}.layer.1.EncDecAttention.v")],                    &[at("dec.blk.{i}.cross_attn_v")],    Fix::Keep, Need::Always,                Bias::Never),
    row(Role::CrossOutput,            &[at("decoder.block.{i}.layer.1.EncDecAttention.o")],                    &[at("dec.blk.{i}.cross_attn_o")],    Fix::Keep, Need::Always,                Bias::Never),
    row(Role::DecoderFeedForwardNorm, &[at("decoder.block.{i}.layer.2.layer_norm")],                           &[at("dec.blk.{i}.ffn_norm")],        Fix::Keep, Need::Always,                Bias::Never),
    row(Role::DecoderGate,            &[at("decoder.block.{i}.layer.2.DenseReluDense.wi_0")],                  &[at("dec.blk.{i}.ffn_gate")],        Fix::Keep, Need::Where(Field::Gated),   Bias::Never),
    row(Role::DecoderUp,              &[GATED[1], at("decoder.block.{i}.layer.2.DenseReluDense.wi")],          &[at("dec.blk.{i}.ffn_up")],          Fix::Keep, Need::Always,                Bias::Never),
    row(Role::DecoderDown,            &[at("decoder.block.{i}.layer.2.DenseReluDense.wo")],                    &[at("dec.blk.{i}.ffn_down")],        Fix::Keep, Need::Always,                Bias::Never),
    row(Role::DecoderOutputNorm,      &[at("decoder.final_layer_norm")],                                       &[at("dec.output_norm")],             Fix::Keep, Need::Always,                Bias::Never),
    row(Role::Output,                 &[at("lm_head")],                                                        &[at("output")],                      Fix::Keep, Need::Optional,              Bias::Never),
];

/// What `feed_forward_proj` says: `relu`, `gated-gelu`, …; and whether the head's input is scaled.
fn options(config: &Config, hyper: &mut Hyper) -> Result<()> {
    let words = config.get("feed_forward_proj").and_then(Value::as_text).unwrap_or("relu");
    let (gated, name) = match words.split_once('-') {
        None => (false, words),
        Some(("gated", name)) => (true, name),
        Some(_) => {
            let text = format!("feed_forward_proj: {words:?}, expected \"relu\" or \"gated-gelu\"");
            return Err(Error::malformed(text));
        }
    };
    // As transformers has it: T5 1.1 says gelu and means its approximation.
    let name = if words == "gated-gelu" { "gelu_new" } else { name };
    let name = config.get("dense_act_fn").and_then(Value::as_text).unwrap_or(name);
    let known = Activation::named(name);
    hyper.activation = Some(known.ok_or_else(|| {
        Error::unsupported(format!("config.json: the activation {name:?} is not computed"))
    })?);
    let flag = |key: &str| config.get(key).and_then(Value::as_bool);
    hyper.gated = Some(flag("is_gated_act").unwrap_or(gated));
    // A head that is not tied was never scaled; since transformers 5 a key of its own says it.
    let tied = flag("tie_word_embeddings") != Some(false);
    if flag("scale_decoder_outputs").unwrap_or(tied) {
        hyper.logit_scale = hyper.hidden.map(|hidden| (1.0 / (hidden as f64).sqrt()) as f32);
    }
    Ok(())
}

fn write_options(hyper: &Hyper, entries: &mut Entries) {
    let text = |text: &str| Value::Text(text.into());
    let activation = hyper.activation.unwrap_or(Activation::Relu).text();
    let gated = hyper.gated == Some(true);
    let prefix = if gated { "gated-" } else { "" };
    entries.insert("feed_forward_proj".into(), Value::Text(format!("{prefix}{activation}")));
    entries.insert("dense_act_fn".into(), text(activation));
    entries.insert("is_gated_act".into(), Value::Bool(gated));
    let scaled = hyper.logit_scale.is_some();
    entries.insert("scale_decoder_outputs".into(), Value::Bool(scaled));
    entries.insert("is_encoder_decoder".into(), Value::Bool(hyper.decoder_layers.is_some()));
    entries.insert("decoder_start_token_id".into(), Value::U64(hyper.decoder_start.unwrap_or(0)));
}

/// A GGUF says by its tensors whether layers are gated; llama.cpp computes gelu where they are,
/// relu where they are not.
fn gate(model: &Model, hyper: &mut Hyper) -> Result<()> {
    hyper.gated = Some(model.tensors.contains_key("enc.blk.0.ffn_gate.weight"));
    hyper.activation = Some(match hyper.gated {
        Some(true) => Activation::GeluTanh,
        _ => Activation::Relu,
    });
    Ok(())
}

/// llama.cpp asks for both epsilons, and for the token that a decoder begins with.
fn epsilons(hyper: &Hyper, entries: &mut Entries) {
    let name = if hyper.decoder_layers.is_some() { "t5" } else { "t5encoder" };
    let epsilon = hyper.norm_epsilon.unwrap_or_default();
    entries.insert(format!("{name}.attention.layer_norm_epsilon"), Value::F32(epsilon));
    if hyper.decoder_layers.is_some() {
        entries.entry("t5.decoder_start_token_id".into()).or_insert(Value::U32(0));
    }
}
