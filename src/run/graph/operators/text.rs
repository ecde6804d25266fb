//! Text: normalized, split, joined, matched, and counted by n-grams.

use std::collections::BTreeMap;

use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::broadcast;
use crate::run::graph::call::Call;
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("StringNormalizer", 10, normalize),
    onnx("StringConcat", 20, concat),
    onnx("StringSplit", 20, split),
    onnx("RegexFullMatch", 20, regex_full_match),
    onnx("TfIdfVectorizer", 9, count_ngrams),
];

/// Stop words are removed as their case says, then the case is changed.
fn normalize(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let texts = x.slice::<String>().map_err(|error| call.input_error(0, error))?;
    let sensitive = call.flag("is_case_sensitive", false)?;
    let same = |text: &str| if sensitive { text.to_owned() } else { text.to_lowercase() };
    let stops: Vec<String> =
        call.texts("stopwords")?.unwrap_or_default().iter().map(|t| same(t)).collect();
    let change: fn(&str) -> String = match call.text("case_change_action", "NONE")? {
        "NONE" => str::to_owned,
        "LOWER" => str::to_lowercase,
        "UPPER" => str::to_uppercase,
        other => {
            return Err(Error::malformed(format!("attribute case_change_action: found '{other}'")));
        }
    };
    let kept = texts.iter().filter(|text| !stops.contains(&same(text))).map(|text| change(text));
    let kept: Vec<String> = kept.collect();
    // Where nothing is left, one empty text is.
    let kept = if kept.is_empty() { vec![String::new()] } else { kept };
    let shape = match x.shape() {
        [1, _] => vec![1, kept.len()],
        [_] => vec![kept.len()],
        _ => return Err(call.unfit(0, "[count] or [1, count]")),
    };
    one(Array::of(shape, kept)?)
}

fn concat(call: &Call<'_>) -> Result<Vec<Value>> {
    let (shape, a, b) = broadcast::pair(call)?;
    let pairs = a.slice::<String>()?.iter().zip(b.slice::<String>()?);
    one(Array::of(shape, pairs.map(|(a, b)| format!("{a}{b}")).collect())?)
}

fn split(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let delimiter = call.text("delimiter", "")?;
    let most = match call.has("maxsplit") {
        true => call.size("maxsplit", 0)?,
        false => usize::MAX - 1,
    };
    let texts = x.slice::<String>().map_err(|error| call.input_error(0, error))?;
    let parts: Vec<Vec<&str>> = texts
        .iter()
        .map(|text| match delimiter {
            "" => by_space(text, most),
            _ => text.splitn(most + 1, delimiter).collect(),
        })
        .collect();
    let width = parts.iter().map(Vec::len).max().unwrap_or(0);
    call.room(&[parts.len(), width])?;
    let padded = parts.iter().flat_map(|parts| {
        (0..width).map(|i| parts.get(i).map_or_else(String::new, |part| (*part).to_owned()))
    });
    let shape = x.shape().iter().copied().chain([width]).collect();
    let padded = Array::of(shape, padded.collect())?;
    let counts = parts.iter().map(|parts| parts.len() as i64).collect();
    Ok(vec![padded.into(), Array::of(x.shape().to_vec(), counts)?.into()])
}

