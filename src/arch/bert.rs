//! BERT and its kin: RoBERTa, whose positions begin after that of the padding, and DistilBERT,
//! which has no token types: <https://arxiv.org/abs/1810.04805>,
//! <https://arxiv.org/abs/1907.11692>, <https://arxiv.org/abs/1910.01108>.
//!
//! llama.cpp knows all of them as `bert`, and knows no head for masked words: those tensors have
//! names of our own, and llama.cpp loads only files without them. RoBERTa's rows of positions
//! before the first that is used have no place in a GGUF.

use super::llama::LLAMA;
use super::table::{
    Arch, Bias, BlockShape, Default, Entries, Expected, Fix, Hooks, Key, Need, Norm, Plan, Role,
    Row, at, key, row,
};
use crate::ir::{Activation, Config, Error, Field, Hyper, Model, Result, Scalar, Value};

/// `BertForMaskedLM`.
pub(super) static BERT: Arch = Arch {
    gguf: "bert",
    in_llama_cpp: true,
    hf: &["BertForMaskedLM", "BertForPreTraining"],
    model_type: "bert",
    keys: &[KEYS, HEAD_KEYS],
    hooks: HOOKS,
    expects: EXPECTS,
    ignored: &[],
    unknown: &[Role::HeadDense, Role::HeadNorm, Role::Output, Role::OutputBias],
    tied: true,
    optional_prefix: "bert.",
    rows: &[BODY, HEAD],
    drops: DROPS,
    forgets: FORGETS,
    block: BLOCK,
    ..LLAMA
};

/// `BertModel`.
pub(super) static BERT_MODEL: Arch =
    Arch { hf: &["BertModel"], keys: &[KEYS], rows: &[BODY], ..BERT };

/// `RobertaForMaskedLM`, and XLM-RoBERTa and CamemBERT, which are the same.
pub(super) static ROBERTA: Arch = Arch {
    hf: &["RobertaForMaskedLM", "XLMRobertaForMaskedLM", "CamembertForMaskedLM"],
    model_type: "roberta",
    keys: &[KEYS, ROBERTA_KEYS, ROBERTA_HEAD_KEYS],
    hooks: ROBERTA_HOOKS,
    optional_prefix: "roberta.",
    rows: &[ROBERTA_NAMES, ROBERTA_BODY, ROBERTA_HEAD],
    ..BERT
};

/// `RobertaModel`.
pub(super) static ROBERTA_MODEL: Arch = Arch {
    hf: &["RobertaModel", "XLMRobertaModel", "CamembertModel"],
    keys: &[KEYS, ROBERTA_KEYS],
    rows: &[ROBERTA_NAMES, ROBERTA_BODY],
    ..ROBERTA
};

/// `DistilBertForMaskedLM`.
pub(super) static DISTILBERT: Arch = Arch {
    hf: &["DistilBertForMaskedLM"],
    model_type: "distilbert",
    keys: &[DISTILBERT_KEYS, HEAD_KEYS],
    hooks: Hooks { to_gguf: encoder, ..Hooks::NONE },
    expects: &[("sinusoidal_pos_embds", Expected::Flag(false))],
    optional_prefix: "distilbert.",
    rows: &[DISTILBERT_BODY, DISTILBERT_HEAD],
    ..BERT
};

/// `DistilBertModel`.
pub(super) static DISTILBERT_MODEL: Arch = Arch {
    hf: &["DistilBertModel"],
    keys: &[DISTILBERT_KEYS],
    rows: &[DISTILBERT_BODY],
    ..DISTILBERT
};

