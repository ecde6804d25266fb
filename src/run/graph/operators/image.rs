//! Images looked up at places between pixels: grids, regions.

use super::shape::sizes;
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Real};
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number, with_real};
use crate::run::graph::parts::each_part;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("AffineGrid", 20, affine_grid),
    onnx("GridSample", 16, grid_sample),
    onnx("RoiAlign", 10, roi_align),
    onnx("MaxRoiPool", 1, max_roi_pool),
];

/// The value of a plane between pixels; 0 outside.
pub(super) fn bilinear<R: Real>(plane: &[R], [height, width]: [usize; 2], [y, x]: [f64; 2]) -> f64 {
    if !(y > -1.0 && y < height as f64 && x > -1.0 && x < width as f64) {
        return 0.0;
    }
    let (top, left) = (y.floor(), x.floor());
    let (below, right) = (y - top, x - left);
    let pixel = |row: f64, column: f64| {
        let inside = row >= 0.0 && column >= 0.0 && row < height as f64 && column < width as f64;
        if inside { plane[row as usize * width + column as usize].to_f64() } else { 0.0 }
    };
    (1.0 - below) * ((1.0 - right) * pixel(top, left) + right * pixel(top, left + 1.0))
        + below * ((1.0 - right) * pixel(top + 1.0, left) + right * pixel(top + 1.0, left + 1.0))
}

fn affine_grid(call: &Call<'_>) -> Result<Vec<Value>> {
    let (theta, size) = (call.tensor(0)?, sizes(&call.ints(1)?)?);
    let corners = call.flag("align_corners", false)?;
    let [batch, _, dims @ ..] = &size[..] else { return Err(call.unfit(1, "four or five sizes")) };
    let rank = dims.len();
    if theta.shape() != [*batch, rank, rank + 1] {
        return Err(call.unfit(0, format!("[{batch}, {rank}, {}]", rank + 1)));
    }
    let shape = [&[*batch][..], dims, &[rank]].concat();
    call.room(&shape)?;
    let at = |index: usize, dim: usize| match corners {
        true if dim == 1 => -1.0,
        true => -1.0 + 2.0 * index as f64 / (dim as f64 - 1.0),
        false => -1.0 + (2.0 * index as f64 + 1.0) / dim as f64,
    };
    let factors = theta.numbers()?;
    let area: usize = dims.iter().product();
    let mut made = Vec::with_capacity(batch * area * rank);
    for image in 0..*batch {
        let theta = &factors[image * rank * (rank + 1)..][..rank * (rank + 1)];
        for place in 0..area {
            // Coordinates in the order x, y, z: the last axis first.
            let mut rest = place;
            let mut point = Vec::with_capacity(rank + 1);
            for dim in dims.iter().rev() {
                point.push(at(rest % dim, *dim));
                rest /= dim;
            }
            point.push(1.0);
            let row = |row: &[f64]| row.iter().zip(&point).map(|(a, b)| a * b).sum::<f64>();
            made.extend(theta.chunks_exact(rank + 1).map(row));
        }
    }
    one(Array::new(shape, super::numbers(made, theta.dtype())?)?)
}

/// What lies outside an image.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
    Zeros,
    Border,
    Reflection,
}

/// How a grid is looked up.
struct Lookup {
    outside: Outside,
    corners: bool,
    dims: Vec<usize>,
}

impl Lookup {
    /// A coordinate of −1…1 as one of pixels.
    fn pixels(&self, x: f64, dim: usize) -> f64 {
        match self.corners {
            true => (x + 1.0) / 2.0 * (dim as f64 - 1.0),
            false => ((x + 1.0) * dim as f64 - 1.0) / 2.0,
        }
    }

    /// A coordinate brought back, where what is outside says so.
    fn brought(&self, x: f64, dim: usize) -> f64 {
        let last = dim as f64 - 1.0;
        match self.outside {
            Outside::Zeros => x,
            Outside::Border => x.clamp(0.0, last),
            Outside::Reflection => {
                let (low, high) = if self.corners { (0.0, last) } else { (-0.5, last + 0.5) };
                reflected(x, low, high)
            }
        }
    }

