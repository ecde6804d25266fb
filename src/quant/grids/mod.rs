//! What the IQ packings have in common: a code stands for a point, the magnitudes of eight or four
//! weights at once. Of all combinations of levels, a grid has those that weights often have.

pub(super) mod tables;

use super::rows;

pub(super) static IQ1_S: Grid<8, 2048> = Grid::of(&tables::IQ1_S, [0, 1, 2, 0, 0, 0, 0, 0]);
pub(super) static IQ2_XXS: Grid<8, 256> = Grid::of(&tables::IQ2_XXS, EIGHTHS);
pub(super) static IQ2_XS: Grid<8, 512> = Grid::of(&tables::IQ2_XS, EIGHTHS);
pub(super) static IQ2_S: Grid<8, 1024> = Grid::of(&tables::IQ2_S, EIGHTHS);
pub(super) static IQ3_XXS: Grid<4, 256> =
    Grid::of(&tables::IQ3_XXS, [4, 12, 20, 28, 36, 44, 52, 62]);
pub(super) static IQ3_S: Grid<4, 512> = Grid::of(&tables::IQ3_S, [1, 3, 5, 7, 9, 11, 13, 15]);

/// The three magnitudes of the grids of two bits: about 1, 3 and 5, in eighths.
const EIGHTHS: [u8; 8] = [8, 25, 43, 0, 0, 0, 0, 0];

/// The points of `SIZE` codes, of `N` weights each. `SIZE` is a power of two.
pub(super) struct Grid<const N: usize, const SIZE: usize> {
    points: [[u8; N]; SIZE],
}

impl<const N: usize, const SIZE: usize> Grid<N, SIZE> {
    const fn of(codes: &[u16; SIZE], values: [u8; 8]) -> Self {
        let bits = level_bits(N);
        let mut points = [[0; N]; SIZE];
        let mut code = 0;
        while code < SIZE {
            let mut i = 0;
            while i < N {
                let level = codes[code] >> (bits * i) & ((1 << bits) - 1);
                points[code][i] = values[level as usize];
                i += 1;
            }
            code += 1;
        }
        Self { points }
    }

    /// The magnitudes of a code; bits that no code has are ignored.
    #[inline(always)]
    pub(super) fn point(&self, code: usize) -> [f32; N] {
        self.points[code % SIZE].map(f32::from)
    }
}

/// How many bits a level takes in [`tables`].
pub(super) const fn level_bits(weights: usize) -> usize {
    if weights == 8 { 2 } else { 3 }
}

/// Eight signs of which seven are kept: the number of minuses is even.
#[inline(always)]
pub(super) fn even_signs(seven: u32) -> u8 {
    let seven = seven & 127;
    (seven | (seven.count_ones() & 1) << 7) as u8
}

/// Weights of one scale: bit `i` of `signs` is set where weight `i` is negative.
#[inline(always)]
pub(super) fn signed<const N: usize>(scale: f32, point: [f32; N], signs: u8) -> [f32; N] {
    std::array::from_fn(|i| {
        let x = scale * point[i];
        if signs >> i & 1 == 1 { -x } else { x }
    })
}

/// The most that an encoder of few bits may err: a weight whose column has no importance may be
/// clipped to nearly nothing, or get the wrong sign where only an even number of minuses can be
/// kept. So only a scale that is far too large is beyond this bound.
pub(super) fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * 2.5 + 512.0 * rows::F16_FLOOR
}
