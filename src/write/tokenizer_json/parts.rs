//! The components of tokenizer.json: how text is cut, what is put around it, how it is put
//! together again.

use serde_json::{Map, Value as Json, json};

use crate::ir::tokenizer::{Keep, Space, Split, Step, Tokenizer, names, spm::SPACE};
use crate::ir::{Error, Result};

/// The pre-tokenizer. ByteLevel takes the steps before it that it does by itself.
pub(super) fn steps(steps: &[Step]) -> Result<Json> {
    let gpt2 = Step::Split(Split::isolated(names::GPT2)?);
    let mut out = Vec::new();
    let mut done = 0;
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Split(split) => out.push(cut(split)),
            Step::PrefixSpace => {}
            Step::Bytes => {
                let own = &steps[done..at];
                let uses_regex = own.last() == Some(&gpt2);
                let before = &own[..own.len() - usize::from(uses_regex)];
                if uses_regex {
                    out.pop();
                }
                out.push(byte_level(before.last() == Some(&Step::PrefixSpace), uses_regex));
                done = at + 1;
            }
        }
    }
    let spaces = steps.iter().filter(|step| **step == Step::PrefixSpace).count();
    let written = out.iter().filter(|part| part["add_prefix_space"] == true).count();
    if spaces != written {
        let text = "a space before the text stands where tokenizer.json has no place for it";
        return Err(Error::unsupported(text));
    }
    Ok(match out.len() {
        0 => Json::Null,
        1 => out.swap_remove(0),
        _ => json!({"type": "Sequence", "pretokenizers": out}),
    })
}

/// The component of byte-level vocabularies, wherever it stands.
pub(super) fn byte_level(space: bool, uses_regex: bool) -> Json {
    json!({
        "type": "ByteLevel",
        "add_prefix_space": space,
        "trim_offsets": true,
        "use_regex": uses_regex,
    })
}

fn cut(split: &Split) -> Json {
    let behavior = match split.keep {
        Keep::Isolated => "Isolated",
        Keep::Removed => "Removed",
        Keep::Contiguous => "Contiguous",
        Keep::WithPrevious => "MergedWithPrevious",
        Keep::WithNext => "MergedWithNext",
    };
    json!({
        "type": "Split",
        "pattern": {"Regex": split.pattern.text()},
        "behavior": behavior,
        "invert": split.invert,
    })
}

/// Normalizer and pre-tokenizer that spell spaces as SentencePiece does.
pub(super) fn spaces(space: Option<Space>) -> (Json, Json) {
    let spelled = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    match space {
        None => (spelled, Json::Null),
        Some(Space { only_missing: true, only_first }) => {
            let scheme = if only_first { "first" } else { "always" };
            let cutting = json!({
                "type": "Metaspace",
                "replacement": SPACE,
                "prepend_scheme": scheme,
                "split": false,
            });
            (Json::Null, cutting)
        }
        Some(Space { only_missing: false, .. }) => {
            let put = json!({"type": "Prepend", "prepend": SPACE});
            (json!({"type": "Sequence", "normalizers": [put, spelled]}), Json::Null)
        }
    }
}

/// The way back: spaces, bytes, and the space before the text.
pub(super) fn space_decoder(space: Option<Space>) -> Json {
    let mut parts = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if space.is_some() {
        parts.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": parts})
}

/// The post-processor: what a prompt begins and ends with.
pub(super) fn ends(tokenizer: &Tokenizer) -> Json {
    if tokenizer.prefix.is_empty() && tokenizer.suffix.is_empty() {
        return Json::Null;
    }
    let text = |id: u32| tokenizer.text(id).unwrap_or_default();
    let around = |sequence: &str, kind: u32| {
        let special = |id: &u32| json!({"SpecialToken": {"id": text(*id), "type_id": kind}});
        let mut out: Vec<Json> = tokenizer.prefix.iter().map(special).collect();
        out.push(json!({"Sequence": {"id": sequence, "type_id": kind}}));
        out.extend(tokenizer.suffix.iter().map(special));
        out
    };
    let mut tokens = Map::new();
    for &id in tokenizer.prefix.iter().chain(&tokenizer.suffix) {
        let entry = json!({"id": text(id), "ids": [id], "tokens": [text(id)]});
        tokens.insert(text(id).to_owned(), entry);
    }
    let pair = [around("A", 0), around("B", 1)].concat();
    json!({
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": pair,
        "special_tokens": tokens,
    })
}
