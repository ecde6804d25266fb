//! Order: the greatest, the distinct, the best boxes.

use std::cmp::Ordering;

use super::reduce::axes_last;
use super::shape::permuted;
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::call::Call;
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("TopK", 1, top_k),
    onnx("Hardmax", 1, hardmax_flat),
    onnx("Hardmax", 13, hardmax),
    onnx("Unique", 11, unique),
    onnx("NonMaxSuppression", 10, non_max_suppression),
];

/// The value with one axis moved to the end, and back.
fn axis_back(x: &Array, axis: usize) -> Result<Array> {
    let mut order: Vec<usize> = (0..x.rank() - 1).collect();
    order.insert(axis, x.rank() - 1);
    permuted(x, &order)
}

/// NaN is the greatest of all, as NumPy sorts it.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn top_k(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(-1, x.rank())?;
    let k = if call.input_count() > 1 { call.one_int(1)? } else { call.int("k", -1)? };
    let dim = x.shape()[axis];
    let k = usize::try_from(k).ok().filter(|k| *k <= dim);
    let k = k.ok_or_else(|| Error::malformed(format!("found k out of 0..={dim}")))?;
    let largest = call.flag("largest", true)?;
    let (mut shape, moved) = axes_last(x, &[axis])?;
    let numbers = moved.numbers()?;
    let mut places = Vec::new();
    for start in (0..x.len()).step_by(dim.max(1)) {
        let row = &numbers[start..start + dim];
        let mut sorted: Vec<usize> = (0..dim).collect();
        // A stable sort: of equals, the first comes first.
        match largest {
            true => sorted.sort_by(|a, b| order(row[*b], row[*a])),
            false => sorted.sort_by(|a, b| order(row[*a], row[*b])),
        }
        places.extend(sorted[..k].iter().map(|i| start + i));
    }
    shape.push(k);
    let indices = places.iter().map(|place| (place % dim.max(1)) as i64).collect();
    let values = axis_back(&moved.pick(shape.clone(), &places)?, axis)?;
    let indices = axis_back(&Array::of(shape, indices)?, axis)?;
    Ok(vec![values.into(), indices.into()])
}

fn hardmax(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(-1, x.rank())?;
    let (_, moved) = axes_last(x, &[axis])?;
    one(axis_back(&first_greatest(&moved, x.shape()[axis])?, axis)?)
}

/// Before version 13 all axes from the stated one on were one.
fn hardmax_flat(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(1, x.rank() + 1)?;
    one(first_greatest(x, x.shape()[axis..].iter().product())?)
}

fn first_greatest(x: &Array, dim: usize) -> Result<Array> {
    let numbers = x.numbers()?;
    let mut out = vec![0.0f64; x.len()];
    for (row, out) in numbers.chunks(dim.max(1)).zip(out.chunks_mut(dim.max(1))) {
        let best = (0..row.len()).rev().max_by(|a, b| order(row[*a], row[*b]));
        if let Some(best) = best {
            out[best] = 1.0;
        }
    }
    Array::new(x.shape().to_vec(), super::numbers(out, x.dtype())?)
}

/// Distinct slices along an axis (or elements), with where they were.
fn unique(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let sorted = call.flag("sorted", true)?;
    let axis = call.raw("axis").map(|_| call.stated_axis(0, x.rank())).transpose()?;
    let moved = match axis {
        None => x.reshaped(vec![x.len(), 1])?,
        Some(axis) => {
            let mut order: Vec<usize> = (0..x.rank()).filter(|a| *a != axis).collect();
            order.insert(0, axis);
            permuted(x, &order)?
        }
    };
    let (count, len) = (moved.shape()[0], moved.shape()[1..].iter().product::<usize>());
    let compare = comparison(&moved, len)?;
    let mut by_value: Vec<usize> = (0..count).collect();
    by_value.sort_by(|a, b| compare(*a, *b));
    // Runs of equals: the first of each is its smallest index, because the sort is stable.
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in by_value {
        match groups.last_mut() {
            Some(group) if compare(group[0], i) == Ordering::Equal => group.push(i),
            _ => groups.push(vec![i]),
        }
    }
    if !sorted {
        groups.sort_by_key(|group| group[0]);
    }
    let mut inverse = vec![0i64; count];
    for (i, group) in groups.iter().enumerate() {
        group.iter().for_each(|member| inverse[*member] = i as i64);
    }
    let places: Vec<usize> = groups.iter().flat_map(|g| g[0] * len..(g[0] + 1) * len).collect();
    let mut shape = moved.shape().to_vec();
    shape[0] = groups.len();
    let picked = moved.pick(shape, &places)?;
    let values = match axis {
        None => picked.reshaped(vec![groups.len()])?,
        Some(axis) => {
            let mut order: Vec<usize> = (1..x.rank()).collect();
            order.insert(axis, 0);
            permuted(&picked, &order)?
        }
    };
    let first = Array::vector(groups.iter().map(|group| group[0] as i64).collect());
    let counts = Array::vector(groups.iter().map(|group| group.len() as i64).collect());
    Ok(vec![values.into(), first.into(), Array::vector(inverse).into(), counts.into()])
}

