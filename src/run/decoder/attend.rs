//! Attention whose queries, keys and values are products with the stream.

use std::sync::Arc;

use super::norm::Norm;
use super::{Step, count};
use crate::arch::{Part, Parts, Plan, QueryNorm, Role};
use crate::ir::{Error, Field, Hyper, Result};
use crate::run::attention::{Attention, Sight};
use crate::run::batch::Batch;
use crate::run::cache::{self, Head};
use crate::run::inputs::Inputs;
use crate::run::relative::{Buckets, RelativeBias};
use crate::run::rope::Rope;
use crate::run::weight::{self, Linear};

/// The roles of the tensors of one kind of attention.
pub(in crate::run) struct Roles {
    query: Role,
    key: Role,
    value: Role,
    output: Role,
    /// Biases by distance, which all layers share.
    distance: Option<Role>,
}

/// The attention of a decoder alone, or of an encoder, to itself.
pub(super) const USUAL: Roles = Roles {
    query: Role::Query,
    key: Role::Key,
    value: Role::Value,
    output: Role::AttentionOutput,
    distance: Some(Role::DistanceBias),
};

/// The attention of a decoder that has an encoder, to itself.
pub(in crate::run) const DECODER: Roles = Roles {
    query: Role::DecoderQuery,
    key: Role::DecoderKey,
    value: Role::DecoderValue,
    output: Role::DecoderAttentionOutput,
    distance: Some(Role::DecoderDistanceBias),
};

/// Its attention to what the encoder has made.
pub(in crate::run) const CROSS: Roles = Roles {
    query: Role::CrossQuery,
    key: Role::CrossKey,
    value: Role::CrossValue,
    output: Role::CrossOutput,
    distance: None,
};

/// A layer's projections, and what is done with them.
pub(in crate::run) struct Attend {
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
    pub(in crate::run) fn find(parts: &Parts<'_>, layer: u64, roles: &Roles) -> Result<Self> {
        let linear = |role| Linear::find(parts, role, Some(layer));
        let norm = |role| Norm::find(parts, role, Some(layer));
        Ok(Self {
            query: linear(roles.query)?,
            key: linear(roles.key)?,
            value: linear(roles.value)?,
            output: linear(roles.output)?,
            query_norm: norm(Role::QueryNorm)?,
            key_norm: norm(Role::KeyNorm)?,
            over: parts.arch.block.query_norm,
            clip: parts.hyper.qkv_clip,
            rope: rope(parts.hyper, layer),
            attention: Attention {
                sight: sight(parts, roles, layer),
                relative: relative(parts, roles)?,
                ..attention(parts, layer)?
            },
        })
    }

    /// Keys and values of what other positions are to attend to, in `heads`.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub(in crate::run) fn remember(&self, x: &Batch, heads: &mut [Head]) -> Result<()> {
        cache::append(heads, 0, &self.key.apply(x)?, &self.value.apply(x)?)
    }

    /// What attention to `heads` adds to the stream, of tokens that have no place among them.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub(in crate::run) fn look_up(&self, x: &Batch, heads: &[Head]) -> Result<Batch> {
        self.output.apply(&self.attention.apply(&self.query.apply(x)?, 0, heads)?)
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
    pub(in crate::run) fn apply(
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
        sight: Sight::Back(hyper.window(layer).map_or(usize::MAX, |window| window as usize)),
        scale: scale / by_layer,
        cap: hyper.attention_cap,
        relative: None,
        slopes: hyper.alibi.map(|bias| slopes(heads, bias)).unwrap_or_default(),
        alibi: parts.arch.block.alibi,
        sinks: sinks.unwrap_or_default(),
    })
}

/// Whom a position sees.
fn sight(parts: &Parts<'_>, roles: &Roles, layer: u64) -> Sight {
    let window = parts.hyper.window(layer).map(|window| window as usize);
    let decodes = match parts.arch.block.plan {
        Plan::Decoder => true,
        Plan::Encoder => false,
        Plan::EncoderDecoder => roles.query == Role::DecoderQuery,
    };
    match decodes {
        true => Sight::Back(window.unwrap_or(usize::MAX)),
        // An encoder's window is that to both sides together.
        false => Sight::Around(window.map_or(usize::MAX, |window| window / 2)),
    }
}

/// The learned biases by distance, if the model has them.
fn relative(parts: &Parts<'_>, roles: &Roles) -> Result<Option<RelativeBias>> {
    let Some(role) = roles.distance else { return Ok(None) };
    let Some(table) = weight::find_vector(parts, role, Part::Weight, None)? else {
        return Ok(None);
    };
    let size =
        |field| Ok::<_, Error>(u32::try_from(count(parts.hyper, field)?).unwrap_or(u32::MAX));
    let buckets = Buckets {
        count: size(Field::DistanceBuckets)?,
        max_distance: size(Field::MaxDistance)?,
        both_sides: role == Role::DistanceBias,
    };
    RelativeBias::new(&table, count(parts.hyper, Field::Heads)?, buckets).map(Some)
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