    /// The pixel at whole coordinates.
    fn pixel<R: Real>(&self, plane: &[R], at: &[i64]) -> f64 {
        let mut place = 0;
        for (x, dim) in at.iter().zip(&self.dims) {
            let x = self.brought(*x as f64, *dim) as i64;
            let Some(x) = usize::try_from(x).ok().filter(|x| x < dim) else { return 0.0 };
            place = place * dim + x;
        }
        plane[place].to_f64()
    }

    /// The sum over all corners of a box of taps: weights for each axis.
    fn weighed<R: Real>(&self, plane: &[R], first: &[i64], weights: &[Vec<f64>]) -> f64 {
        let taps = weights.first().map_or(0, Vec::len);
        let mut sum = 0.0;
        for corner in 0..taps.pow(first.len() as u32) {
            let (mut rest, mut weight) = (corner, 1.0);
            let mut at = first.to_vec();
            for axis in (0..first.len()).rev() {
                weight *= weights[axis][rest % taps];
                at[axis] = at[axis].saturating_add((rest % taps) as i64);
                rest /= taps;
            }
            if weight != 0.0 {
                sum += weight * self.pixel(plane, &at);
            }
        }
        sum
    }

    fn look<R: Real>(&self, plane: &[R], point: &[f64], mode: &str) -> f64 {
        let at: Vec<f64> =
            point.iter().zip(&self.dims).map(|(x, dim)| self.pixels(*x, *dim)).collect();
        if at.iter().any(|x| !x.is_finite()) {
            return 0.0;
        }
        match mode {
            "nearest" => {
                let whole: Vec<i64> = at
                    .iter()
                    .zip(&self.dims)
                    .map(|(x, dim)| self.brought(x.round_ties_even(), *dim) as i64)
                    .collect();
                self.pixel(plane, &whole)
            }
            "cubic" | "bicubic" => {
                let first: Vec<i64> = at.iter().map(|x| x.floor() as i64 - 1).collect();
                let weights = |x: &f64| {
                    let t = x - x.floor();
                    [t + 1.0, t, 1.0 - t, 2.0 - t].iter().map(|x| cubic(*x)).collect()
                };
                let weights: Vec<Vec<f64>> = at.iter().map(weights).collect();
                self.weighed(plane, &first, &weights)
            }
            _ => {
                let at: Vec<f64> =
                    at.iter().zip(&self.dims).map(|(x, dim)| self.brought(*x, *dim)).collect();
                let first: Vec<i64> = at.iter().map(|x| x.floor() as i64).collect();
                let weights = at.iter().map(|x| vec![1.0 - (x - x.floor()), x - x.floor()]);
                self.weighed(plane, &first, &weights.collect::<Vec<_>>())
            }
        }
    }
}

/// A coordinate thrown back at the borders until it lies between them.
fn reflected(x: f64, low: f64, high: f64) -> f64 {
    let range = high - low;
    if range <= 0.0 {
        return low.max(0.0);
    }
    if (low..=high).contains(&x) {
        return x;
    }
    let distance = if x < low { low - x } else { x - high };
    let times = (distance / range).floor();
    let rest = distance - times * range;
    let even = times % 2.0 == 0.0;
    if (x < low) == even { low + rest } else { high - rest }
}

fn cubic(x: f64) -> f64 {
    let (a, x) = (-0.75, x.abs());
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    }
}

