//! The search of a unigram model: the best way to each place of a text, from the best ways to the
//! places before it.
//!
//! As `unigram::Model::EncodeOptimized` of SentencePiece 0.2 and `Unigram::encode_optimized` of
//! Hugging Face's library 0.23 have it, with the rounding of each: pieces of equal sums are common,
//! and which of them is taken depends on it.

use std::collections::HashMap;

use super::trie::Trie;
use crate::ir::tokenizer::unigram::{UNKNOWN_PENALTY, keeps_words_apart};
use crate::ir::tokenizer::{Class, Text, Token, Tokenizer, Unigram, pre, spm::SPACE};
use crate::ir::{Error, Result};

/// Bytes of a piece: a search takes as many steps for each byte of a text.
const PIECE_MAX: usize = 4096;

/// No place.
const NONE: u32 = u32::MAX;

/// A model made ready.
pub(super) struct Lattice {
    text: Text,
    trie: Trie,
    /// Tokens that are never cut, where the rules of normalization must leave them alone.
    kept: Trie,
    scores: Vec<f64>,
    unknown: Option<u32>,
    unknown_score: f64,
    bytes: HashMap<u8, u32>,
    single: bool,
    /// Words are searched one by one, where the text is not cut into them before.
    by_word: bool,
}

/// The best way to a place of the text.
#[derive(Clone, Copy)]
struct Best {
    sum: f64,
    /// Where its last piece begins.
    start: u32,
    id: u32,
}

impl Lattice {
    pub(super) fn new(tokenizer: &Tokenizer, unigram: &Unigram) -> Result<Self> {
        let tokens = &tokenizer.tokens;
        let spelled = matches!(unigram.text, Text::Spelled(_));
        let is_piece = |class| !spelled || matches!(class, Class::Normal | Class::UserDefined);
        let scored = || (0u32..).zip(tokens).zip(&unigram.scores);
        if let Some(((id, _), _)) = scored().find(|((_, token), _)| token.text.len() > PIECE_MAX) {
            let found = format!("piece {id} has more than {PIECE_MAX} bytes");
            return Err(Error::limit(found));
        }
        let pieces = scored().filter(|((_, token), _)| is_piece(token.class));
        let counts = |class| !spelled || class == Class::Normal;
        let range = scored().filter(|((_, token), _)| counts(token.class));
        let low = range.map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
        let own = |class| unigram.single && class == Class::UserDefined;
        let score = |((_, token), score): ((u32, &Token), &f64)| {
            if own(token.class) { bonus(token.text.len()) } else { *score }
        };
        let kept = scored().filter(|((_, token), _)| own(token.class));
        let byte =
            |token: &Token| pre::hex_byte(&token.text).filter(|_| token.class == Class::Byte);
        Ok(Self {
            text: unigram.text.clone(),
            trie: Trie::new(pieces.map(|((id, token), _)| (token.text.as_str(), id))),
            kept: Trie::new(kept.map(|((id, token), _)| (token.text.as_str(), id))),
            scores: scored().map(score).collect(),
            unknown: unigram.unknown,
            unknown_score: match low - UNKNOWN_PENALTY {
                score if unigram.single => f64::from(score as f32),
                score => score,
            },
            bytes: (0..).zip(tokens).filter_map(|(id, t)| Some((byte(t)?, id))).collect(),
            single: unigram.single,
            by_word: !unigram.single && keeps_words_apart(tokens),
        })
    }

    pub(super) fn text(&self) -> &Text {
        &self.text
    }

    /// Whether tokens that are never cut are found by the search.
    pub(super) fn finds_added(&self) -> bool {
        self.single
    }

    /// The length of what a text begins with that no rule may replace.
    pub(super) fn kept(&self, text: &str) -> usize {
        self.kept.longest(text).map_or(0, |(len, _)| len)
    }

    /// Appends the tokens of a normalized text, of less than 4 GiB.
    ///
    /// # Errors
    /// Malformed for a character without a piece, if the model has no unknown token.
    pub(super) fn join(&self, text: &str, is_first: bool, out: &mut Vec<u32>) -> Result<()> {
        match &self.text {
            Text::Cut(pre) => pre.each(text, is_first, |word| self.search(word, out)),
            Text::Spelled(_) if self.by_word => {
                let ends = text.match_indices(SPACE).map(|(at, _)| at).filter(|at| *at > 0);
                let mut start = 0;
                for end in ends.chain([text.len()]) {
                    self.search(&text[start..end], out)?;
                    start = end;
                }
                Ok(())
            }
            Text::Spelled(_) => self.search(text, out),
        }
    }

    fn search(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let mut best = vec![Best { sum: 0.0, start: NONE, id: NONE }; text.len() + 1];
        for (at, letter) in text.char_indices() {
            let (before, mut is_piece) = (best[at].sum, false);
            self.trie.each(&text[at..], |len, id| {
                let sum = self.scores[id as usize] + before;
                self.offer(&mut best[at + len], Best { sum, start: at as u32, id });
                is_piece |= len == letter.len_utf8();
            });
            if !is_piece {
                let missing = || format!("'{letter}' is no piece, and there is no unknown token");
                let id = self.unknown.ok_or_else(|| Error::malformed(missing()))?;
                let end = at + letter.len_utf8();
                let sum = self.unknown_score + before;
                self.offer(&mut best[end], Best { sum, start: at as u32, id });
            }
        }
        self.follow(text, &best, out);
        Ok(())
    }

    /// Takes a way that is better than the one known.
    fn offer(&self, known: &mut Best, offered: Best) {
        let sum = if self.single { f64::from(offered.sum as f32) } else { offered.sum };
        if known.start == NONE || sum > known.sum {
            *known = Best { sum, ..offered };
        }
    }

    /// Appends the pieces of the best way. A run of unknown ones is its bytes, or one token.
    fn follow(&self, text: &str, best: &[Best], out: &mut Vec<u32>) {
        let mut pieces = Vec::new();
        let mut end = text.len();
        while end > 0 {
            let Best { start, id, .. } = best[end];
            pieces.push((start as usize..end, id));
            end = start as usize;
        }
        let mut was_unknown = false;
        for (range, id) in pieces.into_iter().rev() {
            let is_unknown = Some(id) == self.unknown;
            if !is_unknown {
                out.push(id);
            } else if let Some(bytes) = self.bytes(&text[range]) {
                out.extend(bytes);
            } else if !was_unknown {
                out.push(id);
            }
            was_unknown = is_unknown;
        }
    }

    /// The tokens of the bytes of a text, if each has one.
    fn bytes(&self, text: &str) -> Option<Vec<u32>> {
        text.bytes().map(|byte| self.bytes.get(&byte).copied()).collect()
    }
}

/// The score of a token that is never cut: above that of any word, higher for longer ones. Measured
/// on sentencepiece 0.2.3; before, it was the highest score times the length.
fn bonus(len: usize) -> f64 {
    f64::from((0.1 * len.saturating_sub(1) as f64) as f32)
}
