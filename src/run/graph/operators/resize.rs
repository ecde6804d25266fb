//! Values made larger or smaller by interpolation, one axis after the other.

use super::shape::sizes;
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::call::{Call, axis_of};
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("Upsample", 7, upsample),
    onnx("Resize", 10, upsample),
    onnx("Resize", 11, resize),
];

/// How an element of the result is made of those of the input.
#[derive(Clone, Copy, PartialEq)]
enum Mode<'a> {
    /// The nearest, rounded in this way.
    Nearest(&'a str),
    Linear,
    /// With this coefficient: <https://doi.org/10.1109/TASSP.1981.1163711>.
    Cubic(f64),
}

/// What resizing is asked for, the same for all axes.
struct How<'a> {
    mode: Mode<'a>,
    coordinates: &'a str,
    antialias: bool,
    exclude_outside: bool,
    extrapolation: f64,
}

/// One axis: from how many to how many, by which factor, and the part that is looked at.
struct Axis {
    input: usize,
    output: usize,
    scale: f64,
    roi: [f64; 2],
}

/// Before version 11: scales alone, and coordinates divided by them.
fn upsample(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let scales = match call.floats("scales")? {
        Some(scales) => scales.iter().map(|x| f64::from(*x)).collect(),
        None => call.tensor(1)?.numbers()?,
    };
    let mode = match call.text("mode", "nearest")? {
        "nearest" => Mode::Nearest("floor"),
        "linear" | "bilinear" => Mode::Linear,
        other => return Err(Error::malformed(format!("attribute mode: found '{other}'"))),
    };
    let how = How {
        mode,
        coordinates: "asymmetric",
        antialias: false,
        exclude_outside: false,
        extrapolation: 0.0,
    };
    let axes: Vec<usize> = (0..x.rank()).collect();
    one(resized(call, x, &scaled(x, &axes, &scales, None)?, &how)?)
}

fn scaled(x: &Array, axes: &[usize], scales: &[f64], roi: Option<&[f64]>) -> Result<Vec<Axis>> {
    if scales.len() != axes.len() || !scales.iter().all(|scale| *scale > 0.0 && scale.is_finite()) {
        let text = format!("found scales {scales:?}, expected {} above 0", axes.len());
        return Err(Error::malformed(text));
    }
    let mut made = untouched(x);
    for (i, axis) in axes.iter().enumerate() {
        made[*axis].scale = scales[i];
        made[*axis].output = (made[*axis].input as f64 * scales[i]) as usize;
        if let Some(roi) = roi {
            made[*axis].roi = [roi[i], roi[i + axes.len()]];
        }
    }
    Ok(made)
}

fn untouched(x: &Array) -> Vec<Axis> {
    x.shape()
        .iter()
        .map(|dim| Axis { input: *dim, output: *dim, scale: 1.0, roi: [0.0, 1.0] })
        .collect()
}

fn resize(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axes: Vec<usize> = match call.list("axes")? {
        Some(axes) => axes.iter().map(|axis| axis_of(*axis, x.rank())).collect::<Result<_>>()?,
        None => (0..x.rank()).collect(),
    };
    let mode = match call.text("mode", "nearest")? {
        "nearest" => Mode::Nearest(call.text("nearest_mode", "round_prefer_floor")?),
        "linear" => Mode::Linear,
        "cubic" => Mode::Cubic(call.float("cubic_coeff_a", -0.75)?.into()),
        other => return Err(Error::malformed(format!("attribute mode: found '{other}'"))),
    };
    let how = How {
        mode,
        coordinates: call.text("coordinate_transformation_mode", "half_pixel")?,
        antialias: call.flag("antialias", false)?,
        exclude_outside: call.flag("exclude_outside", false)?,
        extrapolation: call.float("extrapolation_value", 0.0)?.into(),
    };
    let roi = call.optional(1)?.filter(|roi| !roi.is_empty()).map(Array::numbers).transpose()?;
    if roi.as_ref().is_some_and(|roi| roi.len() != 2 * axes.len()) {
        return Err(call.unfit(1, format!("{} numbers", 2 * axes.len())));
    }
    let scales = call.optional(2)?.filter(|scales| !scales.is_empty());
    let made = match scales {
        Some(scales) => scaled(x, &axes, &scales.numbers()?, roi.as_deref())?,
        None => {
            let asked = sizes(&call.ints(3)?)?;
            let policy = call.text("keep_aspect_ratio_policy", "stretch")?;
            sized(call, x, &axes, &asked, policy, roi.as_deref())?
        }
    };
    one(resized(call, x, &made, &how)?)
}

