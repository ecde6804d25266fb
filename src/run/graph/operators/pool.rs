//! Windows made one number each: the greatest, the mean, a norm.

use super::shape::sizes;
use super::sliding::Window;
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Real};
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number, with_number, with_real};
use crate::run::graph::parts::each_part;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("AveragePool", 1, average),
    onnx("LpPool", 2, norm),
    onnx("MaxPool", 1, max),
    onnx("MaxUnpool", 9, max_unpool),
    onnx("GlobalAveragePool", 1, global_average),
    onnx("GlobalLpPool", 2, global_norm),
    onnx("GlobalMaxPool", 1, global_max),
];

/// The window of a pooling node, and the number of planes that it moves over.
fn window(call: &Call<'_>, x: &Array) -> Result<(Window, Vec<usize>)> {
    let &[batch, channels, ref input @ ..] = x.shape() else {
        return Err(call.unfit(0, "a batch of channels"));
    };
    let kernel = call.list("kernel_shape")?.map(sizes).transpose()?;
    let kernel =
        kernel.ok_or_else(|| Error::malformed("attribute kernel_shape: expected sizes"))?;
    let window = Window::stated(call, input, kernel, call.flag("ceil_mode", false)?)?;
    let shape = [&[batch, channels][..], &window.output].concat();
    call.room(&shape)?;
    Ok((window, shape))
}

/// Makes one number of those of a window; the window's number comes before them.
type Reduce<'f, R> = dyn Fn(&Window, usize, &mut dyn Iterator<Item = R>) -> R + Sync + 'f;

/// Each window of each plane through a function of its numbers.
fn pooled<R: Real>(call: &Call<'_>, x: &Array, reduce: &Reduce<'_, R>) -> Result<Array> {
    let (window, shape) = window(call, x)?;
    let values = x.reals::<R>()?;
    let area: usize = window.input.iter().product();
    let count = window.windows();
    let mut out = vec![R::ZERO; shape.iter().product()];
    each_part(&mut out, count, &|plane, out| {
        let plane = &values[plane * area..][..area];
        let mut inside = Vec::new();
        for (index, out) in out.iter_mut().enumerate() {
            inside.clear();
            window.each_tap(index, |_, place| inside.push(plane[place]));
            *out = reduce(&window, index, &mut inside.iter().copied());
        }
    });
    Array::rounded(x.dtype(), shape, out)
}

fn average(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    with_real!(x.dtype(), R => one(averaged::<R>(call, x)?))
}

/// The mean of each window, with its padding if the node counts that.
pub(super) fn averaged<R: Real>(call: &Call<'_>, x: &Array) -> Result<Array> {
    let with_padding = call.flag("count_include_pad", false)?;
    pooled::<R>(call, x, &|window, index, values| {
        let (mut sum, mut count) = (0.0, 0usize);
        for x in values {
            sum += x.to_f64();
            count += 1;
        }
        let count = if with_padding { padded_taps(window, index) } else { count };
        R::from_f64(sum / count as f64)
    })
}

/// Taps of a window that lie inside the input or its padding, but not past them.
fn padded_taps(window: &Window, index: usize) -> usize {
    let mut rest = index;
    let mut taps = 1;
    for axis in (0..window.input.len()).rev() {
        let start = rest % window.output[axis] * window.strides[axis];
        rest /= window.output[axis];
        let end = window.input[axis] + window.before[axis] + window.after[axis];
        taps *= (end - start.min(end)).div_ceil(window.dilations[axis]).min(window.kernel[axis]);
    }
    taps
}

fn norm(call: &Call<'_>) -> Result<Vec<Value>> {
    let power = f64::from(call.float("p", 2.0)?);
    let x = call.tensor(0)?;
    with_real!(x.dtype(), R => one(pooled::<R>(call, x, &|_, _, values| {
        let sum = values.map(|x| libm::pow(x.to_f64().abs(), power)).sum();
        R::from_f64(libm::pow(sum, 1.0 / power))
    })?))
}

fn max(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (window, shape) = window(call, x)?;
    let columns_first = call.flag("storage_order", false)?;
    let area: usize = window.input.iter().product();
    let count = window.windows();
    let total: usize = shape.iter().product();
    with_number!(x.dtype(), T => {
        let values = x.slice::<T>()?;
        let mut out = vec![(T::LEAST, 0i64); total];
        each_part(&mut out, count, &|plane, out| {
            let start = plane * area;
            for (index, out) in out.iter_mut().enumerate() {
                let mut best: Option<usize> = None;
                window.each_tap(index, |_, place| {
                    let is_better = |best: usize| values[start + place] > values[start + best];
                    if best.is_none_or(is_better) {
                        best = Some(place);
                    }
                });
                if let Some(best) = best {
                    let place = if columns_first { turned(best, &window.input) } else { best };
                    *out = (values[start + best], (start + place) as i64);
                }
            }
        });
        let (values, places): (Vec<T>, Vec<i64>) = out.into_iter().unzip();
        let values = Array::of(shape.clone(), values)?;
        Ok(vec![values.into(), Array::of(shape, places)?.into()])
    })
}

