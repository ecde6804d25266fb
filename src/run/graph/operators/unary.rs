//! Functions of one number.

use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Data, Real};
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number, with_number, with_real};
use crate::run::graph::value::Value;
use crate::run::math;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("Abs", 1, absolute),
    onnx("Neg", 1, negative),
    onnx("Sign", 9, sign),
    onnx("Acos", 7, real::<Acos>),
    onnx("Acosh", 9, real::<Acosh>),
    onnx("Asin", 7, real::<Asin>),
    onnx("Asinh", 9, real::<Asinh>),
    onnx("Atan", 7, real::<Atan>),
    onnx("Atanh", 9, real::<Atanh>),
    onnx("Ceil", 1, real::<Ceil>),
    onnx("Cos", 7, real::<Cos>),
    onnx("Cosh", 9, real::<Cosh>),
    onnx("Erf", 9, real::<Erf>),
    onnx("Exp", 1, real::<Exp>),
    onnx("Floor", 1, real::<Floor>),
    onnx("Log", 1, real::<Log>),
    onnx("Reciprocal", 1, real::<Reciprocal>),
    onnx("Round", 11, real::<Round>),
    onnx("Sigmoid", 1, real::<Sigmoid>),
    onnx("Sin", 7, real::<Sin>),
    onnx("Sinh", 9, real::<Sinh>),
    onnx("Softplus", 1, real::<Softplus>),
    onnx("Softsign", 1, real::<Softsign>),
    onnx("Sqrt", 1, real::<Sqrt>),
    onnx("Tan", 7, real::<Tan>),
    onnx("Tanh", 1, real::<Tanh>),
    onnx("HardSwish", 14, real::<HardSwish>),
    onnx("Mish", 18, real::<Mish>),
    onnx("Relu", 1, relu),
    onnx("LeakyRelu", 1, leaky_relu),
    onnx("ThresholdedRelu", 10, thresholded_relu),
    onnx("Elu", 1, elu),
    onnx("Celu", 12, celu),
    onnx("Selu", 1, selu),
    onnx("Gelu", 20, gelu),
    onnx("HardSigmoid", 1, hard_sigmoid),
    onnx("Shrink", 9, shrink),
    onnx("Swish", 24, swish),
    onnx("SwiGLU", 28, swiglu),
    onnx("Not", 1, not),
    onnx("IsNaN", 9, is_nan),
    onnx("IsInf", 10, is_inf),
    onnx("Identity", 1, identity),
    Operator { domain: "com.microsoft", name: "Gelu", since: 1, compute: gelu },
    Operator { domain: "com.microsoft", name: "FastGelu", since: 1, compute: fast_gelu },
    Operator { domain: "com.microsoft", name: "QuickGelu", since: 1, compute: quick_gelu },
    Operator { domain: "com.microsoft", name: "BiasGelu", since: 1, compute: fast_bias_gelu },
];

/// A function of a real number, in both precisions.
trait Function {
    fn single(x: f32) -> f32;
    fn double(x: f64) -> f64;
}

macro_rules! functions {
    ($($name:ident: $single:expr, $double:expr;)*) => { $(
        struct $name;
        impl Function for $name {
            #[inline(always)]
            fn single(x: f32) -> f32 {
                ($single)(x)
            }
            #[inline(always)]
            fn double(x: f64) -> f64 {
                ($double)(x)
            }
        }
    )* };
}
functions! {
    Acos: libm::acosf, libm::acos;
    Acosh: libm::acoshf, libm::acosh;
    Asin: libm::asinf, libm::asin;
    Asinh: libm::asinhf, libm::asinh;
    Atan: libm::atanf, libm::atan;
    Atanh: libm::atanhf, libm::atanh;
    Ceil: f32::ceil, f64::ceil;
    Cos: libm::cosf, libm::cos;
    Cosh: libm::coshf, libm::cosh;
    Erf: libm::erff, libm::erf;
    Exp: math::exp, libm::exp;
    Floor: f32::floor, f64::floor;
    Log: libm::logf, libm::log;
    Reciprocal: f32::recip, f64::recip;
    Round: f32::round_ties_even, f64::round_ties_even;
    Sigmoid: sigmoid::<f32>, sigmoid::<f64>;
    Sin: libm::sinf, libm::sin;
    Sinh: libm::sinhf, libm::sinh;
    Softplus: softplus::<f32>, softplus::<f64>;
    Softsign: |x: f32| x / (1.0 + x.abs()), |x: f64| x / (1.0 + x.abs());
    Sqrt: f32::sqrt, f64::sqrt;
    Tan: libm::tanf, libm::tan;
    Tanh: libm::tanhf, libm::tanh;
    HardSwish: |x: f32| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        |x: f64| x * (x / 6.0 + 0.5).clamp(0.0, 1.0);
    Mish: |x: f32| x * libm::tanhf(softplus(x)), |x: f64| x * libm::tanh(softplus(x));
}

