//! What lies beside the weights in a directory of the hub: index, config.json, tokenizer, and
//! small files. The same for every container of weights.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::ir::tokenizer::Tokenizer;
use crate::ir::{Blob, Config, Error, Kernel, Limits, Model, Naming, Notes, Result, Tensor, Value};
use crate::store::Source;

/// Small files that travel with a model. config.json is not among them: it is written anew,
/// because it states the dtype.
const SIDE_FILES: &[&str] = &[
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "qwen.tiktoken",
    "tiktoken.model",
    "tokenizer.tiktoken",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "preprocessor_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "LICENSE",
    "README.md",
];

/// What files of weights hold.
#[derive(Debug, Default)]
pub struct Weights {
    /// The tensors, in the order of the file.
    pub tensors: IndexMap<String, Tensor>,
    /// Those that cannot be had, each with what it is.
    pub refused: IndexMap<String, String>,
    /// What is known of those that are kernels of layers.
    pub kernels: IndexMap<String, Kernel>,
}

impl From<IndexMap<String, Tensor>> for Weights {
    fn from(tensors: IndexMap<String, Tensor>) -> Self {
        Self { tensors, ..Self::default() }
    }
}

/// A model of these weights, and of what lies beside them.
///
/// # Errors
/// Malformed if a file beside the weights is not what its name says.
pub fn model(
    format: &'static str,
    weights: impl Into<Weights>,
    source: &dyn Source,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<Model> {
    let Weights { tensors, refused, kernels } = weights.into();
    let config = match source.find("config.json")? {
        Some(blob) => config(&blob, limits)?,
        None => Config::default(),
    };
    let mut side_files = Vec::new();
    for name in SIDE_FILES {
        if let Some(blob) = source.find(name)? {
            side_files.push(((*name).to_owned(), blob));
        }
    }
    let read = tokenizer(&side_files, &config, limits, notes);
    let (tokenizer, unread_tokenizer) = super::optional(read, &source.label(), notes)?;
    Ok(Model {
        format,
        version: None,
        origin: source.label(),
        naming: Naming::HuggingFace,
        config,
        tensors,
        refused,
        kernels,
        tokenizer,
        unread_tokenizer,
        graph: None,
        side_files,
    })
}

fn config(blob: &Blob, limits: &Limits) -> Result<Config> {
    let text = blob.read_all(limits.side_file)?;
    match Value::parse(&text).map_err(|error| error.at(blob.name()))? {
        Value::Map(entries) => Ok(Config { entries }),
        _ => Err(Error::malformed("expected a JSON object").at(blob.name())),
    }
}

/// The tokenizer, if its files are there.
fn tokenizer(
    side_files: &[(String, Arc<Blob>)],
    config: &Config,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<Option<Tokenizer>> {
    let bytes = |name: &str| {
        let found = side_files.iter().find(|(file, _)| file == name);
        found.map(|(_, blob)| blob.read_all(limits.side_file)).transpose()
    };
    super::tokenizer::read(&bytes, config, notes)
}

/// Reads every tensor of one shard.
pub(super) type ReadShard<'a> = dyn FnMut(&Arc<Blob>, &mut Notes) -> Result<Weights> + 'a;

/// The weights of all shards, in the order of the index; it and the shards must agree.
///
/// # Errors
/// Malformed if they do not, naming shard and tensor; what `file` says of a shard.
pub(super) fn sharded(
    source: &dyn Source,
    index_name: &str,
    limits: &Limits,
    notes: &mut Notes,
    file: &mut ReadShard<'_>,
) -> Result<Weights> {
    let blob = source.open(index_name)?;
    let place = |error: Error| error.at(blob.name());
    let text = blob.read_all(limits.side_file)?;
    let index = safetensors::read_index(&text).map_err(|error| place(error.into()))?;
    let mut shards: IndexMap<&str, Weights> = IndexMap::new();
    for (_, shard) in &index.weight_map {
        if shards.contains_key(shard.as_str()) {
            continue;
        }
        if shards.len() as u64 >= limits.shards {
            let text = format!("more than {} shards", limits.shards);
            return Err(place(Error::above("shards", text)));
        }
        let opened = source.open(shard).map_err(place)?;
        shards.insert(shard, file(&opened, notes).map_err(place)?);
    }
    let mut all = Weights::default();
    for (name, shard) in &index.weight_map {
        let missing = || place(Error::malformed(format!("tensor '{name}' is not in {shard}")));
        let weights = shards.get_mut(shard.as_str()).ok_or_else(missing)?;
        if let Some(tensor) = weights.tensors.swap_remove(name) {
            all.tensors.insert(name.clone(), tensor);
        } else {
            let what = weights.refused.swap_remove(name).ok_or_else(missing)?;
            all.refused.insert(name.clone(), what);
        }
    }
    let first = |rest: &Weights| rest.tensors.keys().chain(rest.refused.keys()).next().cloned();
    if let Some((shard, name)) = shards.iter().find_map(|(s, rest)| Some((s, first(rest)?))) {
        let text = format!("{shard} holds tensor '{name}', which the index does not list there");
        return Err(place(Error::malformed(text)));
    }
    check_set(source, &shards)?;
    if all.refused.is_empty() {
        check_total(&index, &all.tensors, index_name, notes);
    }
    Ok(all)
}

/// Another shard of the same set that the index does not name means that one of them is wrong.
fn check_set<T>(source: &dyn Source, shards: &IndexMap<&str, T>) -> Result<()> {
    let set = |name: &str| {
        let (stem, rest) = name.rsplit_once("-of-")?;
        let ((stem, no), (count, _)) = (stem.rsplit_once('-')?, rest.split_once('.')?);
        let numbers = [no, count].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
        numbers.then(|| (stem.to_owned(), rest.to_owned()))
    };
    let known: Vec<_> = shards.keys().filter_map(|name| set(name)).collect();
    let stray = source.names()?.into_iter().find(|name| {
        !shards.contains_key(name.as_str()) && set(name).is_some_and(|s| known.contains(&s))
    });
    match stray {
        None => Ok(()),
        Some(name) => {
            let text =
                format!("{name} belongs to the set of shards, but the index names nothing in it");
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
