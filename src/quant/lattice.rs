//! How the IQ packings of two and three bits choose the points of their groups.
//!
//! A group's weights are split into signs and magnitudes. Scales are tried: under each, a
//! magnitude has a level, and the levels of a point are a code if the grid has them, else the best
//! of the codes around. The scale whose points err least is kept and fitted by least squares.

use std::sync::LazyLock;

use super::grids::{level_bits, tables};
use super::rows;

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
    /// The levels of each code as bits, see [`Self::index`].
    points: &'static [u16],
    /// By the levels as bits.
    places: Vec<Place>,
    /// Codes, and the levels of each as bits.
    around: Vec<u16>,
    levels_around: Vec<u16>,
    top: i32,
}

/// Where the codes of a combination of levels are in `around`.
#[derive(Clone, Copy)]
pub(super) struct Place {
    start: u32,
    count: u16,
    pub(super) on_grid: bool,
}

/// What a point's error is measured by: level `l` stands for (`slope` · l + `first`) scales.
pub(super) struct Measure<'a, const N: usize> {
    pub(super) x: &'a [f32; N],
    /// How much the square of each weight's error counts.
    pub(super) counts: &'a [f32; N],
    pub(super) slope: f32,
    pub(super) first: f32,
}

/// The code with the least error, and the least error of any other.
#[derive(Clone, Copy)]
struct Nearest {
    code: u16,
    levels: u16,
    error: f32,
    next: f32,
}

/// Codes that are measured at once.
const AT_ONCE: usize = 16;

impl<const N: usize> Lattice<N> {
    /// `top` levels; around a combination that is no code are those at the `wanted` least
    /// distances. `iq2xs_init_impl` and `iq3xs_init_impl` of ggml.
    fn new(codes: &'static [u16], top: u8, wanted: usize) -> Self {
        let bits = level_bits(N);
        let points: Vec<[u8; N]> = codes.iter().map(|code| levels(*code)).collect();
        let nowhere = Place { start: 0, count: 0, on_grid: false };
        let mut places = vec![nowhere; 1 << (bits * N)];
        let mut around: Vec<u16> = Vec::new();
        for (index, place) in places.iter_mut().enumerate() {
            let levels: [u8; N] = levels(index as u16);
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
            // The codes of a place are measured in whole lots.
            around.resize(start + (around.len() - start).next_multiple_of(AT_ONCE), 0);
        }
        let levels_around = around.iter().map(|code| codes[usize::from(*code)]).collect();
        Self { points: codes, places, around, levels_around, top: top.into() }
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
        levels(self.points[usize::from(code)])
    }

    /// What is known about a combination of levels.
    #[inline(always)]
    pub(super) fn place(&self, index: usize) -> Place {
        self.places[index]
    }

    /// The code of a place, or of those around it the first with the least error.
    #[inline(always)]
    pub(super) fn code(&self, place: Place, measure: &Measure<'_, N>, scale: f32) -> u16 {
        if place.on_grid {
            return self.around[place.start as usize];
        }
        self.nearest(place, measure, scale).code
    }

    /// The first code around a place with the least error under a scale; the first of all if none
    /// has a finite one.
    #[inline(always)]
    fn nearest(&self, place: Place, measure: &Measure<'_, N>, scale: f32) -> Nearest {
        let start = place.start as usize;
        let lots = self.levels_around[start..].as_chunks::<AT_ONCE>().0;
        let count = u32::from(place.count);
        let (mut least, mut next) = ([f32::MAX; AT_ONCE], [f32::MAX; AT_ONCE]);
        let mut index: [u32; AT_ONCE] = std::array::from_fn(|lane| lane as u32);
        for (lot, levels) in lots.iter().enumerate().take(place.count.div_ceil(16).into()) {
            let errors = measure.errors(levels, scale);
            for lane in 0..AT_ONCE {
                let i = (lot * AT_ONCE + lane) as u32;
                let error = if i < count { errors[lane] } else { f32::INFINITY };
                let less = error < least[lane];
                let worse = if less { least[lane] } else { error };
                next[lane] = if worse < next[lane] { worse } else { next[lane] };
                least[lane] = if less { error } else { least[lane] };
                index[lane] = if less { i } else { index[lane] };
            }
        }
        let mut bits = [0; AT_ONCE];
        for lane in 0..AT_ONCE {
            bits[lane] = least[lane].to_bits();
        }
        let error = f32::from_bits(lowest(&bits));
        for lane in 0..AT_ONCE {
            bits[lane] = if least[lane] == error { index[lane] } else { u32::MAX };
        }
        let first = lowest(&bits);
        for lane in 0..AT_ONCE {
            let other = if index[lane] == first { f32::MAX } else { least[lane] };
            bits[lane] = if next[lane] < other { next[lane] } else { other }.to_bits();
        }
        let second = f32::from_bits(lowest(&bits));
        let at = start + first as usize;
        Nearest { code: self.around[at], levels: self.levels_around[at], error, next: second }
    }
}

