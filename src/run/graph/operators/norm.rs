//! Normalizations, softmax and dropout. Means and variances are taken in binary64.

use super::reduce::axes_last;
use super::shape::permuted;
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Element as _, Real};
use crate::run::graph::broadcast;
use crate::run::graph::call::{Call, axis_of};
use crate::run::graph::number::{Number, with_real};
use crate::run::graph::parts::each_part;
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("Softmax", 1, softmax_flat),
    onnx("Softmax", 13, softmax),
    onnx("LogSoftmax", 1, log_softmax_flat),
    onnx("LogSoftmax", 13, log_softmax),
    onnx("BatchNormalization", 1, batch_normalization),
    onnx("InstanceNormalization", 1, instance_normalization),
    onnx("GroupNormalization", 18, group_normalization),
    onnx("LayerNormalization", 1, layer_normalization),
    onnx("RMSNormalization", 23, rms_normalization),
    onnx("SimplifiedLayerNormalization", 1, rms_normalization),
    onnx("LpNormalization", 1, lp_normalization),
    onnx("MeanVarianceNormalization", 9, mean_variance_normalization),
    onnx("LRN", 1, local_response_normalization),
    onnx("Dropout", 1, dropout),
    Operator { domain: "com.microsoft", name: "SimplifiedLayerNormalization", since: 1, compute: rms_normalization },
];

/// e^x over the sum of them, in place; all zero where everything is −∞.
pub(super) fn softmax_row<R: Real>(row: &mut [R]) {
    softmax_beside(row, None);
}

/// As [`softmax_row`]; one more number takes its share of the sum, and is not given back.
pub(super) fn softmax_beside<R: Real>(row: &mut [R], sink: Option<R>) {
    let max = row.iter().fold(sink.unwrap_or(R::LEAST), |max, x| max.greater(*x));
    if max == R::LEAST {
        return row.fill(R::ZERO);
    }
    let mut sum = sink.map_or(0.0, |sink| (sink - max).exp().to_f64());
    for x in row.iter_mut() {
        *x = (*x - max).exp();
        sum += x.to_f64();
    }
    let sum = R::from_f64(sum);
    row.iter_mut().for_each(|x| *x = *x / sum);
}

fn log_softmax_row<R: Real>(row: &mut [R]) {
    let max = row.iter().fold(R::LEAST, |max, x| max.greater(*x));
    let sum: f64 = row.iter().map(|x| (*x - max).exp().to_f64()).sum();
    let shift = max + R::from_f64(libm::log(sum));
    row.iter_mut().for_each(|x| *x = *x - shift);
}

/// Each row along an axis through a function that works in place.
fn along<R: Real>(x: &Array, axis: usize, work: fn(&mut [R])) -> Result<Array> {
    let (_, moved) = axes_last(x, &[axis])?;
    let made = by_rows(&moved, x.shape()[axis], work)?;
    let mut order: Vec<usize> = (0..x.rank() - 1).collect();
    order.insert(axis, x.rank() - 1);
    permuted(&made, &order)
}

fn by_rows<R: Real>(x: &Array, len: usize, work: fn(&mut [R])) -> Result<Array> {
    let mut values = x.reals::<R>()?.into_owned();
    each_part(&mut values, len, &|_, row| work(row));
    Array::rounded(x.dtype(), x.shape().to_vec(), values)
}

fn softmax(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(-1, x.rank())?;
    with_real!(x.dtype(), R => one(along::<R>(x, axis, softmax_row)?))
}

fn log_softmax(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(-1, x.rank())?;
    with_real!(x.dtype(), R => one(along::<R>(x, axis, log_softmax_row)?))
}

/// Before version 13 all axes from the stated one on were one.
fn softmax_flat(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(1, x.rank() + 1)?;
    let len = x.shape()[axis..].iter().product();
    with_real!(x.dtype(), R => one(by_rows::<R>(x, len, softmax_row)?))
}

fn log_softmax_flat(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(1, x.rank() + 1)?;
    let len = x.shape()[axis..].iter().product();
    with_real!(x.dtype(), R => one(by_rows::<R>(x, len, log_softmax_row)?))
}

/// The mean and the variance of numbers.
fn moments<R: Real>(values: impl Iterator<Item = R> + Clone) -> (f64, f64) {
    let (mut sum, mut count) = (0.0, 0usize);
    for x in values.clone() {
        sum += x.to_f64();
        count += 1;
    }
    let mean = sum / count as f64;
    let squares: f64 = values.map(|x| (x.to_f64() - mean).powi(2)).sum();
    (mean, squares / count as f64)
}

