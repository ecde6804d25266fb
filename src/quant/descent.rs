//! The scales of Q3_K's groups: levels from −4 to 3 are moved one after the other to where the fit
//! is best, five times round. `make_q3_quants` of ggml.
//!
//! In four groups of five nothing moves. That is seen for all weights of a group at once, without a
//! division; only the others are gone through, many side by side.

use super::groups::{Lanes, each, peaks, turned};
use super::rows::{FAR, byte, nearest};
use super::search::ZERO_MAX;

/// Weights of a group.
const N: usize = 16;

/// Groups that are looked at together.
const SOME: usize = 16;

/// Groups that are gone through together: what a weight becomes waits for the weight before it, and
/// others fill the time.
const MANY: usize = 64;

/// Groups of one call, at most.
const MOST: usize = 1024;

/// The scale of each group; at most [`MOST`] groups, a multiple of [`SOME`].
#[inline(always)]
pub(super) fn scales(groups: &[[f32; N]], scales: &mut [f32]) {
    let (mut moving, mut count) = ([0; MOST], 0);
    let mut fit = Fit::<SOME>::NONE;
    let chunks = groups.as_chunks::<SOME>().0.iter().zip(scales.as_chunks_mut::<SOME>().0);
    for (chunk, (groups, scales)) in chunks.enumerate() {
        let x = turned(groups.as_flattened());
        fit.start(&x);
        *scales = fit.scales();
        for (g, moves) in fit.moves(&x).into_iter().enumerate() {
            moving[count] = chunk * SOME + g;
            count += moves as usize;
        }
    }
    let mut fit = Fit::<MANY>::NONE;
    for moving in moving[..count].chunks(MANY) {
        let mut gathered = [[0.0; N]; MANY];
        for (place, group) in gathered.iter_mut().zip(moving) {
            *place = groups[*group];
        }
        fit.find(&turned(gathered.as_flattened()));
        for (group, scale) in moving.iter().zip(fit.scales()) {
            scales[*group] = scale;
        }
    }
}

/// The levels of a group as the search has them, plus 4; 0 for a group of zeros.
#[inline(always)]
pub(super) fn levels(x: &[f32; N]) -> [u8; N] {
    let mut fit = Fit::<1>::NONE;
    fit.find(&each(|i| [x[i]]));
    each(|i| if fit.peak[0] < ZERO_MAX { 0 } else { byte(fit.levels[i][0] + 4.0) })
}

/// Levels of the weights of all lanes, and the sums that their scales follow from. It is large, and
/// should not be moved itself.
struct Fit<const G: usize> {
    levels: Lanes<N, G>,
    xl: [f32; G],
    l2: [f32; G],
    /// The largest magnitude.
    peak: [f32; G],
}

impl<const G: usize> Fit<G> {
    const NONE: Self = Self { levels: [[0.0; G]; N], xl: [0.0; G], l2: [0.0; G], peak: [0.0; G] };

    /// Puts the peak at −4.
    #[inline(always)]
    fn start(&mut self, x: &Lanes<N, G>) {
        let peak = peaks(x);
        let per_unit: [f32; G] = each(|g| -4.0 / peak[g]);
        let (mut xl, mut l2) = ([0.0; G], [0.0; G]);
        for (x, levels) in x.iter().zip(&mut self.levels) {
            for g in 0..G {
                levels[g] = nearest(per_unit[g] * x[g]).clamp(-4, 3) as f32;
                let (xl_one, l2_one) = products(x[g], levels[g]);
                xl[g] += xl_one;
                l2[g] += l2_one;
            }
        }
        (self.xl, self.l2, self.peak) = (xl, l2, each(|g| peak[g].abs()));
    }

    /// Puts the peak at −4, and moves levels, five times round.
    #[inline(always)]
    fn find(&mut self, x: &Lanes<N, G>) {
        self.start(x);
        for _ in 0..5 {
            if !self.descend(x) {
                break;
            }
        }
    }

    /// The scale of each lane; 0 where all weights are.
    #[inline(always)]
    fn scales(&self) -> [f32; G] {
        let mut scales = [0.0; G];
        for (g, scale) in scales.iter_mut().enumerate() {
            let fitted = self.xl[g] / self.l2[g];
            let found = (self.l2[g] > 0.0) & (self.peak[g] >= ZERO_MAX);
            *scale = if found { fitted } else { 0.0 };
        }
        scales
    }

    /// Whether [`descend`](Self::descend) may move anything, 1 or 0 for each lane: where another level
    /// is nearest to a weight, given the others.
    ///
    /// The products are right to within 2⁻²¹ of a level, and the borders are that much nearer, but
    /// where so little is left that they lose their places.
    #[inline(always)]
    fn moves(&self, x: &Lanes<N, G>) -> [u32; G] {
        const LITTLE: f32 = 1e-30;
        const HALF: f32 = 0.5 - 1.0 / 262_144.0;
        let mut moves = [0; G];
        for (x, levels) in x.iter().zip(&self.levels) {
            for g in 0..G {
                let (xl_one, l2_one) = products(x[g], levels[g]);
                let (xl_left, l2_left) = (self.xl[g] - xl_one, self.l2[g] - l2_one);
                let fitted = x[g] * l2_left;
                let from = if levels[g] > -4.0 { levels[g] - HALF } else { -FAR };
                let to = if levels[g] < 3.0 { levels[g] + HALF } else { FAR };
                let stays =
                    (xl_left >= LITTLE) & (fitted >= from * xl_left) & (fitted <= to * xl_left);
                moves[g] |= u32::from(!stays & (xl_left > 0.0));
            }
        }
        for (moves, peak) in moves.iter_mut().zip(&self.peak) {
            *moves &= u32::from(*peak >= ZERO_MAX);
        }
        moves
    }

    /// Moves level after level of each lane to where the fit is best; whether any was moved.
    #[inline(always)]
    fn descend(&mut self, x: &Lanes<N, G>) -> bool {
        let (mut xl, mut l2, mut moved) = (self.xl, self.l2, [0; G]);
        for (x, levels) in x.iter().zip(&mut self.levels) {
            for g in 0..G {
                let (x, w, old) = (x[g], x[g] * x[g], levels[g]);
                let (xl_one, l2_one) = products(x, old);
                let (xl_left, l2_left) = (xl[g] - xl_one, l2[g] - l2_one);
                let new = nearest(x * l2_left / xl_left).clamp(-4, 3) as f32;
                let (xl_new, l2_new) = (xl_left + w * x * new, l2_left + w * new * new);
                // `&`, not `&&`: the lanes go one way.
                let better = (xl_left > 0.0)
                    & (new != old)
                    & (l2_new > 0.0)
                    & (xl_new * xl_new * l2[g] > xl[g] * xl[g] * l2_new);
                levels[g] = if better { new } else { old };
                xl[g] = if better { xl_new } else { xl[g] };
                l2[g] = if better { l2_new } else { l2[g] };
                moved[g] |= u32::from(better);
            }
        }
        (self.xl, self.l2) = (xl, l2);
        moved.iter().fold(0, |any, moved| any | moved) != 0
    }
}

/// What a weight at a level adds to the sums of its lane: each weight counts by its square.
#[inline(always)]
fn products(x: f32, level: f32) -> (f32, f32) {
    let count = x * x;
    (count * x * level, count * level * level)
}
