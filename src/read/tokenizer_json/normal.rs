//! Normalizers, as steps of rewriting.

use super::{flag, items, steps, unknown_component};
use crate::ir::tokenizer::normal::{Bert, Form};
use crate::ir::tokenizer::{Charsmap, Normal, base64};
use crate::ir::{Error, Result, Value};

/// Steps of one tokenizer. The longest seen, SeamlessM4T's, has six.
const STEPS_MAX: usize = 64;

/// Bytes of what a match is replaced by. Real ones have one letter.
const CONTENT_MAX: usize = 64;

pub(super) fn read(value: Option<&Value>) -> Result<Vec<Normal>> {
    let mut steps = Vec::new();
    if let Some(value) = value.filter(|value| **value != Value::Null) {
        add(value, &mut steps)?;
    }
    Ok(steps)
}

fn add(value: &Value, out: &mut Vec<Normal>) -> Result<()> {
    if out.len() >= STEPS_MAX {
        return Err(Error::limit(format!("more than {STEPS_MAX} steps")));
    }
    let step = match value.get("type").and_then(Value::as_text) {
        Some("Sequence") => {
            let list = value.get("normalizers").and_then(items);
            let list = list.ok_or_else(|| Error::malformed("'normalizers' is not a list"))?;
            return list.iter().try_for_each(|one| add(one, out));
        }
        Some("NFC") => Normal::Form(Form::Nfc),
        Some("NFD") => Normal::Form(Form::Nfd),
        Some("NFKC") => Normal::Form(Form::Nfkc),
        Some("NFKD") => Normal::Form(Form::Nfkd),
        Some("Lowercase") => Normal::Lowercase,
        Some("StripAccents") => Normal::StripAccents,
        Some("Nmt") => Normal::Nmt,
        Some("Strip") => {
            Normal::Strip { left: flag(value, "strip_left"), right: flag(value, "strip_right") }
        }
        Some("Prepend") => Normal::Prepend(content(value, "prepend")?),
        Some("Replace") => {
            Normal::Replace { pattern: steps::pattern(value)?, content: content(value, "content")? }
        }
        Some("Precompiled") => match charsmap(value)? {
            Some(rules) => Normal::Charsmap(rules),
            None => return Ok(()),
        },
        Some("BertNormalizer") => Normal::Bert(bert(value)),
        kind => return Err(unknown_component("normalizer", kind)),
    };
    out.push(step);
    Ok(())
}

fn content(value: &Value, key: &str) -> Result<String> {
    let text = value.get(key).and_then(Value::as_text);
    let text = text.ok_or_else(|| Error::malformed(format!("'{key}' is not a text")))?;
    if text.len() > CONTENT_MAX {
        let found = format!("'{key}' has {} bytes, expected at most {CONTENT_MAX}", text.len());
        return Err(Error::limit(found));
    }
    Ok(text.to_owned())
}

/// Rules in base64; nothing where they are empty, as models without any have them.
pub(super) fn charsmap(value: &Value) -> Result<Option<Charsmap>> {
    let text = value.get("precompiled_charsmap").and_then(Value::as_text).unwrap_or_default();
    let bytes = base64::decode(text).map_err(|error| error.at("precompiled_charsmap"))?;
    if bytes.is_empty() { Ok(None) } else { Charsmap::new(bytes).map(Some) }
}

/// What is not said is as the library has it: accents go where case does.
fn bert(value: &Value) -> Bert {
    let usual = |key: &str, usual| value.get(key).and_then(Value::as_bool).unwrap_or(usual);
    let lowercase = usual("lowercase", true);
    Bert {
        clean: usual("clean_text", true),
        han: usual("handle_chinese_chars", true),
        strip_accents: usual("strip_accents", lowercase),
        lowercase,
    }
}
