//! Integers that stand for real numbers: `x ≈ (q − zero) · scale`. Products of integers are
//! exact: no pair of 8-bit products saturates, as it does in some libraries on some processors.

use super::conv::{columns, parts};
use super::matmul::{Batches, stacked};
use super::qlinear::encoded;
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Data, strides};
use crate::run::graph::broadcast;
use crate::run::graph::call::Call;
use crate::run::graph::product::{View, plain};
use crate::run::graph::types::{Small, Type};
use crate::run::graph::value::Value;

const MICROSOFT: &str = "com.microsoft";

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("QuantizeLinear", 10, quantize),
    onnx("DequantizeLinear", 10, dequantize),
    onnx("DynamicQuantizeLinear", 11, dynamic_quantize),
    onnx("MatMulInteger", 10, matmul_integer),
    onnx("ConvInteger", 10, conv_integer),
    onnx("QLinearMatMul", 10, qlinear_matmul),
    onnx("QLinearConv", 10, qlinear_conv),
    Operator { domain: MICROSOFT, name: "QuantizeLinear", since: 1, compute: quantize },
    Operator { domain: MICROSOFT, name: "DequantizeLinear", since: 1, compute: dequantize },
    Operator { domain: MICROSOFT, name: "QGemm", since: 1, compute: qgemm },
    Operator { domain: MICROSOFT, name: "MatMulIntegerToFloat", since: 1, compute: matmul_integer_to_float },
    Operator { domain: MICROSOFT, name: "DynamicQuantizeMatMul", since: 1, compute: dynamic_quantize_matmul },
];

/// The least and greatest number of an integer type.
pub(super) fn limits(dtype: Type) -> Option<(i64, i64)> {
    Some(match dtype {
        Type::I8 => (i8::MIN.into(), i8::MAX.into()),
        Type::U8 => (0, u8::MAX.into()),
        Type::I16 => (i16::MIN.into(), i16::MAX.into()),
        Type::U16 => (0, u16::MAX.into()),
        Type::I32 => (i32::MIN.into(), i32::MAX.into()),
        Type::Small(small) => return small.integers(),
        _ => return None,
    })
}

/// Which of some scales belongs to each element.
enum Grain {
    One,
    Axis { step: usize, dim: usize },
    Blocks { own: Vec<usize>, dims: Vec<usize>, scales: Vec<usize>, axis: usize, block: usize },
}

impl Grain {
    fn of(call: &Call<'_>, x: &Array, scale: &Array, index: usize) -> Result<Self> {
        if scale.len() == 1 && scale.rank() <= 1 {
            return Ok(Self::One);
        }
        let axis = call.stated_axis(1, x.rank())?;
        let block = call.size("block_size", 0)?;
        let own: Vec<usize> = strides(x.shape()).iter().map(|step| step.unsigned_abs()).collect();
        if block == 0 && scale.rank() <= 1 {
            let dim = x.shape()[axis];
            if scale.len() != dim {
                return Err(call.unfit(index, format!("{dim} scales")));
            }
            return Ok(Self::Axis { step: own[axis], dim });
        }
        let fits = block > 0
            && scale.rank() == x.rank()
            && (0..x.rank()).all(|a| {
                let dim = x.shape()[a];
                scale.shape()[a] == if a == axis { dim.div_ceil(block) } else { dim }
            });
        if !fits {
            return Err(
                call.unfit(index, format!("a scale for each block of {block} along axis {axis}"))
            );
        }
        let scales = strides(scale.shape()).iter().map(|step| step.unsigned_abs()).collect();
        Ok(Self::Blocks { own, dims: x.shape().to_vec(), scales, axis, block })
    }

    fn at(&self, i: usize) -> usize {
        match self {
            Self::One => 0,
            Self::Axis { step, dim } => i / step % dim,
            Self::Blocks { own, dims, scales, axis, block } => {
                let along = (0..dims.len()).map(|a| {
                    let index = i / own[a] % dims[a];
                    scales[a] * if a == *axis { index / block } else { index }
                });
                along.sum()
            }
        }
    }
}

/// Zero points as numbers, as many as there are scales.
fn zeros(call: &Call<'_>, index: usize, count: usize) -> Result<Vec<f32>> {
    let Some(zero) = call.optional(index)? else { return Ok(vec![0.0; count]) };
    match zero.len() {
        len if len == count => Ok(zero.floats()?.into_owned()),
        _ => Err(call.unfit(index, format!("{count} zero points"))),
    }
}

