//! Attention and rotary positions: <https://arxiv.org/abs/1706.03762>.

use rayon::prelude::*;

use super::norm::{softmax_beside, softmax_row};
use super::shape::permuted;
use super::slice::joined_along;
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Real};
use crate::run::graph::broadcast;
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number, with_real};
use crate::run::graph::product::View;
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("Attention", 23, attention),
    onnx("RotaryEmbedding", 23, rotary_embedding),
    Operator { domain: "ai.onnx.preview", name: "FlexAttention", since: 1, compute: flex_attention },
];

/// A value `[batch, length, heads · size]` as `[batch, heads, length, size]`.
pub(super) fn by_heads(x: &Array, heads: usize) -> Result<Array> {
    let wrong = || {
        let found = x.shape();
        Error::malformed(format!("found shape {found:?}, expected {heads} heads side by side"))
    };
    match *x.shape() {
        [_, _, _, _] => Ok(x.clone()),
        [batch, length, width] if heads > 0 && width.is_multiple_of(heads) => {
            permuted(&x.reshaped(vec![batch, length, heads, width / heads])?, &[0, 2, 1, 3])
        }
        _ => Err(wrong()),
    }
}

/// The way back from [`by_heads`].
pub(super) fn side_by_side(x: &Array) -> Result<Array> {
    let &[batch, heads, length, size] = x.shape() else {
        return Err(Error::bug("heads without four dimensions"));
    };
    permuted(x, &[0, 2, 1, 3])?.reshaped(vec![batch, length, heads * size])
}

/// What is computed of queries, keys and values by head.
pub(super) struct Heads<'a> {
    pub(super) q: &'a Array,
    pub(super) k: &'a Array,
    pub(super) v: &'a Array,
    /// What is added to each score: `[batch, heads, queries, keys]`, row-major; may stretch.
    pub(super) bias: Option<&'a Array>,
    pub(super) scale: f64,
    /// Scores are brought softly within ± this, where it is not 0.
    pub(super) cap: f64,
    /// For each head a score that takes a share of the chances, and has no value.
    pub(super) sinks: Option<&'a [f64]>,
}

/// What goes into the scores of one head, beside queries and keys.
struct Beside<'a, R> {
    bias: Option<&'a [R]>,
    sink: Option<R>,
}

/// Which scores a node asks to see.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Raw,
    Capped,
    Biased,
    Chances,
}

/// The sizes that queries, keys and values agree on.
struct Sizes {
    batch: usize,
    heads: usize,
    shared: usize,
    queries: usize,
    keys: usize,
    size: usize,
    value_size: usize,
}

