//! How the hidden states of a text become one vector: what sentence-transformers says in
//! modules.json and the files that it names, and GGUF in `pooling_type`.

use super::Entries;
use crate::ir::value::List;
use crate::ir::{Error, Model, Naming, Result, Value};

/// How one vector is made of the hidden states of all positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Their mean.
    Mean,
    /// That of the first position.
    First,
    /// That of the last position.
    Last,
}

/// What is done with the hidden states of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pooling {
    /// How one vector is made of them.
    pub pool: Pool,
    /// Whether it is then divided by its length.
    pub normalised: bool,
    /// Tokens beyond which a text is cut off.
    pub max_tokens: Option<u64>,
}

/// The poolings: `pooling_mode_*` of sentence-transformers, and the number of llama.cpp's
/// `enum llama_pooling_type`.
const POOLS: &[(&str, u64, Pool)] = &[
    ("pooling_mode_mean_tokens", 1, Pool::Mean),
    ("pooling_mode_cls_token", 2, Pool::First),
    ("pooling_mode_lasttoken", 3, Pool::Last),
];

/// The files of sentence-transformers that are read. The names are those that it always writes.
const POOLING_CONFIG: &str = "1_Pooling/config.json";
const LIST: &str = "modules.json";
const TRANSFORMER_CONFIG: &str = "sentence_bert_config.json";

/// Such a file is a screenful.
const FILE_MAX: u64 = 1 << 20;

/// How a model's files say that texts become vectors; nothing if they do not.
///
/// # Errors
/// Malformed for a file that is not what its name says; Unsupported for a pooling that is not
/// computed, naming it.
pub fn pooling(model: &Model) -> Result<Option<Pooling>> {
    match model.naming {
        Naming::Gguf => from_gguf(model),
        Naming::HuggingFace => from_modules(model),
    }
}

/// Adds to a GGUF's metadata what the files of sentence-transformers say: llama.cpp's key, and
/// keys of our own for what it does not know.
///
/// # Errors
/// As [`pooling`].
pub(super) fn to_gguf(family: &str, model: &Model, entries: &mut Entries) -> Result<()> {
    let Some(Pooling { pool, normalised, max_tokens }) = from_modules(model)? else {
        return Ok(());
    };
    let number = POOLS.iter().find(|(_, _, known)| *known == pool).map(|(_, number, _)| *number);
    entries.insert(format!("{family}.pooling_type"), Value::U32(number.unwrap_or(0) as u32));
    if !normalised {
        entries.insert(NORMALISED.into(), Value::Bool(false));
    }
    if let Some(count) = max_tokens.and_then(|count| u32::try_from(count).ok()) {
        entries.insert(MAX_TOKENS.into(), Value::U32(count));
    }
    Ok(())
}

const NORMALISED: &str = "remold.normalised";
const MAX_TOKENS: &str = "remold.max_tokens";

/// llama.cpp normalises what it pools.
fn from_gguf(model: &Model) -> Result<Option<Pooling>> {
    let family = model.config.get("general.architecture").and_then(Value::as_text);
    let key = format!("{}.pooling_type", family.unwrap_or_default());
    let Some(value) = model.config.get(&key) else { return Ok(None) };
    if value.as_u64() == Some(0) {
        return Ok(None);
    }
    let known = POOLS.iter().find(|(_, number, _)| Some(*number) == value.as_u64());
    let pool = known.map(|(_, _, pool)| *pool).ok_or_else(|| {
        Error::unsupported(format!("{key} = {value}: only mean, first and last are computed"))
    })?;
    let normalised = model.config.get(NORMALISED).and_then(Value::as_bool).unwrap_or(true);
    let max_tokens = model.config.get(MAX_TOKENS).and_then(Value::as_u64);
    Ok(Some(Pooling { pool, normalised, max_tokens }))
}

fn from_modules(model: &Model) -> Result<Option<Pooling>> {
    let Some(Value::List(modules)) = file(model, LIST)? else { return Ok(None) };
    let kinds = kinds(&modules);
    let is = |name: &str| kinds.iter().any(|kind| kind == name);
    if let Some(other) =
        kinds.iter().find(|k| !["Transformer", "Pooling", "Normalize"].contains(&&***k))
    {
        let text = format!("{LIST}: the module {other} is not computed");
        return Err(Error::unsupported(text));
    }
    if !is("Pooling") {
        return Ok(None);
    }
    let missing =
        || Error::malformed(format!("{LIST} names a pooling, but {POOLING_CONFIG} is missing"));
    let config = file(model, POOLING_CONFIG)?.ok_or_else(missing)?;
    let chosen = |key: &str| config.get(key).and_then(Value::as_bool) == Some(true);
    let mut chosen_pools = POOLS.iter().filter(|(key, ..)| chosen(key));
    let other = ["max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens"];
    let other = other.iter().find(|mode| chosen(&format!("pooling_mode_{mode}")));
    let (Some((_, _, pool)), None, None) = (chosen_pools.next(), chosen_pools.next(), other) else {
        let text = "only one of mean, first and last is computed";
        return Err(Error::unsupported(format!("{POOLING_CONFIG}: {text}")));
    };
    let limit = file(model, TRANSFORMER_CONFIG)?;
    let max_tokens = limit.and_then(|config| config.get("max_seq_length")?.as_u64());
    Ok(Some(Pooling { pool: *pool, normalised: is("Normalize"), max_tokens }))
}

/// The last words of the modules' types, as in `sentence_transformers.models.Pooling`.
fn kinds(modules: &List) -> Vec<String> {
    let kind = |module: Value| {
        let kind = module.get("type")?.as_text()?.rsplit('.').next()?.to_owned();
        Some(kind)
    };
    (0..modules.len()).filter_map(|i| kind(modules.get(i)?)).collect()
}

fn file(model: &Model, name: &str) -> Result<Option<Value>> {
    let Some((_, blob)) = model.side_files.iter().find(|(file, _)| file == name) else {
        return Ok(None);
    };
    let text = blob.read_all(FILE_MAX)?;
    Value::parse(&text).map(Some).map_err(|error| error.at(name))
}
