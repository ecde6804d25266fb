//! What each type owes to the values that it was made from, element by element.

use std::ops::Range;

use super::metrics::greater;
use crate::ir::{DType, Result, Scratch, Tensor};

/// What an element of the candidate owes to its reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Same type: the same bits.
    Bits,
    /// The same, but for what a way that rounds may lose: two units in the last place.
    Ulps,
    /// A plain float: no other number of the type is nearer, so it is within half an ulp; a
    /// finite value stays finite; a NaN stays the NaN that it was; a value that the type holds
    /// is kept bit by bit.
    Nearest,
    /// A packing: within the bound of its type, block by block.
    Bound,
}

/// The same piece of both tensors and of our own encoding.
pub(super) struct Values<'v> {
    /// The reference, rounded to binary32 if it is wider.
    pub(super) narrow: Vec<f32>,
    /// The reference, if it is wider than binary32.
    wide: Option<Vec<f64>>,
    pub(super) candidate: Vec<f32>,
    /// Our own encoding, unless its bytes are the candidate's.
    pub(super) own: Option<Vec<f32>>,
    pub(super) candidate_bytes: &'v [u8],
    pub(super) own_bytes: Option<&'v [u8]>,
    /// The first element of the tensor that is finite in the reference and not in our encoding.
    pub(super) overflowed: Option<u64>,
}

impl Values<'_> {
    /// The reference's values; the rest is filled in by the caller.
    pub(super) fn new(tensor: &Tensor, at: &Range<u64>, scratch: &mut Scratch) -> Result<Self> {
        let mut narrow = vec![0.0; (at.end - at.start) as usize];
        tensor.read_floats(at.clone(), &mut narrow, scratch)?;
        let mut wide = None;
        if tensor.dtype() == DType::F64 {
            let mut bytes = scratch.take(narrow.len() * 8)?;
            tensor.read(at.clone(), &mut bytes, scratch)?;
            let (elements, _) = bytes.as_chunks::<8>();
            wide = Some(elements.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect());
            scratch.give(bytes);
        }
        let candidate = Vec::new();
        let (own, candidate_bytes, own_bytes, overflowed) = (None, &[][..], None, None);
        Ok(Self { narrow, wide, candidate, own, candidate_bytes, own_bytes, overflowed })
    }

    /// Element `i` of the reference.
    pub(super) fn reference(&self, i: usize) -> f64 {
        self.wide.as_ref().map_or_else(|| f64::from(self.narrow[i]), |wide| wide[i])
    }

    /// Whether element `i` has the reference's value, bit by bit.
    pub(super) fn same(&self, i: usize) -> bool {
        let (r, c) = (self.narrow[i], self.candidate[i]);
        let narrowed = self.wide.as_ref().is_some_and(|wide| wide[i] != f64::from(r));
        r.to_bits() == c.to_bits() && (!narrowed || self.is_own(i))
    }

    /// Whether the bytes of element `i` of a plain type are those of our own encoding.
    fn is_own(&self, i: usize) -> bool {
        let Some(own) = self.own_bytes else { return false };
        let size = self.candidate_bytes.len() / self.candidate.len().max(1);
        own[i * size..][..size] == self.candidate_bytes[i * size..][..size]
    }
}

impl Rule {
    /// The rule for elements that were of type `from` and are of type `to`.
    pub(super) fn of(from: DType, to: DType, rounded: bool) -> Self {
        match to {
            DType::F32 if from == to && rounded => Self::Ulps,
            _ if from == to => Self::Bits,
            DType::Packed(_) => Self::Bound,
            _ => Self::Nearest,
        }
    }

    /// Calls `wrong` for each element that breaks the rule.
    pub(super) fn check(self, values: &Values<'_>, to: DType, wrong: &mut dyn FnMut(usize, &str)) {
        match (self, to) {
            (Self::Bits, DType::Packed(block)) => bits(values, block.len, block.bytes, wrong),
            (Self::Bits, _) => bits(values, 1, to.block_bytes() as usize, wrong),
            (Self::Nearest, _) => nearest(values, wrong),
            (Self::Ulps, _) => ulps(values, wrong),
            (Self::Bound, DType::Packed(block)) => {
                let Some(codec) = block.codec else { return };
                let own = values.own_bytes.unwrap_or_default().chunks(block.bytes);
                let own = own.map(Some).chain(std::iter::repeat(None));
                let bytes = values.candidate_bytes.chunks(block.bytes).zip(own);
                let blocks =
                    values.narrow.chunks(block.len).zip(values.candidate.chunks(block.len));
                for (b, ((r, c), (bytes, own))) in blocks.zip(bytes).enumerate() {
                    // What an honest encoder made needs no bound.
                    if own != Some(bytes) {
                        bound(b * block.len, r, c, (codec.error_bound)(r), wrong);
                    }
                }
            }
            (Self::Bound, _) => {}
        }
    }
}

/// Blocks of `len` weights whose `size` bytes differ.
fn bits(values: &Values<'_>, len: usize, size: usize, wrong: &mut dyn FnMut(usize, &str)) {
    let own = values.own_bytes.unwrap_or_default();
    if own == values.candidate_bytes {
        return;
    }
    for (b, (r, c)) in own.chunks(size).zip(values.candidate_bytes.chunks(size)).enumerate() {
        if r != c {
            let differs = |i: &usize| !values.same(*i);
            let first = (b * len..(b + 1) * len).find(differs).unwrap_or(b * len);
            wrong(first, "the bits differ at");
        }
    }
}

