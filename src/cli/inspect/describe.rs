//! What is known of a model without reading its weights: a pure function of what the files say.

use std::path::Path;

use super::licence::{Licence, licence};
use super::memory::Memory;
use crate::arch::{self, Arch};
use crate::ir::{Access, Blob, Hyper, Model, Tensor, Value};

/// What a model is.
pub(super) struct Description {
    /// As the file spells it.
    pub(super) architecture: Option<String>,
    /// The family whose table describes it.
    pub(super) family: Option<&'static Arch>,
    pub(super) hyper: Hyper,
    pub(super) parameters: u64,
    /// Of the tensors.
    pub(super) bytes: u64,
    /// Of the files that hold them.
    pub(super) file_bytes: u64,
    /// The kind, and the number of tokens.
    pub(super) tokenizer: Option<(String, usize)>,
    /// What it was trained for last, and what says so.
    pub(super) tuning: Option<(Tuning, &'static str)>,
    pub(super) licence: Option<Licence>,
    /// The types of the tensors, those with most bytes first.
    pub(super) types: Vec<TypeShare>,
    pub(super) memory: Memory,
}

/// The tensors of one type.
pub(super) struct TypeShare {
    pub(super) name: &'static str,
    pub(super) tensors: usize,
    pub(super) parameters: u64,
    pub(super) bytes: u64,
}

/// What a decoder was trained for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tuning {
    /// To continue texts.
    Base,
    /// To follow instructions.
    Instruct,
    /// To converse.
    Chat,
}

impl Tuning {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Instruct => "instruct",
            Self::Chat => "chat",
        }
    }
}

impl Description {
    pub(super) fn of(model: &Model) -> Self {
        let family = arch::find(model);
        let hyper = family.and_then(|family| arch::hyper(family, model).ok()).unwrap_or_default();
        let said = ["general.architecture", "model_type"].into_iter();
        let said = said.filter_map(|key| model.config.get(key).and_then(Value::as_text)).next();
        Self {
            architecture: said.map(str::to_owned),
            memory: Memory::of(family, model, &hyper),
            parameters: model.tensors.values().map(|tensor| tensor.shape().count()).sum(),
            bytes: model.tensors.values().map(Tensor::bytes).sum(),
            file_bytes: file_bytes(model),
            tokenizer: model.tokenizer.as_ref().map(|t| (t.kind_name().to_owned(), t.tokens.len())),
            tuning: tuning(model),
            licence: licence(model),
            types: types(model),
            family,
            hyper,
        }
    }

    pub(super) fn bits_per_weight(&self) -> Option<f64> {
        (self.parameters > 0).then(|| self.bytes as f64 * 8.0 / self.parameters as f64)
    }

    /// Small up to about 1 billion, medium about 8, large about 70: by the nearest on a
    /// logarithmic scale.
    pub(super) fn parameter_class(&self) -> &'static str {
        match self.parameters {
            0..2_830_000_000 => "SLM",
            2_830_000_000..23_700_000_000 => "MLM",
            _ => "LLM",
        }
    }

    pub(super) fn context_class(&self) -> Option<&'static str> {
        Some(match self.hyper.context? {
            0..=2048 => "short",
            2049..=8192 => "medium",
            _ => "long",
        })
    }
}

fn file_bytes(model: &Model) -> u64 {
    let mut blobs: Vec<_> = model.tensors.values().flat_map(|tensor| tensor.blobs()).collect();
    blobs.sort_by_key(|blob| blob.name());
    blobs.dedup_by_key(|blob| blob.name());
    match blobs.iter().map(|blob| blob.size()).sum() {
        // A vocabulary is a file too.
        0 => Blob::open(Path::new(&model.origin), Access::Read).map_or(0, |blob| blob.size()),
        bytes => bytes,
    }
}

fn types(model: &Model) -> Vec<TypeShare> {
    let mut types: Vec<TypeShare> = Vec::new();
    for tensor in model.tensors.values() {
        let name = tensor.dtype().name();
        let known = types.iter().position(|share| share.name == name).unwrap_or_else(|| {
            types.push(TypeShare { name, tensors: 0, parameters: 0, bytes: 0 });
            types.len() - 1
        });
        let share = &mut types[known];
        share.tensors += 1;
        share.parameters += tensor.shape().count();
        share.bytes += tensor.bytes();
    }
    types.sort_by_key(|share| (u64::MAX - share.bytes, share.name));
    types
}

/// Words of a name that say what a model was trained for last. A name says it on purpose; a chat
/// template also comes with base models, whose makers left it in the tokenizer.
const WORDS: &[(&str, Tuning)] = &[
    ("instruct", Tuning::Instruct),
    ("instruction", Tuning::Instruct),
    ("it", Tuning::Instruct),
    ("chat", Tuning::Chat),
    ("assistant", Tuning::Chat),
    ("base", Tuning::Base),
    ("pt", Tuning::Base),
    ("pretrained", Tuning::Base),
];

/// What a model that generates text was trained for last; nothing for one that does not.
fn tuning(model: &Model) -> Option<(Tuning, &'static str)> {
    let text = |key: &str| model.config.get(key).and_then(Value::as_text);
    if !generates(model) {
        return None;
    }
    let path = Path::new(&model.origin).file_name().map(|name| name.to_string_lossy().into_owned());
    let name = model.name();
    let names = [text("general.finetune"), text("_name_or_path"), Some(&name), path.as_deref()];
    if let Some(tuning) = names.into_iter().flatten().find_map(tuning_of_name) {
        return Some((tuning, "name"));
    }
    let template = model.tokenizer.as_ref().is_some_and(|t| !t.chat_templates.is_empty());
    let template = template || text("tokenizer.chat_template").is_some();
    Some(if template {
        (Tuning::Chat, "chat template")
    } else {
        (Tuning::Base, "lack of a chat template")
    })
}

fn tuning_of_name(name: &str) -> Option<Tuning> {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_ascii_lowercase);
    let words: Vec<String> = words.collect();
    WORDS.iter().find(|(word, _)| words.iter().any(|w| w == word)).map(|(_, tuning)| *tuning)
}

/// Whether the model writes text: its class says so, or its file has a key for its layers and
/// none that says that it sees both sides of a position.
fn generates(model: &Model) -> bool {
    if let Some(classes) = model.config.get("architectures").and_then(Value::as_texts) {
        let writes = ["ForCausalLM", "LMHeadModel", "ForConditionalGeneration"];
        return classes.iter().any(|class| writes.iter().any(|end| class.ends_with(end)));
    }
    let Some(name) = model.config.get("general.architecture").and_then(Value::as_text) else {
        return false;
    };
    let key = |key: &str| model.config.get(&format!("{name}.{key}"));
    let causal = key("attention.causal").and_then(Value::as_bool) != Some(false);
    key("block_count").is_some() && causal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_model_was_trained_for() {
        use Tuning::{Base, Chat, Instruct};
        let cases = [
            ("SmolLM2-135M-Instruct", Some(Instruct)),
            ("gemma-3-270m-it", Some(Instruct)),
            ("gemma-3-270m-pt", Some(Base)),
            ("Llama-2-7b-chat-hf", Some(Chat)),
            ("Qwen3-0.6B-Base", Some(Base)),
            ("Qwen3-0.6B", None),
            ("gitlab-italian", None),
        ];
        for (name, expected) in cases {
            assert_eq!(tuning_of_name(name), expected, "{name}");
        }
    }
}
