//! JSON in which no key comes twice.

use std::fmt;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::ir::value::List;
use crate::ir::{Error, Result, Value};

/// Parses a file as a whole. Nesting is bounded by `serde_json`, to 128.
pub(super) fn parse(bytes: &[u8]) -> Result<Value> {
    let parsed: Strict = serde_json::from_slice(bytes)
        .map_err(|error| Error::malformed(format!("not the JSON expected here: {error}")))?;
    Ok(parsed.0)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        source.deserialize_any(Reader).map(Strict)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(Value::U64(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(Value::I64(value))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Value, E> {
        Ok(Value::F64(value))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> std::result::Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> std::result::Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = source.next_element()? {
            items.push(item);
        }
        Ok(Value::List(List::Any(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> std::result::Result<Value, A::Error> {
        let mut map = IndexMap::new();
        while let Some((key, Strict(value))) = source.next_entry::<String, Strict>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("key '{key}' comes twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Map(map))
    }
}
