//! [`Wide`] as loops over arrays, for every machine.

use super::{HALF, LANES, Mask, Wide};

/// No instructions beyond those of the target.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// What `of` gives for each lane.
#[inline(always)]
fn each<T: Copy + Default>(of: impl Fn(usize) -> T) -> [T; LANES] {
    let mut lanes = [T::default(); LANES];
    for (i, lane) in lanes.iter_mut().enumerate() {
        *lane = of(i);
    }
    lanes
}

/// A bit for each lane.
#[inline(always)]
fn mask(of: impl Fn(usize) -> bool) -> Mask {
    let mut bits = [0; LANES];
    for (i, bit) in bits.iter_mut().enumerate() {
        *bit = u32::from(of(i)) << i;
    }
    bits.iter().fold(0, |mask, bit| mask | bit)
}

/// One number of all, by halves.
#[inline(always)]
fn halved(mut lanes: [f32; LANES], of: impl Fn(f32, f32) -> f32) -> f32 {
    let mut len = LANES;
    while len > 1 {
        len /= 2;
        for i in 0..len {
            lanes[i] = of(lanes[i], lanes[len + i]);
        }
    }
    lanes[0]
}

impl Wide for Portable {
    const NARROW: bool = true;

    type Floats = [f32; LANES];
    type Ints = [i32; LANES];

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; LANES] {
        [x; LANES]
    }
    #[inline(always)]
    fn halves(self, x: [f32; 2]) -> [f32; LANES] {
        each(|i| x[i / HALF])
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> [f32; LANES] {
        *from
    }
    #[inline(always)]
    fn store(self, x: [f32; LANES], to: &mut [f32; LANES]) {
        *to = x;
    }
    #[inline(always)]
    fn spread<const TIMES: usize>(self, from: &[f32; HALF]) -> [f32; LANES] {
        each(|i| from[i / TIMES % HALF])
    }

    #[inline(always)]
    fn add(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn lower(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn higher(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn least_of_half(self, of: [f32; LANES]) -> [f32; LANES] {
        let mut least = [of[0], of[HALF]];
        for i in 1..HALF {
            least[0] = if of[i] < least[0] { of[i] } else { least[0] };
            least[1] = if of[HALF + i] < least[1] { of[HALF + i] } else { least[1] };
        }
        self.halves(least)
    }
    #[inline(always)]
    fn least(self, of: [f32; LANES]) -> f32 {
        halved(of, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn greatest(self, of: [f32; LANES]) -> f32 {
        halved(of, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn about_quotient(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn less(self, a: [f32; LANES], b: [f32; LANES]) -> Mask {
        mask(|i| a[i] < b[i])
    }
    #[inline(always)]
    fn at_most(self, a: [f32; LANES], b: [f32; LANES]) -> Mask {
        mask(|i| a[i] <= b[i])
    }
    #[inline(always)]
    fn choose(self, mask: Mask, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|i| if mask >> i & 1 == 1 { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn bits(self, of: [f32; LANES]) -> [i32; LANES] {
        each(|i| of[i].to_bits() as i32)
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> [i32; LANES] {
        [x; LANES]
    }
    #[inline(always)]
    fn add_int(self, a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        each(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    fn and(self, a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        each(|i| a[i] & b[i])
    }
    #[inline(always)]
    fn min_int(self, a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        each(|i| a[i].min(b[i]))
    }
    #[inline(always)]
    fn max_int(self, a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        each(|i| a[i].max(b[i]))
    }
    #[inline(always)]
    fn shift_left<const BITS: u32>(self, x: [i32; LANES]) -> [i32; LANES] {
        each(|i| x[i] << BITS)
    }
    #[inline(always)]
    fn shift_right<const BITS: u32>(self, x: [i32; LANES]) -> [i32; LANES] {
        each(|i| (x[i] as u32 >> BITS) as i32)
    }

    #[inline(always)]
    fn widen(self, from: &[u16; LANES]) -> [i32; LANES] {
        each(|i| from[i].into())
    }
    #[inline(always)]
    fn narrow(self, x: [i32; LANES], to: &mut [u16; LANES]) {
        *to = each(|i| x[i] as u16);
    }
    #[inline(always)]
    fn differ(self, a: &[u16; LANES], b: &[u16; LANES]) -> Mask {
        mask(|i| a[i] != b[i])
    }

    #[inline(always)]
    fn twice<const N: usize>(self, from: &[u16; HALF]) -> [i32; LANES] {
        each(|i| from[i % HALF].into())
    }
    #[inline(always)]
    fn pick<const N: usize>(self, tables: [f32; LANES], index: [i32; LANES]) -> [f32; LANES] {
        let entries = 2 * LANES / N;
        each(|i| tables[i / entries * entries + index[i] as usize % entries])
    }
}
