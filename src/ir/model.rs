//! A model as a value.

use std::sync::Arc;

use indexmap::IndexMap;

use super::graph::Program;
use super::tokenizer::Tokenizer;
use super::{Blob, Error, Kernel, Result, Tensor, Value};

/// Whose tensor names and layout conventions a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// The hub's: `model.layers.0.self_attn.q_proj.weight`, rows as transformers has them.
    HuggingFace,
    /// llama.cpp's: `blk.0.attn_q.weight`, rows as llama.cpp wants them.
    Gguf,
}

/// The configuration, as its file spelled it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Keys in the file's order: those of config.json, or of GGUF's metadata.
    pub entries: IndexMap<String, Value>,
}

impl Config {
    /// The value under `key`, unless absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).filter(|value| **value != Value::Null)
    }
}

/// A model: everything that a file said, nothing computed.
#[derive(Debug, Clone)]
pub struct Model {
    /// The format it was read from.
    pub format: &'static str,
    /// The version of that format, where it has one.
    pub version: Option<u32>,
    /// The file or directory it was read from, for messages.
    pub origin: String,
    /// Whose names the tensors and the configuration have.
    pub naming: Naming,
    /// The configuration.
    pub config: Config,
    /// The tensors, in the order of the file.
    pub tensors: IndexMap<String, Tensor>,
    /// The tensors that the file holds and that cannot be had, each with what it is: `a sparse
    /// tensor`. A user may leave them out; else [`Model::require_tensors`] refuses the model.
    pub refused: IndexMap<String, String>,
    /// What is known of those that are kernels of layers.
    pub kernels: IndexMap<String, Kernel>,
    /// The computation, if the file says it; models of a known family need none.
    pub graph: Option<Arc<Program>>,
    /// The tokenizer, if the files hold one.
    pub tokenizer: Option<Tokenizer>,
    /// Why a tokenizer that the files do hold was not read.
    pub unread_tokenizer: Option<Error>,
    /// Small files beside the weights that travel with the model, by name.
    pub side_files: Vec<(String, Arc<Blob>)>,
}

impl Model {
    /// A model of nothing yet, whose tensors have Hugging Face's names.
    pub fn empty(format: &'static str, origin: impl Into<String>) -> Self {
        Self {
            format,
            version: None,
            origin: origin.into(),
            naming: Naming::HuggingFace,
            config: Config::default(),
            tensors: IndexMap::new(),
            refused: IndexMap::new(),
            kernels: IndexMap::new(),
            graph: None,
            tokenizer: None,
            unread_tokenizer: None,
            side_files: Vec::new(),
        }
    }

    /// For those who want every tensor that the file holds.
    ///
    /// # Errors
    /// Unsupported if there are some that cannot be had, naming all of them.
    pub fn require_tensors(&self) -> Result<()> {
        if self.refused.is_empty() {
            return Ok(());
        }
        let named = self.refused.iter().map(|(name, what)| format!("'{name}' is {what}"));
        let named = named.collect::<Vec<_>>().join(", ");
        let text = format!(
            "tensors that cannot be read: {named}; make plain tensors of them before saving, or \
             leave them out with --exclude"
        );
        Err(Error::unsupported(text).at(&self.origin))
    }

    /// The tokenizer, for those who cannot do without.
    ///
    /// # Errors
    /// Unsupported if there is none, or one that this version does not read.
    pub fn require_tokenizer(&self) -> Result<&Tokenizer> {
        let missing = || {
            let none = Error::unsupported("the model has no tokenizer; give token ids");
            self.unread_tokenizer.clone().unwrap_or(none).at(&self.origin)
        };
        self.tokenizer.as_ref().ok_or_else(missing)
    }

    /// What the model is called: what its metadata says, else what its file or directory is called.
    pub fn name(&self) -> String {
        let said = ["general.name", "_name_or_path"].into_iter();
        let said = said.filter_map(|key| self.config.get(key).and_then(Value::as_text));
        let said = said.filter(|name| !name.is_empty()).map(str::to_owned).next();
        said.unwrap_or_else(|| {
            let path = std::path::Path::new(&self.origin);
            path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
        })
    }
}
