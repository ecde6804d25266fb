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

use indexmap::IndexMap;

use super::tokenizer_beside::Beside;
pub use super::tokenizer_beside::Files;
use crate::ir::tokenizer::{Added, Bpe, Class, Kind, Pre, Role, Token, Tokenizer, by_text, names};
use crate::ir::value::List;
use crate::ir::{Error, Notes, Result, Value};

/// Ids below the highest that no token has: they become padding, so they must be few.
pub(super) const GAPS_MAX: usize = 1 << 16;

/// Reads a tokenizer.
///
/// # Errors
/// Malformed with the field at fault; Unsupported naming the kind of tokenizer or the component
/// that is not known here; Limit for patterns that are too large.
pub fn read(files: &Files, notes: &mut Notes) -> Result<Tokenizer> {
    let json = Value::parse(files.tokenizer).map_err(|error| error.at("tokenizer.json"))?;
    let mut tokenizer = core(&json, notes).map_err(|error| error.at("tokenizer.json"))?;
    let beside = Beside::read(files)?;
    beside.name_roles(&mut tokenizer, notes);
    if beside.config == Value::Null {
        guess_ends(&mut tokenizer);
    }
    beside.finish(&mut tokenizer)?;
    Ok(tokenizer)
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
    let has_decoder =
        decoder(json.get("decoder"), &["ByteLevel"]).map_err(|error| error.at("decoder"))?;
    let mut pre = pre(json)?;
    let ignore_merges = flag(model, "ignore_merges");
    pre.name = names::find(&pre, ignore_merges).map(str::to_owned);
    let unknown = unknown(model, &ids, notes);
    let fuse_unknown = flag(model, "fuse_unk");
    drop(ids);
    let kind = Kind::Bpe(Bpe { merges, ignore_merges, unknown, fuse_unknown, pre });
    let (special, chat_templates) = (BTreeMap::new(), Vec::new());
    Ok(Tokenizer { kind, tokens, added, special, prefix, suffix, has_decoder, chat_templates })
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

pub(super) fn items(value: &Value) -> Option<&[Value]> {
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
    let slots = Slots::of(vocab).map_err(|error| error.at("model.vocab"))?;
    slots.finish(added).map_err(|error| error.at("added_tokens"))
}

/// Tokens by id, while they come in any order.
pub(super) struct Slots {
    bound: usize,
    slots: Vec<Option<Token>>,
}

impl Slots {
    /// The tokens of a map of texts to ids.
    pub(super) fn of(vocab: &IndexMap<String, Value>) -> Result<Self> {
        let mut slots = Self { bound: vocab.len() + GAPS_MAX, slots: Vec::new() };
        for (text, id) in vocab {
            slots.put(id, text, Class::Normal)?;
        }
        Ok(slots)
    }

    /// The slot of an id, which must be near the number of tokens.
    fn at(&mut self, id: &Value, text: &str) -> Result<(u32, &mut Option<Token>)> {
        let found = || format!("token '{text}' has id {id}, expected below {}", self.bound);
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

    /// The tokens, padding where there is none.
    pub(super) fn fill(self) -> Vec<Token> {
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
/// follows from the kind. Whether there is one.
fn decoder(value: Option<&Value>, known: &[&str]) -> Result<bool> {
    let Some(value) = value else { return Ok(false) };
    match value.get("type").and_then(Value::as_text) {
        Some("Sequence") => {
            let list = value.get("decoders").and_then(items);
            let list = list.ok_or_else(|| Error::malformed("'decoders' is not a list"))?;
            list.iter().try_for_each(|one| decoder(Some(one), known).map(|_| ()))?;
            Ok(true)
        }
        Some(kind) if known.contains(&kind) => Ok(true),
        kind => Err(unknown_component("decoder", kind)),
    }
}

fn unknown_component(what: &str, kind: Option<&str>) -> Error {
    match kind {
        Some(kind) => Error::unsupported(format!("{what} '{kind}' is not supported")),
        None => Error::malformed("'type' is not a text"),
    }
}

/// Without a configuration, what the template puts first and last is what begins and ends.
fn guess_ends(tokenizer: &mut Tokenizer) {
    let ends = [(Role::Bos, tokenizer.prefix.first()), (Role::Eos, tokenizer.suffix.last())];
    for (role, id) in ends {
        if let (false, Some(id)) = (tokenizer.special.contains_key(&role), id) {
            tokenizer.special.insert(role, *id);
        }
    }
}
