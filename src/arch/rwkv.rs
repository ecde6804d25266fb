//! RWKV 4: <https://arxiv.org/abs/2305.13048>, and 5: <https://arxiv.org/abs/2404.05892>.
//!
//! llama.cpp begins with 6: the names in a GGUF are those that it has there. rwkv.cpp's files hold what
//! the decay makes of a token, −eˣ in 4 and e^−eˣ in 5, where checkpoints hold x. transformers has a
//! class for 4 only; it halves weights and stream by turns (`rescale_every`) to stay within f16, which
//! changes nothing but how small an epsilon is.

use super::gpt2::four_times_hidden;
use super::llama::LLAMA;
use super::table::{
    Arch, Bias, BlockShape, Default, Fix, Hooks, Key, Need, Norm, Role, Row, at, key, row,
};
use crate::ir::{Config, Error, Field, Hyper, Naming, Result, Scalar};

/// `RwkvForCausalLM`.
pub(super) static RWKV4: Arch = Arch {
    gguf: "rwkv4",
    in_llama_cpp: false,
    hf: &["RwkvForCausalLM"],
    model_type: "rwkv",
    keys: &[KEYS],
    hooks: Hooks { from_json: epsilon, ..Hooks::NONE },
    tied: false,
    optional_prefix: "rwkv.",
    rows: &[ROWS],
    drops: &[],
    block: BlockShape { norm: Norm::Layer, ..BlockShape::USUAL },
    ..LLAMA
};

/// What only rwkv.cpp's files and the GGUF made of them are.
pub(super) static RWKV5: Arch = Arch {
    gguf: "rwkv5",
    hf: &[],
    model_type: "rwkv5",
    when: |model| model.naming == Naming::Gguf,
    keys: &[KEYS, KEYS_OF_5],
    rows: &[ROWS, ROWS_OF_5],
    ..RWKV4
};

#[rustfmt::skip]
static KEYS: &[Key] = &[
    //  ours                 config.json                gguf                            where nothing is said
    key(Field::Vocab,        &["vocab_size"],           "vocab_size",                   Default::Is(Scalar::Count(50277))),
    key(Field::Context,      &["context_length"],       "context_length",               Default::Is(Scalar::Count(1024))),
    key(Field::Hidden,       &["hidden_size"],          "embedding_length",             Default::Is(Scalar::Count(4096))),
    key(Field::Layers,       &["num_hidden_layers"],    "block_count",                  Default::Is(Scalar::Count(32))),
    key(Field::FeedForward,  &["intermediate_size"],    "feed_forward_length",          Default::From(four_times_hidden)),
    key(Field::KeyDim,       &["attention_hidden_size"], "wkv.head_size",               Default::Same(Field::Hidden)),
    key(Field::ValueDim,     &[],                       "",                             Default::Same(Field::KeyDim)),
    key(Field::Heads,        &[],                       "",                             Default::Is(Scalar::Count(1))),
    key(Field::NormEpsilon,  &["layer_norm_epsilon"],   "attention.layer_norm_epsilon", Default::Is(Scalar::Real(1e-5))),
];

#[rustfmt::skip]
static KEYS_OF_5: &[Key] = &[
    key(Field::KeyDim,       &[],                       "wkv.head_size",                Default::Required),
    key(Field::Heads,        &[],                       "",                             Default::From(heads)),
];

/// transformers normalises what the last layer gives by this, whatever the configuration says.
const EPSILON: f32 = 1e-5;

fn epsilon(_: &Config, hyper: &mut Hyper) -> Result<()> {
    match hyper.norm_epsilon {
        Some(epsilon) if epsilon != EPSILON => Err(Error::unsupported(format!(
            "config.json: layer_norm_epsilon is {epsilon:e}; of RWKV only {EPSILON:e} is computed"
        ))),
        _ => Ok(()),
    }
}

fn heads(hyper: &Hyper) -> Option<Scalar> {
    hyper.hidden?.checked_div(hyper.key_dim?).map(Scalar::Count)
}

