//! Operators on codes of 8 bits that give codes: what they stand for is computed, and coded again.

use super::pool::averaged;
use super::quantized::{integers, limits, rounded, scale_and_zero};
use super::shape::permuted;
use super::{Operator, one};
use crate::ir::Result;
use crate::run::graph::array::Array;
use crate::run::graph::broadcast;
use crate::run::graph::call::Call;
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

const DOMAIN: &str = "com.microsoft";

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    Operator { domain: DOMAIN, name: "QLinearAdd", since: 1, compute: qlinear_add },
    Operator { domain: DOMAIN, name: "QLinearMul", since: 1, compute: qlinear_mul },
    Operator { domain: DOMAIN, name: "QLinearSigmoid", since: 1, compute: qlinear_sigmoid },
    Operator { domain: DOMAIN, name: "QLinearLeakyRelu", since: 1, compute: qlinear_leaky_relu },
    Operator { domain: DOMAIN, name: "QLinearGlobalAveragePool", since: 1, compute: qlinear_global_average },
    Operator { domain: DOMAIN, name: "QLinearConcat", since: 1, compute: qlinear_concat },
    Operator { domain: DOMAIN, name: "QLinearAveragePool", since: 1, compute: qlinear_average },
    Operator { domain: DOMAIN, name: "QLinearSoftmax", since: 1, compute: qlinear_softmax },
    Operator { domain: DOMAIN, name: "QLinearWhere", since: 1, compute: qlinear_where },
];

/// The numbers that codes stand for, with the scale and the zero point beside them.
fn decoded(call: &Call<'_>, index: usize) -> Result<Array> {
    let x = call.tensor(index)?;
    let (scale, zero) = scale_and_zero(call, index + 1)?;
    let made = x.ints()?.into_iter().map(|q| q.wrapping_sub(zero) as f32 * scale).collect();
    Array::of(x.shape().to_vec(), made)
}

/// Numbers as codes of the type of some input, with the scale and zero point at `index`.
pub(super) fn encoded(call: &Call<'_>, x: &Array, dtype: Type, index: usize) -> Result<Vec<Value>> {
    let (scale, zero) = scale_and_zero(call, index)?;
    let limits = limits(dtype).ok_or_else(|| call.unfit(0, "codes of 8 bits"))?;
    let values = x.floats()?;
    let data = integers(values.iter().map(|x| rounded(x / scale, zero, limits)), dtype)?;
    one(Array::new(x.shape().to_vec(), data)?)
}

/// Codes less their zero point, and their scale: what they stand for, with nothing rounded yet.
fn centred(call: &Call<'_>, index: usize) -> Result<(Array, f32)> {
    let x = call.tensor(index)?;
    let (scale, zero) = scale_and_zero(call, index + 1)?;
    let made = x.ints()?.into_iter().map(|q| q.wrapping_sub(zero) as f32).collect();
    Ok((Array::of(x.shape().to_vec(), made)?, scale))
}

/// Numbers in units of the output's scale as codes.
fn coded(call: &Call<'_>, x: &Array, dtype: Type, index: usize) -> Result<Vec<Value>> {
    let (_, zero) = scale_and_zero(call, index)?;
    let limits = limits(dtype).ok_or_else(|| call.unfit(0, "codes of 8 bits"))?;
    let values = x.floats()?;
    let data = integers(values.iter().map(|x| rounded(*x, zero, limits)), dtype)?;
    one(Array::new(x.shape().to_vec(), data)?)
}

/// Two inputs of codes through a function of both, and of their scales in units of the output's.
fn combined(call: &Call<'_>, combine: fn([f32; 2], [f32; 3]) -> f32) -> Result<Vec<Value>> {
    let ((a, a_scale), (b, b_scale)) = (centred(call, 0)?, centred(call, 3)?);
    let (scale, _) = scale_and_zero(call, 6)?;
    let scales = [a_scale, b_scale, scale];
    let shape = broadcast::common(&[a.shape(), b.shape()])?;
    call.room(&shape)?;
    let (a, b) = (broadcast::stretched(&a, &shape)?, broadcast::stretched(&b, &shape)?);
    let pairs = a.slice::<f32>()?.iter().zip(b.slice::<f32>()?);
    let made = pairs.map(|(a, b)| combine([*a, *b], scales)).collect();
    coded(call, &Array::of(shape, made)?, call.dtype(0)?, 6)
}

fn qlinear_add(call: &Call<'_>) -> Result<Vec<Value>> {
    combined(call, |[a, b], [of_a, of_b, made]| a * (of_a / made) + b * (of_b / made))
}

fn qlinear_mul(call: &Call<'_>) -> Result<Vec<Value>> {
    combined(call, |[a, b], [of_a, of_b, made]| a * b * (of_a * of_b / made))
}

fn mapped(call: &Call<'_>, function: impl Fn(f32) -> f32) -> Result<Vec<Value>> {
    let x = decoded(call, 0)?;
    let made = x.slice::<f32>()?.iter().map(|x| function(*x)).collect();
    encoded(call, &Array::of(x.shape().to_vec(), made)?, call.dtype(0)?, 3)
}

