//! The layers of RWKV 4 (<https://arxiv.org/abs/2305.13048>) and 5 (<https://arxiv.org/abs/2404.05892>).
//!
//! ```text
//!  x, and the token before ─▶ mixed ─┬▶ key, value ─▶ state ─▶ wkv ─▶ norm? ─┐
//!                                    ├▶ receptance ─▶ σ (4) ─────────────────· ─▶ output
//!                                    └▶ gate? ─▶ silu ───────────────────────┘
//! ```
//!
//! Every product is with a mix of a token and the one before it, by a share for each feature. In 4
//! each channel keeps a mean of its values, weighed by e^key, and how much it has seen; in 5 each
//! head keeps the sum of key · valueᵀ.

use std::sync::Arc;

use rayon::prelude::*;

use super::batch::{Batch, zeros};
use super::decoder::{Norm, count};
use super::inputs::Inputs;
use super::math::{exp, sigmoid, silu};
use super::state::{Memory, State};
use super::weight::{self, Linear};
use crate::arch::{Part, Parts, Role};
use crate::ir::{Error, Field, Naming, Result};

/// The greatest exponent that a channel has seen before it has seen any: transformers' and
/// rwkv.cpp's start is low enough that its power of e is 0.
const NOTHING: f32 = -1e38;

/// What a channel of version 4 keeps: the sum of its values, that of their weights, and the
/// exponent by which both are divided.
const KEPT: usize = 3;

/// A product with a mix of a token and the one before.
struct Mixed {
    /// How much of each feature is the token's own.
    share: Vec<f32>,
    linear: Linear,
}

impl Mixed {
    fn find(parts: &Parts<'_>, (share, linear): (Role, Role), layer: u64) -> Result<Self> {
        let linear = Linear::find(parts, linear, Some(layer))?;
        let share = vector(parts, share, layer, linear.weight.columns)?;
        Ok(Self { share, linear })
    }

    fn apply(&self, x: &Batch, before: &Batch) -> Result<Batch> {
        let (mut mixed, lanes) = (x.clone(), x.lanes());
        let features = mixed.data.chunks_mut(lanes).zip(before.data.chunks(lanes));
        for ((own, before), share) in features.zip(self.share.iter().cycle()) {
            for (x, before) in own.iter_mut().zip(before) {
                *x = *x * share + before * (1.0 - share);
            }
        }
        self.linear.apply(&mixed)
    }
}

/// Whether layers are of this kind: no other has a receptance.
pub(super) fn is_mixed(parts: &Parts<'_>) -> bool {
    parts.arch.row(Role::Receptance).is_some()
}

/// A vector of a role, of this length.
fn vector(parts: &Parts<'_>, role: Role, layer: u64, len: usize) -> Result<Vec<f32>> {
    let found = weight::find_vector(parts, role, Part::Weight, Some(layer))?;
    let found = found.ok_or_else(|| weight::missing(parts, role, Some(layer)))?;
    if found.len() != len {
        let found = found.len();
        return Err(Error::malformed(format!("{role:?}: {found} numbers, expected {len}")));
    }
    Ok(found)
}

/// Of each token the one before; of the first, what is remembered.
fn before(x: &Batch, window: &mut [f32]) -> Result<Batch> {
    let mut out = x.like(x.features)?;
    for token in 0..x.tokens {
        out.set(token, window);
        x.get(token, 0, window);
    }
    Ok(out)
}

/// What stands in the place of attention.
pub(super) struct TimeMix {
    key: Mixed,
    value: Mixed,
    receptance: Mixed,
    gate: Option<Mixed>,
    output: Linear,
    /// Of each channel: in 4 what is added to the exponent for each token, in 5 the factor.
    decay: Vec<f32>,
    /// What the present token's key has more.
    first: Vec<f32>,
    /// Version 5: the norm over each head.
    norm: Option<Norm>,
    size: usize,
}

