//! Convolutions: <https://arxiv.org/abs/1603.07285>.

use super::shape::sizes;
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

/// How a window moves over the spatial axes of a value.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) input: Vec<usize>,
    pub(super) kernel: Vec<usize>,
    pub(super) strides: Vec<usize>,
    pub(super) dilations: Vec<usize>,
    /// Elements that are thought before the first, along each axis.
    pub(super) before: Vec<usize>,
    /// And after the last.
    pub(super) after: Vec<usize>,
    pub(super) output: Vec<usize>,
}

/// Sizes for each spatial axis, all above 0.
fn positive(call: &Call<'_>, name: &str, rank: usize) -> Result<Vec<usize>> {
    let stated = match call.list(name)? {
        None => return Ok(vec![1; rank]),
        Some(values) => sizes(values)?,
    };
    if stated.len() != rank || stated.contains(&0) {
        let text = format!("attribute {name}: found {stated:?}, expected {rank} sizes above 0");
        return Err(Error::malformed(text));
    }
    Ok(stated)
}

impl Window {
    /// As the attributes state it. With `ceil`, a window may reach past the end.
    pub(super) fn stated(
        call: &Call<'_>,
        input: &[usize],
        kernel: Vec<usize>,
        ceil: bool,
    ) -> Result<Self> {
        let rank = input.len();
        let taps = kernel.iter().try_fold(1usize, |taps, size| taps.checked_mul(*size));
        if kernel.len() != rank || kernel.contains(&0) || taps.is_none() {
            let text = format!("found a kernel {kernel:?}, expected {rank} sizes above 0");
            return Err(Error::malformed(text));
        }
        let strides = positive(call, "strides", rank)?;
        let dilations = positive(call, "dilations", rank)?;
        let mut window = Self {
            input: input.to_vec(),
            kernel,
            strides,
            dilations,
            before: vec![0; rank],
            after: vec![0; rank],
            output: vec![0; rank],
        };
        window.pad(call)?;
        for axis in 0..rank {
            window.output[axis] = window.count(axis, ceil)?;
        }
        call.room(&window.output)?;
        Ok(window)
    }

    fn pad(&mut self, call: &Call<'_>) -> Result<()> {
        let rank = self.input.len();
        let auto = call.text("auto_pad", "NOTSET")?;
        match auto {
            "NOTSET" | "" => {
                let pads = call.list("pads")?.map(sizes).transpose()?;
                let pads = pads.unwrap_or_else(|| vec![0; 2 * rank]);
                if pads.len() != 2 * rank {
                    let text =
                        format!("attribute pads: found {pads:?}, expected {} sizes", 2 * rank);
                    return Err(Error::malformed(text));
                }
                self.before = pads[..rank].to_vec();
                self.after = pads[rank..].to_vec();
            }
            "VALID" => {}
            "SAME_UPPER" | "SAME_LOWER" => {
                for axis in 0..rank {
                    let windows = self.input[axis].div_ceil(self.strides[axis]);
                    let reach = windows.saturating_sub(1).saturating_mul(self.strides[axis]);
                    let needed = reach.saturating_add(self.extent(axis));
                    let total = needed.saturating_sub(self.input[axis]);
                    let half = if auto == "SAME_UPPER" { total / 2 } else { total.div_ceil(2) };
                    (self.before[axis], self.after[axis]) = (half, total - half);
                }
            }
            other => return Err(Error::malformed(format!("attribute auto_pad: found '{other}'"))),
        }
        Ok(())
    }

