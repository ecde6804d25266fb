//! The tokenizer in a GGUF file's metadata, keys `tokenizer.*`.
//!
//! Keys and defaults: llama.cpp, `src/llama-vocab.cpp`, `llama_vocab::impl::load`. It passes over
//! ids out of range and shorter lists of scores with a warning or reads past them; here they are
//! refused. Read are the kinds `gpt2`, `llama`, `t5` and `bert`; others are Unsupported, by name.

mod unigram;
mod wordpiece;

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::ir::tokenizer::{
    Added, Bpe, Charsmap, Class, Kind, Pre, ROLES, Role, Space, Spelling, Spm, Step, Token,
    Tokenizer, by_text, check_merges, merge, names, pre, spm,
};
use crate::ir::value::List;
use crate::ir::{Error, Result, Value};

/// Old names of roles.
const OLD_ROLES: &[(Role, &str)] =
    &[(Role::FimPre, "prefix"), (Role::FimSuf, "suffix"), (Role::FimMid, "middle")];

/// Names of pre-tokenizers whose text is SentencePiece's.
const SPELLED: &[&str] = &["gemma4", "granite-embed-multi-311m", "sarvam-moe"];

/// Reads the tokenizer; nothing if the file has none.
///
/// # Errors
/// Malformed with the key at fault; Unsupported for a kind or a pre-tokenizer not known here.
pub fn read(entries: &IndexMap<String, Value>) -> Result<Option<Tokenizer>> {
    let entries = Entries(entries);
    let Some(tokens) = tokens(&entries)? else { return Ok(None) };
    let special = roles(&entries, tokens.len())?;
    match entries.text("ggml.model")? {
        Some("gpt2") if entries.is_spelled()? => spelled(&entries, tokens, special).map(Some),
        Some("gpt2") => gpt2(&entries, tokens, special).map(Some),
        Some("gemma4") => spelled(&entries, tokens, special).map(Some),
        Some("llama") => llama(&entries, tokens, special).map(Some),
        Some("t5") => unigram::read(&entries, tokens, special).map(Some),
        Some("bert") => wordpiece::read(&entries, tokens, special).map(Some),
        Some("none" | "no_vocab") => Ok(None),
        Some(kind) => {
            check_bytes(&tokens)?;
            let found = format!("a tokenizer of kind '{kind}' is not supported");
            Err(Error::unsupported(found).at("tokenizer.ggml.model"))
        }
        None => Err(Error::malformed("there are tokens, but no tokenizer.ggml.model")),
    }
}

/// The metadata, by what follows `tokenizer.` in a key.
struct Entries<'a>(&'a IndexMap<String, Value>);

impl<'a> Entries<'a> {
    fn get<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let key = format!("tokenizer.{key}");
        let Some(value) = self.0.get(&key) else { return Ok(None) };
        let wrong = || Error::malformed(format!("expected {expected}")).at(key);
        read(value).map(Some).ok_or_else(wrong)
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.get(key, "a text", Value::as_text)
    }

    /// Whether the merges are of pieces that spell spaces `▁`.
    fn is_spelled(&self) -> Result<bool> {
        let name = self.text("ggml.pre")?;
        Ok(name.is_some_and(|name| SPELLED.contains(&name)))
    }

    fn truth(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "a truth value", Value::as_bool)
    }

    fn texts(&self, key: &str) -> Result<Option<&'a [String]>> {
        self.get(key, "a list of texts", |value| match value {
            Value::List(List::Text(texts)) => Some(texts.as_slice()),
            _ => None,
        })
    }
}

/// Every token. Lists beside them must be as long, whatever the kind of tokenizer.
fn tokens(entries: &Entries) -> Result<Option<Vec<Token>>> {
    let Some(texts) = entries.texts("ggml.tokens")? else { return Ok(None) };
    let is_short = |len: usize| len != texts.len();
    let scores = entries.get("ggml.scores", "a list of f32 or i32", |value| match value {
        Value::List(list @ (List::F32(_) | List::I32(_))) => Some(list.len()),
        _ => None,
    })?;
    let classes = entries.get("ggml.token_type", "a list of i32", |value| match value {
        Value::List(List::I32(classes)) => Some(classes.as_slice()),
        _ => None,
    })?;
    let lengths = [("scores", scores), ("token_type", classes.map(<[i32]>::len))];
    for (key, len) in lengths {
        if let Some(len) = len.filter(|len| is_short(*len)) {
            let found = format!("{len} items for {} tokens", texts.len());
            return Err(Error::malformed(found).at(format!("tokenizer.ggml.{key}")));
        }
    }
    let token = |(id, text): (usize, &String)| {
        let class = classes.map_or(Some(Class::Normal), |classes| Class::of_id(classes[id]));
        let class =
            class.ok_or_else(|| Error::malformed(format!("token {id} is of no known type")))?;
        if class == Class::Byte && pre::hex_byte(text).is_none() {
            return Err(Error::malformed(format!(
                "token {id}, '{text}', is no byte, as in <0x0A>"
            )));
        }
        Ok(Token { text: text.clone(), class })
    };
    texts.iter().enumerate().map(token).collect::<Result<_>>().map(Some)
}