fn quantize(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, scale) = (call.tensor(0)?, call.tensor(1)?);
    let grain = Grain::of(call, x, scale, 1)?;
    let stated = call.stated_type("output_dtype").ok().flatten();
    let dtype = match call.optional(2)? {
        Some(zero) => zero.dtype(),
        None => stated.unwrap_or(Type::U8),
    };
    let (scales, zeros) = (scale.floats()?, zeros(call, 2, scale.len())?);
    let values = x.floats()?;
    let saturate = call.flag("saturate", true)?;
    let ratio = |i: usize| values[i] / scales[grain.at(i)];
    let data = match (limits(dtype), dtype) {
        (Some(limits), _) => {
            let made = (0..x.len()).map(|i| rounded(ratio(i), zeros[grain.at(i)] as i64, limits));
            integers(made, dtype)?
        }
        (None, Type::Small(small)) => {
            let made = (0..x.len()).map(|i| small.encode(ratio(i) + zeros[grain.at(i)], saturate));
            Data::Small(small, made.collect::<Vec<u8>>().into())
        }
        _ => return Err(call.unfit(2, "zero points of a type to quantize to")),
    };
    one(Array::new(x.shape().to_vec(), data)?)
}

/// To the nearest integer, ties to even, moved by the zero point and brought within limits.
pub(super) fn rounded(ratio: f32, zero: i64, limits: (i64, i64)) -> i64 {
    let nearest = ratio.round_ties_even() as i64;
    nearest.saturating_add(zero).clamp(limits.0, limits.1)
}

/// Integers that lie within their type.
pub(super) fn integers(values: impl Iterator<Item = i64>, dtype: Type) -> Result<Data> {
    use crate::run::graph::array::Element;
    Ok(match dtype {
        Type::I8 => i8::wrap(values.map(|x| x as i8).collect()),
        Type::U8 => u8::wrap(values.map(|x| x as u8).collect()),
        Type::I16 => i16::wrap(values.map(|x| x as i16).collect()),
        Type::U16 => u16::wrap(values.map(|x| x as u16).collect()),
        Type::I32 => i32::wrap(values.map(|x| x as i32).collect()),
        Type::Small(small) => {
            let mask = (1u8 << small.bits()) - 1;
            Data::Small(small, values.map(|x| x as u8 & mask).collect::<Vec<u8>>().into())
        }
        other => return Err(Error::unsupported(format!("quantizing to {other}"))),
    })
}

fn dequantize(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, scale) = (call.tensor(0)?, call.tensor(1)?);
    let grain = Grain::of(call, x, scale, 1)?;
    let dtype = call.stated_type("output_dtype")?.unwrap_or(match scale.dtype() {
        Type::Small(Small::F8E8M0) => Type::F32,
        dtype => dtype,
    });
    let zeros = zeros(call, 2, scale.len())?;
    let (scales, codes) = (scale.floats()?, x.numbers()?);
    let made = codes.iter().enumerate().map(|(i, q)| {
        let at = grain.at(i);
        f64::from((q - f64::from(zeros[at])) as f32 * scales[at])
    });
    one(Array::new(x.shape().to_vec(), super::numbers(made.collect(), dtype)?)?)
}

/// 8-bit codes of numbers, with the scale and zero point that just hold them and 0.
fn dynamic(values: &[f32]) -> (Vec<u8>, f32, u8) {
    let low = values.iter().fold(0f32, |low, x| low.min(*x));
    let high = values.iter().fold(0f32, |high, x| high.max(*x));
    let scale = (high - low) / 255.0;
    let scale = if scale == 0.0 { 1.0 } else { scale };
    let zero = (-low / scale).clamp(0.0, 255.0).round_ties_even() as u8;
    let codes = values.iter().map(|x| rounded(x / scale, zero.into(), (0, 255)) as u8).collect();
    (codes, scale, zero)
}

fn dynamic_quantize(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (codes, scale, zero) = dynamic(&x.floats()?);
    let codes = Array::of(x.shape().to_vec(), codes)?;
    Ok(vec![codes.into(), Array::scalar(scale).into(), Array::scalar(zero).into()])
}

/// Codes less their zero points: one for all, or one along an axis counted from the end.
fn centred(call: &Call<'_>, x: &Array, zero: Option<usize>, from_end: usize) -> Result<Vec<i32>> {
    let codes = x.ints()?;
    let Some((index, zero)) = zero.map(|i| Ok::<_, Error>((i, call.optional(i)?))).transpose()?
    else {
        return Ok(codes.into_iter().map(|q| q as i32).collect());
    };
    let Some(zero) = zero else { return Ok(codes.into_iter().map(|q| q as i32).collect()) };
    let zeros = zero.ints()?;
    if zeros.len() == 1 {
        return Ok(codes.into_iter().map(|q| q.wrapping_sub(zeros[0]) as i32).collect());
    }
    let zeros = Array::vector(zeros);
    // A zero point for each row or column stretches along the other axes.
    let shape = match zero.rank() {
        1 if x.rank() >= from_end => {
            let mut shape = vec![1; from_end];
            shape[0] = zero.len();
            shape
        }
        _ => zero.shape().to_vec(),
    };
    let zeros = zeros.reshaped(shape)?;
    let zeros =
        broadcast::stretched(&zeros, x.shape()).map_err(|error| call.input_error(index, error))?;
    Ok(codes
        .into_iter()
        .zip(zeros.slice::<i64>()?)
        .map(|(q, zero)| q.wrapping_sub(*zero) as i32)
        .collect())
}

