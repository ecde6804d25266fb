//! How the IQ1 packings choose points: three levels, all moved up or down by an eighth.

use super::lattice::Lattice;
use super::nearest::Point;
use super::{iq1_s, lattice};
use crate::ir::simd::widest;
use crate::ir::wide::{LANES as WIDTH, Wide};

/// The three levels of some weights.
pub(super) type Shift = [f32; 3];

/// Moved up.
pub(super) const PLUS: Shift = [-1.0 + iq1_s::SHIFT, iq1_s::SHIFT, 1.0 + iq1_s::SHIFT];
/// Moved down.
pub(super) const MINUS: Shift = [-1.0 - iq1_s::SHIFT, -iq1_s::SHIFT, 1.0 - iq1_s::SHIFT];

/// The places of weights in ascending order; equal ones stay in theirs.
#[inline(always)]
pub(super) fn order<const G: usize>(x: &[f32; G]) -> [usize; G] {
    let (mut keys, mut ranks) = ([0; G], [0u32; G]);
    for i in 0..G {
        // Of zeros of both signs one, and integers of the same order; what is no number is last.
        let bits = (x[i] + 0.0).to_bits() as i32;
        let key = if bits < 0 { bits ^ i32::MAX } else { bits };
        keys[i] = if x[i].is_nan() { i32::MAX } else { key };
    }
    for j in 0..G {
        for i in 0..G {
            let before = (keys[j] < keys[i]) | (keys[j] == keys[i]) & ((j as u32) < i as u32);
            ranks[i] = ranks[i].wrapping_add(u32::from(before));
        }
    }
    let mut order = [0; G];
    for (i, rank) in ranks.into_iter().enumerate() {
        order[rank as usize] = i;
    }
    order
}

/// Splits that are measured at once.
pub(super) const LANES: usize = 16;

/// A number for each pair of a place where the second level may end and a way to shift the levels:
/// all ways of the first place, then those of the next. Behind the last place lie NaNs, which no
/// comparison chooses.
#[inline(always)]
pub(super) fn by_ends<const PLACES: usize, const ROOM: usize>(
    sums: &[f32; PLACES],
    ways: usize,
) -> [f32; ROOM] {
    let mut lanes = [f32::NAN; ROOM];
    for i in 0..PLACES * ways {
        lanes[i] = sums[i / ways];
    }
    lanes
}

/// The sums of the pairs from one on, in the lanes; see [`by_ends`].
#[inline(always)]
pub(super) fn lanes<const ROOM: usize>(of: &[f32; ROOM], first: usize) -> &[f32; LANES] {
    const NOTHING: [f32; LANES] = [f32::NAN; LANES];
    of.get(first..).and_then(|of| of.first_chunk()).unwrap_or(&NOTHING)
}

/// One level of each way to shift them, in the lanes: the levels of one half of a group.
pub(super) const fn shifted<const WAYS: usize>(
    ways: &[[Shift; 2]; WAYS],
    half: usize,
) -> [[f32; LANES]; 3] {
    let mut levels = [[0.0; LANES]; 3];
    let mut i = 0;
    while i < LANES {
        let [a, b, c] = ways[i % WAYS][half];
        (levels[0][i], levels[1][i], levels[2][i]) = (a, b, c);
        i += 1;
    }
    levels
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

    /// Keeps the splits whose error is less than that of all before them, in the order of the lanes:
    /// `xl` and `l2` are the sums of products of weights and levels, and of levels and levels.
    /// Lane `i` is pair `first + i` of [`by_ends`], and `ways` has the shifts.
    #[inline(always)]
    pub(super) fn consider<const WAYS: usize>(
        &mut self,
        (xl, l2): (&[f32; LANES], &[f32; LANES]),
        low: usize,
        first: usize,
        ways: &[[Shift; 2]; WAYS],
    ) {
        let mut any = 0;
        for i in 0..LANES {
            any |= u32::from((l2[i] > 0.0) & (xl[i] * xl[i] > self.least * l2[i]));
        }
        if any == 0 {
            return;
        }
        for i in 0..LANES {
            if l2[i] > 0.0 && xl[i] * xl[i] > self.least * l2[i] {
                let (scale, pair) = (xl[i] / l2[i], first + i);
                let (high, shifts) = (pair / WAYS, ways[pair % WAYS]);
                *self = Self { found: true, scale, least: scale * xl[i], low, high, shifts };
            }
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
        let (codes, all_on_grid) = nearest::<G, P>(x, counts, &levels, scale, &shifts);
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

widest!(
    /// The codes of levels, or those next to them, and whether there were no others.
    fn nearest<const G: usize, const P: usize>(
        x: &[f32; G],
        counts: &[f32; G],
        levels: &[u8; G],
        scale: f32,
        shifts: &[Shift; 2],
    ) -> ([u16; P], bool) = nearest_codes
);

#[inline(always)]
fn nearest_codes<W: Wide, const G: usize, const P: usize>(
    w: W,
    x: &[f32; G],
    counts: &[f32; G],
    levels: &[u8; G],
    scale: f32,
    shifts: &[Shift; 2],
) -> ([u16; P], bool) {
    let (mut codes, mut all_on_grid) = ([0; P], true);
    for (k, (x, counts)) in x.as_chunks::<8>().0.iter().zip(counts.as_chunks().0).enumerate() {
        let mut values = [0.0; WIDTH];
        for i in 0..WIDTH {
            values[i] = if i % 4 < 3 { shifts[k * 2 / P][i % 4] } else { 0.0 };
        }
        let mut levels = Lattice::index(&levels.as_chunks::<8>().0[k]);
        let place = lattice::IQ1.place(levels);
        if !place.on_grid {
            let errors = Point { x, counts }.errors(w, [scale; 2], &values);
            levels = errors.nearest(w, &lattice::IQ1, place)[0].levels;
            all_on_grid = false;
        }
        codes[k] = lattice::IQ1.code(levels);
    }
    (codes, all_on_grid)
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