/// The other kinds spell bytes as `<0x0A>`, some without saying so in the token's type.
fn check_bytes(tokens: &[Token]) -> Result<()> {
    let is_bad = |text: &str| {
        text.len() == 6
            && text.starts_with("<0x")
            && text.ends_with('>')
            && pre::hex_byte(text).is_none()
    };
    match tokens.iter().position(|token| is_bad(&token.text)) {
        None => Ok(()),
        Some(id) => {
            let found = format!("token {id}, '{}', is no byte, as in <0x0A>", tokens[id].text);
            Err(Error::malformed(found).at("tokenizer.ggml.tokens"))
        }
    }
}

fn roles(entries: &Entries, count: usize) -> Result<BTreeMap<Role, u32>> {
    let mut special = BTreeMap::new();
    let rows = ROLES.iter().map(|(role, _, name)| (role, name));
    for (role, name) in rows.chain(OLD_ROLES.iter().map(|(role, name)| (role, name))) {
        let expected = format!("an id below {count}");
        let below = |id: &u64| *id < count as u64;
        let id = entries.get(&format!("ggml.{name}_token_id"), &expected, |value| {
            value.as_u64().filter(below)
        })?;
        if let Some(id) = id {
            special.entry(*role).or_insert(id as u32);
        }
    }
    Ok(special)
}

fn gpt2(entries: &Entries, tokens: Vec<Token>, special: BTreeMap<Role, u32>) -> Result<Tokenizer> {
    let name = entries.text("ggml.pre")?.unwrap_or("default");
    let row = names::row_of(name).ok_or_else(|| {
        let found = format!("pre-tokenizer '{name}' is not supported");
        Error::unsupported(found).at("tokenizer.ggml.pre")
    })?;
    let mut steps = row.steps()?;
    if entries.truth("ggml.add_space_prefix")? == Some(true) {
        prefix_space(row, &mut steps);
    }
    let merges = merges(entries, &tokens).map_err(|error| error.at("tokenizer.ggml.merges"))?;
    let pre = Pre { name: Some(name.to_owned()), normal: Vec::new(), steps };
    let ignore_merges = row.ignore_merges;
    let bpe = Bpe { merges, ignore_merges, unknown: None, fuse_unknown: false, pre };
    let ends = Ends { bos: row.adds_bos, eos: false };
    whole(entries, Kind::Bpe(bpe), tokens, special, ends)
}

/// SentencePiece's BPE. What the file does not say is as llama.cpp has it for this kind.
fn llama(
    entries: &Entries,
    tokens: Vec<Token>,
    mut special: BTreeMap<Role, u32>,
) -> Result<Tokenizer> {
    check_bytes(&tokens)?;
    by_text(&tokens).map_err(|error| error.at("tokenizer.ggml.tokens"))?;
    let scores = scores(entries)?;
    usual_roles(&mut special, tokens.len(), &[(Role::Unk, 0), (Role::Bos, 1), (Role::Eos, 2)]);
    let spelling = Spelling { charsmap: None, ..spelling(entries, true)? };
    let kind = Kind::Spm(Spm { scores, unknown: special.get(&Role::Unk).copied(), spelling });
    whole(entries, kind, tokens, special, Ends { bos: true, eos: false })
}

/// SentencePiece's BPE with merges in place of scores, as Gemma 4 has it: spaces are spelled `▁`, and
/// bytes stand for what has no piece.
fn spelled(
    entries: &Entries,
    mut tokens: Vec<Token>,
    special: BTreeMap<Role, u32>,
) -> Result<Tokenizer> {
    check_bytes(&tokens)?;
    let place = |error: Error| error.at("tokenizer.ggml.merges");
    let merges = merges(entries, &tokens).map_err(place)?;
    for token in tokens.iter_mut().filter(|token| token.class == Class::Normal) {
        if pre::hex_byte(&token.text).is_some() {
            token.class = Class::Byte;
        }
    }
    let scores = spm::scores(&tokens, &merges).map_err(place)?;
    let spelling = Spelling { charsmap: None, ..spelling(entries, false)? };
    let kind = Kind::Spm(Spm { scores, unknown: special.get(&Role::Unk).copied(), spelling });
    whole(entries, kind, tokens, special, Ends { bos: true, eos: false })
}