/// The batch's channels: (batch, channels, elements of a plane).
fn planes(call: &Call<'_>) -> Result<(usize, usize, usize)> {
    match call.tensor(0)?.shape() {
        [batch, channels, inner @ ..] => Ok((*batch, *channels, inner.iter().product())),
        _ => Err(call.unfit(0, "a batch of channels")),
    }
}

/// As many numbers as there are channels.
fn per_channel<R: Real>(call: &Call<'_>, index: usize, channels: usize) -> Result<Vec<R>> {
    let x = call.tensor(index)?;
    if x.len() != channels {
        return Err(call.unfit(index, format!("{channels} numbers")));
    }
    let how = super::cast::How::default();
    let x = super::cast::converted(x, R::TYPE, how)?;
    Ok(x.reals::<R>()?.into_owned())
}

fn batch_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (batch, channels, area) = planes(call)?;
    let epsilon = f64::from(call.float("epsilon", 1e-5)?);
    let momentum = f64::from(call.float("momentum", 0.9)?);
    // Before version 7 the attribute is_test said it, from version 14 on training_mode.
    let training = match call.version() {
        14.. => call.flag("training_mode", false)?,
        7.. => false,
        _ => !call.flag("is_test", false)?,
    };
    with_real!(x.dtype(), R => {
        let values = x.reals::<R>()?;
        let scale = per_channel::<R>(call, 1, channels)?;
        let bias = per_channel::<R>(call, 2, channels)?;
        let given_mean = per_channel::<f64>(call, 3, channels)?;
        let given_variance = per_channel::<f64>(call, 4, channels)?;
        let (mut mean, mut variance) = (given_mean.clone(), given_variance.clone());
        if training {
            for channel in 0..channels {
                let rows = (0..batch).flat_map(|image| {
                    values[(image * channels + channel) * area..][..area].iter().copied()
                });
                (mean[channel], variance[channel]) = moments(rows);
            }
        }
        let mut out = values.into_owned();
        for (plane, out) in out.chunks_exact_mut(area.max(1)).enumerate() {
            let channel = plane % channels;
            let factor = scale[channel].to_f64() / (variance[channel] + epsilon).sqrt();
            let shift = bias[channel].to_f64();
            out.iter_mut().for_each(|x| *x = R::from_f64((x.to_f64() - mean[channel]) * factor + shift));
        }
        let mut made = vec![Array::rounded(x.dtype(), x.shape().to_vec(), out)?.into()];
        if training && call.output_count() > 1 {
            let running = |old: &[f64], new: &[f64], index: usize| -> Result<Value> {
                let mixed = old.iter().zip(new).map(|(old, new)| old * momentum + new * (1.0 - momentum));
                let dtype = call.dtype(index)?;
                let data = super::numbers(mixed.collect(), dtype)?;
                Ok(Array::new(vec![channels], data)?.into())
            };
            made.push(running(&given_mean, &mean, 3)?);
            made.push(running(&given_variance, &variance, 4)?);
        }
        Ok(made)
    })
}

/// Blocks of numbers normalized by their own mean and variance, then scaled by channel.
pub(super) fn normalized<R: Real>(
    x: &Array,
    block: usize,
    epsilon: f64,
    affine: impl Fn(usize) -> (f64, f64) + Sync,
) -> Result<Array> {
    let mut values = x.reals::<R>()?.into_owned();
    each_part(&mut values, block, &|index, values| {
        let (mean, variance) = moments(values.iter().copied());
        let factor = 1.0 / (variance + epsilon).sqrt();
        for (i, x) in values.iter_mut().enumerate() {
            let (scale, bias) = affine(index * block + i);
            *x = R::from_f64((x.to_f64() - mean) * factor * scale + bias);
        }
    });
    Array::rounded(x.dtype(), x.shape().to_vec(), values)
}

fn instance_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (_, channels, area) = planes(call)?;
    let epsilon = call.float("epsilon", 1e-5)?.into();
    let (scale, bias) =
        (per_channel::<f64>(call, 1, channels)?, per_channel::<f64>(call, 2, channels)?);
    let affine = |i: usize| (scale[i / area % channels], bias[i / area % channels]);
    with_real!(x.dtype(), R => one(normalized::<R>(x, area, epsilon, affine)?))
}

