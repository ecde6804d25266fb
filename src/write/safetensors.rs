//! Model → safetensors: one file, or the directory that the hub's libraries expect.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::{Dtype, Entry, Plan};
use serde_json::Value as Json;

use super::layout::{FilePlan, Layout, Part};
use super::{WriteOptions, json};
use crate::ir::{DType, Error, Model, Naming, Notes, Result, Tensor, Value};

/// The layout of the file or directory that this model becomes.
///
/// # Errors
/// Unsupported, naming the tensor, for a dtype that safetensors lacks.
pub fn layout(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Layout> {
    let mut tensors: Vec<(&String, &Tensor)> = model.tensors.iter().collect();
    // Wide elements first, as the reference does, so that each stays aligned; then by name.
    tensors.sort_by_key(|(name, tensor)| (u64::MAX - tensor.dtype().block_bytes(), *name));
    if !options.directory {
        if !options.edits.is_empty() {
            let text = "--set and --unset change config.json; name a directory, which has one";
            return Err(Error::usage(text));
        }
        if model.tokenizer.is_some() || !model.side_files.is_empty() {
            let text = "one safetensors file holds tensors only; name a directory to keep them";
            notes.lost("configuration and tokenizer", text);
        }
        let file = file(options.name.clone(), &tensors)?;
        return Ok(Layout { files: vec![file], directory: false });
    }
    let mut files = Vec::new();
    if !options.vocab_only {
        files = shards(&tensors, options)?;
    }
    files.extend(side_files(model, options, notes)?);
    Ok(Layout { files, directory: true })
}

fn shards(tensors: &[(&String, &Tensor)], options: &WriteOptions) -> Result<Vec<FilePlan>> {
    let groups = options.split.groups(tensors)?;
    let count = groups.len() as u64;
    let mut map = BTreeMap::new();
    let mut files = Vec::new();
    for (group, no) in groups.iter().zip(1u64..) {
        let name = safetensors::shard_name(no, count);
        map.extend(group.iter().map(|(tensor, _)| ((*tensor).clone(), name.clone())));
        files.push(file(name, group)?);
    }
    if count > 1 {
        let bytes = tensors.iter().map(|(_, tensor)| tensor.bytes()).sum();
        let parameters = tensors.iter().map(|(_, tensor)| tensor.shape().count()).sum();
        let index = safetensors::write_index(bytes, parameters, &map);
        files.push(whole("model.safetensors.index.json", index));
    }
    Ok(files)
}

fn file(name: String, tensors: &[(&String, &Tensor)]) -> Result<FilePlan> {
    let entries: Vec<Entry> = tensors
        .iter()
        .map(|(name, tensor)| {
            let dtype = dtype(tensor.dtype()).map_err(|error| error.at(name))?;
            Ok(Entry { name: (*name).clone(), dtype, shape: tensor.shape().dims().to_vec() })
        })
        .collect::<Result<_>>()?;
    // transformers refuses files that do not say which framework's layout they have.
    let metadata = [("format".to_owned(), "pt".to_owned())];
    let plan = Plan::new(&metadata, &entries)
        .map_err(|error| Error::unsupported(format!("safetensors: cannot be written: {error}")))?;
    let mut parts = vec![(0, Part::Bytes(plan.header))];
    parts.extend(tensors.iter().zip(plan.spans).map(|((name, tensor), span)| {
        (span.offset, Part::Tensor { name: (*name).clone(), tensor: (*tensor).clone() })
    }));
    Ok(FilePlan { name, len: plan.len, parts })
}

/// config.json, and the small files that travel with a model.
fn side_files(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Vec<FilePlan>> {
    let mut files = Vec::new();
    if model.naming == Naming::HuggingFace && !model.config.entries.is_empty() {
        let mut config = model.config.clone();
        state_dtype(&mut config.entries, model);
        options.edits.apply(&mut config.entries)?;
        let text = json::to_json(&Value::Map(config.entries))?;
        files.push(whole("config.json", pretty(&text)?));
    }
    for (name, blob) in &model.side_files {
        let parts = vec![(0, Part::Copy(Arc::clone(blob)))];
        files.push(FilePlan { name: name.clone(), len: blob.size(), parts });
    }
    let has_tokenizer = model.side_files.iter().any(|(name, _)| name.starts_with("tokenizer"));
    if model.tokenizer.is_some() && !has_tokenizer {
        notes.lost("tokenizer", "a tokenizer read from GGUF is not yet written as tokenizer.json");
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

fn whole(name: &str, bytes: Vec<u8>) -> FilePlan {
    FilePlan { name: name.into(), len: bytes.len() as u64, parts: vec![(0, Part::Bytes(bytes))] }
}

fn pretty(value: &Json) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::bug(format!("JSON that cannot be written: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn dtype(dtype: DType) -> Result<Dtype> {
    Ok(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::Bf16,
        DType::F8E4M3 => Dtype::F8E4M3,
        DType::F8E5M2 => Dtype::F8E5M2,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::Bool,
        DType::Packed(block) => {
            let text = format!("safetensors has no packing {}; give --type", block.name);
            return Err(Error::unsupported(text));
        }
    })
}
