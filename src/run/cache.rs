//! The keys and values of the tokens seen so far.

use rayon::prelude::*;

use super::batch::{Batch, grow};
use super::state::State;
use crate::ir::{Error, Result};

/// The keys and values of the tokens seen so far: a conversation. It grows as tokens come, up to
/// its capacity; a sliding window masks old positions, but does not free them.
pub struct Cache {
    pub(super) layers: Vec<Kept>,
    len: usize,
    capacity: usize,
}

/// What one layer remembers: keys and values, or a state, and that of its feed-forward network if
/// it looks back.
#[derive(Clone, Default)]
pub(super) struct Kept {
    pub(super) heads: Vec<Head>,
    pub(super) state: State,
    pub(super) fed: State,
}

/// What one key and value head remembers in one layer: `[position][dimension]`.
#[derive(Clone, Default)]
pub(super) struct Head {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

impl Cache {
    pub(super) fn new(layers: usize, heads: usize, capacity: usize) -> Self {
        let kept = Kept { heads: vec![Head::default(); heads], ..Kept::default() };
        Self { layers: vec![kept; layers], len: 0, capacity }
    }

    /// The number of tokens seen so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token was seen yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of tokens for which there is room.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        for kept in &mut self.layers {
            kept.heads.iter_mut().for_each(|head| *head = Head::default());
            (kept.state, kept.fed) = Default::default();
        }
        self.len = 0;
    }

    /// Checks that `tokens` more fit.
    ///
    /// # Errors
    /// Limit if they do not.
    pub(super) fn check_room(&self, tokens: usize) -> Result<()> {
        if tokens <= self.capacity - self.len {
            return Ok(());
        }
        let (len, capacity) = (self.len, self.capacity);
        Err(Error::limit(format!("{len} tokens and {tokens} more exceed the context, {capacity}")))
    }

    /// Counts tokens whose keys and values every layer has.
    pub(super) fn advance(&mut self, tokens: usize) {
        for kept in &mut self.layers {
            kept.state.advance();
            kept.fed.advance();
        }
        self.len += tokens;
    }
}

/// Appends the keys and values of a batch to what a layer's heads remember. What lies beyond
/// `len` positions is of a batch that failed, and is replaced.
///
/// # Errors
/// Limit if the memory is not to be had.
pub(super) fn append(heads: &mut [Head], len: usize, keys: &Batch, values: &Batch) -> Result<()> {
    let count = heads.len().max(1);
    let (key_size, value_size) = (keys.features / count, values.features / count);
    heads.par_iter_mut().enumerate().try_for_each(|(i, head)| {
        extend(&mut head.keys, len, keys, i * key_size..(i + 1) * key_size)?;
        extend(&mut head.values, len, values, i * value_size..(i + 1) * value_size)
    })
}

fn extend(
    rows: &mut Vec<f32>,
    len: usize,
    batch: &Batch,
    features: std::ops::Range<usize>,
) -> Result<()> {
    let (size, kept) = (features.len(), len * features.len());
    rows.truncate(kept);
    grow(rows, batch.tokens * size)?;
    rows.resize(kept + batch.tokens * size, 0.0);
    for (token, row) in rows[kept..].chunks_mut(size.max(1)).enumerate() {
        batch.get(token, features.start, row);
    }
    Ok(())
}
