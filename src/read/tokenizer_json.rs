//! `tokenizer.json`, the file of Hugging Face's tokenizers library, and the files beside it.
//!
//! ```text
//!  tokenizer.json            added_tokens · normalizer · pre_tokenizer · model · post_processor
//!  tokenizer_config.json     bos_token … · add_bos_token … · chat_template
//!  special_tokens_map.json   bos_token …            where tokenizer_config.json has none
//!  config.json, generation_config.json   bos_token_id …   where neither has one
//!  chat_template.jinja       the template, whatever tokenizer_config.json says
//! ```
//!
//! Format: <https://github.com/huggingface/tokenizers>, 0.23, whose own reader is laxer: refused
//! here are keys, ids and merges that come twice, and an added token on another's id.
//! Read are BPE models, byte-level or SentencePiece's, Unigram and WordPiece; other kinds are Unsupported,
//! by name.

mod merges;
mod normal;
mod spm;
mod steps;
mod template;
mod unigram;
mod wordpiece;

use std::collections::{BTreeMap, HashMap};

use crate::ir::tokenizer::{
    Added, Bpe, Class, Kind, Pre, ROLES, Role, Token, Tokenizer, by_text, names,
};
use crate::ir::value::List;
use crate::ir::{Config, Error, Notes, Result, Value};

/// Ids below the highest that no token has: they become padding, so they must be few.
pub(super) const GAPS_MAX: usize = 1 << 16;

/// The files that say something about a tokenizer, as far as they are there.
#[derive(Clone, Copy, Default)]
pub struct Files<'a> {
    /// The bytes of tokenizer.json.
    pub tokenizer: &'a [u8],
    /// The bytes of tokenizer_config.json.
    pub tokenizer_config: Option<&'a [u8]>,
    /// The bytes of special_tokens_map.json.
    pub special_tokens_map: Option<&'a [u8]>,
    /// The bytes of generation_config.json.
    pub generation_config: Option<&'a [u8]>,
    /// The text of chat_template.jinja.
    pub chat_template: Option<&'a str>,
    /// config.json, already read.
    pub config: Option<&'a Config>,
}

/// Reads a tokenizer.
///
/// # Errors
/// Malformed with the field at fault; Unsupported naming the kind of tokenizer or the component
/// that is not known here; Limit for patterns that are too large.
pub fn read(files: &Files, notes: &mut Notes) -> Result<Tokenizer> {
    let json = side(Some(files.tokenizer), "tokenizer.json")?;
    let mut tokenizer = core(&json, notes).map_err(|error| error.at("tokenizer.json"))?;
    let config = side(files.tokenizer_config, "tokenizer_config.json")?;
    let map = side(files.special_tokens_map, "special_tokens_map.json")?;
    let generation = side(files.generation_config, "generation_config.json")?;
    name_roles(&mut tokenizer, [&config, &map], notes);
    number_roles(&mut tokenizer, files.config, &generation, notes);
    guess_ends(&mut tokenizer, &config);
    add_ends(&mut tokenizer, &config).map_err(|error| error.at("tokenizer_config.json"))?;
    tokenizer.chat_templates = chat_templates(&config, files.chat_template)
        .map_err(|error| error.at("tokenizer_config.json: chat_template"))?;
    Ok(tokenizer)
}

/// A file beside the tokenizer; Null where it is not there.
pub(super) fn side(bytes: Option<&[u8]>, name: &str) -> Result<Value> {
    let parsed = bytes.map(Value::parse).transpose();
    parsed.map(|value| value.unwrap_or(Value::Null)).map_err(|error| error.at(name))
}

