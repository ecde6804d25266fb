//! WordPiece, the pieces of BERT: the longest that a word begins with, then the longest that what is
//! left of it begins with, until nothing is left. A word that cannot be spelled so is unknown.

use super::normal::Bert;
use super::unigram::words;
use super::{Class, Keep, Normal, Pattern, Pre, Split, Step, Token};
use crate::ir::Result;

/// Begins a piece that goes on with a word, in most vocabularies.
pub const PREFIX: &str = "##";

/// Letters of the longest word that is spelled, in most models.
pub const LETTERS_MAX: usize = 100;

/// How a space before a word is spelled in a GGUF file, where nothing else is: U+2581.
const PHANTOM: char = '▁';

/// The model.
#[derive(Debug, Clone, PartialEq)]
pub struct WordPiece {
    /// What stands for a word that cannot be spelled.
    pub unknown: Option<u32>,
    /// Begins a piece that goes on with a word.
    pub prefix: String,
    /// Words of more letters are unknown.
    pub letters_max: usize,
    /// Decoded text is freed of spaces before punctuation and English endings.
    pub cleanup: bool,
    /// How text is cut into words.
    pub pre: Pre,
}

impl WordPiece {
    /// Whether letters lose their case, and their accents.
    pub fn cases(&self) -> (bool, bool) {
        let any = |is: fn(&Normal) -> bool| self.pre.normal.iter().any(is);
        let lowercase = any(|step| match step {
            Normal::Bert(bert) => bert.lowercase,
            step => *step == Normal::Lowercase,
        });
        let strip_accents = any(|step| match step {
            Normal::Bert(bert) => bert.strip_accents,
            step => *step == Normal::StripAccents,
        });
        (lowercase, strip_accents)
    }

    /// Whether text is rewritten and cut as BERT does.
    ///
    /// # Errors
    /// None that the tests would let pass: the patterns are ours.
    pub fn cuts_as_bert(&self) -> Result<bool> {
        let is_usual = |step: &Normal| matches!(step, Normal::Bert(bert) if bert.clean && bert.han);
        let usual = [Step::Split(words()?), Step::Split(marks()?)];
        Ok(self.pre.normal.iter().all(is_usual) && self.pre.steps == usual)
    }
}

/// BERT's way of cutting: white space parts words, each mark is one.
///
/// # Errors
/// None that the tests would let pass: the pattern is ours.
pub fn bert(normal: Bert) -> Result<Pre> {
    let steps = vec![Step::Split(words()?), Step::Split(marks()?)];
    Ok(Pre { name: None, normal: vec![Normal::Bert(normal)], steps })
}

/// Cutting at marks, each a word.
///
/// # Errors
/// None that the tests would let pass: the pattern is ours.
pub fn marks() -> Result<Split> {
    Ok(Split { pattern: Pattern::new(MARK)?, keep: Keep::Isolated, invert: false })
}

/// The marks that BERT cuts at: Unicode's, and all of ASCII.
pub const MARK: &str = r"[\p{P}$+<=>^`|~]";

/// How a token is spelled in a GGUF file: llama.cpp's converter marks beginnings, not what goes on.
pub fn to_gguf(token: &Token, prefix: &str) -> String {
    if stays(token) {
        return token.text.clone();
    }
    match token.text.strip_prefix(prefix) {
        Some(rest) => rest.to_owned(),
        None => format!("{PHANTOM}{}", token.text),
    }
}

/// The way back.
pub fn from_gguf(token: &Token) -> String {
    match token.text.strip_prefix(PHANTOM) {
        _ if stays(token) => token.text.clone(),
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => format!("{PREFIX}{}", token.text),
    }
}

/// Tokens that are no part of a word.
fn stays(token: &Token) -> bool {
    let steers = matches!(token.class, Class::Control | Class::Unknown);
    steers || (token.text.starts_with('[') && token.text.ends_with(']'))
}
