//! Graphs that nodes run: If, Loop, Scan.

use std::sync::Arc;

use super::slice::part;
use super::{Operator, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::call::Call;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("If", 1, branch),
    onnx("Loop", 1, turns),
    onnx("Scan", 8, scan_batches),
    onnx("Scan", 9, scan),
];

/// The one truth value of a tensor.
fn truth(value: &Array) -> Result<bool> {
    match value.slice::<bool>()? {
        [one] => Ok(*one),
        many => Err(Error::malformed(format!("found {} values, expected one", many.len()))),
    }
}

fn branch(call: &Call<'_>) -> Result<Vec<Value>> {
    let condition = truth(call.tensor(0)?).map_err(|error| call.input_error(0, error))?;
    let name = if condition { "then_branch" } else { "else_branch" };
    call.run_graph(call.graph(name)?, Vec::new())
}

/// Values of one kind, one from each turn, as one value with a new first axis.
fn stacked(call: &Call<'_>, values: &[Value], axis: i64) -> Result<Value> {
    let arrays = values.iter().map(Value::tensor).collect::<Result<Vec<_>>>()?;
    super::sequence::stack(call, &arrays, axis).map(Value::from)
}

fn turns(call: &Call<'_>) -> Result<Vec<Value>> {
    let body = call.graph("body")?;
    let most = match call.optional(0)? {
        Some(_) => call.one_int(0)?,
        None => i64::MAX,
    };
    let mut go_on = match call.optional(1)? {
        Some(condition) => truth(condition).map_err(|error| call.input_error(1, error))?,
        None => true,
    };
    let mut carried: Vec<Value> =
        (2..call.input_count()).map(|index| call.require(index).cloned()).collect::<Result<_>>()?;
    let states = carried.len();
    if body.inputs().len() != states + 2 || body.outputs().len() < states + 1 {
        let (inputs, outputs) = (body.inputs().len(), body.outputs().len());
        let text = format!("attribute body: found {inputs} inputs and {outputs} outputs");
        let expected = format!("expected {} and {} or more", states + 2, states + 1);
        return Err(Error::malformed(format!("{text}, {expected}")));
    }
    let mut scanned: Vec<Vec<Value>> = vec![Vec::new(); body.outputs().len() - states - 1];
    let mut turn = 0;
    while go_on && turn < most {
        call.count_step()?;
        let head = [Array::scalar(turn).into(), Array::scalar(go_on).into()];
        let inputs = head.into_iter().chain(carried).map(Some).collect();
        let mut made = call.run_graph(body, inputs)?.into_iter();
        let condition = made.next().ok_or_else(|| Error::bug("a body without outputs"))?;
        go_on = truth(condition.tensor()?)?;
        carried = made.by_ref().take(states).collect();
        scanned.iter_mut().zip(made).for_each(|(all, value)| all.push(value));
        turn += 1;
    }
    for (index, values) in scanned.iter().enumerate() {
        carried.push(match values.is_empty() {
            // No turn says what a turn gives: the body's declaration does.
            true => no_turns(&body.outputs()[states + 1 + index])?,
            false => stacked(call, values, 0)?,
        });
    }
    Ok(carried)
}

/// No elements of what a port declares, with a first axis of 0.
fn no_turns(port: &crate::ir::graph::Port) -> Result<Value> {
    use crate::ir::graph::{Dim, Kind};
    let Kind::Tensor(element, dims) = &port.kind else {
        return Ok(Array::of(vec![0], Vec::<f32>::new())?.into());
    };
    let dtype = crate::run::graph::value::element_type(*element)?;
    let known = |dim: &Dim| match dim {
        Dim::Known(size) => usize::try_from(*size).unwrap_or(0),
        Dim::Named(_) | Dim::Unknown => 0,
    };
    let dims = dims.iter().flatten().map(known);
    let shape = std::iter::once(0).chain(dims).collect();
    Ok(Array::new(shape, crate::run::graph::array::Data::none(dtype))?.into())
}

/// How a scan goes over its inputs and puts its outputs together.
struct Directions {
    count: usize,
    input_axes: Vec<i64>,
    input_back: Vec<bool>,
    output_axes: Vec<i64>,
    output_back: Vec<bool>,
}

impl Directions {
    fn stated(call: &Call<'_>, count: usize, outputs: usize) -> Result<Self> {
        let list = |name: &str, len: usize| -> Result<Vec<i64>> {
            let values = call.list(name)?.map_or_else(|| vec![0; len], <[i64]>::to_vec);
            match values.len() == len {
                true => Ok(values),
                false => {
                    Err(Error::malformed(format!("attribute {name}: expected {len} integers")))
                }
            }
        };
        let back = |name| Ok::<_, Error>(list(name, count)?.iter().map(|x| *x == 1).collect());
        let older = if call.version() < 9 { "directions" } else { "scan_input_directions" };
        Ok(Self {
            count,
            input_axes: list("scan_input_axes", count)?,
            input_back: back(older)?,
            output_axes: list("scan_output_axes", outputs)?,
            output_back: list("scan_output_directions", outputs)?.iter().map(|x| *x == 1).collect(),
        })
    }
}

fn scan(call: &Call<'_>) -> Result<Vec<Value>> {
    let inputs = (0..call.input_count()).map(|index| call.require(index).cloned());
    scanned(call, inputs.collect::<Result<_>>()?)
}