/// What tokenizer.json alone says.
fn core(json: &Value, notes: &mut Notes) -> Result<Tokenizer> {
    let model = json.get("model").ok_or_else(|| Error::malformed("'model' is missing"))?;
    match model.get("type").and_then(Value::as_text) {
        Some("Unigram") => return unigram::read(json, model),
        Some("WordPiece") => return wordpiece::read(json, model, notes),
        _ => check_kind(model)?,
    }
    if spm::is_spm(json, model) {
        return spm::read(json, model, notes);
    }
    let (tokens, added) = vocabulary(model, json.get("added_tokens"))?;
    let ids = by_text(&tokens).map_err(|error| error.at("model.vocab"))?;
    let merges = merges::read(model.get("merges"), &ids)
        .and_then(|merges| crate::ir::tokenizer::check_merges(&merges).map(|()| merges))
        .map_err(|error| error.at("model.merges"))?;
    let (prefix, suffix) = template::read(json.get("post_processor"), tokens.len())
        .map_err(|error| error.at("post_processor"))?;
    decoder(json.get("decoder"), &["ByteLevel"]).map_err(|error| error.at("decoder"))?;
    let mut pre = pre(json)?;
    let ignore_merges = flag(model, "ignore_merges");
    pre.name = names::find(&pre, ignore_merges).map(str::to_owned);
    let unknown = unknown(model, &ids, notes);
    let fuse_unknown = flag(model, "fuse_unk");
    drop(ids);
    let kind = Kind::Bpe(Bpe { merges, ignore_merges, unknown, fuse_unknown, pre });
    let (special, chat_templates) = (BTreeMap::new(), Vec::new());
    Ok(Tokenizer { kind, tokens, added, special, prefix, suffix, chat_templates })
}

/// How text is rewritten, and how it is cut.
fn pre(json: &Value) -> Result<Pre> {
    let normal = normal::read(json.get("normalizer")).map_err(|error| error.at("normalizer"))?;
    let steps = steps::read(json.get("pre_tokenizer"));
    let steps = steps.map_err(|error| error.at("pre_tokenizer"))?;
    Ok(Pre { name: None, normal, steps })
}

pub(super) fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::List(List::Any(items)) => Some(items),
        _ => None,
    }
}

fn check_kind(model: &Value) -> Result<()> {
    let refuse = |what: String| Err(Error::unsupported(format!("{what} is not supported")));
    match model.get("type").and_then(Value::as_text) {
        Some("BPE") => {}
        None if model.get("merges").is_some() => {}
        Some(kind) => return refuse(format!("a tokenizer model of kind '{kind}'")),
        None => return Err(Error::malformed("model.type is missing")),
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model.get(key).is_some_and(|value| value.as_text() != Some("")) {
            return refuse(format!("a BPE model with {key}"));
        }
    }
    if model.get("dropout").is_some_and(|value| value.as_f64() != Some(0.0)) {
        return refuse("a BPE model with dropout".into());
    }
    Ok(())
}

/// Every token, by id, and the added ones.
fn vocabulary(model: &Value, added: Option<&Value>) -> Result<(Vec<Token>, Vec<Added>)> {
    let Some(Value::Map(vocab)) = model.get("vocab") else {
        return Err(Error::malformed("model.vocab is not a map"));
    };
    let mut slots = Slots { bound: vocab.len() + GAPS_MAX, slots: Vec::new() };
    for (text, id) in vocab {
        slots.put(id, text, Class::Normal).map_err(|error| error.at("model.vocab"))?;
    }
    slots.finish(added).map_err(|error| error.at("added_tokens"))
}

/// Tokens by id, while they come in any order.
struct Slots {
    bound: usize,
    slots: Vec<Option<Token>>,
}

impl Slots {
    /// The slot of an id, which must be near the number of tokens.
    fn at(&mut self, id: &Value, text: &str) -> Result<(u32, &mut Option<Token>)> {
        let found = || format!("token '{text}' has id {id:?}, expected below {}", self.bound);
        let index = id.as_u64().and_then(|id| usize::try_from(id).ok());
        let index = index.filter(|index| *index < self.bound);
        let index = index.ok_or_else(|| Error::malformed(found()))?;
        if index >= self.slots.len() {
            self.slots.resize(index + 1, None);
        }
        Ok((index as u32, &mut self.slots[index]))
    }

