//! The loops that all packings share: blocks decoded, multiplied, rounded.

use std::slice::{from_mut, from_ref};

pub(super) use crate::ir::float::get_f16;

/// The partial sums of a dot product: product `i` goes to sum `i % LANES`, whatever the machine.
pub(crate) const LANES: usize = 32;

/// Weights that are decoded at a time: some blocks, that stay in the first cache.
pub(super) const PIECE: usize = 256;

/// The error that a searching encoder may make, relative to the largest weight (or to the span of
/// the weights, where they have an offset).
///
/// Rounding alone costs half a step, and clipping at one end a whole one: an eighth for four bits.
/// But where the importance of one column outweighs all others, its weight alone determines the
/// scale, and a weight that is coded as 1 determines it to within a half. ggml's encoders, given
/// importances over four orders of magnitude, err by up to a half in a few blocks of ten thousand.
/// A scale that is halved by one flipped bit errs by a half in each: the bound lies below.
pub(super) const SEARCH_MAX: f32 = 0.48;

/// The same where the groups of a block have scales of few bits: a group that counts for little may
/// get the scale 0. ggml's encoders, given importances over eight orders of magnitude, or columns of
/// no importance, err by up to the largest weight. A scale whose sign is flipped errs by twice that.
pub(super) const WHOLE_MAX: f32 = 1.001;

/// Half the distance of the binary16s next to zero: what smaller numbers lose at most.
pub(super) const F16_FLOOR: f32 = 1.0 / 33_554_432.0;

/// One block of a packing. The methods are `#[inline(always)]`, so that they are compiled for the
/// instruction set of their caller; functions given as values would not be.
pub(super) trait Packing<const LEN: usize, const BYTES: usize> {
    /// Whether the importance of columns changes anything: each weight is rounded to a scale that all
    /// determine, where it does not.
    const BY_IMPORTANCE: bool = true;

    /// Whether [`search`](Self::search) needs the mean square, which takes as long as a short search.
    const LOOKS_AT_MEAN: bool = true;

    /// Blocks that are taken together, where several fill the registers better than one.
    const AT_ONCE: usize = 1;

    /// Chooses scale and levels from the weights alone. A packing has this or
    /// [`encode_some`](Self::encode_some).
    #[inline(always)]
    fn encode(weights: &[f32; LEN], out: &mut [u8; BYTES]) {
        Self::encode_some(from_ref(weights), from_mut(out));
    }

    /// Chooses them by the importance of the weights' columns; `mean` is the mean square of the row.
    /// A packing has this or [`search_some`](Self::search_some).
    #[inline(always)]
    fn search(weights: &[f32; LEN], importance: &[f32; LEN], mean: f32, out: &mut [u8; BYTES]) {
        Self::search_some(from_ref(weights), from_ref(importance), mean, from_mut(out));
    }

    /// As [`encode`](Self::encode), of up to [`AT_ONCE`](Self::AT_ONCE) blocks.
    #[inline(always)]
    fn encode_some(weights: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        for (weights, out) in weights.iter().zip(out) {
            Self::encode(weights, out);
        }
    }

    /// As [`search`](Self::search), of up to [`AT_ONCE`](Self::AT_ONCE) blocks of a row.
    #[inline(always)]
    fn search_some(
        weights: &[[f32; LEN]],
        importance: &[[f32; LEN]],
        mean: f32,
        out: &mut [[u8; BYTES]],
    ) {
        for ((weights, importance), out) in weights.iter().zip(importance).zip(out) {
            Self::search(weights, importance, mean, out);
        }
    }

    /// The weights again.
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]);
}

