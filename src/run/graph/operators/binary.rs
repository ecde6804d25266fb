//! Functions of two or more numbers, of values that broadcast.

use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Data};
use crate::run::graph::broadcast;
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number, with_number};
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("Add", 1, arithmetic::<Add>),
    onnx("Sub", 1, arithmetic::<Sub>),
    onnx("Mul", 1, arithmetic::<Mul>),
    onnx("Div", 1, arithmetic::<Div>),
    onnx("Mod", 10, modulo),
    onnx("Pow", 1, pow),
    onnx("PRelu", 1, arithmetic::<Slope>),
    onnx("Max", 1, folded::<Max>),
    onnx("Min", 1, folded::<Min>),
    onnx("Sum", 1, folded::<Add>),
    onnx("Mean", 1, mean),
    onnx("Equal", 1, equal),
    onnx("Less", 1, comparison::<Less>),
    onnx("LessOrEqual", 12, comparison::<LessOrEqual>),
    onnx("Greater", 1, comparison::<Greater>),
    onnx("GreaterOrEqual", 12, comparison::<GreaterOrEqual>),
    onnx("And", 1, logic::<And>),
    onnx("Or", 1, logic::<Or>),
    onnx("Xor", 1, logic::<Xor>),
    onnx("BitwiseAnd", 18, bitwise::<And>),
    onnx("BitwiseOr", 18, bitwise::<Or>),
    onnx("BitwiseXor", 18, bitwise::<Xor>),
    onnx("BitwiseNot", 18, bitwise_not),
    onnx("BitShift", 11, bit_shift),
    onnx("Clip", 1, clip),
    onnx("Where", 9, select),
];

/// A function of two numbers of any type.
trait Binary {
    fn apply<T: Number>(a: T, b: T) -> T;
}

/// A question about two numbers of any type.
trait Comparison {
    fn holds<T: PartialOrd>(a: &T, b: &T) -> bool;
}

/// A function of bits.
trait Bits {
    fn apply(a: u64, b: u64) -> u64;
}

macro_rules! functions {
    ($($name:ident = |$a:ident, $b:ident| $body:expr;)*) => { $(
        struct $name;
        impl Binary for $name {
            #[inline(always)]
            fn apply<T: Number>($a: T, $b: T) -> T {
                $body
            }
        }
    )* };
}
functions! {
    Add = |a, b| a.plus(b);
    Sub = |a, b| a.minus(b);
    Mul = |a, b| a.times(b);
    Div = |a, b| a.over(b);
    Max = |a, b| a.greater(b);
    Min = |a, b| a.lesser(b);
    Slope = |a, b| if a < T::ZERO { a.times(b) } else { a };
    Modulo = |a, b| a.modulo(b);
    Remainder = |a, b| a.remainder(b);
}

macro_rules! comparisons {
    ($($name:ident = $op:tt;)*) => { $(
        struct $name;
        impl Comparison for $name {
            fn holds<T: PartialOrd>(a: &T, b: &T) -> bool {
                a $op b
            }
        }
    )* };
}
comparisons! { Less = <; LessOrEqual = <=; Greater = >; GreaterOrEqual = >=; }

macro_rules! bits {
    ($($name:ident = $op:tt;)*) => { $(
        struct $name;
        impl Bits for $name {
            fn apply(a: u64, b: u64) -> u64 {
                a $op b
            }
        }
    )* };
}
bits! { And = &; Or = |; Xor = ^; }

fn arithmetic<B: Binary>(call: &Call<'_>) -> Result<Vec<Value>> {
    let (shape, a, b) = broadcast::pair(call)?;
    one(combined::<B>(&a, &b, shape).map_err(|error| call.input_error(1, error))?)
}

fn combined<B: Binary>(a: &Array, b: &Array, shape: Vec<usize>) -> Result<Array> {
    with_number!(a.dtype(), T => {
        let pairs = a.slice::<T>()?.iter().zip(b.slice::<T>()?);
        Array::of(shape, pairs.map(|(a, b)| B::apply(*a, *b)).collect())
    })
}

