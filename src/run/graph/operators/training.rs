//! Optimizers: one step for each tensor.

use super::Operator;
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::call::Call;
use crate::run::graph::value::Value;

/// The domain of training.
const DOMAIN: &str = "ai.onnx.preview.training";

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    Operator { domain: DOMAIN, name: "Adagrad", since: 1, compute: adagrad },
    Operator { domain: DOMAIN, name: "Adam", since: 1, compute: adam },
    Operator { domain: DOMAIN, name: "Momentum", since: 1, compute: momentum },
];

/// Runs a step for each tensor: `parts` inputs belong to each (value, gradient, states), and
/// `parts` − 1 outputs come of each.
fn stepped<const P: usize>(
    call: &Call<'_>,
    step: impl Fn([f64; P]) -> [f64; P],
) -> Result<Vec<Value>> {
    let tensors = call.input_count().saturating_sub(2);
    if P == 0 || !tensors.is_multiple_of(P) {
        return Err(Error::malformed(format!("found {tensors} tensors, expected {P} for each")));
    }
    let each = tensors / P;
    let mut made: Vec<Vec<Value>> = vec![Vec::new(); P];
    for index in 0..each {
        let parts = (0..P).map(|part| call.tensor(2 + part * each + index));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let numbers = parts.iter().map(|part| part.numbers()).collect::<Result<Vec<_>>>()?;
        let count = parts[0].len();
        if numbers.iter().any(|numbers| numbers.len() != count) {
            return Err(call.unfit(2 + index, "a gradient and states of the same shape"));
        }
        let mut out = vec![Vec::with_capacity(count); P];
        let steps = (0..count).map(|i| step(std::array::from_fn(|part| numbers[part][i])));
        for next in steps {
            next.iter().zip(&mut out).for_each(|(x, out)| out.push(*x));
        }
        for (part, values) in out.into_iter().enumerate() {
            let data = super::numbers(values, parts[part].dtype())?;
            made[part].push(Array::new(parts[part].shape().to_vec(), data)?.into());
        }
    }
    // The second part is the gradient, which is not given back.
    Ok(made.into_iter().enumerate().filter(|(part, _)| *part != 1).flat_map(|(_, v)| v).collect())
}

/// The learning rate and the number of steps so far.
fn rate_and_count(call: &Call<'_>) -> Result<(f64, f64)> {
    let number = |index| call.one_number(index)?.ok_or_else(|| call.unfit(index, "one number"));
    Ok((number(0)?, number(1)?))
}

fn adagrad(call: &Call<'_>) -> Result<Vec<Value>> {
    let (rate, count) = rate_and_count(call)?;
    let decay = f64::from(call.float("decay_factor", 0.0)?);
    let epsilon = f64::from(call.float("epsilon", 1e-6)?);
    let norm = f64::from(call.float("norm_coefficient", 0.0)?);
    let rate = rate / (1.0 + count * decay);
    stepped(call, |[x, gradient, squares]| {
        let gradient = norm * x + gradient;
        let squares = squares + gradient * gradient;
        [x - rate * gradient / (squares.sqrt() + epsilon), 0.0, squares]
    })
}

/// <https://arxiv.org/abs/1412.6980>.
fn adam(call: &Call<'_>) -> Result<Vec<Value>> {
    let (rate, count) = rate_and_count(call)?;
    let (alpha, beta) =
        (f64::from(call.float("alpha", 0.9)?), f64::from(call.float("beta", 0.999)?));
    let epsilon = f64::from(call.float("epsilon", 1e-6)?);
    let norm = f64::from(call.float("norm_coefficient", 0.0)?);
    let norm_after = f64::from(call.float("norm_coefficient_post", 0.0)?);
    let corrected = match count > 0.0 {
        true => rate * (1.0 - libm::pow(beta, count)).sqrt() / (1.0 - libm::pow(alpha, count)),
        false => rate,
    };
    stepped(call, |[x, gradient, mean, squares]| {
        let gradient = norm * x + gradient;
        let mean = alpha * mean + (1.0 - alpha) * gradient;
        let squares = beta * squares + (1.0 - beta) * gradient * gradient;
        let moved = x - corrected * mean / (squares.sqrt() + epsilon);
        [(1.0 - norm_after) * moved, 0.0, mean, squares]
    })
}

fn momentum(call: &Call<'_>) -> Result<Vec<Value>> {
    let (rate, count) = rate_and_count(call)?;
    let (alpha, beta) = (f64::from(call.float("alpha", 0.0)?), f64::from(call.float("beta", 0.0)?));
    let norm = f64::from(call.float("norm_coefficient", 0.0)?);
    let nesterov = call.text("mode", "standard")? == "nesterov";
    let beta = if count > 0.0 { beta } else { 1.0 };
    stepped(call, |[x, gradient, speed]| {
        let gradient = norm * x + gradient;
        let speed = alpha * speed + beta * gradient;
        let step = if nesterov { gradient + alpha * speed } else { speed };
        [x - rate * step, 0.0, speed]
    })
}