    fn put(&mut self, id: &Value, text: &str, class: Class) -> Result<u32> {
        let (id, slot) = self.at(id, text)?;
        match slot {
            Some(first) if first.text != text => Err(Error::malformed(format!(
                "tokens '{}' and '{text}' have one id, {id}",
                first.text
            ))),
            slot => {
                *slot = Some(Token { text: text.to_owned(), class });
                Ok(id)
            }
        }
    }

    fn put_added(&mut self, token: &Value) -> Result<Added> {
        let text = token.get("content").and_then(Value::as_text);
        let text = text.ok_or_else(|| Error::malformed("'content' is not a text"))?;
        let id = token.get("id").unwrap_or(&Value::Null);
        let special = flag(token, "special");
        let class =
            if special || looks_special(text) { Class::Control } else { Class::UserDefined };
        let id = self.put(id, text, class)?;
        let (lstrip, rstrip) = (flag(token, "lstrip"), flag(token, "rstrip"));
        let (single_word, normalized) = (flag(token, "single_word"), flag(token, "normalized"));
        Ok(Added { id, special, lstrip, rstrip, single_word, normalized })
    }

    /// Lays the added tokens over the others.
    fn finish(mut self, added: Option<&Value>) -> Result<(Vec<Token>, Vec<Added>)> {
        let added = added.map(|list| items(list).ok_or_else(|| Error::malformed("not a list")));
        let added = added.transpose()?.unwrap_or(&[]);
        self.bound += added.len();
        let mut flags = BTreeMap::new();
        for token in added {
            let read = self.put_added(token)?;
            if let Some(first) = flags.insert(read.id, read) {
                return Err(Error::malformed(format!("id {} comes twice", first.id)));
            }
        }
        Ok((self.fill(), flags.into_values().collect()))
    }

    fn fill(self) -> Vec<Token> {
        let filled = |(id, slot): (usize, Option<Token>)| slot.unwrap_or_else(|| padding(id));
        self.slots.into_iter().enumerate().map(filled).collect()
    }
}

/// What fills an id that no token has, as llama.cpp's converter writes it.
pub(super) fn padding(id: usize) -> Token {
    Token { text: format!("[PAD{id}]"), class: Class::Unused }
}

/// Tokens that are meant to steer although their file does not say so: `does_token_look_special`
/// of llama.cpp's converter.
pub(super) fn looks_special(text: &str) -> bool {
    let within = |start: &str, end: &str| text.starts_with(start) && text.ends_with(end);
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || within("<|", "|>")
        || within("<｜", "｜>")
        || within("<unused", ">")
}

fn unknown(model: &Value, ids: &HashMap<&str, u32>, notes: &mut Notes) -> Option<u32> {
    let text = model.get("unk_token")?.as_text()?;
    let id = ids.get(text).copied();
    if id.is_none() && !text.is_empty() {
        notes.odd("tokenizer.json: model.unk_token", format!("'{text}' is not in the vocabulary"));
    }
    id
}

/// Checks that a decoder is made of components that are known for a kind of tokenizer: what they do
/// follows from the kind.
fn decoder(value: Option<&Value>, known: &[&str]) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    match value.get("type").and_then(Value::as_text) {
        Some("Sequence") => {
            let list = value.get("decoders").and_then(items);
            let list = list.ok_or_else(|| Error::malformed("'decoders' is not a list"))?;
            list.iter().try_for_each(|one| decoder(Some(one), known))
        }
        Some(kind) if known.contains(&kind) => Ok(()),
        kind => Err(unknown_component("decoder", kind)),
    }
}

fn unknown_component(what: &str, kind: Option<&str>) -> Error {
    match kind {
        Some(kind) => Error::unsupported(format!("{what} '{kind}' is not supported")),
        None => Error::malformed("'type' is not a text"),
    }
}