impl Heads<'_> {
    fn sizes(&self) -> Result<Sizes> {
        let shapes = (self.q.shape(), self.k.shape(), self.v.shape());
        let wrong = || Error::malformed(format!("found heads {shapes:?}, which do not fit"));
        let (&[batch, heads, queries, size], &[b, kv, keys, s], &[b2, kv2, keys2, value_size]) =
            shapes
        else {
            return Err(wrong());
        };
        let fits = batch == b && b == b2 && size == s && kv == kv2 && keys == keys2;
        if !fits || kv == 0 || !heads.is_multiple_of(kv) {
            return Err(wrong());
        }
        Ok(Sizes { batch, heads, shared: heads / kv, queries, keys, size, value_size })
    }

    /// The values attended to, and the scores as they are asked for.
    pub(super) fn attend(
        &self,
        call: &Call<'_>,
        seen: Option<Seen>,
    ) -> Result<(Array, Option<Array>)> {
        let sizes = self.sizes()?;
        call.room(&[sizes.batch, sizes.heads, sizes.queries, sizes.keys.max(sizes.value_size)])?;
        with_real!(self.q.dtype(), R => self.computed::<R>(&sizes, seen))
    }

    fn computed<R: Real>(
        &self,
        sizes: &Sizes,
        seen: Option<Seen>,
    ) -> Result<(Array, Option<Array>)> {
        let Sizes { batch, heads, shared, queries, keys, size, value_size } = *sizes;
        let (q, k, v) = (self.q.reals::<R>()?, self.k.reals::<R>()?, self.v.reals::<R>()?);
        let all = vec![batch, heads, queries, keys];
        let bias = self.bias.map(|bias| broadcast::stretched(bias, &all)).transpose()?;
        let bias = bias.as_ref().map(|bias| bias.reals::<R>()).transpose()?;
        let mut out = vec![R::ZERO; batch * heads * queries * value_size];
        let mut shown =
            vec![R::ZERO; if seen.is_some() { batch * heads * queries * keys } else { 0 }];
        let rows = queries * keys;
        let mut places: Vec<&mut [R]> = match seen {
            Some(_) => shown.chunks_mut(rows.max(1)).collect(),
            None => Vec::new(),
        };
        places.resize_with(batch * heads, || &mut []);
        let head = |(index, (out, shown)): (usize, (&mut [R], &mut &mut [R]))| {
            let group = index / shared;
            let q = View::rows(&q[index * queries * size..][..queries * size], queries, size);
            let k = View::rows(&k[group * keys * size..][..keys * size], keys, size);
            let v =
                View::rows(&v[group * keys * value_size..][..keys * value_size], keys, value_size);
            let mut scores = vec![R::ZERO; rows];
            R::product(q, k.transposed(), &mut scores);
            let bias = bias.as_ref().map(|bias| &bias[index * rows..][..rows]);
            let sink = self.sinks.map(|sinks| R::from_f64(sinks[index % heads]));
            self.weigh(&mut scores, &Beside { bias, sink }, keys, seen, shown);
            R::product(View::rows(&scores, queries, keys), v, out);
        };
        let parts = out.par_chunks_mut((queries * value_size).max(1)).zip(places.par_iter_mut());
        parts.enumerate().for_each(head);
        let dtype = self.q.dtype();
        let out = Array::rounded(dtype, vec![batch, heads, queries, value_size], out)?;
        let shown = seen.map(|_| Array::rounded(dtype, all, shown)).transpose()?;
        Ok((out, shown))
    }

    /// Scores made chances, in place; `shown` takes them as they are on the way.
    fn weigh<R: Real>(
        &self,
        scores: &mut [R],
        beside: &Beside<'_, R>,
        keys: usize,
        seen: Option<Seen>,
        shown: &mut [R],
    ) {
        let bias = beside.bias;
        let (scale, cap) = (R::from_f64(self.scale), R::from_f64(self.cap));
        scores.iter_mut().for_each(|x| *x *= scale);
        let mut show = |stage, scores: &[R]| {
            if seen == Some(stage) {
                shown.copy_from_slice(scores);
            }
        };
        show(Seen::Raw, scores);
        if self.cap > 0.0 {
            scores.iter_mut().for_each(|x| *x = (*x / cap).tanh() * cap);
        }
        show(Seen::Capped, scores);
        if let Some(bias) = bias {
            scores.iter_mut().zip(bias).for_each(|(x, bias)| *x += *bias);
        }
        show(Seen::Biased, scores);
        for (row, x) in scores.chunks_mut(keys.max(1)).enumerate() {
            let bias = bias.map(|bias| &bias[row * keys..][..keys]);
            match bias.is_some_and(|bias| bias.iter().all(|x| *x == R::LEAST)) {
                true => x.fill(R::ZERO),
                false => softmax_beside(x, beside.sink),
            }
        }
        show(Seen::Chances, scores);
    }
}

/// Which keys each query sees.
pub(super) struct Visible {
    /// Only those up to its own position.
    pub(super) causal: bool,
    /// And so many before and after it, where not negative.
    pub(super) window: [i64; 2],
    /// The position of the first query, for each of the batch or for all.
    pub(super) offsets: Vec<i64>,
    /// How many keys there are, for each of the batch, where that is stated.
    pub(super) lengths: Option<Vec<i64>>,
}

