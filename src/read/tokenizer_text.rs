//! Vocabularies as plain text: `vocab.txt` of BERT, one token a line; `vocab.json` and `merges.txt` of
//! GPT-2, RoBERTa and OPT, and their relatives.
//!
//! They say nothing of how text is cut: that is what transformers 5 takes for the class that
//! tokenizer_config.json names, or for the kind of model that config.json does.

use std::collections::BTreeMap;

use super::tokenizer_beside::{Beside, Files, name_ends};
use super::tokenizer_json::{Slots, flag};
use crate::ir::tokenizer::normal::{Bert, Form};
use crate::ir::tokenizer::wordpiece::{LETTERS_MAX, PREFIX, bert};
use crate::ir::tokenizer::{
    Added, Bpe, Class, Kind, Normal, Pre, Role, Step, Token, Tokenizer, WordPiece, by_text,
    check_merges, merge, names,
};
use crate::ir::{Error, Notes, Result, Value};

/// A role, and the text of the token that has it unless a file says otherwise.
type Usual = (Role, &'static str, &'static str);

const BERT: &[Usual] = &[
    (Role::Pad, "pad", "[PAD]"),
    (Role::Unk, "unk", "[UNK]"),
    (Role::Cls, "cls", "[CLS]"),
    (Role::Sep, "sep", "[SEP]"),
    (Role::Mask, "mask", "[MASK]"),
];

const ROBERTA: &[Usual] = &[
    (Role::Bos, "bos", "<s>"),
    (Role::Pad, "pad", "<pad>"),
    (Role::Eos, "eos", "</s>"),
    (Role::Unk, "unk", "<unk>"),
    (Role::Cls, "cls", "<s>"),
    (Role::Sep, "sep", "</s>"),
    (Role::Mask, "mask", "<mask>"),
];

const GPT2: &[Usual] = &[
    (Role::Bos, "bos", "<|endoftext|>"),
    (Role::Eos, "eos", "<|endoftext|>"),
    (Role::Unk, "unk", "<|endoftext|>"),
    (Role::Pad, "pad", ""),
];

const QWEN2: &[Usual] = &[
    (Role::Bos, "bos", ""),
    (Role::Eos, "eos", "<|endoftext|>"),
    (Role::Unk, "unk", "<|endoftext|>"),
    (Role::Pad, "pad", "<|endoftext|>"),
];

/// How the classes of tokenizers that have vocab.json and merges.txt cut text.
struct Layout {
    /// Beginnings of the names of classes, and of `model_type`s.
    classes: &'static [&'static str],
    models: &'static [&'static str],
    /// The row of the table of pre-tokenizers.
    pre: &'static str,
    nfc: bool,
    usual: &'static [Usual],
    /// A text stands between the tokens of classification and separation.
    encloses: bool,
}

/// The last is taken where no other is named.
const LAYOUTS: &[Layout] = &[
    Layout {
        classes: &["Roberta", "Bart", "Longformer", "LED", "BlenderbotTokenizer"],
        models: &["roberta", "bart", "longformer", "led", "camembert-bpe"],
        pre: "gpt-2",
        nfc: false,
        usual: ROBERTA,
        encloses: true,
    },
    Layout {
        classes: &["Qwen2"],
        models: &["qwen2", "qwen2_moe", "qwen3", "qwen3_moe"],
        pre: "qwen2",
        nfc: true,
        usual: QWEN2,
        encloses: false,
    },
    Layout { classes: &[], models: &[], pre: "gpt-2", nfc: false, usual: GPT2, encloses: false },
];

/// Reads vocab.txt, whose bytes are `files.tokenizer`.
///
/// # Errors
/// Malformed with the file at fault.
pub(super) fn wordpiece(files: &Files, notes: &mut Notes) -> Result<Tokenizer> {
    let place = |error: Error| error.at("vocab.txt");
    let text = utf8(files.tokenizer).map_err(place)?;
    let token = |text: &str| Token { text: text.to_owned(), class: Class::Normal };
    let tokens: Vec<Token> = text.lines().map(token).collect();
    by_text(&tokens).map_err(place)?;
    let beside = Beside::read(files)?;
    let flag = |key: &str, usual| beside.config.get(key).and_then(Value::as_bool).unwrap_or(usual);
    let lowercase = flag("do_lower_case", true);
    let normal = Bert {
        clean: true,
        han: flag("tokenize_chinese_chars", true),
        strip_accents: flag("strip_accents", lowercase),
        lowercase,
    };
    let model = WordPiece {
        unknown: None,
        prefix: PREFIX.to_owned(),
        letters_max: LETTERS_MAX,
        cleanup: true,
        pre: bert(normal)?,
    };
    let mut out = whole(Kind::WordPiece(model), tokens);
    finish(&mut out, &beside, BERT, true, notes)?;
    let unknown = out.role(Role::Unk);
    if let Kind::WordPiece(model) = &mut out.kind {
        model.unknown = unknown;
    }
    Ok(out)
}