/// As Python splits without a delimiter: at runs of white space, none of them at the ends.
fn by_space(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if parts.len() == most {
            parts.push(rest.trim_end());
            break;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    parts
}

/// Patterns are RE2's, whose syntax and bound on time the crate `regex` shares.
fn regex_full_match(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let pattern = call.text("pattern", "")?;
    let regex = regex::Regex::new(&format!("^(?:{pattern})$"));
    let regex = regex.map_err(|error| Error::malformed(format!("attribute pattern: {error}")))?;
    let texts = x.slice::<String>().map_err(|error| call.input_error(0, error))?;
    one(Array::of(x.shape().to_vec(), texts.iter().map(|text| regex.is_match(text)).collect())?)
}

/// n-grams of words or integers, each with the column that counts it.
fn ngrams<T: Ord + Clone>(call: &Call<'_>, pool: &[T]) -> Result<BTreeMap<Vec<T>, usize>> {
    let starts = call.list("ngram_counts")?.unwrap_or_default();
    let columns = call.list("ngram_indexes")?.unwrap_or_default();
    let wrong =
        || Error::malformed("attributes ngram_counts, ngram_indexes: they do not fit the pool");
    let mut found = BTreeMap::new();
    let mut columns = columns.iter();
    for (order, start) in starts.iter().enumerate() {
        let end = starts.get(order + 1).copied().unwrap_or(pool.len() as i64);
        let range = usize::try_from(*start).ok().zip(usize::try_from(end).ok());
        let grams = range.and_then(|(start, end)| pool.get(start..end)).ok_or_else(wrong)?;
        for gram in grams.chunks_exact(order + 1) {
            let column = columns.next().and_then(|column| usize::try_from(*column).ok());
            found.insert(gram.to_vec(), column.ok_or_else(wrong)?);
        }
    }
    Ok(found)
}

/// How often each n-gram occurs in rows, words up to `skips` apart.
fn counted<T: Ord + Clone>(call: &Call<'_>, rows: &[&[T]], pool: &[T]) -> Result<Vec<Vec<f32>>> {
    let known = ngrams(call, pool)?;
    let (min, max) = (call.size("min_gram_length", 1)?.max(1), call.size("max_gram_length", 1)?);
    let skips = call.size("max_skip_count", 0)?;
    let width = known.values().max().map_or(0, |last| last + 1);
    call.room(&[rows.len(), width])?;
    let mut counts = vec![vec![0f32; width]; rows.len()];
    for (row, counts) in rows.iter().zip(&mut counts) {
        for length in min..=max.min(row.len()) {
            // A single word has no gap, so it is counted once.
            let gaps = if length == 1 { 1 } else { (skips + 1).min(row.len()) };
            for gap in 1..=gaps {
                let reach = (length - 1) * gap;
                for start in 0..row.len().saturating_sub(reach) {
                    let gram: Vec<T> =
                        row[start..=start + reach].iter().step_by(gap).cloned().collect();
                    if let Some(column) = known.get(&gram) {
                        counts[*column] += 1.0;
                    }
                }
            }
        }
    }
    Ok(counts)
}

fn count_ngrams(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let width = x.shape().last().copied().unwrap_or(1);
    let counts = match x.dtype() {
        Type::Text => {
            let pool = call.texts("pool_strings")?.unwrap_or_default();
            let rows: Vec<&[String]> = x.slice::<String>()?.chunks(width.max(1)).collect();
            counted(call, &rows, &pool)?
        }
        _ => {
            let pool = call.list("pool_int64s")?.unwrap_or_default();
            let values = x.ints().map_err(|error| call.input_error(0, error))?;
            counted(call, &values.chunks(width.max(1)).collect::<Vec<_>>(), pool)?
        }
    };
    let columns = counts.first().map_or(0, Vec::len);
    let weights = weights_by_column(call, columns)?;
    let value = |(column, count): (usize, f32)| match call.text("mode", "TF").unwrap_or("TF") {
        "IDF" => {
            if count > 0.0 {
                weights[column]
            } else {
                0.0
            }
        }
        "TFIDF" => count * weights[column],
        _ => count,
    };
    let made = counts.iter().flat_map(|row| row.iter().copied().enumerate().map(value)).collect();
    let outer = &x.shape()[..x.rank().saturating_sub(1)];
    one(Array::of([outer, &[columns]].concat(), made)?)
}

/// The weight of each column; they are stated in the order of the pool.
fn weights_by_column(call: &Call<'_>, columns: usize) -> Result<Vec<f32>> {
    let stated = call.floats("weights")?.unwrap_or_default();
    let order = call.list("ngram_indexes")?.unwrap_or_default();
    let mut weights = vec![1.0; columns];
    for (column, weight) in order.iter().zip(stated) {
        if let Some(place) =
            usize::try_from(*column).ok().and_then(|column| weights.get_mut(column))
        {
            *place = *weight;
        }
    }
    Ok(weights)
}
