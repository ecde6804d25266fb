//! Windows of a signal: Hann, Hamming, Blackman.

use super::{Operator, one, onnx};
use crate::ir::Result;
use crate::run::graph::array::Array;
use crate::run::graph::call::Call;
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("HannWindow", 17, hann),
    onnx("HammingWindow", 17, hamming),
    onnx("BlackmanWindow", 17, blackman),
];

fn hann(call: &Call<'_>) -> Result<Vec<Value>> {
    cosines(call, [0.5, 0.5, 0.0])
}

fn hamming(call: &Call<'_>) -> Result<Vec<Value>> {
    // The standard's fractions, which are not the usual 0.54 and 0.46.
    cosines(call, [25.0 / 46.0, 21.0 / 46.0, 0.0])
}

fn blackman(call: &Call<'_>) -> Result<Vec<Value>> {
    cosines(call, [0.42, 0.5, 0.08])
}

/// `a0 − a1·cos(x) + a2·cos(2x)` over one period, or over one less than a period's samples.
fn cosines(call: &Call<'_>, factors: [f64; 3]) -> Result<Vec<Value>> {
    let size = usize::try_from(call.one_int(0)?).map_err(|_| call.unfit(0, "a size"))?;
    call.room(&[size])?;
    let periodic = call.flag("periodic", true)?;
    let dtype = call.stated_type("output_datatype")?.unwrap_or(Type::F32);
    let period = if periodic { size } else { size.saturating_sub(1) }.max(1) as f64;
    let value = |i: usize| {
        let x = 2.0 * std::f64::consts::PI * i as f64 / period;
        factors[0] - factors[1] * libm::cos(x) + factors[2] * libm::cos(2.0 * x)
    };
    let data = super::numbers((0..size).map(value).collect(), dtype)?;
    one(Array::new(vec![size], data)?)
}
