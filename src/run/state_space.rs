//! Selective state spaces, the layers of Mamba: <https://arxiv.org/abs/2312.00752>.
//!
//! ```text
//!  x ─▶ in ─┬▶ u ─▶ convolution ─▶ silu ─┬─▶ selection ─▶ Δ B C ─┐
//!           │                            └───────────────────────┴▶ scan ─▶ y · silu(z) ─▶ out
//!           └▶ z ───────────────────────────────────────────────────────────▲
//! ```
//!
//! Each channel remembers the last inputs of its convolution and a small vector h. A token makes
//! h ← e^(Δ·A) · h + Δ·B·u and gives y = C·h + D·u, where Δ, B and C depend on the token.

use std::sync::Arc;

use rayon::prelude::*;

use super::batch::{Batch, zeros};
use super::decoder::count;
use super::inputs::Inputs;
use super::math::{exp, silu, softplus};
use super::state::{Memory, State};
use super::weight::{self, Linear};
use crate::arch::{Part, Parts, Role};
use crate::ir::{Error, Field, Naming, Result};

/// The weights of one layer.
pub(super) struct StateSpace {
    /// Rows of u, then rows of z.
    input: Linear,
    /// `[channel][tap]`.
    kernel: Vec<f32>,
    kernel_bias: Option<Vec<f32>>,
    /// Rows of Δ before it is widened, then of B, then of C.
    selection: Linear,
    /// Widens Δ to all channels.
    step: Linear,
    /// `[channel][state]`, negative.
    decay: Vec<f32>,
    /// D: how much of u goes past the state.
    skip: Vec<f32>,
    output: Linear,
    channels: usize,
    states: usize,
    rank: usize,
    taps: usize,
}

/// The tokens of one panel: `[feature][lane]` of each.
struct Panel<'a> {
    lanes: usize,
    tokens: usize,
    step: &'a [f32],
    selection: &'a [f32],
    gate: &'a [f32],
}

impl StateSpace {
    /// The layer's weights.
    ///
    /// # Errors
    /// Malformed if one is missing or of another size; Unsupported if its type is not computed.
    pub(super) fn find(parts: &Parts<'_>, layer: u64) -> Result<Self> {
        let linear = |role| Linear::find(parts, role, Some(layer));
        let vector = |role, part| weight::find_vector(parts, role, part, Some(layer));
        let need = |role| {
            let found = vector(role, Part::Weight)?;
            found.ok_or_else(|| weight::missing(parts, role, Some(layer)))
        };
        let mut decay = need(Role::Decay)?;
        if parts.model.naming == Naming::HuggingFace {
            decay.iter_mut().for_each(|x| *x = -libm::exp(f64::from(*x)) as f32);
        }
        let hyper = parts.hyper;
        let found = Self {
            input: linear(Role::MixerIn)?,
            kernel: need(Role::Convolution)?,
            kernel_bias: vector(Role::Convolution, Part::Bias)?,
            selection: linear(Role::Selection)?,
            step: linear(Role::Step)?,
            decay,
            skip: need(Role::Skip)?,
            output: linear(Role::MixerOut)?,
            channels: count(hyper, Field::Channels)?,
            states: count(hyper, Field::StateSize)?,
            rank: count(hyper, Field::StepRank)?,
            taps: count(hyper, Field::Taps)?,
        };
        if found.kernel.len() != found.channels * found.taps {
            let (taps, channels, len) = (found.taps, found.channels, found.kernel.len());
            let text = format!("{taps} taps of {channels} channels are no {len} weights");
            return Err(Error::malformed(text));
        }
        Ok(found)
    }

    /// Has what goes into the matrices counted.
    pub(super) fn watch(&mut self, inputs: &Arc<Inputs>) {
        let Self { input, selection, step, output, .. } = self;
        [input, selection, step, output].into_iter().for_each(|x| x.watch(inputs, (0, 1)));
    }