/// Roles by the text of their token: the first file that has one counts.
pub(super) fn name_roles(tokenizer: &mut Tokenizer, files: [&Value; 2], notes: &mut Notes) {
    let mut roles = BTreeMap::new();
    for (role, name, _) in ROLES {
        let key = format!("{name}_token");
        let named = files.iter().find_map(|file| token_text(file.get(&key)?));
        let Some(text) = named else { continue };
        match tokenizer.tokens.iter().position(|token| token.text == text) {
            Some(id) => drop(roles.insert(*role, id as u32)),
            None => notes.odd(key, format!("'{text}' is not in the vocabulary: left out")),
        }
    }
    // BERT's names for the ends of a text, as llama.cpp's converter reads them.
    for (role, other) in [(Role::Bos, Role::Cls), (Role::Eos, Role::Sep)] {
        if let (None, Some(id)) = (roles.get(&role), roles.get(&other).copied()) {
            roles.insert(role, id);
        }
    }
    tokenizer.special = roles;
}

/// A token's text, alone or with flags.
fn token_text(value: &Value) -> Option<&str> {
    value.as_text().or_else(|| value.get("content")?.as_text())
}

/// Roles that only a configuration of the model gives, by id. A list of ids (several tokens may
/// end a text) is left to the generation's own configuration, as llama.cpp's converter does.
pub(super) fn number_roles(
    tokenizer: &mut Tokenizer,
    config: Option<&Config>,
    generation: &Value,
    notes: &mut Notes,
) {
    for (role, name, _) in ROLES {
        let key = format!("{name}_token_id");
        let own = config.and_then(|config| config.get(&key));
        let text = || config.and_then(|config| config.get("text_config")?.get(&key));
        let Some(value) = own.or_else(text).or_else(|| generation.get(&key)) else { continue };
        if tokenizer.special.contains_key(role) || matches!(value, Value::List(_)) {
            continue;
        }
        match value.as_u64().filter(|id| *id < tokenizer.tokens.len() as u64) {
            Some(id) => drop(tokenizer.special.insert(*role, id as u32)),
            None => notes.odd(key, format!("{value:?} is no token's id: left out")),
        }
    }
}

/// Without a configuration, what the template puts first and last is what begins and ends.
fn guess_ends(tokenizer: &mut Tokenizer, config: &Value) {
    if *config != Value::Null {
        return;
    }
    let ends = [(Role::Bos, tokenizer.prefix.first()), (Role::Eos, tokenizer.suffix.last())];
    for (role, id) in ends {
        if let (false, Some(id)) = (tokenizer.special.contains_key(&role), id) {
            tokenizer.special.insert(role, *id);
        }
    }
}

/// `add_bos_token` and `add_eos_token`, where they are given, win over the template.
pub(super) fn add_ends(tokenizer: &mut Tokenizer, config: &Value) -> Result<()> {
    for (key, role) in [("add_bos_token", Role::Bos), ("add_eos_token", Role::Eos)] {
        let Some(wanted) = config.get(key).and_then(Value::as_bool) else { continue };
        let id = tokenizer.role(role);
        let ends = if role == Role::Bos { &mut tokenizer.prefix } else { &mut tokenizer.suffix };
        match (wanted, id) {
            (true, None) => {
                return Err(Error::malformed(format!("{key}, but there is no such token")));
            }
            (true, Some(id)) if ends.contains(&id) => {}
            (true, Some(id)) if role == Role::Bos => ends.insert(0, id),
            (true, Some(id)) => ends.push(id),
            (false, id) => ends.retain(|end| Some(*end) != id),
        }
    }
    Ok(())
}

/// Templates by name. One in a file of its own replaces the usual one.
pub(super) fn chat_templates(config: &Value, file: Option<&str>) -> Result<Vec<(String, String)>> {
    let usual = |text: &str| ("default".to_owned(), text.to_owned());
    let mut templates = match config.get("chat_template") {
        None => Vec::new(),
        Some(Value::Text(text)) => vec![usual(text)],
        Some(list) => {
            let named = |one: &Value| {
                let text = |key| one.get(key).and_then(Value::as_text).map(str::to_owned);
                text("name").zip(text("template"))
            };
            let named = items(list).and_then(|list| list.iter().map(named).collect());
            named.ok_or_else(|| Error::malformed("neither a text nor a list of named texts"))?
        }
    };
    if let Some(text) = file {
        templates.retain(|(name, _)| name != "default");
        templates.insert(0, usual(text));
    }
    Ok(templates)
}
