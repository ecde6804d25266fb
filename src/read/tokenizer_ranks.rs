//! Vocabularies of ranked bytes: Mistral's `tekken.json`, and tiktoken's lists, `IQ== 0` on each line.
//!
//! A pair of neighbours is joined if together they are a token, that of the lowest rank first. So
//! the merges are all ways to part a token in two, in the order of the tokens' ranks: as
//! transformers and llama.cpp's converter make them.

use std::collections::{BTreeMap, HashMap};

use super::tokenizer_beside::{Beside, Files};
use super::tokenizer_json::items;
use crate::ir::tokenizer::{
    Added, Bpe, Class, Kind, Pre, Role, Split, Step, Token, Tokenizer, base64, by_text, names, pre,
};
use crate::ir::{Error, Notes, Result, Value};

/// Bytes of a token. The longest seen, runs of spaces, have 512.
const TOKEN_MAX: usize = 4096;

/// Special tokens. Mistral's files have 1000.
const SPECIAL_MAX: u64 = 1 << 16;

/// Special tokens that tekken.json does not name, as mistral-common has them for old files.
const TEKKEN: [&str; 14] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "<pad>",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
];

/// What a list of tiktoken's does not say: known by its own name, by `model_type` of config.json, or by
/// the number of its tokens.
struct List {
    name: &'static str,
    model: &'static str,
    count: usize,
    /// The row of the table of pre-tokenizers.
    pre: &'static str,
    special: &'static [&'static str],
    /// More special tokens, numbered from 0, so many of them.
    numbered: (&'static str, &'static str, usize),
    bos: Option<&'static str>,
    eos: &'static str,
    adds_bos: bool,
}

