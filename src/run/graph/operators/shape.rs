//! Shapes: asked for, and changed without touching elements; and elements in another order.

use super::{Operator, one, onnx};
use crate::ir::graph::Attribute;
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Data, strides};
use crate::run::graph::broadcast;
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number, with_number};
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("Shape", 1, shape),
    onnx("Size", 1, size),
    onnx("Reshape", 1, reshape),
    onnx("Flatten", 1, flatten),
    onnx("Squeeze", 1, squeeze),
    onnx("Unsqueeze", 1, unsqueeze),
    onnx("Transpose", 1, transpose),
    onnx("Expand", 8, expand),
    onnx("Tile", 6, tile),
    onnx("Constant", 1, constant),
    onnx("ConstantOfShape", 9, constant_of_shape),
    onnx("EyeLike", 9, eye_like),
    onnx("Range", 11, range),
    onnx("Trilu", 14, triangle),
    Operator { domain: "com.microsoft", name: "Trilu", since: 1, compute: triangle },
    onnx("DepthToSpace", 1, depth_to_space),
    onnx("SpaceToDepth", 1, space_to_depth),
    onnx("ReverseSequence", 10, reverse_sequence),
];

fn shape(call: &Call<'_>) -> Result<Vec<Value>> {
    let dims = call.tensor(0)?.shape();
    let rank = dims.len() as i64;
    let at = |index: i64| (if index < 0 { index + rank } else { index }).clamp(0, rank) as usize;
    let start = at(call.int("start", 0)?.max(-rank));
    let end = at(call.int("end", rank)?.max(-rank - 1));
    let dims = dims.get(start..end.max(start)).unwrap_or_default();
    one(Array::vector(dims.iter().map(|dim| *dim as i64).collect()))
}

fn size(call: &Call<'_>) -> Result<Vec<Value>> {
    one(Array::scalar(call.tensor(0)?.len() as i64))
}

/// Integers of an input, or of an attribute in older versions.
pub(super) fn ints_of(call: &Call<'_>, index: usize, name: &str) -> Result<Option<Vec<i64>>> {
    match call.optional_ints(index)? {
        Some(values) => Ok(Some(values)),
        None => Ok(call.list(name)?.map(<[i64]>::to_vec)),
    }
}

/// Sizes, none of them negative.
pub(super) fn sizes(values: &[i64]) -> Result<Vec<usize>> {
    let size = |value: &i64| {
        usize::try_from(*value)
            .map_err(|_| Error::malformed(format!("found the size {value}, expected 0 or more")))
    };
    values.iter().map(size).collect()
}

fn reshape(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let asked = ints_of(call, 1, "shape")?;
    let asked = asked.ok_or_else(|| Error::malformed("found no shape, expected input 1"))?;
    one(x.reshaped(filled(x.shape(), &asked, call.flag("allowzero", false)?)?)?)
}

/// The shape that is asked for: 0 keeps a size, and −1 takes what is left.
pub(super) fn filled(from: &[usize], asked: &[i64], zero_is_zero: bool) -> Result<Vec<usize>> {
    let total: usize = from.iter().product();
    let wrong =
        || Error::malformed(format!("found shape {from:?}, expected one that fits {asked:?}"));
    let mut shape = Vec::new();
    let mut open = None;
    for (axis, dim) in asked.iter().enumerate() {
        shape.push(match dim {
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            0 if !zero_is_zero => *from.get(axis).ok_or_else(wrong)?,
            dim => usize::try_from(*dim).map_err(|_| wrong())?,
        });
    }
    if let Some(axis) = open {
        let known = shape.iter().try_fold(1usize, |known, dim| known.checked_mul(*dim));
        shape[axis] = known.and_then(|known| total.checked_div(known)).ok_or_else(wrong)?;
    }
    Ok(shape)
}

fn flatten(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (axis, rank) = (call.int("axis", 1)?, x.rank() as i64);
    let axis = if axis < 0 { axis.saturating_add(rank) } else { axis };
    if !(0..=rank).contains(&axis) {
        return Err(call.unfit(0, format!("at least {axis} dimensions")));
    }
    let (outer, inner) = x.shape().split_at(axis as usize);
    one(x.reshaped(vec![outer.iter().product(), inner.iter().product()])?)
}

fn squeeze(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axes = match ints_of(call, 1, "axes")? {
        None => (0..x.rank()).filter(|axis| x.shape()[*axis] == 1).collect(),
        Some(axes) => {
            axes.iter().map(|axis| call.axis(*axis, x.rank())).collect::<Result<Vec<_>>>()?
        }
    };
    let dims = x.shape().iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    one(x.reshaped(dims.map(|(_, dim)| *dim).collect())?)
}

