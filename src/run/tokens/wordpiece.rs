//! WordPiece: the longest piece that a word begins with, and so on with what is left of it.

use super::trie::Trie;
use crate::ir::tokenizer::{Class, Tokenizer, WordPiece};

/// A model made ready.
pub(super) struct Words {
    model: WordPiece,
    /// Pieces that begin a word, and those that go on with one, without their prefix.
    tries: [Trie; 2],
}

impl Words {
    pub(super) fn new(tokenizer: &Tokenizer, model: &WordPiece) -> Self {
        let tokens = (0u32..).zip(&tokenizer.tokens);
        let pieces = tokens.filter(|(_, token)| token.class != Class::Unused);
        let pieces = pieces.map(|(id, token)| (token.text.as_str(), id));
        let rest = pieces.clone().filter_map(|(t, id)| Some((t.strip_prefix(&*model.prefix)?, id)));
        let tries = [Trie::new(pieces), Trie::new(rest)];
        Self { model: model.clone(), tries }
    }

    pub(super) fn model(&self) -> &WordPiece {
        &self.model
    }

    /// Appends the tokens of a word.
    pub(super) fn spell(&self, word: &str, out: &mut Vec<u32>) {
        let before = out.len();
        let mut rest = word;
        if word.chars().nth(self.model.letters_max).is_none() {
            while let Some((len, id)) = self.tries[usize::from(out.len() > before)].longest(rest) {
                out.push(id);
                rest = &rest[len..];
            }
        }
        if !rest.is_empty() {
            out.truncate(before);
            out.extend(self.model.unknown);
        }
    }
}