/// Encodes whole rows.
#[inline(always)]
pub(super) fn pack<P: Packing<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    weights: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    debug_assert_eq!(weights.len() / LEN * BYTES, out.len());
    let Some(importance) = importance.filter(|_| P::BY_IMPORTANCE) else {
        let blocks = weights.as_chunks().0.chunks(P::AT_ONCE);
        for (weights, out) in blocks.zip(out.as_chunks_mut().0.chunks_mut(P::AT_ONCE)) {
            P::encode_some(weights, out);
        }
        return;
    };
    debug_assert_eq!(importance.len(), columns);
    if columns < LEN {
        return;
    }
    let rows = weights.chunks_exact(columns).zip(out.chunks_exact_mut(columns / LEN * BYTES));
    for (row, out) in rows {
        // One after the other, as ggml adds: the sum must have the same bits.
        let square = |row: &[f32]| row.iter().fold(0.0, |sum: f32, x| sum + x * x);
        let mean_square = if P::LOOKS_AT_MEAN { square(row) / columns as f32 } else { 0.0 };
        let blocks = row.as_chunks().0.chunks(P::AT_ONCE);
        let blocks = blocks.zip(importance.as_chunks().0.chunks(P::AT_ONCE));
        for ((weights, importance), out) in blocks.zip(out.as_chunks_mut().0.chunks_mut(P::AT_ONCE))
        {
            P::search_some(weights, importance, mean_square, out);
        }
    }
}

/// Decodes whole blocks.
#[inline(always)]
pub(super) fn decode<P: Packing<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    bytes: &[u8],
    weights: &mut [f32],
) {
    debug_assert_eq!(bytes.len() / BYTES * LEN, weights.len());
    for (bytes, weights) in bytes.as_chunks().0.iter().zip(weights.as_chunks_mut::<LEN>().0) {
        P::decode(bytes, weights);
        // A fence between blocks: the compiler would else gather the first weights of many blocks,
        // then the second of each, byte by byte.
        std::hint::black_box(&*weights);
    }
}

/// The dot product of whole blocks with activations: the same bits as decoding the weights and
/// [`dot_f32`](super::plain::dot_f32).
#[inline(always)]
pub(super) fn dot<P: Packing<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    bytes: &[u8],
    activations: &[f32],
) -> f32 {
    debug_assert_eq!(bytes.len() / BYTES * LEN, activations.len());
    let mut sums = [0.0; LANES];
    if LEN == LANES {
        // Decoding so few weights takes so few steps that a buffer would be most of the work.
        let mut weights = [0.0; LEN];
        let blocks = bytes.as_chunks().0.iter().zip(activations.as_chunks::<LEN>().0);
        for (bytes, activations) in blocks {
            P::decode(bytes, &mut weights);
            add_products(&mut sums, &weights, activations);
        }
        return total(sums);
    }
    let mut weights = [0.0; PIECE];
    let pieces = bytes.chunks(PIECE / LEN * BYTES).zip(activations.chunks(PIECE));
    for (bytes, activations) in pieces {
        let weights = &mut weights[..activations.len()];
        decode::<P, LEN, BYTES>(bytes, weights);
        add_products(&mut sums, weights, activations);
    }
    total(sums)
}

/// Adds product `i` to sum `i % LANES`; the slices are of one length and begin at lane 0.
#[inline(always)]
pub(crate) fn add_products(sums: &mut [f32; LANES], weights: &[f32], activations: &[f32]) {
    let (weights, weights_left) = weights.as_chunks::<LANES>();
    let (activations, activations_left) = activations.as_chunks::<LANES>();
    for (w, x) in weights.iter().zip(activations) {
        for lane in 0..LANES {
            sums[lane] = w[lane].mul_add(x[lane], sums[lane]);
        }
    }
    for (sum, (w, x)) in sums.iter_mut().zip(weights_left.iter().zip(activations_left)) {
        *sum = w.mul_add(*x, *sum);
    }
}

/// The sum of the partial sums, halved again and again.
///
/// Never inlined: the compiler would see that the last halving adds one pair, and keep all sums
/// in registers of two. Handed over in memory, they fill the widest.
#[inline(never)]
pub(crate) fn total(mut sums: [f32; LANES]) -> f32 {
    let mut len = LANES;
    while len > 1 {
        len /= 2;
        for i in 0..len {
            sums[i] += sums[i + len];
        }
    }
    sums[0]
}

