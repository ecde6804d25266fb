//! What the header and the index share: maps that refuse a key that stands twice, faults that
//! keep their place, and text inside messages.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use wire::{Error, Why};

/// Foreign text in a message is cut after this many characters: a name may have 100 MB.
const QUOTED_MAX: usize = 80;

/// `text` in quotes, with control characters escaped, cut if it is long.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => {
            format!("{:?}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len())
        }
    }
}

/// What a visitor knows of a fault beyond the words that `serde_json` can carry.
#[derive(Default)]
pub(crate) struct Fault {
    /// What is being read, such as `tensor "w"`; nothing at the outermost level.
    pub(crate) within: Option<String>,
    why: Option<Why>,
}

impl Fault {
    /// An error for the visitor to return; its place is where the parser stands.
    pub(crate) fn refuse<E: de::Error>(&mut self, why: Why) -> E {
        self.why = Some(why);
        E::custom("refused")
    }

    /// The key `key` of what `within` says stands twice.
    pub(crate) fn twice<E: de::Error>(&mut self, key: &str) -> E {
        self.refuse(Why::Invalid { rule: format!("the key {} stands twice", quoted(key)) })
    }

    /// The error at its place; `text` begins at byte `start` of the file.
    pub(crate) fn error(
        self,
        (start, text): (u64, &[u8]),
        whole: &'static str,
        error: &serde_json::Error,
    ) -> Error {
        let what = self.within.map_or(Cow::Borrowed(whole), Cow::Owned);
        let why = self.why.unwrap_or_else(|| Why::Invalid { rule: words(error) });
        Error::new(start.saturating_add(offset_of(error, text)), what, why)
    }
}

/// Bytes of `text` that the parser had read when it failed.
pub(crate) fn offset_of(error: &serde_json::Error, text: &[u8]) -> u64 {
    let lines_above = error.line().saturating_sub(1);
    let above = text.split_inclusive(|&b| b == b'\n').take(lines_above);
    let line_at = above.map(|line| line.len() as u64).sum::<u64>();
    line_at.saturating_add(error.column() as u64).min(text.len() as u64)
}

/// The words of `serde_json` without its line and column, which a header has no use for.
fn words(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&place).unwrap_or(&text);
    match text.char_indices().nth(QUOTED_MAX.saturating_mul(2)) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// A map from text to text, in the order of the file.
pub(crate) struct Texts<'f> {
    pub(crate) fault: &'f mut Fault,
    /// What a key is, for messages: `metadata`, `tensor`.
    pub(crate) key: &'static str,
    /// The rule for a value.
    pub(crate) check: fn(&str) -> Result<(), Why>,
}

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = Vec<(String, String)>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of text")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut texts, mut seen) = (Vec::new(), HashSet::new());
        let outside = self.fault.within.take();
        while let Some(key) = map.next_key::<String>()? {
            self.fault.within = Some(format!("{} {}", self.key, quoted(&key)));
            if !seen.insert(key.clone()) {
                return Err(self.fault.twice(&key));
            }
            let text = map.next_value::<String>()?;
            (self.check)(&text).map_err(|why| self.fault.refuse::<A::Error>(why))?;
            texts.push((key, text));
        }
        self.fault.within = outside;
        Ok(texts)
    }
}

/// Any value in which no object has a key twice; `serde_json` alone keeps the last.
pub(crate) struct Unique<'f>(pub(crate) &'f mut Fault);

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Unique(self.0))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(self.0.twice(&key));
            }
            let value = map.next_value_seed(Unique(self.0))?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}
