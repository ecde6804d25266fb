//! Convolutions: <https://arxiv.org/abs/1603.07285>.

use std::borrow::Cow;

use super::shape::sizes;
use super::sliding::Window;
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Real};
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number, with_real};
use crate::run::graph::parts::each_part;
use crate::run::graph::product::View;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("Conv", 1, conv),
    onnx("ConvTranspose", 1, conv_transpose),
    onnx("DeformConv", 19, deform_conv),
    onnx("Col2Im", 18, col2im),
    Operator { domain: "com.microsoft", name: "FusedConv", since: 1, compute: fused_conv },
];

/// Batch, channels and groups of a convolution.
pub(super) struct Channels {
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// Input channels of one group.
    pub(super) inputs: usize,
    /// Output channels of one group.
    pub(super) outputs: usize,
}

/// The parts of a convolution of `x` with weights `w`, checked against each other.
pub(super) fn parts(
    call: &Call<'_>,
    x: &Array,
    w: &Array,
    at: usize,
) -> Result<(Channels, Window)> {
    let groups = call.size("group", 1)?.max(1);
    let (&[batch, channels, ref input @ ..], &[outputs, inputs, ref kernel @ ..]) =
        (x.shape(), w.shape())
    else {
        return Err(call.unfit(0, "a batch of channels"));
    };
    if inputs.checked_mul(groups) != Some(channels) || !outputs.is_multiple_of(groups) {
        return Err(call.unfit(at, format!("{channels} channels in {groups} groups")));
    }
    if call.list("kernel_shape")?.map(sizes).transpose()?.is_some_and(|stated| stated != kernel) {
        return Err(call.unfit(at, "the kernel_shape that the attribute states"));
    }
    let window = Window::stated(call, input, kernel.to_vec(), false)?;
    Ok((Channels { batch, groups, inputs, outputs: outputs / groups }, window))
}

fn conv(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let (channels, window) = parts(call, x, w, 1)?;
    let shape =
        [&[channels.batch, channels.outputs * channels.groups][..], &window.output].concat();
    call.room(&shape)?;
    with_real!(x.dtype(), R => {
        let bias = bias::<R>(call, 2, shape[1])?;
        let weights = w.reals::<R>().map_err(|error| call.input_error(1, error))?;
        let made = convolved(&x.reals::<R>()?, &weights, bias.as_deref(), &channels, &window);
        one(Array::rounded(x.dtype(), shape, made)?)
    })
}

/// What is added to each channel out, if anything is.
fn bias<'c, R: Real>(
    call: &'c Call<'_>,
    input: usize,
    channels: usize,
) -> Result<Option<Cow<'c, [R]>>> {
    let bias = call.optional(input)?.map(Array::reals::<R>).transpose()?;
    match bias.as_ref().is_none_or(|bias| bias.len() == channels) {
        true => Ok(bias),
        false => Err(call.unfit(input, format!("{channels} numbers"))),
    }
}

/// Elements that are gathered at once, where a window has fewer.
const GATHERED: usize = 1 << 24;

/// Each group of each image: the windows as columns of a matrix, multiplied with the weights.
fn convolved<R: Real>(
    x: &[R],
    weights: &[R],
    bias: Option<&[R]>,
    channels: &Channels,
    window: &Window,
) -> Vec<R> {
    let Channels { batch, groups, inputs, outputs } = *channels;
    let (area, count, taps) =
        (window.input.iter().product::<usize>(), window.windows(), window.taps_all());
    let mut out = vec![R::ZERO; batch * groups * outputs * count];
    if out.is_empty() {
        return out;
    }
    for (part, out) in out.chunks_exact_mut(outputs * count).enumerate() {
        let group = part % groups;
        let x = &x[part * inputs * area..][..inputs * area];
        let weights = &weights[group * outputs * inputs * taps..][..outputs * inputs * taps];
        let kernel = View::rows(weights, outputs, inputs * taps);
        let block = (GATHERED / (inputs * taps).max(1)).clamp(32, 4096);
        for first in (0..count).step_by(block) {
            let block = block.min(count - first);
            let columns = columns(x, inputs, window, first..first + block);
            let mut sums = vec![R::ZERO; outputs * block];
            R::product(kernel, View::rows(&columns, inputs * taps, block), &mut sums);
            for (channel, sums) in sums.chunks_exact(block).enumerate() {
                let offset = bias.map_or(R::ZERO, |bias| bias[group * outputs + channel]);
                let out = &mut out[channel * count + first..][..block];
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum + offset);
            }
        }
    }
    out
}

