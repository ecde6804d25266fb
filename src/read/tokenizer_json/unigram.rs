//! Unigram models: `"vocab": [["<unk>", 0.0], ["▁the", -3.1], …]`, the ids in the order of the list.

use std::collections::BTreeMap;

use super::{GAPS_MAX, Slots, decoder, flag, items, pre, spm, template};
use crate::ir::tokenizer::{Class, Kind, Text, Token, Tokenizer, Unigram, by_text, pre::hex_byte};
use crate::ir::{Error, Result, Value};

/// Reads the tokenizer.
///
/// # Errors
/// As the module above.
pub(super) fn read(json: &Value, model: &Value) -> Result<Tokenizer> {
    let place = |error: Error| error.at("model.vocab");
    let (texts, scores) = pieces(model).map_err(place)?;
    let unknown = match model.get("unk_id") {
        None | Some(Value::Null) => None,
        Some(id) => {
            let below = id.as_u64().filter(|id| *id < texts.len() as u64);
            let found = || format!("unk_id {id}, expected below {}", texts.len());
            Some(below.ok_or_else(|| Error::malformed(found()).at("model"))? as u32)
        }
    };
    let token = |text| Some(Token { text, class: Class::Normal });
    let bound = texts.len() + GAPS_MAX;
    let slots = Slots { bound, slots: texts.into_iter().map(token).collect() };
    let added = slots.finish(json.get("added_tokens"));
    let (mut tokens, added) = added.map_err(|error| error.at("added_tokens"))?;
    by_text(&tokens).map_err(place)?;
    let falls_back = flag(model, "byte_fallback");
    for (id, token) in (0..).zip(&mut tokens) {
        if Some(id) == unknown {
            token.class = Class::Unknown;
        } else if falls_back && token.class == Class::Normal && hex_byte(&token.text).is_some() {
            token.class = Class::Byte;
        }
    }
    let has_decoder =
        decoder(json.get("decoder"), spm::DECODERS).map_err(|error| error.at("decoder"))?;
    let (prefix, suffix) = template::read(json.get("post_processor"), tokens.len())
        .map_err(|error| error.at("post_processor"))?;
    let text = Text::Cut(pre(json)?);
    let kind = Kind::Unigram(Unigram { scores, unknown, single: false, text });
    let (special, chat_templates) = (BTreeMap::new(), Vec::new());
    Ok(Tokenizer { kind, tokens, added, special, prefix, suffix, has_decoder, chat_templates })
}

fn pieces(model: &Value) -> Result<(Vec<String>, Vec<f64>)> {
    let list = model.get("vocab").and_then(items);
    let list = list.ok_or_else(|| Error::malformed("not a list"))?;
    let piece = |(id, value): (usize, &Value)| {
        let pair = match items(value) {
            Some([text, score]) => text.as_text().zip(score.as_f64()),
            _ => None,
        };
        let (text, score) = pair.filter(|(_, score)| score.is_finite()).ok_or_else(|| {
            Error::malformed(format!("{value}, expected a text and its score")).at(id)
        })?;
        Ok((text.to_owned(), score))
    };
    list.iter().enumerate().map(piece).collect()
}
