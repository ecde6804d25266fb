//! SentencePiece's merges: neighbours that together are a piece are joined, the piece of highest
//! score first, of equal ones the leftmost; what is no piece then is spelled in bytes.
//!
//! As `bpe::Model::Encode` of SentencePiece and `llm_tokenizer_spm` of llama.cpp have it.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::trie::Trie;
use crate::ir::tokenizer::{Class, Spm, Token, Tokenizer, pre, spm};
use crate::ir::{Error, Result};

/// No symbol.
const NONE: u32 = u32::MAX;

/// The pieces of a vocabulary.
pub(super) struct Pieces {
    spm: Spm,
    ids: HashMap<Box<str>, u32>,
    /// Bytes of the longest piece.
    longest: usize,
    bytes: HashMap<u8, u32>,
    /// Tokens that are never cut, where the rules of normalization must leave them alone.
    kept: Trie,
    /// By id: pieces that may be made on the way to others, but are none in the end.
    unused: Vec<bool>,
}

/// A part of a text, in a list from left to right.
#[derive(Clone, Copy)]
struct Symbol {
    start: u32,
    /// Empty once it was joined to its left neighbour.
    end: u32,
    left: u32,
    right: u32,
}

/// Two neighbours that make a piece.
struct Pair {
    score: f32,
    left: u32,
    right: u32,
    len: u32,
}

impl Ord for Pair {
    /// The greatest is joined first.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl Pieces {
    pub(super) fn new(tokenizer: &Tokenizer, spm: &Spm) -> Result<Self> {
        if spm.scores.len() != tokenizer.tokens.len() {
            let (scores, tokens) = (spm.scores.len(), tokenizer.tokens.len());
            return Err(Error::malformed(format!("{scores} scores for {tokens} tokens")));
        }
        let found = spm::pieces(&tokenizer.tokens);
        let bytes = (0..).zip(&tokenizer.tokens).filter_map(|(id, token)| {
            let byte = pre::hex_byte(&token.text).filter(|_| token.class == Class::Byte)?;
            Some((byte, id))
        });
        let is_unused = |token: &Token| token.class == Class::Unused;
        let kept = (0..).zip(&tokenizer.tokens).filter(|(_, t)| t.class == Class::UserDefined);
        Ok(Self {
            spm: spm.clone(),
            longest: found.keys().map(|text| text.len()).max().unwrap_or(0),
            ids: found.into_iter().map(|(text, id)| (text.into(), id)).collect(),
            bytes: bytes.collect(),
            kept: Trie::new(kept.map(|(id, token)| (token.text.as_str(), id))),
            unused: tokenizer.tokens.iter().map(is_unused).collect(),
        })
    }

    /// A text as the pieces spell it.
    pub(super) fn spell(&self, text: &str, is_first: bool) -> String {
        self.spm
            .spelling
            .spell(text, is_first, |text| self.kept.longest(text).map_or(0, |(len, _)| len))
    }

    /// Appends the tokens of a normalized text, of less than 4 GiB.
    pub(super) fn join(&self, text: &str, out: &mut Vec<u32>) {
        let mut symbols = symbols(text);
        let halves = self.merge(text, &mut symbols);
        let mut was_unknown = false;
        let mut at = if symbols.is_empty() { NONE } else { 0 };
        while let Some(symbol) = symbols.get(at as usize) {
            let part = &text[symbol.start as usize..symbol.end as usize];
            self.part(part, &halves, &mut was_unknown, out);
            at = symbol.right;
        }
    }

    fn score(&self, text: &str) -> Option<f32> {
        let id = (text.len() <= self.longest).then(|| self.ids.get(text))??;
        self.spm.scores.get(*id as usize).copied()
    }

    /// Joins what can be joined. Returns where unused pieces are cut again: text → left half.
    fn merge<'t>(&self, text: &'t str, symbols: &mut [Symbol]) -> HashMap<&'t str, usize> {
        let mut halves = HashMap::new();
        let mut queue = BinaryHeap::new();
        let mut add = |queue: &mut BinaryHeap<Pair>, symbols: &[Symbol], left: u32| {
            let Some(a) = symbols.get(left as usize) else { return };
            let Some(b) = symbols.get(a.right as usize) else { return };
            let joined = &text[a.start as usize..b.end as usize];
            let Some(score) = self.score(joined) else { return };
            if self.unused[self.ids[joined] as usize] {
                halves.insert(joined, (a.end - a.start) as usize);
            }
            queue.push(Pair { score, left, right: a.right, len: joined.len() as u32 });
        };
        (0..symbols.len() as u32).for_each(|at| add(&mut queue, symbols, at));
        while let Some(pair) = queue.pop() {
            let (a, b) = (symbols[pair.left as usize], symbols[pair.right as usize]);
            // Either side may have been joined to another since.
            let is_old = a.start == a.end || b.start == b.end || b.end - a.start != pair.len;
            if is_old {
                continue;
            }
            symbols[pair.left as usize] = Symbol { end: b.end, right: b.right, ..a };
            symbols[pair.right as usize].end = b.start;
            if let Some(next) = symbols.get_mut(b.right as usize) {
                next.left = pair.left;
            }
            add(&mut queue, symbols, a.left);
            add(&mut queue, symbols, pair.left);
        }
        halves
    }

    /// The token of a part; of an unused one, those of its halves; of none, bytes.
    fn part(
        &self,
        part: &str,
        halves: &HashMap<&str, usize>,
        was_unknown: &mut bool,
        out: &mut Vec<u32>,
    ) {
        let mut left = vec![part];
        while let Some(part) = left.pop() {
            let id = self.ids.get(part).copied();
            match (id, halves.get(part)) {
                (Some(id), Some(at)) if self.unused[id as usize] => {
                    let (a, b) = part.split_at(*at);
                    left.extend([b, a]);
                }
                (Some(id), _) => {
                    *was_unknown = false;
                    out.push(id);
                }
                (None, _) => self.bytes(part, was_unknown, out),
            }
        }
    }

    /// The bytes of a character; where there are none, one unknown token for all of a run.
    fn bytes(&self, part: &str, was_unknown: &mut bool, out: &mut Vec<u32>) {
        for byte in part.bytes() {
            match (self.bytes.get(&byte), self.spm.unknown) {
                (Some(id), _) => out.push(*id),
                (None, Some(unknown)) if !*was_unknown => {
                    *was_unknown = true;
                    out.push(unknown);
                    continue;
                }
                (None, _) => continue,
            }
            *was_unknown = false;
        }
    }
}

/// A text's characters, each a symbol.
fn symbols(text: &str) -> Vec<Symbol> {
    let mut symbols = Vec::with_capacity(text.len());
    for (start, letter) in text.char_indices() {
        let at = symbols.len() as u32;
        let (start, end) = (start as u32, (start + letter.len_utf8()) as u32);
        symbols.push(Symbol { start, end, left: at.wrapping_sub(1), right: at + 1 });
    }
    if let Some(last) = symbols.last_mut() {
        last.right = NONE;
    }
    symbols
}
