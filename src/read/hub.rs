//! What lies beside the weights in a directory of the hub: config.json, tokenizer, small files.

use std::sync::Arc;

use indexmap::IndexMap;

use super::tokenizer_json;
use crate::ir::tokenizer::Tokenizer;
use crate::ir::{Blob, Config, Error, Limits, Model, Naming, Notes, Result, Tensor, Value};
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
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "preprocessor_config.json",
    "LICENSE",
    "README.md",
];

/// A model of these tensors, and of what lies beside them.
///
/// # Errors
/// Malformed if a file beside the weights is not what its name says.
pub fn model(
    format: &'static str,
    tensors: IndexMap<String, Tensor>,
    source: &dyn Source,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<Model> {
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
    let tokenizer = tokenizer(&side_files, &config, limits, notes)?;
    Ok(Model {
        format,
        version: None,
        origin: source.label(),
        naming: Naming::HuggingFace,
        config,
        tensors,
        tokenizer,
        side_files,
    })
}

fn config(blob: &Blob, limits: &Limits) -> Result<Config> {
    let parsed = blob.read_all(limits.side_file).and_then(|text| Value::parse(&text));
    match parsed.map_err(|error| error.at(blob.name()))? {
        Value::Map(entries) => Ok(Config { entries }),
        _ => Err(Error::malformed("expected a JSON object").at(blob.name())),
    }
}

/// The tokenizer, if its files are there. One that this version does not read is no reason to
/// refuse the weights.
fn tokenizer(
    side_files: &[(String, Arc<Blob>)],
    config: &Config,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<Option<Tokenizer>> {
    let find = |name: &str| {
        let found = side_files.iter().find(|(file, _)| file == name);
        found.map(|(_, blob)| blob)
    };
    let Some(blob) = find("tokenizer.json") else {
        return Ok(None);
    };
    tokenizer_json::read(blob, &find, config, limits, notes).map(Some)
}