    /// What the layer adds to the stream.
    ///
    /// # Errors
    /// Io and Unsupported from reading weights; Limit if the memory is not to be had.
    pub(super) fn apply(&self, x: &Batch, state: &mut State) -> Result<Batch> {
        let mut memory = match state.now() {
            Some(memory) => memory,
            None => self.nothing()?,
        };
        let both = self.input.apply(x)?;
        let mut u = both.features(0..self.channels)?;
        let gate = both.features(self.channels..2 * self.channels)?;
        self.convolve(&mut u, &mut memory.window);
        let selected = self.selection.apply(&u)?;
        let step = self.step.apply(&selected.features(0..self.rank)?)?;
        let selection = selected.features(self.rank..selected.features)?;
        self.scan(&mut u, (&step, &selection, &gate), &mut memory.hidden);
        state.keep(memory);
        self.output.apply(&u)
    }

    /// What is remembered of no tokens: the last inputs of each channel's convolution, oldest first
    /// (`[channel][tap]`), and `[channel][state]`.
    fn nothing(&self) -> Result<Memory> {
        Ok(Memory { window: zeros(self.kernel.len())?, hidden: zeros(self.decay.len())? })
    }

    /// A convolution over time of each channel by itself, and silu.
    fn convolve(&self, u: &mut Batch, window: &mut [f32]) {
        let (lanes, tokens, panel_len) = (u.lanes(), u.tokens, u.panel_len());
        let taps = self.taps;
        for (panel, data) in u.data.chunks_mut(panel_len).enumerate() {
            let tokens = lanes.min(tokens - panel * lanes);
            let channels = data.par_chunks_mut(lanes).zip(self.kernel.par_chunks(taps));
            let channels = channels.zip(window.par_chunks_mut(taps)).enumerate();
            channels.for_each(|(channel, ((data, kernel), window))| {
                let bias = self.kernel_bias.as_ref().map_or(0.0, |bias| bias[channel]);
                for x in &mut data[..tokens] {
                    window.rotate_left(1);
                    window[taps - 1] = *x;
                    let products = kernel.iter().zip(&*window).map(|(k, x)| k * x);
                    *x = silu(products.sum::<f32>() + bias);
                }
            });
        }
    }

    /// u becomes y · silu(z).
    fn scan(
        &self,
        u: &mut Batch,
        (step, selection, gate): (&Batch, &Batch, &Batch),
        hidden: &mut [f32],
    ) {
        let (lanes, tokens, panel_len) = (u.lanes(), u.tokens, u.panel_len());
        let steps = step.data.chunks(step.panel_len());
        let selections = selection.data.chunks(selection.panel_len());
        let gates = gate.data.chunks(gate.panel_len());
        let others = steps.zip(selections).zip(gates).enumerate();
        for (u, (i, ((step, selection), gate))) in u.data.chunks_mut(panel_len).zip(others) {
            let tokens = lanes.min(tokens - i * lanes);
            let panel = Panel { lanes, tokens, step, selection, gate };
            let channels = u.par_chunks_mut(lanes).zip(hidden.par_chunks_mut(self.states));
            channels
                .enumerate()
                .for_each(|(channel, (u, hidden))| self.scan_channel(channel, u, hidden, &panel));
        }
    }

    fn scan_channel(&self, channel: usize, u: &mut [f32], hidden: &mut [f32], panel: &Panel<'_>) {
        let (lanes, states) = (panel.lanes, hidden.len());
        let decay = &self.decay[channel * states..][..states];
        let row = |values: &[f32], row: usize, token: usize| values[row * lanes + token];
        for (token, u) in u.iter_mut().enumerate().take(panel.tokens) {
            let step = softplus(row(panel.step, channel, token));
            let mut y = 0.0;
            for (n, (h, a)) in hidden.iter_mut().zip(decay).enumerate() {
                let input = step * row(panel.selection, n, token) * *u;
                *h = exp(a * step) * *h + input;
                y += *h * row(panel.selection, states + n, token);
            }
            *u = (y + *u * self.skip[channel]) * silu(row(panel.gate, channel, token));
        }
    }
}