/// <https://arxiv.org/abs/1803.08494>. Before version 21 there was a scale for each group.
fn group_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (_, channels, area) = planes(call)?;
    let groups = call.size("num_groups", 0)?;
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(call.unfit(0, format!("channels in {groups} groups")));
    }
    let epsilon = call.float("epsilon", 1e-5)?.into();
    let each = channels / groups;
    let (count, span) = if call.version() < 21 { (groups, each) } else { (channels, 1) };
    let (scale, bias) = (per_channel::<f64>(call, 1, count)?, per_channel::<f64>(call, 2, count)?);
    let affine = |i: usize| {
        let channel = i / area % channels / span;
        (scale[channel], bias[channel])
    };
    with_real!(x.dtype(), R => one(normalized::<R>(x, each * area, epsilon, affine)?))
}

/// Numbers for each element of the normalized axes, of a shape that stretches to theirs.
pub(super) fn spread(call: &Call<'_>, index: usize, shape: &[usize]) -> Result<Option<Vec<f64>>> {
    let Some(x) = call.optional(index)? else { return Ok(None) };
    let x = broadcast::stretched(x, shape).map_err(|error| call.input_error(index, error))?;
    Ok(Some(x.numbers()?))
}

fn layer_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(-1, x.rank())?;
    let inner = &x.shape()[axis..];
    let len: usize = inner.iter().product();
    let epsilon: f64 = call.float("epsilon", 1e-5)?.into();
    let (scale, bias) = (spread(call, 1, inner)?, spread(call, 2, inner)?);
    let affine = |i: usize| {
        let at =
            |values: &Option<Vec<f64>>, default| values.as_ref().map_or(default, |v| v[i % len]);
        (at(&scale, 1.0), at(&bias, 0.0))
    };
    let kept = [&x.shape()[..axis], &vec![1; inner.len()]].concat();
    with_real!(x.dtype(), R => {
        let made = normalized::<R>(x, len, epsilon, affine)?;
        if call.output_count() < 2 {
            return one(made);
        }
        let rows: Vec<(f64, f64)> =
            x.reals::<R>()?.chunks_exact(len.max(1)).map(|row| moments(row.iter().copied())).collect();
        let means: Vec<R> = rows.iter().map(|row| R::from_f64(row.0)).collect();
        let inverse: Vec<R> = rows.iter().map(|row| R::from_f64(1.0 / (row.1 + epsilon).sqrt())).collect();
        // They are of the type that was computed in, whatever the input's.
        let means = Array::rounded(R::TYPE, kept.clone(), means)?;
        Ok(vec![made.into(), means.into(), Array::rounded(R::TYPE, kept, inverse)?.into()])
    })
}

fn rms_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(-1, x.rank())?;
    let epsilon = f64::from(call.float("epsilon", 1e-5)?);
    let inner = &x.shape()[axis..];
    let scale = spread(call, 1, inner)?;
    let (made, inverse) = rms(x, inner.iter().product(), scale.as_deref(), epsilon)?;
    let kept = [&x.shape()[..axis], &vec![1; inner.len()]].concat();
    Ok(vec![made.into(), Array::of(kept, inverse)?.into()])
}

/// `x / sqrt(mean(x²) + ε) · w`, and the factors: <https://arxiv.org/abs/1910.07467>.
pub(super) fn rms(
    x: &Array,
    len: usize,
    scale: Option<&[f64]>,
    epsilon: f64,
) -> Result<(Array, Vec<f32>)> {
    with_real!(x.dtype(), R => {
        let mut values = x.reals::<R>()?.into_owned();
        let mut inverse = Vec::new();
        for row in values.chunks_exact_mut(len.max(1)) {
            let squares: f64 = row.iter().map(|x| x.to_f64().powi(2)).sum();
            let factor = 1.0 / (squares / len as f64 + epsilon).sqrt();
            inverse.push(factor as f32);
            for (i, x) in row.iter_mut().enumerate() {
                *x = R::from_f64(x.to_f64() * factor * scale.map_or(1.0, |scale| scale[i]));
            }
        }
        Ok((Array::rounded(x.dtype(), x.shape().to_vec(), values)?, inverse))
    })
}

