//! Activations of the tokens that are computed at once.

use super::kernels::LANES;
use crate::ir::{Error, Result};

/// Activations: `[panel][feature][lane]`, a lane for each token.
///
/// Several tokens are computed in panels of [`LANES`], the last of them padded with zeros. One
/// token alone is one panel of one lane, which is a plain vector.
#[derive(Clone)]
pub(super) struct Batch {
    pub(super) data: Vec<f32>,
    pub(super) features: usize,
    pub(super) tokens: usize,
    lanes: usize,
}

impl Batch {
    /// Zeros.
    ///
    /// # Errors
    /// Limit if the memory is not to be had.
    pub(super) fn zeros(features: usize, tokens: usize) -> Result<Self> {
        Self::in_lanes(features, tokens, if tokens == 1 { 1 } else { LANES })
    }

    /// Zeros in panels, even of one token, which is then computed as it would be among others.
    ///
    /// # Errors
    /// Limit if the memory is not to be had.
    pub(super) fn in_panels(features: usize, tokens: usize) -> Result<Self> {
        Self::in_lanes(features, tokens, LANES)
    }

    /// Zeros for the same tokens.
    ///
    /// # Errors
    /// Limit if the memory is not to be had.
    pub(super) fn like(&self, features: usize) -> Result<Self> {
        Self::in_lanes(features, self.tokens, self.lanes)
    }

    fn in_lanes(features: usize, tokens: usize, lanes: usize) -> Result<Self> {
        let data = zeros(tokens.next_multiple_of(lanes) * features)?;
        Ok(Self { data, features, tokens, lanes })
    }

    /// Tokens in a panel: [`LANES`], or 1.
    pub(super) fn lanes(&self) -> usize {
        self.lanes
    }

    /// The number of panels.
    pub(super) fn panels(&self) -> usize {
        self.tokens.div_ceil(self.lanes())
    }

    /// The number of values in a panel; at least 1, so that it can be a step.
    pub(super) fn panel_len(&self) -> usize {
        (self.features * self.lanes()).max(1)
    }

    /// Adds another batch of the same shape.
    pub(super) fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.data.len(), other.data.len());
        for (x, y) in self.data.iter_mut().zip(&other.data) {
            *x += y;
        }
    }

    /// Multiplies every value.
    pub(super) fn scale(&mut self, by: f32) {
        self.data.iter_mut().for_each(|x| *x *= by);
    }

    /// Some features of every token.
    ///
    /// # Errors
    /// Limit if the memory is not to be had.
    pub(super) fn features(&self, range: std::ops::Range<usize>) -> Result<Self> {
        let mut out = self.like(range.len())?;
        out.paste(0, self, range);
        Ok(out)
    }

    /// Copies features of a batch of as many tokens to those from `first` on.
    pub(super) fn paste(&mut self, first: usize, from: &Self, range: std::ops::Range<usize>) {
        debug_assert_eq!((self.tokens, self.lanes), (from.tokens, from.lanes));
        let (lanes, len, from_len) = (self.lanes(), self.panel_len(), from.panel_len());
        let panels = self.data.chunks_mut(len).zip(from.data.chunks(from_len));
        for (to, from) in panels {
            let from = &from[range.start * lanes..range.end * lanes];
            to[first * lanes..][..from.len()].copy_from_slice(from);
        }
    }

    /// Copies the features of `token` from `first` on.
    pub(super) fn get(&self, token: usize, first: usize, out: &mut [f32]) {
        let lanes = self.lanes();
        let start = token / lanes * self.panel_len() + first * lanes + token % lanes;
        for (out, x) in out.iter_mut().zip(self.data[start..].iter().step_by(lanes)) {
            *out = *x;
        }
    }

    /// Sets all features of `token`.
    pub(super) fn set(&mut self, token: usize, features: &[f32]) {
        let lanes = self.lanes();
        let start = token / lanes * self.panel_len() + token % lanes;
        for (place, x) in self.data[start..].iter_mut().step_by(lanes).zip(features) {
            *place = *x;
        }
    }
}

/// Zeros, or an error where `vec!` would end the process.
pub(super) fn zeros(len: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    grow(&mut values, len)?;
    values.resize(len, 0.0);
    Ok(values)
}

/// Makes room for `more` values.
pub(super) fn grow(values: &mut Vec<f32>, more: usize) -> Result<()> {
    values.try_reserve(more).map_err(|_| {
        let bytes = more.saturating_mul(size_of::<f32>());
        Error::limit(format!("{bytes} bytes of memory are not to be had for running the model"))
    })
}
