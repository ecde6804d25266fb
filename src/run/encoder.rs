//! An encoder: every position sees all others, or those near it.
//!
//! ```text
//!  ids ─▶ embedding ─▶ layers ─▶ hidden states ─▶ dense ─▶ activation ─▶ norm ─▶ output ─▶ logits
//!                                                 └──────── of a head for masked words ───────┘
//! ```
//!
//! A text is computed whole: there is no cache between calls.

use super::batch::Batch;
use super::batch::grow;
use super::decoder::{Body, Norm, Output, checked, in_pool};
use super::kernels;
use super::weight::Linear;
use crate::arch::{Parts, Plan, Role};
use crate::ir::{Activation, Error, Hyper, Model, Result};

/// A model that reads a text, and says of each position what it means, or which word it is.
pub struct Encoder {
    body: Body,
    head: Option<Head>,
}

/// A head for masked words.
struct Head {
    dense: Linear,
    activation: Activation,
    norm: Norm,
    output: Output,
}

impl Encoder {
    /// Prepares a model for running. Norms and biases are read; matrices are not.
    ///
    /// # Errors
    /// Unsupported for a family, an option or a type of weights that is not computed, naming it;
    /// Malformed if a tensor is missing or has a shape that the configuration contradicts.
    pub fn new(model: &Model) -> Result<Self> {
        let (arch, hyper) = checked(model)?;
        if arch.block.plan != Plan::Encoder {
            let text = "this model is no encoder: it has no hidden states of a whole text";
            return Err(Error::unsupported(text).at(&model.origin));
        }
        let parts = Parts { arch, model, hyper: &hyper };
        Ok(Self { body: Body::new(&parts)?, head: Head::find(&parts)? })
    }

    /// The hyper-parameters.
    pub fn hyper(&self) -> &Hyper {
        &self.body.hyper
    }

    /// The features of a hidden state.
    pub fn features(&self) -> usize {
        self.body.features()
    }

    /// The numbers that [`Self::forward`] gives for each position: logits of all ids, or the
    /// features of a hidden state where there is no head.
    pub fn width(&self) -> usize {
        self.head.as_ref().map_or(self.features(), |head| head.output.vocab())
    }

    /// The hidden state of every position, `[token][feature]`.
    ///
    /// # Errors
    /// Usage for an id that is not in the vocabulary; Limit if there are more tokens than
    /// positions, or the memory is full; Io and Unsupported from reading weights.
    pub fn hidden(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        in_pool(|| {
            let hidden = self.states(tokens)?;
            let mut rows = Vec::new();
            grow(&mut rows, tokens.len() * hidden.features)?;
            rows.resize(tokens.len() * hidden.features, 0.0);
            let places = rows.chunks_mut(hidden.features.max(1)).enumerate();
            places.for_each(|(token, row)| hidden.get(token, 0, row));
            Ok(rows)
        })
    }

    /// What the head says of every position, `[token][vocabulary]`; hidden states where there is
    /// no head.
    ///
    /// # Errors
    /// As [`Self::hidden`].
    pub fn forward(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let Some(head) = &self.head else { return self.hidden(tokens) };
        in_pool(|| {
            let mut logits = Vec::new();
            head.apply(&self.states(tokens)?, &mut logits)?;
            Ok(logits)
        })
    }

    fn states(&self, tokens: &[u32]) -> Result<Batch> {
        let mut cache = self.body.cache(tokens.len())?;
        self.body.check(&cache, tokens)?;
        self.body.hidden(&mut cache, tokens, tokens.len())
    }
}

impl Head {
    fn find(parts: &Parts<'_>) -> Result<Option<Self>> {
        let Some(dense) = Linear::find_optional(parts, Role::HeadDense, None)? else {
            return Ok(None);
        };
        let Some(norm) = Norm::find(parts, Role::HeadNorm, None)? else { return Ok(None) };
        let activation = parts.hyper.head_activation.unwrap_or(Activation::Gelu);
        Ok(Some(Self { dense, activation, norm, output: Output::find(parts)? }))
    }

    fn apply(&self, x: &Batch, logits: &mut Vec<f32>) -> Result<()> {
        let mut x = self.dense.apply(x)?;
        kernels::activate(self.activation, &mut x.data);
        self.norm.apply_to(&mut x);
        self.output.logits(&x, logits)
    }
}