/// Llama 3.1's names; 3.0 has reserved ones for some. Qwen's are those of its `tokenization_qwen.py`.
const LISTS: &[List] = &[
    List {
        name: "",
        model: "llama",
        count: 128_000,
        pre: "llama-bpe",
        special: &[
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|reserved_special_token_0|>",
            "<|reserved_special_token_1|>",
            "<|finetune_right_pad_id|>",
            "<|reserved_special_token_2|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eom_id|>",
            "<|eot_id|>",
            "<|python_tag|>",
        ],
        numbered: ("<|reserved_special_token_", "|>", 245),
        bos: Some("<|begin_of_text|>"),
        eos: "<|end_of_text|>",
        adds_bos: true,
    },
    List {
        name: "qwen.tiktoken",
        model: "qwen",
        count: 151_643,
        pre: "qwen2",
        special: &["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        numbered: ("<|extra_", "|>", 205),
        bos: None,
        eos: "<|endoftext|>",
        adds_bos: false,
    },
];

/// Whether the bytes are a list of tiktoken's: a token in base64 and its rank on each line.
pub(super) fn is_tiktoken(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    let token = words.next().is_some_and(|word| !word.is_empty() && word.iter().all(base64));
    let rank =
        words.next().is_some_and(|word| !word.is_empty() && word.iter().all(u8::is_ascii_digit));
    token && rank && words.next().is_none()
}

/// Reads a list of tiktoken's, whose bytes are `files.tokenizer` and whose file has this name.
///
/// # Errors
/// Malformed with the line at fault; Unsupported for a list that is not known here.
pub(super) fn tiktoken(files: &Files, name: &str, notes: &mut Notes) -> Result<Tokenizer> {
    let ranks = lines(files.tokenizer).map_err(|error| error.at(name))?;
    let model = files.config.and_then(|config| config.get("model_type")?.as_text());
    let is_named = |list: &&List| list.name == name || Some(list.model) == model;
    let named = LISTS.iter().find(is_named);
    let list = named.or_else(|| LISTS.iter().find(|list| list.count == ranks.len()));
    let list = list.ok_or_else(|| {
        let found = format!("a list of tiktoken's with {} tokens", ranks.len());
        let what = "neither Llama 3's nor Qwen's: how they cut text is not known";
        Error::unsupported(format!("{found}, {what}")).at(name)
    })?;
    let (start, end, count) = list.numbered;
    let named = list.special.iter().map(|text| (*text).to_owned());
    let reserved = (0..).map(|at| format!("{start}{at}{end}"));
    let reserved = reserved.filter(|text| !list.special.contains(&text.as_str())).take(count);
    let special: Vec<String> = named.chain(reserved).collect();
    let row = names::row_of(list.pre).ok_or_else(|| Error::bug("a list without its row"))?;
    let pre = Pre { name: Some(list.pre.to_owned()), normal: Vec::new(), steps: row.steps()? };
    let ranked = Ranked { ranks, special, first: false, pre, ignore_merges: row.ignore_merges };
    let mut out = ranked.tokenizer().map_err(|error| error.at(name))?;
    let beside = Beside::read(files)?;
    beside.name_roles(&mut out, notes);
    give_role(&mut out, Role::Eos, list.eos);
    if let Some(bos) = list.bos {
        give_role(&mut out, Role::Bos, bos);
    }
    if list.adds_bos {
        out.prefix.extend(out.role(Role::Bos));
    }
    beside.finish(&mut out)?;
    Ok(out)
}

/// Reads tekken.json, whose bytes are `files.tokenizer`.
///
/// # Errors
/// Malformed with the field at fault.
pub(super) fn tekken(files: &Files, notes: &mut Notes) -> Result<Tokenizer> {
    let place = |error: Error| error.at("tekken.json");
    let json = Value::parse(files.tokenizer).map_err(place)?;
    let mut out = tekken_core(&json).map_err(place)?;
    let beside = Beside::read(files)?;
    beside.name_roles(&mut out, notes);
    for (role, text) in [(Role::Unk, "<unk>"), (Role::Bos, "<s>"), (Role::Eos, "</s>")] {
        give_role(&mut out, role, text);
    }
    give_role(&mut out, Role::Pad, "<pad>");
    out.prefix.extend(out.role(Role::Bos));
    beside.finish(&mut out)?;
    Ok(out)
}

fn tekken_core(json: &Value) -> Result<Tokenizer> {
    let config = json.get("config").unwrap_or(&Value::Null);
    let number = |key: &str| {
        let number = config.get(key).and_then(Value::as_u64);
        number.ok_or_else(|| Error::malformed(format!("config.{key} is not a number")))
    };
    let (size, count) = (number("default_vocab_size")?, number("default_num_special_tokens")?);
    if count > SPECIAL_MAX || count > size {
        let most = SPECIAL_MAX.min(size);
        let found =
            format!("config.default_num_special_tokens is {count}, expected at most {most}");
        return Err(Error::malformed(found));
    }
    let vocab = json.get("vocab").and_then(items);
    let vocab = vocab.ok_or_else(|| Error::malformed("'vocab' is not a list"))?;
    let wanted = usize::try_from(size - count).unwrap_or(usize::MAX);
    let ranks = vocab.iter().take(wanted).enumerate().map(|(rank, entry)| {
        let text = entry.get("token_bytes").and_then(Value::as_text);
        let is_here = entry.get("rank").and_then(Value::as_u64) == Some(rank as u64);
        let text = text
            .filter(|_| is_here)
            .ok_or_else(|| Error::malformed(format!("expected rank {rank} and its token_bytes")));
        text.and_then(base64::decode).map_err(|error| error.at(format!("vocab: {rank}")))
    });
    let ranks = ranks.collect::<Result<Vec<_>>>()?;
    let pattern = config.get("pattern").and_then(Value::as_text);
    let pattern = pattern.ok_or_else(|| Error::malformed("config.pattern is not a text"))?;
    let steps = vec![Step::Split(Split::isolated(pattern)?), Step::Bytes];
    let mut pre = Pre { name: None, normal: Vec::new(), steps };
    pre.name = names::find(&pre, true).map(str::to_owned);
    let special = tekken_special(json.get("special_tokens"), count as usize)?;
    Ranked { ranks, special, first: true, pre, ignore_merges: true }.tokenizer()
}

/// The special tokens by rank; those that the file does not name are numbered.
fn tekken_special(list: Option<&Value>, count: usize) -> Result<Vec<String>> {
    let filler = |at: usize| format!("<SPECIAL_{at}>");
    let mut out: Vec<String> = (0..count).map(filler).collect();
    let Some(list) = list.and_then(items) else {
        for (slot, text) in out.iter_mut().zip(TEKKEN) {
            text.clone_into(slot);
        }
        return Ok(out);
    };
    for entry in list {
        let rank = entry.get("rank").and_then(Value::as_u64).map(|rank| rank as usize);
        let text = entry.get("token_str").and_then(Value::as_text);
        let slot = rank.and_then(|rank| out.get_mut(rank));
        let (Some(slot), Some(text)) = (slot, text) else {
            let found = format!("special_tokens: expected a text and a rank below {count}");
            return Err(Error::malformed(found));
        };
        text.clone_into(slot);
    }
    Ok(out)
}

/// The tokens of a list by rank, which must count up from 0.
fn lines(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::malformed("not UTF-8 text"))?;
    let token = |(rank, line): (usize, &str)| {
        let (token, number) = line.split_once(' ').unwrap_or((line, ""));
        if number.parse() != Ok(rank) {
            return Err(Error::malformed(format!("'{line}', expected rank {rank}")));
        }
        base64::decode(token)
    };
    let place = |at: usize| move |error: Error| error.at(format!("line {}", at + 1));
    let lines = text.lines().filter(|line| !line.is_empty()).enumerate();
    lines.map(|(at, line)| token((at, line)).map_err(place(at))).collect()
}

