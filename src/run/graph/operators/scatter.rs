//! Elements put where indices say.

use super::gather::{block_starts, places_along};
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, strides};
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number, with_number};
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("Scatter", 9, scatter_elements),
    onnx("ScatterElements", 11, scatter_elements),
    onnx("ScatterND", 11, scatter_nd),
    onnx("TensorScatter", 24, tensor_scatter),
];

/// The value with updates put at places, in order; several at one place are combined.
fn scattered(call: &Call<'_>, x: &Array, updates: &Array, places: &[usize]) -> Result<Array> {
    if updates.len() != places.len() {
        return Err(call.unfit(2, format!("{} updates", places.len())));
    }
    let how = call.text("reduction", "none")?;
    if how == "none" {
        // The last update of each place, picked from both end to end.
        let both = Array::joined(&[x, updates]).map_err(|error| call.input_error(2, error))?;
        let mut from: Vec<usize> = (0..x.len()).collect();
        for (i, place) in places.iter().enumerate() {
            from[*place] = x.len() + i;
        }
        return both.pick(x.shape().to_vec(), &from);
    }
    with_number!(x.dtype(), T => {
        let combine: fn(T, T) -> T = match how {
            "add" => T::plus,
            "mul" => T::times,
            "max" => T::greater,
            "min" => T::lesser,
            other => return Err(Error::malformed(format!("attribute reduction: found '{other}'"))),
        };
        let updates = updates.slice::<T>().map_err(|error| call.input_error(2, error))?;
        let mut out = x.slice::<T>()?.to_vec();
        for (place, update) in places.iter().zip(updates) {
            out[*place] = combine(out[*place], *update);
        }
        Array::of(x.shape().to_vec(), out)
    })
}

fn scatter_elements(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, indices, updates) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let axis = call.stated_axis(0, x.rank())?;
    let places = places_along(x.shape(), indices, axis);
    let places = places.map_err(|error| call.input_error(1, error))?;
    one(scattered(call, x, updates, &places)?)
}

fn scatter_nd(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, indices, updates) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let starts = block_starts(x.shape(), indices, 0);
    let starts = starts.map_err(|error| call.input_error(1, error))?;
    let depth = indices.shape().last().copied().unwrap_or(0);
    let len: usize = x.shape()[depth..].iter().product();
    call.room(&[starts.len(), len])?;
    let places: Vec<usize> = starts.into_iter().flat_map(|start| start..start + len).collect();
    one(scattered(call, x, updates, &places)?)
}

/// A cache of keys or values with new ones written from an index on, of each of the batch.
fn tensor_scatter(call: &Call<'_>) -> Result<Vec<Value>> {
    let (cache, update) = (call.tensor(0)?, call.tensor(1)?);
    let axis = call.stated_axis(-2, cache.rank())?;
    let circular = call.text("mode", "linear")? == "circular";
    let fits = update.rank() == cache.rank()
        && (0..cache.rank()).all(|i| {
            let (have, new) = (cache.shape()[i], update.shape()[i]);
            if i == axis { new <= have } else { new == have }
        });
    if !fits || axis == 0 {
        return Err(call.unfit(1, format!("a part of {:?} along axis {axis}", cache.shape())));
    }
    let batch = cache.shape()[0];
    let first = call.optional_ints(2)?.unwrap_or_else(|| vec![0; batch]);
    if first.len() != batch {
        return Err(call.unfit(2, format!("{batch} indices")));
    }
    let (own, new) = (strides(cache.shape()), strides(update.shape()));
    let place = |i: usize| {
        let at = |a: usize| i / new[a].unsigned_abs() % update.shape()[a];
        let index = first[at(0)].saturating_add(at(axis) as i64);
        let dim = cache.shape()[axis] as i64;
        let index = if circular { index.rem_euclid(dim) } else { index };
        if !(0..dim).contains(&index) {
            return Err(call.unfit(2, format!("indices within {dim}")));
        }
        let along = |a| if a == axis { index as usize } else { at(a) };
        Ok((0..cache.rank()).map(|a| along(a) * own[a].unsigned_abs()).sum())
    };
    let places = (0..update.len()).map(place).collect::<Result<Vec<usize>>>()?;
    one(scattered(call, cache, update, &places)?)
}
