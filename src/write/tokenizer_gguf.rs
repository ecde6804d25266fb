//! A tokenizer as GGUF's metadata, keys and order as llama.cpp's converter writes them.
//!
//! What llama.cpp has no place for is a Note: normalization, flags of added tokens, templates
//! that add more than BOS and EOS.

mod losses;

use crate::ir::tokenizer::{
    Bpe, Class, Kind, ROLES, Role, Step, Tokenizer, by_text, names, spm, wordpiece,
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
/// pre-tokenizer; Loss if a merge or a piece cannot be written.
pub fn entries(
    tokenizer: &Tokenizer,
    n_vocab: usize,
    pre: Option<&str>,
    notes: &mut Notes,
) -> Result<Vec<(String, Value)>> {
    losses::note(tokenizer, notes)?;
    let (tokens, classes) = padded(tokenizer, n_vocab)?;
    let mut out = Entries::default();
    let list = List::Text(tokens);
    match &tokenizer.kind {
        Kind::Bpe(bpe) => {
            let name = names::recognise(&bpe.pre, bpe.ignore_merges, pre)?;
            if !bpe.pre.is_byte_level() {
                let text = "a BPE tokenizer that is not byte-level has no GGUF form";
                return Err(Error::unsupported(text));
            }
            out.head("gpt2", &name, list);
            out.put("token_type", Value::List(List::I32(classes)));
            out.put("merges", Value::List(List::Text(merges(tokenizer, bpe)?)));
        }
        kind => {
            out.head(model_name(kind), pre.unwrap_or("default"), list);
            if let Some(scores) = scores(kind, n_vocab, tokenizer.tokens.len()) {
                out.put("scores", Value::List(List::F32(scores)));
            }
            out.put("token_type", Value::List(List::I32(classes)));
        }
    }
    for (role, id) in roles(tokenizer, notes) {
        let row = ROLES.iter().find(|row| row.0 == role);
        out.put(&format!("{}_token_id", row.map_or("", |row| row.2)), Value::U32(id));
    }
    out.put("add_bos_token", Value::Bool(adds_bos(tokenizer)));
    out.put("add_eos_token", Value::Bool(!tokenizer.suffix.is_empty()));
    out.text(&tokenizer.kind)?;
    out.0.extend(templates(tokenizer));
    Ok(out.0)
}

fn adds_bos(tokenizer: &Tokenizer) -> bool {
    let begins = matches!(tokenizer.kind, Kind::WordPiece(_)) && !tokenizer.prefix.is_empty();
    begins || tokenizer.adds_bos()
}

/// What llama.cpp calls a kind of tokenizer.
fn model_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bpe(_) => "gpt2",
        Kind::Spm(_) => "llama",
        Kind::Unigram(_) => "t5",
        Kind::WordPiece(_) => "bert",
    }
}

/// Keys with their values, in the order of the file.
#[derive(Default)]
struct Entries(Vec<(String, Value)>);

impl Entries {
    fn put(&mut self, key: &str, value: Value) {
        self.0.push((format!("tokenizer.ggml.{key}"), value));
    }

    fn head(&mut self, model: &str, pre: &str, tokens: List) {
        self.put("model", Value::Text(model.to_owned()));
        self.put("pre", Value::Text(pre.to_owned()));
        self.put("tokens", Value::List(tokens));
    }

    /// What is done to a text first.
    fn text(&mut self, kind: &Kind) -> Result<()> {
        match kind {
            Kind::Bpe(bpe) => {
                if bpe.pre.steps.contains(&Step::PrefixSpace) {
                    self.put("add_space_prefix", Value::Bool(true));
                }
            }
            Kind::Spm(spm) => {
                self.put("add_space_prefix", Value::Bool(spm.spelling.space.is_some()));
                if spm.spelling.squeeze {
                    self.put("remove_extra_whitespaces", Value::Bool(true));
                }
            }
            Kind::Unigram(unigram) => {
                let (spelling, _) = unigram.spelling()?;
                self.put("add_space_prefix", Value::Bool(spelling.space.is_some()));
                self.put("remove_extra_whitespaces", Value::Bool(spelling.squeeze));
                if let Some(rules) = spelling.charsmap {
                    let bytes = List::U8(rules.bytes().to_vec());
                    self.put("precompiled_charsmap", Value::List(bytes));
                }
            }
            Kind::WordPiece(model) => {
                let (lowercase, strip_accents) = model.cases();
                if !(lowercase && strip_accents) {
                    self.put("normalizer.lowercase", Value::Bool(lowercase));
                    self.put("normalizer.strip_accents", Value::Bool(strip_accents));
                }
            }
        }
        Ok(())
    }
}

/// A score for each row; of added tokens and padding, those of llama.cpp's converter.
fn scores(kind: &Kind, rows: usize, tokens: usize) -> Option<Vec<f32>> {
    let mut scores = match kind {
        Kind::Spm(spm) => spm.scores.clone(),
        Kind::Unigram(unigram) => unigram.scores.iter().map(|score| *score as f32).collect(),
        Kind::Bpe(_) | Kind::WordPiece(_) => return None,
    };
    scores.resize(tokens, spm::ADDED_SCORE);
    scores.resize(rows, PADDING_SCORE);
    Some(scores)
}

fn padded(tokenizer: &Tokenizer, n_vocab: usize) -> Result<(Vec<String>, Vec<i32>)> {
    let count = tokenizer.tokens.len();
    if count > n_vocab {
        let found = format!("the tokenizer has {count} tokens, the embedding {n_vocab} rows");
        return Err(Error::malformed(found));
    }
    let mut tokens = texts(tokenizer);
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

/// The tokens as llama.cpp spells them.
fn texts(tokenizer: &Tokenizer) -> Vec<String> {
    let all = tokenizer.tokens.iter();
    if let Kind::WordPiece(model) = &tokenizer.kind {
        return all.map(|token| wordpiece::to_gguf(token, &model.prefix)).collect();
    }
    let mut texts: Vec<_> = all.map(|token| token.text.clone()).collect();
    if matches!(tokenizer.kind, Kind::Spm(_) | Kind::Unigram(_)) {
        // llama.cpp looks for them in the text before spaces are spelled otherwise.
        for added in tokenizer.added.iter().filter(|added| added.normalized) {
            let text = &mut texts[added.id as usize];
            *text = text.replace(spm::SPACE, " ");
        }
    }
    texts
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
    // llama.cpp begins a text of this kind with BOS, whatever is said of it.
    if let (Kind::WordPiece(_), Some(&first)) = (&tokenizer.kind, tokenizer.prefix.first()) {
        special.insert(Role::Bos, first);
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
