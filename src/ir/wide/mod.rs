//! Sixteen numbers at once, by instructions that the compiler does not find by itself: a look-up in
//! a table of a few floats, the least of some numbers, one bit for each comparison.
//!
//! What is written with [`Wide`] is compiled once for each instruction set, and gives the same bits
//! on all: nothing is fused or added in another order. The one exception says so.

mod portable;

pub(crate) use portable::Portable;

/// How many numbers.
pub(crate) const LANES: usize = 16;

/// One bit for each lane, the first in the lowest.
pub(crate) type Mask = u32;

/// Half of them.
pub(crate) const HALF: usize = LANES / 2;

/// The registers of an instruction set. Who has such a value has a machine with these instructions.
pub(crate) trait Wide: Copy {
    /// Whether sixteen numbers take so many instructions that it pays to look whether they are needed,
    /// even if the processor cannot foretell the answer.
    const NARROW: bool;

    type Floats: Copy;
    type Ints: Copy;

    fn splat(self, x: f32) -> Self::Floats;
    /// Two floats, each in half of the lanes.
    fn halves(self, x: [f32; 2]) -> Self::Floats;
    fn load(self, from: &[f32; LANES]) -> Self::Floats;
    fn store(self, x: Self::Floats, to: &mut [f32; LANES]);
    /// Each of the first `LANES / TIMES` numbers so many times.
    fn spread<const TIMES: usize>(self, from: &[f32; HALF]) -> Self::Floats;

    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// The lower of two; `b` where one is no number.
    fn lower(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The higher of two; `b` where one is no number.
    fn higher(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// In each lane the least of its half, of which each is a number.
    fn least_of_half(self, of: Self::Floats) -> Self::Floats;

    /// The least, of which each is a number.
    fn least(self, of: Self::Floats) -> f32;
    /// The greatest, of which each is a number.
    fn greatest(self, of: Self::Floats) -> f32;
    /// a / b but for a relative error of less than 2⁻¹¹, where both are far from the ends of the
    /// range. It is not the same on all machines.
    fn about_quotient(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// Where a < b.
    fn less(self, a: Self::Floats, b: Self::Floats) -> Mask;
    /// Where a ≤ b.
    fn at_most(self, a: Self::Floats, b: Self::Floats) -> Mask;
    /// `a` in the lanes of the mask, `b` in the others.
    fn choose(self, mask: Mask, a: Self::Floats, b: Self::Floats) -> Self::Floats;

    /// The bits of floats.
    fn bits(self, of: Self::Floats) -> Self::Ints;
    fn splat_int(self, x: i32) -> Self::Ints;
    fn add_int(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    fn and(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    fn min_int(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    fn max_int(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    fn shift_left<const BITS: u32>(self, x: Self::Ints) -> Self::Ints;
    fn shift_right<const BITS: u32>(self, x: Self::Ints) -> Self::Ints;

    fn widen(self, from: &[u16; LANES]) -> Self::Ints;
    /// The low halves of the lanes.
    fn narrow(self, x: Self::Ints, to: &mut [u16; LANES]);
    /// Where two differ.
    fn differ(self, a: &[u16; LANES], b: &[u16; LANES]) -> Mask;

    /// In both halves the same numbers, as [`pick`](Self::pick) wants them.
    fn twice<const N: usize>(self, from: &[u16; HALF]) -> Self::Ints;
    /// For each lane the entry of its table that the lowest bits of the index name: of eight entries
    /// if `N` is four, a table for each half; of four if `N` is eight, a table for each four lanes.
    fn pick<const N: usize>(self, tables: Self::Floats, index: Self::Ints) -> Self::Floats;
}
