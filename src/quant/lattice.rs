//! How the IQ packings of two and three bits choose the points of their groups.
//!
//! A group's weights are split into signs and magnitudes. Scales are tried: under each, a
//! magnitude has a level, and the levels of a point are a code if the grid has them, else the best
//! of the codes around. The scale whose points err least is kept and fitted by least squares.

use std::sync::LazyLock;

use super::grids::{level_bits, tables};
use super::{rows, search};

pub(super) static IQ1: LazyLock<Lattice<8>> = LazyLock::new(|| Lattice::new(&tables::IQ1_S, 3, 3));
pub(super) static IQ2_XXS: LazyLock<Lattice<8>> =
    LazyLock::new(|| Lattice::new(&tables::IQ2_XXS, 3, 2));
pub(super) static IQ2_XS: LazyLock<Lattice<8>> =
    LazyLock::new(|| Lattice::new(&tables::IQ2_XS, 3, 2));
pub(super) static IQ2_S: LazyLock<Lattice<8>> =
    LazyLock::new(|| Lattice::new(&tables::IQ2_S, 3, 1));
pub(super) static IQ3_XXS: LazyLock<Lattice<4>> =
    LazyLock::new(|| Lattice::new(&tables::IQ3_XXS, 8, 2));
pub(super) static IQ3_S: LazyLock<Lattice<4>> =
    LazyLock::new(|| Lattice::new(&tables::IQ3_S, 8, 3));

/// A grid, and for each combination of levels its code or those around it.
pub(super) struct Lattice<const N: usize> {
    /// The levels of each code.
    points: Vec<[u8; N]>,
    /// By the levels as bits, see [`Self::index`].
    places: Vec<Place>,
    around: Vec<u16>,
    top: i32,
}

/// Where the codes of a combination of levels are in `around`.
#[derive(Clone, Copy)]
struct Place {
    start: u32,
    count: u16,
    on_grid: bool,
}

impl<const N: usize> Lattice<N> {
    /// `top` levels; around a combination that is no code are those at the `wanted` least
    /// distances. `iq2xs_init_impl` and `iq3xs_init_impl` of ggml.
    fn new(codes: &[u16], top: u8, wanted: usize) -> Self {
        let bits = level_bits(N);
        let levels = |index: u16| -> [u8; N] {
            std::array::from_fn(|i| (index >> (bits * i) & ((1 << bits) - 1)) as u8)
        };
        let points: Vec<[u8; N]> = codes.iter().map(|code| levels(*code)).collect();
        let nowhere = Place { start: 0, count: 0, on_grid: false };
        let mut places = vec![nowhere; 1 << (bits * N)];
        let mut around: Vec<u16> = Vec::new();
        for (index, place) in places.iter_mut().enumerate() {
            let levels = levels(index as u16);
            if levels.iter().any(|level| *level >= top) {
                continue;
            }
            let start = around.len();
            let code = codes.iter().position(|code| usize::from(*code) == index);
            match code {
                Some(code) => around.push(code as u16),
                None => nearest_codes(&points, &levels, wanted, &mut around),
            }
            let count = (around.len() - start) as u16;
            *place = Place { start: start as u32, count, on_grid: code.is_some() };
        }
        Self { points, places, around, top: top.into() }
    }

    /// The levels as bits, the first in the lowest.
    #[inline(always)]
    pub(super) fn index(levels: &[u8; N]) -> usize {
        let bits = levels.iter().enumerate();
        bits.fold(0, |index, (i, level)| index | usize::from(*level) << (level_bits(N) * i))
    }

    /// The levels of a code.
    #[inline(always)]
    pub(super) fn point(&self, code: u16) -> [u8; N] {
        self.points[usize::from(code)]
    }

    /// The code of some levels, or of those around it the one with the least error.
    #[inline(always)]
    pub(super) fn code(&self, levels: &[u8; N], error: impl Fn(&[u8; N]) -> f32) -> (u16, bool) {
        let place = self.places[Self::index(levels)];
        let around = &self.around[place.start as usize..][..place.count.into()];
        if place.on_grid {
            return (around[0], true);
        }
        let (mut best, mut least) = (around[0], f32::MAX);
        for code in around {
            let error = error(&self.points[usize::from(*code)]);
            if error < least {
                (best, least) = (*code, error);
            }
        }
        (best, false)
    }
}

/// The codes at the `wanted` least distances, by distance, then by number.
fn nearest_codes<const N: usize>(
    points: &[[u8; N]],
    levels: &[u8; N],
    wanted: usize,
    around: &mut Vec<u16>,
) {
    let square = |(a, b): (&u8, &u8)| u32::from(a.abs_diff(*b)).pow(2);
    let distance = |point: &[u8; N]| point.iter().zip(levels).map(square).sum::<u32>();
    let distances: Vec<u32> = points.iter().map(distance).collect();
    let mut bound = None;
    for _ in 0..wanted {
        let beyond = distances.iter().filter(|d| bound.is_none_or(|bound| **d > bound));
        bound = beyond.min().copied().or(bound);
    }
    let start = around.len();
    around.extend((0..points.len() as u16).filter(|i| Some(distances[usize::from(*i)]) <= bound));
    around[start..].sort_by_key(|i| distances[usize::from(*i)]);
}