/// Reads vocab.json, whose bytes are `files.tokenizer`, and merges.txt.
///
/// # Errors
/// Malformed with the file at fault; Unsupported for merges with an end of words, as CLIP's have.
pub(super) fn bpe(files: &Files, merges_txt: &[u8], notes: &mut Notes) -> Result<Tokenizer> {
    let place = |error: Error| error.at("vocab.json");
    let Value::Map(vocab) = Value::parse(files.tokenizer).map_err(place)? else {
        return Err(place(Error::malformed("expected a JSON object")));
    };
    let tokens = Slots::of(&vocab).map_err(place)?.fill();
    let merges = merges(merges_txt, &tokens).map_err(|error| error.at("merges.txt"))?;
    let beside = Beside::read(files)?;
    let layout = layout(&beside, files);
    let row = names::row_of(layout.pre).ok_or_else(|| Error::bug("a layout without its row"))?;
    let mut pre =
        Pre { name: Some(layout.pre.to_owned()), normal: Vec::new(), steps: row.steps()? };
    if layout.nfc {
        pre.normal.push(Normal::Form(Form::Nfc));
    }
    if beside.config.get("add_prefix_space").and_then(Value::as_bool) == Some(true) {
        pre.steps.insert(0, Step::PrefixSpace);
    }
    let (unknown, fuse_unknown) = (None, false);
    let kind = Kind::Bpe(Bpe { merges, ignore_merges: false, unknown, fuse_unknown, pre });
    let mut out = whole(kind, tokens);
    finish(&mut out, &beside, layout.usual, layout.encloses, notes)?;
    Ok(out)
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::malformed("not UTF-8 text"))
}

fn whole(kind: Kind, tokens: Vec<Token>) -> Tokenizer {
    Tokenizer {
        kind,
        tokens,
        added: Vec::new(),
        special: BTreeMap::new(),
        prefix: Vec::new(),
        suffix: Vec::new(),
        has_decoder: true,
        chat_templates: Vec::new(),
    }
}

fn layout(beside: &Beside, files: &Files) -> &'static Layout {
    let class = beside.config.get("tokenizer_class").and_then(Value::as_text);
    let model = files.config.and_then(|config| config.get("model_type")?.as_text());
    let named = |layout: &&Layout| match class {
        Some(class) => layout.classes.iter().any(|start| class.starts_with(start)),
        None => model.is_some_and(|model| layout.models.contains(&model)),
    };
    LAYOUTS.iter().find(named).unwrap_or(&LAYOUTS[LAYOUTS.len() - 1])
}

/// Lines of two texts with a space between; the first may state a version.
fn merges(bytes: &[u8], tokens: &[Token]) -> Result<Vec<(u32, u32)>> {
    let ids = by_text(tokens)?;
    let lines = utf8(bytes)?.lines().enumerate();
    let lines = lines.filter(|(at, line)| {
        let is_head = *at == 0 && line.starts_with("#version");
        !is_head && !line.is_empty()
    });
    let pair = |(at, line): (usize, &str)| {
        let sides = line.split_once(' ').filter(|(_, right)| !right.contains(' '));
        let sides = sides.ok_or_else(|| Error::malformed(format!("'{line}' has not two sides")));
        if line.ends_with("</w>") {
            return Err(Error::unsupported("merges with an end of words, '</w>'"));
        }
        let pair = sides.and_then(|(left, right)| merge(&ids, left, right));
        pair.map_err(|error| error.at(format!("line {}", at + 1)))
    };
    let merges = lines.map(pair).collect::<Result<Vec<_>>>()?;
    check_merges(&merges)?;
    Ok(merges)
}

/// Roles, the tokens that have them, and what a text begins and ends with.
fn finish(
    tokenizer: &mut Tokenizer,
    beside: &Beside,
    usual: &[Usual],
    encloses: bool,
    notes: &mut Notes,
) -> Result<()> {
    let added = beside.config.get("added_tokens_decoder").unwrap_or(&Value::Null);
    super::tokenizer_model::add_tokens(tokenizer, added, notes)
        .map_err(|error| error.at("tokenizer_config.json: added_tokens_decoder"))?;
    beside.name_roles(tokenizer, notes);
    let ids = by_text(&tokenizer.tokens)?;
    let mut found = BTreeMap::new();
    for (role, name, text) in usual {
        if beside.is_silent(name)
            && let Some(id) = ids.get(text)
        {
            found.insert(*role, *id);
        }
    }
    drop(ids);
    for (role, id) in found {
        tokenizer.special.entry(role).or_insert(id);
    }
    name_ends(&mut tokenizer.special);
    let special: Vec<u32> = tokenizer.special.values().copied().collect();
    for id in special {
        add_special(tokenizer, id, beside);
    }
    if encloses {
        tokenizer.prefix.extend(tokenizer.role(Role::Cls));
        tokenizer.suffix.extend(tokenizer.role(Role::Sep));
    }
    beside.finish(tokenizer)
}

/// A token with a role is cut out of the text.
fn add_special(tokenizer: &mut Tokenizer, id: u32, beside: &Beside) {
    let token = &mut tokenizer.tokens[id as usize];
    token.class = Class::Control;
    if let Err(at) = tokenizer.added.binary_search_by_key(&id, |added| added.id) {
        let flags = beside.flags(&token.text);
        let (lstrip, rstrip) = (flag(&flags, "lstrip"), flag(&flags, "rstrip"));
        let (single_word, normalized) = (flag(&flags, "single_word"), flag(&flags, "normalized"));
        let new = Added { id, special: true, lstrip, rstrip, single_word, normalized };
        tokenizer.added.insert(at, new);
    }
}
