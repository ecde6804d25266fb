//! A layer: attention and feed-forward, and how their results join the stream.
//!
//! ```text
//!   one after the other                       side by side
//!   x ─▶ norm ─▶ attention ─▶ norm? ─▶ +      x ─▶ norm ─▶ attention ────▶ +
//!     ─▶ norm ─▶ feed-forward ─▶ norm? ─▶ +     ─▶ norm? ─▶ feed-forward ─▶ +
//! ```

use std::sync::Arc;

use super::attend::Attend;
use super::feed_forward::FeedForward;
use super::latent::Latent;
use super::norm::Norm;
use super::{Step, count};
use crate::arch::{Parts, Role};
use crate::ir::{Field, Hyper, Result};
use crate::run::batch::Batch;
use crate::run::cache::Head;
use crate::run::inputs::Inputs;
use crate::run::rope::Rope;

/// A layer of the model.
pub(super) struct Layer {
    attention_norm: Option<Norm>,
    pub(super) attention: Attention,
    attention_post_norm: Option<Norm>,
    feed_forward_norm: Option<Norm>,
    feed_forward: FeedForward,
    feed_forward_post_norm: Option<Norm>,
    order: Order,
    residual_scale: Option<f32>,
    /// Whether sums are with what was normalised, not with what came in.
    normed_residual: bool,
}

/// How attention comes by its queries, keys and values.
pub(super) enum Attention {
    Plain(Box<Attend>),
    Latent(Box<Latent>),
}

/// How attention and feed-forward follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// One after the other, each normalised before.
    Sequential,
    /// One after the other, the sums normalised.
    PostNorm,
    /// Side by side.
    Parallel,
}

impl Layer {
    pub(super) fn find(parts: &Parts<'_>, layer: u64) -> Result<Self> {
        let norm = |role| Norm::find(parts, role, Some(layer));
        let hyper = parts.hyper;
        let attention = match hyper.key_value_rank {
            Some(_) => Attention::Latent(Box::new(Latent::find(parts, layer)?)),
            None => Attention::Plain(Box::new(Attend::find(parts, layer)?)),
        };
        Ok(Self {
            attention_norm: norm(Role::AttentionNorm)?,
            attention,
            attention_post_norm: norm(Role::AttentionPostNorm)?,
            feed_forward_norm: norm(Role::FeedForwardNorm)?,
            feed_forward: FeedForward::find(parts, layer)?,
            feed_forward_post_norm: norm(Role::FeedForwardPostNorm)?,
            order: match (hyper.parallel, hyper.post_norm) {
                (Some(true), _) => Order::Parallel,
                (_, Some(true)) => Order::PostNorm,
                _ => Order::Sequential,
            },
            residual_scale: hyper.residual_scale,
            normed_residual: hyper.normed_residual == Some(true),
        })
    }

    /// Has what goes into the matrices counted.
    pub(super) fn watch(&mut self, inputs: &Arc<Inputs>) {
        match &mut self.attention {
            Attention::Plain(attention) => attention.watch(inputs),
            Attention::Latent(attention) => attention.watch(inputs),
        }
        self.feed_forward.watch(inputs);
    }

    /// The stream after this layer; its keys and values are added to `heads`.
    ///
    /// # Errors
    /// Limit from memory; Io and Unsupported from reading weights.
    pub(super) fn apply(
        &self,
        mut x: Batch,
        step: &Step<'_>,
        ropes: &[Rope],
        heads: &mut [Head],
    ) -> Result<Batch> {
        let attend = |x: &Batch, heads: &mut [Head]| match &self.attention {
            Attention::Plain(attention) => attention.apply(x, step, ropes, heads),
            Attention::Latent(attention) => attention.apply(x, step, ropes, heads),
        };
        if self.order == Order::PostNorm {
            let attended = attend(&x, heads)?;
            self.join(&mut x, attended, None);
            self.attention_norm.iter().for_each(|norm| norm.apply_to(&mut x));
            let fed = self.feed_forward.apply(&x)?;
            self.join(&mut x, fed, None);
            self.feed_forward_norm.iter().for_each(|norm| norm.apply_to(&mut x));
            return Ok(x);
        }
        let normed = normed(&self.attention_norm, &x);
        let attended = attend(normed.as_ref().unwrap_or(&x), heads)?;
        let post_norm = self.attention_post_norm.as_ref();
        if self.order == Order::Parallel {
            let own = self.feed_forward_norm.as_ref().map(|norm| norm.apply(&x));
            let fed = self.feed_forward.apply(own.as_ref().or(normed.as_ref()).unwrap_or(&x))?;
            self.join(&mut x, attended, post_norm);
            self.join(&mut x, fed, self.feed_forward_post_norm.as_ref());
            return Ok(x);
        }
        if let Some(normed) = normed.filter(|_| self.normed_residual) {
            x = normed;
        }
        self.join(&mut x, attended, post_norm);
        let normed = self::normed(&self.feed_forward_norm, &x);
        let fed = self.feed_forward.apply(normed.as_ref().unwrap_or(&x))?;
        if let Some(normed) = normed.filter(|_| self.normed_residual) {
            x = normed;
        }
        self.join(&mut x, fed, self.feed_forward_post_norm.as_ref());
        Ok(x)
    }

    /// Adds a result to the stream.
    fn join(&self, x: &mut Batch, mut result: Batch, norm: Option<&Norm>) {
        if let Some(norm) = norm {
            norm.apply_to(&mut result);
        }
        if let Some(scale) = self.residual_scale {
            result.scale(scale);
        }
        x.add(&result);
    }
}

impl Attention {
    /// Values that a key and value head keeps of each token.
    pub(super) fn cached(&self) -> usize {
        let sizes = match self {
            Self::Plain(attention) => &attention.attention,
            Self::Latent(attention) => &attention.attention,
        };
        sizes.key_size + sizes.value_size
    }
}

fn normed(norm: &Option<Norm>, x: &Batch) -> Option<Batch> {
    norm.as_ref().map(|norm| norm.apply(x))
}

/// Heads that keep keys and values: latent attention makes them for each query head.
pub(super) fn key_value_heads(hyper: &Hyper) -> Result<usize> {
    match hyper.key_value_rank {
        Some(_) => count(hyper, Field::Heads),
        None => count(hyper, Field::KvHeads),
    }
}
