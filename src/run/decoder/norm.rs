//! Normalisation, as the family has it.

use rayon::prelude::*;

use crate::arch::{Norm as Kind, Part, Parts, Role};
use crate::ir::{Error, Field, Result};
use crate::run::batch::Batch;
use crate::run::kernels::{self, LANES};
use crate::run::weight;

/// A norm: its kind, and its scale and shift for each feature.
pub(in crate::run) struct Norm {
    kind: Kind,
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
    epsilon: f32,
}

impl Norm {
    /// The norm of a role, if the model has it.
    ///
    /// # Errors
    /// Malformed if the configuration lacks an epsilon; what [`weight::find_vector`] says.
    pub(in crate::run) fn find(
        parts: &Parts<'_>,
        role: Role,
        layer: Option<u64>,
    ) -> Result<Option<Self>> {
        let kind = parts.arch.block.norm;
        let mut weights = match weight::find_vector(parts, role, Part::Weight, layer)? {
            Some(weights) => weights,
            None if kind == Kind::Plain && is_plain(role) => {
                vec![1.0; super::count(parts.hyper, Field::Hidden)?]
            }
            None => return Ok(None),
        };
        let lacks = parts.arch.block.norm_lacks(parts.model.naming);
        if lacks != 0.0 {
            weights.iter_mut().for_each(|x| *x += lacks);
        }
        let bias = weight::find_vector(parts, role, Part::Bias, layer)?;
        let latent = parts.hyper.latent_epsilon.filter(|_| is_latent(role));
        let epsilon = latent.or(parts.hyper.norm_epsilon).ok_or_else(|| {
            Error::malformed(format!("the configuration has no {}", Field::NormEpsilon.text()))
        })?;
        Ok(Some(Self { kind, weights, bias, epsilon }))
    }

    /// The features of each token, normalised.
    pub(in crate::run) fn apply(&self, x: &Batch) -> Batch {
        let mut x = x.clone();
        self.apply_to(&mut x);
        x
    }

    /// Normalises the features of each token.
    pub(in crate::run) fn apply_to(&self, x: &mut Batch) {
        let size = x.features;
        self.apply_by(x, size);
    }

    /// Normalises every `size` features, by scales that repeat if they are fewer than features.
    pub(in crate::run) fn apply_by(&self, x: &mut Batch, size: usize) {
        let (lanes, panel_len) = (x.lanes(), x.panel_len());
        x.data.par_chunks_mut(panel_len).for_each(|panel| match lanes {
            1 => self.panel::<1>(panel.as_chunks_mut().0, size),
            _ => self.panel::<LANES>(panel.as_chunks_mut().0, size),
        });
    }

    fn panel<const L: usize>(&self, panel: &mut [[f32; L]], size: usize) {
        for (i, features) in panel.chunks_exact_mut(size.max(1)).enumerate() {
            let first = i * size % self.weights.len().max(1);
            let weights = &self.weights[first..][..size];
            match self.kind {
                Kind::Rms => kernels::rms_norm(features, weights, self.epsilon),
                Kind::Layer | Kind::Plain => {
                    let bias = self.bias.as_ref().map(|bias| &bias[first..][..size]);
                    kernels::layer_norm(features, (weights, bias), self.epsilon);
                }
            }
        }
    }
}

/// The norms of narrow vectors.
fn is_latent(role: Role) -> bool {
    matches!(role, Role::QueryDownNorm | Role::KeyValueDownNorm)
}

/// The norms that a family without scales has all the same.
fn is_plain(role: Role) -> bool {
    matches!(role, Role::AttentionNorm | Role::FeedForwardNorm | Role::OutputNorm)
}
