//! Model → a directory of the hub: weights in one file or in shards with an index, config.json,
//! and the small files that travel along. The same for every container of weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::layout::{FilePlan, Layout, Part};
use super::{WriteOptions, json, tokenizer_json};
use crate::ir::{DType, Error, Model, Naming, Notes, Result, Tensor, Value};

/// What a container of weights is to a directory of the hub.
pub(super) struct Container {
    /// What a single file of it is called in a note.
    pub(super) name: &'static str,
    /// The name of shard `no`, counted from 1, of `count`.
    pub(super) shard: fn(no: u64, count: u64) -> String,
    /// The name of the index of shards.
    pub(super) index: &'static str,
    /// Lays out one file of these tensors.
    pub(super) file: File,
}

/// Lays out a file of this name and these tensors, each with its name.
type File = fn(String, &[(&String, &Tensor)]) -> Result<FilePlan>;

/// The file or directory of these tensors, in this order.
///
/// # Errors
/// What the container says of a tensor; Usage for edits of a configuration that is not written.
pub(super) fn layout(
    container: &Container,
    model: &Model,
    tensors: &[(&String, &Tensor)],
    options: &WriteOptions,
    notes: &mut Notes,
) -> Result<Layout> {
    if !options.directory {
        let whole = match container.index {
            "" => format!("one {} file is not cut into parts", container.name),
            _ => format!("only a directory of {} is cut into parts: name one", container.name),
        };
        options.split.refuse(&whole)?;
        tensors_only(container.name, model, options, notes)?;
        let file = (container.file)(options.name.clone(), tensors)?;
        return Ok(Layout { files: vec![file], directory: false });
    }
    let mut files = Vec::new();
    if !options.vocab_only {
        files = shards(container, tensors, options)?;
    }
    files.extend(side_files(model, options, notes)?);
    Ok(Layout { files, directory: true })
}

/// Says what is lost where no directory is written; `name` is what holds tensors only.
///
/// # Errors
/// Usage for edits of a configuration that is not written, and where only that is asked for.
pub(super) fn tensors_only(
    name: &str,
    model: &Model,
    options: &WriteOptions,
    notes: &mut Notes,
) -> Result<()> {
    if !options.edits.is_empty() {
        let text = "--set and --unset change config.json; name a directory, which has one";
        return Err(Error::usage(text));
    }
    if options.vocab_only {
        let text = format!("--vocab-only: one {name} file holds tensors only; name a directory");
        return Err(Error::usage(text));
    }
    if model.tokenizer.is_some() || !model.side_files.is_empty() {
        let text = format!("one {name} file holds tensors only; name a directory to keep them");
        notes.lost("configuration and tokenizer", text);
    }
    Ok(())
}

fn shards(
    container: &Container,
    tensors: &[(&String, &Tensor)],
    options: &WriteOptions,
) -> Result<Vec<FilePlan>> {
    let groups = options.split.groups(tensors);
    let count = groups.len() as u64;
    let mut map = BTreeMap::new();
    let mut files = Vec::new();
    for (group, no) in groups.iter().zip(1u64..) {
        let name = (container.shard)(no, count);
        map.extend(group.iter().map(|(tensor, _)| ((*tensor).clone(), name.clone())));
        files.push((container.file)(name, group)?);
    }
    if count > 1 {
        let bytes = tensors.iter().map(|(_, tensor)| tensor.bytes()).sum();
        let parameters = tensors.iter().map(|(_, tensor)| tensor.shape().count()).sum();
        let index = safetensors::write_index(bytes, parameters, &map);
        files.push(whole(container.index, index));
    }
    Ok(files)
}

/// config.json, and the small files that travel with a model.
pub(super) fn side_files(
    model: &Model,
    options: &WriteOptions,
    notes: &mut Notes,
) -> Result<Vec<FilePlan>> {
    let mut files = Vec::new();
    if model.naming == Naming::HuggingFace && !model.config.entries.is_empty() {
        let mut config = model.config.clone();
        state_dtype(&mut config.entries, model);
        options.edits.apply(&mut config.entries)?;
        let text = json::to_json(&Value::Map(config.entries))?;
        files.push(whole("config.json", pretty(&text)?));
    }
    for (name, blob) in &model.side_files {
        if name.contains('/') {
            notes.lost(name, "directories within the directory are not written; copy it by hand");
            continue;
        }
        let parts = vec![(0, Part::Copy(Arc::clone(blob)))];
        files.push(FilePlan { name: name.clone(), len: blob.size(), parts });
    }
    let has_tokenizer = model.side_files.iter().any(|(name, _)| name.starts_with("tokenizer"));
    if let (Some(tokenizer), false) = (&model.tokenizer, has_tokenizer) {
        let context = model.config.get("max_position_embeddings").and_then(Value::as_u64);
        for file in tokenizer_json::files(tokenizer, context, notes)? {
            if model.side_files.iter().all(|(name, _)| name != file.name) {
                files.push(whole(file.name, file.text.into_bytes()));
            }
        }
    }
    Ok(files)
}

/// config.json states the dtype of the weights, in the dialect it already has.
fn state_dtype(entries: &mut indexmap::IndexMap<String, Value>, model: &Model) {
    let mut count: BTreeMap<&str, u64> = BTreeMap::new();
    for tensor in model.tensors.values() {
        let name = match tensor.dtype() {
            DType::F32 => "float32",
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::F64 => "float64",
            _ => continue,
        };
        *count.entry(name).or_default() += tensor.shape().count();
    }
    let most = count.into_iter().max_by_key(|(_, elements)| *elements);
    let key = if entries.contains_key("dtype") { "dtype" } else { "torch_dtype" };
    if let Some((name, _)) = most {
        entries.insert(key.into(), Value::Text(name.into()));
    }
}

pub(super) fn whole(name: &str, bytes: Vec<u8>) -> FilePlan {
    FilePlan { name: name.into(), len: bytes.len() as u64, parts: vec![(0, Part::Bytes(bytes))] }
}

fn pretty(value: &Json) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::bug(format!("JSON that cannot be written: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}