fn lp_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    fn first<R: Real>(row: &mut [R]) {
        let sum = row.iter().map(|x| x.to_f64().abs()).sum();
        divided(row, sum);
    }
    fn second<R: Real>(row: &mut [R]) {
        let sum: f64 = row.iter().map(|x| x.to_f64().powi(2)).sum();
        divided(row, sum.sqrt());
    }
    fn divided<R: Real>(row: &mut [R], norm: f64) {
        if norm != 0.0 {
            row.iter_mut().for_each(|x| *x = R::from_f64(x.to_f64() / norm));
        }
    }
    let x = call.tensor(0)?;
    let axis = call.stated_axis(-1, x.rank())?;
    let power = call.int("p", 2)?;
    with_real!(x.dtype(), R => {
        let work = match power {
            1 => first::<R>,
            2 => second::<R>,
            _ => return Err(Error::malformed(format!("attribute p: found {power}, expected 1 or 2"))),
        };
        one(along::<R>(x, axis, work)?)
    })
}

fn mean_variance_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axes = call.list("axes")?.unwrap_or(&[0, 2, 3]);
    let axes = axes.iter().map(|axis| axis_of(*axis, x.rank())).collect::<Result<Vec<_>>>()?;
    let (_, moved) = axes_last(x, &axes)?;
    let len: usize = axes.iter().map(|axis| x.shape()[*axis]).product();
    // As the function that defines it: ε is added to the deviation, not to the variance.
    let work = |values: &mut [f64]| {
        let (mean, variance) = moments(values.iter().copied());
        values.iter_mut().for_each(|x| *x = (*x - mean) / (variance.sqrt() + 1e-9));
    };
    let mut numbers = moved.numbers()?;
    numbers.chunks_mut(len.max(1)).for_each(work);
    let data = super::numbers(numbers, x.dtype())?;
    let made = Array::new(moved.shape().to_vec(), data)?;
    let order: Vec<usize> =
        (0..x.rank()).filter(|axis| !axes.contains(axis)).chain(axes.clone()).collect();
    let back: Vec<usize> =
        (0..x.rank()).map(|axis| order.iter().position(|a| *a == axis).unwrap_or(0)).collect();
    one(permuted(&made, &back)?)
}

/// Each number over a sum of squares of the channels beside it.
fn local_response_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (batch, channels, area) = planes(call)?;
    let size = call.size("size", 1)?.max(1);
    let alpha = f64::from(call.float("alpha", 1e-4)?);
    let beta = f64::from(call.float("beta", 0.75)?);
    let bias = f64::from(call.float("bias", 1.0)?);
    let numbers = x.numbers()?;
    let mut out = vec![0.0; numbers.len()];
    for (i, out) in out.iter_mut().enumerate().take(batch * channels * area) {
        let (channel, start) =
            (i / area % channels, i / area / channels * channels * area + i % area);
        let first = channel.saturating_sub((size - 1) / 2);
        let end = channel.saturating_add(size / 2 + 1).min(channels);
        let squares: f64 = (first..end).map(|c| numbers[start + c * area].powi(2)).sum();
        *out = numbers[i] / libm::pow(bias + alpha / size as f64 * squares, beta);
    }
    one(Array::new(x.shape().to_vec(), super::numbers(out, x.dtype())?)?)
}

/// Nothing is dropped unless the node trains: then a mask is drawn from the stated seed.
fn dropout(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let ratio = match call.one_number(1)? {
        Some(ratio) => ratio,
        None => call.float("ratio", 0.5)?.into(),
    };
    let training = match call.optional(2)? {
        Some(flag) => flag.numbers()?.first().is_some_and(|x| *x != 0.0),
        None => call.version() < 7 && !call.flag("is_test", false)?,
    };
    let mask = match training && ratio > 0.0 {
        false => vec![true; x.len()],
        true => {
            let mut random = super::random::seeded(call)?;
            (0..x.len()).map(|_| random.uniform() >= ratio).collect()
        }
    };
    let kept = mask.iter().map(|kept| if *kept { 1.0 / (1.0 - ratio) } else { 0.0 });
    let made = match training && ratio > 0.0 {
        false => x.clone(),
        true => with_real!(x.dtype(), R => {
            let scaled = x.reals::<R>()?.iter().zip(kept).map(|(x, by)| *x * R::from_f64(by)).collect();
            Array::rounded::<R>(x.dtype(), x.shape().to_vec(), scaled)
        })?,
    };
    // Before version 10 the mask was of the input's type.
    let mask = Array::of(x.shape().to_vec(), mask)?;
    let mask = match call.version() < 10 && x.dtype() != Type::Bool {
        true => super::cast::converted(&mask, x.dtype(), super::cast::How::default())?,
        false => mask,
    };
    Ok(vec![made.into(), mask.into()])
}
