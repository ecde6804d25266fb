//! What exporters for ONNX Runtime emit: com.microsoft.
//!
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md>

use super::attention::{Heads, Rotary, Visible, by_heads, side_by_side, summed};
use super::slice::{joined_along, pieces};
use super::{Operator, one};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Real};
use crate::run::graph::call::Call;
use crate::run::graph::number::with_real;
use crate::run::graph::product::View;
use crate::run::graph::value::Value;

const DOMAIN: &str = "com.microsoft";

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    Operator { domain: DOMAIN, name: "MatMulNBits", since: 1, compute: matmul_bits },
    Operator { domain: DOMAIN, name: "GroupQueryAttention", since: 1, compute: group_query_attention },
    Operator { domain: DOMAIN, name: "MultiHeadAttention", since: 1, compute: multi_head_attention },
    Operator { domain: DOMAIN, name: "RotaryEmbedding", since: 1, compute: rotary_embedding },
];

/// Codes of 2, 4 or 8 bits, the first in the lowest bits of a byte.
fn code(bytes: &[u8], index: usize, bits: usize) -> u8 {
    let per_byte = 8 / bits;
    let byte = bytes.get(index / per_byte).copied().unwrap_or(0);
    let mask = ((1u16 << bits) - 1) as u8;
    (byte >> (index % per_byte * bits)) & mask
}

/// The weights `[n, k]` of blocks with a scale, and maybe a zero point, each.
fn blocks(call: &Call<'_>, k: usize, n: usize) -> Result<Vec<f32>> {
    let (bits, block) = (call.size("bits", 4)?, call.size("block_size", 32)?);
    if !matches!(bits, 2 | 4 | 8) || block == 0 {
        return Err(Error::unsupported(format!("weights of {bits} bits in blocks of {block}")));
    }
    let (count, packed) = (k.div_ceil(block), (block * bits).div_ceil(8));
    let codes = call.tensor(1)?;
    let scales = call.tensor(2)?;
    let codes = codes.slice::<u8>().map_err(|error| call.input_error(1, error))?;
    if Some(codes.len()) != n.checked_mul(count).and_then(|x| x.checked_mul(packed)) {
        return Err(call.unfit(1, format!("[{n}, {count}, {packed}]")));
    }
    let scales = scales.floats()?;
    if scales.len() != n * count {
        return Err(call.unfit(2, format!("[{n}, {count}]")));
    }
    let middle = (1u32 << (bits - 1)) as f32;
    let row_zeros = (count * bits).div_ceil(8);
    let zeros = call.optional(3)?;
    let fits = |zeros: &&Array| {
        zeros.len() == n * if zeros.slice::<u8>().is_ok() { row_zeros } else { count }
    };
    if zeros.is_some_and(|zeros| !fits(&zeros)) {
        return Err(call.unfit(3, format!("a zero point for each of {n} · {count} blocks")));
    }
    let zero = |row: usize, at: usize| match zeros.map(|zeros| (zeros.slice::<u8>(), zeros)) {
        None => middle,
        Some((Ok(packed), _)) => f32::from(code(&packed[row * row_zeros..][..row_zeros], at, bits)),
        Some((Err(_), zeros)) => zeros.floats().map_or(middle, |zeros| zeros[row * count + at]),
    };
    let mut weights = Vec::with_capacity(n * k);
    for row in 0..n {
        for at in 0..count {
            let (scale, zero) = (scales[row * count + at], zero(row, at));
            let bytes = &codes[(row * count + at) * packed..][..packed];
            let len = block.min(k - at * block);
            weights.extend((0..len).map(|i| (f32::from(code(bytes, i, bits)) - zero) * scale));
        }
    }
    Ok(weights)
}

