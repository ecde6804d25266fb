//! Attention as exporters for ONNX Runtime emit it: com.microsoft.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>

use super::attention::{Heads, Rotary, Visible, by_heads, side_by_side, summed};
use super::quantized::weighed;
use super::slice::{joined_along, part, pieces};
use super::{Operator, one};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Real as _};
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number as _, with_real};
use crate::run::graph::product::View;
use crate::run::graph::value::Value;

const DOMAIN: &str = "com.microsoft";

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    Operator { domain: DOMAIN, name: "Attention", since: 1, compute: attention },
    Operator { domain: DOMAIN, name: "MultiHeadAttention", since: 1, compute: multi_head_attention },
    Operator { domain: DOMAIN, name: "QAttention", since: 1, compute: quantized_attention },
    Operator { domain: DOMAIN, name: "RotaryEmbedding", since: 1, compute: rotary_embedding },
];

/// Queries, keys and values, which may come as one input.
pub(super) fn unpacked(call: &Call<'_>, heads: usize, kv: usize) -> Result<[Array; 3]> {
    let q = call.tensor(0)?;
    let flat = match (call.optional(1)?, call.optional(2)?) {
        (Some(k), Some(v)) => [q.clone(), k.clone(), v.clone()],
        _ => {
            let width = q.shape().last().copied().unwrap_or(0);
            let all = heads.saturating_add(kv.saturating_mul(2));
            if q.rank() != 3 || all == 0 || !width.is_multiple_of(all) {
                return Err(call.unfit(0, format!("{all} heads side by side")));
            }
            let size = width / all;
            let mut parts = pieces(q, 2, &[heads * size, kv * size, kv * size])?.into_iter();
            let mut next = || parts.next().ok_or_else(|| Error::bug("a piece is missing"));
            [next()?, next()?, next()?]
        }
    };
    let [q, k, v] = &flat;
    Ok([by_heads(q, heads)?, by_heads(k, kv)?, by_heads(v, kv)?])
}

/// What was, joined with what is new, along the length.
fn grown(call: &Call<'_>, past: usize, new: &Array, kept: usize) -> Result<Array> {
    match call.optional(past)? {
        Some(old) if old.rank() == 4 && kept > 0 => {
            let old = super::slice::part(old, 2, 0, kept)?;
            joined_along(call, &[&old, new], 2).map_err(|error| call.input_error(past, error))
        }
        _ => Ok(new.clone()),
    }
}

/// The inputs that say what is seen, by their places.
struct Beside {
    mask: usize,
    bias: usize,
}

/// Attention of whole heads.
struct Parts {
    q: Array,
    k: Array,
    v: Array,
    /// Keys that were there before.
    past: usize,
}

impl Parts {
    /// What is attended to, heads side by side.
    fn attended(&self, call: &Call<'_>, beside: &Beside) -> Result<Value> {
        let (q, k) = (&self.q, &self.k);
        let (&[batch, _, queries, size], &[_, _, keys, _]) = (q.shape(), k.shape()) else {
            return Err(call.unfit(0, "three dimensions"));
        };
        let hidden = match call.optional(beside.mask)? {
            None => None,
            Some(mask) => Some(key_mask(call, beside.mask, mask, [batch, queries, keys])?),
        };
        let causal = match call.flag("unidirectional", false)? {
            true => {
                let offsets = vec![self.past as i64];
                let visible = Visible { causal: true, window: [-1, -1], offsets, lengths: None };
                Some(visible.bias(batch, queries, keys)?)
            }
            false => None,
        };
        let bias = summed(hidden, call.optional(beside.bias)?.cloned(), q.dtype())?;
        let bias = summed(bias, causal, q.dtype())?;
        let parts = Heads {
            q,
            k,
            v: &self.v,
            bias: bias.as_ref(),
            scale: scale(call, size)?,
            cap: 0.0,
            sinks: None,
        };
        let (out, _) = parts.attend(call, None)?;
        Ok(side_by_side(&out)?.into())
    }
}