/// What the packings do differently.
pub(super) struct Plan {
    /// Whether a minus may be where it is, or their number must be even among eight.
    pub(super) signs: Signs,
    /// A group whose magnitudes are all below is zero.
    pub(super) zero: f32,
    /// The scale that all tries lie around.
    pub(super) middle: Middle,
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
pub(super) enum Middle {
    /// That of the largest magnitude.
    Peak,
    /// One that is fitted as if there were no grid.
    Fitted,
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

impl Plan {
    /// Chooses the points of a group of `G` weights; nothing where all are zero.
    #[inline(always)]
    pub(super) fn choose<const N: usize, const P: usize, const G: usize>(
        &self,
        lattice: &Lattice<N>,
        weights: &[f32; G],
        counts: &[f32; G],
    ) -> Option<Group<P>> {
        let (mut x, mut group) = ([0.0; G], Group::<P>::ZERO);
        let eights = weights.as_chunks::<8>().0.iter().zip(counts.as_chunks().0);
        let places = x.as_chunks_mut::<8>().0.iter_mut().zip(&mut group.signs);
        for ((weights, counts), (x, signs)) in eights.zip(places) {
            (*x, *signs) = split(weights, counts, self.signs);
        }
        let peak = x.iter().fold(x[0], |peak, x| if peak > *x { peak } else { *x });
        if peak < self.zero {
            return None;
        }
        let top = lattice.top as f32;
        let (middle, scale) = match self.middle {
            Middle::Peak => (peak, peak / (2.0 * top - 1.0)),
            Middle::Fitted => {
                let scale = search::positive(&x, counts, lattice.top + 1, &mut [0; G]);
                (scale * top, scale)
            }
        };
        if middle <= 0.0 {
            return None;
        }
        let found = Fit {
            lattice,
            x: x.as_chunks().0,
            counts: counts.as_chunks().0,
            roots: counts.map(f32::sqrt).as_chunks().0,
        }
        .best::<P>(self, middle, scale);
        (group.scale, group.codes) = found;
        if group.scale < 0.0 {
            group.scale = -group.scale;
            let kept = if self.signs == Signs::Even { 127 } else { 255 };
            group.signs = group.signs.map(|signs| !signs & kept);
        }
        Some(group)
    }
}

/// A group, while its scale is sought.
struct Fit<'a, const N: usize> {
    lattice: &'a Lattice<N>,
    x: &'a [[f32; N]],
    counts: &'a [[f32; N]],
    /// Of the counts: what the error of a code is measured by.
    roots: &'a [[f32; N]],
}

impl<const N: usize> Fit<'_, N> {
    /// The scale and the codes with the least error.
    #[inline(always)]
    fn best<const P: usize>(&self, plan: &Plan, middle: f32, scale: f32) -> (f32, [u16; P]) {
        let mut scale = scale;
        let mut least = 0.0;
        let mut codes = [0; P];
        let mut on_grid = [plan.again != Again::AllIfAnyOffGrid; P];
        let last = (2 * self.lattice.top - 1) as f32;
        for t in -plan.reach..=plan.reach {
            let inverse = (last + f32::from(t) * plan.step) / middle;
            let tried: [(u16, bool); P] =
                std::array::from_fn(|k| self.code(k, inverse, 1.0 / inverse));
            let tried_codes = tried.map(|(code, _)| code);
            let (xl, l2) = self.sums(&tried_codes);
            if l2 > 0.0 && xl * xl > least * l2 {
                scale = xl / l2;
                least = scale * xl;
                (codes, on_grid) = (tried_codes, tried.map(|(_, on_grid)| on_grid));
            }
        }
        let any_off = on_grid.contains(&false);
        if scale > 0.0 && (any_off || plan.again == Again::All) {
            for k in 0..P {
                if plan.again != Again::OffGrid || !on_grid[k] {
                    codes[k] = self.code(k, 1.0 / scale, scale).0;
                }
            }
            let (xl, l2) = self.sums(&codes);
            if l2 > 0.0 {
                scale = xl / l2;
            }
        }
        (scale, codes)
    }

    /// The code of point `k` under a scale, and whether the grid has its levels.
    #[inline(always)]
    fn code(&self, k: usize, inverse: f32, scale: f32) -> (u16, bool) {
        let (x, roots, top) = (&self.x[k], &self.roots[k], self.lattice.top - 1);
        let levels = x.map(|x| rows::nearest(0.5 * (inverse * x - 1.0)).min(top).max(0) as u8);
        self.lattice.code(&levels, |point| {
            let mut error = 0.0;
            for i in 0..N {
                let off = scale * odd(point[i]) - x[i];
                error += roots[i] * off * off;
            }
            error
        })
    }

    /// Of the products of weights and levels, and of levels and levels, by their counts.
    #[inline(always)]
    fn sums(&self, codes: &[u16]) -> (f32, f32) {
        let (mut xl, mut l2) = (0.0, 0.0);
        for ((code, x), counts) in codes.iter().zip(self.x).zip(self.counts) {
            let point = self.lattice.point(*code);
            for i in 0..N {
                let level = odd(point[i]);
                xl += counts[i] * x[i] * level;
                l2 += counts[i] * level * level;
            }
        }
        (xl, l2)
    }
}

/// Levels stand for the odd numbers.
#[inline(always)]
fn odd(level: u8) -> f32 {
    f32::from(2 * level + 1)
}

/// Magnitudes, and a bit for each minus. If their number must be even and is not, the weight that
/// counts least gets the wrong sign.
#[inline(always)]
fn split(weights: &[f32; 8], counts: &[f32; 8], kind: Signs) -> ([f32; 8], u8) {
    let mut x = weights.map(|x| if x >= 0.0 { x } else { -x });
    let minus = |(i, x): (usize, &f32)| if *x >= 0.0 { 0 } else { 1 << i };
    let mut signs: u8 = weights.iter().enumerate().map(minus).sum();
    if kind == Signs::Free {
        return (x, signs);
    }
    if signs.count_ones() % 2 == 1 {
        let cost = |i: usize| counts[i] * weights[i] * weights[i];
        let least = (1..8).fold(0, |least, i| if cost(i) < cost(least) { i } else { least });
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
    block.iter().fold(0.0, |sum, x| sum + x * x)
}
