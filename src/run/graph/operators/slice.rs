//! Parts of values, and values made of parts.

use super::shape::{ints_of, sizes, zero};
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, strides};
use crate::run::graph::call::{Call, axis_of};
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("Slice", 1, slice),
    onnx("Split", 1, split),
    onnx("Concat", 1, concat),
    onnx("Pad", 1, pad),
    onnx("CenterCropPad", 18, center_crop_pad),
];

fn slice(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let missing = || Error::malformed("found no starts or no ends");
    let starts = ints_of(call, 1, "starts")?.ok_or_else(missing)?;
    let ends = ints_of(call, 2, "ends")?.ok_or_else(missing)?;
    let axes = match ints_of(call, 3, "axes")? {
        Some(axes) => axes.iter().map(|axis| call.axis(*axis, x.rank())).collect::<Result<_>>()?,
        None => (0..starts.len()).collect::<Vec<usize>>(),
    };
    let steps = call.optional_ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    let same = [starts.len(), ends.len(), steps.len()].iter().all(|len| *len == axes.len());
    if !same || axes.len() > x.rank() || steps.contains(&0) {
        return Err(call.unfit(1, "as many starts as ends, axes and steps, and no step of 0"));
    }
    let (mut shape, mut strides, mut offset) = (x.shape().to_vec(), strides(x.shape()), 0);
    for (i, axis) in axes.into_iter().enumerate() {
        let (first, count) = span(x.shape()[axis], starts[i], ends[i], steps[i]);
        offset += first * strides[axis].unsigned_abs();
        shape[axis] = count;
        strides[axis] = strides[axis].wrapping_mul(steps[i] as isize);
    }
    one(x.strided(&shape, &strides, offset)?)
}

/// The first index and the count of a slice, as Python has them.
fn span(dim: usize, start: i64, end: i64, step: i64) -> (usize, usize) {
    let dim = dim as i64;
    let (low, high) = if step > 0 { (0, dim) } else { (-1, dim - 1) };
    let at = |index: i64| {
        let index = if index < 0 { index.saturating_add(dim) } else { index };
        index.clamp(low, high)
    };
    let (start, end) = (at(start), at(end));
    let distance = if step > 0 { end - start } else { start - end };
    let count = if distance <= 0 { 0 } else { (distance as u64).div_ceil(step.unsigned_abs()) };
    (start.max(0) as usize, count as usize)
}

/// The part of a value from `first` to `first + count` along an axis.
pub(super) fn part(x: &Array, axis: usize, first: usize, count: usize) -> Result<Array> {
    let own = strides(x.shape());
    if first.checked_add(count).is_none_or(|end| end > x.shape()[axis]) {
        let found = x.shape();
        let text = format!("found {found:?}, expected {first} + {count} along axis {axis}");
        return Err(Error::malformed(text));
    }
    let mut shape = x.shape().to_vec();
    shape[axis] = count;
    x.strided(&shape, &own, first * own[axis].unsigned_abs())
}

fn split(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(0, x.rank())?;
    let dim = x.shape()[axis];
    let lens = match ints_of(call, 1, "split")? {
        Some(lens) => sizes(&lens)?,
        None => {
            let parts = call.size("num_outputs", call.output_count())?;
            if parts == 0 || parts != call.output_count() {
                let expected = call.output_count();
                let text = format!("attribute num_outputs: found {parts}, expected {expected}");
                return Err(Error::malformed(text));
            }
            let len = dim.div_ceil(parts);
            (0..parts).map(|i| len.min(dim.saturating_sub(i.saturating_mul(len)))).collect()
        }
    };
    pieces(x, axis, &lens)?.into_iter().map(|piece| Ok(piece.into())).collect()
}

/// The value cut along an axis into pieces of these lengths, which must be all of it.
pub(super) fn pieces(x: &Array, axis: usize, lens: &[usize]) -> Result<Vec<Array>> {
    let total = lens.iter().try_fold(0usize, |sum, len| sum.checked_add(*len));
    if total.is_none() || total.as_ref() != x.shape().get(axis) {
        let found = x.shape();
        let text = format!("found {found:?}, expected pieces {lens:?} along axis {axis}");
        return Err(Error::malformed(text));
    }
    let mut first = 0;
    let mut pieces = Vec::with_capacity(lens.len());
    for len in lens {
        pieces.push(part(x, axis, first, *len)?);
        first += len;
    }
    Ok(pieces)
}

fn concat(call: &Call<'_>) -> Result<Vec<Value>> {
    let parts = call.tensors()?;
    let rank = parts.first().map_or(0, |part| part.rank());
    // Before version 4 the axis could be left out.
    let axis = call.stated_axis(1, rank)?;
    one(joined_along(call, &parts, axis)?)
}

