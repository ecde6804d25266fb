//! Many numbers made one, along some axes. Floats are summed in binary64 and rounded once.

use super::{Operator, one, onnx};
use crate::ir::Result;
use crate::run::graph::array::{Array, strides};
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number, with_number};
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("ReduceSum", 1, reduced::<Sum>),
    onnx("ReduceMean", 1, reduced::<Mean>),
    onnx("ReduceMax", 1, reduced::<Max>),
    onnx("ReduceMin", 1, reduced::<Min>),
    onnx("ReduceProd", 1, reduced::<Prod>),
    onnx("ReduceL1", 1, reduced::<L1>),
    onnx("ReduceL2", 1, reduced::<L2>),
    onnx("ReduceSumSquare", 1, reduced::<SumSquare>),
    onnx("ReduceLogSum", 1, reduced::<LogSum>),
    onnx("ReduceLogSumExp", 1, reduced::<LogSumExp>),
    onnx("ArgMax", 1, arg_max),
    onnx("ArgMin", 1, arg_min),
    onnx("CumSum", 11, cumulative_sum),
    onnx("CumProd", 26, cumulative_product),
];

/// A way to make one number of many.
trait Reduction {
    fn reals(values: &[f64]) -> f64;
    /// Of integers, exactly; they wrap.
    fn whole<T: Number>(values: &[T]) -> T {
        let values: Vec<f64> = values.iter().map(|x| x.to_f64()).collect();
        T::from_f64(Self::reals(&values))
    }
}

macro_rules! reductions {
    ($($name:ident: |$v:ident| $real:expr $(, |$w:ident| $whole:expr)?;)*) => { $(
        struct $name;
        impl Reduction for $name {
            fn reals($v: &[f64]) -> f64 {
                $real
            }
            $(fn whole<T: Number>($w: &[T]) -> T {
                $whole
            })?
        }
    )* };
}
reductions! {
    Sum: |v| v.iter().sum(), |w| w.iter().fold(T::ZERO, |sum, x| sum.plus(*x));
    Mean: |v| v.iter().sum::<f64>() / v.len() as f64,
        |w| Sum::whole(w).over(T::from_f64(w.len() as f64));
    Max: |v| v.iter().fold(f64::NEG_INFINITY, |max, x| Number::greater(max, *x)),
        |w| w.iter().fold(T::LEAST, |max, x| max.greater(*x));
    Min: |v| v.iter().fold(f64::INFINITY, |min, x| Number::lesser(min, *x)),
        |w| w.iter().fold(T::GREATEST, |min, x| min.lesser(*x));
    Prod: |v| v.iter().product(), |w| w.iter().fold(T::ONE, |product, x| product.times(*x));
    L1: |v| v.iter().map(|x| x.abs()).sum(),
        |w| w.iter().fold(T::ZERO, |sum, x| if *x < T::ZERO { sum.minus(*x) } else { sum.plus(*x) });
    L2: |v| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    SumSquare: |v| v.iter().map(|x| x * x).sum(),
        |w| w.iter().fold(T::ZERO, |sum, x| sum.plus(x.times(*x)));
    LogSum: |v| libm::log(v.iter().sum());
    LogSumExp: |v| {
        let max = v.iter().fold(f64::NEG_INFINITY, |max, x| max.max(*x));
        if max.is_infinite() { max } else { max + libm::log(v.iter().map(|x| libm::exp(x - max)).sum()) }
    };
}

/// The axes that a node reduces: an input since version 13 or 18, an attribute before.
fn stated_axes(call: &Call<'_>, rank: usize) -> Result<Option<Vec<usize>>> {
    let stated = match call.optional_ints(1)? {
        Some(axes) => Some(axes),
        None => call.list("axes")?.map(<[i64]>::to_vec),
    };
    let axes = match stated.filter(|axes| !axes.is_empty()) {
        None if call.flag("noop_with_empty_axes", false)? => return Ok(None),
        None => (0..rank).collect(),
        Some(axes) => {
            let mut axes =
                axes.iter().map(|axis| call.axis(*axis, rank)).collect::<Result<Vec<_>>>()?;
            axes.sort_unstable();
            axes.dedup();
            axes
        }
    };
    Ok(Some(axes))
}

