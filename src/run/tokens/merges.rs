//! Byte-pair merges: which neighbours are joined, the pair of lowest rank first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::ir::tokenizer::{Bpe, Class, Token, by_text, merge};
use crate::ir::{Error, Result};

/// No symbol, or no token.
const NONE: u32 = u32::MAX;

/// Letters below this have their tokens in an array. The alphabet of bytes ends at U+0143.
const LOW: usize = 0x200;

/// The merges of a vocabulary, and the tokens that words begin as.
pub(super) struct Merges {
    /// Where the merges of each left side begin.
    starts: Vec<u32>,
    /// By left side, then by right side.
    rows: Vec<Row>,
    low: [u32; LOW],
    high: HashMap<char, u32>,
    /// Words that are tokens whatever the merges say.
    whole: HashMap<Box<str>, u32>,
    unknown: Option<u32>,
    fuse_unknown: bool,
}

#[derive(Clone, Copy)]
struct Row {
    right: u32,
    rank: u32,
    joined: u32,
}

/// A part of a word, in a list from left to right.
struct Symbol {
    /// Its token; [`NONE`] once it was joined to its left neighbour.
    id: u32,
    left: u32,
    right: u32,
}

impl Merges {
    pub(super) fn new(tokens: &[Token], bpe: &Bpe) -> Result<Self> {
        let ids = by_text(tokens)?;
        let mut rows = Vec::with_capacity(bpe.merges.len());
        for (rank, &(left, right)) in bpe.merges.iter().enumerate() {
            let text = |id: u32| tokens.get(id as usize).map(|token| token.text.as_str());
            let (Some(a), Some(b)) = (text(left), text(right)) else {
                return Err(Error::malformed(format!("merge {rank} names a token that is not")));
            };
            merge(&ids, a, b)?;
            let joined = ids[[a, b].concat().as_str()];
            rows.push((left, Row { right, rank: rank as u32, joined }));
        }
        rows.sort_unstable_by_key(|(left, row)| (*left, row.right, row.rank));
        let count = |id: u32| rows.partition_point(|(left, _)| *left < id) as u32;
        let starts = (0..=tokens.len() as u32).map(count).collect();
        let (low, high) = letters(tokens);
        let is_text =
            |id: u32| matches!(tokens[id as usize].class, Class::Normal | Class::UserDefined);
        let words = ids.iter().filter(|(_, id)| bpe.ignore_merges && is_text(**id));
        let whole = words.map(|(text, id)| ((*text).into(), *id));
        Ok(Self {
            starts,
            low,
            high,
            whole: whole.collect(),
            unknown: bpe.unknown,
            fuse_unknown: bpe.fuse_unknown,
            rows: rows.into_iter().map(|(_, row)| row).collect(),
        })
    }

    /// Appends the tokens of a word.
    pub(super) fn join(&self, word: &str, out: &mut Vec<u32>) {
        if let Some(id) = self.whole.get(word) {
            return out.push(*id);
        }
        let mut symbols = self.symbols(word);
        self.merge(&mut symbols);
        out.extend(symbols.iter().map(|symbol| symbol.id).filter(|id| *id != NONE));
    }

    /// A word's letters, each a symbol. Letters that are no token become the unknown token, or
    /// nothing where there is none.
    fn symbols(&self, word: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(word.len());
        let mut was_unknown = false;
        for letter in word.chars() {
            let known = self.letter(letter);
            let again = known.is_none() && was_unknown && self.fuse_unknown;
            was_unknown = known.is_none();
            let Some(id) = known.or(self.unknown) else { continue };
            if again {
                continue;
            }
            let at = symbols.len() as u32;
            symbols.push(Symbol { id, left: at.wrapping_sub(1), right: at + 1 });
        }
        if let Some(last) = symbols.last_mut() {
            last.right = NONE;
        }
        symbols
    }

    fn letter(&self, letter: char) -> Option<u32> {
        match self.low.get(letter as usize) {
            Some(&id) => (id != NONE).then_some(id),
            None => self.high.get(&letter).copied(),
        }
    }

    fn find(&self, left: u32, right: u32) -> Option<Row> {
        let start = *self.starts.get(left as usize)? as usize;
        let end = *self.starts.get(left as usize + 1)? as usize;
        let rows = &self.rows[start..end];
        let at = rows.binary_search_by_key(&right, |row| row.right).ok()?;
        Some(rows[at])
    }

    fn merge(&self, symbols: &mut [Symbol]) {
        let pair = |symbols: &[Symbol], at: u32| {
            let left = &symbols[at as usize];
            let right = symbols.get(left.right as usize)?;
            self.find(left.id, right.id).map(|row| (row.rank, at, row.joined))
        };
        let all = 0..symbols.len() as u32;
        let mut queue: BinaryHeap<_> =
            all.filter_map(|at| pair(symbols, at)).map(Reverse).collect();
        while let Some(Reverse(wanted)) = queue.pop() {
            let (_, at, joined) = wanted;
            // Either side may have been joined to another since.
            if symbols[at as usize].id == NONE || pair(symbols, at) != Some(wanted) {
                continue;
            }
            let gone = symbols[at as usize].right as usize;
            let next = symbols[gone].right;
            symbols[gone].id = NONE;
            symbols[at as usize].id = joined;
            symbols[at as usize].right = next;
            if let Some(next) = symbols.get_mut(next as usize) {
                next.left = at;
            }
            let before = symbols[at as usize].left;
            if before != NONE {
                queue.extend(pair(symbols, before).map(Reverse));
            }
            queue.extend(pair(symbols, at).map(Reverse));
        }
    }
}

/// The tokens of single letters: of the low ones an array, of the others a map. An added token may
/// be one of them, `Å` say, which is also the letter of a byte.
fn letters(tokens: &[Token]) -> ([u32; LOW], HashMap<char, u32>) {
    let mut low = [NONE; LOW];
    let mut high = HashMap::new();
    for (id, token) in tokens.iter().enumerate() {
        let mut chars = token.text.chars();
        let (Some(letter), None) = (chars.next(), chars.next()) else { continue };
        match low.get_mut(letter as usize) {
            Some(place) => *place = id as u32,
            None => drop(high.insert(letter, id as u32)),
        }
    }
    (low, high)
}
