//! Attention: each query's weighted mean of the values that it may see.
//!
//! A position of a decoder sees itself and those before it, and with a sliding window w only those
//! fewer than w before it: what transformers computes. A position of an encoder sees all, or with
//! a window those no farther than it says to either side. Several query heads share a key and value head:
//! <https://arxiv.org/abs/2305.13245>.

use std::ops::Range;

use rayon::prelude::*;

use super::batch::{Batch, zeros};
use super::cache::Head;
use super::kernels::{self, CHUNK, LANES, Matrix, Visible};
use super::relative::RelativeBias;
use crate::arch::Alibi;
use crate::ir::Result;

/// Multiplications below which a task costs more to hand out than to do.
const TASK_PRODUCTS: usize = 1 << 16;

/// Which positions a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// Itself and those before it, so many in all.
    Back(usize),
    /// Those no farther than this to either side.
    Around(usize),
}

impl Sight {
    /// What a query at `position` sees of `len` keys.
    fn of(self, position: usize, len: usize) -> Range<usize> {
        match self {
            Self::Back(count) => (position + 1).saturating_sub(count)..position + 1,
            Self::Around(reach) => {
                let end = position.saturating_add(reach).saturating_add(1);
                position.saturating_sub(reach).min(len)..end.min(len)
            }
        }
    }
}

/// A layer's attention.
#[derive(Clone)]
pub(super) struct Attention {
    /// Query heads.
    pub(super) heads: usize,
    /// Dimensions of a query and a key.
    pub(super) key_size: usize,
    /// Dimensions of a value.
    pub(super) value_size: usize,
    /// Which positions a query sees.
    pub(super) sight: Sight,
    /// The multiplier of scores.
    pub(super) scale: f32,
    /// Scores s become cap · tanh(s / cap): <https://arxiv.org/abs/2408.00118>.
    pub(super) cap: Option<f32>,
    /// What a head's scores lose with each position of distance, if it is ALiBi's:
    /// <https://arxiv.org/abs/2108.12409>.
    pub(super) slopes: Vec<f32>,
    /// How they are added.
    pub(super) alibi: Alibi,
    /// What is added to scores by distance, if the model learned it.
    pub(super) relative: Option<RelativeBias>,
    /// A score for each head that takes from the weights of all positions, if there are any.
    pub(super) sinks: Vec<f32>,
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

    /// Whether scores are more than products times the scale.
    fn is_plain(&self) -> bool {
        self.cap.is_none() && self.slopes.is_empty() && self.relative.is_none()
    }

    /// The multiplier that is left for softmax, and the sink of a head in its terms.
    fn rest(&self, head: usize) -> (f32, f32) {
        let scale = if self.is_plain() { self.scale } else { 1.0 };
        (scale, self.sinks.get(head).map_or(f32::NEG_INFINITY, |sink| sink / scale))
    }

    /// Values that a head remembers of each position.
    pub(super) fn cached(&self) -> usize {
        self.key_size + self.value_size
    }

    /// The number of positions that a head remembers.
    fn len(&self, head: &Head) -> usize {
        head.keys.len() / self.key_size
    }

    /// A score out of a product, of a query and a key at these positions.
    fn score(&self, head: usize, product: f32, query: usize, key: usize) -> f32 {
        let slope = self.slopes.get(head).copied().unwrap_or(0.0);
        if self.alibi == Alibi::Rounded {
            let rounded = |x: f32| half::bf16::from_f32(x).to_f32();
            return (product + rounded(rounded(slope) * key as f32)) * self.scale;
        }
        let scaled = product * self.scale;
        let capped = self.cap.map_or(scaled, |cap| cap * libm::tanhf(scaled / cap));
        let after = key as i64 - query as i64;
        let learned = self.relative.as_ref().map_or(0.0, |bias| bias.of(head, after));
        capped + learned + slope * after as f32
    }