/// What scores are multiplied with.
pub(super) fn scale(call: &Call<'_>, size: usize) -> Result<f64> {
    let stated = call.float("scale", 0.0)?;
    Ok(if stated == 0.0 { 1.0 / (size as f64).sqrt() } else { stated.into() })
}

/// Refuses what only other processors compute.
fn refuse(call: &Call<'_>, flags: &[&str], inputs: &[usize]) -> Result<()> {
    for name in flags {
        if call.flag(name, false)? {
            return Err(Error::unsupported(format!("attribute {name}: expected 0")));
        }
    }
    match inputs.iter().find(|index| call.value(**index).is_some()) {
        Some(index) => Err(call.unfit(*index, "nothing, as it is for buffers that are shared")),
        None => Ok(()),
    }
}

/// Queries, keys and values of one input, which a matrix makes of it.
fn attention(call: &Call<'_>) -> Result<Vec<Value>> {
    refuse(call, &["do_rotary", "past_present_share_buffer"], &[6])?;
    let (x, weights) = (call.tensor(0)?, call.tensor(1)?);
    let (&[batch, length, depth], &[rows, width]) = (x.shape(), weights.shape()) else {
        return Err(call.unfit(0, "three dimensions, and a matrix of weights"));
    };
    if rows != depth {
        return Err(call.unfit(1, format!("{depth} rows")));
    }
    let total = call.room(&[batch, length, width])?;
    let made = with_real!(x.dtype(), R => {
        let (x, weights) = (x.reals::<R>()?, weights.reals::<R>()?);
        let mut made = vec![R::ZERO; total];
        let rows = View::rows(&x, batch * length, depth);
        R::product(rows, View::rows(&weights, depth, width), &mut made);
        Array::rounded(call.dtype(0)?, vec![batch, length, width], made)
    })?;
    let made = match call.optional(2)? {
        Some(bias) if bias.shape() == [width] => plus(&made, bias)?,
        Some(_) => return Err(call.unfit(2, format!("{width} numbers"))),
        None => made,
    };
    of_one(call, &made, 4, &Beside { mask: 3, bias: 5 })
}

/// The same of codes, whose product is exact.
fn quantized_attention(call: &Call<'_>) -> Result<Vec<Value>> {
    refuse(call, &["do_rotary"], &[])?;
    let made = weighed(call, [0, 1], [3, 4], [6, 7], 2)?;
    if made.rank() != 3 {
        return Err(call.unfit(0, "three dimensions"));
    }
    of_one(call, &made, 8, &Beside { mask: 5, bias: usize::MAX })
}

/// Attention of queries, keys and values side by side, with what was.
fn of_one(call: &Call<'_>, made: &Array, past: usize, beside: &Beside) -> Result<Vec<Value>> {
    let heads = call.size("num_heads", 0)?;
    let width = made.shape()[2];
    let sizes = match call.list("qkv_hidden_sizes")? {
        Some(sizes) if !sizes.is_empty() => super::shape::sizes(sizes)?,
        _ => vec![width / 3; 3],
    };
    let parts = pieces(made, 2, &sizes).map_err(|error| call.input_error(1, error))?;
    let [q, k, v] = &parts[..] else {
        return Err(Error::malformed("attribute qkv_hidden_sizes: expected three sizes"));
    };
    let (q, mut k, mut v) = (by_heads(q, heads)?, by_heads(k, heads)?, by_heads(v, heads)?);
    let mut kept = 0;
    if let Some(past_input) = call.optional(past)? {
        let &[2, batch, _, length, size] = past_input.shape() else {
            return Err(call.unfit(past, "keys and values of five dimensions"));
        };
        kept = length;
        for (index, new) in [&mut k, &mut v].into_iter().enumerate() {
            let old = part(past_input, 0, index, 1)?.reshaped(vec![batch, heads, length, size])?;
            *new = joined_along(call, &[&old, new], 2)
                .map_err(|error| call.input_error(past, error))?;
        }
    }
    let parts = Parts { q, k, v, past: kept };
    let out = parts.attended(call, beside)?;
    if !call.wants(1) {
        return Ok(vec![out]);
    }
    let all = |x: &Array| x.reshaped([&[1], x.shape()].concat());
    let present = joined_along(call, &[&all(&parts.k)?, &all(&parts.v)?], 0)?;
    Ok(vec![out, present.into()])
}