/// Elements that are more than two units in the last place of binary32 away.
fn ulps(values: &Values<'_>, wrong: &mut dyn FnMut(usize, &str)) {
    // In the order of numbers: the bits of negative ones count down.
    let ordered = |x: f32| {
        let bits = i64::from(x.to_bits() as i32);
        if bits < 0 { i64::from(i32::MIN) - bits } else { bits }
    };
    for (i, (r, c)) in values.narrow.iter().zip(&values.candidate).enumerate() {
        let near = (ordered(*r) - ordered(*c)).abs() <= 2;
        if r.to_bits() != c.to_bits() && (!near || r.is_nan() || c.is_nan()) {
            wrong(i, "more than two units in the last place away at");
        }
    }
}

fn nearest(values: &Values<'_>, wrong: &mut dyn FnMut(usize, &str)) {
    // Our own bytes, and nothing lost: nothing can be wrong.
    if values.own_bytes == Some(values.candidate_bytes) && values.overflowed.is_none() {
        return;
    }
    for i in 0..values.candidate.len() {
        if values.own_bytes.is_none() {
            // A type that this version does not write: nothing but the same value is accepted.
            if !values.same(i) {
                wrong(i, "another value at");
            }
            continue;
        }
        let own = values.own.as_ref().unwrap_or(&values.candidate)[i];
        let (r, own, c) = (values.reference(i), f64::from(own), f64::from(values.candidate[i]));
        if r.is_finite() && !c.is_finite() {
            wrong(i, "overflowed at");
        } else if r.is_finite() && !own.is_finite() {
            wrong(i, "saturated at");
        } else if values.is_own(i) {
            continue;
        } else if !r.is_finite() || own == r || (c - r).abs() > (own - r).abs() {
            wrong(i, if c == 0.0 { "flushed to zero at" } else { "not the nearest value at" });
        }
    }
}

/// Whether every weight is where the scale of its group puts it: at the level next to it, or at the
/// last one if it lies beyond. Encoders that an importance leads cut off what counts for little, by
/// any amount. Of a group whose scale was changed afterwards, weights lie at other levels.
fn is_where_the_scale_puts_it(r: &[f32], c: &[f32]) -> bool {
    /// Weights that share a scale, in packings that search for one.
    const GROUP: usize = 32;
    /// Half the largest step of a type, in its smallest: 1.2 of `iq4_nl`.
    const STEPS: f32 = 1.25;
    let fits = |r: &[f32], c: &[f32]| {
        let mut levels = c.to_vec();
        levels.sort_by(f32::total_cmp);
        let steps = levels.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.0);
        let step = steps.fold(f32::INFINITY, f32::min);
        let [least, .., most] = levels[..] else { return false };
        let at_end =
            |r: f32, c: f32| c == most && 0.0 < c && c < r || c == least && r < c && c < 0.0;
        let fits = |(r, c): (&f32, &f32)| (r - c).abs() <= STEPS * step || at_end(*r, *c);
        step.is_finite() && r.iter().zip(c).all(fits)
    };
    r.chunks(GROUP).zip(c.chunks(GROUP)).all(|(r, c)| fits(r, c))
}

/// A block of which each weight may be off by `allowed`; the worst of it is named.
fn bound(first: usize, r: &[f32], c: &[f32], allowed: f32, wrong: &mut dyn FnMut(usize, &str)) {
    /// Encoders that do not search cut nothing off, and their bounds are far below half of the peak.
    const SEARCHES: f32 = 0.4;
    let diffs = r.iter().zip(c).map(|(r, c)| (f64::from(*r) - f64::from(*c)).abs());
    let worse = |worst: (usize, f64), (i, diff): (usize, f64)| {
        if greater(worst.1, diff).total_cmp(&worst.1).is_ne() { (i, diff) } else { worst }
    };
    let (i, diff) = diffs.enumerate().fold((0, 0.0), worse);
    // A NaN on either side is within nothing.
    let searches = || allowed >= SEARCHES * r.iter().fold(0.0f32, |peak, r| peak.max(r.abs()));
    if diff <= f64::from(allowed) || searches() && is_where_the_scale_puts_it(r, c) {
        return;
    }
    wrong(first + i, &format!("beyond the ±{allowed:.2e} that the type allows at"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `q4_0` allows for a peak of 1.
    const ALLOWED: f32 = 0.48;

    fn is_wrong(r: &[f32], c: &[f32]) -> bool {
        let mut wrong = false;
        bound(0, r, c, ALLOWED, &mut |_, _| wrong = true);
        wrong
    }

    /// An outlier that counts for little is cut off at the last level, and so are others like it.
    #[test]
    fn what_lies_beyond_the_last_level_may_be_cut_off() {
        let mut r: Vec<f32> = (0..32).map(|i| (i as f32 - 16.0) * 0.012).collect();
        (r[7], r[21]) = (-1.0, 0.8);
        let level = |r: &f32| (r / 0.03).round().clamp(-8.0, 7.0) * 0.03;
        let mut c: Vec<f32> = r.iter().map(level).collect();
        assert!((r[7] - c[7]).abs() > ALLOWED && !is_wrong(&r, &c));
        // Between levels, on the other side, or outwards is damage.
        for value in [-0.12, 0.03, -1.52] {
            c[7] = value;
            assert!(is_wrong(&r, &c), "{value}");
        }
    }

    /// A scale of which a bit flipped moves all weights away from their levels.
    #[test]
    fn a_scale_that_is_halved_is_wrong() {
        for small in [0.9, 0.5, 0.3] {
            let mut r: Vec<f32> = (0..32).map(|i| (i as f32 - 16.0) / 16.0 * small).collect();
            r[0] = 1.0;
            for by in [0.25, 0.5, 2.0] {
                let level = |r: &f32| (r / 0.125).round() * 0.125 * by;
                let c: Vec<f32> = r.iter().map(level).collect();
                assert!(is_wrong(&r, &c), "{small} {by}");
            }
        }
    }
}
