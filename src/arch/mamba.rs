//! Mamba: <https://arxiv.org/abs/2312.00752>.
//!
//! Hugging Face stores the logarithm of the decay (`A_log`), GGUF the decay itself, −eˣ; and the
//! convolution has a dimension of one element that GGUF leaves out.

use super::llama::LLAMA;
use super::table::{
    Arch, Bias, BlockShape, Default, Entries, Expected, Fix, Hooks, Key, Need, Role, Row, at, key,
    row,
};
use crate::ir::{Config, Error, Field, Hyper, Result, Scalar, Value};

/// `MambaForCausalLM`.
pub(super) static MAMBA: Arch = Arch {
    gguf: "mamba",
    in_llama_cpp: true,
    hf: &["MambaForCausalLM"],
    model_type: "mamba",
    keys: &[KEYS],
    hooks: Hooks {
        from_json: sizes,
        to_json: write_sizes,
        to_gguf: what_llama_cpp_asks,
        ..Hooks::NONE
    },
    expects: &[("hidden_act", Expected::Word(&["silu", "swish"]))],
    ignored: &[],
    unknown: &[],
    tied: true,
    optional_prefix: "backbone.",
    rows: &[ROWS],
    drops: &[],
    forgets: &[],
    block: BlockShape::USUAL,
    ..LLAMA
};

#[rustfmt::skip]
static KEYS: &[Key] = &[
    //  ours                config.json                                gguf                                 where nothing is said
    key(Field::Vocab,       &["vocab_size"],                           "vocab_size",                        Default::Is(Scalar::Count(50280))),
    key(Field::Hidden,      &["hidden_size"],                          "embedding_length",                  Default::Is(Scalar::Count(768))),
    key(Field::Layers,      &["num_hidden_layers"],                    "block_count",                       Default::Is(Scalar::Count(32))),
    key(Field::NormEpsilon, &["layer_norm_epsilon"],                   "attention.layer_norm_rms_epsilon",  Default::Is(Scalar::Real(1e-5))),
    key(Field::StateSize,   &["state_size"],                           "ssm.state_size",                    Default::Is(Scalar::Count(16))),
    key(Field::Taps,        &["conv_kernel"],                          "ssm.conv_kernel",                   Default::Is(Scalar::Count(4))),
    key(Field::Channels,    &[],                                       "ssm.inner_size",                    Default::None),
    key(Field::StepRank,    &[],                                       "ssm.time_step_rank",                Default::None),
];

#[rustfmt::skip]
static ROWS: &[Row] = &[
    //  for                  hugging face                                          gguf                            fix                   needed        bias
    row(Role::Embedding,     &[at("backbone.embeddings"), at("backbone.embedding")], &[at("token_embd")],          Fix::Keep,            Need::Always, Bias::Never),
    row(Role::AttentionNorm, &[at("backbone.layers.{i}.norm")],                    &[at("blk.{i}.attn_norm")],     Fix::Keep,            Need::Always, Bias::Never),
    row(Role::MixerIn,       &[at("backbone.layers.{i}.mixer.in_proj")],           &[at("blk.{i}.ssm_in")],        Fix::Keep,            Need::Always, Bias::If("use_bias", false)),
    row(Role::Convolution,   &[at("backbone.layers.{i}.mixer.conv1d")],            &[at("blk.{i}.ssm_conv1d")],    Fix::WithoutMiddle,   Need::Always, Bias::If("use_conv_bias", true)),
    row(Role::Selection,     &[at("backbone.layers.{i}.mixer.x_proj")],            &[at("blk.{i}.ssm_x")],         Fix::Keep,            Need::Always, Bias::Never),
    row(Role::Step,          &[at("backbone.layers.{i}.mixer.dt_proj")],           &[at("blk.{i}.ssm_dt")],        Fix::Keep,            Need::Always, Bias::Always),
    row(Role::Decay,         &[at("backbone.layers.{i}.mixer.A_log").bare()],      &[at("blk.{i}.ssm_a").bare()],  Fix::NegativeExp,     Need::Always, Bias::Never),
    row(Role::Skip,          &[at("backbone.layers.{i}.mixer.D").bare()],          &[at("blk.{i}.ssm_d").bare()],  Fix::Keep,            Need::Always, Bias::Never),
    row(Role::MixerOut,      &[at("backbone.layers.{i}.mixer.out_proj")],          &[at("blk.{i}.ssm_out")],       Fix::Keep,            Need::Always, Bias::If("use_bias", false)),
    row(Role::OutputNorm,    &[at("backbone.norm_f")],                             &[at("output_norm")],           Fix::Keep,            Need::Always, Bias::Never),
    row(Role::Output,        &[at("lm_head")],                                     &[at("output")],                Fix::Keep,            Need::UnlessTied(Role::Embedding), Bias::Never),
];

/// Sizes that follow from others: `expand` times the stream, and a sixteenth of it.
fn sizes(config: &Config, hyper: &mut Hyper) -> Result<()> {
    let expand = config.get("expand").and_then(Value::as_f64).unwrap_or(2.0);
    let hidden = hyper.hidden.unwrap_or(0);
    // As transformers: `expand` decides, whatever `intermediate_size` says.
    hyper.channels = Some((expand * hidden as f64) as u64).filter(|n| (1..1 << 32).contains(n));
    hyper.step_rank = match config.get("time_step_rank") {
        None => Some(hidden.div_ceil(16)),
        Some(Value::Text(word)) if word == "auto" => Some(hidden.div_ceil(16)),
        Some(value) => Some(value.as_u64().filter(|n| *n > 0).ok_or_else(|| {
            let text = format!("time_step_rank: found {value}, expected \"auto\" or a count");
            Error::malformed(text)
        })?),
    };
    Ok(())
}

fn write_sizes(hyper: &Hyper, entries: &mut Entries) {
    let (channels, hidden) = (hyper.channels.unwrap_or(0), hyper.hidden.unwrap_or(1));
    let expand = match channels.is_multiple_of(hidden) {
        true => Value::U64(channels / hidden),
        false => Value::F64(channels as f64 / hidden as f64),
    };
    entries.insert("expand".into(), expand);
    entries.insert("intermediate_size".into(), Value::U64(channels));
    entries.insert("time_step_rank".into(), hyper.step_rank.map_or(Value::Null, Value::U64));
}

/// Keys that llama.cpp asks for, though nothing depends on them.
fn what_llama_cpp_asks(_: &Hyper, entries: &mut Entries) {
    for (key, value) in [
        ("mamba.context_length", 1 << 20),
        ("mamba.feed_forward_length", 0),
        ("mamba.attention.head_count", 0),
    ] {
        entries.insert(key.into(), Value::U32(value));
    }
    entries.insert("mamba.ssm.dt_b_c_rms".into(), Value::Bool(false));
}