fn unsqueeze(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axes = ints_of(call, 1, "axes")?;
    let axes = axes.ok_or_else(|| Error::malformed("found no axes, expected input 1"))?;
    let rank = x.rank() + axes.len();
    let axes = axes.iter().map(|axis| call.axis(*axis, rank)).collect::<Result<Vec<_>>>()?;
    let mut dims = x.shape().iter();
    let shape = (0..rank).map(|axis| match axes.contains(&axis) {
        true => 1,
        false => dims.next().copied().unwrap_or(1),
    });
    one(x.reshaped(shape.collect())?)
}

fn transpose(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let order = match call.list("perm")? {
        None => (0..x.rank()).rev().collect(),
        Some(order) => {
            order.iter().map(|axis| call.axis(*axis, x.rank())).collect::<Result<Vec<_>>>()?
        }
    };
    one(permuted(x, &order).map_err(|error| call.input_error(0, error))?)
}

/// The value with its axes in another order.
pub(super) fn permuted(x: &Array, order: &[usize]) -> Result<Array> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..x.rank()) {
        let found = x.shape();
        return Err(Error::malformed(format!("found shape {found:?}, expected axes as {order:?}")));
    }
    if order.is_sorted() {
        return Ok(x.clone());
    }
    let own = strides(x.shape());
    let shape: Vec<usize> = order.iter().map(|axis| x.shape()[*axis]).collect();
    let steps: Vec<isize> = order.iter().map(|axis| own[*axis]).collect();
    x.strided(&shape, &steps, 0)
}

fn expand(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let asked = sizes(&call.ints(1)?)?;
    let shape = broadcast::common(&[x.shape(), &asked])?;
    call.room(&shape)?;
    one(broadcast::stretched(x, &shape)?.into_owned())
}

fn tile(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let repeats = sizes(&call.ints(1)?)?;
    if repeats.len() != x.rank() {
        return Err(call.unfit(1, format!("{} repeats", x.rank())));
    }
    let shape: Vec<usize> =
        x.shape().iter().zip(&repeats).map(|(dim, by)| dim.saturating_mul(*by)).collect();
    call.room(&shape)?;
    // Each axis twice: the repeats, which do not move, and the elements.
    let own = strides(x.shape());
    let twice: Vec<usize> =
        repeats.iter().zip(x.shape()).flat_map(|(by, dim)| [*by, *dim]).collect();
    let steps: Vec<isize> = own.iter().flat_map(|step| [0, *step]).collect();
    one(x.strided(&twice, &steps, 0)?.reshaped(shape)?)
}

fn constant(call: &Call<'_>) -> Result<Vec<Value>> {
    if let Some(value) = call.constant("value")? {
        return one(value);
    }
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let found = call.node().attributes.iter().find_map(|(name, attribute)| {
        Some(match (&name[..], attribute) {
            ("value_int", Attribute::Int(x)) => Array::scalar(*x),
            ("value_float", Attribute::Float(x)) => Array::scalar(*x),
            ("value_string", Attribute::Text(x)) => Array::scalar(text(x)),
            ("value_ints", Attribute::Ints(x)) => Array::vector(x.clone()),
            ("value_floats", Attribute::Floats(x)) => Array::vector(x.clone()),
            ("value_strings", Attribute::Texts(x)) => Array::vector(x.iter().map(text).collect()),
            _ => return None,
        })
    });
    one(found.ok_or_else(|| Error::malformed("attribute value: expected a tensor"))?)
}

fn constant_of_shape(call: &Call<'_>) -> Result<Vec<Value>> {
    let shape = sizes(&call.ints(0)?)?;
    let count = call.room(&shape)?;
    let value = call.constant("value")?.unwrap_or_else(|| Array::scalar(0f32));
    if value.len() != 1 {
        return Err(Error::malformed("attribute value: expected one element"));
    }
    one(value.reshaped(vec![])?.strided(&[count], &[0], 0)?.reshaped(shape)?)
}

fn eye_like(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let &[rows, columns] = x.shape() else { return Err(call.unfit(0, "two dimensions")) };
    let offset = call.int("k", 0)?;
    let dtype = call.stated_type("dtype")?.unwrap_or(x.dtype());
    let on = |i: usize| (i % columns) as i64 == ((i / columns) as i64).saturating_add(offset);
    if dtype == Type::Bool {
        return one(Array::of(vec![rows, columns], (0..x.len()).map(on).collect())?);
    }
    with_number!(dtype, T => {
        let made = (0..x.len()).map(|i| if on(i) { T::ONE } else { T::ZERO }).collect();
        one(Array::of(vec![rows, columns], made)?)
    })
}

