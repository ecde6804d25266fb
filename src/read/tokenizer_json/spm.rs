//! BPE models that were SentencePiece's: spaces are spelled `▁`, and bytes stand for what has no
//! piece. The merges are put back into scores.

use std::collections::BTreeMap;

use super::normal::charsmap;
use super::{
    decoder, flag, items, merges, steps, template, unknown, unknown_component, vocabulary,
};
use crate::ir::tokenizer::spm::{SPACE, scores};
use crate::ir::tokenizer::unigram::keeps_words_apart;
use crate::ir::tokenizer::{
    Class, Kind, Metaspace, Prepend, Space, Spelling, Spm, Tokenizer, by_text, check_merges,
    pre::hex_byte,
};
use crate::ir::{Error, Notes, Result, Value};

/// Whatever is said of them, pieces are joined, `▁` is a space, bytes are bytes.
pub(super) const DECODERS: &[&str] = &["Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"];

/// What is done to the text.
#[derive(Default, PartialEq)]
struct Form {
    /// Spaces are spelled otherwise.
    replaces: bool,
    /// That is done to the text as a whole, before tokens marked `normalized` are looked for.
    early: bool,
    /// White space at the ends is left out.
    strips: bool,
    /// Words are cut apart.
    splits: bool,
    spelling: Spelling,
}

/// Whether a model of type BPE was SentencePiece's.
pub(super) fn is_spm(json: &Value, model: &Value) -> bool {
    let kind = |key: &str| json.get(key).and_then(|part| part.get("type")?.as_text());
    let starts_with_space = |part: &Value| {
        let first = part.get("normalizers").and_then(items).and_then(<[Value]>::first);
        first.unwrap_or(part).get("type").and_then(Value::as_text) == Some("Prepend")
    };
    flag(model, "byte_fallback")
        || kind("pre_tokenizer") == Some("Metaspace")
        || json.get("normalizer").is_some_and(starts_with_space)
}

/// Reads the tokenizer.
///
/// # Errors
/// As the module above; Unsupported if no scores can stand for the merges.
pub(super) fn read(json: &Value, model: &Value, notes: &mut Notes) -> Result<Tokenizer> {
    if flag(model, "ignore_merges") {
        return Err(Error::unsupported("ignore_merges with byte_fallback is not supported"));
    }
    let (mut tokens, mut added) = vocabulary(model, json.get("added_tokens"))?;
    let ids = by_text(&tokens).map_err(|error| error.at("model.vocab"))?;
    let merges = merges::read(model.get("merges"), &ids)
        .and_then(|merges| check_merges(&merges).map(|()| merges))
        .map_err(|error| error.at("model.merges"))?;
    let unknown = unknown(model, &ids, notes);
    drop(ids);
    for (id, token) in (0..).zip(&mut tokens) {
        let is_byte = flag(model, "byte_fallback") && hex_byte(&token.text).is_some();
        if Some(id) == unknown {
            token.class = Class::Unknown;
        } else if is_byte && token.class == Class::Normal {
            token.class = Class::Byte;
        }
    }
    let form = form(json)?;
    if !form.early {
        added.iter_mut().for_each(|added| added.normalized = false);
    }
    if !tokens.iter().any(|token| token.class == Class::Byte) && !flag(model, "fuse_unk") {
        return Err(Error::unsupported("neither byte_fallback nor fuse_unk: is not supported"));
    }
    let has_decoder =
        decoder(json.get("decoder"), DECODERS).map_err(|error| error.at("decoder"))?;
    let (prefix, suffix) = template::read(json.get("post_processor"), tokens.len())
        .map_err(|error| error.at("post_processor"))?;
    let scores = scores(&tokens, &merges).map_err(|error| error.at("model.merges"))?;
    if form.splits && !keeps_words_apart(&tokens) {
        let text = "Metaspace that cuts at spaces within pieces is not supported";
        return Err(Error::unsupported(text).at("pre_tokenizer"));
    }
    let kind = Kind::Spm(Spm { scores, unknown, spelling: form.spelling });
    let (special, chat_templates) = (BTreeMap::new(), Vec::new());
    Ok(Tokenizer { kind, tokens, added, special, prefix, suffix, has_decoder, chat_templates })
}

fn form(json: &Value) -> Result<Form> {
    let mut form = Form::default();
    if let Some(value) = json.get("normalizer") {
        normalizer(value, &mut form).map_err(|error| error.at("normalizer"))?;
        form.early = true;
    }
    if let Some(value) = json.get("pre_tokenizer") {
        cutting(value, &mut form).map_err(|error| error.at("pre_tokenizer"))?;
    }
    if !form.replaces {
        return Err(Error::unsupported("byte_fallback without '▁' for a space is not supported"));
    }
    if form.strips != form.spelling.squeeze {
        let text = "of Strip and Replace ' {2,}' one without the other is not supported";
        return Err(Error::unsupported(text).at("normalizer"));
    }
    Ok(form)
}

fn normalizer(value: &Value, form: &mut Form) -> Result<()> {
    let text = |key: &str| value.get(key).and_then(Value::as_text);
    match text("type") {
        Some("Sequence") => {
            let list = value.get("normalizers").and_then(items);
            let list = list.ok_or_else(|| Error::malformed("'normalizers' is not a list"))?;
            list.iter().try_for_each(|one| normalizer(one, form))
        }
        Some("Precompiled") if *form == Form::default() => {
            form.spelling.charsmap = charsmap(value)?;
            Ok(())
        }
        Some("Strip") if flag(value, "strip_left") && flag(value, "strip_right") => {
            form.strips = true;
            Ok(())
        }
        Some("Replace") if text("content") == Some(" ") && is_runs(value) => {
            form.spelling.squeeze = true;
            Ok(())
        }
        Some("Prepend") if is_space(text("prepend")) && form.spelling.space.is_none() => {
            form.spelling.space = Some(Space::default());
            Ok(())
        }
        Some("Replace") if is_space(text("content")) && pattern(value) == Some(" ") => {
            form.replaces = true;
            Ok(())
        }
        kind => Err(unknown_component("normalizer", kind)),
    }
}

fn cutting(value: &Value, form: &mut Form) -> Result<()> {
    let text = |key: &str| value.get(key).and_then(Value::as_text);
    match text("type") {
        // There is nothing left to cut at.
        Some("Split") if form.replaces && pattern(value) == Some(" ") => Ok(()),
        Some("Metaspace") if form.spelling.space.is_none() => {
            let Metaspace { prepend, split } = steps::metaspace(value)?;
            form.splits = split;
            form.spelling.space = match prepend {
                Prepend::Never => None,
                Prepend::Always | Prepend::First => {
                    let only_first = prepend == Prepend::First;
                    Some(Space { only_first, only_missing: true })
                }
            };
            (form.replaces, form.early) = (true, false);
            Ok(())
        }
        kind => Err(unknown_component("pre-tokenizer", kind)),
    }
}

/// Whether a pattern is of runs of spaces.
fn is_runs(value: &Value) -> bool {
    let regex = value.get("pattern").and_then(|pattern| pattern.get("Regex")?.as_text());
    regex == Some(" {2,}")
}

pub(super) fn pattern(value: &Value) -> Option<&str> {
    value.get("pattern")?.get("String")?.as_text()
}

pub(super) fn is_space(text: Option<&str>) -> bool {
    let mut buffer = [0; 4];
    text == Some(SPACE.encode_utf8(&mut buffer))
}
