//! What a writer is told.

use indexmap::IndexMap;

use crate::ir::Value;

/// What a writer is told.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// The name of the file, or of the directory, without the path to it.
    pub name: String,
    /// Whether the target is a directory.
    pub directory: bool,
    /// Where to cut the model into several files.
    pub split: Split,
    /// Metadata that follows from the options, for formats that have metadata.
    pub entries: IndexMap<String, Value>,
    /// GGUF's name of the pre-tokenizer, where the user gives it.
    pub pre: Option<String>,
    /// Everything but the tensors.
    pub vocab_only: bool,
}

impl WriteOptions {
    /// The name without its extension.
    pub(super) fn stem(&self) -> String {
        let stem = self.name.rsplit_once('.').map_or(self.name.as_str(), |(stem, _)| stem);
        stem.to_owned()
    }
}

/// Where to cut a model into several files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Split {
    /// Bytes of tensors in a file, at the most.
    pub max_bytes: Option<u64>,
    /// Tensors in a file, at the most.
    pub max_tensors: Option<u64>,
}