    /// The distance from the first element under the kernel to past the last.
    pub(super) fn extent(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1).saturating_mul(self.dilations[axis]).saturating_add(1)
    }

    fn count(&self, axis: usize, ceil: bool) -> Result<usize> {
        let padded = self.input[axis].checked_add(self.before[axis]);
        let padded = padded.and_then(|sum| sum.checked_add(self.after[axis]));
        let room = padded.and_then(|padded| padded.checked_sub(self.extent(axis)));
        let room = room.ok_or_else(|| {
            let found = self.input[axis];
            let text =
                format!("found {found} elements along spatial axis {axis}, expected room for");
            Error::malformed(format!("{text} a kernel that spans {}", self.extent(axis)))
        })?;
        let stride = self.strides[axis];
        if !ceil {
            return Ok(room / stride + 1);
        }
        // A window that would start in the padding at the end is left out.
        let count = room.div_ceil(stride) + 1;
        let last = (count - 1).saturating_mul(stride);
        Ok(if last >= self.input[axis] + self.before[axis] { count - 1 } else { count })
    }

    /// The kernel's taps along an axis that lie inside the input, for one window: first tap, and
    /// past the last.
    pub(super) fn taps(&self, axis: usize, window: usize) -> (usize, usize) {
        let start = window * self.strides[axis];
        let skipped = self.before[axis].saturating_sub(start).div_ceil(self.dilations[axis]);
        let end = (self.input[axis] + self.before[axis]).saturating_sub(start);
        (skipped.min(self.kernel[axis]), end.div_ceil(self.dilations[axis]).min(self.kernel[axis]))
    }

    /// The place of a tap along an axis, which must lie inside.
    pub(super) fn place(&self, axis: usize, window: usize, tap: usize) -> usize {
        window * self.strides[axis] + tap * self.dilations[axis] - self.before[axis]
    }

    pub(super) fn windows(&self) -> usize {
        self.output.iter().product()
    }

    pub(super) fn taps_all(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Calls `visit` with (tap, place), both flat, for each tap of a window inside the input.
    pub(super) fn each_tap(&self, window: usize, mut visit: impl FnMut(usize, usize)) {
        let rank = self.input.len();
        let mut spans = Vec::with_capacity(rank);
        let mut rest = window;
        for axis in (0..rank).rev() {
            let index = rest % self.output[axis];
            rest /= self.output[axis];
            let (first, end) = self.taps(axis, index);
            if first >= end {
                return;
            }
            spans.push((index, first, end));
        }
        spans.reverse();
        let mut taps: Vec<usize> = spans.iter().map(|span| span.1).collect();
        loop {
            let (mut tap, mut place) = (0, 0);
            for axis in 0..rank {
                tap = tap * self.kernel[axis] + taps[axis];
                place = place * self.input[axis] + self.place(axis, spans[axis].0, taps[axis]);
            }
            visit(tap, place);
            let mut axis = rank;
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                taps[axis] += 1;
                if taps[axis] < spans[axis].2 {
                    break;
                }
                taps[axis] = spans[axis].1;
            }
        }
    }
}

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
        let bias = call.optional(2)?.map(Array::reals::<R>).transpose()?;
        if bias.as_ref().is_some_and(|bias| bias.len() != shape[1]) {
            return Err(call.unfit(2, format!("{} numbers", shape[1])));
        }
        let weights = w.reals::<R>().map_err(|error| call.input_error(1, error))?;
        let made = convolved(&x.reals::<R>()?, &weights, bias.as_deref(), &channels, &window);
        one(Array::rounded(x.dtype(), shape, made)?)
    })
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

/// The window of the convolution that a transposed one turns around: its input is our output.
fn transposed_window(call: &Call<'_>, given: &[usize], kernel: &[usize]) -> Result<Window> {
    let rank = given.len();
    let wrong =
        || Error::malformed("found sizes whose sum is too large, or too small for the pads");
    let strides = positive(call, "strides", rank)?;
    let dilations = positive(call, "dilations", rank)?;
    let extra =
        call.list("output_padding")?.map(sizes).transpose()?.unwrap_or_else(|| vec![0; rank]);
    let asked = call.list("output_shape")?.map(sizes).transpose()?;
    let pads = call.list("pads")?.map(sizes).transpose()?.unwrap_or_else(|| vec![0; 2 * rank]);
    let auto = call.text("auto_pad", "NOTSET")?;
    if kernel.contains(&0) || kernel.len() != rank || extra.len() != rank || pads.len() != 2 * rank
    {
        return Err(Error::malformed(format!("found a kernel {kernel:?}, expected {rank} sizes")));
    }
    let mut window = Window {
        input: vec![0; rank],
        kernel: kernel.to_vec(),
        strides,
        dilations,
        before: pads[..rank].to_vec(),
        after: pads[rank..].to_vec(),
        output: given.to_vec(),
    };
    for axis in 0..rank {
        let reach = given[axis].saturating_sub(1).checked_mul(window.strides[axis]);
        let full = reach.and_then(|reach| reach.checked_add(window.extent(axis)));
        let full = full.and_then(|full| full.checked_add(extra[axis])).ok_or_else(wrong)?;
        let same =
            auto.starts_with("SAME").then(|| given[axis].saturating_mul(window.strides[axis]));
        let wanted = match &asked {
            // Some exporters state the batch and the channels too.
            Some(asked) => {
                Some(*asked.get(asked.len().wrapping_sub(rank) + axis).ok_or_else(wrong)?)
            }
            None => same,
        };
        match wanted {
            Some(wanted) => {
                let total = full.saturating_sub(wanted);
                let half = if auto == "SAME_UPPER" { total / 2 } else { total.div_ceil(2) };
                (window.before[axis], window.after[axis]) = (half, total - half);
                window.input[axis] = wanted;
            }
            None => {
                let cut = window.before[axis].checked_add(window.after[axis]).ok_or_else(wrong)?;
                window.input[axis] = full.checked_sub(cut).ok_or_else(wrong)?;
            }
        }
    }
    Ok(window)
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
    let window = transposed_window(call, input, kernel)?;
    let shape = [&[batch, outputs * groups][..], &window.input].concat();
    call.room(&shape)?;
    call.room(&[outputs, kernel.iter().product(), input.iter().product()])?;
    let sizes = Channels { batch, groups, inputs: channels / groups, outputs };
    with_real!(x.dtype(), R => {
        let bias = call.optional(2)?.map(Array::reals::<R>).transpose()?;
        if bias.as_ref().is_some_and(|bias| bias.len() != shape[1]) {
            return Err(call.unfit(2, format!("{} numbers", shape[1])));
        }
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
        let bias = call.optional(3)?.map(Array::reals::<R>).transpose()?;
        if bias.as_ref().is_some_and(|bias| bias.len() != shape[1]) {
            return Err(call.unfit(3, format!("{} numbers", shape[1])));
        }
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