/// The exact product of codes less their zero points.
fn integer_product(
    call: &Call<'_>,
    a: usize,
    b: usize,
    zeros: [usize; 2],
) -> Result<(Batches, Vec<i32>)> {
    let (x, y) = (call.tensor(a)?, call.tensor(b)?);
    let dims = Batches::of(x.shape(), y.shape())?;
    call.room(&dims.shape)?;
    let left = centred(call, x, Some(zeros[0]), 2)?;
    let right = centred(call, y, Some(zeros[1]), 1)?;
    let made = stacked(&left, &right, &dims, plain::<i32>);
    Ok((dims, made))
}

fn matmul_integer(call: &Call<'_>) -> Result<Vec<Value>> {
    let (dims, made) = integer_product(call, 0, 1, [2, 3])?;
    one(Array::of(dims.shape, made)?)
}

/// The exact convolution of codes less their zero points.
fn integer_conv(
    call: &Call<'_>,
    inputs: [usize; 2],
    zeros: [usize; 2],
) -> Result<(Vec<usize>, Vec<i32>)> {
    let (x, w) = (call.tensor(inputs[0])?, call.tensor(inputs[1])?);
    let (channels, window) = parts(call, x, w, inputs[1])?;
    let shape =
        [&[channels.batch, channels.outputs * channels.groups][..], &window.output].concat();
    let total = call.room(&shape)?;
    let x_codes = centred(call, x, Some(zeros[0]), 1)?;
    let w_codes = centred(call, w, Some(zeros[1]), w.rank())?;
    let (area, count, taps) =
        (window.input.iter().product::<usize>(), window.windows(), window.taps_all());
    let depth = channels.inputs * taps;
    call.room(&[depth, count])?;
    let mut out = vec![0i32; total];
    for (part, out) in out.chunks_exact_mut((channels.outputs * count).max(1)).enumerate() {
        let group = part % channels.groups;
        let plane = &x_codes[part * channels.inputs * area..][..channels.inputs * area];
        let columns = columns(plane, channels.inputs, &window, 0..count);
        let kernel = &w_codes[group * channels.outputs * depth..][..channels.outputs * depth];
        plain(View::rows(kernel, channels.outputs, depth), View::rows(&columns, depth, count), out);
    }
    Ok((shape, out))
}

fn conv_integer(call: &Call<'_>) -> Result<Vec<Value>> {
    let (shape, made) = integer_conv(call, [0, 1], [2, 3])?;
    one(Array::of(shape, made)?)
}

/// Scales of an input: one, or several.
fn scales(call: &Call<'_>, index: usize) -> Result<Vec<f32>> {
    let scales = call.tensor(index)?.floats()?.into_owned();
    if scales.is_empty() { Err(call.unfit(index, "one scale or more")) } else { Ok(scales) }
}

/// One scale and one zero point.
pub(super) fn scale_and_zero(call: &Call<'_>, index: usize) -> Result<(f32, i64)> {
    let scale = scales(call, index)?[0];
    let zero = call.optional_ints(index + 1)?.and_then(|zeros| zeros.first().copied());
    Ok((scale, zero.unwrap_or(0)))
}

fn qlinear_matmul(call: &Call<'_>) -> Result<Vec<Value>> {
    let (dims, made) = integer_product(call, 0, 3, [2, 5])?;
    let (a, b) = (scales(call, 1)?, scales(call, 4)?);
    let (scale, zero) = scale_and_zero(call, 6)?;
    let dtype = call.dtype(7)?;
    let limits = limits(dtype).ok_or_else(|| call.unfit(7, "zero points of integers"))?;
    let (m, n) = (dims.m.max(1), dims.n.max(1));
    let value = |(i, sum): (usize, i32)| {
        let row = if a.len() == m { a[i / n % m] } else { a[0] };
        let column = if b.len() == n { b[i % n] } else { b[0] };
        rounded(sum as f32 * (row * column / scale), zero, limits)
    };
    let data = integers(made.into_iter().enumerate().map(value), dtype)?;
    one(Array::new(dims.shape, data)?)
}