fn give_role(tokenizer: &mut Tokenizer, role: Role, text: &str) {
    let mut special = tokenizer.added.iter().map(|added| added.id);
    if let Some(id) = special.find(|id| tokenizer.text(*id) == Some(text)) {
        tokenizer.special.entry(role).or_insert(id);
    }
}

/// A vocabulary of ranked bytes.
struct Ranked {
    ranks: Vec<Vec<u8>>,
    special: Vec<String>,
    /// The special tokens come before the others.
    first: bool,
    pre: Pre,
    ignore_merges: bool,
}

impl Ranked {
    fn tokenizer(self) -> Result<Tokenizer> {
        // Where the ranks begin, and where the special tokens.
        let (offset, start) =
            if self.first { (self.special.len(), 0) } else { (0, self.ranks.len()) };
        let merges = merges(&self.ranks, offset as u32)?;
        let normal = |bytes: &Vec<u8>| Token {
            text: bytes.iter().copied().map(pre::letter).collect(),
            class: Class::Normal,
        };
        let control = |text: &String| Token { text: text.clone(), class: Class::Control };
        let mut tokens: Vec<Token> = self.ranks.iter().map(normal).collect();
        let special: Vec<Token> = self.special.iter().map(control).collect();
        tokens.splice(start..start, special);
        by_text(&tokens)?;
        let (lstrip, rstrip, single_word, normalized) = (false, false, false, false);
        let ids = start as u32..(start + self.special.len()) as u32;
        let added = ids.map(|id| {
            let special = true;
            Added { id, special, lstrip, rstrip, single_word, normalized }
        });
        let (unknown, fuse_unknown) = (None, false);
        let ignore_merges = self.ignore_merges;
        Ok(Tokenizer {
            kind: Kind::Bpe(Bpe { merges, ignore_merges, unknown, fuse_unknown, pre: self.pre }),
            tokens,
            added: added.collect(),
            special: BTreeMap::new(),
            prefix: Vec::new(),
            suffix: Vec::new(),
            has_decoder: true,
            chat_templates: Vec::new(),
        })
    }
}

/// All ways to part a token in two, by the token's rank, then by those of its parts.
fn merges(ranks: &[Vec<u8>], offset: u32) -> Result<Vec<(u32, u32)>> {
    let mut ids: HashMap<&[u8], u32> = HashMap::with_capacity(ranks.len());
    for (rank, bytes) in (0u32..).zip(ranks) {
        if bytes.is_empty() || bytes.len() > TOKEN_MAX {
            let found = format!("the token of rank {rank} has {} bytes", bytes.len());
            return Err(Error::malformed(format!("{found}, expected 1 to {TOKEN_MAX}")));
        }
        if let Some(first) = ids.insert(bytes, rank) {
            return Err(Error::malformed(format!("ranks {first} and {rank} have one token")));
        }
    }
    let mut out = Vec::with_capacity(ranks.len() * 2);
    for bytes in ranks {
        let start = out.len();
        for at in 1..bytes.len() {
            let (left, right) = bytes.split_at(at);
            if let (Some(left), Some(right)) = (ids.get(left), ids.get(right)) {
                out.push((left + offset, right + offset));
            }
        }
        out[start..].sort_unstable();
    }
    Ok(out)
}
