//! Multi-head latent attention: keys and values are made of a narrow vector that all heads
//! share: <https://arxiv.org/abs/2405.04434>.
//!
//! ```text
//!  x ─▶ down ─┬─▶ norm ─┬─▶ up ─▶ keys of each head ┐
//!             │         └─▶ up ─▶ values            ├─▶ keys: own dimensions, then rotary ones
//!             └─▶ rope ──────────── of all heads ───┘
//! ```

use std::sync::Arc;

use super::attend::{attention, rope};
use super::norm::Norm;
use super::{Step, count};
use crate::arch::{Parts, Role};
use crate::ir::{Error, Field, Result};
use crate::run::attention::Attention;
use crate::run::batch::Batch;
use crate::run::cache::{self, Head};
use crate::run::inputs::Inputs;
use crate::run::rope::Rope;
use crate::run::weight::{self, Linear};

/// A layer's projections.
pub(super) struct Latent {
    query_down: Option<(Linear, Norm)>,
    query: Linear,
    down: Linear,
    norm: Norm,
    key_up: Linear,
    value_up: Linear,
    output: Linear,
    rank: usize,
    rotary: usize,
    rope: Option<usize>,
    pub(super) attention: Attention,
}

impl Latent {
    pub(super) fn find(parts: &Parts<'_>, layer: u64) -> Result<Self> {
        let linear = |role| Linear::find(parts, role, Some(layer));
        let norm = |role| {
            let norm = Norm::find(parts, role, Some(layer))?;
            norm.ok_or_else(|| weight::missing(parts, role, Some(layer)))
        };
        let query_down = Linear::find_optional(parts, Role::QueryDown, Some(layer))?;
        let query_down = query_down.map(|down| Ok::<_, Error>((down, norm(Role::QueryDownNorm)?)));
        let query = if query_down.is_some() { Role::QueryUp } else { Role::Query };
        Ok(Self {
            query_down: query_down.transpose()?,
            query: linear(query)?,
            down: linear(Role::KeyValueDown)?,
            norm: norm(Role::KeyValueDownNorm)?,
            key_up: linear(Role::KeyUp)?,
            value_up: linear(Role::ValueUp)?,
            output: linear(Role::AttentionOutput)?,
            rank: count(parts.hyper, Field::KeyValueRank)?,
            rotary: count(parts.hyper, Field::RopeDims)?,
            rope: rope(parts.hyper, layer),
            attention: attention(parts, layer)?,
        })
    }

    /// Has what goes into the matrices counted, but for those of each head: llama.cpp has them by
    /// head, and its own runs multiply them with other things.
    pub(super) fn watch(&mut self, inputs: &Arc<Inputs>) {
        let Self { query_down, query, down, output, .. } = self;
        query_down.iter_mut().for_each(|(down, _)| down.watch(inputs, (0, 1)));
        [query, down, output].into_iter().for_each(|linear| linear.watch(inputs, (0, 1)));
    }

    /// What attention adds to the stream.
    ///
    /// # Errors
    /// Limit from memory; Io and Unsupported from reading weights.
    pub(super) fn apply(
        &self,
        x: &Batch,
        step: &Step<'_>,
        ropes: &[Rope],
        heads: &mut [Head],
    ) -> Result<Batch> {
        let mut query = match &self.query_down {
            None => self.query.apply(x)?,
            Some((down, norm)) => {
                let mut low = down.apply(x)?;
                norm.apply_to(&mut low);
                self.query.apply(&low)?
            }
        };
        let down = self.down.apply(x)?;
        let mut low = down.features(0..self.rank)?;
        let mut shared = down.features(self.rank..self.rank + self.rotary)?;
        self.norm.apply_to(&mut low);
        let (size, own) = (self.attention.key_size, self.attention.key_size - self.rotary);
        if let Some(kind) = self.rope {
            let (rope, angles) = (&ropes[kind], &step.angles[kind]);
            rope.rotate(&mut query, size, own, angles);
            rope.rotate(&mut shared, self.rotary, 0, angles);
        }
        let (keys, values) = (self.key_up.apply(&low)?, self.value_up.apply(&low)?);
        let mut key = Batch::zeros(self.attention.heads * size, x.tokens)?;
        for head in 0..self.attention.heads {
            key.paste(head * size, &keys, head * own..(head + 1) * own);
            key.paste(head * size + own, &shared, 0..self.rotary);
        }
        cache::append(heads, step.start, &key, &values)?;
        self.output.apply(&self.attention.apply(&query, step.start, heads)?)
    }
}
