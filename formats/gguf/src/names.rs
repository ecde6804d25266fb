//! How messages name a tensor or an entry, and the search for two of one name.

use std::collections::HashMap;
use std::fmt::Display;

use wire::Error;

/// A tensor, as messages name it. Control characters are escaped: names come from outside.
pub(crate) fn tensor(name: &str, index: usize) -> String {
    format!("tensor '{}' (info {index})", name.escape_debug())
}

/// An entry, as messages name it.
pub(crate) fn entry(key: &str, index: usize) -> String {
    let shown: String = key.chars().take(100).collect();
    let more = if shown.len() < key.len() { "…" } else { "" };
    format!("'{}{more}' (entry {index})", shown.escape_debug())
}

/// Says whose field it was: `key` becomes `key of entry 3`.
pub(crate) fn of<P: Display>(place: impl FnOnce() -> P) -> impl FnOnce(Error) -> Error {
    |error| Error { what: format!("{} of {}", error.what, place()).into(), ..error }
}

/// The places of the first name that was there before: `(before, again)`.
pub(crate) fn duplicate<'a>(names: impl Iterator<Item = &'a str>) -> Option<(usize, usize)> {
    let mut seen = HashMap::new();
    names.enumerate().find_map(|(at, name)| seen.insert(name, at).map(|before| (before, at)))
}
