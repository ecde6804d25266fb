//! A tokenizer as GGUF's metadata, keys and order as llama.cpp's converter writes them.
//!
//! What llama.cpp has no place for is a Note: normalization, flags of added tokens, templates
//! that add more than BOS and EOS.

use crate::ir::tokenizer::{
    Added, Bpe, Class, Kind, ROLES, Role, Spm, Step, Tokenizer, by_text, names, pre, spm,
};
use crate::ir::value::List;
use crate::ir::{Error, Notes, Result, Value};

/// The score of what only fills a row of the embedding, as llama.cpp's converter has it.
const PADDING_SCORE: f32 = -10_000.0;

/// The metadata of a model without a tokenizer. The size of the vocabulary goes under the
/// family's own key.
pub fn none() -> Vec<(String, Value)> {
    vec![("tokenizer.ggml.model".to_owned(), Value::Text("none".to_owned()))]
}

/// The metadata of a tokenizer for a model whose embedding has `n_vocab` rows; `pre` names the
/// pre-tokenizer where the user does.
///
/// # Errors
/// Malformed if there are more tokens than rows; Unsupported if llama.cpp has no name for the
/// pre-tokenizer; Loss if a merge cannot be written.
pub fn entries(
    tokenizer: &Tokenizer,
    n_vocab: usize,
    pre: Option<&str>,
    notes: &mut Notes,
) -> Result<Vec<(String, Value)>> {
    note_losses(tokenizer, notes);
    let (tokens, classes) = padded(tokenizer, n_vocab)?;
    let mut out = Vec::new();
    let mut put = |key: &str, value| out.push((format!("tokenizer.ggml.{key}"), value));
    match &tokenizer.kind {
        Kind::Bpe(bpe) => {
            let name = names::recognise(&bpe.pre, bpe.ignore_merges, pre)?;
            if !bpe.pre.is_byte_level() {
                let text = "a BPE tokenizer that is not byte-level has no GGUF form";
                return Err(Error::unsupported(text));
            }
            put("model", Value::Text("gpt2".to_owned()));
            put("pre", Value::Text(name));
            put("tokens", Value::List(List::Text(tokens)));
            put("token_type", Value::List(List::I32(classes)));
            put("merges", Value::List(List::Text(merges(tokenizer, bpe)?)));
        }
        Kind::Spm(spm) => {
            let mut scores = spm.scores.clone();
            scores.resize(tokens.len(), PADDING_SCORE);
            put("model", Value::Text("llama".to_owned()));
            put("pre", Value::Text(pre.unwrap_or("default").to_owned()));
            put("tokens", Value::List(List::Text(tokens)));
            put("scores", Value::List(List::F32(scores)));
            put("token_type", Value::List(List::I32(classes)));
        }
    }
    for (role, id) in roles(tokenizer, notes) {
        let row = ROLES.iter().find(|row| row.0 == role);
        put(&format!("{}_token_id", row.map_or("", |row| row.2)), Value::U32(id));
    }
    put("add_bos_token", Value::Bool(tokenizer.adds_bos()));
    put("add_eos_token", Value::Bool(!tokenizer.suffix.is_empty()));
    match &tokenizer.kind {
        Kind::Bpe(bpe) if bpe.pre.steps.contains(&Step::PrefixSpace) => {
            put("add_space_prefix", Value::Bool(true));
        }
        Kind::Bpe(_) => {}
        Kind::Spm(spm) => {
            put("add_space_prefix", Value::Bool(spm.space.is_some()));
            if spm.squeeze {
                put("remove_extra_whitespaces", Value::Bool(true));
            }
        }
    }
    out.extend(templates(tokenizer));
    Ok(out)
}

fn padded(tokenizer: &Tokenizer, n_vocab: usize) -> Result<(Vec<String>, Vec<i32>)> {
    let count = tokenizer.tokens.len();
    if count > n_vocab {
        let found = format!("the tokenizer has {count} tokens, the embedding {n_vocab} rows");
        return Err(Error::malformed(found));
    }
    let mut tokens: Vec<_> = tokenizer.tokens.iter().map(|token| token.text.clone()).collect();
    if matches!(tokenizer.kind, Kind::Spm(_)) {
        // llama.cpp looks for them in the text before spaces are spelled otherwise.
        for added in tokenizer.added.iter().filter(|added| added.normalized) {
            let text = &mut tokens[added.id as usize];
            *text = text.replace(spm::SPACE, " ");
        }
    }
    let mut classes: Vec<_> = tokenizer.tokens.iter().map(|token| token.class as i32).collect();
    let known = by_text(&tokenizer.tokens)?;
    for id in count..n_vocab {
        let text = format!("[PAD{id}]");
        if let Some(other) = known.get(text.as_str()) {
            let found = format!("row {id} would be padded with '{text}', which is token {other}");
            return Err(Error::malformed(found));
        }
        tokens.push(text);
        classes.push(Class::Unused as i32);
    }
    Ok((tokens, classes))
}