/// Rounded to binary16, to nearest, ties to even, little-endian.
#[inline(always)]
pub(super) fn put_f16(x: f32) -> [u8; 2] {
    const LEAST_NORMAL: u32 = (127 - 14) << 23;
    const INFINITY: u32 = 0x7c00;
    let bits = x.to_bits();
    let (sign, magnitude) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
    // The last place of one half is that of the subnormal binary16s: adding it rounds to them.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits() & 0xffff;
    let even = magnitude >> 13 & 1;
    let normal =
        (magnitude.wrapping_sub(112 << 23).wrapping_add(0x0fff + even) >> 13).min(INFINITY);
    let half = if magnitude < LEAST_NORMAL { subnormal } else { normal };
    let half =
        if magnitude > 0xff << 23 { INFINITY | 0x0200 | magnitude >> 13 & 0x03ff } else { half };
    ((sign | half) as u16).to_le_bytes()
}

/// The largest magnitude; 0 if all are zero. The order of magnitudes is that of their bits.
#[inline(always)]
pub(super) fn peak(weights: &[f32]) -> f32 {
    f32::from_bits(weights.iter().fold(0, |peak, x| peak.max(x.abs().to_bits())))
}

/// The first weight of the largest magnitude, with its sign; +0 if all are zero.
#[inline(always)]
pub(super) fn signed_peak(weights: &[f32]) -> f32 {
    // The order of magnitudes; of equal ones, that of a weight below zero is the greater.
    let most = weights.iter().fold(0, |most, x| most.max(x.to_bits().rotate_left(1)));
    let above = most >> 1;
    let also_above = weights.iter().fold(0, |any, x| any | u32::from(x.to_bits() == above));
    if most <= 1 {
        return 0.0;
    }
    if most & also_above == 1 {
        let first = weights.iter().find(|x| x.abs().to_bits() == above);
        return first.copied().unwrap_or(f32::NAN);
    }
    f32::from_bits(most.rotate_right(1))
}

/// The least and the greatest weight; of zeros of both signs, the first.
#[inline(always)]
pub(super) fn range<const LEN: usize>(weights: &[f32; LEN]) -> (f32, f32) {
    const INFINITY: i32 = f32::INFINITY.to_bits() as i32;
    // Integers of the order of floats, and back.
    let turned = |bits: i32| bits ^ (bits >> 31 & i32::MAX);
    let (mut low, mut high) = (i32::MAX, i32::MIN);
    for x in weights {
        let key = turned(x.to_bits() as i32);
        low = low.min(key);
        high = high.max(key);
    }
    if low <= !INFINITY || high >= INFINITY {
        return range_of_any(weights);
    }
    let (low, high) = (f32::from_bits(turned(low) as u32), f32::from_bits(turned(high) as u32));
    let first = |bound: f32| weights.iter().copied().find(|x| *x == bound).unwrap_or(bound);
    (if low == 0.0 { first(low) } else { low }, if high == 0.0 { first(high) } else { high })
}

/// The same where some may be infinite or no number: ggml passes over them.
#[cold]
fn range_of_any(weights: &[f32]) -> (f32, f32) {
    weights.iter().fold((f32::MAX, -f32::MAX), |(low, high), x| {
        (if *x < low { *x } else { low }, if *x > high { *x } else { high })
    })
}

/// The least and the greatest weight, or zero where it lies beyond.
pub(super) fn span(weights: &[f32]) -> (f32, f32) {
    weights.iter().fold((0.0, 0.0), |(low, high), x| (x.min(low), x.max(high)))
}

