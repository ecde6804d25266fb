//! Attention whose queries, keys and values are products with the stream.

use std::sync::Arc;

use super::norm::Norm;
use super::{Step, count};
use crate::arch::{Part, Parts, QueryNorm, Role};
use crate::ir::{Field, Hyper, Result};
use crate::run::attention::Attention;
use crate::run::batch::Batch;
use crate::run::cache::{self, Head};
use crate::run::inputs::Inputs;
use crate::run::rope::Rope;
use crate::run::weight::{self, Linear};

/// A layer's projections, and what is done with them.
pub(super) struct Attend {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    over: QueryNorm,
    clip: Option<f32>,
    /// Which of the model's rotations, if any.
    rope: Option<usize>,
    pub(super) attention: Attention,
}

impl Attend {
    pub(super) fn find(parts: &Parts<'_>, layer: u64) -> Result<Self> {
        let linear = |role| Linear::find(parts, role, Some(layer));
        let norm = |role| Norm::find(parts, role, Some(layer));
        Ok(Self {
            query: linear(Role::Query)?,
            key: linear(Role::Key)?,
            value: linear(Role::Value)?,
            output: linear(Role::AttentionOutput)?,
            query_norm: norm(Role::QueryNorm)?,
            key_norm: norm(Role::KeyNorm)?,
            over: parts.arch.block.query_norm,
            clip: parts.hyper.qkv_clip,
            rope: rope(parts.hyper, layer),
            attention: attention(parts, layer)?,
        })
    }

    /// Has what goes into the matrices counted.
    pub(super) fn watch(&mut self, inputs: &Arc<Inputs>) {
        let Self { query, key, value, output, .. } = self;
        [query, key, value, output].into_iter().for_each(|linear| linear.watch(inputs, (0, 1)));
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
        let (mut query, mut key) = (self.query.apply(x)?, self.key.apply(x)?);
        let mut value = self.value.apply(x)?;
        let size = self.attention.key_size;
        for (norm, x) in [(&self.query_norm, &mut query), (&self.key_norm, &mut key)] {
            let over = if self.over == QueryNorm::Whole { x.features } else { size };
            norm.iter().for_each(|norm| norm.apply_by(x, over));
        }
        if let Some(clip) = self.clip {
            for batch in [&mut query, &mut key, &mut value] {
                batch.data.iter_mut().for_each(|x| *x = x.clamp(-clip, clip));
            }
        }
        if let Some(kind) = self.rope {
            let (rope, angles) = (&ropes[kind], &step.angles[kind]);
            rope.rotate(&mut query, size, 0, angles);
            rope.rotate(&mut key, size, 0, angles);
        }
        cache::append(heads, step.start, &key, &value)?;
        self.output.apply(&self.attention.apply(&query, step.start, heads)?)
    }
}

/// Which of the model's rotations a layer uses: see [`super::ropes`].
pub(super) fn rope(hyper: &Hyper, layer: u64) -> Option<usize> {
    let rotates = hyper.rope_theta.is_some()
        && hyper.rope_dims.is_some()
        && !hyper.unrotated.is_some_and(|layers| layers.has(layer));
    let is_local = hyper.local_theta.is_some() && hyper.window(layer).is_some();
    rotates.then_some(usize::from(is_local))
}

/// The sizes and options of a layer's attention.
///
/// # Errors
/// Malformed if a size is missing.
pub(super) fn attention(parts: &Parts<'_>, layer: u64) -> Result<Attention> {
    let hyper = parts.hyper;
    let (heads, key_size) = (count(hyper, Field::Heads)?, count(hyper, Field::KeyDim)?);
    let scale = hyper.attention_scale.unwrap_or((1.0 / (key_size as f64).sqrt()) as f32);
    let by_layer = match hyper.scale_by_layer {
        Some(true) => layer as f32 + 1.0,
        _ => 1.0,
    };
    let sinks = weight::find_vector(parts, Role::Sinks, Part::Weight, Some(layer))?;
    Ok(Attention {
        heads,
        key_size,
        value_size: count(hyper, Field::ValueDim)?,
        window: hyper.window(layer).map_or(usize::MAX, |window| window as usize),
        scale: scale / by_layer,
        cap: hyper.attention_cap,
        slopes: hyper.alibi.map(|bias| slopes(heads, bias)).unwrap_or_default(),
        alibi: parts.arch.block.alibi,
        sinks: sinks.unwrap_or_default(),
    })
}

/// ALiBi's slopes: a geometric series; of heads that are no power of two, every other one of the
/// series for twice as many is added.
fn slopes(heads: usize, greatest: f32) -> Vec<f32> {
    let power = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    let slope =
        |base: usize, i: usize| libm::exp2(-f64::from(greatest) / base as f64 * i as f64) as f32;
    let first = (1..=power).map(|i| slope(power, i));
    let between = (1..).step_by(2).map(|i| slope(2 * power, i));
    first.chain(between).take(heads).collect()
}
