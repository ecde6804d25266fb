//! Attention without a softmax, and its convolution: states that are carried from call to call.

use super::attention::{by_heads, side_by_side};
use super::{Operator, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::call::Call;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("LinearAttention", 27, linear_attention),
    onnx("CausalConvWithState", 27, causal_conv),
];

/// Gates of the recurrence, `[batch, heads or 1, length, size or 1]`.
struct Gate {
    values: Vec<f64>,
    shape: [usize; 4],
}

impl Gate {
    fn of(call: &Call<'_>, index: usize, heads: &[usize]) -> Result<Option<Self>> {
        let Some(x) = call.optional(index)? else { return Ok(None) };
        let width = *x.shape().last().ok_or_else(|| call.unfit(index, "three dimensions"))?;
        let heads = heads.iter().copied().find(|heads| *heads > 0 && width.is_multiple_of(*heads));
        let heads = heads.ok_or_else(|| call.unfit(index, "a number for each head"))?;
        let x = by_heads(x, heads).map_err(|error| call.input_error(index, error))?;
        let &[a, b, c, d] = x.shape() else { return Err(call.unfit(index, "three dimensions")) };
        Ok(Some(Self { values: x.numbers()?, shape: [a, b, c, d] }))
    }

    fn at(&self, batch: usize, head: usize, step: usize, i: usize) -> f64 {
        let [_, heads, length, size] = self.shape;
        let head = if heads == 1 { 0 } else { head };
        let i = if size == 1 { 0 } else { i };
        self.values[((batch * heads + head) * length + step) * size + i]
    }

    fn fits(&self, batch: usize, heads: usize, length: usize, size: usize) -> bool {
        let [b, h, l, s] = self.shape;
        b == batch && (h == heads || h == 1) && l == length && (s == size || s == 1)
    }
}

/// What a state loses at a step, and what of a value is new to it.
struct Gates {
    decay: Option<Gate>,
    beta: Option<Gate>,
}

impl Gates {
    /// One step of a head's state, a row for each element of a key.
    fn remember(&self, state: &mut [f64], key: &[f64], mut value: Vec<f64>, at: [usize; 3]) {
        let ([image, head, step], width) = (at, value.len().max(1));
        if let Some(decay) = &self.decay {
            for (i, row) in state.chunks_exact_mut(width).enumerate() {
                let factor = libm::exp(decay.at(image, head, step, i));
                row.iter_mut().for_each(|x| *x *= factor);
            }
        }
        if let Some(beta) = &self.beta {
            let held = product(key, state, width);
            let factor = beta.at(image, head, step, 0);
            value.iter_mut().zip(held).for_each(|(x, held)| *x = factor * (*x - held));
        }
        for (key, row) in key.iter().zip(state.chunks_exact_mut(width)) {
            row.iter_mut().zip(&value).for_each(|(x, value)| *x += key * value);
        }
    }
}