impl TimeMix {
    /// The layer's weights.
    ///
    /// # Errors
    /// Malformed if one is missing or of another size; Unsupported if its type is not computed.
    pub(super) fn find(parts: &Parts<'_>, layer: u64) -> Result<Self> {
        let mixed = |share, linear| Mixed::find(parts, (share, linear), layer);
        let (heads, size) = (count(parts.hyper, Field::Heads)?, count(parts.hyper, Field::KeyDim)?);
        let gate = parts.get(Role::WkvGate, Part::Weight, Some(layer))?;
        let gate = gate.map(|_| mixed(Role::MixGate, Role::WkvGate)).transpose()?;
        let mut decay = channels(parts, Role::Decay, layer, (heads, size))?;
        if parts.model.naming == Naming::HuggingFace {
            decay.iter_mut().for_each(|x| *x = -libm::exp(f64::from(*x)) as f32);
        }
        Ok(Self {
            key: mixed(Role::MixKey, Role::Key)?,
            value: mixed(Role::MixValue, Role::Value)?,
            receptance: mixed(Role::MixReceptance, Role::Receptance)?,
            gate,
            output: Linear::find(parts, Role::AttentionOutput, Some(layer))?,
            decay,
            first: channels(parts, Role::First, layer, (heads, size))?,
            norm: Norm::find(parts, Role::WkvNorm, Some(layer))?,
            size,
        })
    }

    /// Has what goes into the matrices counted.
    pub(super) fn watch(&mut self, inputs: &Arc<Inputs>) {
        let Self { key, value, receptance, gate, output, .. } = self;
        let mixed = [Some(key), Some(value), Some(receptance), gate.as_mut()].into_iter().flatten();
        let linears = mixed.map(|mixed| &mut mixed.linear).chain([output]);
        linears.for_each(|linear| linear.watch(inputs, (0, 1)));
    }

    /// What the layer adds to the stream.
    ///
    /// # Errors
    /// Io and Unsupported from reading weights; Limit if the memory is not to be had.
    pub(super) fn apply(&self, x: &Batch, state: &mut State) -> Result<Batch> {
        let mut memory = match state.now() {
            Some(memory) => memory,
            None => self.nothing(x.features)?,
        };
        let before = before(x, &mut memory.window)?;
        let key = self.key.apply(x, &before)?;
        let mut out = self.value.apply(x, &before)?;
        let receptance = self.receptance.apply(x, &before)?;
        match &self.norm {
            None => {
                self.means(&mut out, &key, &mut memory.hidden);
                let gates = out.data.iter_mut().zip(&receptance.data);
                gates.for_each(|(y, r)| *y *= sigmoid(*r));
            }
            Some(norm) => {
                self.sums(&mut out, (&key, &receptance), &mut memory.hidden);
                norm.apply_by(&mut out, self.size);
            }
        }
        if let Some(gate) = &self.gate {
            let gate = gate.apply(x, &before)?;
            out.data.iter_mut().zip(&gate.data).for_each(|(y, g)| *y *= silu(*g));
        }
        state.keep(memory);
        self.output.apply(&out)
    }

    fn nothing(&self, features: usize) -> Result<Memory> {
        let channels = self.decay.len();
        let each = if self.norm.is_some() { self.size } else { KEPT };
        let mut hidden = zeros(channels * each)?;
        if self.norm.is_none() {
            hidden.chunks_mut(KEPT).for_each(|kept| kept[KEPT - 1] = NOTHING);
        }
        Ok(Memory { window: zeros(features)?, hidden })
    }

    /// Version 4: values become the means of those seen so far.
    fn means(&self, value: &mut Batch, key: &Batch, hidden: &mut [f32]) {
        let (lanes, tokens, panel_len) = (value.lanes(), value.tokens, value.panel_len());
        let keys = key.data.chunks(panel_len);
        for (panel, (values, keys)) in value.data.chunks_mut(panel_len).zip(keys).enumerate() {
            let tokens = lanes.min(tokens - panel * lanes);
            let channels = values.par_chunks_mut(lanes).zip(keys.par_chunks(lanes));
            let channels = channels.zip(hidden.par_chunks_mut(KEPT)).enumerate();
            channels.for_each(|(channel, ((values, keys), kept))| {
                let (first, decay) = (self.first[channel], self.decay[channel]);
                for (value, key) in values[..tokens].iter_mut().zip(keys) {
                    *value = mean(kept, (*key, *value), (first, decay));
                }
            });
        }
    }

    /// Version 5: values become what their head's state makes of the receptance.
    fn sums(&self, value: &mut Batch, (key, receptance): (&Batch, &Batch), hidden: &mut [f32]) {
        let (lanes, tokens, size) = (value.lanes(), value.tokens, self.size);
        let panel_len = value.panel_len();
        let others = key.data.chunks(panel_len).zip(receptance.data.chunks(panel_len));
        for (panel, (values, (keys, receptances))) in
            value.data.chunks_mut(panel_len).zip(others).enumerate()
        {
            let tokens = lanes.min(tokens - panel * lanes);
            let heads = values.par_chunks_mut(size * lanes).zip(hidden.par_chunks_mut(size * size));
            heads.enumerate().for_each(|(head, (values, state))| {
                let of =
                    |all: &[f32], i: usize, token: usize| all[(head * size + i) * lanes + token];
                for token in 0..tokens {
                    let of_key = |i| (of(keys, i, token), of(receptances, i, token));
                    self.sum(head, (values, state), (token, lanes), of_key);
                }
            });
        }
    }

