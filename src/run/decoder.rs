//! A decoder-only transformer, computed as the table of its family says.

use rayon::prelude::*;

use super::attention::Attention;
use super::batch::{Batch, grow};
use super::cache::{self, Cache, Head};
use super::inputs::Inputs;
use super::kernels::{self, LANES};
use super::rope::{Angles, Rope};
use super::weight::{self, Linear, Weight};
use crate::arch::{self, Activation, Arch, BlockShape, FeedForward, Norm, Role};
use crate::ir::{Error, Field, Hyper, Model, Result, Scalar};

/// Tokens of a prompt that are computed at once, which bounds the memory for activations.
const SLICE: usize = 512;

/// Rows of the output matrix that are multiplied at once, for the same reason.
const HEAD_ROWS: usize = 4096;

/// A model that can be run: its family, its hyper-parameters, and every weight's recipe.
pub struct Decoder<'m> {
    hyper: Hyper,
    block: BlockShape,
    embedding: Weight<'m>,
    layers: Vec<Layer<'m>>,
    norm: Vec<f32>,
    epsilon: f32,
    head: Weight<'m>,
    rope: Rope,
    attention: Attention,
    kv_heads: usize,
}

struct Layer<'m> {
    attention_norm: Vec<f32>,
    query: Linear<'m>,
    key: Linear<'m>,
    value: Linear<'m>,
    output: Linear<'m>,
    feed_forward_norm: Vec<f32>,
    gate: Linear<'m>,
    up: Linear<'m>,
    down: Linear<'m>,
}

impl<'m> Decoder<'m> {
    /// Prepares a model for running. Norms and biases are read; matrices are not.
    ///
    /// # Errors
    /// Unsupported for a family, an option or a type of weights that is not computed, naming it;
    /// Malformed if a tensor is missing or has a shape that the configuration contradicts.
    pub fn new(model: &'m Model) -> Result<Self> {
        let arch = arch::require(model)?;
        let hyper = arch::hyper(arch, model).map_err(|error| error.at(&model.origin))?;
        arch::check(arch, model, &hyper)?;
        let layers = 0..count(&hyper, Field::Layers)? as u64;
        let head = if arch::is_tied(model) { Role::Embedding } else { Role::Output };
        Ok(Self {
            block: arch.block,
            embedding: weight::find(arch, model, Role::Embedding, None)?,
            layers: layers.map(|layer| Layer::find(arch, model, layer)).collect::<Result<_>>()?,
            norm: weight::find_vector(arch, model, Role::OutputNorm, None)?,
            epsilon: hyper.norm_epsilon.ok_or_else(|| missing(Field::NormEpsilon))?,
            head: weight::find(arch, model, head, None)?,
            rope: Rope::new(&hyper, arch.block.pairing(model.naming))?,
            attention: Attention {
                heads: count(&hyper, Field::Heads)?,
                key_size: count(&hyper, Field::KeyDim)?,
                value_size: count(&hyper, Field::ValueDim)?,
                window: hyper.sliding_window.map_or(usize::MAX, |window| window as usize),
            },
            kv_heads: count(&hyper, Field::KvHeads)?,
            hyper,
        })
    }

    /// Has what goes into the matrices of all layers counted, and, if `head`, what goes into the
    /// output matrix.
    pub fn watch(&mut self, inputs: &'m Inputs, head: bool) {
        for layer in &mut self.layers {
            layer.matrices().into_iter().for_each(|matrix| matrix.watch(inputs));
        }
        if head {
            self.head.watch(inputs);
        }
    }

    /// The number of token ids, and of logits for each position.
    pub fn vocab(&self) -> usize {
        self.head.rows
    }

    /// The hyper-parameters.
    pub fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    /// An empty cache for this model, with room for so many tokens.
    ///
    /// # Errors
    /// Limit if `capacity` tokens would need more memory than can be addressed.
    pub fn cache(&self, capacity: usize) -> Result<Cache> {
        let sizes = self.attention.key_size + self.attention.value_size;
        let bytes = sizes.checked_mul(self.kv_heads * self.layers.len() * size_of::<f32>());
        if bytes.and_then(|bytes| bytes.checked_mul(capacity)).is_none() {
            return Err(Error::limit(format!("a context of {capacity} tokens")));
        }
        Ok(Cache::new(self.layers.len(), self.kv_heads, capacity))
    }

    /// The logits of every position, `[token][vocabulary]`; the tokens are added to the cache.
    ///
    /// # Errors
    /// Usage for an id that is not in the vocabulary; Limit if the cache or the memory is full;
    /// Io and Unsupported from reading weights. The cache is then as it was, or has whole slices
    /// of the tokens.
    pub fn forward(&self, cache: &mut Cache, tokens: &[u32]) -> Result<Vec<f32>> {
        self.check(cache, tokens)?;
        let mut logits = Vec::new();
        grow(&mut logits, tokens.len().saturating_mul(self.vocab()))?;
        in_pool(|| {
            for slice in tokens.chunks(SLICE) {
                let hidden = self.hidden(cache, slice)?;
                self.logits(&hidden, &mut logits)?;
            }
            Ok(logits)
        })
    }

    /// The logits of the last position; the tokens are added to the cache.
    ///
    /// # Errors
    /// As [`Self::forward`], and Usage if there is no token.
    pub fn forward_last(&self, cache: &mut Cache, tokens: &[u32]) -> Result<Vec<f32>> {
        self.check(cache, tokens)?;
        let mut last = Batch::zeros(self.embedding.columns, 1)?;
        in_pool(|| {
            for slice in tokens.chunks(SLICE) {
                let hidden = self.hidden(cache, slice)?;
                hidden.get(slice.len() - 1, 0, &mut last.data);
            }
            let mut logits = Vec::new();
            if tokens.is_empty() {
                return Err(Error::usage("no tokens: there is no position to give logits for"));
            }
            self.logits(&last, &mut logits)?;
            Ok(logits)
        })
    }

