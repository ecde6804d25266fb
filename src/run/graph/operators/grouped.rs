//! GroupQueryAttention of ONNX Runtime: several heads of queries share one of keys, and each of the
//! batch has a length of its own.
//!
//! ```text
//!  past   k0 k1 k2 ·  ·        what was, as many as its own length says
//!  new             k3          is put where that ends
//!  now    k0 k1 k2 k3 ·        zeros are left
//! ```

use super::Operator;
use super::attention::{Heads, Rotary, Visible, side_by_side, summed};
use super::microsoft::{scale, unpacked};
use super::slice::{joined_along, part};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::broadcast;
use crate::run::graph::call::Call;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    Operator { domain: "com.microsoft", name: "GroupQueryAttention", since: 1, compute: group_query_attention },
];

/// How long each of the batch is.
struct Lengths {
    /// Keys, the new ones among them.
    all: Vec<usize>,
    /// Keys that were there before.
    past: Vec<usize>,
    /// Whether nothing was: then what is shorter than the longest ends in padding.
    first: bool,
    /// Keys that there is room for.
    room: usize,
}

impl Lengths {
    /// Input 5 has the number of keys less one, input 6 the greatest number.
    fn stated(call: &Call<'_>, batch: usize, queries: usize) -> Result<Self> {
        let all = call.ints(5)?.into_iter().map(|last| usize::try_from(last.checked_add(1)?).ok());
        let all: Option<Vec<usize>> = all.collect();
        let all = all.filter(|all| all.len() == batch);
        let all = all.ok_or_else(|| call.unfit(5, format!("{batch} lengths")))?;
        let total = usize::try_from(call.one_int(6)?).unwrap_or(0);
        let buffer = call.optional(3)?.and_then(|past| past.shape().get(2).copied()).unwrap_or(0);
        let first = total <= queries;
        let past: Option<Vec<usize>> = match first {
            true => Some(vec![0; batch]),
            false => all.iter().map(|all| all.checked_sub(queries)).collect(),
        };
        let past = past.filter(|past| past.iter().all(|past| *past <= buffer));
        let past = past.ok_or_else(|| call.unfit(5, format!("lengths of at least {queries}")))?;
        if all.iter().any(|all| *all > total) {
            return Err(call.unfit(5, format!("lengths of at most {total}")));
        }
        Ok(Self { all, past, first, room: total.max(buffer).max(queries) })
    }

    /// Where each of the new tokens stands.
    fn positions(&self, queries: usize) -> Vec<i64> {
        let of = |past: &usize| (*past..past + queries).map(|at| at as i64);
        self.past.iter().flat_map(of).collect()
    }

    /// What was, then what is new, then zeros.
    fn grown(&self, call: &Call<'_>, index: usize, new: &Array) -> Result<Array> {
        let &[batch, heads, count, size] = new.shape() else {
            return Err(Error::bug("heads without four dimensions"));
        };
        call.room(&[batch, heads, self.room, size])?;
        let zero = super::shape::zero(new.dtype())?.reshaped(vec![1; 4])?;
        let old = call.optional(index)?;
        let mut images = Vec::with_capacity(batch);
        for (image, past) in self.past.iter().enumerate() {
            let shape = [1, heads, self.room.saturating_sub(past + count), size];
            let own = part(new, 0, image, 1)?;
            let rest = broadcast::stretched(&zero, &shape)?;
            images.push(match old.filter(|old| old.rank() == 4 && *past > 0) {
                Some(old) => {
                    let old = part(&part(old, 0, image, 1)?, 2, 0, *past)?;
                    joined_along(call, &[&old, &own, &rest], 2)
                }
                None => joined_along(call, &[&own, &rest], 2),
            }?);
        }
        joined_along(call, &images.iter().collect::<Vec<_>>(), 0)
    }
}

/// Refuses what is not computed: caches in narrow types, and scores that are asked for.
fn refuse(call: &Call<'_>) -> Result<()> {
    for name in ["k_quant_type", "v_quant_type"] {
        if call.text(name, "NONE")? != "NONE" {
            return Err(Error::unsupported(format!("attribute {name}: expected NONE")));
        }
    }
    match call.wants(3) {
        true => Err(Error::unsupported("the scores as output 3")),
        false => Ok(()),
    }
}

fn group_query_attention(call: &Call<'_>) -> Result<Vec<Value>> {
    refuse(call)?;
    let (heads, kv) = (call.size("num_heads", 0)?, call.size("kv_num_heads", 0)?);
    let [mut q, mut k, v] = unpacked(call, heads, kv)?;
    let &[batch, _, queries, size] = q.shape() else {
        return Err(call.unfit(0, "three dimensions"));
    };
    let lengths = Lengths::stated(call, batch, queries)?;
    if call.flag("do_rotary", false)? {
        let rotary = Rotary {
            cos: call.tensor(7)?,
            sin: call.tensor(8)?,
            interleaved: call.flag("rotary_interleaved", false)?,
            size: 2 * call.tensor(7)?.shape().last().copied().unwrap_or(0),
        };
        let positions = call.optional_ints(9)?.unwrap_or_else(|| lengths.positions(queries));
        q = rotary.turned(&q, Some(&positions))?;
        k = rotary.turned(&k, Some(&positions))?;
    }
    let (k, v) = (lengths.grown(call, 3, &k)?, lengths.grown(call, 4, &v)?);
    let keys = lengths.room;
    let window = call.int("local_window_size", -1)?;
    let visible = Visible {
        causal: true,
        window: [if window > 0 { window - 1 } else { -1 }, -1],
        offsets: lengths.past.iter().map(|past| *past as i64).collect(),
        lengths: lengths.first.then(|| lengths.all.iter().map(|all| *all as i64).collect()),
    };
    call.room(&[batch, queries, keys])?;
    let bias = call.optional(10)?.cloned();
    let bias = summed(Some(visible.bias(batch, queries, keys)?), bias, q.dtype())?;
    let sinks = sinks(call, heads)?;
    let parts = Heads {
        q: &q,
        k: &k,
        v: &v,
        bias: bias.as_ref(),
        scale: scale(call, size)?,
        cap: call.float("softcap", 0.0)?.into(),
        sinks: sinks.as_deref(),
    };
    let (out, _) = parts.attend(call, None)?;
    Ok(vec![side_by_side(&out)?.into(), k.into(), v.into()])
}

/// Scores without a value: 0 for each head, or what an input says.
fn sinks(call: &Call<'_>, heads: usize) -> Result<Option<Vec<f64>>> {
    match call.optional(11)? {
        Some(sinks) if sinks.len() == heads => sinks.numbers().map(Some),
        Some(_) => Err(call.unfit(11, format!("{heads} numbers"))),
        None => Ok(call.flag("smooth_softmax", false)?.then(|| vec![0.0; heads])),
    }
}