/// The elements under some windows: a row for each channel and tap, a column for each window.
pub(super) fn columns<T: Number>(
    x: &[T],
    channels: usize,
    window: &Window,
    windows: std::ops::Range<usize>,
) -> Vec<T> {
    let (area, taps, count) =
        (window.input.iter().product::<usize>(), window.taps_all(), windows.len());
    let mut pairs = Vec::new();
    for (column, index) in windows.enumerate() {
        window.each_tap(index, |tap, place| pairs.push((tap * count + column, place)));
    }
    let mut out = vec![T::ZERO; channels * taps * count];
    each_part(&mut out, taps * count, &|channel, out| {
        let x = &x[channel * area..][..area];
        pairs.iter().for_each(|(to, from)| out[*to] = x[*from]);
    });
    out
}

fn fused_conv(call: &Call<'_>) -> Result<Vec<Value>> {
    let made = conv(call)?;
    let activation = call.text("activation", "")?;
    let parameters = call.floats("activation_params")?.unwrap_or_default();
    let added = call.optional(3)?;
    let made = made.first().ok_or_else(|| Error::bug("a convolution without a value"))?.tensor()?;
    with_real!(made.dtype(), R => {
        let mut values = made.reals::<R>()?.into_owned();
        if let Some(added) = added {
            let added = added.reals::<R>()?;
            values.iter_mut().zip(added.iter()).for_each(|(x, y)| *x += *y);
        }
        let parameter = |i: usize, default: f32| R::from_f64(parameters.get(i).copied().unwrap_or(default).into());
        for x in &mut values {
            *x = match activation {
                "" => *x,
                "Relu" => x.greater(R::ZERO),
                "Tanh" => x.tanh(),
                "Sigmoid" => super::unary::sigmoid(*x),
                "LeakyRelu" => if *x < R::ZERO { parameter(0, 0.01) * *x } else { *x },
                "Clip" => x.greater(parameter(0, f32::MIN)).lesser(parameter(1, f32::MAX)),
                "HardSigmoid" => (parameter(0, 0.2) * *x + parameter(1, 0.5)).greater(R::ZERO).lesser(R::ONE),
                other => return Err(Error::unsupported(format!("attribute activation: '{other}'"))),
            };
        }
        one(Array::rounded(made.dtype(), made.shape().to_vec(), values)?)
    })
}

fn conv_transpose(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let groups = call.size("group", 1)?.max(1);
    let (&[batch, channels, ref input @ ..], &[rows, outputs, ref kernel @ ..]) =
        (x.shape(), w.shape())
    else {
        return Err(call.unfit(0, "a batch of channels"));
    };
    if rows != channels || !channels.is_multiple_of(groups) || kernel.len() != input.len() {
        return Err(call.unfit(1, format!("{channels} channels in {groups} groups")));
    }
    let window = Window::transposed(call, input, kernel)?;
    let shape = [&[batch, outputs * groups][..], &window.input].concat();
    call.room(&shape)?;
    call.room(&[outputs, kernel.iter().product(), input.iter().product()])?;
    let sizes = Channels { batch, groups, inputs: channels / groups, outputs };
    with_real!(x.dtype(), R => {
        let bias = bias::<R>(call, 2, shape[1])?;
        let weights = w.reals::<R>().map_err(|error| call.input_error(1, error))?;
        let made = spread(&x.reals::<R>()?, &weights, bias.as_deref(), &sizes, &window);
        one(Array::rounded(x.dtype(), shape, made)?)
    })
}

/// Each input element times the kernel, added up where the kernels overlap.
fn spread<R: Real>(
    x: &[R],
    weights: &[R],
    bias: Option<&[R]>,
    channels: &Channels,
    window: &Window,
) -> Vec<R> {
    let Channels { batch, groups, inputs, outputs } = *channels;
    let (area, count, taps) =
        (window.input.iter().product::<usize>(), window.windows(), window.taps_all());
    let mut out = vec![R::ZERO; batch * groups * outputs * area];
    if out.is_empty() || count == 0 {
        return out;
    }
    let mut pairs = Vec::new();
    for index in 0..count {
        window.each_tap(index, |tap, place| pairs.push((tap * count + index, place)));
    }
    for (part, out) in out.chunks_exact_mut(outputs * area).enumerate() {
        let group = part % groups;
        let x = View::rows(&x[part * inputs * count..][..inputs * count], inputs, count);
        let weights = &weights[group * inputs * outputs * taps..][..inputs * outputs * taps];
        let mut columns = vec![R::ZERO; outputs * taps * count];
        R::product(View::rows(weights, inputs, outputs * taps).transposed(), x, &mut columns);
        let each = |channel: usize, out: &mut [R]| {
            let columns = &columns[channel * taps * count..][..taps * count];
            pairs.iter().for_each(|(from, to)| out[*to] += columns[*from]);
            if let Some(bias) = bias {
                out.iter_mut().for_each(|x| *x += bias[group * outputs + channel]);
            }
        };
        each_part(out, area, &each);
    }
    out
}

