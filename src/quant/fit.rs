//! The scale of a group of the IQ packings of two and three bits, found by trial.
//!
//! Under each scale that is tried a magnitude has a level, and the levels of a point are a code if
//! the grid has them, else the best of the codes around. The scale whose points err least is kept
//! and fitted by least squares. The tries are the lanes: each sum has ggml's order.

use super::lattice::{Lattice, Place, bits_of};
use super::nearest::{Parabolas, Point, next};
use super::plan::{Again, Plan};
use super::rows::{self, LAST_PLACE_1};
use crate::ir::simd::widest;
use crate::ir::wide::{LANES, Wide};

/// A group, while its scale is sought.
pub(super) struct Fit<'a, const N: usize, const G: usize> {
    pub(super) lattice: &'a Lattice<N>,
    pub(super) plan: &'a Plan,
    pub(super) x: &'a [f32; G],
    pub(super) counts: &'a [f32; G],
}

widest!(
    /// The scale and the codes of `P` points with the least error, of tries around `middle` for the
    /// greatest level, in up to `LOTS` registers.
    pub(super) fn best<const N: usize, const P: usize, const G: usize, const LOTS: usize>(
        fit: &Fit<'_, N, G>,
        middle: f32,
        scale: f32,
    ) -> (f32, [u16; P]) = best_of_tries
);

/// The most lots of tries that any plan has.
const MOST: usize = 2;

/// Levels of each try, and of some that are none.
type Tries = [u16; 2 * MOST * LANES];

/// Levels stand for these multiples of the scale.
const ODD: [[f32; LANES]; 2] = {
    let mut odd = [[0.0; LANES]; 2];
    let mut i = 0;
    while i < LANES {
        odd[0][i] = (2 * (i % 4) + 1) as f32;
        odd[1][i] = (2 * (i % 8) + 1) as f32;
        i += 1;
    }
    odd
};

#[inline(always)]
fn best_of_tries<W: Wide, const N: usize, const P: usize, const G: usize, const LOTS: usize>(
    w: W,
    fit: &Fit<'_, N, G>,
    middle: f32,
    mut scale: f32,
) -> (f32, [u16; P]) {
    let roots = fit.roots();
    let points = fit.points::<P>(&roots);
    let (inverse, scales) = fit.scales::<LOTS>(middle);
    let (mut wanted, mut levels) = ([[0; 2 * MOST * LANES]; P], [[0; 2 * MOST * LANES]; P]);
    for (k, wanted) in wanted.iter_mut().enumerate() {
        fit.wanted::<W, LOTS>(w, k, &inverse, wanted);
    }
    for k in 0..P {
        let scales = scales.as_flattened();
        fit.onto_grid::<W, LOTS>(w, &points[k], scales, &wanted[k], &mut levels[k]);
    }
    let again = fit.plan.again;
    let (mut codes, mut on_grid) = ([0; P], [again != Again::AllIfAnyOffGrid; P]);
    if let Some((t, better)) = fit.best_try::<W, P, LOTS>(w, &levels) {
        scale = better;
        for k in 0..P {
            codes[k] = fit.lattice.code(levels[k][t]);
            on_grid[k] = fit.lattice.place(wanted[k][t]).on_grid;
        }
    }
    if scale > 0.0 && (again == Again::All || on_grid.contains(&false)) {
        let wanted = fit.wanted_once::<P>(1.0 / scale);
        for k in 0..P {
            if again == Again::OffGrid && on_grid[k] {
                continue;
            }
            let place = fit.lattice.place(wanted[k]);
            let levels = if place.on_grid {
                wanted[k]
            } else {
                let errors = points[k].errors(w, [scale; 2], fit.values());
                errors.nearest(w, fit.lattice, place)[0].levels
            };
            codes[k] = fit.lattice.code(levels);
        }
        scale = fit.fitted(&codes).unwrap_or(scale);
    }
    (scale, codes)
}