/// A score for each token.
fn scores(entries: &Entries) -> Result<Vec<f32>> {
    let scores = entries.get("ggml.scores", "a list of f32 or i32", |value| match value {
        Value::List(List::F32(scores)) => Some(scores.clone()),
        Value::List(List::I32(scores)) => Some(scores.iter().map(|score| *score as f32).collect()),
        _ => None,
    })?;
    let scores = scores.ok_or_else(|| Error::malformed("missing").at("tokenizer.ggml.scores"))?;
    spm::check_scores(&scores).map_err(|error| error.at("tokenizer.ggml.scores"))?;
    Ok(scores)
}

/// Gives roles that the file does not state the ids that llama.cpp takes then.
fn usual_roles(special: &mut BTreeMap<Role, u32>, count: usize, usual: &[(Role, u32)]) {
    for (role, id) in usual.iter().filter(|(_, id)| (*id as usize) < count) {
        special.entry(*role).or_insert(*id);
    }
}

/// How a text is spelled; `has_space` unless the file says otherwise.
fn spelling(entries: &Entries, has_space: bool) -> Result<Spelling> {
    let has_space = entries.truth("ggml.add_space_prefix")?.unwrap_or(has_space);
    let squeeze = entries.truth("ggml.remove_extra_whitespaces")?.unwrap_or(false);
    let rules =
        entries.get("ggml.precompiled_charsmap", "a list of u8 or i8", |value| match value {
            Value::List(List::U8(bytes)) => Some(bytes.clone()),
            Value::List(List::I8(bytes)) => Some(bytes.iter().map(|b| b.cast_unsigned()).collect()),
            _ => None,
        })?;
    let charsmap = rules.filter(|rules| !rules.is_empty()).map(Charsmap::new).transpose();
    let charsmap = charsmap.map_err(|error| error.at("tokenizer.ggml.precompiled_charsmap"))?;
    Ok(Spelling { charsmap, space: has_space.then(Space::default), squeeze })
}

/// What is put around a text unless the file says otherwise.
struct Ends {
    bos: bool,
    eos: bool,
}

fn whole(
    entries: &Entries,
    kind: Kind,
    tokens: Vec<Token>,
    special: BTreeMap<Role, u32>,
    ends: Ends,
) -> Result<Tokenizer> {
    let end = |role, key: &str, usual: bool| match (entries.truth(key)?, special.get(&role)) {
        (Some(true), None) => {
            Err(Error::malformed("true, but there is no such token").at(format!("tokenizer.{key}")))
        }
        (wanted, Some(id)) if wanted.unwrap_or(usual) => Ok(vec![*id]),
        _ => Ok(Vec::new()),
    };
    Ok(Tokenizer {
        kind,
        added: Added::by_class(&tokens),
        prefix: end(Role::Bos, "ggml.add_bos_token", ends.bos)?,
        suffix: end(Role::Eos, "ggml.add_eos_token", ends.eos)?,
        has_decoder: true,
        chat_templates: chat_templates(entries)?,
        special,
        tokens,
    })
}

/// The space comes before what Hugging Face's ByteLevel does: GPT-2's pattern, then the bytes.
fn prefix_space(row: &names::Row, steps: &mut Vec<Step>) {
    let bytes = row.steps.iter().position(|step| *step == names::BYTES).unwrap_or(0);
    let at = if bytes > 0 && row.steps[bytes - 1] == names::GPT2 { bytes - 1 } else { bytes };
    steps.insert(at, Step::PrefixSpace);
}

fn merges(entries: &Entries, tokens: &[Token]) -> Result<Vec<(u32, u32)>> {
    let ids = by_text(tokens).map_err(|error| error.at("tokenizer.ggml.tokens"))?;
    let lines = entries.texts("ggml.merges")?.ok_or_else(|| Error::malformed("missing"))?;
    let pair = |(rank, line): (usize, &String)| {
        let sides = line.split_once(' ').filter(|(_, right)| !right.contains(' '));
        let sides = sides.ok_or_else(|| Error::malformed(format!("'{line}' has not two sides")));
        let pair = sides.and_then(|(left, right)| merge(&ids, left, right));
        pair.map_err(|error| error.at(rank))
    };
    let merges = lines.iter().enumerate().map(pair).collect::<Result<Vec<_>>>()?;
    check_merges(&merges)?;
    Ok(merges)
}

fn chat_templates(entries: &Entries) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    if let Some(text) = entries.text("chat_template")? {
        out.push(("default".to_owned(), text.to_owned()));
    }
    for name in entries.texts("chat_templates")?.unwrap_or(&[]) {
        let text = entries.text(&format!("chat_template.{name}"))?;
        let missing = || Error::malformed(format!("template '{name}' is missing"));
        let text = text.ok_or_else(|| missing().at("tokenizer.chat_templates"))?;
        out.push((name.clone(), text.to_owned()));
    }
    Ok(out)
}