#[rustfmt::skip]
static KEYS: &[Key] = &[
    //  ours                     config.json                     gguf                              where nothing is said
    key(Field::Vocab,            &["vocab_size"],                "vocab_size",                     Default::Is(Scalar::Count(30522))),
    key(Field::Context,          &["max_position_embeddings"],   "context_length",                 Default::Is(Scalar::Count(512))),
    key(Field::Hidden,           &["hidden_size"],               "embedding_length",               Default::Is(Scalar::Count(768))),
    key(Field::Layers,           &["num_hidden_layers"],         "block_count",                    Default::Is(Scalar::Count(12))),
    key(Field::Heads,            &["num_attention_heads"],       "attention.head_count",           Default::Is(Scalar::Count(12))),
    key(Field::KvHeads,          &[],                            "",                               Default::Same(Field::Heads)),
    key(Field::KeyDim,           &[],                            "",                               Default::From(head_size)),
    key(Field::ValueDim,         &[],                            "",                               Default::Same(Field::KeyDim)),
    key(Field::FeedForward,      &["intermediate_size"],         "feed_forward_length",            Default::Is(Scalar::Count(3072))),
    key(Field::NormEpsilon,      &["layer_norm_eps"],            "attention.layer_norm_epsilon",   Default::Is(Scalar::Real(1e-12))),
    key(Field::Activation,       &["hidden_act"],                "",                               Default::Is(GELU)),
    key(Field::TokenTypes,       &["type_vocab_size"],           "",                               Default::Is(Scalar::Count(2))),
    key(Field::PostNorm,         &[],                            "",                               Default::Is(Scalar::Flag(true))),
];

#[rustfmt::skip]
static HEAD_KEYS: &[Key] = &[
    key(Field::HeadActivation,   &[],                            "",                               Default::Same(Field::Activation)),
];

#[rustfmt::skip]
static ROBERTA_KEYS: &[Key] = &[
    key(Field::Vocab,            &["vocab_size"],                "vocab_size",                     Default::Is(Scalar::Count(50265))),
    key(Field::FirstPosition,    &[],                            "position_offset",                Default::None),
];

/// The head has Φ's activation, whatever the layers have.
#[rustfmt::skip]
static ROBERTA_HEAD_KEYS: &[Key] = &[
    key(Field::HeadActivation,   &[],                            "",                               Default::Is(GELU)),
];

/// The epsilon is not an option.
#[rustfmt::skip]
static DISTILBERT_KEYS: &[Key] = &[
    key(Field::Vocab,            &["vocab_size"],                "vocab_size",                     Default::Is(Scalar::Count(30522))),
    key(Field::Context,          &["max_position_embeddings"],   "context_length",                 Default::Is(Scalar::Count(512))),
    key(Field::Hidden,           &["dim", "hidden_size"],        "embedding_length",               Default::Is(Scalar::Count(768))),
    key(Field::Layers,           &["n_layers", "num_hidden_layers"], "block_count",                Default::Is(Scalar::Count(6))),
    key(Field::Heads,            &["n_heads", "num_attention_heads"], "attention.head_count",      Default::Is(Scalar::Count(12))),
    key(Field::KvHeads,          &[],                            "",                               Default::Same(Field::Heads)),
    key(Field::KeyDim,           &[],                            "",                               Default::From(head_size)),
    key(Field::ValueDim,         &[],                            "",                               Default::Same(Field::KeyDim)),
    key(Field::FeedForward,      &["hidden_dim"],                "feed_forward_length",            Default::Is(Scalar::Count(3072))),
    key(Field::NormEpsilon,      &[],                            "attention.layer_norm_epsilon",   Default::Is(Scalar::Real(1e-12))),
    key(Field::Activation,       &["activation"],                "",                               Default::Is(GELU)),
    key(Field::PostNorm,         &[],                            "",                               Default::Is(Scalar::Flag(true))),
];

/// What llama.cpp wants to know of every encoder of this kind.
const HOOKS: Hooks = Hooks { from_gguf: token_types, to_gguf: encoder, ..Hooks::NONE };

const ROBERTA_HOOKS: Hooks = Hooks { from_json: count_positions, to_json: count_padding, ..HOOKS };

