//! What surrounds attention in the graphs of ONNX Runtime: embeddings, and sums that are normalized.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>

use super::Operator;
use super::gather::index_of;
use super::norm::{normalized, rms, spread};
use crate::ir::Result;
use crate::run::graph::array::Array;
use crate::run::graph::broadcast;
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number as _, with_real};
use crate::run::graph::value::Value;

const DOMAIN: &str = "com.microsoft";

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    Operator { domain: DOMAIN, name: "EmbedLayerNormalization", since: 1, compute: embed_layer_normalization },
    Operator { domain: DOMAIN, name: "SkipLayerNormalization", since: 1, compute: skip_layer_normalization },
    Operator { domain: DOMAIN, name: "SkipSimplifiedLayerNormalization", since: 1, compute: skip_rms_normalization },
];

/// The sum of the input, the skipped one and a bias.
fn skipped(call: &Call<'_>, bias: usize) -> Result<Array> {
    let (x, skip) = (call.tensor(0)?, call.tensor(1)?);
    let skip = broadcast::stretched(skip, x.shape()).map_err(|error| call.input_error(1, error))?;
    let bias = spread(call, bias, x.shape())?;
    with_real!(x.dtype(), R => {
        let (a, b) = (x.reals::<R>()?, skip.reals::<R>()?);
        let sums = a.iter().zip(b.iter()).enumerate().map(|(i, (a, b))| {
            *a + *b + bias.as_ref().map_or(R::ZERO, |bias| R::from_f64(bias[i]))
        });
        // Not rounded yet: it is normalized first.
        Array::of(x.shape().to_vec(), sums.collect::<Vec<R>>())
    })
}

fn skip_layer_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    let sum = skipped(call, 4)?;
    let made = rows_normalized(call, &sum, [2, 3])?;
    given(call, &made, &sum)
}

fn skip_rms_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    let sum = skipped(call, 3)?;
    let len = *sum.shape().last().ok_or_else(|| call.unfit(0, "one dimension or more"))?;
    let scale = spread(call, 2, &[len])?;
    let (made, _) = rms(&sum, len, scale.as_deref(), call.float("epsilon", 1e-12)?.into())?;
    given(call, &made, &sum)
}

/// The outputs of both: what was made, and the sum, in the type of the input.
fn given(call: &Call<'_>, made: &Array, sum: &Array) -> Result<Vec<Value>> {
    let dtype = call.dtype(0)?;
    let typed = |x: &Array| super::cast::converted(x, dtype, super::cast::How::default());
    Ok(vec![typed(made)?.into(), Value::Nothing, Value::Nothing, typed(sum)?.into()])
}

/// Each row normalized, times one input, plus another.
fn rows_normalized(call: &Call<'_>, x: &Array, affine: [usize; 2]) -> Result<Array> {
    let len = *x.shape().last().ok_or_else(|| call.unfit(0, "one dimension or more"))?;
    let epsilon = call.float("epsilon", 1e-12)?.into();
    let (scale, bias) = (spread(call, affine[0], &[len])?, spread(call, affine[1], &[len])?);
    let affine = |i: usize| {
        let at =
            |values: &Option<Vec<f64>>, default| values.as_ref().map_or(default, |v| v[i % len]);
        (at(&scale, 1.0), at(&bias, 0.0))
    };
    with_real!(x.dtype(), R => normalized::<R>(x, len, epsilon, affine))
}

/// The rows of a table at these places.
fn looked_up(call: &Call<'_>, table: usize, rows: &[i64]) -> Result<Vec<f64>> {
    let x = call.tensor(table)?;
    let &[count, width] = x.shape() else { return Err(call.unfit(table, "a matrix")) };
    let mut places = Vec::with_capacity(rows.len() * width);
    for row in rows {
        let row = index_of(*row, count).map_err(|error| call.input_error(table, error))?;
        places.extend(row * width..(row + 1) * width);
    }
    x.pick(vec![rows.len(), width], &places)?.numbers()
}

/// Words, positions and segments summed and normalized: <https://arxiv.org/abs/1810.04805>.
fn embed_layer_normalization(call: &Call<'_>) -> Result<Vec<Value>> {
    let words = call.tensor(2)?;
    let (&[batch, length], &[_, width]) = (call.tensor(0)?.shape(), words.shape()) else {
        return Err(call.unfit(0, "a batch of ids"));
    };
    call.room(&[batch, length, width])?;
    let mut sum = looked_up(call, 2, &call.ints(0)?)?;
    let mut add = |part: Vec<f64>, table: usize| match part.len() == sum.len() {
        true => {
            sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
            Ok(())
        }
        false => Err(call.unfit(table, format!("{batch} · {length} rows of {width}"))),
    };
    let places = match call.optional_ints(8)? {
        Some(places) if places.len() == length => places.repeat(batch),
        Some(places) => places,
        None => (0..batch).flat_map(|_| 0..length as i64).collect(),
    };
    add(looked_up(call, 3, &places)?, 3)?;
    if let (Some(segments), Some(_)) = (call.optional_ints(1)?, call.optional(4)?) {
        add(looked_up(call, 4, &segments)?, 4)?;
    }
    let sum = Array::new(vec![batch, length, width], super::numbers(sum, words.dtype())?)?;
    let made = rows_normalized(call, &sum, [5, 6])?;
    let mask = call.optional_ints(7)?.unwrap_or_default();
    let seen = |image: usize| {
        mask.iter().skip(image * length).take(length).filter(|seen| **seen == 1).count() as i32
    };
    let counts = Array::vector((0..batch).map(seen).collect());
    Ok(vec![made.into(), counts.into(), sum.into()])
}
