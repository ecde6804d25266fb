//! One type made another: <https://onnx.ai/onnx/operators/onnx__Cast.html>.

use std::sync::Arc;

use half::{bf16, f16};

use super::{Operator, one, onnx};
use crate::ir::graph::Attribute;
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Data, Element};
use crate::run::graph::call::Call;
use crate::run::graph::number::Number;
use crate::run::graph::types::{Rounding, Small, Type, encode_power};
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("Cast", 1, cast),
    onnx("CastLike", 15, cast_like),
    onnx("BitCast", 26, bit_cast),
];

/// How numbers out of range, and between two powers of two, are cast.
#[derive(Clone, Copy)]
pub(super) struct How {
    pub(super) saturate: bool,
    pub(super) rounding: Rounding,
}

impl Default for How {
    fn default() -> Self {
        Self { saturate: true, rounding: Rounding::Up }
    }
}

impl How {
    fn stated(call: &Call<'_>) -> Result<Self> {
        let rounding = match call.text("round_mode", "up")? {
            "up" => Rounding::Up,
            "down" => Rounding::Down,
            "nearest" => Rounding::Nearest,
            other => {
                let text = format!("attribute round_mode: found '{other}'");
                return Err(Error::malformed(format!("{text}, expected up, down or nearest")));
            }
        };
        Ok(Self { saturate: call.flag("saturate", true)?, rounding })
    }
}

fn cast(call: &Call<'_>) -> Result<Vec<Value>> {
    // Before version 6 the type was stated by its name.
    let to = match call.raw("to") {
        Some(Attribute::Text(name)) => {
            let name = String::from_utf8_lossy(name).to_lowercase().replace("float", "f");
            let name = name.replace("uint", "u").replace("int", "i").replace("double", "f64");
            Type::named(if name == "f" { "f32" } else { &name })
        }
        _ => call.stated_type("to")?,
    };
    let to = to.ok_or_else(|| Error::malformed("attribute to: expected the type to cast to"))?;
    one(converted(call.tensor(0)?, to, How::stated(call)?)?)
}

fn cast_like(call: &Call<'_>) -> Result<Vec<Value>> {
    one(converted(call.tensor(0)?, call.dtype(1)?, How::stated(call)?)?)
}

/// The elements in another type.
pub(super) fn converted(x: &Array, to: Type, how: How) -> Result<Array> {
    if x.dtype() == to {
        return Ok(x.clone());
    }
    Array::new(x.shape().to_vec(), elements(x, to, how)?)
}

fn elements(x: &Array, to: Type, how: How) -> Result<Data> {
    if let Data::Text(texts) = x.data() {
        return parsed(texts, to, how);
    }
    if to == Type::Text {
        return Ok(String::wrap(printed(x)?));
    }
    if to == Type::Bool {
        return Ok(bool::wrap(x.numbers()?.into_iter().map(|x| x != 0.0).collect()));
    }
    // Integers go to integers by their low bits; all else goes through binary64.
    if let (Ok(ints), false) = (x.ints(), to.is_float()) {
        return of_integers(ints, to, how);
    }
    of_reals(x.numbers()?, to, how)
}

fn of_integers(ints: Vec<i64>, to: Type, how: How) -> Result<Data> {
    let ints = ints.into_iter();
    Ok(match to {
        Type::I64 => i64::wrap(ints.collect()),
        Type::I32 => i32::wrap(ints.map(|x| x as i32).collect()),
        Type::I16 => i16::wrap(ints.map(|x| x as i16).collect()),
        Type::I8 => i8::wrap(ints.map(|x| x as i8).collect()),
        Type::U64 => u64::wrap(ints.map(|x| x as u64).collect()),
        Type::U32 => u32::wrap(ints.map(|x| x as u32).collect()),
        Type::U16 => u16::wrap(ints.map(|x| x as u16).collect()),
        Type::U8 => u8::wrap(ints.map(|x| x as u8).collect()),
        Type::Small(small) if small.integers().is_some() => {
            let mask = (1u8 << small.bits()) - 1;
            Data::Small(small, Arc::new(ints.map(|x| x as u8 & mask).collect()))
        }
        other => return of_reals(ints.map(|x| x as f64).collect(), other, how),
    })
}