const EXPECTS: &[(&str, Expected)] = &[
    ("is_decoder", Expected::Flag(false)),
    ("position_embedding_type", Expected::Word(&["absolute"])),
];

#[rustfmt::skip]
const DROPS: &[(&str, &str)] = &[
    ("bert.embeddings.position_ids",    "counts from 0"),
    ("roberta.embeddings.position_ids", "counts from 0"),
    ("distilbert.embeddings.position_ids", "counts from 0"),
];

#[rustfmt::skip]
const FORGETS: &[(&str, &str)] = &[
    ("bert.pooler.dense.weight",        POOLER),
    ("bert.pooler.dense.bias",          POOLER),
    ("roberta.pooler.dense.weight",     POOLER),
    ("roberta.pooler.dense.bias",       POOLER),
    ("cls.seq_relationship.weight",     "the head for the next sentence"),
    ("cls.seq_relationship.bias",       "the head for the next sentence"),
];

const POOLER: &str = "the pooler, of which the hidden states know nothing";

const BLOCK: BlockShape =
    BlockShape { norm: Norm::Layer, plan: Plan::Encoder, ..BlockShape::USUAL };

const GELU: Scalar = Scalar::Activation(Activation::Gelu);

/// The layers, of which both have the same names after a first word.
#[rustfmt::skip]
macro_rules! body {
    ($prefix:literal) => { &[
    //  for                      hugging face                                                                                       gguf                                  fix          needed        bias
    row(Role::Embedding,         &[at(concat!($prefix, "embeddings.word_embeddings"))],                                                          &[at("token_embd")],                  Fix::Keep,   Need::Always, Bias::Never),
    row(Role::Positions,         &[at(concat!($prefix, "embeddings.position_embeddings"))],                                                      &[at("position_embd")],               Fix::Keep,   Need::Always, Bias::Never),
    row(Role::TokenTypes,        &[at(concat!($prefix, "embeddings.token_type_embeddings"))],                                                    &[at("token_types")],                 Fix::Keep,   Need::Always, Bias::Never),
    row(Role::EmbeddingNorm,     &[at(concat!($prefix, "embeddings.LayerNorm")), at(concat!($prefix, "embeddings.LayerNorm")).greek()],                       &[at("token_embd_norm")],             Fix::Keep,   Need::Always, Bias::Always),
    row(Role::Query,             &[at(concat!($prefix, "encoder.layer.{i}.attention.self.query"))],                                              &[at("blk.{i}.attn_q")],              Fix::Keep,   Need::Always, Bias::Always),
    row(Role::Key,               &[at(concat!($prefix, "encoder.layer.{i}.attention.self.key"))],                                                &[at("blk.{i}.attn_k")],              Fix::Keep,   Need::Always, Bias::Always),
    row(Role::Value,             &[at(concat!($prefix, "encoder.layer.{i}.attention.self.value"))],                                              &[at("blk.{i}.attn_v")],              Fix::Keep,   Need::Always, Bias::Always),
    row(Role::AttentionOutput,   &[at(concat!($prefix, "encoder.layer.{i}.attention.output.dense"))],                                            &[at("blk.{i}.attn_output")],         Fix::Keep,   Need::Always, Bias::Always),
    row(Role::AttentionNorm,     &[at(concat!($prefix, "encoder.layer.{i}.attention.output.LayerNorm")), at(concat!($prefix, "encoder.layer.{i}.attention.output.LayerNorm")).greek()], &[at("blk.{i}.attn_output_norm")], Fix::Keep, Need::Always, Bias::Always),
    row(Role::Up,                &[at(concat!($prefix, "encoder.layer.{i}.intermediate.dense"))],                                                &[at("blk.{i}.ffn_up")],              Fix::Keep,   Need::Always, Bias::Always),
    row(Role::Down,              &[at(concat!($prefix, "encoder.layer.{i}.output.dense"))],                                                      &[at("blk.{i}.ffn_down")],            Fix::Keep,   Need::Always, Bias::Always),
    row(Role::FeedForwardNorm,   &[at(concat!($prefix, "encoder.layer.{i}.output.LayerNorm")), at(concat!($prefix, "encoder.layer.{i}.output.LayerNorm")).greek()], &[at("blk.{i}.layer_output_norm")], Fix::Keep, Need::Always, Bias::Always),
    ] };
}