fn folded<B: Binary>(call: &Call<'_>) -> Result<Vec<Value>> {
    let (shape, values) = broadcast::inputs(call)?;
    let mut values = values.into_iter();
    let first = values.next().ok_or_else(|| Error::malformed("found no inputs"))?;
    let mut sum = first.into_owned();
    for value in values {
        sum = combined::<B>(&sum, &value, shape.clone())?;
    }
    one(sum)
}

fn mean(call: &Call<'_>) -> Result<Vec<Value>> {
    let count = call.input_count() as f64;
    let sum = folded::<Add>(call)?;
    let sum = sum.first().ok_or_else(|| Error::bug("a sum without a value"))?.tensor()?;
    with_number!(sum.dtype(), T => {
        let made = sum.slice::<T>()?.iter().map(|x| x.over(T::from_f64(count))).collect();
        one(Array::of(sum.shape().to_vec(), made)?)
    })
}

fn modulo(call: &Call<'_>) -> Result<Vec<Value>> {
    match call.flag("fmod", false)? {
        true => arithmetic::<Remainder>(call),
        false => arithmetic::<Modulo>(call),
    }
}

/// The base's type is the result's. Integers are multiplied exactly, and wrap.
fn pow(call: &Call<'_>) -> Result<Vec<Value>> {
    let (shape, base, exponent) = broadcast::pair(call)?;
    let exponents = exponent.numbers().map_err(|error| call.input_error(1, error))?;
    let whole = !base.dtype().is_float() && !exponent.dtype().is_float();
    with_number!(base.dtype(), T => {
        let power = |(x, n): (&T, f64)| match whole && n >= 0.0 {
            true => product_of(*x, n as u64),
            false => T::from_f64(libm::pow(x.to_f64(), n)),
        };
        one(Array::of(shape, base.slice::<T>()?.iter().zip(exponents).map(power).collect())?)
    })
}

fn product_of<T: Number>(x: T, mut times: u64) -> T {
    let (mut made, mut square) = (T::ONE, x);
    while times > 0 {
        if times & 1 == 1 {
            made = made.times(square);
        }
        square = square.times(square);
        times >>= 1;
    }
    made
}

fn equal(call: &Call<'_>) -> Result<Vec<Value>> {
    let (shape, a, b) = broadcast::pair(call)?;
    let same = match (a.data(), b.data()) {
        (Data::Bool(a), Data::Bool(b)) => a.iter().zip(b.iter()).map(|(a, b)| a == b).collect(),
        (Data::Text(a), Data::Text(b)) => a.iter().zip(b.iter()).map(|(a, b)| a == b).collect(),
        _ => with_number!(a.dtype(), T => {
            let pairs = a.slice::<T>()?.iter().zip(b.slice::<T>()?);
            Ok(pairs.map(|(a, b)| a == b).collect::<Vec<bool>>())
        })?,
    };
    one(Array::of(shape, same)?)
}

fn comparison<C: Comparison>(call: &Call<'_>) -> Result<Vec<Value>> {
    let (shape, a, b) = broadcast::pair(call)?;
    with_number!(a.dtype(), T => {
        let pairs = a.slice::<T>()?.iter().zip(b.slice::<T>()?);
        one(Array::of(shape, pairs.map(|(a, b)| C::holds(a, b)).collect())?)
    })
}

fn logic<B: Bits>(call: &Call<'_>) -> Result<Vec<Value>> {
    let (shape, a, b) = broadcast::pair(call)?;
    let pairs = a.slice::<bool>()?.iter().zip(b.slice::<bool>()?);
    let made = pairs.map(|(a, b)| B::apply(u64::from(*a), u64::from(*b)) != 0);
    one(Array::of(shape, made.collect())?)
}

