//! JSON text → [`Value`], read one way only: a key that comes twice is refused, because other
//! readers keep the last without a word.

use std::fmt;

use indexmap::IndexMap;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::value::List;
use super::{Error, Result, Value};

impl Value {
    /// Parses a whole JSON text. Nesting is bounded at 128, as `serde_json` has it.
    ///
    /// # Errors
    /// Malformed, with line and column.
    pub fn parse(text: &[u8]) -> Result<Self> {
        serde_json::from_slice::<Strict>(text)
            .map(|value| value.0)
            .map_err(|error| Error::malformed(format!("JSON: {error}")))
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(List::Any(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        let mut entries = IndexMap::new();
        while let Some((key, Strict(value))) = map.next_entry::<String, Strict>()? {
            if entries.contains_key(&key) {
                let text = format!("key '{}' comes twice", super::error::escape(&key));
                return Err(serde::de::Error::custom(text));
            }
            entries.insert(key, value);
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_once() {
        let error = Value::parse(br#"{"a": 1, "b": {"c": 1, "\u0063": 2}}"#).unwrap_err();
        assert!(error.to_string().contains("key 'c' comes twice"), "{error}");
    }

    #[test]
    fn numbers_keep_their_kind() {
        let value = Value::parse(br#"{"n": 3, "m": -3, "x": 1e-5, "z": null}"#).unwrap();
        assert_eq!(value.get("n"), Some(&Value::U64(3)));
        assert_eq!(value.get("m"), Some(&Value::I64(-3)));
        assert_eq!(value.get("x"), Some(&Value::F64(1e-5)));
        assert_eq!(value.get("z"), None);
    }

    #[test]
    fn depth_is_bounded() {
        assert!(Value::parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