/// The least of some numbers. The order of floats that are not negative is that of their bits.
#[inline(always)]
fn lowest(of: &[u32; AT_ONCE]) -> u32 {
    // Through memory: what lies in registers is compared number by number.
    std::hint::black_box(of).iter().fold(u32::MAX, |lowest, x| lowest.min(*x))
}

impl<const N: usize> Measure<'_, N> {
    /// The errors of some codes, by their levels.
    #[inline(always)]
    fn errors(&self, levels: &[u16; AT_ONCE], scale: f32) -> [f32; AT_ONCE] {
        let bits = level_bits(N);
        let mut errors = [0.0; AT_ONCE];
        for i in 0..N {
            for lane in 0..AT_ONCE {
                let level = u32::from(levels[lane]) >> (bits * i) & ((1 << bits) - 1);
                // Without rounding, as both are small.
                let level = self.slope * level as i32 as f32 + self.first;
                let off = scale * level - self.x[i];
                errors[lane] += self.counts[i] * off * off;
            }
        }
        errors
    }

    /// Whether what is nearest under two scales is nearest under all between, even as rounded.
    ///
    /// The errors of two points differ by s · (a · s + b): if one is less at both ends, it is less
    /// between. Rounding changes errors by some millionths, if they are not themselves so small.
    #[inline(always)]
    fn same_between(&self, (a, b): (&Nearest, &Nearest), greatest: f32) -> bool {
        let mut all = 0.0;
        for count in self.counts {
            all += count;
        }
        let least = 1e-4 * greatest * greatest * all;
        let far = (a.next > least) & (b.next > least);
        (a.code == b.code) & far & (a.error < 0.9998 * a.next) & (b.error < 0.9998 * b.next)
    }
}

/// The levels from their bits.
#[inline(always)]
fn levels<const N: usize>(bits: u16) -> [u8; N] {
    let width = level_bits(N);
    std::array::from_fn(|i| (bits >> (width * i) & ((1 << width) - 1)) as u8)
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
}

