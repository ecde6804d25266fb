//! Elements chosen by indices.

use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, strides};
use crate::run::graph::call::Call;
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("Gather", 1, gather),
    onnx("GatherElements", 11, gather_elements),
    onnx("GatherND", 11, gather_nd),
    onnx("OneHot", 9, one_hot),
    onnx("Compress", 9, compress),
    onnx("NonZero", 9, non_zero),
];

/// An index into so many, counted from the end if it is negative.
pub(super) fn index_of(index: i64, dim: usize) -> Result<usize> {
    let counted = if index < 0 { index.saturating_add(dim as i64) } else { index };
    usize::try_from(counted)
        .ok()
        .filter(|index| *index < dim)
        .ok_or_else(|| Error::malformed(format!("found index {index}, expected one of {dim}")))
}

fn gather(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, indices) = (call.tensor(0)?, call.tensor(1)?);
    let axis = call.stated_axis(0, x.rank())?;
    let dim = x.shape()[axis];
    let chosen = indices.ints()?.into_iter().map(|index| index_of(index, dim));
    let chosen = chosen.collect::<Result<Vec<_>>>().map_err(|error| call.input_error(1, error))?;
    let (outer, inner) = (&x.shape()[..axis], &x.shape()[axis + 1..]);
    let shape = [outer, indices.shape(), inner].concat();
    call.room(&shape)?;
    let (blocks, len): (usize, usize) = (outer.iter().product(), inner.iter().product());
    let starts = (0..blocks).flat_map(|block| chosen.iter().map(move |i| (block * dim + i) * len));
    let places: Vec<usize> = starts.flat_map(|start| start..start + len).collect();
    one(x.pick(shape, &places)?)
}

/// For each element of `indices`, the place in a value of shape `dims` with the index along
/// `axis` replaced by it.
pub(super) fn places_along(dims: &[usize], indices: &Array, axis: usize) -> Result<Vec<usize>> {
    let fits = indices.rank() == dims.len()
        && (0..dims.len()).all(|i| i == axis || indices.shape()[i] <= dims[i]);
    if !fits {
        let found = indices.shape();
        return Err(Error::malformed(format!("found indices {found:?}, expected to fit {dims:?}")));
    }
    let (own, other) = (strides(dims), strides(indices.shape()));
    let place = |(i, index): (usize, i64)| {
        let along = (0..dims.len()).map(|a| match a == axis {
            true => Ok(index_of(index, dims[axis])? * own[a].unsigned_abs()),
            false => Ok(i / other[a].unsigned_abs() % indices.shape()[a] * own[a].unsigned_abs()),
        });
        along.sum()
    };
    indices.ints()?.into_iter().enumerate().map(place).collect()
}

fn gather_elements(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, indices) = (call.tensor(0)?, call.tensor(1)?);
    let axis = call.stated_axis(0, x.rank())?;
    let places = places_along(x.shape(), indices, axis);
    let places = places.map_err(|error| call.input_error(1, error))?;
    one(x.pick(indices.shape().to_vec(), &places)?)
}

/// For each row of indices, the place where its block starts in a value of shape `dims`; the
/// first `batch` axes are those of both.
pub(super) fn block_starts(dims: &[usize], indices: &Array, batch: usize) -> Result<Vec<usize>> {
    let wrong = || {
        let found = indices.shape();
        Error::malformed(format!("found indices {found:?}, expected rows that fit {dims:?}"))
    };
    let (depth, rows) = indices.shape().split_last().ok_or_else(wrong)?;
    let fits = rows.len() >= batch && batch + depth <= dims.len() && rows[..batch] == dims[..batch];
    if !fits {
        return Err(wrong());
    }
    let own = strides(dims);
    let batches: usize = dims[..batch].iter().product();
    let rows_each: usize = rows[batch..].iter().product();
    let batch_len: usize = dims[batch..].iter().product();
    let values = indices.ints()?;
    let mut starts = Vec::with_capacity(batches * rows_each);
    for row in 0..batches * rows_each {
        let mut start = row / rows_each.max(1) * batch_len;
        for (i, index) in values[row * depth..][..*depth].iter().enumerate() {
            start += index_of(*index, dims[batch + i])? * own[batch + i].unsigned_abs();
        }
        starts.push(start);
    }
    Ok(starts)
}