    fn check(&self, cache: &Cache, tokens: &[u32]) -> Result<()> {
        let vocab = self.embedding.rows;
        if let Some(id) = tokens.iter().find(|id| **id as usize >= vocab) {
            let text = format!("token id {id} is not in the vocabulary, which has {vocab}");
            return Err(Error::usage(text));
        }
        let heads = cache.layers.first().map_or(0, Vec::len);
        if cache.layers.len() != self.layers.len() || heads != self.kv_heads {
            return Err(Error::bug("the cache was made for another model"));
        }
        cache.check_room(tokens.len())
    }

    /// What the last layer gives for these tokens, normalised.
    fn hidden(&self, cache: &mut Cache, tokens: &[u32]) -> Result<Batch> {
        let start = cache.len();
        let mut x = Batch::zeros(self.embedding.columns, tokens.len())?;
        for (token, id) in tokens.iter().enumerate() {
            x.set(token, &self.embedding.row(*id as usize)?);
        }
        let angles = self.rope.angles(start, tokens.len())?;
        for (layer, heads) in self.layers.iter().zip(&mut cache.layers) {
            let normed = self.normed(&x, &layer.attention_norm);
            x.add(&self.attend(layer, &normed, start, &angles, heads)?);
            let normed = self.normed(&x, &layer.feed_forward_norm);
            x.add(&self.feed_forward(layer, &normed)?);
        }
        cache.advance(tokens.len());
        Ok(self.normed(&x, &self.norm))
    }

    fn attend(
        &self,
        layer: &Layer<'_>,
        x: &Batch,
        start: usize,
        angles: &Angles,
        heads: &mut [Head],
    ) -> Result<Batch> {
        let (mut query, mut key) = (layer.query.apply(x)?, layer.key.apply(x)?);
        let value = layer.value.apply(x)?;
        self.rope.rotate(&mut query, self.attention.key_size, angles);
        self.rope.rotate(&mut key, self.attention.key_size, angles);
        cache::append(heads, start, &key, &value)?;
        layer.output.apply(&self.attention.apply(&query, start, heads)?)
    }

    fn feed_forward(&self, layer: &Layer<'_>, x: &Batch) -> Result<Batch> {
        let FeedForward::Gated(activation) = self.block.feed_forward;
        let (mut gate, up) = (layer.gate.apply(x)?, layer.up.apply(x)?);
        let panel_len = gate.panel_len();
        let panels = gate.data.par_chunks_mut(panel_len).zip(up.data.par_chunks(panel_len));
        panels.for_each(|(gate, up)| match activation {
            Activation::Silu => kernels::gate_silu(gate, up),
        });
        layer.down.apply(&gate)
    }

    fn normed(&self, x: &Batch, weights: &[f32]) -> Batch {
        let mut x = x.clone();
        let (lanes, panel_len) = (x.lanes(), x.panel_len());
        let norm = |panel: &mut [f32]| match (self.block.norm, lanes) {
            (Norm::Rms, 1) => {
                kernels::rms_norm::<1>(panel.as_chunks_mut().0, weights, self.epsilon);
            }
            (Norm::Rms, _) => {
                kernels::rms_norm::<LANES>(panel.as_chunks_mut().0, weights, self.epsilon);
            }
        };
        x.data.par_chunks_mut(panel_len).for_each(norm);
        x
    }

    /// Appends the logits of each token.
    fn logits(&self, x: &Batch, logits: &mut Vec<f32>) -> Result<()> {
        let (vocab, start) = (self.vocab(), logits.len());
        grow(logits, x.tokens * vocab)?;
        logits.resize(start + x.tokens * vocab, 0.0);
        let step = self.head.steps(HEAD_ROWS);
        self.head.count(x);
        for first in (0..vocab).step_by(step) {
            let rows = first..vocab.min(first + step);
            let part = self.head.product(rows.clone(), x)?;
            let positions = logits[start..].par_chunks_mut(vocab).enumerate();
            positions.for_each(|(token, logits)| part.get(token, 0, &mut logits[rows.clone()]));
        }
        Ok(())
    }
}

impl<'m> Layer<'m> {
    fn matrices(&mut self) -> [&mut Linear<'m>; 7] {
        let Self { query, key, value, output, gate, up, down, .. } = self;
        [query, key, value, output, gate, up, down]
    }

    fn find(arch: &Arch, model: &'m Model, layer: u64) -> Result<Self> {
        let linear = |role| Linear::find(arch, model, role, Some(layer));
        let norm = |role| weight::find_vector(arch, model, role, Some(layer));
        Ok(Self {
            attention_norm: norm(Role::AttentionNorm)?,
            query: linear(Role::Query)?,
            key: linear(Role::Key)?,
            value: linear(Role::Value)?,
            output: linear(Role::AttentionOutput)?,
            feed_forward_norm: norm(Role::FeedForwardNorm)?,
            gate: linear(Role::Gate)?,
            up: linear(Role::Up)?,
            down: linear(Role::Down)?,
        })
    }
}

/// Goes to the threads once, not once for each product, if the caller has not done so.
fn in_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

fn count(hyper: &Hyper, field: Field) -> Result<usize> {
    match hyper.get(field) {
        Some(Scalar::Count(n)) if n > 0 => Ok(n as usize),
        _ => Err(missing(field)),
    }
}

fn missing(field: Field) -> Error {
    Error::malformed(format!("the configuration has no {}", field.text()))
}
