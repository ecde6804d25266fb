//! Families of models as data: tensor names both ways, configuration both ways, and what a
//! layer computes.
//!
//! A family is one file with a table and one line in [`ARCHS`]. The table says how a Hugging Face
//! model and a GGUF spell the same thing; conversion reads it in one direction, the runner asks
//! it where a layer's weights are, and `verify` asks it what must be equal.

mod bert;
mod bloom;
mod check;
mod cohere;
mod config;
mod deepseek;
#[cfg(test)]
mod document;
mod falcon;
mod gemma;
mod gemma2;
mod gpt2;
mod gptneox;
mod gptoss;
mod json;
mod layers;
mod llama;
mod mamba;
mod mixtral;
mod modernbert;
mod names;
mod olmo;
mod opt;
mod parts;
mod phi;
mod pooling;
mod qwen2;
mod qwen3;
mod qwen_moe;
mod rename;
mod rope;
mod rwkv;
mod scaling;
mod shapes;
mod stablelm;
mod t5;
mod table;

pub use check::{check, flags};
pub use config::{hyper, untranslated};
pub use names::{tensor, usual_name};
pub use parts::{Named, Parts};
pub use pooling::{Pool, Pooling, pooling};
pub use rename::{Fate, Ledger, rename, rename_part};
pub use rope::frequencies;
pub use table::{
    Alibi, Arch, Bias, BlockShape, Default, Ends, Entries, Expected, Fix, Form, Groups, Home,
    Hooks, Key, Need, Norm, Pairing, Part, Plan, QueryNorm, Role, Row,
};

use crate::ir::{Error, Model, Naming, Result, Value};

/// Every family, in the order in which a GGUF's architecture name is looked up.
pub static ARCHS: &[&Arch] = &[
    &llama::LLAMA,
    &llama::MISTRAL,
    &mixtral::MIXTRAL,
    &qwen2::QWEN2,
    &qwen_moe::QWEN2_MOE,
    &qwen3::QWEN3,
    &qwen_moe::QWEN3_MOE,
    &gemma::GEMMA,
    &gemma2::GEMMA2,
    &gemma2::GEMMA3,
    &phi::PHI,
    &phi::PHI3,
    &gpt2::GPT2,
    &gptneox::GPT_NEOX,
    &gptneox::GPTJ,
    &bloom::BLOOM,
    &bloom::MPT,
    &falcon::FALCON_NEW,
    &falcon::FALCON,
    &opt::OPT,
    &stablelm::STABLELM,
    &stablelm::STARCODER2,
    &stablelm::NEMOTRON,
    &olmo::OLMO,
    &olmo::OLMO2,
    &olmo::OLMOE,
    &cohere::COHERE,
    &cohere::GRANITE,
    &cohere::SMOLLM3,
    &cohere::GLM4,
    &deepseek::DEEPSEEK2,
    &deepseek::DEEPSEEK3,
    &gptoss::GPT_OSS,
    &mamba::MAMBA,
    &rwkv::RWKV4,
    &rwkv::RWKV5,
    &bert::BERT,
    &bert::BERT_MODEL,
    &bert::ROBERTA,
    &bert::ROBERTA_MODEL,
    &bert::DISTILBERT,
    &bert::DISTILBERT_MODEL,
    &modernbert::MODERNBERT,
    &modernbert::MODERNBERT_MODEL,
    &t5::T5,
    &t5::T5_ENCODER,
];