/// `S ← S·e^g + k ⊗ v`, `o = q·S`, where v may first lose what S already holds for k:
/// <https://arxiv.org/abs/2412.06464>.
fn linear_attention(call: &Call<'_>) -> Result<Vec<Value>> {
    let (heads, kv) = (call.size("q_num_heads", 0)?, call.size("kv_num_heads", 0)?);
    let rule = call.text("update_rule", "gated_delta")?;
    let (gated, delta) = match rule {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(Error::malformed(format!("attribute update_rule: found '{other}'"))),
    };
    let q = by_heads(call.tensor(0)?, heads)?;
    let (k, v) = (by_heads(call.tensor(1)?, kv)?, by_heads(call.tensor(2)?, kv)?);
    let (&[batch, _, length, size], &[.., value_size]) = (q.shape(), v.shape()) else {
        return Err(call.unfit(0, "three dimensions"));
    };
    let same =
        k.shape() == [batch, kv, length, size] && v.shape() == [batch, kv, length, value_size];
    if !same || kv == 0 || !heads.is_multiple_of(kv) {
        return Err(call.unfit(1, format!("{kv} heads for {heads} of the queries")));
    }
    let decay = Gate::of(call, 4, &[kv])?.filter(|_| gated);
    let beta = Gate::of(call, 5, &[kv, 1])?.filter(|_| delta);
    let fits = decay.as_ref().is_none_or(|gate| gate.fits(batch, kv, length, size))
        && beta.as_ref().is_none_or(|gate| gate.fits(batch, kv, length, 1));
    if decay.is_some() != gated || beta.is_some() != delta || !fits {
        return Err(call.unfit(4, format!("the gates of the rule {rule}")));
    }
    let scale = match call.float("scale", 0.0)? {
        0.0 => 1.0 / (size as f64).sqrt(),
        scale => scale.into(),
    };
    let state_shape = vec![batch, kv, size, value_size];
    call.room(&state_shape)?;
    let (mut state, state_type) = match call.optional(3)? {
        Some(past) if past.shape() == state_shape => (past.numbers()?, past.dtype()),
        Some(_) => return Err(call.unfit(3, format!("{state_shape:?}"))),
        None => (vec![0.0; batch * kv * size * value_size], q.dtype()),
    };
    let (queries, keys, values) = (q.numbers()?, k.numbers()?, v.numbers()?);
    let gates = Gates { decay, beta };
    let mut out = vec![0.0; batch * heads * length * value_size];
    for (index, state) in state.chunks_exact_mut((size * value_size).max(1)).enumerate() {
        let (image, head) = (index / kv, index % kv);
        for step in 0..length {
            let key = &keys[(index * length + step) * size..][..size];
            let value = &values[(index * length + step) * value_size..][..value_size];
            gates.remember(state, key, value.to_vec(), [image, head, step]);
            for reader in 0..heads / kv {
                let query = image * heads + head * (heads / kv) + reader;
                let made =
                    product(&queries[(query * length + step) * size..][..size], state, value_size);
                let out = &mut out[(query * length + step) * value_size..][..value_size];
                out.iter_mut().zip(made).for_each(|(out, x)| *out = scale * x);
            }
        }
    }
    let out = super::numbers(out, q.dtype())?;
    let out = side_by_side(&Array::new(vec![batch, heads, length, value_size], out)?)?;
    let state = super::numbers(state, state_type)?;
    Ok(vec![out.into(), Array::new(state_shape, state)?.into()])
}

/// A row times a matrix.
fn product(row: &[f64], matrix: &[f64], columns: usize) -> Vec<f64> {
    let mut sums = vec![0.0; columns];
    for (factor, values) in row.iter().zip(matrix.chunks_exact(columns.max(1))) {
        sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += factor * x);
    }
    sums
}

/// A convolution over time, channel by channel, that sees only what has been.
fn causal_conv(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, weights) = (call.tensor(0)?, call.tensor(1)?);
    let (&[batch, channels, length], &[rows, 1, taps]) = (x.shape(), weights.shape()) else {
        return Err(call.unfit(0, "[batch, channels, length], and weights [channels, 1, taps]"));
    };
    if rows != channels || taps == 0 {
        return Err(call.unfit(1, format!("{channels} kernels")));
    }
    let bias = call.optional(2)?.map(Array::numbers).transpose()?;
    if bias.as_ref().is_some_and(|bias| bias.len() != channels) {
        return Err(call.unfit(2, format!("{channels} numbers")));
    }
    let silu = match call.text("activation", "none")? {
        "none" => false,
        "silu" | "swish" => true,
        other => return Err(Error::malformed(format!("attribute activation: found '{other}'"))),
    };
    let kept = taps - 1;
    let past = match call.optional(3)? {
        Some(past) if past.len() == batch * channels * kept => past.numbers()?,
        Some(_) => return Err(call.unfit(3, format!("[{batch}, {channels}, {kept}]"))),
        None => vec![0.0; batch * channels * kept],
    };
    let (values, weights) = (x.numbers()?, weights.numbers()?);
    let (mut out, mut state) = (Vec::with_capacity(x.len()), Vec::with_capacity(past.len()));
    for row in 0..batch * channels {
        let mut line = past[row * kept..][..kept].to_vec();
        line.extend_from_slice(&values[row * length..][..length]);
        let kernel = &weights[row % channels * taps..][..taps];
        for start in 0..length {
            let sum: f64 = line[start..start + taps].iter().zip(kernel).map(|(x, w)| x * w).sum();
            let sum = sum + bias.as_ref().map_or(0.0, |bias| bias[row % channels]);
            out.push(if silu { sum / (1.0 + libm::exp(-sum)) } else { sum });
        }
        state.extend_from_slice(&line[length..]);
    }
    let out = Array::new(x.shape().to_vec(), super::numbers(out, x.dtype())?)?;
    let state = super::numbers(state, x.dtype())?;
    Ok(vec![out.into(), Array::new(vec![batch, channels, kept], state)?.into()])
}
