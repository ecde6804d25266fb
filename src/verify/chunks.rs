//! Long texts, cut and scored as llama-perplexity does it.
//!
//! ```text
//!  ids      │ context ids │ context ids │ … │ the rest is left out
//!  chunk      BOS ▁▁▁▁▁▁ ██████████ ▁          each from an empty cache; BOS in place of its first
//!             first half   scored   last       id where the tokenizer puts one before a text
//! ```
//!
//! Only the second half is scored, where the model has seen enough; the last position has no
//! next id. Source: llama.cpp, tools/perplexity/perplexity.cpp.

use std::ops::Range;

use super::tokens;
use crate::ir::tokenizer::{Role, Tokenizer};
use crate::ir::{Error, Hyper, Result};

/// Ids that are run from an empty cache, and the positions that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The ids.
    pub ids: Vec<u32>,
    /// The positions whose predictions are scored.
    pub scored: Range<usize>,
}

impl Chunk {
    /// The id that follows a position.
    pub(super) fn next(&self, position: usize) -> Option<u32> {
        self.ids.get(position + 1).copied()
    }
}

/// The id that stands before every text, if the tokenizer puts one there.
pub fn bos(tokenizer: &Tokenizer) -> Option<u32> {
    let bos = tokenizer.special.get(&Role::Bos).copied();
    bos.filter(|bos| tokenizer.prefix.first() == Some(bos))
}

/// The chunks of a text of many ids, `context` ids each; a shorter text is one chunk.
///
/// # Errors
/// Usage for a text of fewer than two ids, which predicts nothing, or a context as small.
pub fn cut(ids: &[u32], context: usize, bos: Option<u32>) -> Result<Vec<Chunk>> {
    if context < 2 {
        return Err(Error::usage(format!("--ctx {context}: expected 2 or more")));
    }
    if ids.len() < 2 {
        let text = format!("the text has {} tokens; 2 are the least to predict one", ids.len());
        return Err(Error::usage(text));
    }
    let size = context.min(ids.len());
    let chunk = |ids: &[u32]| {
        let mut ids = ids.to_vec();
        if let (Some(first), Some(bos)) = (ids.first_mut(), bos) {
            *first = bos;
        }
        let scored = (size / 2).min(size - 2)..size - 1;
        Chunk { ids, scored }
    };
    Ok(ids.chunks_exact(size).map(chunk).collect())
}

/// Ids that the user gives, or that are drawn: every position counts.
pub(super) fn whole(hyper: &Hyper, ids: &[u32]) -> Vec<Chunk> {
    let chunk = |ids: &[u32]| Chunk { scored: 0..ids.len(), ids: ids.to_vec() };
    tokens::pieces(hyper, ids).map(chunk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_half_of_each_whole_chunk_is_scored() {
        let ids: Vec<u32> = (10..21).collect();
        let chunks = cut(&ids, 4, None).unwrap();
        assert_eq!(chunks.len(), 2);
        assert_eq!(chunks[1], Chunk { ids: vec![14, 15, 16, 17], scored: 2..3 });
        assert_eq!((chunks[1].next(2), chunks[1].next(3)), (Some(17), None));
    }

    #[test]
    fn bos_takes_the_place_of_the_first_id() {
        let chunks = cut(&[1, 2, 3, 4], 2, Some(7)).unwrap();
        let ids: Vec<&[u32]> = chunks.iter().map(|chunk| &chunk.ids[..]).collect();
        assert_eq!(ids, [[7, 2], [7, 4]]);
        assert_eq!(chunks[0].scored, 0..1);
    }

    #[test]
    fn a_short_text_is_one_chunk() {
        let chunks = cut(&[1, 2, 3, 4, 5], 512, None).unwrap();
        assert_eq!(chunks, [Chunk { ids: vec![1, 2, 3, 4, 5], scored: 2..4 }]);
        assert!(cut(&[1], 512, None).is_err());
        assert!(cut(&[1, 2], 1, None).is_err());
    }
}