fn qlinear_conv(call: &Call<'_>) -> Result<Vec<Value>> {
    let (shape, made) = integer_conv(call, [0, 3], [2, 5])?;
    let (x_scale, w_scales) = (scales(call, 1)?[0], scales(call, 4)?);
    let (scale, zero) = scale_and_zero(call, 6)?;
    let dtype = call.dtype(7)?;
    let limits = limits(dtype).ok_or_else(|| call.unfit(7, "zero points of integers"))?;
    let bias = call.optional_ints(8)?;
    let (channels, area) = (shape[1], shape[2..].iter().product::<usize>());
    let fits = bias.as_ref().is_none_or(|bias| bias.len() == channels)
        && (w_scales.len() == 1 || w_scales.len() == channels);
    if !fits {
        return Err(call.unfit(4, format!("a scale for each of {channels} channels")));
    }
    let value = |(i, sum): (usize, i32)| {
        let channel = i / area % channels;
        let w_scale = if w_scales.len() == 1 { w_scales[0] } else { w_scales[channel] };
        let sum = i64::from(sum) + bias.as_ref().map_or(0, |bias| bias[channel]);
        rounded(sum as f32 * (x_scale * w_scale / scale), zero, limits)
    };
    let data = integers(made.into_iter().enumerate().map(value), dtype)?;
    one(Array::new(shape, data)?)
}

fn qgemm(call: &Call<'_>) -> Result<Vec<Value>> {
    let turn = |index: usize, name: &str| -> Result<Array> {
        let x = call.tensor(index)?;
        match call.flag(name, false)? && x.rank() == 2 {
            true => super::shape::permuted(x, &[1, 0]),
            false => Ok(x.clone()),
        }
    };
    let (a, b) = (turn(0, "transA")?, turn(3, "transB")?);
    let dims = Batches::of(a.shape(), b.shape())?;
    call.room(&dims.shape)?;
    let (left, right) = (centred(call, &a, Some(2), 1)?, centred(call, &b, Some(5), 1)?);
    let sums = stacked(&left, &right, &dims, plain::<i32>);
    let (a_scale, b_scales) = (scales(call, 1)?[0], scales(call, 4)?);
    let alpha = call.float("alpha", 1.0)?;
    let bias = call.optional(6)?.map(|bias| broadcast::stretched(bias, &dims.shape)).transpose()?;
    let bias = bias.map(|bias| bias.ints()).transpose()?;
    let n = dims.n.max(1);
    let real = |(i, sum): (usize, i32)| {
        let sum = i64::from(sum) + bias.as_ref().map_or(0, |bias| bias[i]);
        let b_scale = if b_scales.len() == n { b_scales[i % n] } else { b_scales[0] };
        sum as f32 * (alpha * a_scale * b_scale)
    };
    let made = Array::of(dims.shape, sums.into_iter().enumerate().map(real).collect())?;
    match call.optional(7)? {
        None => one(made),
        Some(_) => encoded(call, &made, call.dtype(0)?, 7),
    }
}

/// Sums of products as numbers: times the scales, plus a bias.
fn as_floats(
    call: &Call<'_>,
    dims: Batches,
    sums: Vec<i32>,
    a: &[f32],
    b: &[f32],
    bias: usize,
) -> Result<Array> {
    let bias = call.optional(bias)?.map(Array::floats).transpose()?;
    let (m, n) = (dims.m.max(1), dims.n.max(1));
    if bias.as_ref().is_some_and(|bias| bias.len() != n) {
        return Err(Error::malformed(format!("found a bias of another size, expected {n}")));
    }
    let value = |(i, sum): (usize, i32)| {
        let row = if a.len() == m { a[i / n % m] } else { a[0] };
        let column = if b.len() == n { b[i % n] } else { b[0] };
        sum as f32 * (row * column) + bias.as_ref().map_or(0.0, |bias| bias[i % n])
    };
    Array::of(dims.shape, sums.into_iter().enumerate().map(value).collect())
}

/// The product of two inputs of codes as numbers, plus a bias.
pub(super) fn weighed(
    call: &Call<'_>,
    [a, b]: [usize; 2],
    [a_scale, b_scale]: [usize; 2],
    zeros: [usize; 2],
    bias: usize,
) -> Result<Array> {
    let (dims, sums) = integer_product(call, a, b, zeros)?;
    as_floats(call, dims, sums, &scales(call, a_scale)?, &scales(call, b_scale)?, bias)
}

fn matmul_integer_to_float(call: &Call<'_>) -> Result<Vec<Value>> {
    one(weighed(call, [0, 1], [2, 3], [4, 5], 6)?)
}

fn dynamic_quantize_matmul(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let dims = Batches::of(x.shape(), w.shape())?;
    call.room(&dims.shape)?;
    let (codes, scale, zero) = dynamic(&x.floats()?);
    let left: Vec<i32> = codes.iter().map(|q| i32::from(*q) - i32::from(zero)).collect();
    let right = centred(call, w, Some(3), 1)?;
    let sums = stacked(&left, &right, &dims, plain::<i32>);
    one(as_floats(call, dims, sums, &[scale], &scales(call, 2)?, 4)?)
}
