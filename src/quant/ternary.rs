//! How the IQ1 packings choose points: three levels, all moved up or down by an eighth.

use super::lattice::{Lattice, Measure};
use super::{iq1_s, lattice};

/// The three levels of some weights.
pub(super) type Shift = [f32; 3];

/// Moved up.
pub(super) const PLUS: Shift = [-1.0 + iq1_s::SHIFT, iq1_s::SHIFT, 1.0 + iq1_s::SHIFT];
/// Moved down.
pub(super) const MINUS: Shift = [-1.0 - iq1_s::SHIFT, -iq1_s::SHIFT, 1.0 - iq1_s::SHIFT];

/// The places of weights in ascending order; equal ones stay in theirs.
#[inline(always)]
pub(super) fn order<const G: usize>(x: &[f32; G]) -> [usize; G] {
    let mut order = std::array::from_fn(|i| i);
    let nan_last = |a: f32, b: f32| a.is_nan().cmp(&b.is_nan());
    order.sort_by(|a: &usize, b: &usize| {
        let (a, b) = (x[*a], x[*b]);
        a.partial_cmp(&b).unwrap_or_else(|| nan_last(a, b))
    });
    order
}

/// The best way so far to split a group in three: the level of weights below `low` in order is the
/// first, of those below `high` the second.
pub(super) struct Split {
    found: bool,
    scale: f32,
    least: f32,
    low: usize,
    high: usize,
    /// Of both halves of the group.
    shifts: [Shift; 2],
}

/// A group on the grid.
pub(super) struct Chosen<const P: usize> {
    pub(super) scale: f32,
    pub(super) codes: [u16; P],
    pub(super) shifts: [Shift; 2],
}

impl Split {
    pub(super) const NONE: Self =
        Self { found: false, scale: 0.0, least: -f32::MAX, low: 0, high: 0, shifts: [PLUS; 2] };

    /// Keeps a split if its error is less: `xl` and `l2` are the sums of products of weights and
    /// levels, and of levels and levels.
    #[inline(always)]
    pub(super) fn consider(
        &mut self,
        xl: f32,
        l2: f32,
        low: usize,
        high: usize,
        shifts: [Shift; 2],
    ) {
        if l2 > 0.0 && xl * xl > self.least * l2 {
            let scale = xl / l2;
            *self = Self { found: true, scale, least: scale * xl, low, high, shifts };
        }
    }

    /// The codes of the levels, or of those next to them; the scale is then fitted again.
    #[inline(always)]
    pub(super) fn onto_grid<const G: usize, const P: usize>(
        &self,
        x: &[f32; G],
        counts: &[f32; G],
        order: &[usize; G],
    ) -> Option<Chosen<P>> {
        if !self.found {
            return None;
        }
        let mut levels = [0; G];
        for (j, i) in order.iter().enumerate() {
            levels[*i] = u8::from(j >= self.low) + u8::from(j >= self.high);
        }
        let (mut scale, mut shifts) = (self.scale, self.shifts);
        if scale < 0.0 {
            levels = levels.map(|level| 2 - level);
            scale = -scale;
            shifts = shifts.map(|shift| if shift == PLUS { MINUS } else { PLUS });
        }
        let (mut codes, mut all_on_grid) = ([0; P], true);
        for (k, (x, counts)) in x.as_chunks::<8>().0.iter().zip(counts.as_chunks().0).enumerate() {
            let shift = shifts[k * 2 / P];
            let levels = &levels.as_chunks::<8>().0[k];
            let place = lattice::IQ1.place(Lattice::index(levels));
            let measure = Measure { x, counts, slope: 1.0, first: shift[0] };
            let code = lattice::IQ1.code(place, &measure, scale);
            codes[k] = code;
            all_on_grid &= place.on_grid;
        }
        if !all_on_grid {
            let (mut xl, mut l2) = (0.0, 0.0);
            for (i, level) in self::levels(&codes, &shifts).enumerate() {
                xl += counts[i] * level * x[i];
                l2 += counts[i] * level * level;
            }
            if xl > 0.0 && l2 > 0.0 {
                scale = xl / l2;
            }
        }
        Some(Chosen { scale, codes, shifts })
    }
}

/// The moved levels of some codes; the halves of the codes have their shifts.
#[inline(always)]
pub(super) fn levels<'a, const P: usize>(
    codes: &'a [u16; P],
    shifts: &'a [Shift; 2],
) -> impl Iterator<Item = f32> + 'a {
    codes.iter().enumerate().flat_map(|(k, code)| {
        lattice::IQ1.point(*code).map(|level| shifts[k * 2 / P][usize::from(level)])
    })
}