fn merges(tokenizer: &Tokenizer, bpe: &Bpe) -> Result<Vec<String>> {
    let text = |id| tokenizer.text(id).unwrap_or_default();
    let line = |(rank, &(left, right)): (usize, &(u32, u32))| {
        let (left, right) = (text(left), text(right));
        if left.contains(' ') || right.contains(' ') {
            let found = format!("merge {rank}, '{left}' + '{right}', has a space, which parts the");
            return Err(Error::loss(format!("{found} sides in a GGUF file")));
        }
        Ok(format!("{left} {right}"))
    };
    bpe.merges.iter().enumerate().map(line).collect()
}

/// The roles to write. What a template puts last is what llama.cpp knows as EOS; a different
/// EOS becomes the end of a turn, as its converter has it.
fn roles(tokenizer: &Tokenizer, notes: &mut Notes) -> Vec<(Role, u32)> {
    let mut special = tokenizer.special.clone();
    if let Some(&last) = tokenizer.suffix.last()
        && !tokenizer.adds_eos()
        && let Some(eos) = special.insert(Role::Eos, last)
    {
        special.entry(Role::Eot).or_insert(eos);
        let text = format!("token {last} ends a prompt, so it is EOS; token {eos} ends a turn");
        notes.chosen("tokenizer.ggml.eos_token_id", text);
    }
    // The order of the converter: roles as Hugging Face lists them, ends of turns last.
    let last = |role: &Role| matches!(role, Role::Eot | Role::Eom);
    let (late, early): (Vec<_>, Vec<_>) = special.into_iter().partition(|(role, _)| last(role));
    early.into_iter().chain(late).collect()
}

fn templates(tokenizer: &Tokenizer) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    let mut names = Vec::new();
    for (name, text) in tokenizer.chat_templates.iter().filter(|(name, _)| name != "default") {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = name.chars().map(plain).collect();
        out.push((format!("tokenizer.chat_template.{name}"), Value::Text(text.clone())));
        names.push(name);
    }
    if !names.is_empty() {
        out.push(("tokenizer.chat_templates".to_owned(), Value::List(List::Text(names))));
    }
    if let Some(text) = tokenizer.chat_template(None) {
        out.push(("tokenizer.chat_template".to_owned(), Value::Text(text.to_owned())));
    }
    out
}

fn note_losses(tokenizer: &Tokenizer, notes: &mut Notes) {
    match &tokenizer.kind {
        Kind::Bpe(bpe) => note_bpe(tokenizer, bpe, notes),
        Kind::Spm(spm) => note_spm(tokenizer, spm, notes),
    }
    let flagged = |added: &&Added| added.lstrip || added.rstrip || added.single_word;
    let count = tokenizer.added.iter().filter(flagged).count();
    if count > 0 {
        let text = format!("lstrip, rstrip or single_word of {count} tokens has no place in GGUF");
        notes.lost("tokenizer: added_tokens", text);
    }
    let more =
        |ends: &[u32], role| ends.iter().filter(|id| tokenizer.role(role) != Some(**id)).count();
    let (before, after) = (more(&tokenizer.prefix, Role::Bos), tokenizer.suffix.len());
    if before > 0 || after > 1 {
        let text = "ids other than BOS and EOS that are put around a text have no place in GGUF";
        notes.lost("tokenizer: post_processor", text);
    }
}

fn note_spm(tokenizer: &Tokenizer, spm: &Spm, notes: &mut Notes) {
    if spm.squeeze {
        let text = "llama.cpp keeps spaces around a text and runs of them";
        notes.lost("tokenizer: remove_extra_whitespaces", text);
    }
    // It matters where tokens stand within a text, which those at its ends do not.
    let at_ends = [Role::Bos, Role::Eos, Role::Unk, Role::Pad].map(|role| tokenizer.role(role));
    let is_within = |added: &Added| !at_ends.contains(&Some(added.id));
    if let Some(space) = spm.space
        && (space.only_missing || (space.only_first && tokenizer.added.iter().any(is_within)))
    {
        let text = "llama.cpp puts a space before every text, and after each token cut out of it";
        notes.lost("tokenizer: add_prefix_space", text);
    }
}

fn note_bpe(tokenizer: &Tokenizer, bpe: &Bpe, notes: &mut Notes) {
    if bpe.pre.nfc {
        notes.lost("tokenizer: normalizer", "llama.cpp does not bring text into form C");
    }
    if bpe.pre.steps.contains(&Step::PrefixSpace) {
        notes.lost("tokenizer: add_prefix_space", "llama.cpp puts no space before a BPE text");
    }
    if bpe.unknown.is_some() && !has_all_letters(tokenizer) {
        let text =
            "bytes that are no token vanish in llama.cpp, instead of becoming the unknown token";
        notes.lost("tokenizer: model.unk_token", text);
    }
}

/// Whether each byte that UTF-8 uses is a token.
fn has_all_letters(tokenizer: &Tokenizer) -> bool {
    let used = (0..=u8::MAX).filter(|byte| !matches!(byte, 0xc0 | 0xc1 | 0xf5..));
    let known = by_text(&tokenizer.tokens).unwrap_or_default();
    let mut buffer = [0; 4];
    used.map(pre::letter).all(|letter| known.contains_key(&*letter.encode_utf8(&mut buffer)))
}