/// 1 / (1 + e⁻ˣ).
pub(super) fn sigmoid<R: Real>(x: R) -> R {
    R::ONE / (R::ONE + (-x).exp())
}

/// ln(1 + eˣ), without overflow.
fn softplus<R: Real>(x: R) -> R {
    let large = x.greater(R::ZERO);
    large + (R::ONE + (-x.abs()).exp()).ln()
}

fn real<F: Function>(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let shape = x.shape().to_vec();
    if let Ok(values) = x.slice::<f64>() {
        return one(Array::of(shape, values.iter().map(|x| F::double(*x)).collect())?);
    }
    let values = x.reals::<f32>().map_err(|error| call.input_error(0, error))?;
    let made: Vec<f32> = values.iter().map(|x| F::single(*x)).collect();
    one(Array::rounded(x.dtype(), shape, made)?)
}

/// Each number of the first input through a function.
pub(super) fn mapped<R: Real>(call: &Call<'_>, function: impl Fn(R) -> R) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let made: Vec<R> = x.reals::<R>()?.iter().map(|x| function(*x)).collect();
    one(Array::rounded(x.dtype(), x.shape().to_vec(), made)?)
}

fn absolute(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    with_number!(x.dtype(), T => {
        let made = x.slice::<T>()?.iter().map(|x| x.magnitude()).collect();
        one(Array::of(x.shape().to_vec(), made)?)
    })
}

fn negative(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    if x.dtype().is_float() {
        return with_real!(x.dtype(), R => mapped::<R>(call, |x| -x));
    }
    with_number!(x.dtype(), T => {
        let made = x.slice::<T>()?.iter().map(|x| T::ZERO.minus(*x)).collect();
        one(Array::of(x.shape().to_vec(), made)?)
    })
}

fn sign(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    with_number!(x.dtype(), T => {
        let sign = |x: &T| match x.partial_cmp(&T::ZERO) {
            Some(std::cmp::Ordering::Less) => T::ZERO.minus(T::ONE),
            Some(std::cmp::Ordering::Greater) => T::ONE,
            _ => *x,
        };
        one(Array::of(x.shape().to_vec(), x.slice::<T>()?.iter().map(sign).collect())?)
    })
}

fn relu(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    with_number!(x.dtype(), T => {
        let made = x.slice::<T>()?.iter().map(|x| x.greater(T::ZERO)).collect();
        one(Array::of(x.shape().to_vec(), made)?)
    })
}

fn leaky_relu(call: &Call<'_>) -> Result<Vec<Value>> {
    let alpha = call.float("alpha", 0.01)?;
    with_real!(call.dtype(0)?, R => {
        let alpha = R::from_f64(alpha.into());
        mapped::<R>(call, |x| if x < R::ZERO { alpha * x } else { x })
    })
}

fn thresholded_relu(call: &Call<'_>) -> Result<Vec<Value>> {
    let alpha = call.float("alpha", 1.0)?;
    with_real!(call.dtype(0)?, R => {
        let alpha = R::from_f64(alpha.into());
        mapped::<R>(call, |x| if x > alpha { x } else { R::ZERO })
    })
}

fn elu(call: &Call<'_>) -> Result<Vec<Value>> {
    let alpha = call.float("alpha", 1.0)?;
    with_real!(call.dtype(0)?, R => {
        let alpha = R::from_f64(alpha.into());
        mapped::<R>(call, |x| if x < R::ZERO { alpha * (x.exp() - R::ONE) } else { x })
    })
}

fn celu(call: &Call<'_>) -> Result<Vec<Value>> {
    let alpha = call.float("alpha", 1.0)?;
    with_real!(call.dtype(0)?, R => {
        let alpha = R::from_f64(alpha.into());
        let low = |x: R| (alpha * ((x / alpha).exp() - R::ONE)).lesser(R::ZERO);
        mapped::<R>(call, |x| x.greater(R::ZERO) + low(x))
    })
}

fn selu(call: &Call<'_>) -> Result<Vec<Value>> {
    let (alpha, gamma) =
        if call.version() < 6 { (1.6732, 1.0507) } else { (1.673_263_2, 1.050_701) };
    let (alpha, gamma) = (call.float("alpha", alpha)?, call.float("gamma", gamma)?);
    with_real!(call.dtype(0)?, R => {
        let (alpha, gamma) = (R::from_f64(alpha.into()), R::from_f64(gamma.into()));
        let low = |x: R| alpha * x.exp() - alpha;
        mapped::<R>(call, |x| gamma * if x > R::ZERO { x } else { low(x) })
    })
}

