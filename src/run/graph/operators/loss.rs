//! Losses of classification.

use super::{Operator, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::call::Call;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("NegativeLogLikelihoodLoss", 12, negative_log_likelihood),
    onnx("SoftmaxCrossEntropyLoss", 12, softmax_cross_entropy),
];

fn negative_log_likelihood(call: &Call<'_>) -> Result<Vec<Value>> {
    let logs = call.tensor(0)?.numbers()?;
    Ok(vec![loss(call, &logs)?.into()])
}

fn softmax_cross_entropy(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (batch, classes, area) = sizes(call)?;
    let scores = x.numbers()?;
    let mut logs = scores.clone();
    for image in 0..batch {
        for i in 0..area {
            let at = |class: usize| (image * classes + class) * area + i;
            let max = (0..classes).fold(f64::NEG_INFINITY, |max, c| max.max(scores[at(c)]));
            let sum: f64 = (0..classes).map(|c| libm::exp(scores[at(c)] - max)).sum();
            let shift = max + libm::log(sum);
            (0..classes).for_each(|c| logs[at(c)] -= shift);
        }
    }
    let made = loss(call, &logs)?;
    let logs = super::numbers(logs, x.dtype())?;
    Ok(vec![made.into(), Array::new(x.shape().to_vec(), logs)?.into()])
}

/// Batch, classes, and elements of each.
fn sizes(call: &Call<'_>) -> Result<(usize, usize, usize)> {
    match call.tensor(0)?.shape() {
        [batch, classes, inner @ ..] => Ok((*batch, *classes, inner.iter().product())),
        _ => Err(call.unfit(0, "[batch, classes, …]")),
    }
}

/// The weighted loss of each label, or their sum or weighted mean.
fn loss(call: &Call<'_>, logs: &[f64]) -> Result<Array> {
    let (x, labels) = (call.tensor(0)?, call.tensor(1)?);
    let (batch, classes, area) = sizes(call)?;
    if labels.len() != batch * area {
        return Err(call.unfit(1, format!("{} labels", batch * area)));
    }
    let weights = call.optional(2)?.map(Array::numbers).transpose()?;
    if weights.as_ref().is_some_and(|weights| weights.len() != classes) {
        return Err(call.unfit(2, format!("{classes} weights")));
    }
    let ignored = if call.has("ignore_index") { Some(call.int("ignore_index", 0)?) } else { None };
    let (mut losses, mut total) = (Vec::with_capacity(labels.len()), 0.0);
    for (i, label) in labels.ints()?.into_iter().enumerate() {
        if Some(label) == ignored {
            losses.push(0.0);
            continue;
        }
        let class = super::gather::index_of(label, classes);
        let class = class.map_err(|error| call.input_error(1, error))?;
        let weight = weights.as_ref().map_or(1.0, |weights| weights[class]);
        losses.push(-logs[(i / area * classes + class) * area + i % area] * weight);
        total += weight;
    }
    let sum: f64 = losses.iter().sum();
    let (shape, made) = match call.text("reduction", "mean")? {
        "none" => (labels.shape().to_vec(), losses),
        "sum" => (vec![], vec![sum]),
        "mean" => (vec![], vec![sum / total]),
        other => return Err(Error::malformed(format!("attribute reduction: found '{other}'"))),
    };
    Array::new(shape, super::numbers(made, x.dtype())?)
}
