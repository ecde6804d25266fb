//! SentencePiece's unigram language model: of all pieces that spell a text, those whose scores add
//! up to the most.

use super::spm::{SPACE, Spelling};
use super::{Class, Keep, Metaspace, Normal, Pre, Prepend, Space, Split, Step, Token};
use crate::ir::Result;

/// How much lower than the lowest score is that of a character without a piece: `kUnkPenalty`.
pub const UNKNOWN_PENALTY: f64 = 10.0;

/// The model.
#[derive(Debug, Clone, PartialEq)]
pub struct Unigram {
    /// The score of each token by id, the logarithm of its probability. Tokens above are only
    /// added ones: no search finds them.
    pub scores: Vec<f64>,
    /// What stands for a run of characters that are no token, where bytes are none either.
    pub unknown: Option<u32>,
    /// Sums are rounded to single precision and tokens that are never cut are found by the
    /// search, as in SentencePiece itself. Hugging Face's library and llama.cpp do neither.
    pub single: bool,
    /// What is done to the text first.
    pub text: Text,
}

/// What is done to a text before the search.
#[derive(Debug, Clone, PartialEq)]
pub enum Text {
    /// SentencePiece's own way.
    Spelled(Spelling),
    /// The steps of Hugging Face's library.
    Cut(Pre),
}

impl Unigram {
    /// The spelling that says the same, as far as one can; and whether it does.
    ///
    /// # Errors
    /// None that the tests would let pass: the patterns are ours.
    pub fn spelling(&self) -> Result<(Spelling, bool)> {
        match &self.text {
            Text::Spelled(spelling) => Ok((spelling.clone(), true)),
            Text::Cut(pre) => spelling(pre),
        }
    }
}

/// Whether no piece has a space within: then words can be searched one by one.
pub fn keeps_words_apart(tokens: &[Token]) -> bool {
    let crosses = |token: &Token| token.text.chars().skip(1).any(|letter| letter == SPACE);
    let is_piece = |token: &&Token| matches!(token.class, Class::Normal | Class::UserDefined);
    !tokens.iter().filter(is_piece).any(crosses)
}

fn spelling(pre: &Pre) -> Result<(Spelling, bool)> {
    let (runs, words) = (super::Pattern::new(" {2,}")?, words()?);
    let (mut out, mut whole) = (Spelling::default(), true);
    for (at, normal) in pre.normal.iter().enumerate() {
        match normal {
            Normal::Charsmap(rules) if at == 0 => out.charsmap = Some(rules.clone()),
            Normal::Replace { pattern, content } if *pattern == runs && is_space(content) => {
                out.squeeze = true;
            }
            Normal::Strip { .. } => {}
            Normal::Replace { pattern, content } if pattern.text() == " " && is_space(content) => {}
            Normal::Prepend(start) if is_space(start) => out.space = Some(Space::default()),
            _ => whole = false,
        }
    }
    for step in &pre.steps {
        match step {
            Step::Split(split) if *split == words => out.squeeze = true,
            Step::Metaspace(Metaspace { prepend: Prepend::Always, .. }) => {
                out.space = Some(Space { only_first: false, only_missing: true });
            }
            Step::Metaspace(Metaspace { prepend: Prepend::First, .. }) => {
                out.space = Some(Space { only_first: true, only_missing: true });
            }
            Step::Metaspace(_) => {}
            _ => whole = false,
        }
    }
    Ok((out, whole))
}

fn is_space(text: &str) -> bool {
    text == " " || text.chars().eq([SPACE])
}

/// Cutting at white space, which is left out.
///
/// # Errors
/// None that the tests would let pass: the pattern is ours.
pub fn words() -> Result<Split> {
    Ok(Split { pattern: super::Pattern::new(r"\s+")?, keep: Keep::Removed, invert: false })
}
