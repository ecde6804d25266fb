//! Weights into the blocks of a packing, and what that loses.

use crate::ir::{Quantizer, Result, Scratch, Shape};

/// Whole rows of a tensor, from element `start` on.
pub(super) struct Rows<'a> {
    pub(super) shape: &'a Shape,
    pub(super) start: u64,
    pub(super) values: &'a [f32],
}

/// How many matrices of a stack have an importance of their own, if that many they can be.
pub(super) fn matrices(shape: &Shape, importance: Option<&[f32]>) -> u64 {
    let columns = shape.columns().max(1);
    let matrices = importance.map_or(1, |all| all.len() as u64 / columns).max(1);
    if shape.rows().is_multiple_of(matrices) { matrices } else { 1 }
}

/// Packs rows, those of each matrix of a stack by its own importance.
pub(super) fn pack(
    quantizer: &Quantizer,
    rows: &Rows<'_>,
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    let columns = rows.shape.columns() as usize;
    let matrices = matrices(rows.shape, importance);
    let Some(all) = importance.filter(|_| matrices > 1) else {
        return (quantizer.pack)(rows.values, columns, importance, out);
    };
    let matrix = rows.shape.count() / matrices;
    let (mut at, mut left, mut out) = (rows.start, rows.values, out);
    while !left.is_empty() {
        let len = left.len().min((matrix - at % matrix) as usize);
        let (values, later) = left.split_at(len);
        let (packed, place) = out.split_at_mut(len / quantizer.block.len * quantizer.block.bytes);
        let first = (at / matrix) as usize * columns;
        (quantizer.pack)(values, columns, all.get(first..first + columns), packed);
        (at, left, out) = (at + len as u64, later, place);
    }
}

/// Writes values as binary32 within ±`limit`, and counts those that were beyond.
pub(super) fn clamp(values: impl Iterator<Item = f64>, limit: f64, out: &mut [u8]) -> u64 {
    let mut clamped = 0;
    for (place, x) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        let beyond = x.is_finite() && x.abs() > limit;
        clamped += u64::from(beyond);
        let kept = if beyond { limit.copysign(x) } else { x };
        *place = (kept as f32).to_le_bytes();
    }
    clamped
}

/// A scale is an f16 in every packing: weights beyond its range decode to infinity, or to NaN.
pub(super) const SCALE_MAX: f32 = 65504.0;

/// Counts the weights that decode to infinity, or to NaN.
pub(super) fn count_overflow(
    quantizer: &Quantizer,
    weights: &[f32],
    packed: &[u8],
    start: u64,
    scratch: &mut Scratch,
) -> Result<()> {
    let Some(codec) = quantizer.block.codec else { return Ok(()) };
    let mut decoded = scratch.take_floats(weights.len())?;
    (codec.decode)(packed, &mut decoded);
    let len = quantizer.block.len;
    for (block, (before, after)) in weights.chunks(len).zip(decoded.chunks(len)).enumerate() {
        // What is not finite takes its whole block along; it is counted for itself.
        if before.iter().any(|x| !x.is_finite()) {
            continue;
        }
        for (i, _) in after.iter().enumerate().filter(|(_, x)| !x.is_finite()) {
            scratch.tally.overflowed += 1;
            scratch.tally.first_overflowed.get_or_insert(start + (block * len + i) as u64);
        }
    }
    scratch.give_floats(decoded);
    Ok(())
}