fn gather_nd(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, indices) = (call.tensor(0)?, call.tensor(1)?);
    let batch = call.size("batch_dims", 0)?;
    let starts = block_starts(x.shape(), indices, batch);
    let starts = starts.map_err(|error| call.input_error(1, error))?;
    let depth = indices.shape().last().copied().unwrap_or(0);
    let inner = &x.shape()[batch + depth..];
    let shape = [&indices.shape()[..indices.rank() - 1], inner].concat();
    call.room(&shape)?;
    let len: usize = inner.iter().product();
    let places: Vec<usize> = starts.into_iter().flat_map(|start| start..start + len).collect();
    one(x.pick(shape, &places)?)
}

fn one_hot(call: &Call<'_>) -> Result<Vec<Value>> {
    let (indices, values) = (call.tensor(0)?, call.tensor(2)?);
    let depth = call.one_number(1)?.filter(|depth| *depth >= 0.0);
    let depth = depth.ok_or_else(|| call.unfit(1, "a depth of 0 or more"))? as usize;
    if values.len() != 2 {
        return Err(call.unfit(2, "two values: off and on"));
    }
    let axis = call.axis(call.int("axis", -1)?, indices.rank() + 1)?;
    let mut shape = indices.shape().to_vec();
    shape.insert(axis, depth);
    let count = call.room(&shape)?;
    let inner: usize = indices.shape()[axis..].iter().product();
    let hot: Vec<Option<usize>> =
        indices.numbers()?.into_iter().map(|index| index_of(index as i64, depth).ok()).collect();
    let place = |i: usize| {
        let (outer, within) = (i / (depth * inner), i % inner);
        usize::from(hot[outer * inner + within] == Some(i / inner % depth))
    };
    let places: Vec<usize> = (0..count).map(place).collect();
    one(values.pick(shape, &places)?)
}

fn compress(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, condition) = (call.tensor(0)?, call.tensor(1)?);
    let condition = condition.slice::<bool>().map_err(|error| call.input_error(1, error))?;
    let (flat, axis) = match call.has("axis") {
        true => (x.clone(), call.stated_axis(0, x.rank())?),
        false => (x.reshaped(vec![x.len()])?, 0),
    };
    let dim = flat.shape()[axis];
    let kept: Vec<usize> = (0..dim.min(condition.len())).filter(|i| condition[*i]).collect();
    let inner: usize = flat.shape()[axis + 1..].iter().product();
    let outer: usize = flat.shape()[..axis].iter().product();
    let mut shape = flat.shape().to_vec();
    shape[axis] = kept.len();
    let starts = (0..outer).flat_map(|block| kept.iter().map(move |i| (block * dim + i) * inner));
    let places: Vec<usize> = starts.flat_map(|start| start..start + inner).collect();
    one(flat.pick(shape, &places)?)
}

fn non_zero(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let found: Vec<usize> = match x.dtype() {
        Type::Text => {
            (0..x.len()).filter(|i| x.slice::<String>().is_ok_and(|v| !v[*i].is_empty())).collect()
        }
        _ => {
            let numbers = x.numbers()?;
            (0..x.len()).filter(|i| numbers[*i] != 0.0).collect()
        }
    };
    let own = strides(x.shape());
    let along = |axis: usize| {
        let step = own[axis].unsigned_abs();
        found.iter().map(move |i| (i / step % x.shape()[axis]) as i64)
    };
    let made: Vec<i64> = (0..x.rank()).flat_map(along).collect();
    one(Array::of(vec![x.rank(), found.len()], made)?)
}
