//! The files beside a tokenizer's own: what its special tokens are for, what a text begins and ends
//! with, how a chat becomes text. The same for every kind of file that holds the vocabulary.

use std::collections::BTreeMap;

use super::tokenizer_json::items;
use crate::ir::tokenizer::{ROLES, Role, Tokenizer};
use crate::ir::{Config, Error, Notes, Result, Value};

/// The files that say something about a tokenizer, as far as they are there.
#[derive(Clone, Copy, Default)]
pub struct Files<'a> {
    /// The bytes of tokenizer.json, or of the file that holds the vocabulary.
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

impl<'a> Files<'a> {
    /// The files beside these bytes of a tokenizer.
    pub(super) fn with(&self, tokenizer: &'a [u8]) -> Self {
        Self { tokenizer, ..*self }
    }
}

/// What the files beside say.
pub(super) struct Beside<'a> {
    /// tokenizer_config.json; Null where it is not there.
    pub(super) config: Value,
    map: Value,
    generation: Value,
    files: &'a Files<'a>,
}

impl<'a> Beside<'a> {
    /// Reads the files.
    ///
    /// # Errors
    /// Malformed with the file at fault.
    pub(super) fn read(files: &'a Files<'a>) -> Result<Self> {
        Ok(Self {
            config: side(files.tokenizer_config, "tokenizer_config.json")?,
            map: side(files.special_tokens_map, "special_tokens_map.json")?,
            generation: side(files.generation_config, "generation_config.json")?,
            files,
        })
    }

    /// Gives tokens their roles, by their texts, then by numbers.
    pub(super) fn name_roles(&self, tokenizer: &mut Tokenizer, notes: &mut Notes) {
        name_roles(tokenizer, [&self.config, &self.map], notes);
        number_roles(tokenizer, self.files.config, &self.generation, notes);
    }

    /// Whether no file says which token plays a role, or that none does.
    pub(super) fn is_silent(&self, name: &str) -> bool {
        let key = format!("{name}_token");
        let says = |file: &Value| matches!(file, Value::Map(entries) if entries.contains_key(&key));
        !says(&self.config) && !says(&self.map)
    }

    /// What the files say of the token of this text that plays a role.
    pub(super) fn flags(&self, text: &str) -> Value {
        let is_it = |value: &&Value| value.get("content").and_then(Value::as_text) == Some(text);
        let find = |file: &'_ Value| match file {
            Value::Map(entries) => entries.values().find(is_it).cloned(),
            _ => None,
        };
        find(&self.config).or_else(|| find(&self.map)).unwrap_or(Value::Null)
    }

    /// What a text begins and ends with, and how a chat becomes text: when all roles are known.
    ///
    /// # Errors
    /// Malformed with the field at fault.
    pub(super) fn finish(&self, tokenizer: &mut Tokenizer) -> Result<()> {
        name_stops(tokenizer, &self.generation);
        add_ends(tokenizer, &self.config).map_err(|error| error.at("tokenizer_config.json"))?;
        tokenizer.chat_templates = chat_templates(&self.config, self.files.chat_template)
            .map_err(|error| error.at("tokenizer_config.json: chat_template"))?;
        Ok(())
    }
}

/// A file beside the tokenizer; Null where it is not there.
pub(super) fn side(bytes: Option<&[u8]>, name: &str) -> Result<Value> {
    let parsed = bytes.map(Value::parse).transpose();
    parsed.map(|value| value.unwrap_or(Value::Null)).map_err(|error| error.at(name))
}

/// Roles by the text of their token: the first file that has one counts.
fn name_roles(tokenizer: &mut Tokenizer, files: [&Value; 2], notes: &mut Notes) {
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
    name_ends(&mut roles);
    tokenizer.special = roles;
}

/// BERT's names for the ends of a text, as llama.cpp's converter reads them.
pub(super) fn name_ends(roles: &mut BTreeMap<Role, u32>) {
    for (role, other) in [(Role::Bos, Role::Cls), (Role::Eos, Role::Sep)] {
        if let (None, Some(id)) = (roles.get(&role), roles.get(&other).copied()) {
            roles.insert(role, id);
        }
    }
}

/// A token's text, alone or with flags.
fn token_text(value: &Value) -> Option<&str> {
    value.as_text().or_else(|| value.get("content")?.as_text())
}

/// Roles that only a configuration of the model gives, by id. A list of ids (several tokens may
/// end a text) is left to the generation's own configuration, as llama.cpp's converter does.
fn number_roles(
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
            None => notes.odd(key, format!("{value} is no token's id: left out")),
        }
    }
}

/// Where several tokens end a text, those that are not EOS end a turn or a message: whoever generates
/// stops at them too.
fn name_stops(tokenizer: &mut Tokenizer, generation: &Value) {
    let Some(list) = generation.get("eos_token_id").and_then(items) else { return };
    let bound = tokenizer.tokens.len() as u64;
    let ids = list.iter().filter_map(Value::as_u64).filter(|id| *id < bound);
    for id in ids.map(|id| id as u32) {
        let role = if tokenizer.text(id) == Some("<|eom_id|>") { Role::Eom } else { Role::Eot };
        let ends = [Role::Eos, Role::Eot, Role::Eom];
        if ends.iter().all(|end| tokenizer.role(*end) != Some(id)) {
            tokenizer.special.entry(role).or_insert(id);
        }
    }
}

/// `add_bos_token` and `add_eos_token`, where they are given, win over the template.
fn add_ends(tokenizer: &mut Tokenizer, config: &Value) -> Result<()> {
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
fn chat_templates(config: &Value, file: Option<&str>) -> Result<Vec<(String, String)>> {
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
