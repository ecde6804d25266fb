//! The tokenizer that lies beside the weights of a directory of the hub, in whichever files.

use super::tokenizer_json::{self, Files};
use super::tokenizer_model;
use crate::ir::tokenizer::{Kind, Tokenizer};
use crate::ir::{Config, Error, Fault, Notes, Result};

/// SentencePiece's model under the names that families give it.
const MODELS: &[&str] = &["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"];

/// Gives the bytes of a file, if it is there.
pub type File<'a> = dyn Fn(&str) -> Result<Option<Vec<u8>>> + 'a;

/// Reads the tokenizer, if its files are there.
///
/// # Errors
/// What the reader of the file says; for a tokenizer.json of an unknown kind the next file is tried.
pub fn read(file: &File<'_>, config: &Config, notes: &mut Notes) -> Result<Option<Tokenizer>> {
    let json = file("tokenizer.json")?;
    let model = MODELS.iter().find_map(|name| file(name).transpose()).transpose()?;
    if json.is_none() && model.is_none() {
        for name in ["vocab.json", "vocab.txt"] {
            if file(name)?.is_some() {
                return Err(Error::unsupported(format!(
                    "{name} without a tokenizer.json, which transformers can make of it"
                )));
            }
        }
        return Ok(None);
    }
    let template = file("chat_template.jinja")?.map(String::from_utf8).transpose();
    let template = template.map_err(|_| Error::malformed("chat_template.jinja: not UTF-8 text"))?;
    let tokenizer_config = file("tokenizer_config.json")?;
    let special_tokens_map = file("special_tokens_map.json")?;
    let generation_config = file("generation_config.json")?;
    let mut files = Files {
        tokenizer: json.as_deref().unwrap_or_default(),
        tokenizer_config: tokenizer_config.as_deref(),
        special_tokens_map: special_tokens_map.as_deref(),
        generation_config: generation_config.as_deref(),
        chat_template: template.as_deref(),
        config: Some(config),
    };
    let read = json.as_ref().map(|_| tokenizer_json::read(&files, notes));
    match (read, model) {
        (None, None) => Ok(None),
        (Some(read), None) => read.map(Some),
        (Some(Ok(tokenizer)), Some(model)) => with_scores(tokenizer, &model).map(Some),
        (Some(Err(error)), Some(_)) if error.fault != Fault::Unsupported => Err(error),
        (_, Some(model)) => {
            files.tokenizer = &model;
            let added = file("added_tokens.json")?;
            tokenizer_model::read(&files, added.as_deref(), notes).map(Some)
        }
    }
}

/// tokenizer.json has lost the scores of SentencePiece; where its own file is there too, they are
/// what llama.cpp's converter writes.
fn with_scores(mut tokenizer: Tokenizer, model: &[u8]) -> Result<Tokenizer> {
    if let Kind::Spm(spm) = &mut tokenizer.kind
        && let Some(scores) = tokenizer_model::scores(model, &tokenizer.tokens)?
    {
        spm.scores = scores;
    }
    Ok(tokenizer)
}