/// A place counted with the first axis fastest.
fn turned(place: usize, dims: &[usize]) -> usize {
    let (mut rest, mut step, mut indices) = (place, 1, Vec::new());
    for dim in dims.iter().rev() {
        indices.push(rest % dim);
        rest /= dim;
    }
    let mut turned = 0;
    for (index, dim) in indices.iter().rev().zip(dims) {
        turned += index * step;
        step *= dim;
    }
    turned
}

fn max_unpool(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, places) = (call.tensor(0)?, call.ints(1)?);
    let &[batch, channels, ref input @ ..] = x.shape() else {
        return Err(call.unfit(0, "a batch of channels"));
    };
    let rank = input.len();
    let stated = |name: &str, default: usize, len: usize| -> Result<Vec<usize>> {
        let values = call.list(name)?.map(sizes).transpose()?.unwrap_or_else(|| vec![default; len]);
        match values.len() == len {
            true => Ok(values),
            false => Err(Error::malformed(format!("attribute {name}: expected {len} sizes"))),
        }
    };
    let (kernel, strides) = (stated("kernel_shape", 1, rank)?, stated("strides", 1, rank)?);
    let pads = stated("pads", 0, 2 * rank)?;
    let mut small = vec![batch, channels];
    for axis in 0..rank {
        let reach = input[axis].saturating_sub(1).saturating_mul(strides[axis]);
        let full = reach.saturating_add(kernel[axis]);
        small.push(full.saturating_sub(pads[axis]).saturating_sub(pads[axis + rank]));
    }
    let shape = call
        .optional_ints(2)?
        .map(|dims| sizes(&dims))
        .transpose()?
        .unwrap_or_else(|| small.clone());
    let count = call.room(&shape)?;
    if places.len() != x.len() || shape.len() != small.len() {
        return Err(call.unfit(1, format!("{} indices", x.len())));
    }
    // Indices count within the shape that the attributes give, also where another is asked for.
    let own = crate::run::graph::array::strides(&small);
    let new = crate::run::graph::array::strides(&shape);
    let moved = |place: usize| -> usize {
        let along = (0..small.len()).map(|axis| {
            place / own[axis].unsigned_abs().max(1) % small[axis].max(1) * new[axis].unsigned_abs()
        });
        along.sum()
    };
    with_number!(x.dtype(), T => {
        let mut out = vec![T::ZERO; count];
        for (value, place) in x.slice::<T>()?.iter().zip(places) {
            let place = usize::try_from(place).ok().map(moved);
            let place = place.and_then(|place| out.get_mut(place));
            *place.ok_or_else(|| call.unfit(1, format!("indices within {shape:?}")))? = *value;
        }
        one(Array::of(shape, out)?)
    })
}

/// Each whole plane through a function of its numbers.
fn global(call: &Call<'_>, reduce: impl Fn(&[f64]) -> f64) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let &[batch, channels, ref input @ ..] = x.shape() else {
        return Err(call.unfit(0, "a batch of channels"));
    };
    let area: usize = input.iter().product();
    let numbers = x.numbers()?;
    let shape = [&[batch, channels][..], &vec![1; input.len()]].concat();
    let made = (0..batch * channels).map(|plane| reduce(&numbers[plane * area..][..area]));
    one(Array::new(shape, super::numbers(made.collect(), x.dtype())?)?)
}

fn global_average(call: &Call<'_>) -> Result<Vec<Value>> {
    global(call, |values| values.iter().sum::<f64>() / values.len() as f64)
}

fn global_norm(call: &Call<'_>) -> Result<Vec<Value>> {
    let power = f64::from(call.float("p", 2.0)?);
    global(call, |values| {
        let sum = values.iter().map(|x| libm::pow(x.abs(), power)).sum();
        libm::pow(sum, 1.0 / power)
    })
}

fn global_max(call: &Call<'_>) -> Result<Vec<Value>> {
    global(call, |values| values.iter().fold(f64::NEG_INFINITY, |max, x| Number::greater(max, *x)))
}
