//! The last step: the logits of all ids, from the hidden state of each token.

use std::sync::Arc;

use rayon::prelude::*;

use crate::arch::{self, Part, Parts, Role};
use crate::ir::{Hyper, Result};
use crate::run::batch::{Batch, grow};
use crate::run::inputs::Inputs;
use crate::run::weight::{self, Linear};

/// Rows of the output matrix that are multiplied at once, which bounds the memory for activations.
const HEAD_ROWS: usize = 4096;

/// The output matrix, and what is done with its products.
pub(in crate::run) struct Output {
    matrix: Linear,
    scale: Option<f32>,
    divisor: Option<f32>,
    cap: Option<f32>,
}

impl Output {
    /// The model's output matrix: its own, or the embedding.
    ///
    /// # Errors
    /// Malformed if it is missing; Unsupported if its type is not computed.
    pub(in crate::run) fn find(parts: &Parts<'_>) -> Result<Self> {
        let tied = arch::is_tied(parts.arch, parts.model);
        let role = if tied { Role::Embedding } else { Role::Output };
        let matrix = Linear::find(parts, role, None)?;
        let Hyper { logit_scale, logit_divisor, logit_cap, .. } = *parts.hyper;
        let bias = weight::find_vector(parts, Role::OutputBias, Part::Weight, None)?;
        Ok(Self {
            matrix: matrix.plus(bias),
            scale: logit_scale,
            divisor: logit_divisor,
            cap: logit_cap,
        })
    }

    /// The number of ids.
    pub(in crate::run) fn vocab(&self) -> usize {
        self.matrix.weight.rows
    }

    /// The features that it takes of each token.
    pub(in crate::run) fn features(&self) -> usize {
        self.matrix.weight.columns
    }

    /// Has what goes into the matrix counted.
    pub(in crate::run) fn watch(&mut self, inputs: &Arc<Inputs>) {
        self.matrix.watch(inputs, (0, 1));
    }

    /// Appends the logits of each token.
    ///
    /// # Errors
    /// Limit from memory; Io and Unsupported from reading weights.
    pub(in crate::run) fn logits(&self, x: &Batch, logits: &mut Vec<f32>) -> Result<()> {
        let (vocab, start) = (self.vocab(), logits.len());
        grow(logits, x.tokens * vocab)?;
        logits.resize(start + x.tokens * vocab, 0.0);
        let step = self.matrix.weight.steps(HEAD_ROWS);
        self.matrix.observe(x);
        for first in (0..vocab).step_by(step) {
            let rows = first..vocab.min(first + step);
            let part = self.matrix.rows(rows.clone(), x)?;
            let positions = logits[start..].par_chunks_mut(vocab).enumerate();
            positions.for_each(|(token, logits)| part.get(token, 0, &mut logits[rows.clone()]));
        }
        self.finish(&mut logits[start..]);
        Ok(())
    }

    fn finish(&self, logits: &mut [f32]) {
        if let Some(scale) = self.scale {
            logits.iter_mut().for_each(|x| *x *= scale);
        }
        if let Some(divisor) = self.divisor {
            logits.iter_mut().for_each(|x| *x /= divisor);
        }
        if let Some(cap) = self.cap {
            logits.iter_mut().for_each(|x| *x = cap * libm::tanhf(*x / cap));
        }
    }
}