#[rustfmt::skip]
static ROWS: &[Row] = &[
    //  for                      hugging face                                                      gguf                                     fix               needed        bias
    row(Role::Embedding,         &[at("rwkv.embeddings")],                                         &[at("token_embd")],                     Fix::Keep,        Need::Always, Bias::Never),
    row(Role::EmbeddingNorm,     &[at("rwkv.blocks.0.pre_ln")],                                    &[at("token_embd_norm")],                Fix::Keep,        Need::Always, Bias::Always),
    row(Role::AttentionNorm,     &[at("rwkv.blocks.{i}.ln1")],                                     &[at("blk.{i}.attn_norm")],              Fix::Keep,        Need::Always, Bias::Always),
    row(Role::MixKey,            &[at("rwkv.blocks.{i}.attention.time_mix_key").bare()],           &[at("blk.{i}.time_mix_lerp_k")],        Fix::Keep,        Need::Always, Bias::Never),
    row(Role::MixValue,          &[at("rwkv.blocks.{i}.attention.time_mix_value").bare()],         &[at("blk.{i}.time_mix_lerp_v")],        Fix::Keep,        Need::Always, Bias::Never),
    row(Role::MixReceptance,     &[at("rwkv.blocks.{i}.attention.time_mix_receptance").bare()],    &[at("blk.{i}.time_mix_lerp_r")],        Fix::Keep,        Need::Always, Bias::Never),
    row(Role::First,             &[at("rwkv.blocks.{i}.attention.time_first").bare()],             &[at("blk.{i}.time_mix_first")],         Fix::Keep,        Need::Always, Bias::Never),
    row(Role::Decay,             &[at("rwkv.blocks.{i}.attention.time_decay").bare()],             &[at("blk.{i}.time_mix_decay")],         Fix::NegativeExp, Need::Always, Bias::Never),
    row(Role::Key,               &[at("rwkv.blocks.{i}.attention.key")],                           &[at("blk.{i}.time_mix_key")],           Fix::Keep,        Need::Always, Bias::Never),
    row(Role::Value,             &[at("rwkv.blocks.{i}.attention.value")],                         &[at("blk.{i}.time_mix_value")],         Fix::Keep,        Need::Always, Bias::Never),
    row(Role::Receptance,        &[at("rwkv.blocks.{i}.attention.receptance")],                    &[at("blk.{i}.time_mix_receptance")],    Fix::Keep,        Need::Always, Bias::Never),
    row(Role::AttentionOutput,   &[at("rwkv.blocks.{i}.attention.output")],                        &[at("blk.{i}.time_mix_output")],        Fix::Keep,        Need::Always, Bias::Never),
    row(Role::FeedForwardNorm,   &[at("rwkv.blocks.{i}.ln2")],                                     &[at("blk.{i}.attn_norm_2")],            Fix::Keep,        Need::Always, Bias::Always),
    row(Role::FeedMixKey,        &[at("rwkv.blocks.{i}.feed_forward.time_mix_key").bare()],        &[at("blk.{i}.channel_mix_lerp_k")],     Fix::Keep,        Need::Always, Bias::Never),
    row(Role::FeedMixReceptance, &[at("rwkv.blocks.{i}.feed_forward.time_mix_receptance").bare()], &[at("blk.{i}.channel_mix_lerp_r")],     Fix::Keep,        Need::Always, Bias::Never),
    row(Role::Up,                &[at("rwkv.blocks.{i}.feed_forward.key")],                        &[at("blk.{i}.channel_mix_key")],        Fix::Keep,        Need::Always, Bias::Never),
    row(Role::Down,              &[at("rwkv.blocks.{i}.feed_forward.value")],                      &[at("blk.{i}.channel_mix_value")],      Fix::Keep,        Need::Always, Bias::Never),
    row(Role::FeedReceptance,    &[at("rwkv.blocks.{i}.feed_forward.receptance")],                 &[at("blk.{i}.channel_mix_receptance")], Fix::Keep,        Need::Always, Bias::Never),
    row(Role::OutputNorm,        &[at("rwkv.ln_out")],                                             &[at("output_norm")],                    Fix::Keep,        Need::Always, Bias::Always),
    row(Role::Output,            &[at("head")],                                                    &[at("output")],                         Fix::Keep,        Need::UnlessTied(Role::Embedding), Bias::Never),
];

/// What 5 has more; the gate came with 5.2.
#[rustfmt::skip]
static ROWS_OF_5: &[Row] = &[
    row(Role::WkvNorm,           &[],                                                              &[at("blk.{i}.time_mix_ln")],            Fix::Keep,        Need::Always,   Bias::Always),
    row(Role::MixGate,           &[],                                                              &[at("blk.{i}.time_mix_lerp_g")],        Fix::Keep,        Need::Optional, Bias::Never),
    row(Role::WkvGate,           &[],                                                              &[at("blk.{i}.time_mix_gate")],          Fix::Keep,        Need::Optional, Bias::Never),
];