fn multi_head_attention(call: &Call<'_>) -> Result<Vec<Value>> {
    refuse(call, &[], &[8, 9])?;
    let heads = call.size("num_heads", 0)?;
    let [mut q, mut k, mut v] = unpacked(call, heads, heads)?;
    if let Some(bias) = call.optional(3)? {
        let widths = [&q, &k, &v].map(|x| x.shape()[1] * x.shape()[3]);
        let bias = pieces(bias, 0, &widths).map_err(|error| call.input_error(3, error))?;
        for (x, bias) in [&mut q, &mut k, &mut v].into_iter().zip(&bias) {
            *x = by_heads(&plus(&side_by_side(x)?, bias)?, heads)?;
        }
    }
    let past = call.optional(6)?.map_or(0, |past| past.shape().get(2).copied().unwrap_or(0));
    let (k, v) = (grown(call, 6, &k, past)?, grown(call, 7, &v, past)?);
    let parts = Parts { q, k, v, past };
    let out = parts.attended(call, &Beside { mask: 4, bias: 5 })?;
    Ok(vec![out, parts.k.into(), parts.v.into()])
}

/// Each row plus another.
fn plus(x: &Array, row: &Array) -> Result<Array> {
    with_real!(x.dtype(), R => {
        let (values, row) = (x.reals::<R>()?, row.reals::<R>()?);
        let sums = values.iter().zip(row.iter().cycle()).map(|(a, b)| *a + *b).collect::<Vec<R>>();
        Array::rounded(x.dtype(), x.shape().to_vec(), sums)
    })
}

/// A mask of keys, or where they end and begin, as numbers that are added.
fn key_mask(
    call: &Call<'_>,
    index: usize,
    mask: &Array,
    [batch, queries, keys]: [usize; 3],
) -> Result<Array> {
    let values = mask.ints().map_err(|error| call.input_error(index, error))?;
    let filter = f64::from(call.float("mask_filter_value", -10000.0)?);
    let seen = |yes: bool| if yes { 0.0 } else { filter };
    let shape = match *mask.shape() {
        // Where the keys of each of the batch end, and maybe where they begin.
        [count] if count == batch || count == 2 * batch => {
            let made = (0..batch).flat_map(|image| {
                let (end, start) = (values[image], values.get(batch + image).copied());
                let within = start.unwrap_or(0)..end;
                (0..keys as i64).map(move |key| seen(within.contains(&key)))
            });
            return Array::of(vec![batch, 1, 1, keys], made.collect());
        }
        [a, b] if a == batch && b == keys => vec![batch, 1, 1, keys],
        [a, b, c] if [a, b, c] == [batch, queries, keys] => vec![batch, 1, queries, keys],
        _ => return Err(call.unfit(index, format!("[{batch}, {keys}]"))),
    };
    Array::of(shape, values.into_iter().map(|x| seen(x != 0)).collect())
}

fn rotary_embedding(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let cos = call.tensor(2)?;
    let half = cos.shape().last().copied().unwrap_or(0);
    let flat = x.rank() == 3;
    let heads = match (call.size("num_heads", 0)?, x.shape().last().copied().unwrap_or(0)) {
        (0, width) => width.checked_div(2 * half).unwrap_or(0),
        (heads, _) => heads,
    };
    let by_head = by_heads(x, heads)?;
    let positions = call.ints(1)?;
    let rotary = Rotary {
        cos,
        sin: call.tensor(3)?,
        interleaved: call.flag("interleaved", false)?,
        size: call.size("rotary_embedding_dim", 0)?,
    };
    let made = rotary.turned(&by_head, Some(&positions))?;
    one(if flat { side_by_side(&made)? } else { made })
}
