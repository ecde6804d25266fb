//! The tokenizer that lies beside the weights of a directory of the hub, in whichever files.

use super::tokenizer_beside::Files;
use super::tokenizer_ranks::is_tiktoken;
use super::{tokenizer_json, tokenizer_model, tokenizer_ranks, tokenizer_text};
use crate::ir::tokenizer::{Kind, Tokenizer};
use crate::ir::{Config, Error, Fault, Notes, Result};

/// SentencePiece's model under the names that families give it.
const MODELS: &[&str] = &["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"];

/// Gives the bytes of a file, if it is there.
pub type File<'a> = dyn Fn(&str) -> Result<Option<Vec<u8>>> + 'a;

/// tiktoken's list under the names that families give it.
const LISTS: &[&str] = &["qwen.tiktoken", "tiktoken.model", "tokenizer.tiktoken"];

/// Reads the tokenizer, if its files are there. Where several are, the one that says most is taken:
/// tokenizer.json, SentencePiece's, Mistral's, tiktoken's, plain text.
///
/// # Errors
/// What the reader of the file says; for a tokenizer.json of an unknown kind the next file is tried.
pub fn read(file: &File<'_>, config: &Config, notes: &mut Notes) -> Result<Option<Tokenizer>> {
    let template = file("chat_template.jinja")?.map(String::from_utf8).transpose();
    let template = template.map_err(|_| Error::malformed("chat_template.jinja: not UTF-8 text"))?;
    let tokenizer_config = file("tokenizer_config.json")?;
    let special_tokens_map = file("special_tokens_map.json")?;
    let generation_config = file("generation_config.json")?;
    let files = Files {
        tokenizer: &[],
        tokenizer_config: tokenizer_config.as_deref(),
        special_tokens_map: special_tokens_map.as_deref(),
        generation_config: generation_config.as_deref(),
        chat_template: template.as_deref(),
        config: Some(config),
    };
    let model = first(file, MODELS)?.filter(|(_, bytes)| !is_tiktoken(bytes));
    let refused = match file("tokenizer.json")? {
        None => None,
        Some(json) => match tokenizer_json::read(&files.with(&json), notes) {
            Err(error) if error.fault == Fault::Unsupported => Some(error),
            read => return read.and_then(|read| with_scores(read, model)).map(Some),
        },
    };
    let other = match model {
        Some((_, model)) => {
            let added = file("added_tokens.json")?;
            tokenizer_model::read(&files.with(&model), added.as_deref(), notes).map(Some)
        }
        None => other(file, &files, notes),
    };
    match (other, refused) {
        (Ok(None) | Err(_), Some(refused)) => Err(refused),
        (other, _) => other,
    }
}

/// Vocabularies that are neither tokenizer.json nor SentencePiece's.
fn other(file: &File<'_>, files: &Files, notes: &mut Notes) -> Result<Option<Tokenizer>> {
    if let Some(tekken) = file("tekken.json")? {
        return tokenizer_ranks::tekken(&files.with(&tekken), notes).map(Some);
    }
    let lists = [LISTS, MODELS].concat();
    if let Some((name, list)) = first(file, &lists)? {
        return tokenizer_ranks::tiktoken(&files.with(&list), name, notes).map(Some);
    }
    if let Some(vocab) = file("vocab.txt")? {
        return tokenizer_text::wordpiece(&files.with(&vocab), notes).map(Some);
    }
    let Some(vocab) = file("vocab.json")? else { return Ok(None) };
    let merges = file("merges.txt")?;
    let missing = || Error::unsupported("vocab.json with neither merges.txt nor tokenizer.json");
    let merges = merges.ok_or_else(missing)?;
    tokenizer_text::bpe(&files.with(&vocab), &merges, notes).map(Some)
}

/// The first of these files that is there.
fn first<'n>(file: &File<'_>, names: &[&'n str]) -> Result<Option<(&'n str, Vec<u8>)>> {
    for name in names {
        if let Some(bytes) = file(name)? {
            return Ok(Some((name, bytes)));
        }
    }
    Ok(None)
}

/// tokenizer.json has lost the scores of SentencePiece; where its own file is there too, they are
/// what llama.cpp's converter writes.
fn with_scores(mut tokenizer: Tokenizer, model: Option<(&str, Vec<u8>)>) -> Result<Tokenizer> {
    if let (Kind::Spm(spm), Some((_, model))) = (&mut tokenizer.kind, model)
        && let Some(scores) = tokenizer_model::scores(&model, &tokenizer.tokens)?
    {
        spm.scores = scores;
    }
    Ok(tokenizer)
}
