//! The components of tokenizer.json: how text is cut, what is put around it, how it is put
//! together again.

use serde_json::{Map, Value as Json, json};

use crate::ir::tokenizer::normal::Form;
use crate::ir::tokenizer::{
    Charsmap, Keep, Metaspace, Normal, Prepend, Space, Spelling, Split, Step, Tokenizer, base64,
    names, spm::SPACE,
};
use crate::ir::{Error, Result};

/// The pre-tokenizer. ByteLevel takes the steps before it that it does by itself.
pub(super) fn steps(steps: &[Step]) -> Result<Json> {
    let gpt2 = Step::Split(Split::isolated(names::GPT2)?);
    let mut out: Vec<Json> = Vec::new();
    let mut done = 0;
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Split(split) => out.push(cut(split)),
            Step::Metaspace(spaces) => out.push(metaspace(*spaces)),
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
    Ok(sequence("pretokenizers", out))
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

/// Normalizer and pre-tokenizer that spell a text as SentencePiece does; `split`: each space begins
/// a word.
pub(super) fn spelled(spelling: &Spelling, split: bool) -> (Json, Json) {
    let mut normals: Vec<Json> = spelling.charsmap.iter().map(precompiled).collect();
    if spelling.squeeze {
        normals.push(json!({"type": "Strip", "strip_left": true, "strip_right": true}));
        let runs = json!({"Regex": " {2,}"});
        normals.push(json!({"type": "Replace", "pattern": runs, "content": " "}));
    }
    let prepend = match spelling.space {
        Some(Space { only_missing: false, .. }) if !spelling.squeeze => {
            normals.push(json!({"type": "Prepend", "prepend": SPACE}));
            Prepend::Never
        }
        Some(Space { only_first: true, .. }) => Prepend::First,
        Some(_) => Prepend::Always,
        None => Prepend::Never,
    };
    let cutting = Metaspace { prepend, split };
    if prepend != Prepend::Never {
        return (sequence("normalizers", normals), metaspace(cutting));
    }
    let spelled = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    normals.push(spelled);
    let cutting = if split { metaspace(cutting) } else { Json::Null };
    (sequence("normalizers", normals), cutting)
}

/// One component, or several under this key.
fn sequence(key: &str, mut parts: Vec<Json>) -> Json {
    match parts.len() {
        0 => Json::Null,
        1 => parts.swap_remove(0),
        _ => json!({"type": "Sequence", key: parts}),
    }
}

fn precompiled(rules: &Charsmap) -> Json {
    json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(rules.bytes())})
}

fn metaspace(spaces: Metaspace) -> Json {
    let scheme = match spaces.prepend {
        Prepend::Always => "always",
        Prepend::First => "first",
        Prepend::Never => "never",
    };
    json!({
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": scheme,
        "split": spaces.split,
    })
}

/// The normalizer.
pub(super) fn normals(steps: &[Normal]) -> Json {
    sequence("normalizers", steps.iter().map(normal).collect())
}

fn normal(step: &Normal) -> Json {
    match step {
        Normal::Form(form) => json!({"type": match form {
            Form::Nfc => "NFC",
            Form::Nfd => "NFD",
            Form::Nfkc => "NFKC",
            Form::Nfkd => "NFKD",
        }}),
        Normal::Lowercase => json!({"type": "Lowercase"}),
        Normal::StripAccents => json!({"type": "StripAccents"}),
        Normal::Nmt => json!({"type": "Nmt"}),
        Normal::Strip { left, right } => {
            json!({"type": "Strip", "strip_left": left, "strip_right": right})
        }
        Normal::Prepend(text) => json!({"type": "Prepend", "prepend": text}),
        Normal::Replace { pattern, content } => {
            let pattern = json!({"Regex": pattern.text()});
            json!({"type": "Replace", "pattern": pattern, "content": content})
        }
        Normal::Charsmap(rules) => precompiled(rules),
        Normal::Bert(bert) => json!({
            "type": "BertNormalizer",
            "clean_text": bert.clean,
            "handle_chinese_chars": bert.han,
            "strip_accents": bert.strip_accents,
            "lowercase": bert.lowercase,
        }),
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

/// The way back for pieces that words were cut into.
pub(super) fn metaspace_decoder(steps: &[Step]) -> Json {
    let spaces = steps.iter().find_map(|step| match step {
        Step::Metaspace(spaces) => Some(*spaces),
        _ => None,
    });
    spaces.map_or(Json::Null, metaspace)
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