/// Columns of windows put back where they overlap, and added.
fn col2im(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (image, kernel) = (sizes(&call.ints(1)?)?, sizes(&call.ints(2)?)?);
    call.room(&image)?;
    let window = Window::stated(call, &image, kernel, false)?;
    let (taps, count) = (window.taps_all(), window.windows());
    let &[batch, rows, columns] = x.shape() else { return Err(call.unfit(0, "three dimensions")) };
    if !rows.is_multiple_of(taps) || columns != count {
        return Err(call.unfit(0, format!("[batch, channels · {taps}, {count}]")));
    }
    let shape = [&[batch, rows / taps][..], &image].concat();
    call.room(&shape)?;
    let area: usize = image.iter().product();
    with_real!(x.dtype(), R => {
        let values = x.reals::<R>()?;
        let mut out = vec![R::ZERO; batch * rows / taps * area];
        let parts = out.chunks_exact_mut(area.max(1)).zip(values.chunks_exact((taps * count).max(1)));
        for (out, values) in parts {
            for index in 0..count {
                window.each_tap(index, |tap, place| out[place] += values[tap * count + index]);
            }
        }
        one(Array::rounded(x.dtype(), shape, out)?)
    })
}

/// A convolution whose taps are moved by offsets, and weighed by a mask:
/// <https://arxiv.org/abs/1811.11168>. Two spatial axes.
fn deform_conv(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, w, offsets) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let (channels, window) = parts(call, x, w, 1)?;
    let &[height, width] = &window.input[..] else { return Err(call.unfit(0, "two spatial axes")) };
    let (taps, count) = (window.taps_all(), window.windows());
    let offset_groups = call.size("offset_group", 1)?.max(1);
    let mask = call.optional(4)?;
    let wanted = call.room(&[channels.batch, offset_groups, taps, count])?;
    let fits = offsets.len() == 2 * wanted && mask.is_none_or(|mask| mask.len() == wanted);
    if !fits || !(channels.inputs * channels.groups).is_multiple_of(offset_groups) {
        return Err(call.unfit(2, format!("{} offsets", 2 * wanted)));
    }
    let shape =
        [&[channels.batch, channels.outputs * channels.groups][..], &window.output].concat();
    call.room(&shape)?;
    with_real!(x.dtype(), R => {
        let (x_values, moved) = (x.reals::<R>()?, offsets.reals::<R>()?);
        let mask = mask.map(Array::reals::<R>).transpose()?;
        let bias = bias::<R>(call, 3, shape[1])?;
        call.room(&[channels.batch, channels.inputs * channels.groups, taps, count])?;
        let all = channels.inputs * channels.groups;
        let each_group = all / offset_groups;
        let mut columns = vec![R::ZERO; channels.batch * all * taps * count];
        for (at, value) in columns.iter_mut().enumerate() {
            let (index, rest) = (at % count, at / count);
            let (tap, rest) = (rest % taps, rest / taps);
            let (channel, image) = (rest % all, rest / all);
            let group = image * offset_groups + channel / each_group;
            let offset = |i: usize| moved[((group * taps + tap) * 2 + i) * count + index].to_f64();
            let (row, column) = (index / window.output[1], index % window.output[1]);
            let start = |axis: usize, window_index: usize, tap: usize| {
                (window_index * window.strides[axis] + tap * window.dilations[axis]) as f64
                    - window.before[axis] as f64
            };
            let y = start(0, row, tap / window.kernel[1]) + offset(0);
            let x = start(1, column, tap % window.kernel[1]) + offset(1);
            let plane = &x_values[(image * all + channel) * height * width..][..height * width];
            let weight = mask.as_ref().map_or(1.0, |mask| mask[(group * taps + tap) * count + index].to_f64());
            *value = R::from_f64(super::image::bilinear(plane, [height, width], [y, x]) * weight);
        }
        let unit = Window {
            input: vec![taps * count],
            kernel: vec![taps],
            strides: vec![1],
            dilations: vec![count],
            before: vec![0],
            after: vec![0],
            output: vec![count],
        };
        let weights = w.reals::<R>()?;
        let made = convolved(&columns, &weights, bias.as_deref(), &channels, &unit);
        one(Array::rounded(x.dtype(), shape, made)?)
    })
}
