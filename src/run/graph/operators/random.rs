//! Random numbers. The standard leaves the generator open: this one is stated, so that runs with
//! a seed are alike everywhere. Without a seed, the node's outputs are the same in every run.

use super::shape::sizes;
use super::{Operator, one, onnx};
use crate::ir::Result;
use crate::run::graph::array::Array;
use crate::run::graph::call::Call;
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;
use crate::run::random::SplitMix;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("RandomNormal", 1, normal),
    onnx("RandomNormalLike", 1, normal_like),
    onnx("RandomUniform", 1, uniform),
    onnx("RandomUniformLike", 1, uniform_like),
    onnx("Bernoulli", 15, bernoulli),
    onnx("Multinomial", 7, multinomial),
];

/// A generator that starts from the bits of the seed that a node states.
pub(super) fn seeded(call: &Call<'_>) -> Result<SplitMix> {
    Ok(SplitMix::new(u64::from(call.float("seed", 0.0)?.to_bits())))
}

fn drawn(
    call: &Call<'_>,
    shape: Vec<usize>,
    dtype: Type,
    mut draw: impl FnMut(usize, &mut SplitMix) -> f64,
) -> Result<Vec<Value>> {
    let count = call.room(&shape)?;
    let mut random = seeded(call)?;
    let numbers = (0..count).map(|i| draw(i, &mut random)).collect();
    one(Array::new(shape, super::numbers(numbers, dtype)?)?)
}

fn stated_shape(call: &Call<'_>) -> Result<Vec<usize>> {
    sizes(call.list("shape")?.unwrap_or_default())
}

fn normal(call: &Call<'_>) -> Result<Vec<Value>> {
    gaussian(call, stated_shape(call)?, Type::F32)
}

fn normal_like(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    gaussian(call, x.shape().to_vec(), x.dtype())
}

fn gaussian(call: &Call<'_>, shape: Vec<usize>, dtype: Type) -> Result<Vec<Value>> {
    let (mean, scale) = (f64::from(call.float("mean", 0.0)?), f64::from(call.float("scale", 1.0)?));
    let dtype = call.stated_type("dtype")?.unwrap_or(dtype);
    drawn(call, shape, dtype, |_, random| mean + scale * random.normal())
}

fn uniform(call: &Call<'_>) -> Result<Vec<Value>> {
    between(call, stated_shape(call)?, Type::F32)
}

fn uniform_like(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    between(call, x.shape().to_vec(), x.dtype())
}

fn between(call: &Call<'_>, shape: Vec<usize>, dtype: Type) -> Result<Vec<Value>> {
    let (low, high) = (f64::from(call.float("low", 0.0)?), f64::from(call.float("high", 1.0)?));
    let dtype = call.stated_type("dtype")?.unwrap_or(dtype);
    drawn(call, shape, dtype, |_, random| low + (high - low) * random.uniform())
}

fn bernoulli(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let dtype = call.stated_type("dtype")?.unwrap_or(x.dtype());
    let chances = x.numbers()?;
    drawn(call, x.shape().to_vec(), dtype, |i, random| f64::from(random.uniform() < chances[i]))
}

fn multinomial(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let samples = call.size("sample_size", 1)?;
    let &[batch, classes] = x.shape() else { return Err(call.unfit(0, "[batch, classes]")) };
    let dtype = call.stated_type("dtype")?.unwrap_or(Type::I32);
    let logs = x.numbers()?;
    drawn(call, vec![batch, samples], dtype, |i, random| {
        let row = &logs[i / samples * classes..][..classes];
        let max = row.iter().fold(f64::NEG_INFINITY, |max, x| max.max(*x));
        let weights: Vec<f64> = row.iter().map(|x| libm::exp(x - max)).collect();
        let mut left = random.uniform() * weights.iter().sum::<f64>();
        let class = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        class.unwrap_or(classes.saturating_sub(1)) as f64
    })
}