type Compare<'a> = Box<dyn Fn(usize, usize) -> Ordering + 'a>;

fn comparison(x: &Array, len: usize) -> Result<Compare<'_>> {
    if x.dtype() == Type::Text {
        let texts = x.slice::<String>()?;
        return Ok(Box::new(move |a, b| texts[a * len..][..len].cmp(&texts[b * len..][..len])));
    }
    if let Ok(ints) = x.ints() {
        return Ok(Box::new(move |a, b| ints[a * len..][..len].cmp(&ints[b * len..][..len])));
    }
    let numbers = x.numbers()?;
    Ok(Box::new(move |a, b| {
        let pairs = numbers[a * len..][..len].iter().zip(&numbers[b * len..][..len]);
        pairs.map(|(a, b)| order(*a, *b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }))
}

/// A box by its corners, whichever way they were given.
struct Corners {
    low: [f32; 2],
    high: [f32; 2],
}

impl Corners {
    fn of(values: &[f32], centered: bool) -> Self {
        let [a, b, c, d] = [values[0], values[1], values[2], values[3]];
        if centered {
            let (half_width, half_height) = (c / 2.0, d / 2.0);
            let low = [a - half_width, b - half_height];
            return Self { low, high: [a + half_width, b + half_height] };
        }
        Self { low: [a.min(c), b.min(d)], high: [a.max(c), b.max(d)] }
    }

    fn area(&self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// The area of both over the area of either.
    fn overlap(&self, other: &Self) -> f32 {
        let side =
            |i: usize| (self.high[i].min(other.high[i]) - self.low[i].max(other.low[i])).max(0.0);
        let both = side(0) * side(1);
        let either = self.area() + other.area() - both;
        if either > 0.0 { both / either } else { 0.0 }
    }
}

fn non_max_suppression(call: &Call<'_>) -> Result<Vec<Value>> {
    let (boxes, scores) = (call.tensor(0)?, call.tensor(1)?);
    let (&[batches, count, 4], &[_, classes, _]) = (boxes.shape(), scores.shape()) else {
        return Err(call.unfit(0, "boxes [batch, count, 4] and scores [batch, classes, count]"));
    };
    if scores.shape() != [batches, classes, count] {
        return Err(call.unfit(1, format!("[{batches}, classes, {count}]")));
    }
    let most = call.one_number(2)?.unwrap_or(0.0).max(0.0) as usize;
    let most_overlap = call.one_number(3)?.unwrap_or(0.0) as f32;
    let least_score = call.one_number(4)?.map(|x| x as f32);
    let centered = call.flag("center_point_box", false)?;
    let (values, scores) = (boxes.reals::<f32>()?, scores.reals::<f32>()?);
    let mut chosen: Vec<i64> = Vec::new();
    for batch in 0..batches {
        let corners: Vec<Corners> = values[batch * count * 4..][..count * 4]
            .chunks_exact(4)
            .map(|values| Corners::of(values, centered))
            .collect();
        for class in 0..classes {
            let scores = &scores[(batch * classes + class) * count..][..count];
            for kept in best_apart(&corners, scores, most, most_overlap, least_score) {
                chosen.extend([batch as i64, class as i64, kept as i64]);
            }
        }
    }
    one(Array::of(vec![chosen.len() / 3, 3], chosen)?)
}

/// The boxes of the highest scores, of which no two overlap more than allowed.
fn best_apart(
    corners: &[Corners],
    scores: &[f32],
    most: usize,
    most_overlap: f32,
    least_score: Option<f32>,
) -> Vec<usize> {
    let enough = |i: &usize| least_score.is_none_or(|least| scores[*i] > least);
    let mut candidates: Vec<usize> = (0..scores.len()).filter(enough).collect();
    candidates.sort_by(|a, b| order(scores[*b].into(), scores[*a].into()));
    let mut kept: Vec<usize> = Vec::new();
    for candidate in candidates {
        if kept.len() >= most {
            break;
        }
        let apart = |other: &usize| corners[candidate].overlap(&corners[*other]) <= most_overlap;
        if kept.iter().all(apart) {
            kept.push(candidate);
        }
    }
    kept
}
