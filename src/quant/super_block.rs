//! What Q4_K and Q5_K share: 256 weights in 8 groups of 32, each with a scale and an offset of six
//! bits, which lie in the first 16 bytes.
//!
//! ```text
//!   0        2        4                                        16
//!   ┌────────┬────────┬───────────┬───────────┬─────────────────┐
//!   │ d: f16 │ m: f16 │ s 0…3     │ o 0…3     │ s, o 4…7        │   w ≈ d · s · level − m · o
//!   │        │        │ + s 4…7   │ + o 4…7   │ low four bits   │
//!   │        │        │ high bits │ high bits │ of both         │
//!   └────────┴────────┴───────────┴───────────┴─────────────────┘
//! ```

use super::groups::{self, Tries, affine, again, by_peak, each, every, filled, turned};
use super::{rows, search};

pub(super) const LEN: usize = 256;
pub(super) const GROUP: usize = 32;
const GROUPS: usize = LEN / GROUP;
const HEAD: usize = 16;

/// A block before its levels become bits.
#[derive(Clone, Copy)]
pub(super) struct Chosen {
    pub(super) head: [u8; HEAD],
    pub(super) levels: [u8; LEN],
}

impl Chosen {
    pub(super) const NOTHING: Self = Self { head: [0; HEAD], levels: [0; LEN] };
}

/// Blocks that are searched at once, for the sake of wide registers.
pub(super) const AT_ONCE: usize = 2;
const LANES: usize = AT_ONCE * GROUPS;

/// Chooses by the weights alone; large ones count for more.
#[inline(always)]
pub(super) fn by_size(weights: &[[f32; LEN]], tries: &Tries) -> [Chosen; AT_ONCE] {
    let weights = &filled(weights);
    let x = turned::<GROUP, LANES>(weights.as_flattened());
    let squares =
        x.iter().fold([0.0; LANES], |sums: [f32; LANES], x| each(|g| sums[g] + x[g] * x[g]));
    let mean: [f32; LANES] = each(|g| (squares[g] / GROUP as f32).sqrt());
    let counts = every(|i, g| mean[g] + x[i][g].abs());
    let found = affine(&x, &counts, tries);
    let mut chosen = [Chosen::NOTHING; AT_ONCE];
    for (block, chosen) in chosen.iter_mut().enumerate() {
        let (d, scales) = by_peak(&half(&found.scale, block), 63.0);
        let (m, lows) = by_peak(&half(&found.low, block).map(|low| -low), 63.0);
        let (scales, lows) = (scales.map(|s| s.min(63)), lows.map(|low| low.min(63)));
        *chosen = finish(weights, block, &found, head(d, m, &scales, &lows), tries.top);
    }
    chosen
}

/// Chooses by the importance of the weights' columns.
#[inline(always)]
pub(super) fn by_importance(
    weights: &[[f32; LEN]],
    importance: &[[f32; LEN]],
    tries: &Tries,
) -> [Chosen; AT_ONCE] {
    let (weights, importance) = (&filled(weights), filled::<LEN, AT_ONCE>(importance));
    let squares = weights.each_ref().map(|x| 2.0 * groups::squares(x) / LEN as f32);
    let x = turned::<GROUP, LANES>(weights.as_flattened());
    let importance = turned(importance.as_flattened());
    let counts = groups::counts(&x, &importance, &each(|g| squares[g / GROUPS]));
    let found = affine(&x, &counts, tries);
    let sums = groups::sums(&counts);
    let mut chosen = [Chosen::NOTHING; AT_ONCE];
    for (block, chosen) in chosen.iter_mut().enumerate() {
        let (mut scales, mut lows) = ([0; GROUPS], [0; GROUPS]);
        let (scale, low) = (half(&found.scale, block), half(&found.low, block));
        let sums = half(&sums, block);
        let d = search::positive(&scale, &sums, 63, &mut scales);
        let m = search::positive(&low.map(|low| -low), &sums, 63, &mut lows);
        *chosen = finish(weights, block, &found, head(d, m, &scales, &lows), tries.top);
    }
    chosen
}

/// The numbers of one block's groups.
#[inline(always)]
fn half(of: &[f32; LANES], block: usize) -> [f32; GROUPS] {
    each(|g| of[block * GROUPS + g])
}

#[inline(always)]
fn finish(
    weights: &[[f32; LEN]; AT_ONCE],
    block: usize,
    found: &groups::Found<LANES>,
    head: [u8; HEAD],
    top: f32,
) -> Chosen {
    let steps = steps(&head);
    let mut levels = [0; LEN];
    let places = levels.as_chunks_mut::<GROUP>().0.iter_mut().zip(steps);
    for (g, (x, (levels, step))) in weights[block].as_chunks().0.iter().zip(places).enumerate() {
        *levels = again(x, step, top as i32, || found.levels(block * GROUPS + g, x, top));
    }
    Chosen { head, levels }
}

#[inline(always)]
pub(super) fn head(d: f32, m: f32, scales: &[u8; GROUPS], lows: &[u8; GROUPS]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let [d0, d1, m0, m1, packed @ ..] = &mut head;
    [*d0, *d1] = rows::put_f16(d);
    [*m0, *m1] = rows::put_f16(m);
    for j in 0..4 {
        let (scale, low) = (scales[j + 4], lows[j + 4]);
        packed[j] = scales[j] | scale >> 4 << 6;
        packed[j + 4] = lows[j] | low >> 4 << 6;
        packed[j + 8] = scale & 15 | low << 4;
    }
    head
}

/// The step of each group, and what is taken off.
#[inline(always)]
pub(super) fn steps(head: &[u8; HEAD]) -> [(f32, f32); GROUPS] {
    let [d0, d1, m0, m1, packed @ ..] = head;
    let (d, m) = (rows::get_f16([*d0, *d1]), rows::get_f16([*m0, *m1]));
    each(|g| {
        let j = g % 4;
        let (scale, low) = if g < 4 {
            (packed[j] & 63, packed[j + 4] & 63)
        } else {
            let (scale, low) = (packed[j + 8] & 15, packed[j + 8] >> 4);
            (scale | packed[j] >> 6 << 4, low | packed[j + 4] >> 6 << 4)
        };
        (d * f32::from(scale), m * f32::from(low))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_bits_come_back_from_where_ggml_puts_them() {
        let scales = [1, 2, 3, 63, 5, 22, 39, 56];
        let lows = [63, 8, 9, 10, 11, 28, 45, 62];
        let head = head(1.0, 2.0, &scales, &lows);
        let expected = std::array::from_fn(|g| (f32::from(scales[g]), 2.0 * f32::from(lows[g])));
        assert_eq!(steps(&head), expected);
        assert_eq!(head[12..], [5 | 11 << 4, 22 & 15 | (28 & 15) << 4, 7 | 13 << 4, 8 | 14 << 4]);
    }
}