impl Visible {
    fn is_all(&self) -> bool {
        !self.causal && self.window.iter().all(|bound| *bound < 0) && self.lengths.is_none()
    }

    /// 0 or −∞ for each pair, `[batch or 1, 1, queries, keys]`.
    pub(super) fn bias(&self, batch: usize, queries: usize, keys: usize) -> Result<Array> {
        let many = self.offsets.len() > 1 || self.lengths.is_some();
        let count = if many { batch } else { 1 };
        let mut bias = Vec::with_capacity(count * queries * keys);
        for image in 0..count {
            let offset = self.offsets.get(image).or(self.offsets.first()).copied().unwrap_or(0);
            let length = self.lengths.as_ref().and_then(|lengths| lengths.get(image).copied());
            for query in 0..queries as i64 {
                let position = query.saturating_add(offset);
                for key in 0..keys as i64 {
                    let [left, right] = self.window;
                    let ahead = key.saturating_sub(position);
                    let hidden = (self.causal && ahead > 0)
                        || (left >= 0 && ahead < -left)
                        || (right >= 0 && ahead > right)
                        || length.is_some_and(|length| key >= length);
                    bias.push(if hidden { f64::NEG_INFINITY } else { 0.0 });
                }
            }
        }
        Array::of(vec![count, 1, queries, keys], bias)
    }
}

/// A mask as numbers that are added, padded to so many keys.
fn mask_bias(mask: &Array, keys: usize, dtype: Type) -> Result<Array> {
    let (have, outer) =
        mask.shape().split_last().map_or((1, 1), |(last, outer)| (*last, outer.iter().product()));
    let numbers: Vec<f64> = match mask.dtype() {
        Type::Bool => mask
            .numbers()?
            .iter()
            .map(|x| if *x != 0.0 { 0.0 } else { f64::NEG_INFINITY })
            .collect(),
        _ => mask.numbers()?,
    };
    let width = have.max(if have == 1 { 1 } else { keys });
    let mut padded = vec![f64::NEG_INFINITY; outer * width];
    for (row, padded) in
        numbers.chunks_exact(have.max(1)).zip(padded.chunks_exact_mut(width.max(1)))
    {
        padded[..have].copy_from_slice(row);
    }
    let mut shape = mask.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = width;
    }
    Array::new(shape, super::numbers(padded, dtype)?)
}

/// The sum of two biases, where there are two.
pub(super) fn summed(a: Option<Array>, b: Option<Array>, dtype: Type) -> Result<Option<Array>> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (a, b) => {
            let how = super::cast::How::default();
            return a.or(b).map(|bias| super::cast::converted(&bias, dtype, how)).transpose();
        }
    };
    let shape = broadcast::common(&[a.shape(), b.shape()])?;
    let (a, b) = (
        broadcast::stretched(&a, &shape)?.numbers()?,
        broadcast::stretched(&b, &shape)?.numbers()?,
    );
    let sums = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    Ok(Some(Array::new(shape, super::numbers(sums, dtype)?)?))
}

