//! A layer: attention and feed-forward, and how their results join the stream.
//!
//! ```text
//!   one after the other                       side by side
//!   x ─▶ norm ─▶ attention ─▶ norm? ─▶ +      x ─▶ norm ─▶ attention ────▶ +
//!     ─▶ norm ─▶ feed-forward ─▶ norm? ─▶ +     ─▶ norm? ─▶ feed-forward ─▶ +
//! ```

use std::sync::Arc;

use super::attend::{self, Attend};
use super::feed_forward::FeedForward;
use super::latent::Latent;
use super::norm::Norm;
use super::{Step, count};
use crate::arch::{Parts, Role};
use crate::ir::{Field, Hyper, Result};
use crate::run::batch::Batch;
use crate::run::cache::Kept;
use crate::run::inputs::Inputs;
use crate::run::rope::Rope;
use crate::run::rwkv::{self, TimeMix};
use crate::run::state_space::StateSpace;

/// A layer of the model.
pub(super) struct Layer {
    attention_norm: Option<Norm>,
    pub(super) attention: Attention,
    attention_post_norm: Option<Norm>,
    feed_forward_norm: Option<Norm>,
    feed_forward: Option<FeedForward>,
    feed_forward_post_norm: Option<Norm>,
    order: Order,
    residual_scale: Option<f32>,
    /// Whether sums are with what was normalised, not with what came in.
    normed_residual: bool,
}

/// How a token learns of the others: by attention, of which there are two ways to come by
/// queries, keys and values, or by a state.
pub(super) enum Attention {
    Plain(Box<Attend>),
    Latent(Box<Latent>),
    Space(Box<StateSpace>),
    Mix(Box<TimeMix>),
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
            None if rwkv::is_mixed(parts) => Attention::Mix(Box::new(TimeMix::find(parts, layer)?)),
            None if is_space(hyper) => Attention::Space(Box::new(StateSpace::find(parts, layer)?)),
            None => Attention::Plain(Box::new(Attend::find(parts, layer, &attend::USUAL)?)),
        };
        // A layer with a state has no other part.
        let feed_forward = (!is_space(hyper)).then(|| FeedForward::find(parts, layer));
        Ok(Self {
            attention_norm: norm(Role::AttentionNorm)?,
            attention,
            attention_post_norm: norm(Role::AttentionPostNorm)?,
            feed_forward_norm: norm(Role::FeedForwardNorm)?,
            feed_forward: feed_forward.transpose()?,
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
            Attention::Space(space) => space.watch(inputs),
            Attention::Mix(mix) => mix.watch(inputs),
        }
        self.feed_forward.iter_mut().for_each(|network| network.watch(inputs));
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
        kept: &mut Kept,
    ) -> Result<Batch> {
        let attend = |x: &Batch, kept: &mut Kept| match &self.attention {
            Attention::Plain(attention) => attention.apply(x, step, ropes, &mut kept.heads),
            Attention::Latent(attention) => attention.apply(x, step, ropes, &mut kept.heads),
            Attention::Space(space) => space.apply(x, &mut kept.state),
            Attention::Mix(mix) => mix.apply(x, &mut kept.state),
        };
        if self.order == Order::PostNorm {
            let attended = attend(&x, kept)?;
            self.join(&mut x, Some(attended), None);
            self.attention_norm.iter().for_each(|norm| norm.apply_to(&mut x));
            let fed = self.feed(&x, kept)?;
            self.join(&mut x, fed, None);
            self.feed_forward_norm.iter().for_each(|norm| norm.apply_to(&mut x));
            return Ok(x);
        }
        let normed = normed(&self.attention_norm, &x);
        let attended = attend(normed.as_ref().unwrap_or(&x), kept)?;
        let post_norm = self.attention_post_norm.as_ref();
        if self.order == Order::Parallel {
            let own = self.feed_forward_norm.as_ref().map(|norm| norm.apply(&x));
            let fed = self.feed(own.as_ref().or(normed.as_ref()).unwrap_or(&x), kept)?;
            self.join(&mut x, Some(attended), post_norm);
            self.join(&mut x, fed, self.feed_forward_post_norm.as_ref());
            return Ok(x);
        }
        if let Some(normed) = normed.filter(|_| self.normed_residual) {
            x = normed;
        }
        self.join(&mut x, Some(attended), post_norm);
        let normed = self::normed(&self.feed_forward_norm, &x);
        let fed = self.feed(normed.as_ref().unwrap_or(&x), kept)?;
        if let Some(normed) = normed.filter(|_| self.normed_residual) {
            x = normed;
        }
        self.join(&mut x, fed, self.feed_forward_post_norm.as_ref());
        Ok(x)
    }

    /// What the feed-forward network makes of each token, if there is one.
    fn feed(&self, x: &Batch, kept: &mut Kept) -> Result<Option<Batch>> {
        self.feed_forward.as_ref().map(|network| network.apply(x, &mut kept.fed)).transpose()
    }

    /// Values that a key and value head keeps of each token.
    pub(super) fn cached(&self) -> usize {
        match &self.attention {
            Attention::Plain(attention) => attention.attention.cached(),
            Attention::Latent(attention) => attention.attention.cached(),
            Attention::Space(_) | Attention::Mix(_) => 0,
        }
    }

    /// Adds a result to the stream, if there is one.
    fn join(&self, x: &mut Batch, result: Option<Batch>, norm: Option<&Norm>) {
        let Some(mut result) = result else { return };
        if let Some(norm) = norm {
            norm.apply_to(&mut result);
        }
        if let Some(scale) = self.residual_scale {
            result.scale(scale);
        }
        x.add(&result);
    }
}

fn normed(norm: &Option<Norm>, x: &Batch) -> Option<Batch> {
    norm.as_ref().map(|norm| norm.apply(x))
}

/// Whether layers have a state instead of attention.
fn is_space(hyper: &Hyper) -> bool {
    hyper.state_size.is_some()
}

/// Heads that keep keys and values: latent attention makes them for each query head.
pub(super) fn key_value_heads(parts: &Parts<'_>) -> Result<usize> {
    let hyper = parts.hyper;
    match hyper.key_value_rank {
        _ if is_space(hyper) || rwkv::is_mixed(parts) => Ok(0),
        Some(_) => count(hyper, Field::Heads),
        None => count(hyper, Field::KvHeads),
    }
}