fn grid_sample(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, grid) = (call.tensor(0)?, call.tensor(1)?);
    let outside = match call.text("padding_mode", "zeros")? {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        other => return Err(Error::malformed(format!("attribute padding_mode: found '{other}'"))),
    };
    let mode = call.text("mode", "linear")?;
    let (&[batch, channels, ref dims @ ..], &[count, ref places @ .., rank]) =
        (x.shape(), grid.shape())
    else {
        return Err(call.unfit(1, "a grid of points"));
    };
    if count != batch || rank != dims.len() || places.len() != rank || dims.contains(&0) {
        return Err(call.unfit(1, format!("[{batch}, …, {}]", dims.len())));
    }
    let lookup =
        Lookup { outside, corners: call.flag("align_corners", false)?, dims: dims.to_vec() };
    let shape = [&[batch, channels][..], places].concat();
    let total = call.room(&shape)?;
    let points = grid.numbers()?;
    let (area, each) = (dims.iter().product::<usize>(), places.iter().product::<usize>());
    with_real!(x.dtype(), R => {
        let values = x.reals::<R>()?;
        let value = |i: usize| {
            let plane = &values[i / each * area..][..area];
            let point = ((i / each / channels) * each + i % each) * rank;
            // The grid's coordinates are x, y, z: the last axis first.
            let point: Vec<f64> = points[point..][..rank].iter().rev().copied().collect();
            R::from_f64(lookup.look(plane, &point, mode))
        };
        let mut made = vec![R::ZERO; total];
        each_part(&mut made, each, &|part, made| {
            made.iter_mut().enumerate().for_each(|(i, x)| *x = value(part * each + i));
        });
        one(Array::rounded(x.dtype(), shape, made)?)
    })
}

/// The regions of a pooling node.
struct Regions {
    x: Vec<f64>,
    planes: [usize; 4],
    rois: Vec<f64>,
    batches: Vec<usize>,
    scale: f64,
}

fn regions(
    call: &Call<'_>,
    rois: Vec<f64>,
    batches: Vec<usize>,
    output: [usize; 2],
) -> Result<Regions> {
    let x = call.tensor(0)?;
    let &[n, c, h, w] = x.shape() else { return Err(call.unfit(0, "four dimensions")) };
    if batches.iter().any(|batch| *batch >= n) || output.contains(&0) || h == 0 || w == 0 {
        return Err(call.unfit(1, format!("regions of {n} images, and sizes above 0")));
    }
    call.room(&[batches.len(), c, output[0], output[1]])?;
    let scale = call.float("spatial_scale", 1.0)?.into();
    Ok(Regions { x: x.numbers()?, planes: [n, c, h, w], rois, batches, scale })
}

/// Samples within one bin of a region that are thought useful.
const SAMPLES_MAX: usize = 4096;

fn roi_align(call: &Call<'_>) -> Result<Vec<Value>> {
    let (rois, batches) = (call.tensor(1)?.numbers()?, sizes(&call.ints(2)?)?);
    if rois.len() != 4 * batches.len() {
        return Err(call.unfit(1, format!("[{}, 4]", batches.len())));
    }
    let output = [call.size("output_height", 1)?, call.size("output_width", 1)?];
    let regions = regions(call, rois, batches, output)?;
    let ratio = call.size("sampling_ratio", 0)?;
    let default = if call.version() < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = call.text("coordinate_transformation_mode", default)? == "half_pixel";
    let greatest = call.text("mode", "avg")? == "max";
    let [_, channels, height, width] = regions.planes;
    let mut made = Vec::new();
    for (index, batch) in regions.batches.iter().enumerate() {
        let offset = if half_pixel { 0.5 } else { 0.0 };
        let corner = |i: usize| regions.rois[index * 4 + i] * regions.scale - offset;
        let least = if half_pixel { f64::MIN } else { 1.0 };
        let size = [(corner(3) - corner(1)).max(least), (corner(2) - corner(0)).max(least)];
        let bin = [size[0] / output[0] as f64, size[1] / output[1] as f64];
        let samples = bin.map(|bin| if ratio > 0 { ratio } else { bin.ceil().max(0.0) as usize });
        if samples.iter().any(|count| *count > SAMPLES_MAX) {
            let text =
                format!("found {samples:?} samples in a bin, expected at most {SAMPLES_MAX}");
            return Err(Error::limit(text));
        }
        let start = [corner(1), corner(0)];
        for channel in 0..channels {
            let plane =
                &regions.x[(batch * channels + channel) * height * width..][..height * width];
            for row in 0..output[0] {
                for column in 0..output[1] {
                    let place = |axis: usize, cell: usize, i: usize| {
                        start[axis]
                            + bin[axis] * (cell as f64 + (i as f64 + 0.5) / samples[axis] as f64)
                    };
                    let points = (0..samples[0]).flat_map(|i| (0..samples[1]).map(move |j| (i, j)));
                    let parts = points.map(|(i, j)| {
                        corners(plane, [height, width], [place(0, row, i), place(1, column, j)])
                    });
                    made.push(match greatest {
                        true => parts.flatten().reduce(f64::max).unwrap_or(0.0),
                        false => {
                            let count = (samples[0] * samples[1]).max(1) as f64;
                            parts.map(|parts| parts.iter().sum::<f64>()).sum::<f64>() / count
                        }
                    });
                }
            }
        }
    }
    let shape = vec![regions.batches.len(), channels, output[0], output[1]];
    one(Array::new(shape, super::numbers(made, call.dtype(0)?)?)?)
}