fn attention(call: &Call<'_>) -> Result<Vec<Value>> {
    let flat = call.tensor(0)?.rank() == 3;
    let (heads, kv_heads) = (call.size("q_num_heads", 0)?, call.size("kv_num_heads", 0)?);
    let q = by_heads(call.tensor(0)?, heads).map_err(|error| call.input_error(0, error))?;
    let mut k = by_heads(call.tensor(1)?, kv_heads).map_err(|error| call.input_error(1, error))?;
    let mut v = by_heads(call.tensor(2)?, kv_heads).map_err(|error| call.input_error(2, error))?;
    let mut past = 0;
    if let (Some(past_key), Some(past_value)) = (call.optional(4)?, call.optional(5)?) {
        past = *past_key.shape().get(2).ok_or_else(|| call.unfit(4, "four dimensions"))?;
        k = joined_along(call, &[past_key, &k], 2).map_err(|error| call.input_error(4, error))?;
        v = joined_along(call, &[past_value, &v], 2).map_err(|error| call.input_error(5, error))?;
    }
    let (&[batch, _, queries, size], &[_, _, keys, _]) = (q.shape(), k.shape()) else {
        return Err(call.unfit(0, "three or four dimensions"));
    };
    let lengths = call.optional_ints(6)?;
    let offsets = match &lengths {
        Some(lengths) if past == 0 => {
            lengths.iter().map(|length| length.saturating_sub(queries as i64)).collect()
        }
        _ => vec![past as i64],
    };
    let visible = Visible {
        causal: call.flag("is_causal", false)?,
        window: [call.int("left_window_size", -1)?, call.int("right_window_size", -1)?],
        offsets,
        lengths,
    };
    call.room(&[batch, queries, keys])?;
    let hidden = match visible.is_all() {
        true => None,
        false => Some(visible.bias(batch, queries, keys)?),
    };
    let mask = call.optional(3)?.map(|mask| mask_bias(mask, keys, q.dtype())).transpose()?;
    let bias = summed(mask, hidden, q.dtype())?;
    let parts = Heads {
        q: &q,
        k: &k,
        v: &v,
        bias: bias.as_ref(),
        scale: call.float("scale", 1.0 / (size as f32).sqrt())?.into(),
        cap: call.float("softcap", 0.0)?.into(),
        sinks: None,
    };
    let seen = match call.int("qk_matmul_output_mode", 0)? {
        _ if !call.wants(3) => None,
        0 => Some(Seen::Raw),
        1 => Some(Seen::Capped),
        2 => Some(Seen::Biased),
        _ => Some(Seen::Chances),
    };
    let (out, scores) = parts.attend(call, seen)?;
    let out = if flat { side_by_side(&out)? } else { out };
    Ok(vec![out.into(), k.into(), v.into(), scores.map_or(Value::Nothing, Into::into)])
}

/// Attention whose scores, and chances, graphs may change.
fn flex_attention(call: &Call<'_>) -> Result<Vec<Value>> {
    let (q, k, v) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let parts = Heads { q, k, v, bias: None, scale: 1.0, cap: 0.0, sinks: None };
    let sizes = parts.sizes()?;
    let Sizes { batch, heads, shared, queries, keys, size, value_size } = sizes;
    call.room(&[batch, heads, queries, keys.max(value_size)])?;
    let scale = f64::from(call.float("scale", 1.0 / (size as f32).sqrt())?);
    let dtype = q.dtype();
    with_real!(dtype, R => {
        let (q, k, v) = (q.reals::<R>()?, k.reals::<R>()?, v.reals::<R>()?);
        let mut scores = vec![R::ZERO; batch * heads * queries * keys];
        for (index, scores) in scores.chunks_exact_mut((queries * keys).max(1)).enumerate() {
            let q = View::rows(&q[index * queries * size..][..queries * size], queries, size);
            let k = View::rows(&k[index / shared * keys * size..][..keys * size], keys, size);
            R::product(q, k.transposed(), scores);
            scores.iter_mut().for_each(|x| *x *= R::from_f64(scale));
        }
        let shape = vec![batch, heads, queries, keys];
        let changed = |name: &str, values: Vec<R>| -> Result<Vec<R>> {
            if call.graph(name).is_err() {
                return Ok(values);
            }
            let given = Array::rounded(dtype, shape.clone(), values)?;
            let made = call.run_graph(call.graph(name)?, vec![Some(given.into())])?;
            let made = made.first().ok_or_else(|| Error::malformed("a graph without outputs"))?.tensor()?;
            Ok(broadcast::stretched(made, &shape)?.reals::<R>()?.into_owned())
        };
        let mut scores = changed("score_mod", scores)?;
        scores.chunks_mut(keys.max(1)).for_each(softmax_row);
        let chances = changed("prob_mod", scores)?;
        let mut out = vec![R::ZERO; batch * heads * queries * value_size];
        for (index, out) in out.chunks_exact_mut((queries * value_size).max(1)).enumerate() {
            let chances = View::rows(&chances[index * queries * keys..][..queries * keys], queries, keys);
            let v = &v[index / shared * keys * value_size..][..keys * value_size];
            R::product(chances, View::rows(v, keys, value_size), out);
        }
        one(Array::rounded(dtype, vec![batch, heads, queries, value_size], out)?)
    })
}

