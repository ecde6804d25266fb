//! A decoder-only model, computed as the table of its family says.

mod attend;
mod body;
mod experts;
mod feed_forward;
mod latent;
mod layer;
mod norm;
mod output;

use std::sync::Arc;

use super::batch::{Batch, grow};
use super::cache::Cache;
use super::inputs::Inputs;
use super::rope::Angles;
use crate::arch::{self, Arch, Parts, Plan};
use crate::ir::{Error, Field, Hyper, Model, Result, Scalar};

pub(super) use attend::{Attend, CROSS, DECODER};
pub(super) use body::{Body, check_ids};
pub(super) use feed_forward::{DECODER_FEED_FORWARD, Dense};
pub(super) use norm::Norm;
pub(super) use output::Output;

/// Tokens of a prompt that are computed at once, which bounds the memory for activations.
const SLICE: usize = 512;

/// A model that can be run: its family, its hyper-parameters, and every weight's recipe.
pub struct Decoder {
    body: Body,
    output: Output,
}

/// Where a batch stands in its text.
pub(super) struct Step<'a> {
    /// The position of its first token.
    pub(super) start: usize,
    /// The rotations of its positions, of each kind.
    pub(super) angles: &'a [Angles],
}

impl Decoder {
    /// Prepares a model for running. Norms and biases are read; matrices are not.
    ///
    /// # Errors
    /// Unsupported for a family, an option or a type of weights that is not computed, naming it;
    /// Malformed if a tensor is missing or has a shape that the configuration contradicts.
    pub fn new(model: &Model) -> Result<Self> {
        let (arch, hyper) = checked(model)?;
        if arch.block.plan != Plan::Decoder {
            let text = "this model does not continue a text: it is not a decoder alone";
            return Err(Error::unsupported(text).at(&model.origin));
        }
        let parts = Parts { arch, model, hyper: &hyper };
        Ok(Self { body: Body::new(&parts)?, output: Output::find(&parts)? })
    }

    /// Has what goes into the matrices of all layers counted, and, if `head`, what goes into the
    /// output matrix.
    pub fn watch(&mut self, inputs: &Arc<Inputs>, head: bool) {
        self.body.watch(inputs);
        if head {
            self.output.watch(inputs);
        }
    }

    /// The number of token ids, and of logits for each position.
    pub fn vocab(&self) -> usize {
        self.output.vocab()
    }

    /// The hyper-parameters.
    pub fn hyper(&self) -> &Hyper {
        &self.body.hyper
    }

    /// An empty cache for this model, with room for so many tokens.
    ///
    /// # Errors
    /// Limit if `capacity` tokens would need more memory than can be addressed.
    pub fn cache(&self, capacity: usize) -> Result<Cache> {
        self.body.cache(capacity)
    }

    /// The logits of every position, `[token][vocabulary]`; the tokens are added to the cache.
    ///
    /// # Errors
    /// Usage for an id that is not in the vocabulary; Limit if the cache or the memory is full;
    /// Io and Unsupported from reading weights. The cache is then as it was, or has whole slices
    /// of the tokens.
    pub fn forward(&self, cache: &mut Cache, tokens: &[u32]) -> Result<Vec<f32>> {
        self.body.check(cache, tokens)?;
        let mut logits = Vec::new();
        grow(&mut logits, tokens.len().saturating_mul(self.vocab()))?;
        in_pool(|| {
            let len = cache.len() + tokens.len();
            for slice in tokens.chunks(SLICE) {
                let hidden = self.body.hidden(cache, slice, len)?;
                self.output.logits(&hidden, &mut logits)?;
            }
            Ok(logits)
        })
    }

    /// The logits of the last position; the tokens are added to the cache.
    ///
    /// # Errors
    /// As [`Self::forward`], and Usage if there is no token.
    pub fn forward_last(&self, cache: &mut Cache, tokens: &[u32]) -> Result<Vec<f32>> {
        self.body.check(cache, tokens)?;
        let mut last = Batch::zeros(self.output.features(), 1)?;
        in_pool(|| {
            let len = cache.len() + tokens.len();
            for slice in tokens.chunks(SLICE) {
                let hidden = self.body.hidden(cache, slice, len)?;
                hidden.get(slice.len() - 1, 0, &mut last.data);
            }
            let mut logits = Vec::new();
            if tokens.is_empty() {
                return Err(Error::usage("no tokens: there is no position to give logits for"));
            }
            self.output.logits(&last, &mut logits)?;
            Ok(logits)
        })
    }
}

/// The family of a model and its hyper-parameters, if the model is whole.
///
/// # Errors
/// As [`Decoder::new`].
pub(super) fn checked(model: &Model) -> Result<(&'static Arch, Hyper)> {
    let checked = || {
        let arch = arch::require(model)?;
        let hyper = arch::hyper(arch, model)?;
        arch::check(arch, model, &hyper)?;
        Ok((arch, hyper))
    };
    checked().map_err(|error: Error| error.at(&model.origin))
}

/// Goes to the threads once, not once for each product, if the caller has not done so.
pub(super) fn in_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

/// A count that the model must have.
pub(super) fn count(hyper: &Hyper, field: Field) -> Result<usize> {
    match hyper.get(field) {
        Some(Scalar::Count(n)) if n > 0 => Ok(n as usize),
        _ => Err(Error::malformed(format!("the configuration has no {}", field.text()))),
    }
}
