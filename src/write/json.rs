//! Values as JSON.

use serde_json::{Number, Value as Json};

use crate::ir::value::List;
use crate::ir::{Error, Result, Value};

/// The value as JSON; widths of numbers are forgotten.
///
/// # Errors
/// Unsupported for a number that is not finite: JSON has none.
pub fn to_json(value: &Value) -> Result<Json> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Text(text) => Json::String(text.clone()),
        // The shortest decimal that reads back as the same binary32.
        Value::F32(x) => real(x.to_string().parse().unwrap_or(f64::from(*x)))?,
        Value::F64(x) => real(*x)?,
        Value::I8(_) | Value::I16(_) | Value::I32(_) | Value::I64(_) => signed(value),
        Value::U8(_) | Value::U16(_) | Value::U32(_) | Value::U64(_) => signed(value),
        Value::List(items) => Json::Array(list(items)?),
        Value::Map(map) => Json::Object(
            map.iter()
                .map(|(key, value)| Ok((key.clone(), to_json(value)?)))
                .collect::<Result<_>>()?,
        ),
    })
}

fn signed(value: &Value) -> Json {
    match (value.as_u64(), value) {
        (Some(n), _) => Json::Number(n.into()),
        (None, Value::I8(n)) => Json::Number((*n).into()),
        (None, Value::I16(n)) => Json::Number((*n).into()),
        (None, Value::I32(n)) => Json::Number((*n).into()),
        (None, Value::I64(n)) => Json::Number((*n).into()),
        _ => Json::Null,
    }
}

fn real(x: f64) -> Result<Json> {
    let number = Number::from_f64(x);
    number.map(Json::Number).ok_or_else(|| Error::unsupported(format!("JSON holds no {x}")))
}

fn list(items: &List) -> Result<Vec<Json>> {
    (0..items.len()).filter_map(|i| items.get(i)).map(|item| to_json(&item)).collect()
}