fn rotary_embedding(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let flat = x.rank() == 3;
    let by_head = by_heads(x, call.size("num_heads", 0)?)?;
    let positions = call.optional_ints(3)?;
    let rotary = Rotary {
        cos: call.tensor(1)?,
        sin: call.tensor(2)?,
        interleaved: call.flag("interleaved", false)?,
        size: call.size("rotary_embedding_dim", 0)?,
    };
    let made = rotary.turned(&by_head, positions.as_deref())?;
    one(if flat { side_by_side(&made)? } else { made })
}

/// The cosines and sines of positions, and which numbers they turn.
pub(super) struct Rotary<'a> {
    pub(super) cos: &'a Array,
    pub(super) sin: &'a Array,
    /// Neighbours are turned, not the two halves.
    pub(super) interleaved: bool,
    /// How many numbers of each head are turned; 0 for all.
    pub(super) size: usize,
}

impl Rotary<'_> {
    /// `[batch, heads, length, size]`, turned: <https://arxiv.org/abs/2104.09864>. Positions are
    /// rows of the caches; without them the caches have a row for each of the batch's tokens.
    pub(super) fn turned(&self, x: &Array, positions: Option<&[i64]>) -> Result<Array> {
        let &[batch, heads, length, size] = x.shape() else {
            return Err(Error::bug("heads without four dimensions"));
        };
        let turned = if self.size == 0 { size } else { self.size };
        let half = turned / 2;
        let (cos, sin) = (self.cos.numbers()?, self.sin.numbers()?);
        let rows = cos.len().checked_div(half).unwrap_or(0);
        let tokens = batch * length;
        let row = |token: usize| -> Result<usize> {
            match positions {
                Some(positions) if positions.len() == tokens => {
                    super::gather::index_of(positions[token], rows)
                }
                Some([first]) => {
                    super::gather::index_of(first.saturating_add((token % length) as i64), rows)
                }
                None if rows == tokens => Ok(token),
                _ => {
                    let found = positions.map_or(rows, <[i64]>::len);
                    let text = format!("found {found} positions, expected {tokens}");
                    Err(Error::malformed(text))
                }
            }
        };
        if turned > size || self.cos.shape().last() != Some(&half) || sin.len() != cos.len() {
            let text = format!("found caches {:?}, expected rows of {half}", self.cos.shape());
            return Err(Error::malformed(text));
        }
        let starts = (0..tokens).map(|token| Ok(row(token)? * half)).collect::<Result<Vec<_>>>()?;
        with_real!(x.dtype(), R => {
            let mut out = x.reals::<R>()?.into_owned();
            for (index, out) in out.chunks_exact_mut(size.max(1)).enumerate() {
                let token = index / length / heads * length + index % length;
                let (cos, sin) = (&cos[starts[token]..][..half], &sin[starts[token]..][..half]);
                for i in 0..half {
                    let (a, b) = if self.interleaved { (2 * i, 2 * i + 1) } else { (i, i + half) };
                    let (x, y, cos, sin) = (out[a], out[b], R::from_f64(cos[i]), R::from_f64(sin[i]));
                    out[a] = cos * x - sin * y;
                    out[b] = sin * x + cos * y;
                }
            }
            Array::rounded(x.dtype(), x.shape().to_vec(), out)
        })
    }
}
