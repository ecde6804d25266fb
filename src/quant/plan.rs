//! How the IQ packings of two and three bits bring a group onto their grid.
//!
//! A group's weights are split into signs and magnitudes. Scales are tried, see
//! [`fit`](super::fit); what they have found is kept with the signs.

use super::fit::{self, Fit};
use super::lattice::Lattice;
use super::rows;

/// What the packings do differently.
pub(super) struct Plan {
    /// Whether a minus may be where it is, or their number must be even among eight.
    pub(super) signs: Signs,
    /// A group whose magnitudes are all below is zero.
    pub(super) zero: f32,
    /// Tries to either side, and their distance in levels.
    pub(super) reach: i8,
    pub(super) step: f32,
    /// Which points are chosen again under the scale that was found.
    pub(super) again: Again,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Signs {
    Free,
    Even,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Again {
    All,
    AllIfAnyOffGrid,
    OffGrid,
}

/// What was chosen for a group of `P` points.
#[derive(Clone, Copy)]
pub(super) struct Group<const P: usize> {
    pub(super) scale: f32,
    pub(super) codes: [u16; P],
    /// Of eight weights each; two or four of them are used. If even, the last bit is not set.
    pub(super) signs: [u8; 4],
}

impl<const P: usize> Group<P> {
    /// What ggml leaves where all is zero.
    pub(super) const ZERO: Self = Self { scale: 0.0, codes: [0; P], signs: [0; 4] };
}

/// A group as the grid knows it: magnitudes and signs.
#[derive(Clone, Copy)]
pub(super) struct Parts<const G: usize> {
    pub(super) x: [f32; G],
    signs: [u8; 4],
    /// The greatest of them.
    peak: f32,
}

impl Plan {
    /// Chooses the points of a group of `G` weights; nothing where all are zero.
    #[inline(always)]
    pub(super) fn choose<const N: usize, const P: usize, const G: usize>(
        &self,
        lattice: &Lattice<N>,
        weights: &[f32; G],
        counts: &[f32; G],
    ) -> Option<Group<P>> {
        let parts = self.split(weights, counts)?;
        let peak = parts.peak;
        let scale = peak / (2.0 * lattice.top as f32 - 1.0);
        self.choose_around::<N, P, G, 2>(lattice, &parts, counts, (peak, scale))
    }

    /// Magnitudes and signs of a group, unless it is zero.
    #[inline(always)]
    pub(super) fn split<const G: usize>(
        &self,
        weights: &[f32; G],
        counts: &[f32; G],
    ) -> Option<Parts<G>> {
        let mut parts = Parts { x: [0.0; G], signs: [0; 4], peak: 0.0 };
        let eights = weights.as_chunks::<8>().0.iter().zip(counts.as_chunks().0);
        let places = parts.x.as_chunks_mut::<8>().0.iter_mut().zip(&mut parts.signs);
        for ((weights, counts), (x, signs)) in eights.zip(places) {
            (*x, *signs) = split(weights, counts, self.signs);
        }
        parts.peak = peak(&parts.x);
        if parts.peak < self.zero { None } else { Some(parts) }
    }

    /// Chooses the points of a group by scales around one that is given, together with what the
    /// greatest level then stands for. The tries take `LOTS` registers.
    #[inline(always)]
    pub(super) fn choose_around<
        const N: usize,
        const P: usize,
        const G: usize,
        const LOTS: usize,
    >(
        &self,
        lattice: &Lattice<N>,
        parts: &Parts<G>,
        counts: &[f32; G],
        (middle, scale): (f32, f32),
    ) -> Option<Group<P>> {
        if middle <= 0.0 {
            return None;
        }
        let fit = Fit { lattice, plan: self, x: &parts.x, counts };
        let (scale, codes) = fit::best::<N, P, G, LOTS>(&fit, middle, scale);
        let mut group = Group { scale, codes, signs: parts.signs };
        if group.scale < 0.0 {
            group.scale = -group.scale;
            let kept = if self.signs == Signs::Even { 127 } else { 255 };
            for signs in &mut group.signs {
                *signs = !*signs & kept;
            }
        }
        Some(group)
    }
}

/// The greatest of some weights, of every eighth first.
#[inline(always)]
fn peak<const G: usize>(x: &[f32; G]) -> f32 {
    let mut peaks = [x[0]; 8];
    for x in x.as_chunks::<8>().0 {
        for lane in 0..8 {
            peaks[lane] = if peaks[lane] > x[lane] { peaks[lane] } else { x[lane] };
        }
    }
    peaks.iter().fold(peaks[0], |peak, x| if peak > *x { peak } else { *x })
}

/// Magnitudes, and a bit for each minus. If their number must be even and is not, the weight that
/// counts least gets the wrong sign.
#[inline(always)]
fn split(weights: &[f32; 8], counts: &[f32; 8], kind: Signs) -> ([f32; 8], u8) {
    let (mut x, mut signs, mut cost) = ([0.0; 8], 0u8, [0.0; 8]);
    for i in 0..8 {
        x[i] = if weights[i] >= 0.0 { weights[i] } else { -weights[i] };
        signs |= if weights[i] >= 0.0 { 0 } else { 1 << i };
        cost[i] = counts[i] * weights[i] * weights[i];
    }
    if kind == Signs::Free {
        return (x, signs);
    }
    if signs.count_ones() % 2 == 1 {
        let least = (1..8).fold(0, |least, i| if cost[i] < cost[least] { i } else { least });
        x[least] = -x[least];
        signs ^= 1 << least;
    }
    (x, signs & 127)
}

/// The scale of a block, rounded, and the steps of its groups, which stand for odd numbers up to
/// `last`; nothing if all scales are zero.
#[inline(always)]
pub(super) fn steps<const COUNT: usize>(
    scales: [f32; COUNT],
    last: f32,
    correction: f32,
) -> Option<([u8; 2], [u8; COUNT])> {
    let peak = scales.iter().fold(0.0f32, |peak, s| if peak > *s { peak } else { *s });
    if peak == 0.0 {
        return None;
    }
    let d = peak / last;
    Some((rows::put_f16(d * correction), nearest_steps(scales, d, last)))
}

/// The steps of groups by a block's scale before it is rounded.
#[inline(always)]
pub(super) fn nearest_steps<const COUNT: usize>(
    scales: [f32; COUNT],
    d: f32,
    last: f32,
) -> [u8; COUNT] {
    let (inverse, top) = (1.0 / d, (last as i32 - 1) / 2);
    scales.map(|s| rows::nearest(0.5 * (inverse * s - 1.0)).min(top).max(0) as u8)
}

/// The sum of the squares of a block, added one after the other as in ggml.
#[inline(always)]
pub(super) fn square_sum(block: &[f32]) -> f32 {
    let mut sum = 0.0;
    for x in block {
        sum += x * x;
    }
    sum
}