/// The value with some axes moved to the end, and the shape of the others.
pub(super) fn axes_last(x: &Array, axes: &[usize]) -> Result<(Vec<usize>, Array)> {
    let kept: Vec<usize> = (0..x.rank()).filter(|axis| !axes.contains(axis)).collect();
    let own = strides(x.shape());
    let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
    let shape: Vec<usize> = order.iter().map(|axis| x.shape()[*axis]).collect();
    let steps: Vec<isize> = order.iter().map(|axis| own[*axis]).collect();
    let outer = kept.iter().map(|axis| x.shape()[*axis]).collect();
    let moved = match order.is_sorted() {
        true => x.clone(),
        false => x.strided(&shape, &steps, 0)?,
    };
    Ok((outer, moved))
}

/// The shape after reducing: without the axes, or with 1 in their place.
fn shape_without(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let dims = shape.iter().enumerate();
    let dims = dims.map(|(axis, dim)| if axes.contains(&axis) { None } else { Some(*dim) });
    match keep {
        true => dims.map(|dim| dim.unwrap_or(1)).collect(),
        false => dims.flatten().collect(),
    }
}

fn reduced<R: Reduction>(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (axes, singly) = match stated_axes(call, x.rank())? {
        Some(axes) => (axes, false),
        // Each number is reduced by itself: the square of an L2 is still taken.
        None => (Vec::new(), true),
    };
    let keep = call.flag("keepdims", true)? || singly;
    let (outer, moved) = axes_last(x, &axes)?;
    let shape = shape_without(x.shape(), &axes, keep);
    let count: usize = axes.iter().map(|axis| x.shape()[*axis]).product();
    let groups: usize = outer.iter().product();
    if x.dtype() == Type::Bool {
        let made = over_groups(&moved.numbers()?, groups, count, R::reals);
        return one(Array::of(shape, made.into_iter().map(|x| x > 0.0).collect())?);
    }
    with_number!(x.dtype(), T => {
        let made: Vec<T> = match x.dtype().is_float() {
            true => over_groups(&moved.numbers()?, groups, count, R::reals)
                .into_iter()
                .map(T::from_f64)
                .collect(),
            false => over_groups(moved.slice::<T>()?, groups, count, R::whole::<T>),
        };
        one(Array::of(shape, made)?)
    })
}

fn over_groups<T, U>(
    values: &[T],
    groups: usize,
    count: usize,
    reduce: impl Fn(&[T]) -> U,
) -> Vec<U> {
    (0..groups).map(|group| reduce(&values[group * count..][..count])).collect()
}

fn arg_max(call: &Call<'_>) -> Result<Vec<Value>> {
    arg(call, |a, b| a > b)
}

fn arg_min(call: &Call<'_>) -> Result<Vec<Value>> {
    arg(call, |a, b| a < b)
}

fn arg(call: &Call<'_>, better: fn(f64, f64) -> bool) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(0, x.rank())?;
    let last = call.flag("select_last_index", false)?;
    let (outer, moved) = axes_last(x, &[axis])?;
    if x.shape()[axis] == 0 {
        return Err(call.unfit(0, format!("at least one element along axis {axis}")));
    }
    let best = |values: &[f64]| {
        let mut best = 0;
        for (i, value) in values.iter().enumerate() {
            if better(*value, values[best]) || (last && *value == values[best]) {
                best = i;
            }
        }
        best as i64
    };
    let groups = outer.iter().product();
    let made = over_groups(&moved.numbers()?, groups, x.shape()[axis], best);
    let shape = shape_without(x.shape(), &[axis], call.flag("keepdims", true)?);
    one(Array::of(shape, made)?)
}

fn cumulative_sum(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    with_number!(x.dtype(), T => cumulated::<T>(call, T::ZERO, T::plus))
}

fn cumulative_product(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    with_number!(x.dtype(), T => cumulated::<T>(call, T::ONE, T::times))
}

fn cumulated<T: Number>(call: &Call<'_>, start: T, add: fn(T, T) -> T) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.axis(call.one_int(1)?, x.rank())?;
    let (exclusive, reverse) = (call.flag("exclusive", false)?, call.flag("reverse", false)?);
    let len = x.shape()[axis];
    let inner: usize = x.shape()[axis + 1..].iter().product();
    let mut out = x.slice::<T>()?.to_vec();
    for block in out.chunks_exact_mut((len * inner).max(1)) {
        for offset in 0..inner {
            let mut sum = start;
            for i in 0..len {
                let place = offset + inner * if reverse { len - 1 - i } else { i };
                let next = add(sum, block[place]);
                block[place] = if exclusive { sum } else { next };
                sum = next;
            }
        }
    }
    one(Array::of(x.shape().to_vec(), out)?)
}