static BODY: &[Row] = body!("bert.");

static ROBERTA_NAMES: &[Row] = body!("roberta.");

/// The weight's own bias is used; an older one beside it is the same where the weight is tied.
const OUTPUT_BIAS: &[super::Home] =
    &[at("cls.predictions.decoder.bias").bare(), at("cls.predictions.bias").bare()];

#[rustfmt::skip]
static HEAD: &[Row] = &[
    row(Role::HeadDense,         &[at("cls.predictions.transform.dense")],                        &[at("head")],                Fix::Keep,   Need::Always, Bias::Always),
    row(Role::HeadNorm,          &[at("cls.predictions.transform.LayerNorm"), at("cls.predictions.transform.LayerNorm").greek()], &[at("head_norm")], Fix::Keep, Need::Always, Bias::Always),
    row(Role::Output,            &[at("cls.predictions.decoder")],                                &[at("output")],              Fix::Keep,   Need::UnlessTied(Role::Embedding), Bias::Never),
    row(Role::OutputBias,        OUTPUT_BIAS,                                                     &[at("output.bias").bare()],  Fix::Keep,   Need::Always, Bias::Never),
];

/// Position 0 stands in the row after that of the padding.
#[rustfmt::skip]
static ROBERTA_BODY: &[Row] = &[
    row(Role::Positions,         &[at("roberta.embeddings.position_embeddings")],                 &[at("position_embd")],       Fix::Skip(Field::FirstPosition), Need::Always, Bias::Never),
];

#[rustfmt::skip]
static ROBERTA_HEAD: &[Row] = &[
    row(Role::HeadDense,         &[at("lm_head.dense")],                                          &[at("head")],                Fix::Keep,   Need::Always, Bias::Always),
    row(Role::HeadNorm,          &[at("lm_head.layer_norm")],                                     &[at("head_norm")],           Fix::Keep,   Need::Always, Bias::Always),
    row(Role::Output,            &[at("lm_head.decoder")],                                        &[at("output")],              Fix::Keep,   Need::UnlessTied(Role::Embedding), Bias::Never),
    row(Role::OutputBias,        &[at("lm_head.decoder.bias").bare(), at("lm_head.bias").bare()], &[at("output.bias").bare()],  Fix::Keep,   Need::Always, Bias::Never),
];

#[rustfmt::skip]
static DISTILBERT_BODY: &[Row] = &[
    row(Role::Embedding,         &[at("distilbert.embeddings.word_embeddings")],                  &[at("token_embd")],              Fix::Keep,   Need::Always, Bias::Never),
    row(Role::Positions,         &[at("distilbert.embeddings.position_embeddings")],              &[at("position_embd")],           Fix::Keep,   Need::Always, Bias::Never),
    row(Role::EmbeddingNorm,     &[at("distilbert.embeddings.LayerNorm")],                        &[at("token_embd_norm")],         Fix::Keep,   Need::Always, Bias::Always),
    row(Role::Query,             &[at("distilbert.transformer.layer.{i}.attention.q_lin")],       &[at("blk.{i}.attn_q")],          Fix::Keep,   Need::Always, Bias::Always),
    row(Role::Key,               &[at("distilbert.transformer.layer.{i}.attention.k_lin")],       &[at("blk.{i}.attn_k")],          Fix::Keep,   Need::Always, Bias::Always),
    row(Role::Value,             &[at("distilbert.transformer.layer.{i}.attention.v_lin")],       &[at("blk.{i}.attn_v")],          Fix::Keep,   Need::Always, Bias::Always),
    row(Role::AttentionOutput,   &[at("distilbert.transformer.layer.{i}.attention.out_lin")],     &[at("blk.{i}.attn_output")],     Fix::Keep,   Need::Always, Bias::Always),
    row(Role::AttentionNorm,     &[at("distilbert.transformer.layer.{i}.sa_layer_norm")],         &[at("blk.{i}.attn_output_norm")], Fix::Keep,  Need::Always, Bias::Always),
    row(Role::Up,                &[at("distilbert.transformer.layer.{i}.ffn.lin1")],              &[at("blk.{i}.ffn_up")],          Fix::Keep,   Need::Always, Bias::Always),
    row(Role::Down,              &[at("distilbert.transformer.layer.{i}.ffn.lin2")],              &[at("blk.{i}.ffn_down")],        Fix::Keep,   Need::Always, Bias::Always),
    row(Role::FeedForwardNorm,   &[at("distilbert.transformer.layer.{i}.output_layer_norm")],     &[at("blk.{i}.layer_output_norm")], Fix::Keep, Need::Always, Bias::Always),
];