/// Runs the body for each element along the scanned axes.
fn scanned(call: &Call<'_>, inputs: Vec<Value>) -> Result<Vec<Value>> {
    let body = call.graph("body")?;
    let count = call.size("num_scan_inputs", 0)?;
    let states = inputs.len().checked_sub(count).filter(|_| count > 0);
    let states = states.filter(|states| body.outputs().len() >= *states);
    let states = states.ok_or_else(|| {
        let found = inputs.len();
        Error::malformed(format!(
            "found {found} inputs, expected {count} to scan and the body's states"
        ))
    })?;
    if body.inputs().len() != inputs.len() {
        let found = body.inputs().len();
        let text = format!("attribute body: found {found} inputs, expected {}", inputs.len());
        return Err(Error::malformed(text));
    }
    let how = Directions::stated(call, count, body.outputs().len() - states)?;
    let mut carried = inputs[..states].to_vec();
    let mut arrays = Vec::with_capacity(how.count);
    for (value, axis) in inputs[states..].iter().zip(&how.input_axes) {
        let array = value.tensor()?;
        arrays.push((array, call.axis(*axis, array.rank())?));
    }
    let length = arrays.first().map_or(0, |(array, axis)| array.shape()[*axis]);
    if arrays.iter().any(|(array, axis)| array.shape()[*axis] != length) {
        return Err(Error::malformed(format!(
            "found scanned inputs of unlike length, expected {length}"
        )));
    }
    let mut made: Vec<Vec<Value>> = vec![Vec::new(); body.outputs().len() - states];
    for turn in 0..length {
        call.count_step()?;
        let mut given = carried;
        for ((array, axis), back) in arrays.iter().zip(&how.input_back) {
            let index = if *back { length - 1 - turn } else { turn };
            let mut shape = array.shape().to_vec();
            shape.remove(*axis);
            given.push(part(array, *axis, index, 1)?.reshaped(shape)?.into());
        }
        let mut outputs = call.run_graph(body, given.into_iter().map(Some).collect())?.into_iter();
        carried = outputs.by_ref().take(states).collect();
        made.iter_mut().zip(outputs).for_each(|(all, value)| all.push(value));
    }
    for (index, mut values) in made.into_iter().enumerate() {
        if how.output_back[index] {
            values.reverse();
        }
        carried.push(match values.is_empty() {
            true => no_turns(&body.outputs()[states + index])?,
            false => stacked(call, &values, how.output_axes[index])?,
        });
    }
    Ok(carried)
}

/// Version 8: the first axis of everything is a batch, and the first input may say how long each
/// of the batch is. What is shorter ends in zeros.
fn scan_batches(call: &Call<'_>) -> Result<Vec<Value>> {
    let inputs = (1..call.input_count()).map(|index| call.tensor(index));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let states = inputs.len().saturating_sub(call.size("num_scan_inputs", 0)?);
    let batch = inputs.first().and_then(|x| x.shape().first().copied()).unwrap_or(0);
    let lengths =
        call.optional_ints(0)?.map(|lengths| super::shape::sizes(&lengths)).transpose()?;
    if lengths.as_ref().is_some_and(|lengths| lengths.len() != batch) {
        return Err(call.unfit(0, format!("{batch} lengths")));
    }
    let mut made: Vec<Vec<Value>> = Vec::new();
    let mut longest = 0;
    for image in 0..batch {
        call.count_step()?;
        let mut given = Vec::with_capacity(inputs.len());
        for (index, x) in inputs.iter().enumerate() {
            let shape = x.shape().get(1..).ok_or_else(|| call.unfit(index + 1, "a batch"))?;
            let own = part(x, 0, image, 1)?.reshaped(shape.to_vec())?;
            let scanned = index >= states;
            if scanned {
                longest = shape.first().copied().unwrap_or(0);
            }
            given.push(match lengths.as_ref().map(|lengths| lengths[image]) {
                Some(length) if scanned && own.rank() > 0 => part(&own, 0, 0, length)?.into(),
                _ => own.into(),
            });
        }
        made.push(scanned(call, given)?);
    }
    let outputs = made.first().map_or(0, Vec::len);
    let all = (0..outputs).map(|output| {
        let each = made.iter().filter_map(|values| values.get(output).cloned());
        let each = each.map(|value| match output < states {
            true => Ok(value),
            false => ended(call, &value, longest),
        });
        stacked(call, &each.collect::<Result<Vec<_>>>()?, 0)
    });
    all.collect()
}

/// A value with zeros after it, up to a length.
fn ended(call: &Call<'_>, value: &Value, length: usize) -> Result<Value> {
    let x = value.tensor()?;
    let rest = length.saturating_sub(x.shape().first().copied().unwrap_or(length));
    if rest == 0 {
        return Ok(value.clone());
    }
    let mut shape = x.shape().to_vec();
    shape[0] = rest;
    let zero = super::shape::zero(x.dtype())?.reshaped(vec![1; shape.len()])?;
    let zeros = crate::run::graph::broadcast::stretched(&zero, &shape)?;
    Ok(super::slice::joined_along(call, &[x, &zeros], 0)?.into())
}

/// A list of values.
pub(super) fn sequence(values: Vec<Value>) -> Value {
    Value::Sequence(Arc::new(values))
}