fn range(call: &Call<'_>) -> Result<Vec<Value>> {
    let (start, limit, delta) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let number =
        |index: usize| call.one_number(index)?.ok_or_else(|| call.unfit(index, "one number"));
    let (from, to, by) = (number(0)?, number(1)?, number(2)?);
    if by == 0.0 || !(by.is_finite() && from.is_finite() && to.is_finite()) {
        return Err(call.unfit(2, "a step other than 0"));
    }
    let count = call.room(&[((to - from) / by).ceil().max(0.0) as usize])?;
    let same = limit.dtype() == start.dtype() && delta.dtype() == start.dtype();
    if !same {
        return Err(call.unfit(1, format!("elements of {}", start.dtype())));
    }
    with_number!(start.dtype(), T => {
        let (first, step) = (start.slice::<T>()?[0], delta.slice::<T>()?[0]);
        // Floats by multiplication, so that errors do not add up.
        let value = |i: usize| match start.dtype().is_float() {
            true => T::from_f64(from + i as f64 * by),
            false => first.plus(step.times(T::from_f64(i as f64))),
        };
        one(Array::vector((0..count).map(value).collect()))
    })
}

fn triangle(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let &[.., rows, columns] = x.shape() else {
        return Err(call.unfit(0, "two or more dimensions"));
    };
    let offset = match call.optional(1)? {
        None => 0,
        Some(_) => call.one_int(1)?,
    };
    let upper = call.flag("upper", true)?;
    let inside = |i: usize| {
        let (row, column) = ((i / columns % rows) as i64, (i % columns) as i64);
        let edge = row.saturating_add(offset);
        if upper { column >= edge } else { column <= edge }
    };
    let zero = zero(x.dtype())?;
    let places = (0..x.len()).map(|i| inside(i).then_some(i));
    one(x.pick_or(x.shape().to_vec(), places, &zero)?)
}

/// One element that is 0, false or empty.
pub(super) fn zero(dtype: Type) -> Result<Array> {
    Ok(match dtype {
        Type::Bool => Array::scalar(false),
        Type::Text => Array::scalar(String::new()),
        Type::Small(small) => Array::new(vec![], Data::Small(small, vec![0].into()))?,
        dtype => with_number!(dtype, T => Ok(Array::scalar(T::ZERO)))?,
    })
}

/// The four sizes of a batch of images, and the block's.
fn blocks<'c>(call: &'c Call<'_>) -> Result<(&'c Array, [usize; 4], usize)> {
    let x = call.tensor(0)?;
    let block = call.size("blocksize", 0)?;
    match x.shape() {
        &[n, c, h, w] if block > 0 => Ok((x, [n, c, h, w], block)),
        _ => Err(call.unfit(0, "four dimensions and a block's size")),
    }
}

fn depth_to_space(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, [n, c, h, w], block) = blocks(call)?;
    let square = block.checked_mul(block).filter(|square| c.is_multiple_of(*square));
    let depth = c / square.ok_or_else(|| call.unfit(0, "whole blocks of channels"))?;
    let by_column = call.text("mode", "DCR")? == "CRD";
    let (split, order) = match by_column {
        true => ([n, depth, block, block, h, w], [0, 1, 4, 2, 5, 3]),
        false => ([n, block, block, depth, h, w], [0, 3, 4, 1, 5, 2]),
    };
    let moved = permuted(&x.reshaped(split.to_vec())?, &order)?;
    one(moved.reshaped(vec![n, depth, h * block, w * block])?)
}

fn space_to_depth(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, [n, c, h, w], block) = blocks(call)?;
    let split = vec![n, c, h / block, block, w / block, block];
    let split = x.reshaped(split).map_err(|_| call.unfit(0, "whole blocks of pixels"))?;
    let moved = permuted(&split, &[0, 3, 5, 1, 2, 4])?;
    one(moved.reshaped(vec![n, c * block * block, h / block, w / block])?)
}

fn reverse_sequence(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, lens) = (call.tensor(0)?, call.ints(1)?);
    let time = call.axis(call.int("time_axis", 0)?, x.rank())?;
    let batch = call.axis(call.int("batch_axis", 1)?, x.rank())?;
    let fits = |len: &i64| (0..=x.shape()[time] as i64).contains(len);
    if lens.len() != x.shape()[batch] || !lens.iter().all(fits) {
        return Err(call.unfit(1, "a length for each of the batch"));
    }
    let own = strides(x.shape());
    let at = |i: usize, axis: usize| i / own[axis] as usize % x.shape()[axis];
    let place = |i: usize| {
        let (t, len) = (at(i, time), lens[at(i, batch)] as usize);
        let from = if t < len { len - 1 - t } else { t };
        i - t * own[time] as usize + from * own[time] as usize
    };
    let places: Vec<usize> = (0..x.len()).map(place).collect();
    one(x.pick(x.shape().to_vec(), &places)?)
}