/// 1/d, and 0 for 0.
#[inline(always)]
pub(super) fn reciprocal(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The level of each weight. Not `map`, which is compiled for what every processor has.
#[inline(always)]
pub(super) fn levels<const N: usize>(x: &[f32; N], level: impl Fn(f32) -> u8) -> [u8; N] {
    let mut levels = [0; N];
    for i in 0..N {
        levels[i] = level(x[i]);
    }
    levels
}

/// The last place of numbers from 2²³ on is 1: adding this rounds what is below 2²² to an integer,
/// ties to even, which then lies in the last bits.
pub(super) const LAST_PLACE_1: f32 = 12_582_912.0;

/// Up to here, [`nearest`] is right.
pub(super) const FAR: f32 = 4_000_000.0;

/// The low byte of an integer that is written as a float, within ±2²².
///
/// Not `as`: what saturates is computed number by number on x86.
#[inline(always)]
pub(super) fn byte(x: f32) -> u8 {
    (x + LAST_PLACE_1).to_bits() as u8
}

/// A number of no less than zero cut to an integer: its low byte. Levels lie below 2²²; what does
/// not is infinite, and gives 0, the low byte of the 0x80000000 that x86 answers: ggml's bytes for
/// weights near the end of the range.
#[inline(always)]
pub(super) fn low_byte(x: f32) -> u8 {
    let nearest = (x + LAST_PLACE_1) - LAST_PLACE_1;
    let floor = if nearest > x { nearest - 1.0 } else { nearest };
    if x < 4_194_304.0 { byte(floor) } else { 0 }
}

/// As [`low_byte`], of the nearest integer, halves away from zero.
#[inline(always)]
pub(super) fn low_byte_of_nearest(x: f32) -> u8 {
    let nearest = (x + LAST_PLACE_1) - LAST_PLACE_1;
    let left = x - nearest;
    let away = if x > 0.0 && left == 0.5 { 1.0 } else { 0.0 };
    let away = if x < 0.0 && left == -0.5 { -1.0 } else { away };
    if x.abs() < 4_194_304.0 { byte(nearest + away) } else { 0 }
}

/// The nearest integer, ties to even, by the bits of a sum whose last place is 1: ggml's way,
/// which differs from `round_ties_even` in what it makes of values beyond ±2²².
#[inline(always)]
pub(super) fn nearest(x: f32) -> i32 {
    ((x + LAST_PLACE_1).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn the_sum_is_the_same_tree_for_every_length() {
        assert_eq!(total(std::array::from_fn(|i| i as f32)), 496.0);
        let mut sums = [0.0; LANES];
        let ones = [1.0; 70];
        add_products(&mut sums, &ones, &ones);
        assert_eq!((sums[0], sums[5], sums[6], total(sums)), (3.0, 3.0, 2.0, 70.0));
    }

    #[test]
    fn integers_are_nearest_and_ties_even() {
        let rounded = [-2.5, -1.5, -0.5, 0.4, 0.5, 1.5, 2.5001].map(nearest);
        assert_eq!(rounded, [-2, -2, 0, 0, 0, 2, 3]);
    }

    #[test]
    fn levels_are_cut_as_integers_are() {
        for i in 0..4096u16 {
            let x = f32::from(i) / 16.0;
            assert_eq!(low_byte(x), x as i32 as u8, "{x}");
            for x in [x, -x, x.next_down(), -x.next_up()] {
                assert_eq!(low_byte_of_nearest(x), x.round() as i32 as u8, "{x}");
            }
        }
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!((low_byte(x), low_byte_of_nearest(x)), (0, 0), "{x}");
        }
    }

    #[test]
    fn binary16s_are_rounded_as_by_half() {
        for half in 0..=u16::MAX {
            let near = f16::from_bits(half).to_f32().to_bits();
            for bits in [0, 1, 0x0fff, 0x1000, 0x1001, 0x1fff].map(|more| near.wrapping_add(more)) {
                let x = f32::from_bits(bits);
                assert_eq!(put_f16(x), f16::from_f32_const(x).to_le_bytes(), "{x} {bits:#x}");
            }
        }
        for i in 0..1u32 << 16 {
            let x = f32::from_bits(i << 16 | i.wrapping_mul(40503) & 0xffff);
            assert_eq!(put_f16(x), f16::from_f32_const(x).to_le_bytes(), "{x}");
        }
    }

    #[test]
    fn every_binary16_is_read_as_it_is() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (get_f16(bits.to_le_bytes()), f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan());
        }
    }

    #[test]
    fn zeros_keep_the_first_sign() {
        let signs = |a: f32, b: f32| {
            let (low, high) = range(&[a, b, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
            (low.is_sign_negative(), high.is_sign_negative())
        };
        assert_eq!(signs(-0.0, 0.0), (true, true));
        assert_eq!(signs(0.0, -0.0), (false, false));
        assert_eq!(signed_peak(&[-0.0]).to_bits(), 0);
        assert_eq!(signed_peak(&[1.0, -2.0, 2.0]), -2.0);
        assert_eq!(signed_peak(&[1.0, 2.0, -2.0]), 2.0);
        assert_eq!(signed_peak(&[3.0, 2.0, -2.0]), 3.0);
        assert_eq!(signed_peak(&[1.0, 2.0, -3.0]), -3.0);
    }
}
