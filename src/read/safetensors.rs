//! safetensors → Model: one file, shards with their index, or a directory of the hub.

use std::sync::Arc;

use indexmap::IndexMap;
use safetensors::Dtype;

use super::hub;
use crate::ir::{Blob, DType, Error, Limits, Model, Notes, Result, Shape, Tensor};
use crate::store::Source;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Whether the source is a safetensors file, or a directory that holds some.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    match source.entry() {
        Some(name) if name.ends_with(".index.json") => Ok(name.contains("safetensors")),
        Some(name) => {
            let blob = source.open(name)?;
            Ok(safetensors::probe(&super::head(&blob)?, blob.size()))
        }
        None => Ok(source.names()?.iter().any(|name| {
            name == INDEX || std::path::Path::new(name).extension().is_some_and(|e| e == "safetensors")
        })),
    }
}

/// Reads the tensors, and what lies beside them.
///
/// # Errors
/// What the container says; Malformed if shards and index contradict each other.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let tensors = match source.entry() {
        Some(name) if name.ends_with(".index.json") => sharded(source, name, limits, notes)?,
        Some(name) => file(&source.open(name)?, limits)?,
        None if source.find(INDEX)?.is_some() => sharded(source, INDEX, limits, notes)?,
        None => file(&source.open(&single(source)?)?, limits)?,
    };
    hub::model("safetensors", tensors, source, limits, notes)
}

/// The only safetensors file of a directory without an index.
fn single(source: &dyn Source) -> Result<String> {
    let names = source.names()?;
    let is = |name: &&String| name.ends_with(".safetensors");
    let all: Vec<&String> = names.iter().filter(is).collect();
    match all[..] {
        [only] => Ok(only.clone()),
        _ if all.iter().any(|name| *name == SINGLE) => Ok(SINGLE.into()),
        _ => Err(Error::malformed(format!(
            "{} safetensors files and no {INDEX}; name one of them, or add the index",
            all.len()
        ))
        .at(source.label())),
    }
}

/// Every tensor of one file, in the order of its data.
fn file(blob: &Arc<Blob>, limits: &Limits) -> Result<IndexMap<String, Tensor>> {
    let place = |error: Error| error.at("safetensors").at(blob.name());
    let container = safetensors::Limits { header: limits.safetensors_header };
    let file = safetensors::read(&**blob, &container).map_err(|error| place(error.into()))?;
    let mut tensors = IndexMap::with_capacity(file.tensors.len());
    for info in file.tensors {
        let named = |error: Error| place(error.at(format!("tensor '{}'", info.name)));
        let dtype = dtype(info.dtype).map_err(named)?;
        let shape = Shape::new(info.shape.clone()).map_err(named)?;
        let tensor = Tensor::span(dtype, shape, Arc::clone(blob), info.offset).map_err(named)?;
        tensors.insert(info.name.clone(), tensor);
    }
    Ok(tensors)
}

/// The tensors of all shards, in the order of the index; it and the shards must agree.
fn sharded(
    source: &dyn Source,
    index_name: &str,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<IndexMap<String, Tensor>> {
    let blob = source.open(index_name)?;
    let place = |error: Error| error.at(blob.name());
    let text = blob.read_all(limits.side_file)?;
    let index = safetensors::read_index(&text).map_err(|error| place(error.into()))?;
    let mut shards: IndexMap<&str, IndexMap<String, Tensor>> = IndexMap::new();
    for (_, shard) in &index.weight_map {
        if shards.contains_key(shard.as_str()) {
            continue;
        }
        if shards.len() as u64 >= limits.shards {
            return Err(place(Error::limit(format!("more than {} shards", limits.shards))));
        }
        let opened = source.open(shard).map_err(place)?;
        shards.insert(shard, file(&opened, limits)?);
    }
    let mut tensors = IndexMap::with_capacity(index.weight_map.len());
    for (name, shard) in &index.weight_map {
        let found = shards.get_mut(shard.as_str()).and_then(|shard| shard.shift_remove(name));
        let missing = || place(Error::malformed(format!("tensor '{name}' is not in {shard}")));
        tensors.insert(name.clone(), found.ok_or_else(missing)?);
    }
    if let Some((shard, name)) = shards.iter().find_map(|(s, rest)| Some((s, rest.keys().next()?))) {
        let text = format!("{shard} holds tensor '{name}', which the index does not list there");
        return Err(place(Error::malformed(text)));
    }
    check_set(source, &shards)?;
    check_total(&index, &tensors, index_name, notes);
    Ok(tensors)
}

/// Another shard of the same set that the index does not name means that one of them is wrong.
fn check_set<T>(source: &dyn Source, shards: &IndexMap<&str, T>) -> Result<()> {
    let set = |name: &str| {
        let (stem, rest) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
        let (stem, no) = stem.rsplit_once('-')?;
        let numbers = [no, rest].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
        numbers.then(|| (stem.to_owned(), rest.to_owned()))
    };
    let known: Vec<_> = shards.keys().filter_map(|name| set(name)).collect();
    let stray = source.names()?.into_iter().find(|name| {
        !shards.contains_key(name.as_str()) && set(name).is_some_and(|s| known.contains(&s))
    });
    match stray {
        None => Ok(()),
        Some(name) => {
            let text = format!("{name} belongs to the set of shards, but the index names nothing in it");
            Err(Error::malformed(text).at(source.label()))
        }
    }
}

fn check_total(
    index: &safetensors::Index,
    tensors: &IndexMap<String, Tensor>,
    name: &str,
    notes: &mut Notes,
) {
    let found: u64 = tensors.values().map(Tensor::bytes).sum();
    let stated = index.metadata.get("total_size").and_then(serde_json::Value::as_u64);
    if let Some(stated) = stated.filter(|stated| *stated != found) {
        notes.odd(name, format!("total_size says {stated}, but the tensors have {found} bytes"));
    }
    for field in &index.ignored {
        notes.odd(name, format!("field '{field}' is not known, and not carried over"));
    }
}

fn dtype(dtype: Dtype) -> Result<DType> {
    Ok(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::BF16,
        Dtype::F8E4M3 => DType::F8E4M3,
        Dtype::F8E5M2 => DType::F8E5M2,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::Bool => DType::Bool,
        other => {
            let text = format!("dtype {} is not read by this version; --exclude it", other.name());
            return Err(Error::unsupported(text));
        }
    })
}