fn matmul_bits(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (k, n) = (call.size("K", 0)?, call.size("N", 0)?);
    let (last, outer) =
        x.shape().split_last().ok_or_else(|| call.unfit(0, "one dimension or more"))?;
    if *last != k {
        return Err(call.unfit(0, format!("rows of {k}")));
    }
    call.room(&[n, k])?;
    let shape = [outer, &[n]].concat();
    let total = call.room(&shape)?;
    let (mut weights, order) = (blocks(call, k, n)?, call.optional(4)?);
    if let Some(order) = order.filter(|order| !order.is_empty()) {
        weights = reordered(call, &weights, &order.ints()?, k, n)?;
    }
    let values = x.floats()?;
    let mut out = vec![0f32; total];
    let rows = values.len().checked_div(k).unwrap_or(0);
    f32::product(View::rows(&values, rows, k), View::rows(&weights, n, k).transposed(), &mut out);
    if let Some(bias) = call.optional(5)? {
        let bias = bias.floats()?;
        if bias.len() != n {
            return Err(call.unfit(5, format!("{n} numbers")));
        }
        out.iter_mut().zip(bias.iter().cycle()).for_each(|(x, bias)| *x += bias);
    }
    one(Array::rounded(x.dtype(), shape, out)?)
}

/// Groups that are not runs: each column names the group whose scale it has. Such weights were
/// decoded as if groups were runs, which is right only where the order says so.
fn reordered(
    call: &Call<'_>,
    weights: &[f32],
    order: &[i64],
    k: usize,
    n: usize,
) -> Result<Vec<f32>> {
    let block = call.size("block_size", 32)?;
    let in_runs = order.iter().enumerate().all(|(i, group)| *group == (i / block) as i64);
    match in_runs && weights.len() == n * k {
        true => Ok(weights.to_vec()),
        false => Err(Error::unsupported("MatMulNBits with groups that are not runs of columns")),
    }
}