    fn apply_to_one(
        &self,
        queries: &Batch,
        start: usize,
        cache: &[Head],
        out: &mut Batch,
    ) -> Result<()> {
        let group = self.group(cache);
        let seen = self.sight.of(start, cache.first().map_or(0, |head| self.len(head)));
        let products = seen.len() * (self.key_size + self.value_size);
        let heads =
            queries.data.par_chunks(self.key_size).zip(out.data.par_chunks_mut(self.value_size));
        let heads = heads.enumerate().with_min_len(TASK_PRODUCTS / products.max(1) + 1);
        heads.try_for_each(|(i, (query, out))| {
            let head = &cache[i / group];
            let keys = head.keys[seen.start * self.key_size..].chunks_exact(self.key_size);
            let values = &head.values[seen.start * self.value_size..];
            let mut scores = zeros(seen.len())?;
            for (score, key) in scores.iter_mut().zip(keys) {
                *score = kernels::dot(query, key);
            }
            if !self.is_plain() {
                for (score, position) in scores.iter_mut().zip(seen.clone()) {
                    *score = self.score(i, *score, start, position);
                }
            }
            let (scale, sink) = self.rest(i);
            let sum = kernels::softmax(&mut scores, scale, sink);
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
            let (kv_head, start) = (i % cache.len(), start + first_token);
            let head = (kv_head * group, &cache[kv_head]);
            self.panel(x, (start, tokens), head, out.as_chunks_mut().0)
        })
    }

    /// The attention of a group of query heads, of which it says the first, for the `tokens`
    /// positions from `start` on.
    fn panel(
        &self,
        queries: &[[f32; LANES]],
        (start, tokens): (usize, usize),
        (first_head, head): (usize, &Head),
        out: &mut [[f32; LANES]],
    ) -> Result<()> {
        // From a multiple of the chunk, so that a sum does not depend on where a panel begins.
        let len = self.len(head);
        let first = self.sight.of(start, len).start / CHUNK * CHUNK;
        let positions = first..self.sight.of(start + tokens - 1, len).end;
        let rows = |size: usize| positions.start * size..positions.end * size;
        let (keys, values) = (&head.keys[rows(self.key_size)], &head.values[rows(self.value_size)]);
        let heads = queries.len() / self.key_size;
        let mut scores = zeros(heads * positions.len() * LANES)?;
        let scores = scores.as_chunks_mut::<LANES>().0;
        kernels::multiply(queries, Matrix::by_rows(keys, self.key_size), scores);
        let visible = self.visible((start, tokens), first, len);
        let heads = scores.chunks_exact_mut(positions.len()).zip(first_head..);
        let softmax = |(scores, head): (&mut [[f32; LANES]], usize)| {
            if !self.is_plain() {
                self.score_lanes(scores, head, (positions.start, start));
            }
            let (scale, sink) = self.rest(head);
            kernels::softmax_lanes(scores, scale, sink, &visible)
        };
        let sums: Vec<_> = heads.map(softmax).collect();
        kernels::multiply(scores, Matrix::by_columns(values, self.value_size), out);
        for (out, sums) in out.chunks_exact_mut(self.value_size).zip(&sums) {
            for row in out {
                row.iter_mut().zip(sums).for_each(|(x, sum)| *x /= sum);
            }
        }
        Ok(())
    }

    /// Scores out of products, of keys from position `first` on with queries from `start` on.
    fn score_lanes(
        &self,
        scores: &mut [[f32; LANES]],
        head: usize,
        (first, start): (usize, usize),
    ) {
        for (row, position) in scores.iter_mut().zip(first..) {
            for (score, query) in row.iter_mut().zip(start..) {
                // A key that is not seen has a score all the same.
                *score = self.score(head, *score, query, position);
            }
        }
    }

    /// Rows count from position `first` on. A lane without a token sees what the last one sees.
    fn visible(&self, (start, tokens): (usize, usize), first: usize, len: usize) -> Visible {
        let seen = |lane: usize| self.sight.of(start + lane.min(tokens - 1), len);
        Visible {
            first: std::array::from_fn(|lane| (seen(lane).start.max(first) - first) as u32),
            end: std::array::from_fn(|lane| (seen(lane).end.max(first) - first) as u32),
        }
    }
}