/// The four pixels around a place, weighed; those at the border stretch a pixel outwards.
fn corners(plane: &[f64], [height, width]: [usize; 2], [y, x]: [f64; 2]) -> [f64; 4] {
    if !(y >= -1.0 && y <= height as f64 && x >= -1.0 && x <= width as f64) {
        return [0.0; 4];
    }
    let split = |at: f64, dim: usize| {
        let at = at.max(0.0);
        let low = at as usize;
        if low + 1 >= dim { (dim - 1, dim - 1, 0.0) } else { (low, low + 1, at - low as f64) }
    };
    let ((top, bottom, below), (left, right, beside)) = (split(y, height), split(x, width));
    [
        (1.0 - below) * (1.0 - beside) * plane[top * width + left],
        (1.0 - below) * beside * plane[top * width + right],
        below * (1.0 - beside) * plane[bottom * width + left],
        below * beside * plane[bottom * width + right],
    ]
}

fn max_roi_pool(call: &Call<'_>) -> Result<Vec<Value>> {
    let stated = call.tensor(1)?.numbers()?;
    let rows = stated.chunks_exact(5);
    let rois = rows.clone().flat_map(|row| row[1..].iter().copied()).collect();
    let batches = rows.map(|row| row[0].max(0.0) as usize).collect();
    let output = call.list("pooled_shape")?.map(sizes).transpose()?.unwrap_or_default();
    let &[rows, columns] = &output[..] else {
        return Err(Error::malformed("attribute pooled_shape: expected two sizes"));
    };
    let regions = regions(call, rois, batches, [rows, columns])?;
    let [_, channels, height, width] = regions.planes;
    let mut made = Vec::new();
    for (index, batch) in regions.batches.iter().enumerate() {
        let corner = |i: usize| (regions.rois[index * 4 + i] * regions.scale).round();
        let start = [corner(1), corner(0)];
        let size = [(corner(3) - corner(1) + 1.0).max(1.0), (corner(2) - corner(0) + 1.0).max(1.0)];
        for channel in 0..channels {
            let plane =
                &regions.x[(batch * channels + channel) * height * width..][..height * width];
            for cell in 0..rows * columns {
                let span = |axis: usize, i: usize, count: usize, dim: usize| {
                    let bin = size[axis] / count as f64;
                    let clip = |x: f64| (x + start[axis]).clamp(0.0, dim as f64) as usize;
                    clip((i as f64 * bin).floor())..clip(((i + 1) as f64 * bin).ceil())
                };
                let across = span(1, cell % columns, columns, width);
                let pixels = span(0, cell / columns, rows, height);
                let pixels = pixels.flat_map(|y| across.clone().map(move |x| plane[y * width + x]));
                made.push(pixels.reduce(f64::max).unwrap_or(0.0));
            }
        }
    }
    let shape = vec![regions.batches.len(), channels, rows, columns];
    one(Array::new(shape, super::numbers(made, call.dtype(0)?)?)?)
}
