//! A decoder-only transformer, computed as the table of its family says.

mod attend;
mod experts;
mod feed_forward;
mod latent;
mod layer;
mod norm;

use std::sync::Arc;

use rayon::prelude::*;

use super::batch::{Batch, grow};
use super::cache::Cache;
use super::inputs::Inputs;
use super::rope::{Angles, Rope};
use super::weight::{self, Linear, Weight};
use crate::arch::{self, Parts, Role};
use crate::ir::{Error, Field, Hyper, Model, Result, Scalar, Scaling};
use layer::Layer;
use norm::Norm;

/// Tokens of a prompt that are computed at once, which bounds the memory for activations.
const SLICE: usize = 512;

/// Rows of the output matrix that are multiplied at once, for the same reason.
const HEAD_ROWS: usize = 4096;

/// A model that can be run: its family, its hyper-parameters, and every weight's recipe.
pub struct Decoder {
    hyper: Hyper,
    embedding: Weight,
    positions: Option<Positions>,
    project_in: Option<Linear>,
    embedding_norm: Option<Norm>,
    layers: Vec<Layer>,
    norm: Option<Norm>,
    project_out: Option<Linear>,
    head: Linear,
    ropes: Vec<Rope>,
    key_value_heads: usize,
}

/// A vector for each position, from the row of the first one on.
struct Positions {
    table: Weight,
    first: usize,
}

/// Where a batch stands in its text.
struct Step<'a> {
    /// The position of its first token.
    start: usize,
    /// The rotations of its positions, of each kind.
    angles: &'a [Angles],
}

impl Decoder {
    /// Prepares a model for running. Norms and biases are read; matrices are not.
    ///
    /// # Errors
    /// Unsupported for a family, an option or a type of weights that is not computed, naming it;
    /// Malformed if a tensor is missing or has a shape that the configuration contradicts.
    pub fn new(model: &Model) -> Result<Self> {
        let arch = arch::require(model)?;
        let hyper = arch::hyper(arch, model).map_err(|error| error.at(&model.origin))?;
        arch::check(arch, model, &hyper)?;
        let parts = Parts { arch, model, hyper: &hyper };
        let layers = 0..count(&hyper, Field::Layers)? as u64;
        let head = if arch::is_tied(arch, model) { Role::Embedding } else { Role::Output };
        let positions = parts.get(Role::Positions, arch::Part::Weight, None)?;
        let first = arch.block.first_position;
        let positions = positions.map(Weight::new).transpose()?;
        Ok(Self {
            embedding: weight::find(&parts, Role::Embedding, None)?,
            positions: positions.map(|table| Positions { table, first }),
            project_in: Linear::find_optional(&parts, Role::ProjectIn, None)?,
            embedding_norm: Norm::find(&parts, Role::EmbeddingNorm, None)?,
            layers: layers.map(|layer| Layer::find(&parts, layer)).collect::<Result<_>>()?,
            norm: Norm::find(&parts, Role::OutputNorm, None)?,
            project_out: Linear::find_optional(&parts, Role::ProjectOut, None)?,
            head: Linear::find(&parts, head, None)?,
            ropes: ropes(&parts)?,
            key_value_heads: layer::key_value_heads(&hyper)?,
            hyper,
        })
    }

    /// Has what goes into the matrices of all layers counted, and, if `head`, what goes into the
    /// output matrix.
    pub fn watch(&mut self, inputs: &Arc<Inputs>, head: bool) {
        self.layers.iter_mut().for_each(|layer| layer.watch(inputs));
        if head {
            self.head.watch(inputs, (0, 1));
        }
    }

