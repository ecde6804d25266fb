//! Rotary positions: <https://arxiv.org/abs/2104.09864>.

use super::batch::Batch;
use super::kernels::LANES;
use crate::arch::{self, Pairing};
use crate::ir::{Hyper, Result, Scaling};

/// How a model's queries and keys are rotated.
pub(super) struct Rope {
    hyper: Hyper,
    frequencies: Vec<f32>,
    /// The multiplier of cosine and sine.
    scale: f32,
    pairing: Pairing,
}

/// Cosine and sine of each pair of dimensions, for the tokens of one batch.
pub(super) struct Angles {
    cosine: Batch,
    sine: Batch,
}

impl Rope {
    /// The rotation that the hyper-parameters describe.
    ///
    /// # Errors
    /// What [`arch::frequencies`] says.
    pub(super) fn new(hyper: &Hyper, pairing: Pairing) -> Result<Self> {
        let (frequencies, scale) = arch::frequencies(hyper, 1)?;
        Ok(Self { hyper: hyper.clone(), frequencies, scale, pairing })
    }

    /// The angles of `tokens` positions from `start` on, in a text of `len` tokens so far. As in
    /// transformers, an angle is a product of binary32 numbers.
    ///
    /// # Errors
    /// Limit if the memory is not to be had.
    pub(super) fn angles(&self, start: usize, tokens: usize, len: usize) -> Result<Angles> {
        let by_length =
            matches!(self.hyper.scaling, Scaling::Dynamic { .. } | Scaling::Long { .. });
        let stretched =
            by_length.then(|| arch::frequencies(&self.hyper, len as u64)).transpose()?;
        let frequencies = stretched.as_ref().map_or(&self.frequencies, |(stretched, _)| stretched);
        let pairs = frequencies.len();
        let (mut cosine, mut sine) = (Batch::zeros(pairs, tokens)?, Batch::zeros(pairs, tokens)?);
        for token in 0..tokens {
            let position = (start + token) as f32;
            let angles = || frequencies.iter().map(|f| f64::from(position * f));
            let scaled = |x: f64| x as f32 * self.scale;
            let row: Vec<f32> = angles().map(|angle| scaled(libm::cos(angle))).collect();
            cosine.set(token, &row);
            let row: Vec<f32> = angles().map(|angle| scaled(libm::sin(angle))).collect();
            sine.set(token, &row);
        }
        Ok(Angles { cosine, sine })
    }

    /// Rotates each head of `size` dimensions, from its dimension `first` on.
    pub(super) fn rotate(&self, x: &mut Batch, size: usize, first: usize, angles: &Angles) {
        match x.lanes() {
            1 => self.rotate_lanes::<1>(x, size, first, angles),
            _ => self.rotate_lanes::<LANES>(x, size, first, angles),
        }
    }

    fn rotate_lanes<const L: usize>(
        &self,
        x: &mut Batch,
        size: usize,
        first: usize,
        angles: &Angles,
    ) {
        let pairs = self.frequencies.len();
        let panel_len = x.panel_len();
        let cosines = angles.cosine.data.chunks(angles.cosine.panel_len());
        let sines = angles.sine.data.chunks(angles.sine.panel_len());
        for ((panel, cosine), sine) in x.data.chunks_mut(panel_len).zip(cosines).zip(sines) {
            let (cosine, sine) = (cosine.as_chunks::<L>().0, sine.as_chunks::<L>().0);
            for head in panel.as_chunks_mut::<L>().0.chunks_mut(size) {
                let head = &mut head[first..];
                for (i, (cosine, sine)) in cosine.iter().zip(sine).enumerate() {
                    let (a, b) = match self.pairing {
                        Pairing::Halves => (i, i + pairs),
                        Pairing::Pairs => (2 * i, 2 * i + 1),
                    };
                    let (x, y) = (head[a], head[b]);
                    for lane in 0..L {
                        head[a][lane] = x[lane] * cosine[lane] - y[lane] * sine[lane];
                        head[b][lane] = y[lane] * cosine[lane] + x[lane] * sine[lane];
                    }
                }
            }
        }
    }
}