/// Tries that are made at once: as many as any plan has, but for one.
const MANY: usize = 32;

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
        let peak = parts.peak();
        let scale = peak / (2.0 * lattice.top as f32 - 1.0);
        self.choose_around::<N, P, G, MANY>(lattice, &parts, counts, (peak, scale))
    }

    /// Magnitudes and signs of a group, unless it is zero.
    #[inline(always)]
    pub(super) fn split<const G: usize>(
        &self,
        weights: &[f32; G],
        counts: &[f32; G],
    ) -> Option<Parts<G>> {
        let mut parts = Parts { x: [0.0; G], signs: [0; 4] };
        let eights = weights.as_chunks::<8>().0.iter().zip(counts.as_chunks().0);
        let places = parts.x.as_chunks_mut::<8>().0.iter_mut().zip(&mut parts.signs);
        for ((weights, counts), (x, signs)) in eights.zip(places) {
            (*x, *signs) = split(weights, counts, self.signs);
        }
        if parts.peak() < self.zero { None } else { Some(parts) }
    }

    /// Chooses the points of a group by scales around one that is given, together with what the
    /// greatest level then stands for.
    #[inline(always)]
    pub(super) fn choose_around<const N: usize, const P: usize, const G: usize, const T: usize>(
        &self,
        lattice: &Lattice<N>,
        parts: &Parts<G>,
        counts: &[f32; G],
        (middle, scale): (f32, f32),
    ) -> Option<Group<P>> {
        if middle <= 0.0 {
            return None;
        }
        let mut roots = [0.0; G];
        for i in 0..G {
            roots[i] = counts[i].sqrt();
        }
        let fit = Fit {
            lattice,
            x: parts.x.as_chunks().0,
            counts: counts.as_chunks().0,
            roots: roots.as_chunks().0,
        };
        let (scale, codes) = fit.best::<P, T>(self, middle, scale);
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

impl<const G: usize> Parts<G> {
    #[inline(always)]
    fn peak(&self) -> f32 {
        self.x.iter().fold(self.x[0], |peak, x| if peak > *x { peak } else { *x })
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

/// Scales that are tried, one in each lane, and what each gives for a group of `P` points.
struct Tried<const P: usize, const T: usize> {
    count: usize,
    scale: [f32; T],
    /// The levels before they are brought onto the grid, and those of the codes, as bits.
    wanted: [[u32; T]; P],
    levels: [[u32; T]; P],
    codes: [[u32; T]; P],
}

/// As many runs as the points of a group may have: every try of each on its own.
const RUNS: usize = 8 * MANY;

/// Tries from `first` to `last` under which a point has the same levels, and what is nearest at both.
#[derive(Clone, Copy)]
struct Run {
    k: usize,
    first: usize,
    last: usize,
    place: Place,
    from: Nearest,
    to: Nearest,
}

impl Run {
    const NONE: Self = {
        let place = Place { start: 0, count: 0, on_grid: true };
        let nearest = Nearest { code: 0, levels: 0, error: 0.0, next: 0.0 };
        Self { k: 0, first: 0, last: 0, place, from: nearest, to: nearest }
    };
}

impl<const P: usize, const T: usize> Tried<P, T> {
    /// The runs of all points.
    #[inline(always)]
    fn runs<'a>(&self, runs: &'a mut [Run; RUNS]) -> &'a mut [Run] {
        let mut found = 0;
        for k in 0..P {
            let mut first = 0;
            for t in 0..self.count {
                if t + 1 == self.count || self.wanted[k][t + 1] != self.wanted[k][t] {
                    runs[found] = Run { k, first, last: t, ..Run::NONE };
                    found += 1;
                    first = t + 1;
                }
            }
        }
        &mut runs[..found]
    }

    /// Point `k` has this code from try `first` on, until another is set.
    #[inline(always)]
    fn set(&mut self, k: usize, first: usize, levels: u16, code: u16) {
        for t in 0..T {
            let set = t as u32 >= first as u32;
            self.levels[k][t] = if set { levels.into() } else { self.levels[k][t] };
            self.codes[k][t] = if set { code.into() } else { self.codes[k][t] };
        }
    }
}

impl<const N: usize> Fit<'_, N> {
    /// The scale and the codes with the least error.
    #[inline(always)]
    fn best<const P: usize, const T: usize>(
        &self,
        plan: &Plan,
        middle: f32,
        mut scale: f32,
    ) -> (f32, [u16; P]) {
        let tried = self.tried::<P, T>(plan, middle);
        let (xl, l2) = self.sums(&tried.levels);
        let (mut least, mut best) = (0.0, None);
        for t in 0..tried.count {
            if l2[t] > 0.0 && xl[t] * xl[t] > least * l2[t] {
                scale = xl[t] / l2[t];
                least = scale * xl[t];
                best = Some(t);
            }
        }
        let (mut codes, mut on_grid) = ([0; P], [plan.again != Again::AllIfAnyOffGrid; P]);
        if let Some(t) = best {
            for k in 0..P {
                codes[k] = tried.codes[k][t] as u16;
                on_grid[k] = self.lattice.place(tried.wanted[k][t] as usize).on_grid;
            }
        }
        let any_off = on_grid.contains(&false);
        if scale > 0.0 && (any_off || plan.again == Again::All) {
            let mut levels = [[0; 1]; P];
            for k in 0..P {
                if plan.again != Again::OffGrid || !on_grid[k] {
                    let wanted = self.wanted(k, &[1.0 / scale]);
                    let place = self.lattice.place(wanted[0] as usize);
                    codes[k] = self.lattice.code(place, &self.measure(k), scale);
                }
                levels[k][0] = u32::from(self.lattice.points[usize::from(codes[k])]);
            }
            let ([xl], [l2]) = self.sums(&levels);
            if l2 > 0.0 {
                scale = xl / l2;
            }
        }
        (scale, codes)
    }

    /// The codes of all points under all scales that are tried.
    #[inline(always)]
    fn tried<const P: usize, const T: usize>(&self, plan: &Plan, middle: f32) -> Tried<P, T> {
        let count = 2 * plan.reach as usize + 1;
        let last = (2 * self.lattice.top - 1) as f32;
        let (mut inverse, mut scale) = ([0.0; T], [0.0; T]);
        for t in 0..T {
            let step = t as i32 - i32::from(plan.reach);
            inverse[t] = (last + step as f32 * plan.step) / middle;
            scale[t] = 1.0 / inverse[t];
        }
        let mut tried =
            Tried { count, scale, wanted: [[0; T]; P], levels: [[0; T]; P], codes: [[0; T]; P] };
        for k in 0..P {
            tried.wanted[k] = self.wanted(k, &inverse);
        }
        let mut runs = [Run::NONE; RUNS];
        let runs = tried.runs(&mut runs);
        // All ends first: none waits for another, so the processor works on several at once.
        for run in &mut *runs {
            run.place = self.lattice.place(tried.wanted[run.k][run.first] as usize);
            if !run.place.on_grid {
                let measure = self.measure(run.k);
                run.from = self.lattice.nearest(run.place, &measure, tried.scale[run.first]);
                run.to = self.lattice.nearest(run.place, &measure, tried.scale[run.last]);
            }
        }
        for run in runs {
            self.settle(&mut tried, run, last);
        }
        tried
    }

    /// Sets the codes of a run.
    #[inline(always)]
    fn settle<const P: usize, const T: usize>(
        &self,
        tried: &mut Tried<P, T>,
        run: &Run,
        greatest: f32,
    ) {
        if run.place.on_grid {
            let code = self.lattice.around[run.place.start as usize];
            tried.set(run.k, run.first, self.lattice.points[usize::from(code)], code);
            return;
        }
        let measure = self.measure(run.k);
        let (mut from, mut found) = (run.first, run.from);
        tried.set(run.k, from, found.levels, found.code);
        while from < run.last {
            let (mut to, mut there) = (run.last, run.to);
            let greatest = greatest * tried.scale[from];
            while to > from + 1 && !measure.same_between((&found, &there), greatest) {
                to = from.midpoint(to);
                there = self.lattice.nearest(run.place, &measure, tried.scale[to]);
            }
            if there.code != found.code {
                tried.set(run.k, from + 1, there.levels, there.code);
            }
            (from, found) = (to, there);
        }
    }

    #[inline(always)]
    fn measure(&self, k: usize) -> Measure<'_, N> {
        Measure { x: &self.x[k], counts: &self.roots[k], slope: 2.0, first: 1.0 }
    }

    /// The levels of point `k` under some scales, as bits.
    #[inline(always)]
    fn wanted<const T: usize>(&self, k: usize, inverse: &[f32; T]) -> [u32; T] {
        let (top, bits) = (self.lattice.top - 1, level_bits(N));
        let mut wanted = [0; T];
        for (i, x) in self.x[k].iter().enumerate() {
            for t in 0..T {
                let level = rows::nearest(0.5 * (inverse[t] * x - 1.0)).min(top).max(0);
                wanted[t] |= (level as u32) << (bits * i);
            }
        }
        wanted
    }

    /// Of the products of weights and levels, and of levels and levels, by their counts.
    #[inline(always)]
    fn sums<const P: usize, const T: usize>(&self, levels: &[[u32; T]; P]) -> ([f32; T], [f32; T]) {
        let bits = level_bits(N);
        let (mut xl, mut l2) = ([0.0; T], [0.0; T]);
        for (k, levels) in levels.iter().enumerate() {
            for i in 0..N {
                let (x, count) = (self.x[k][i], self.counts[k][i]);
                let counted = count * x;
                for t in 0..T {
                    let level = levels[t] >> (bits * i) & ((1 << bits) - 1);
                    let level = (2 * level + 1) as i32 as f32;
                    xl[t] += counted * level;
                    l2[t] += count * level * level;
                }
            }
        }
        (xl, l2)
    }
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