/// Numbers in another type.
pub(super) fn of_reals(numbers: Vec<f64>, to: Type, how: How) -> Result<Data> {
    let numbers = numbers.into_iter();
    Ok(match to {
        Type::F64 => f64::wrap(numbers.collect()),
        Type::F32 => f32::wrap(numbers.map(|x| x as f32).collect()),
        Type::F16 => f16::wrap(numbers.map(f16::from_f64).collect()),
        Type::BF16 => bf16::wrap(numbers.map(bf16::from_f64).collect()),
        Type::I64 => i64::wrap(numbers.map(|x| x as i64).collect()),
        Type::I32 => i32::wrap(numbers.map(i32::from_f64).collect()),
        Type::I16 => i16::wrap(numbers.map(|x| x as i64 as i16).collect()),
        Type::I8 => i8::wrap(numbers.map(|x| x as i64 as i8).collect()),
        Type::U64 => u64::wrap(numbers.map(u64::from_f64).collect()),
        Type::U32 => u32::wrap(numbers.map(|x| x as i64 as u32).collect()),
        Type::U16 => u16::wrap(numbers.map(|x| x as i64 as u16).collect()),
        Type::U8 => u8::wrap(numbers.map(|x| x as i64 as u8).collect()),
        Type::Bool => bool::wrap(numbers.map(|x| x != 0.0).collect()),
        Type::Small(Small::F8E8M0) => {
            let code = |x: f64| encode_power(x as f32, how.rounding, how.saturate);
            Data::Small(Small::F8E8M0, Arc::new(numbers.map(code).collect()))
        }
        Type::Small(small) => {
            let code = |x: f64| small.encode(x as f32, how.saturate);
            Data::Small(small, Arc::new(numbers.map(code).collect()))
        }
        Type::Text => return Err(Error::bug("numbers become text elsewhere")),
    })
}

fn parsed(texts: &[String], to: Type, how: How) -> Result<Data> {
    if to == Type::Text {
        return Ok(String::wrap(texts.to_vec()));
    }
    if !to.is_float() {
        let ints = texts.iter().map(|text| text.trim().parse::<i64>().ok());
        if let Some(ints) = ints.collect::<Option<Vec<i64>>>() {
            return of_integers(ints, to, how);
        }
    }
    let number = |text: &String| {
        text.trim()
            .parse::<f64>()
            .map_err(|_| Error::malformed(format!("found the text '{text}', expected a number")))
    };
    of_reals(texts.iter().map(number).collect::<Result<_>>()?, to, how)
}

/// Numbers as text: floats with as few digits as tell them apart.
fn printed(x: &Array) -> Result<Vec<String>> {
    Ok(match x.data() {
        Data::F64(v) => v.iter().map(|x| shown(&format!("{x}"), &format!("{x:e}"), *x)).collect(),
        Data::F32(v) => {
            v.iter().map(|x| shown(&format!("{x}"), &format!("{x:e}"), f64::from(*x))).collect()
        }
        Data::F16(_) | Data::BF16(_) | Data::Small(..) => {
            let numbers = x.floats()?;
            numbers.iter().map(|x| shown(&format!("{x}"), &format!("{x:e}"), (*x).into())).collect()
        }
        Data::Bool(v) => v.iter().map(|x| if *x { "1" } else { "0" }.to_owned()).collect(),
        Data::U64(v) => v.iter().map(u64::to_string).collect(),
        _ => x.ints()?.iter().map(i64::to_string).collect(),
    })
}

fn shown(plain: &str, scientific: &str, x: f64) -> String {
    match x {
        _ if x.is_nan() => "NaN".into(),
        _ if x.is_infinite() => if x > 0.0 { "INF" } else { "-INF" }.into(),
        _ if x != 0.0 && !(1e-4..1e16).contains(&x.abs()) => scientific.into(),
        _ if plain.contains('.') => plain.into(),
        _ => format!("{plain}.0"),
    }
}

/// The bits as elements of another type of the same size.
fn bit_cast(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let to = call.stated_type("to")?;
    let to = to.ok_or_else(|| Error::malformed("attribute to: expected the type of the bits"))?;
    if to.bits() != x.dtype().bits() || to == Type::Text {
        return Err(call.unfit(0, format!("a type with as many bits as {to}")));
    }
    one(Array::from_bytes(to, x.shape().to_vec(), &x.to_bytes())?)
}
