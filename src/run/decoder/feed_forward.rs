//! The feed-forward network: dense, or a choice of experts.

use std::sync::Arc;

use rayon::prelude::*;

use super::experts::Experts;
use crate::arch::{Parts, Role};
use crate::ir::{Activation, Hyper, Result};
use crate::run::batch::Batch;
use crate::run::inputs::Inputs;
use crate::run::kernels;
use crate::run::math::sigmoid;
use crate::run::rwkv::{self, ChannelMix};
use crate::run::state::State;
use crate::run::weight::Linear;

/// A layer's feed-forward network.
pub(super) enum FeedForward {
    Dense(Box<Dense>),
    Experts(Box<Experts>),
    /// RWKV's, which looks at the token before, too.
    Mix(Box<ChannelMix>),
}

impl FeedForward {
    pub(super) fn find(parts: &Parts<'_>, layer: u64) -> Result<Self> {
        if rwkv::is_mixed(parts) {
            return Ok(Self::Mix(Box::new(ChannelMix::find(parts, layer)?)));
        }
        if parts.hyper.is_sparse(layer) {
            return Ok(Self::Experts(Box::new(Experts::find(parts, layer)?)));
        }
        let dense = Dense::find(parts, layer, [Role::Gate, Role::Up, Role::Down])?;
        Ok(Self::Dense(Box::new(dense)))
    }

    /// Has what goes into the matrices counted.
    pub(super) fn watch(&mut self, inputs: &Arc<Inputs>) {
        match self {
            Self::Dense(dense) => dense.watch(inputs, (0, 1)),
            Self::Experts(experts) => experts.watch(inputs),
            Self::Mix(mix) => mix.watch(inputs),
        }
    }

    /// What it adds to the stream.
    ///
    /// # Errors
    /// Limit from memory; Io and Unsupported from reading weights.
    pub(super) fn apply(&self, x: &Batch, state: &mut State) -> Result<Batch> {
        match self {
            Self::Dense(dense) => dense.apply(x),
            Self::Experts(experts) => experts.apply(x),
            Self::Mix(mix) => mix.apply(x, state),
        }
    }
}

/// down(act(gate(x)) · up(x)), <https://arxiv.org/abs/2002.05202>, or down(act(up(x))).
pub(in crate::run) struct Dense {
    pub(super) gate: Option<Linear>,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) act: Act,
}

/// The activation, and how it is bounded.
#[derive(Clone, Copy)]
pub(super) struct Act {
    activation: Activation,
    /// Slope and bound of gpt-oss's gate, (up + 1) · gate · sigmoid(α · gate).
    bounded: Option<(f32, f32)>,
}

impl Act {
    pub(super) fn new(hyper: &Hyper) -> Self {
        Self {
            activation: hyper.activation.unwrap_or(Activation::Silu),
            bounded: hyper.gate_alpha.zip(hyper.gate_limit),
        }
    }

    fn gate(self, gate: &mut [f32], up: &[f32]) {
        let Some((alpha, limit)) = self.bounded else {
            return kernels::gate(self.activation, gate, up);
        };
        for (gate, up) in gate.iter_mut().zip(up) {
            let bounded = gate.min(limit);
            *gate = (up.clamp(-limit, limit) + 1.0) * (bounded * sigmoid(bounded * alpha));
        }
    }
}

/// The roles of a decoder's that has an encoder: its gate, if it has one, and what it needs.
pub(in crate::run) const DECODER_FEED_FORWARD: [Role; 3] =
    [Role::DecoderGate, Role::DecoderUp, Role::DecoderDown];

impl Dense {
    /// The network of these roles: its gate, if it has one, and what it needs.
    ///
    /// # Errors
    /// Malformed if a tensor is missing; Unsupported if its type is not computed.
    pub(in crate::run) fn find(
        parts: &Parts<'_>,
        layer: u64,
        [gate, up, down]: [Role; 3],
    ) -> Result<Self> {
        Ok(Self {
            gate: Linear::find_optional(parts, gate, Some(layer))?,
            up: Linear::find(parts, up, Some(layer))?,
            down: Linear::find(parts, down, Some(layer))?,
            act: Act::new(parts.hyper),
        })
    }

    /// Has what goes into the matrices counted, as those of one expert of several.
    pub(super) fn watch(&mut self, inputs: &Arc<Inputs>, expert: (usize, usize)) {
        let Self { gate, up, down, .. } = self;
        [gate.as_mut(), Some(up), Some(down)]
            .into_iter()
            .flatten()
            .for_each(|linear| linear.watch(inputs, expert));
    }

    /// What it makes of each token.
    ///
    /// # Errors
    /// As [`FeedForward::apply`].
    pub(in crate::run) fn apply(&self, x: &Batch) -> Result<Batch> {
        let mut up = self.up.apply(x)?;
        let panel_len = up.panel_len();
        let Some(gate) = &self.gate else {
            let panels = up.data.par_chunks_mut(panel_len);
            panels.for_each(|panel| kernels::activate(self.act.activation, panel));
            return self.down.apply(&up);
        };
        let mut gate = gate.apply(x)?;
        let panels = gate.data.par_chunks_mut(panel_len).zip(up.data.par_chunks(panel_len));
        panels.for_each(|(gate, up)| self.act.gate(gate, up));
        self.down.apply(&gate)
    }
}