    /// The number of token ids, and of logits for each position.
    pub fn vocab(&self) -> usize {
        self.head.weight.rows
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
        let sizes = self.layers.first().map_or(0, |layer| layer.attention.cached());
        let bytes = sizes.checked_mul(self.key_value_heads * self.layers.len() * size_of::<f32>());
        if bytes.and_then(|bytes| bytes.checked_mul(capacity)).is_none() {
            return Err(Error::limit(format!("a context of {capacity} tokens")));
        }
        Ok(Cache::new(self.layers.len(), self.key_value_heads, capacity))
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
            let len = cache.len() + tokens.len();
            for slice in tokens.chunks(SLICE) {
                let hidden = self.hidden(cache, slice, len)?;
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
        let mut last = Batch::zeros(self.head.weight.columns, 1)?;
        in_pool(|| {
            let len = cache.len() + tokens.len();
            for slice in tokens.chunks(SLICE) {
                let hidden = self.hidden(cache, slice, len)?;
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
        if let Some(Positions { table, first }) = &self.positions {
            let (end, room) = (cache.len() + tokens.len(), table.rows.saturating_sub(*first));
            if end > room {
                let text = format!("{end} tokens, but the model has only {room} positions");
                return Err(Error::limit(text));
            }
        }
        let heads = cache.layers.first().map_or(0, Vec::len);
        if cache.layers.len() != self.layers.len() || heads != self.key_value_heads {
            return Err(Error::bug("the cache was made for another model"));
        }
        cache.check_room(tokens.len())
    }

    /// What the last layer gives for these tokens of a text of `len` so far, normalised.
    fn hidden(&self, cache: &mut Cache, tokens: &[u32], len: usize) -> Result<Batch> {
        let start = cache.len();
        let mut x = self.embed(tokens, start)?;
        let angles = |rope: &Rope| rope.angles(start, tokens.len(), len);
        let angles: Vec<Angles> = self.ropes.iter().map(angles).collect::<Result<_>>()?;
        let step = Step { start, angles: &angles };
        for (layer, heads) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.apply(x, &step, &self.ropes, heads)?;
        }
        cache.advance(tokens.len());
        if let Some(norm) = &self.norm {
            norm.apply_to(&mut x);
        }
        match &self.project_out {
            Some(project) => project.apply(&x),
            None => Ok(x),
        }
    }

    /// What goes into the first layer.
    fn embed(&self, tokens: &[u32], start: usize) -> Result<Batch> {
        let mut x = Batch::zeros(self.embedding.columns, tokens.len())?;
        for (token, id) in tokens.iter().enumerate() {
            x.set(token, &self.embedding.row(*id as usize)?);
        }
        if let Some(scale) = self.hyper.embedding_scale {
            x.scale(scale);
        }
        if let Some(project) = &self.project_in {
            x = project.apply(&x)?;
        }
        if let Some(Positions { table, first }) = &self.positions {
            let mut learned = Batch::zeros(table.columns, tokens.len())?;
            for token in 0..tokens.len() {
                learned.set(token, &table.row(first + start + token)?);
            }
            x.add(&learned);
        }
        if let Some(norm) = &self.embedding_norm {
            norm.apply_to(&mut x);
        }
        Ok(x)
    }

    /// Appends the logits of each token.
    fn logits(&self, x: &Batch, logits: &mut Vec<f32>) -> Result<()> {
        let (vocab, start) = (self.vocab(), logits.len());
        grow(logits, x.tokens * vocab)?;
        logits.resize(start + x.tokens * vocab, 0.0);
        let step = self.head.weight.steps(HEAD_ROWS);
        self.head.observe(x);
        for first in (0..vocab).step_by(step) {
            let rows = first..vocab.min(first + step);
            let part = self.head.rows(rows.clone(), x)?;
            let positions = logits[start..].par_chunks_mut(vocab).enumerate();
            positions.for_each(|(token, logits)| part.get(token, 0, &mut logits[rows.clone()]));
        }
        self.finish(&mut logits[start..]);
        Ok(())
    }

    fn finish(&self, logits: &mut [f32]) {
        let Hyper { logit_scale, logit_divisor, logit_cap, .. } = self.hyper;
        if let Some(scale) = logit_scale {
            logits.iter_mut().for_each(|x| *x *= scale);
        }
        if let Some(divisor) = logit_divisor {
            logits.iter_mut().for_each(|x| *x /= divisor);
        }
        if let Some(cap) = logit_cap {
            logits.iter_mut().for_each(|x| *x = cap * libm::tanhf(*x / cap));
        }
    }
}

/// The rotations of the model: that of most layers, and that of those with a window, where it is
/// another.
fn ropes(parts: &Parts<'_>) -> Result<Vec<Rope>> {
    let pairing = parts.arch.block.pairing(parts.model.naming);
    let mut hypers = Vec::new();
    if parts.hyper.rope_theta.is_some() && parts.hyper.rope_dims.is_some() {
        hypers.push(parts.hyper.clone());
        if parts.hyper.local_theta.is_some() {
            let rope_theta = parts.hyper.local_theta;
            let scaling = Scaling::None;
            hypers.push(Hyper { rope_theta, scaling, ..parts.hyper.clone() });
        }
    }
    hypers.iter().map(|hyper| Rope::new(hyper, pairing)).collect()
}

/// Goes to the threads once, not once for each product, if the caller has not done so.
fn in_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

/// A count that the model must have.
fn count(hyper: &Hyper, field: Field) -> Result<usize> {
    match hyper.get(field) {
        Some(Scalar::Count(n)) if n > 0 => Ok(n as usize),
        _ => Err(Error::malformed(format!("the configuration has no {}", field.text()))),
    }
}