/// Queries, keys and values, which may come as one input.
fn unpacked(call: &Call<'_>, heads: usize, kv: usize) -> Result<[Array; 3]> {
    let q = call.tensor(0)?;
    let flat = match (call.optional(1)?, call.optional(2)?) {
        (Some(k), Some(v)) => [q.clone(), k.clone(), v.clone()],
        _ => {
            let width = q.shape().last().copied().unwrap_or(0);
            let all = heads + 2 * kv;
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

fn group_query_attention(call: &Call<'_>) -> Result<Vec<Value>> {
    let (heads, kv) = (call.size("num_heads", 0)?, call.size("kv_num_heads", 0)?);
    let [mut q, mut k, v] = unpacked(call, heads, kv)?;
    let (&[batch, _, queries, size], &[_, _, _, value_size]) = (q.shape(), v.shape()) else {
        return Err(call.unfit(0, "three dimensions"));
    };
    // Input 5 holds, for each of the batch, the number of keys less one.
    let lengths: Vec<i64> = call.ints(5)?.iter().map(|last| last.saturating_add(1)).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let ragged = lengths.len() != batch || lengths.iter().any(|length| *length != longest);
    let kept = usize::try_from(longest).ok().and_then(|longest| longest.checked_sub(queries));
    // Padding on the right in the first step leaves positions as they are.
    let (kept, ragged_start) = match (kept, ragged) {
        (Some(kept), false) => (kept, false),
        (_, true) if call.optional(3)?.is_none_or(Array::is_empty) => (0, true),
        _ => return Err(Error::unsupported("GroupQueryAttention with sequences of unlike length")),
    };
    if call.flag("do_rotary", false)? {
        let rotary = Rotary {
            cos: call.tensor(7)?,
            sin: call.tensor(8)?,
            interleaved: call.flag("rotary_interleaved", false)?,
            size: 2 * call.tensor(7)?.shape().last().copied().unwrap_or(0),
        };
        let positions = call.optional_ints(9)?.unwrap_or_else(|| vec![kept as i64]);
        q = rotary.turned(&q, Some(&positions))?;
        k = rotary.turned(&k, Some(&positions))?;
    }
    let (k, v) = (grown(call, 3, &k, kept)?, grown(call, 4, &v, kept)?);
    let keys = k.shape()[2];
    let window = call.int("local_window_size", -1)?;
    let visible = Visible {
        causal: true,
        window: [if window > 0 { window - 1 } else { -1 }, -1],
        offsets: vec![kept as i64],
        lengths: ragged_start.then_some(lengths),
    };
    call.room(&[batch, queries, keys.max(value_size)])?;
    let mask = call.optional(10)?.cloned();
    let bias = summed(Some(visible.bias(batch, queries, keys)?), mask, q.dtype())?;
    let stated = call.float("scale", 0.0)?;
    let parts = Heads {
        q: &q,
        k: &k,
        v: &v,
        bias: bias.as_ref(),
        scale: if stated == 0.0 { 1.0 / (size as f64).sqrt() } else { stated.into() },
        cap: call.float("softcap", 0.0)?.into(),
    };
    let (out, _) = parts.attend(call, None)?;
    Ok(vec![side_by_side(&out)?.into(), k.into(), v.into()])
}

fn multi_head_attention(call: &Call<'_>) -> Result<Vec<Value>> {
    let heads = call.size("num_heads", 0)?;
    let [mut q, mut k, mut v] = unpacked(call, heads, heads)?;
    if let Some(bias) = call.optional(3)? {
        let widths = [&q, &k, &v].map(|x| heads * x.shape()[3]);
        let bias = pieces(bias, 0, &widths).map_err(|error| call.input_error(3, error))?;
        for (x, bias) in [&mut q, &mut k, &mut v].into_iter().zip(&bias) {
            *x = by_heads(&plus(&side_by_side(x)?, bias)?, heads)?;
        }
    }
    let past = call.optional(6)?.map_or(0, |past| past.shape().get(2).copied().unwrap_or(0));
    let (k, v) = (grown(call, 6, &k, past)?, grown(call, 7, &v, past)?);
    let (&[batch, _, queries, size], keys) = (q.shape(), k.shape()[2]) else {
        return Err(call.unfit(0, "three dimensions"));
    };
    let hidden = match call.optional(4)? {
        None => None,
        Some(mask) => Some(key_mask(call, mask, batch, queries, keys)?),
    };
    let causal = match call.flag("unidirectional", false)? {
        true => {
            let offsets = vec![past as i64];
            let visible = Visible { causal: true, window: [-1, -1], offsets, lengths: None };
            Some(visible.bias(batch, queries, keys)?)
        }
        false => None,
    };
    let bias = summed(hidden, call.optional(5)?.cloned(), q.dtype())?;
    let bias = summed(bias, causal, q.dtype())?;
    let stated = call.float("scale", 0.0)?;
    let parts = Heads {
        q: &q,
        k: &k,
        v: &v,
        bias: bias.as_ref(),
        scale: if stated == 0.0 { 1.0 / (size as f64).sqrt() } else { stated.into() },
        cap: 0.0,
    };
    let (out, _) = parts.attend(call, None)?;
    Ok(vec![side_by_side(&out)?.into(), k.into(), v.into()])
}

/// Each row plus another.
fn plus(x: &Array, row: &Array) -> Result<Array> {
    with_real!(x.dtype(), R => {
        let (values, row) = (x.reals::<R>()?, row.reals::<R>()?);
        let sums = values.iter().zip(row.iter().cycle()).map(|(a, b)| *a + *b).collect::<Vec<R>>();
        Array::rounded(x.dtype(), x.shape().to_vec(), sums)
    })
}

/// A mask of keys, or the number of them, as numbers that are added.
fn key_mask(
    call: &Call<'_>,
    mask: &Array,
    batch: usize,
    queries: usize,
    keys: usize,
) -> Result<Array> {
    let values = mask.ints().map_err(|error| call.input_error(4, error))?;
    let filter = f64::from(call.float("mask_filter_value", -10000.0)?);
    let seen = |yes: bool| if yes { 0.0 } else { filter };
    let shape = match *mask.shape() {
        [count] if count == batch => {
            let row = |length: &i64| {
                let length = *length;
                (0..keys as i64).map(move |key| key < length).collect::<Vec<bool>>()
            };
            let made = values.iter().flat_map(row).map(seen).collect();
            return Array::of(vec![batch, 1, 1, keys], made);
        }
        [a, b] if a == batch && b == keys => vec![batch, 1, 1, keys],
        [a, b, c] if [a, b, c] == [batch, queries, keys] => vec![batch, 1, queries, keys],
        _ => return Err(call.unfit(4, format!("[{batch}, {keys}]"))),
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
