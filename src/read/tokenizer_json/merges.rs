//! The merges of a BPE model, in both spellings: `"a b"`, and `["a", "b"]`.

use std::collections::HashMap;

use super::items;
use crate::ir::tokenizer::merge;
use crate::ir::{Error, Result, Value};

pub(super) fn read(list: Option<&Value>, ids: &HashMap<&str, u32>) -> Result<Vec<(u32, u32)>> {
    let list = list.and_then(items).ok_or_else(|| Error::malformed("not a list"))?;
    let pair = |(rank, value): (usize, &Value)| {
        let sides = sides(value).ok_or_else(|| {
            let expected = "expected two texts, or one with a single space between";
            Error::malformed(format!("{value}, {expected}"))
        });
        let pair = sides.and_then(|(left, right)| merge(ids, left, right));
        pair.map_err(|error| error.at(rank))
    };
    list.iter().enumerate().map(pair).collect()
}

fn sides(value: &Value) -> Option<(&str, &str)> {
    if let Some(text) = value.as_text() {
        return text.split_once(' ').filter(|(_, right)| !right.contains(' '));
    }
    match items(value)? {
        [left, right] => Some((left.as_text()?, right.as_text()?)),
        _ => None,
    }
}
