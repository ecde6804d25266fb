//! Attention: each query's weighted mean of the values that it may see.
//!
//! A position sees itself and those before it, and with a sliding window w only those fewer than
//! w before it: what transformers computes. Several query heads share a key and value head:
//! <https://arxiv.org/abs/2305.13245>.

use rayon::prelude::*;

use super::batch::{Batch, zeros};
use super::cache::Head;
use super::kernels::{self, CHUNK, LANES, Matrix, Visible};
use crate::ir::Result;

/// Multiplications below which a task costs more to hand out than to do.
const TASK_PRODUCTS: usize = 1 << 16;

/// The sizes of a model's attention.
pub(super) struct Attention {
    /// Query heads.
    pub(super) heads: usize,
    /// Dimensions of a query and a key.
    pub(super) key_size: usize,
    /// Dimensions of a value.
    pub(super) value_size: usize,
    /// How many positions a query sees, itself included.
    pub(super) window: usize,
}

impl Attention {
    /// The attention of queries that stand at `start` and after, over all that `cache` holds,
    /// their own positions included.
    ///
    /// # Errors
    /// Limit if the memory is not to be had.
    pub(super) fn apply(&self, queries: &Batch, start: usize, cache: &[Head]) -> Result<Batch> {
        let mut out = Batch::zeros(self.heads * self.value_size, queries.tokens)?;
        match queries.tokens {
            1 => self.apply_to_one(queries, start, cache, &mut out)?,
            _ => self.apply_to_panels(queries, start, cache, &mut out)?,
        }
        Ok(out)
    }

    /// Query heads to each key and value head.
    fn group(&self, cache: &[Head]) -> usize {
        self.heads / cache.len().max(1)
    }

    fn scale(&self) -> f32 {
        (1.0 / (self.key_size as f64).sqrt()) as f32
    }

    fn apply_to_one(
        &self,
        queries: &Batch,
        start: usize,
        cache: &[Head],
        out: &mut Batch,
    ) -> Result<()> {
        let (first, group) = ((start + 1).saturating_sub(self.window), self.group(cache));
        let products = (start + 1 - first) * (self.key_size + self.value_size);
        let heads =
            queries.data.par_chunks(self.key_size).zip(out.data.par_chunks_mut(self.value_size));
        let heads = heads.enumerate().with_min_len(TASK_PRODUCTS / products.max(1) + 1);
        heads.try_for_each(|(i, (query, out))| {
            let head = &cache[i / group];
            let keys = head.keys[first * self.key_size..].chunks_exact(self.key_size);
            let values = &head.values[first * self.value_size..];
            let mut scores = zeros(start + 1 - first)?;
            for (score, key) in scores.iter_mut().zip(keys) {
                *score = kernels::dot(query, key);
            }
            let sum = kernels::softmax(&mut scores, self.scale());
            let values = values.chunks(CHUNK * self.value_size);
            for (scores, values) in scores.chunks(CHUNK).zip(values) {
                kernels::add_rows(scores, values, out);
            }
            out.iter_mut().for_each(|x| *x /= sum);
            Ok(())
        })
    }

    /// A task for each panel of queries and each key and value head.
    fn apply_to_panels(
        &self,
        queries: &Batch,
        start: usize,
        cache: &[Head],
        out: &mut Batch,
    ) -> Result<()> {
        let group = self.group(cache);
        let queries_of_task = queries.data.par_chunks(group * self.key_size * LANES);
        let out_of_task = out.data.par_chunks_mut(group * self.value_size * LANES);
        queries_of_task.zip(out_of_task).enumerate().try_for_each(|(i, (queries_of_task, out))| {
            let first_token = i / cache.len() * LANES;
            let tokens = LANES.min(queries.tokens - first_token);
            let x = queries_of_task.as_chunks().0;
            self.panel(
                x,
                start + first_token,
                tokens,
                &cache[i % cache.len()],
                out.as_chunks_mut().0,
            )
        })
    }

    /// The attention of a group of query heads, for the `tokens` positions from `start` on.
    fn panel(
        &self,
        queries: &[[f32; LANES]],
        start: usize,
        tokens: usize,
        head: &Head,
        out: &mut [[f32; LANES]],
    ) -> Result<()> {
        // From a multiple of the chunk, so that a sum does not depend on where a panel begins.
        let first = (start + 1).saturating_sub(self.window) / CHUNK * CHUNK;
        let positions = first..start + tokens;
        let rows = |size: usize| positions.start * size..positions.end * size;
        let (keys, values) = (&head.keys[rows(self.key_size)], &head.values[rows(self.value_size)]);
        let heads = queries.len() / self.key_size;
        let mut scores = zeros(heads * positions.len() * LANES)?;
        let scores = scores.as_chunks_mut::<LANES>().0;
        kernels::multiply(queries, Matrix::by_rows(keys, self.key_size), scores);
        let visible = self.visible(start, tokens, first);
        let heads = scores.chunks_exact_mut(positions.len());
        let sums: Vec<_> =
            heads.map(|scores| kernels::softmax_lanes(scores, self.scale(), &visible)).collect();
        kernels::multiply(scores, Matrix::by_columns(values, self.value_size), out);
        for (out, sums) in out.chunks_exact_mut(self.value_size).zip(&sums) {
            for row in out {
                row.iter_mut().zip(sums).for_each(|(x, sum)| *x /= sum);
            }
        }
        Ok(())
    }

    /// Rows count from position `first` on. A lane without a token sees what the last one sees.
    fn visible(&self, start: usize, tokens: usize, first: usize) -> Visible {
        let position = |lane: usize| start + lane.min(tokens - 1);
        let from = |lane| (position(lane) + 1).saturating_sub(self.window).max(first) - first;
        Visible {
            first: std::array::from_fn(|lane| from(lane) as u32),
            end: std::array::from_fn(|lane| (position(lane) + 1 - first) as u32),
        }
    }
}
