//! What a writer is told.

use indexmap::IndexMap;

use super::Edits;
use crate::ir::{Error, Result, Tensor, Value};

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
    /// Changes to the metadata, by hand.
    pub edits: Edits,
    /// Everything but the tensors.
    pub vocab_only: bool,
    /// Weights in a file beside the model, for formats that have both ways.
    pub external_data: bool,
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

impl Split {
    /// For a target that is one file; `what` says which.
    ///
    /// # Errors
    /// Usage if parts are asked for.
    pub(super) fn refuse(&self, what: &str) -> Result<()> {
        if self.max_bytes.is_none() && self.max_tensors.is_none() {
            return Ok(());
        }
        let text = format!("{what}; leave out --split-max-size and --split-max-tensors");
        Err(Error::usage(text))
    }

    /// The tensors in groups that stay below the limits; a tensor above them stands alone. There
    /// is one group at least.
    pub(super) fn groups<'t>(
        &self,
        tensors: &[(&'t String, &'t Tensor)],
    ) -> Vec<Vec<(&'t String, &'t Tensor)>> {
        let (mut groups, mut group, mut bytes) = (Vec::new(), Vec::new(), 0u64);
        for &(name, tensor) in tensors {
            let with = bytes.saturating_add(tensor.bytes());
            let is_full = self.max_bytes.is_some_and(|max| with > max)
                || self.max_tensors.is_some_and(|max| group.len() as u64 >= max);
            if is_full && !group.is_empty() {
                groups.push(std::mem::take(&mut group));
                bytes = 0;
            }
            group.push((name, tensor));
            bytes = bytes.saturating_add(tensor.bytes());
        }
        groups.push(group);
        groups
    }
}