#[rustfmt::skip]
static DISTILBERT_HEAD: &[Row] = &[
    row(Role::HeadDense,         &[at("vocab_transform")],               &[at("head")],                Fix::Keep,   Need::Always, Bias::Always),
    row(Role::HeadNorm,          &[at("vocab_layer_norm")],              &[at("head_norm")],           Fix::Keep,   Need::Always, Bias::Always),
    row(Role::Output,            &[at("vocab_projector")],               &[at("output")],              Fix::Keep,   Need::UnlessTied(Role::Embedding), Bias::Never),
    row(Role::OutputBias,        &[at("vocab_projector.bias").bare()],   &[at("output.bias").bare()],  Fix::Keep,   Need::Always, Bias::Never),
];

/// The size of a head.
pub(super) fn head_size(hyper: &Hyper) -> Option<Scalar> {
    hyper.hidden?.checked_div(hyper.heads?).map(Scalar::Count)
}

/// Positions count from the row after that of the padding, and `max_position_embeddings` counts
/// all rows.
fn count_positions(config: &Config, hyper: &mut Hyper) -> Result<()> {
    let padding = match config.entries.get("pad_token_id") {
        None => 1,
        Some(value) => value.as_u64().ok_or_else(|| {
            Error::malformed(format!("pad_token_id: found {value}, expected a token id"))
        })?,
    };
    hyper.first_position = Some(padding + 1);
    let context = hyper.context.and_then(|rows| rows.checked_sub(padding + 1));
    hyper.context = Some(context.filter(|context| *context > 0).ok_or_else(|| {
        Error::malformed("max_position_embeddings leaves no position after that of the padding")
    })?);
    Ok(())
}

fn count_padding(hyper: &Hyper, entries: &mut Entries) {
    let first = hyper.first_position.unwrap_or(0);
    entries.insert("pad_token_id".into(), Value::U64(first.saturating_sub(1)));
    let rows = hyper.context.unwrap_or(0) + first;
    entries.insert("max_position_embeddings".into(), Value::U64(rows));
}

/// The key does not bear the architecture's name.
const TOKEN_TYPE_COUNT: &str = "tokenizer.ggml.token_type_count";

fn token_types(model: &Model, hyper: &mut Hyper) -> Result<()> {
    let stated = model.config.get(TOKEN_TYPE_COUNT).and_then(Value::as_u64);
    let table = model.tensors.get("token_types.weight");
    let counted = table.and_then(|table| table.shape().dims().first().copied());
    hyper.token_types = stated.or(counted).filter(|count| *count > 0);
    Ok(())
}

fn encoder(hyper: &Hyper, entries: &mut Entries) {
    entries.insert("bert.attention.causal".into(), Value::Bool(false));
    if let Some(count) = hyper.token_types {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        entries.insert(TOKEN_TYPE_COUNT.into(), Value::U32(count));
    }
}
