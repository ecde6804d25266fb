//! The entries of a file: keys and values, in the order of the file.

use crate::Value;

/// The entries of a file: keys and values, in the order of the file.
///
/// A model has fewer than a hundred, so a key is found by looking.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(pub Vec<(String, Value)>);

impl Metadata {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Puts `value` under `key`: in the place of the old value, or at the end.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// Takes the value under `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept() {
        let mut entries = Metadata::default();
        entries.set("a", Value::U8(1));
        entries.set("b", Value::U8(2));
        entries.set("a", Value::U8(3));
        let keys: Vec<_> = entries.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a", "b"]);
        assert_eq!(entries.get("a"), Some(&Value::U8(3)));
        assert_eq!(entries.remove("a"), Some(Value::U8(3)));
        assert_eq!((entries.get("a"), entries.len()), (None, 1));
    }
}