/// x · Φ(x): <https://arxiv.org/abs/1606.08415>.
fn exact_gelu<R: Real>(x: R) -> R {
    let half = R::from_f64(0.5);
    half * x * (R::ONE + (x * R::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

/// The same by its approximation with tanh.
fn tanh_gelu<R: Real>(x: R) -> R {
    let inner = x + R::from_f64(0.044_715) * x * x * x;
    let factor = R::from_f64((2.0 / std::f64::consts::PI).sqrt());
    R::from_f64(0.5) * x * (R::ONE + (factor * inner).tanh())
}

fn gelu(call: &Call<'_>) -> Result<Vec<Value>> {
    let by_tanh = call.text("approximate", "none")? == "tanh";
    with_real!(call.dtype(0)?, R => mapped::<R>(call, |x| match by_tanh {
        true => tanh_gelu(x),
        false => exact_gelu(x),
    }))
}

fn fast_gelu(call: &Call<'_>) -> Result<Vec<Value>> {
    with_real!(call.dtype(0)?, R => biased::<R>(call, tanh_gelu))
}

fn fast_bias_gelu(call: &Call<'_>) -> Result<Vec<Value>> {
    with_real!(call.dtype(0)?, R => biased::<R>(call, exact_gelu))
}

/// The function of the sum of the first input and, where given, the second.
fn biased<R: Real>(call: &Call<'_>, function: impl Fn(R) -> R) -> Result<Vec<Value>> {
    let Some(bias) = call.optional(1)?.filter(|bias| !bias.is_empty()) else {
        return mapped::<R>(call, function);
    };
    let x = call.tensor(0)?;
    let (values, bias) = (x.reals::<R>()?, bias.reals::<R>()?);
    let sums = values.iter().zip(bias.iter().cycle()).map(|(x, bias)| function(*x + *bias));
    one(Array::rounded(x.dtype(), x.shape().to_vec(), sums.collect::<Vec<R>>())?)
}

fn quick_gelu(call: &Call<'_>) -> Result<Vec<Value>> {
    let alpha = call.float("alpha", 1.702)?;
    with_real!(call.dtype(0)?, R => {
        let alpha = R::from_f64(alpha.into());
        mapped::<R>(call, |x| x * sigmoid(alpha * x))
    })
}

fn hard_sigmoid(call: &Call<'_>) -> Result<Vec<Value>> {
    let (alpha, beta) = (call.float("alpha", 0.2)?, call.float("beta", 0.5)?);
    with_real!(call.dtype(0)?, R => {
        let (alpha, beta) = (R::from_f64(alpha.into()), R::from_f64(beta.into()));
        mapped::<R>(call, |x| (alpha * x + beta).lesser(R::ONE).greater(R::ZERO))
    })
}

fn shrink(call: &Call<'_>) -> Result<Vec<Value>> {
    let (bias, lambda) = (call.float("bias", 0.0)?.into(), f64::from(call.float("lambd", 0.5)?));
    let x = call.tensor(0)?;
    with_number!(x.dtype(), T => {
        let bias = T::from_f64(bias);
        let shrunk = |x: &T| match x.to_f64() {
            value if value < -lambda => x.plus(bias),
            value if value > lambda => x.minus(bias),
            _ => T::ZERO,
        };
        one(Array::of(x.shape().to_vec(), x.slice::<T>()?.iter().map(shrunk).collect())?)
    })
}

fn swish(call: &Call<'_>) -> Result<Vec<Value>> {
    let alpha = call.float("alpha", 1.0)?;
    with_real!(call.dtype(0)?, R => {
        let alpha = R::from_f64(alpha.into());
        mapped::<R>(call, |x| x * sigmoid(alpha * x))
    })
}

/// `swish(gate) · up`, of two inputs: <https://arxiv.org/abs/2002.05202>.
fn swiglu(call: &Call<'_>) -> Result<Vec<Value>> {
    let alpha = call.float("alpha", 1.0)?;
    let (gate, up) = (call.tensor(0)?, call.tensor(1)?);
    with_real!(gate.dtype(), R => {
        let alpha = R::from_f64(alpha.into());
        let (a, b) = (gate.reals::<R>()?, up.reals::<R>()?);
        let made = a.iter().zip(b.iter()).map(|(a, b)| *a * sigmoid(alpha * *a) * *b);
        one(Array::rounded(gate.dtype(), gate.shape().to_vec(), made.collect::<Vec<R>>())?)
    })
}

fn not(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    one(Array::of(x.shape().to_vec(), x.slice::<bool>()?.iter().map(|x| !x).collect())?)
}

fn is_nan(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let found = match x.data() {
        Data::Small(small, codes) => codes.iter().map(|x| small.decode(*x).is_nan()).collect(),
        _ => x.numbers()?.into_iter().map(f64::is_nan).collect(),
    };
    one(Array::of(x.shape().to_vec(), found)?)
}

fn is_inf(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let negative = call.flag("detect_negative", true)?;
    let positive = call.flag("detect_positive", true)?;
    let found = |x: f64| x.is_infinite() && if x < 0.0 { negative } else { positive };
    one(Array::of(x.shape().to_vec(), x.numbers()?.into_iter().map(found).collect())?)
}

fn identity(call: &Call<'_>) -> Result<Vec<Value>> {
    let value = call.value(0).cloned();
    one(value.ok_or_else(|| Error::malformed("found no input, expected one"))?)
}