/// Integers through a function of their bits, back to their type.
fn of_bits(dtype: Type, shape: Vec<usize>, bits: impl Iterator<Item = i64>) -> Result<Vec<Value>> {
    one(match dtype {
        Type::I64 => Array::of(shape, bits.collect::<Vec<i64>>()),
        Type::I32 => Array::of(shape, bits.map(|x| x as i32).collect()),
        Type::I16 => Array::of(shape, bits.map(|x| x as i16).collect()),
        Type::I8 => Array::of(shape, bits.map(|x| x as i8).collect()),
        Type::U64 => Array::of(shape, bits.map(|x| x as u64).collect()),
        Type::U32 => Array::of(shape, bits.map(|x| x as u32).collect()),
        Type::U16 => Array::of(shape, bits.map(|x| x as u16).collect()),
        Type::U8 => Array::of(shape, bits.map(|x| x as u8).collect()),
        found => {
            let text = format!("found elements of {found}, expected integers");
            Err(Error::unsupported(text))
        }
    }?)
}

fn bitwise<B: Bits>(call: &Call<'_>) -> Result<Vec<Value>> {
    let (shape, a, b) = broadcast::pair(call)?;
    let (x, y) = (a.ints()?.into_iter(), b.ints()?);
    of_bits(a.dtype(), shape, x.zip(y).map(|(a, b)| B::apply(a as u64, b as u64) as i64))
}

fn bitwise_not(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    of_bits(x.dtype(), x.shape().to_vec(), x.ints()?.into_iter().map(|x| !x))
}

fn bit_shift(call: &Call<'_>) -> Result<Vec<Value>> {
    let left = match call.text("direction", "")? {
        "LEFT" => true,
        "RIGHT" => false,
        other => {
            let text = format!("attribute direction: found '{other}', expected LEFT or RIGHT");
            return Err(Error::malformed(text));
        }
    };
    let (shape, a, b) = broadcast::pair(call)?;
    let bits = a.dtype().bits().unwrap_or(64) as u64;
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let pairs = a.ints()?.into_iter().zip(b.ints()?);
    let shifted = pairs.map(|(x, by)| match (by as u64 >= bits, left) {
        (true, _) => 0,
        (false, true) => ((x as u64) << by) as i64,
        (false, false) => ((x as u64 & mask) >> by) as i64,
    });
    of_bits(a.dtype(), shape, shifted)
}

fn clip(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    with_number!(x.dtype(), T => {
        let bound = |index, name: &str, default: T| -> Result<T> {
            if let Some(bound) = call.optional(index)? {
                let bound = bound.slice::<T>().map_err(|error| call.input_error(index, error))?;
                return bound.first().copied().ok_or_else(|| call.unfit(index, "one number"));
            }
            match call.has(name) {
                true => Ok(T::from_f64(call.float(name, 0.0)?.into())),
                false => Ok(default),
            }
        };
        let (min, max) = (bound(1, "min", T::LEAST)?, bound(2, "max", T::GREATEST)?);
        let made = x.slice::<T>()?.iter().map(|x| {
            let raised = if *x < min { min } else { *x };
            if raised > max { max } else { raised }
        });
        one(Array::of(x.shape().to_vec(), made.collect())?)
    })
}

fn select(call: &Call<'_>) -> Result<Vec<Value>> {
    let (shape, values) = broadcast::inputs(call)?;
    let [condition, a, b] = &values[..] else {
        return Err(Error::malformed(format!("found {} inputs, expected 3", values.len())));
    };
    let condition = condition.slice::<bool>().map_err(|error| call.input_error(0, error))?;
    let both = Array::joined(&[a, b]).map_err(|error| call.input_error(2, error))?;
    let count = condition.len();
    let places = condition.iter().enumerate();
    let places: Vec<usize> = places.map(|(i, first)| if *first { i } else { i + count }).collect();
    one(both.pick(shape, &places)?)
}