fn sized(
    call: &Call<'_>,
    x: &Array,
    axes: &[usize],
    asked: &[usize],
    policy: &str,
    roi: Option<&[f64]>,
) -> Result<Vec<Axis>> {
    if asked.len() != axes.len() || axes.iter().any(|axis| x.shape()[*axis] == 0) {
        return Err(call.unfit(3, format!("{} sizes", axes.len())));
    }
    let scale = |i: usize| asked[i] as f64 / x.shape()[axes[i]] as f64;
    let scales = (0..axes.len()).map(scale);
    let common = match policy {
        "stretch" => None,
        "not_larger" => Some(scales.fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(scales.fold(0.0, f64::max)),
        other => {
            let text = format!("attribute keep_aspect_ratio_policy: found '{other}'");
            return Err(Error::malformed(text));
        }
    };
    let mut made = untouched(x);
    for (i, axis) in axes.iter().enumerate() {
        let target = &mut made[*axis];
        target.scale = common.unwrap_or_else(|| scale(i));
        target.output = match common {
            Some(common) => (common * target.input as f64 + 0.5) as usize,
            None => asked[i],
        };
        if let Some(roi) = roi {
            target.roi = [roi[i], roi[i + axes.len()]];
        }
    }
    Ok(made)
}

fn resized(call: &Call<'_>, x: &Array, axes: &[Axis], how: &How<'_>) -> Result<Array> {
    let shape: Vec<usize> = axes.iter().map(|axis| axis.output).collect();
    call.room(&shape)?;
    let mut dims = x.shape().to_vec();
    let mut values = x.numbers()?;
    for (index, axis) in axes.iter().enumerate() {
        let whole = axis.roi == [0.0, 1.0] || how.coordinates != "tf_crop_and_resize";
        if (axis.scale - 1.0).abs() < 1e-9 && axis.output == axis.input && whole {
            continue;
        }
        let outer: usize = dims[..index].iter().product();
        let inner: usize = dims[index + 1..].iter().product();
        call.room(&[outer, axis.output, inner])?;
        values = along(&values, outer, inner, axis, how)?;
        dims[index] = axis.output;
    }
    if !x.dtype().is_float() {
        // Integers are rounded, as the reference's saturating cast does.
        let (low, high) = match x.dtype().bits() {
            Some(8) if x.dtype() == crate::run::graph::types::Type::U8 => (0.0, 255.0),
            Some(8) => (-128.0, 127.0),
            _ => (f64::MIN, f64::MAX),
        };
        values.iter_mut().for_each(|x| *x = x.round_ties_even().clamp(low, high));
    }
    Array::new(shape, super::numbers(values, x.dtype())?)
}

/// For one index of the result: the first index of the input, and the weight of it and the next.
type Taps = (i64, Vec<f64>);

fn along(
    values: &[f64],
    outer: usize,
    inner: usize,
    axis: &Axis,
    how: &How<'_>,
) -> Result<Vec<f64>> {
    let taps = (0..axis.output).map(|i| axis.taps(i, how)).collect::<Result<Vec<_>>>()?;
    let mut out = vec![0.0; outer * axis.output * inner];
    if axis.input == 0 {
        return Ok(out);
    }
    for (block, out) in out.chunks_exact_mut((axis.output * inner).max(1)).enumerate() {
        let values = &values[block * axis.input * inner..][..axis.input * inner];
        for (tap, out) in taps.iter().zip(out.chunks_exact_mut(inner.max(1))) {
            let Some((first, weights)) = tap else {
                out.fill(how.extrapolation);
                continue;
            };
            for (weight, index) in weights.iter().zip(*first..) {
                let index = index.clamp(0, axis.input as i64 - 1) as usize;
                let row = &values[index * inner..][..inner];
                out.iter_mut().zip(row).for_each(|(out, x)| *out += weight * x);
            }
        }
    }
    Ok(out)
}

impl Axis {
    /// Where an index of the result lies in the input.
    fn source(&self, index: usize, coordinates: &str) -> Result<f64> {
        let (x, input) = (index as f64, self.input as f64);
        let output = self.scale * input;
        Ok(match coordinates {
            "align_corners" if output == 1.0 => 0.0,
            "align_corners" => x * (input - 1.0) / (output - 1.0),
            "asymmetric" => x / self.scale,
            "half_pixel" => (x + 0.5) / self.scale - 0.5,
            "pytorch_half_pixel" if output == 1.0 => -0.5,
            "pytorch_half_pixel" => (x + 0.5) / self.scale - 0.5,
            "half_pixel_symmetric" => {
                let offset = input / 2.0 * (1.0 - self.output as f64 / output);
                offset + (x + 0.5) / self.scale - 0.5
            }
            "tf_half_pixel_for_nn" => (x + 0.5) / self.scale,
            "tf_crop_and_resize" => {
                let [start, end] = self.roi;
                let within = match output == 1.0 {
                    true => (end - start) * (input - 1.0) / 2.0,
                    false => x * (end - start) * (input - 1.0) / (output - 1.0),
                };
                within + start * (input - 1.0)
            }
            other => {
                let text = format!("attribute coordinate_transformation_mode: found '{other}'");
                return Err(Error::malformed(text));
            }
        })
    }

    /// The weights of the input's elements for an index of the result; nothing if it lies outside
    /// the part that is looked at.
    fn taps(&self, index: usize, how: &How<'_>) -> Result<Option<Taps>> {
        let x = self.source(index, how.coordinates)?;
        if how.coordinates == "tf_crop_and_resize" && (x < 0.0 || x > self.input as f64 - 1.0) {
            return Ok(None);
        }
        let low = x.floor();
        // The element to the left of x is preferred: the ratio is in (0, 1].
        let ratio = if x == low { 1.0 } else { x - low };
        let left = if x == low { low - 1.0 } else { low } as i64;
        let shrunk = how.antialias && self.scale < 1.0;
        let (mut first, mut weights) = match how.mode {
            Mode::Nearest(rounding) => return Ok(Some((nearest(x, rounding)?, vec![1.0]))),
            Mode::Linear if shrunk => {
                let start = (-1.0 / self.scale).floor() as i64 + 1;
                let tent = |at: f64| (1.0 - at.abs()).clamp(0.0, 1.0);
                (left + start, spread(start, 2 - 2 * start, ratio, self.scale, tent)?)
            }
            Mode::Linear => (left, vec![1.0 - ratio, ratio]),
            Mode::Cubic(a) if shrunk => {
                let start = (-2.0 / self.scale).floor() as i64 + 1;
                (left + start, spread(start, 2 - 2 * start, ratio, self.scale, |at| cubic(at, a))?)
            }
            Mode::Cubic(a) => {
                let at = [ratio + 1.0, ratio, 1.0 - ratio, 2.0 - ratio];
                (left - 1, at.iter().map(|at| cubic(*at, a)).collect())
            }
        };
        if how.exclude_outside {
            for (weight, index) in weights.iter_mut().zip(first..) {
                if !(0..self.input as i64).contains(&index) {
                    *weight = 0.0;
                }
            }
            let sum: f64 = weights.iter().sum();
            if sum != 0.0 {
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
        }
        first = first.max(i64::MIN / 2);
        Ok(Some((first, weights)))
    }
}

fn nearest(x: f64, rounding: &str) -> Result<i64> {
    let rounded = match rounding {
        "round_prefer_floor" => (x - 0.5).ceil(),
        "round_prefer_ceil" => (x + 0.5).floor(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        other => return Err(Error::malformed(format!("attribute nearest_mode: found '{other}'"))),
    };
    Ok(rounded as i64)
}

/// Keys' cubic at a distance.
fn cubic(at: f64, a: f64) -> f64 {
    let x = at.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// More weights than this are no interpolation.
const TAPS_MAX: i64 = 1 << 20;

/// A kernel that is stretched to cover what it shrinks, its weights summing to 1.
fn spread(
    start: i64,
    count: i64,
    ratio: f64,
    scale: f64,
    kernel: impl Fn(f64) -> f64,
) -> Result<Vec<f64>> {
    if count > TAPS_MAX {
        return Err(Error::limit(format!("a kernel over {count} elements, expected {TAPS_MAX}")));
    }
    let mut weights: Vec<f64> =
        (start..start + count).map(|i| kernel((i as f64 - ratio) * scale)).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    Ok(weights)
}
