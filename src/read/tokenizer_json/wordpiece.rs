//! WordPiece models, as BERT and its relatives have them.

use std::collections::BTreeMap;

use super::{decoder, flag, pre, template, unknown, vocabulary};
use crate::ir::tokenizer::wordpiece::{LETTERS_MAX, PREFIX};
use crate::ir::tokenizer::{Kind, Tokenizer, WordPiece, by_text};
use crate::ir::{Notes, Result, Value};

/// Reads the tokenizer.
///
/// # Errors
/// As the module above.
pub(super) fn read(json: &Value, model: &Value, notes: &mut Notes) -> Result<Tokenizer> {
    let (tokens, added) = vocabulary(model, json.get("added_tokens"))?;
    let ids = by_text(&tokens).map_err(|error| error.at("model.vocab"))?;
    let unknown = unknown(model, &ids, notes);
    drop(ids);
    let prefix = model.get("continuing_subword_prefix").and_then(Value::as_text);
    let letters = model.get("max_input_chars_per_word").and_then(Value::as_u64);
    let has_decoder =
        decoder(json.get("decoder"), &["WordPiece"]).map_err(|error| error.at("decoder"))?;
    let model = WordPiece {
        unknown,
        prefix: prefix.unwrap_or(PREFIX).to_owned(),
        letters_max: letters.map_or(LETTERS_MAX, |count| count as usize),
        cleanup: json.get("decoder").is_some_and(|decoder| flag(decoder, "cleanup")),
        pre: pre(json)?,
    };
    let (prefix, suffix) = template::read(json.get("post_processor"), tokens.len())
        .map_err(|error| error.at("post_processor"))?;
    let (special, chat_templates) = (BTreeMap::new(), Vec::new());
    let kind = Kind::WordPiece(model);
    Ok(Tokenizer { kind, tokens, added, special, prefix, suffix, has_decoder, chat_templates })
}