/// The family of a model, from its configuration alone; nothing if it has none that is known.
pub fn find(model: &Model) -> Option<&'static Arch> {
    let text = |key: &str| model.config.get(key).and_then(Value::as_text);
    match model.naming {
        Naming::Gguf => {
            let name = text("general.architecture")?;
            // A file that names a family and says nothing about it holds tensors, not a model.
            let keys = format!("{name}.");
            let described = model.config.entries.keys().any(|key| key.starts_with(&keys));
            of_gguf(name, model).filter(|_| described)
        }
        Naming::HuggingFace => {
            let classes = model.config.get("architectures").and_then(Value::as_texts);
            let class = classes.and_then(|classes| classes.first().map(|name| (*name).to_owned()));
            let by_class = |arch: &&&Arch| {
                class.as_deref().is_some_and(|c| arch.hf.contains(&c)) && (arch.when)(model)
            };
            let by_type =
                |arch: &&&Arch| text("model_type") == Some(arch.model_type) && (arch.when)(model);
            // A class that is not listed (a classifier, say) must not pass for a decoder.
            match class {
                Some(_) => ARCHS.iter().find(by_class).copied(),
                None => ARCHS.iter().find(by_type).copied(),
            }
        }
    }
}

/// Of the families that share an architecture's name, the first that has a word for all that the
/// metadata says in the words of any of them, and whose tensors are there.
fn of_gguf(name: &str, model: &Model) -> Option<&'static Arch> {
    let says = |key: &Key| {
        let value = model.config.get(&format!("{name}.{}", key.gguf));
        !key.gguf.is_empty() && value.is_some_and(|value| value.as_f64() != Some(0.0))
    };
    let family = || ARCHS.iter().copied().filter(|arch| arch.gguf == name && (arch.when)(model));
    let said: Vec<&str> =
        family().flat_map(Arch::keys).filter(|key| says(key)).map(|key| key.gguf).collect();
    let knows = |arch: &&Arch| said.iter().all(|said| arch.keys().any(|key| key.gguf == *said));
    let fits = |arch: &&Arch| model.tensors.is_empty() || has_tensors(arch, model);
    let fitting = family().find(|arch| knows(arch) && fits(arch));
    fitting.or_else(|| family().find(knows)).or_else(|| family().next())
}

/// Whether a GGUF has every tensor that each model of the family has outside of its layers.
fn has_tensors(arch: &Arch, model: &Model) -> bool {
    let needed = arch.rows().filter(|row| row.need == Need::Always);
    let outside = needed.filter(|row| row.gguf.iter().all(|home| !home.stem.contains("{i}")));
    let has = |row: &Row| tensor(arch, model, row.role, Part::Weight, None).is_some();
    outside.into_iter().all(has)
}

/// Whether the output matrix is the embedding: config.json says so, a GGUF leaves it out, and so
/// does either side of a family that may do without.
pub fn is_tied(arch: &Arch, model: &Model) -> bool {
    let may_lack = arch.row(Role::Output).is_some_and(|row| row.need == Need::Optional);
    match model.naming {
        _ if may_lack => tensor(arch, model, Role::Output, Part::Weight, None).is_none(),
        Naming::HuggingFace => {
            let said = model.config.get("tie_word_embeddings").and_then(Value::as_bool);
            said.unwrap_or(arch.tied)
        }
        Naming::Gguf => !model.tensors.contains_key("output.weight"),
    }
}

/// The family of a model that must have one.
///
/// # Errors
/// Unsupported, naming what the configuration says and what is known.
pub fn require(model: &Model) -> Result<&'static Arch> {
    find(model).ok_or_else(|| {
        let says = |key: &str| match model.config.get(key) {
            Some(Value::Text(text)) => Some(text.clone()),
            Some(value) => value.as_texts().map(|texts| texts.join(", ")),
            None => None,
        };
        let found = ["general.architecture", "architectures", "model_type"].into_iter();
        let found = found.filter_map(|key| says(key).map(|text| format!("{key} = {text}")));
        let found: Vec<String> = found.collect();
        let found = if found.is_empty() { "no configuration".into() } else { found.join(", ") };
        let known: Vec<&str> = ARCHS.iter().flat_map(|arch| arch.hf).copied().collect();
        let message = format!("found {found}; families known: {}", known.join(", "));
        Error::unsupported(message)
    })
}