/// Values side by side along an axis.
pub(super) fn joined_along(call: &Call<'_>, parts: &[&Array], axis: usize) -> Result<Array> {
    let first = parts.first().ok_or_else(|| Error::malformed("found no tensors to join"))?;
    let mut shape = first.shape().to_vec();
    if axis >= shape.len() {
        let text = format!("found shape {shape:?}, expected more than {axis} dimensions");
        return Err(Error::malformed(text));
    }
    shape[axis] = 0;
    for part in parts {
        let mut other = part.shape().to_vec();
        let dim = other.get_mut(axis).map(std::mem::take);
        let same = other.iter().enumerate().all(|(i, dim)| i == axis || shape.get(i) == Some(dim));
        let (Some(dim), true) = (dim, same && other.len() == shape.len()) else {
            let (found, expected) = (part.shape(), first.shape());
            let text = format!("found shape {found:?}, expected {expected:?} but for axis {axis}");
            return Err(Error::malformed(text));
        };
        shape[axis] += dim;
    }
    call.room(&shape)?;
    // Joined end to end, then picked block by block.
    let all = Array::joined(parts)?;
    let outer: usize = shape[..axis].iter().product();
    if outer == 1 {
        return all.reshaped(shape);
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let mut places = Vec::with_capacity(all.len());
    for block in 0..outer {
        let mut start = 0;
        for part in parts {
            let len = part.shape()[axis] * inner;
            places.extend(start + block * len..start + (block + 1) * len);
            start += part.len();
        }
    }
    all.pick(shape, &places)
}

/// What lies outside a value that is padded.
#[derive(Clone, Copy)]
enum Outside {
    Constant,
    Edge,
    Reflect,
    Wrap,
}

impl Outside {
    /// The index within 0..dim that stands for another.
    fn index(self, index: i64, dim: usize) -> Option<usize> {
        let dim = dim as i64;
        if (0..dim).contains(&index) {
            return Some(index as usize);
        }
        match self {
            Self::Constant => None,
            _ if dim == 0 => None,
            Self::Edge => Some(index.clamp(0, dim - 1) as usize),
            Self::Wrap => Some(index.rem_euclid(dim) as usize),
            Self::Reflect if dim == 1 => Some(0),
            Self::Reflect => {
                let period = 2 * (dim - 1);
                let index = index.rem_euclid(period);
                Some(if index < dim { index } else { period - index } as usize)
            }
        }
    }
}

fn pad(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let stated = match ints_of(call, 1, "pads")? {
        Some(pads) => Some(pads),
        None => call.list("paddings")?.map(<[i64]>::to_vec),
    };
    let stated = stated.ok_or_else(|| Error::malformed("found no pads, expected input 1"))?;
    let axes: Vec<usize> = match call.optional_ints(3)? {
        Some(axes) => axes.iter().map(|axis| axis_of(*axis, x.rank())).collect::<Result<_>>()?,
        None => (0..x.rank()).collect(),
    };
    if stated.len() != 2 * axes.len() {
        return Err(call.unfit(1, format!("{} pads", 2 * axes.len())));
    }
    let mut pads = vec![(0, 0); x.rank()];
    for (i, axis) in axes.iter().enumerate() {
        pads[*axis] = (stated[i], stated[i + axes.len()]);
    }
    let outside = match call.text("mode", "constant")? {
        "constant" => Outside::Constant,
        "edge" => Outside::Edge,
        "reflect" => Outside::Reflect,
        "wrap" => Outside::Wrap,
        other => return Err(Error::malformed(format!("attribute mode: found '{other}'"))),
    };
    let fill = match call.optional(2)?.filter(|fill| fill.len() == 1) {
        Some(fill) => fill.clone(),
        None if x.dtype() == Type::F32 => Array::scalar(call.float("value", 0.0)?),
        None => zero(x.dtype())?,
    };
    one(padded(call, x, &pads, outside, &fill)?)
}

/// The value with so many more (or fewer) elements before and after along each axis.
fn padded(
    call: &Call<'_>,
    x: &Array,
    pads: &[(i64, i64)],
    outside: Outside,
    fill: &Array,
) -> Result<Array> {
    let new_size = |(dim, (before, after)): (&usize, &(i64, i64))| {
        (*dim as i64).saturating_add(*before).saturating_add(*after)
    };
    let wanted: Vec<i64> = x.shape().iter().zip(pads).map(new_size).collect();
    let shape = sizes(&wanted)?;
    call.room(&shape)?;
    let own = strides(x.shape());
    // For each axis, where each new index comes from, already as a distance.
    let sources: Vec<Vec<Option<usize>>> = (0..x.rank())
        .map(|axis| {
            let source =
                |i: usize| outside.index((i as i64).saturating_sub(pads[axis].0), x.shape()[axis]);
            let distance = |i: usize| source(i).map(|i| i * own[axis].unsigned_abs());
            (0..shape[axis]).map(distance).collect()
        })
        .collect();
    let new = strides(&shape);
    let place = |i: usize| {
        let parts = sources.iter().enumerate();
        let mut parts =
            parts.map(|(axis, source)| source[i / new[axis].unsigned_abs() % shape[axis]]);
        parts.try_fold(0usize, |sum, part| Some(sum + part?))
    };
    let count: usize = shape.iter().product();
    x.pick_or(shape.clone(), (0..count).map(place), fill)
}

fn center_crop_pad(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let wanted = sizes(&call.ints(1)?)?;
    let axes: Vec<usize> = match call.list("axes")? {
        Some(axes) => axes.iter().map(|axis| axis_of(*axis, x.rank())).collect::<Result<_>>()?,
        None => (0..x.rank()).collect(),
    };
    if wanted.len() != axes.len() {
        return Err(call.unfit(1, format!("{} sizes", axes.len())));
    }
    let mut pads = vec![(0, 0); x.rank()];
    for (axis, want) in axes.into_iter().zip(wanted) {
        let (have, want) = (x.shape()[axis] as i64, want as i64);
        // What is odd goes to the end, of what is cut as of what is added.
        let before = if want < have { -((have - want) / 2) } else { (want - have) / 2 };
        pads[axis] = (before, want - have - before);
    }
    one(padded(call, x, &pads, Outside::Constant, &zero(x.dtype())?)?)
}
