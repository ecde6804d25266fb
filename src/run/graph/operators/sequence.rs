//! Lists of values, and values that may be missing.

use super::control::sequence;
use super::shape::sizes;
use super::slice::{joined_along, pieces};
use super::{Operator, one, onnx};
use crate::ir::graph::{Attribute, Kind};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::call::{Call, axis_of};
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("SequenceConstruct", 11, construct),
    onnx("SequenceEmpty", 11, empty),
    onnx("SequenceInsert", 11, insert),
    onnx("SequenceErase", 11, erase),
    onnx("SequenceAt", 11, at),
    onnx("SequenceLength", 11, length),
    onnx("SequenceMap", 17, map),
    onnx("SplitToSequence", 11, split),
    onnx("ConcatFromSequence", 11, concat),
    onnx("Optional", 15, optional),
    onnx("OptionalHasElement", 15, has_element),
    onnx("OptionalGetElement", 15, get_element),
];

fn list<'c>(call: &'c Call<'_>, index: usize) -> Result<&'c [Value]> {
    call.require(index)?.sequence().map_err(|error| call.input_error(index, error))
}

fn construct(call: &Call<'_>) -> Result<Vec<Value>> {
    let values = (0..call.input_count()).map(|index| call.require(index).cloned());
    one(sequence(values.collect::<Result<_>>()?))
}

fn empty(_: &Call<'_>) -> Result<Vec<Value>> {
    one(sequence(Vec::new()))
}

/// Where an input says, within a list of so many; the end if it says nothing.
fn position(call: &Call<'_>, index: usize, len: usize, limit: usize) -> Result<usize> {
    if call.optional(index)?.is_none() {
        return Ok(limit.saturating_sub(1));
    }
    let stated = call.one_int(index)?;
    let counted = if stated < 0 { stated.saturating_add(len as i64) } else { stated };
    let found = usize::try_from(counted).ok().filter(|position| *position < limit);
    found.ok_or_else(|| {
        let text = format!("found position {stated}, expected one of {len}");
        call.input_error(index, Error::malformed(text))
    })
}

fn insert(call: &Call<'_>) -> Result<Vec<Value>> {
    let mut values = list(call, 0)?.to_vec();
    let place = position(call, 2, values.len(), values.len() + 1)?;
    values.insert(place, call.require(1)?.clone());
    one(sequence(values))
}

fn erase(call: &Call<'_>) -> Result<Vec<Value>> {
    let mut values = list(call, 0)?.to_vec();
    if values.is_empty() {
        return Err(call.unfit(0, "a sequence that is not empty"));
    }
    values.remove(position(call, 1, values.len(), values.len())?);
    one(sequence(values))
}

fn at(call: &Call<'_>) -> Result<Vec<Value>> {
    let values = list(call, 0)?;
    call.require(1)?;
    one(values[position(call, 1, values.len(), values.len())?].clone())
}

fn length(call: &Call<'_>) -> Result<Vec<Value>> {
    one(Array::scalar(list(call, 0)?.len() as i64))
}

fn map(call: &Call<'_>) -> Result<Vec<Value>> {
    let body = call.graph("body")?;
    let count = list(call, 0)?.len();
    let mut made: Vec<Vec<Value>> = vec![Vec::new(); body.outputs().len()];
    for turn in 0..count {
        call.count_step()?;
        let given = (0..call.input_count()).map(|index| match call.require(index)? {
            Value::Sequence(values) => {
                let value = values.get(turn).cloned();
                value.map(Some).ok_or_else(|| call.unfit(index, format!("a sequence of {count}")))
            }
            value => Ok(Some(value.clone())),
        });
        let outputs = call.run_graph(body, given.collect::<Result<_>>()?)?;
        made.iter_mut().zip(outputs).for_each(|(all, value)| all.push(value));
    }
    Ok(made.into_iter().map(sequence).collect())
}

fn split(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.stated_axis(0, x.rank())?;
    let dim = x.shape()[axis];
    let lens = match call.optional(1)? {
        None => vec![1; dim],
        Some(lens) if lens.rank() > 0 => sizes(&call.ints(1)?)?,
        Some(_) => {
            let len = usize::try_from(call.one_int(1)?).ok().filter(|len| *len > 0);
            let len = len.ok_or_else(|| call.unfit(1, "a length above 0"))?;
            (0..dim.div_ceil(len)).map(|i| len.min(dim - i * len)).collect()
        }
    };
    let singly = call.optional(1)?.is_none() && !call.flag("keepdims", true)?;
    let mut made = Vec::with_capacity(lens.len());
    for piece in pieces(x, axis, &lens)? {
        let mut shape = piece.shape().to_vec();
        if singly {
            shape.remove(axis);
        }
        made.push(piece.reshaped(shape)?.into());
    }
    one(sequence(made))
}

fn concat(call: &Call<'_>) -> Result<Vec<Value>> {
    let arrays = list(call, 0)?.iter().map(Value::tensor).collect::<Result<Vec<_>>>()?;
    let axis = call.int("axis", 0)?;
    if call.flag("new_axis", false)? {
        return one(stack(call, &arrays, axis)?);
    }
    let rank = arrays.first().map_or(0, |array| array.rank());
    one(joined_along(call, &arrays, axis_of(axis, rank)?)?)
}

/// Values of one shape side by side along a new axis.
pub(super) fn stack(call: &Call<'_>, arrays: &[&Array], axis: i64) -> Result<Array> {
    let rank = arrays.first().map_or(0, |array| array.rank());
    let axis = axis_of(axis, rank + 1)?;
    let wider = arrays.iter().map(|array| {
        let mut shape = array.shape().to_vec();
        shape.insert(axis.min(shape.len()), 1);
        array.reshaped(shape)
    });
    let wider = wider.collect::<Result<Vec<_>>>()?;
    joined_along(call, &wider.iter().collect::<Vec<_>>(), axis)
}

fn optional(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0).cloned();
    match (&value, call.raw("type")) {
        (None, Some(Attribute::Kind(Kind::Sequence(_) | Kind::Tensor(..) | Kind::Optional(_)))) => {
        }
        (None, _) => return Err(Error::malformed("found no value, expected one or a type")),
        _ => {}
    }
    one(value.unwrap_or(Value::Nothing))
}

fn has_element(call: &Call<'_>) -> Result<Vec<Value>> {
    one(Array::scalar(!matches!(call.value(0), None | Some(Value::Nothing))))
}

fn get_element(call: &Call<'_>) -> Result<Vec<Value>> {
    match call.require(0)? {
        Value::Nothing => Err(call.unfit(0, "a value that is there")),
        value => one(value.clone()),
    }
}