fn qlinear_sigmoid(call: &Call<'_>) -> Result<Vec<Value>> {
    mapped(call, super::unary::sigmoid)
}

fn qlinear_leaky_relu(call: &Call<'_>) -> Result<Vec<Value>> {
    let alpha = call.float("alpha", 0.01)?;
    mapped(call, |x| if x < 0.0 { alpha * x } else { x })
}

fn qlinear_global_average(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = decoded(call, 0)?;
    let last = call.flag("channels_last", false)?;
    let &[batch, ref inner @ ..] = x.shape() else { return Err(call.unfit(0, "a batch")) };
    if inner.is_empty() {
        return Err(call.unfit(0, "a batch of channels"));
    }
    let (first, end) = (inner.first().copied().unwrap_or(1), inner.last().copied().unwrap_or(1));
    let channels = if last { end } else { first };
    let area = inner.iter().product::<usize>().checked_div(channels).unwrap_or(0);
    let values = x.slice::<f32>()?;
    let mean = |index: usize| {
        let (image, channel) = (index / channels, index % channels);
        let at = |i: usize| if last { i * channels + channel } else { channel * area + i };
        let sum: f64 = (0..area).map(|i| f64::from(values[image * channels * area + at(i)])).sum();
        (sum / area as f64) as f32
    };
    let made = (0..batch * channels).map(mean).collect();
    let mut shape = vec![1; x.rank()];
    shape[0] = batch;
    shape[if last { x.rank() - 1 } else { 1 }] = channels;
    encoded(call, &Array::of(shape, made)?, call.dtype(0)?, 3)
}

/// The output's scale and zero point come first, then three inputs for each part.
fn qlinear_concat(call: &Call<'_>) -> Result<Vec<Value>> {
    let parts = (2..call.input_count()).step_by(3).map(|index| decoded(call, index));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let rank = parts.first().map_or(0, Array::rank);
    let axis = call.stated_axis(0, rank)?;
    let made = super::slice::joined_along(call, &parts.iter().collect::<Vec<_>>(), axis)?;
    encoded(call, &made, call.dtype(1)?, 0)
}

/// A batch of images with the channels last, with the channels second; and the other way.
fn turned(x: &Array, back: bool) -> Result<Array> {
    let rank = x.rank();
    let order: Vec<usize> = match back {
        false => [0, rank - 1].into_iter().chain(1..rank - 1).collect(),
        true => [0].into_iter().chain(2..rank).chain([1]).collect(),
    };
    permuted(x, &order)
}

fn qlinear_average(call: &Call<'_>) -> Result<Vec<Value>> {
    let last = call.flag("channels_last", false)?;
    let (x, x_scale) = centred(call, 0)?;
    let (scale, _) = scale_and_zero(call, 3)?;
    if x.rank() < 3 {
        return Err(call.unfit(0, "a batch of channels"));
    }
    let x = if last { turned(&x, false)? } else { x };
    let means = averaged::<f32>(call, &x)?;
    let means = if last { turned(&means, true)? } else { means };
    let made = means.slice::<f32>()?.iter().map(|mean| mean * (x_scale / scale)).collect();
    coded(call, &Array::of(means.shape().to_vec(), made)?, call.dtype(0)?, 3)
}

/// Before version 13 of ONNX, all axes from the stated one on are one.
fn qlinear_softmax(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = decoded(call, 0)?;
    let axis = call.stated_axis(-1, x.rank())?;
    let flat = call.int("opset", 13)? < 13;
    let len: usize = if flat { x.shape()[axis..].iter().product() } else { x.shape()[axis] };
    let mut order: Vec<usize> = (0..x.rank()).collect();
    if !flat {
        order.swap(axis, x.rank() - 1);
    }
    let rows = permuted(&x, &order)?;
    let mut values = rows.slice::<f32>()?.to_vec();
    values.chunks_mut(len.max(1)).for_each(super::norm::softmax_row);
    // Two axes that have changed places change back.
    let made = permuted(&Array::of(rows.shape().to_vec(), values)?, &order)?;
    encoded(call, &made, call.dtype(0)?, 3)
}

fn qlinear_where(call: &Call<'_>) -> Result<Vec<Value>> {
    let (condition, a, b) = (call.tensor(0)?, decoded(call, 1)?, decoded(call, 4)?);
    let shape = broadcast::common(&[condition.shape(), a.shape(), b.shape()])?;
    call.room(&shape)?;
    let condition = broadcast::stretched(condition, &shape)?;
    let (a, b) = (broadcast::stretched(&a, &shape)?, broadcast::stretched(&b, &shape)?);
    let pairs = a.slice::<f32>()?.iter().zip(b.slice::<f32>()?);
    let chosen = condition.slice::<bool>()?.iter().zip(pairs);
    let made = chosen.map(|(yes, (a, b))| if *yes { *a } else { *b }).collect();
    encoded(call, &Array::of(shape, made)?, call.dtype(1)?, 7)
}