impl<const N: usize, const G: usize> Fit<'_, N, G> {
    #[inline(always)]
    fn values(&self) -> &'static [f32; LANES] {
        &ODD[usize::from(N == 4)]
    }

    /// How many scales are tried.
    #[inline(always)]
    fn count(&self) -> usize {
        2 * self.plan.reach as usize + 1
    }

    /// Of the counts: what the errors of codes are measured by.
    #[inline(always)]
    fn roots(&self) -> [f32; G] {
        let mut roots = [0.0; G];
        for (root, count) in roots.iter_mut().zip(self.counts) {
            *root = count.sqrt();
        }
        roots
    }

    #[inline(always)]
    fn points<'a, const P: usize>(&'a self, roots: &'a [f32; G]) -> [Point<'a, N>; P] {
        let (x, counts) = (self.x.as_chunks().0, roots.as_chunks().0);
        let mut points = [Point { x: &x[0], counts: &counts[0] }; P];
        for (k, point) in points.iter_mut().enumerate() {
            *point = Point { x: &x[k], counts: &counts[k] };
        }
        points
    }

    /// The scales that are tried, and their inverses before them.
    #[inline(always)]
    fn scales<const LOTS: usize>(
        &self,
        middle: f32,
    ) -> ([[f32; LANES]; LOTS], [[f32; LANES]; LOTS]) {
        let last = (2 * self.lattice.top - 1) as f32;
        let (mut inverse, mut scales) = ([[0.0; LANES]; LOTS], [[0.0; LANES]; LOTS]);
        for lot in 0..LOTS {
            for lane in 0..LANES {
                let step = (lot * LANES + lane) as i32 - i32::from(self.plan.reach);
                inverse[lot][lane] = (last + step as f32 * self.plan.step) / middle;
                scales[lot][lane] = 1.0 / inverse[lot][lane];
            }
        }
        (inverse, scales)
    }

    /// The levels of point `k` under some scales, as bits.
    #[inline(always)]
    fn wanted<W: Wide, const LOTS: usize>(
        &self,
        w: W,
        k: usize,
        inverse: &[[f32; LANES]; LOTS],
        wanted: &mut Tries,
    ) {
        // As in `rows::nearest`; that all are too great by what it takes away is seen to at last.
        const ZERO: i32 = 0x0040_0000;
        let (bits, top) = (w.splat_int(0x007f_ffff), w.splat_int(ZERO + self.lattice.top - 1));
        let mut excess = 0i32;
        for _ in 0..N {
            excess = (excess << bits_of(N)).wrapping_add(ZERO);
        }
        let x = &self.x.as_chunks::<N>().0[k];
        for (inverse, wanted) in inverse.iter().zip(wanted.as_chunks_mut().0) {
            let inverse = w.load(inverse);
            let mut all = w.splat_int(0);
            for x in x.iter().rev() {
                let scaled = w.sub(w.mul(inverse, w.splat(*x)), w.splat(1.0));
                let level = w.add(w.mul(w.splat(0.5), scaled), w.splat(LAST_PLACE_1));
                let level = w.min_int(w.and(w.bits(level), bits), top);
                let level = w.max_int(level, w.splat_int(ZERO));
                let before = match bits_of(N) {
                    2 => w.shift_left::<2>(all),
                    _ => w.shift_left::<4>(all),
                };
                all = w.add_int(before, level);
            }
            w.narrow(w.add_int(all, w.splat_int(excess.wrapping_neg())), wanted);
        }
    }

    /// The same under one scale, of all points.
    #[inline(always)]
    fn wanted_once<const P: usize>(&self, inverse: f32) -> [u16; P] {
        let top = self.lattice.top - 1;
        let mut levels = [0; G];
        for (level, x) in levels.iter_mut().zip(self.x) {
            *level = rows::nearest(0.5 * (inverse * x - 1.0)).min(top).max(0) as u16;
        }
        let mut wanted = [0; P];
        for (wanted, levels) in wanted.iter_mut().zip(levels.as_chunks::<N>().0) {
            for (i, level) in levels.iter().enumerate() {
                *wanted |= level << (bits_of(N) * i);
            }
        }
        wanted
    }

    /// The levels of a point's codes, by the levels that are wanted. Tries under which those are the
    /// same follow each other.
    #[inline(always)]
    fn onto_grid<W: Wide, const LOTS: usize>(
        &self,
        w: W,
        point: &Point<'_, N>,
        scales: &[f32],
        wanted: &Tries,
        levels: &mut Tries,
    ) {
        let mut changes = 0;
        for lot in 0..LOTS {
            let (these, others) = (&wanted[lot * LANES..], &wanted[lot * LANES + 1..]);
            if let (Some(these), Some(others)) = (these.first_chunk(), others.first_chunk()) {
                changes |= w.differ(these, others) << (lot * LANES);
            }
        }
        let parabolas = point.parabolas(w, self.values());
        let plain = parabolas.are_plain(scales[0]);
        let end = 1u32 << (self.count() - 1);
        let (mut first, mut ends) = (0, changes & (end - 1) | end);
        while ends != 0 {
            let last = ends.trailing_zeros() as usize;
            let place = self.lattice.place(wanted[first]);
            let (scales, levels) = (&scales[first..=last], &mut levels[first..=last]);
            if place.on_grid {
                levels.fill(wanted[first]);
            } else if !(plain && self.about(w, &parabolas, place, scales, levels)) {
                self.exactly(w, point, place, scales, levels);
            }
            first = last + 1;
            ends &= ends - 1;
        }
    }

    /// The levels of codes around a place, for some tries after each other, if what they are about is
    /// enough to tell.
    #[inline(always)]
    fn about<W: Wide>(
        &self,
        w: W,
        parabolas: &Parabolas<W, N>,
        place: Place,
        scales: &[f32],
        levels: &mut [u16],
    ) -> bool {
        const MANY: usize = 8;
        match place.pairs() {
            1 => parabolas.nearest::<1>(w, self.lattice, place, scales, levels),
            2..=MANY => parabolas.nearest::<MANY>(w, self.lattice, place, scales, levels),
            _ => false,
        }
    }

    /// The same by the errors as ggml computes them.
    #[inline(always)]
    fn exactly<W: Wide>(
        &self,
        w: W,
        point: &Point<'_, N>,
        place: Place,
        scales: &[f32],
        levels: &mut [u16],
    ) {
        for (scales, levels) in scales.chunks(2).zip(levels.chunks_mut(2)) {
            let errors = point.errors(w, [scales[0], scales[scales.len() - 1]], self.values());
            let nearest = errors.nearest(w, self.lattice, place);
            for (levels, nearest) in levels.iter_mut().zip(nearest) {
                *levels = nearest.levels;
            }
        }
    }

    /// The try with the least error, and its scale fitted by least squares.
    #[inline(always)]
    fn best_try<W: Wide, const P: usize, const LOTS: usize>(
        &self,
        w: W,
        levels: &[Tries; P],
    ) -> Option<(usize, f32)> {
        let (xl, l2) = self.sums::<W, P, LOTS>(w, levels);
        let (mut least, mut best) = (0.0, None);
        for t in 0..self.count() {
            let (xl, l2) = (xl[t / LANES][t % LANES], l2[t / LANES][t % LANES]);
            if l2 > 0.0 && xl * xl > least * l2 {
                let scale = xl / l2;
                least = scale * xl;
                best = Some((t, scale));
            }
        }
        best
    }

    /// Of the products of weights and levels, and of levels and levels, by their counts.
    #[inline(always)]
    fn sums<W: Wide, const P: usize, const LOTS: usize>(
        &self,
        w: W,
        levels: &[Tries; P],
    ) -> ([[f32; LANES]; LOTS], [[f32; LANES]; LOTS]) {
        let (mut xl, mut l2) = ([w.splat(0.0); LOTS], [w.splat(0.0); LOTS]);
        let values = w.load(self.values());
        let points = self.x.as_chunks::<N>().0.iter().zip(self.counts.as_chunks::<N>().0);
        for ((x, counts), levels) in points.zip(levels) {
            let mut rest = [w.splat_int(0); LOTS];
            for (rest, levels) in rest.iter_mut().zip(levels.as_chunks().0) {
                *rest = w.widen(levels);
            }
            for i in 0..N {
                let of_xl = w.mul(w.splat(counts[i] * x[i]), values);
                let of_l2 = w.mul(w.mul(w.splat(counts[i]), values), values);
                for lot in 0..LOTS {
                    xl[lot] = w.add(xl[lot], w.pick::<N>(of_xl, rest[lot]));
                    l2[lot] = w.add(l2[lot], w.pick::<N>(of_l2, rest[lot]));
                    rest[lot] = next::<W, N>(w, rest[lot]);
                }
            }
        }
        let mut sums = ([[0.0; LANES]; LOTS], [[0.0; LANES]; LOTS]);
        for lot in 0..LOTS {
            w.store(xl[lot], &mut sums.0[lot]);
            w.store(l2[lot], &mut sums.1[lot]);
        }
        sums
    }

    /// The scale that fits some codes best.
    #[inline(always)]
    fn fitted<const P: usize>(&self, codes: &[u16; P]) -> Option<f32> {
        let mut levels = [0.0; G];
        for (levels, code) in levels.as_chunks_mut::<N>().0.iter_mut().zip(codes) {
            *levels = self.lattice.point(*code).map(|level| f32::from(2 * level + 1));
        }
        let (mut of_xl, mut of_l2) = ([0.0; G], [0.0; G]);
        for i in 0..G {
            of_xl[i] = self.counts[i] * self.x[i] * levels[i];
            of_l2[i] = self.counts[i] * levels[i] * levels[i];
        }
        let (mut xl, mut l2) = (0.0, 0.0);
        for i in 0..G {
            xl += of_xl[i];
            l2 += of_l2[i];
        }
        if l2 > 0.0 { Some(xl / l2) } else { None }
    }
}