    /// One token of one head.
    fn sum(
        &self,
        head: usize,
        (values, state): (&mut [f32], &mut [f32]),
        (token, lanes): (usize, usize),
        of_key: impl Fn(usize) -> (f32, f32),
    ) {
        let size = self.size;
        let own: Vec<f32> = values.iter().skip(token).step_by(lanes).copied().collect();
        let mut out = vec![0.0; size];
        for (i, row) in state.chunks_mut(size).enumerate() {
            let (key, receptance) = of_key(i);
            let (first, decay) = (self.first[head * size + i], self.decay[head * size + i]);
            for ((out, kept), value) in out.iter_mut().zip(row).zip(&own) {
                let product = key * value;
                *out += receptance * (first * product + *kept);
                *kept = *kept * decay + product;
            }
        }
        for (place, out) in values.iter_mut().skip(token).step_by(lanes).zip(out) {
            *place = out;
        }
    }
}

/// Numbers of each channel; version 5.1 has one for each head.
fn channels(
    parts: &Parts<'_>,
    role: Role,
    layer: u64,
    (heads, size): (usize, usize),
) -> Result<Vec<f32>> {
    let found = weight::find_vector(parts, role, Part::Weight, Some(layer))?;
    match found {
        Some(by_head) if by_head.len() == heads && size > 1 => {
            Ok(by_head.iter().flat_map(|x| std::iter::repeat_n(*x, size)).collect())
        }
        _ => vector(parts, role, layer, heads * size),
    }
}

/// The mean of a channel's values with the present one, which is then one of those seen. Powers of e
/// are of differences to the greatest exponent, so that none is too large.
fn mean(kept: &mut [f32], (key, value): (f32, f32), (first, decay): (f32, f32)) -> f32 {
    let [sum, weight, exponent] = kept else { return 0.0 };
    let added = |own: f32, old: f32| {
        let greatest = own.max(old);
        (exp(old - greatest), exp(own - greatest), greatest)
    };
    let (old, own, _) = added(key + first, *exponent);
    let mean = (old * *sum + own * value) / (old * *weight + own);
    let (old, own, greatest) = added(key, *exponent + decay);
    *sum = old * *sum + own * value;
    *weight = old * *weight + own;
    *exponent = greatest;
    mean
}

/// What stands in the place of a feed-forward network.
pub(super) struct ChannelMix {
    key: Mixed,
    receptance: Mixed,
    value: Linear,
}

impl ChannelMix {
    /// The layer's weights.
    ///
    /// # Errors
    /// As [`TimeMix::find`].
    pub(super) fn find(parts: &Parts<'_>, layer: u64) -> Result<Self> {
        let mixed = |share, linear| Mixed::find(parts, (share, linear), layer);
        Ok(Self {
            key: mixed(Role::FeedMixKey, Role::Up)?,
            receptance: mixed(Role::FeedMixReceptance, Role::FeedReceptance)?,
            value: Linear::find(parts, Role::Down, Some(layer))?,
        })
    }

    /// Has what goes into the matrices counted.
    pub(super) fn watch(&mut self, inputs: &Arc<Inputs>) {
        let Self { key, receptance, value } = self;
        let linears = [&mut key.linear, &mut receptance.linear, value];
        linears.into_iter().for_each(|linear| linear.watch(inputs, (0, 1)));
    }

    /// What it adds to the stream.
    ///
    /// # Errors
    /// As [`TimeMix::apply`].
    pub(super) fn apply(&self, x: &Batch, state: &mut State) -> Result<Batch> {
        let mut memory = match state.now() {
            Some(memory) => memory,
            None => Memory { window: zeros(x.features)?, hidden: Vec::new() },
        };
        let before = before(x, &mut memory.window)?;
        let mut key = self.key.apply(x, &before)?;
        key.data.iter_mut().for_each(|x| *x = x.max(0.0) * x.max(0.0));
        let mut out = self.value.apply(&key)?;
        let receptance = self.receptance.apply(x, &before)?;
        out.data.iter_mut().zip(&receptance.data).for_each(|(y, r)| *y *= sigmoid(*r));
        state.keep(memory);
        Ok(out)
    }
}
