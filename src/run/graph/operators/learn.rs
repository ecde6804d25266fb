//! Classical machine learning: ai.onnx.ml.

use super::{Operator, one};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::call::Call;
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

pub(super) const DOMAIN: &str = "ai.onnx.ml";

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    Operator { domain: DOMAIN, name: "ArrayFeatureExtractor", since: 1, compute: array_feature_extractor },
    Operator { domain: DOMAIN, name: "Binarizer", since: 1, compute: binarizer },
    Operator { domain: DOMAIN, name: "CategoryMapper", since: 1, compute: category_mapper },
    Operator { domain: DOMAIN, name: "FeatureVectorizer", since: 1, compute: feature_vectorizer },
    Operator { domain: DOMAIN, name: "Imputer", since: 1, compute: imputer },
    Operator { domain: DOMAIN, name: "LabelEncoder", since: 1, compute: label_encoder },
    Operator { domain: DOMAIN, name: "LinearClassifier", since: 1, compute: linear_classifier },
    Operator { domain: DOMAIN, name: "LinearRegressor", since: 1, compute: linear_regressor },
    Operator { domain: DOMAIN, name: "Normalizer", since: 1, compute: normalizer },
    Operator { domain: DOMAIN, name: "OneHotEncoder", since: 1, compute: one_hot_encoder },
    Operator { domain: DOMAIN, name: "Scaler", since: 1, compute: scaler },
    Operator { domain: DOMAIN, name: "ZipMap", since: 1, compute: zip_map },
];

/// The input as rows of so many features.
pub(super) fn rows(x: &Array) -> Result<(Vec<f64>, usize)> {
    let width = x.shape().last().copied().unwrap_or(1);
    Ok((x.numbers()?, width.max(1)))
}

fn array_feature_extractor(call: &Call<'_>) -> Result<Vec<Value>> {
    let (x, columns) = (call.tensor(0)?, super::shape::sizes(&call.ints(1)?)?);
    let width = x.shape().last().copied().unwrap_or(1);
    if columns.iter().any(|column| *column >= width) {
        return Err(call.unfit(1, format!("columns below {width}")));
    }
    let count = x.len().checked_div(width).unwrap_or(0);
    call.room(&[count, columns.len()])?;
    let places: Vec<usize> =
        (0..count).flat_map(|row| columns.iter().map(move |column| row * width + column)).collect();
    let shape = match x.rank() {
        0 | 1 => vec![1, columns.len()],
        rank => [&x.shape()[..rank - 1], &[columns.len()]].concat(),
    };
    one(x.pick(shape, &places)?)
}

fn like(x: &Array, numbers: Vec<f64>) -> Result<Vec<Value>> {
    let dtype = if x.dtype().is_float() { x.dtype() } else { Type::F32 };
    one(Array::new(x.shape().to_vec(), super::numbers(numbers, dtype)?)?)
}

fn binarizer(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let threshold = f64::from(call.float("threshold", 0.0)?);
    let made = x.numbers()?.into_iter().map(|x| if x > threshold { 1.0 } else { 0.0 });
    like(x, made.collect())
}

fn feature_vectorizer(call: &Call<'_>) -> Result<Vec<Value>> {
    let inputs = call.tensors()?;
    let count = inputs.first().map_or(0, |x| if x.rank() > 1 { x.shape()[0] } else { 1 });
    let mut parts = Vec::with_capacity(inputs.len());
    for (index, x) in inputs.iter().enumerate() {
        let numbers = x.numbers()?;
        if count == 0 || !numbers.len().is_multiple_of(count) {
            return Err(call.unfit(index, format!("{count} rows")));
        }
        parts.push((numbers.len() / count, numbers));
    }
    let width: usize = parts.iter().map(|(width, _)| width).sum();
    let row =
        |row: usize| parts.iter().flat_map(move |(width, v)| v[row * width..][..*width].to_vec());
    let made = (0..count).flat_map(row).map(|x| x as f32).collect();
    one(Array::of(vec![count, width], made)?)
}

fn imputer(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (numbers, width) = rows(x)?;
    let (given, missing): (Vec<f64>, f64) = match call.list("imputed_value_int64s")? {
        Some(values) => (
            values.iter().map(|x| *x as f64).collect(),
            call.int("replaced_value_int64", 0)? as f64,
        ),
        None => {
            let values = call.floats("imputed_value_floats")?.unwrap_or_default();
            let values = values.iter().map(|x| f64::from(*x)).collect();
            (values, call.float("replaced_value_float", 0.0)?.into())
        }
    };
    if given.len() != 1 && given.len() != width {
        return Err(Error::malformed(format!(
            "found {} values, expected 1 or {width}",
            given.len()
        )));
    }
    let is_missing = |x: f64| x == missing || (x.is_nan() && missing.is_nan());
    let made = numbers.into_iter().enumerate().map(|(i, x)| match is_missing(x) {
        true => given[if given.len() == 1 { 0 } else { i % width }],
        false => x,
    });
    one(Array::new(x.shape().to_vec(), super::numbers(made.collect(), x.dtype())?)?)
}

/// A list of keys or values, of whichever kind the node states.
fn listed(call: &Call<'_>, what: &str) -> Result<Option<Array>> {
    let name = |kind: &str| format!("{what}_{kind}");
    if let Some(texts) = call.texts(&name("strings"))? {
        return Ok(Some(Array::vector(texts)));
    }
    if let Some(ints) = call.list(&name("int64s"))? {
        return Ok(Some(Array::vector(ints.to_vec())));
    }
    if let Some(floats) = call.floats(&name("floats"))? {
        return Ok(Some(Array::vector(floats.to_vec())));
    }
    call.constant(&name("tensor"))
}

/// Each element's place among the keys.
fn places(x: &Array, keys: &Array) -> Result<Vec<Option<usize>>> {
    if x.dtype() == Type::Text {
        let keys = keys.slice::<String>()?;
        return Ok(x
            .slice::<String>()?
            .iter()
            .map(|x| keys.iter().position(|key| key == x))
            .collect());
    }
    let keys = keys.numbers()?;
    let same = |x: f64, key: f64| x == key || (x.is_nan() && key.is_nan());
    Ok(x.numbers()?.into_iter().map(|x| keys.iter().position(|key| same(x, *key))).collect())
}

fn label_encoder(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (keys, values, default) = match call.texts("classes_strings")? {
        // Version 1: texts to their place, or back.
        Some(classes) => {
            let numbers = Array::vector((0..classes.len() as i64).collect());
            let classes = Array::vector(classes);
            let missing = Array::scalar(call.int("default_int64", -1)?);
            match x.dtype() {
                Type::Text => (classes, numbers, missing),
                _ => (
                    numbers,
                    classes,
                    Array::scalar(call.text("default_string", "_Unused")?.to_owned()),
                ),
            }
        }
        None => {
            let missing = || Error::malformed("found no keys or no values");
            let (keys, values) = (listed(call, "keys")?, listed(call, "values")?);
            let (keys, values) = (keys.ok_or_else(missing)?, values.ok_or_else(missing)?);
            let default = match (call.constant("default_tensor")?, values.dtype()) {
                (Some(default), _) => default,
                (None, Type::Text) => {
                    Array::scalar(call.text("default_string", "_Unused")?.to_owned())
                }
                (None, Type::I64) => Array::scalar(call.int("default_int64", -1)?),
                (None, _) => Array::scalar(call.float("default_float", -0.0)?),
            };
            (keys, values, default)
        }
    };
    let found = places(x, &keys).map_err(|error| call.input_error(0, error))?;
    one(values.pick_or(x.shape().to_vec(), found.into_iter(), &default.reshaped(vec![1])?)?)
}

fn one_hot_encoder(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let keys = match call.texts("cats_strings")? {
        Some(texts) => Array::vector(texts),
        None => Array::vector(call.list("cats_int64s")?.unwrap_or_default().to_vec()),
    };
    let width = keys.len();
    call.room(&[x.len(), width])?;
    let mut made = vec![0f32; x.len() * width];
    for (i, place) in places(x, &keys)?.into_iter().enumerate() {
        match place {
            Some(place) => made[i * width + place] = 1.0,
            None if call.flag("zeros", true)? => {}
            None => return Err(call.unfit(0, "only known categories")),
        }
    }
    one(Array::of([x.shape(), &[width]].concat(), made)?)
}

fn normalizer(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (mut numbers, width) = rows(x)?;
    let norm: fn(&[f64]) -> f64 = match call.text("norm", "MAX")? {
        "MAX" => |row| row.iter().fold(f64::NEG_INFINITY, |max, x| max.max(*x)),
        "L1" => |row| row.iter().map(|x| x.abs()).sum(),
        "L2" => |row| row.iter().map(|x| x * x).sum::<f64>().sqrt(),
        other => return Err(Error::malformed(format!("attribute norm: found '{other}'"))),
    };
    for row in numbers.chunks_mut(width) {
        let norm = norm(row);
        if norm != 0.0 {
            row.iter_mut().for_each(|x| *x /= norm);
        }
    }
    like(x, numbers)
}

fn scaler(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (numbers, width) = rows(x)?;
    let (offset, scale) =
        (call.floats("offset")?.unwrap_or(&[0.0]), call.floats("scale")?.unwrap_or(&[1.0]));
    let fits = |values: &[f32]| values.len() == 1 || values.len() == width;
    if !fits(offset) || !fits(scale) {
        return Err(Error::malformed(format!(
            "attributes offset, scale: expected 1 or {width} numbers"
        )));
    }
    let at =
        |values: &[f32], i: usize| f64::from(values[if values.len() == 1 { 0 } else { i % width }]);
    let made = numbers.into_iter().enumerate().map(|(i, x)| (x - at(offset, i)) * at(scale, i));
    like(x, made.collect())
}

/// The node's `post_transform`, applied to a row of scores.
pub(super) fn transformed(call: &Call<'_>, scores: &mut [f64]) -> Result<()> {
    let name = call.text("post_transform", "NONE")?;
    transform(name, scores)
        .ok_or_else(|| Error::malformed(format!("attribute post_transform: found '{name}'")))
}

/// Applies a transform to a row of scores; nothing if there is none of this name.
pub(super) fn transform(name: &str, scores: &mut [f64]) -> Option<()> {
    match name {
        "NONE" => {}
        "LOGISTIC" => scores.iter_mut().for_each(|x| *x = logistic(*x)),
        "PROBIT" => scores.iter_mut().for_each(|x| *x = probit(*x)),
        "SOFTMAX" => super::norm::softmax_row(scores),
        "SOFTMAX_ZERO" => {
            let kept: Vec<bool> = scores.iter().map(|x| *x != 0.0).collect();
            let mut some: Vec<f64> = scores.iter().copied().filter(|x| *x != 0.0).collect();
            super::norm::softmax_row(&mut some);
            let mut some = some.into_iter();
            for (x, _) in scores.iter_mut().zip(kept).filter(|(_, kept)| *kept) {
                *x = some.next().unwrap_or(0.0);
            }
        }
        _ => return None,
    }
    Some(())
}

pub(super) fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// The quantile of the normal distribution, as onnxruntime has it: Winitzki, "A handy
/// approximation for the error function and its inverse", 2008.
fn probit(x: f64) -> f64 {
    const A: f64 = 0.147;
    let y = 2.0 * x - 1.0;
    let log = libm::log((1.0 - y) * (1.0 + y));
    let half = 2.0 / (std::f64::consts::PI * A) + 0.5 * log;
    let root = (half * half - log / A).sqrt() - half;
    std::f64::consts::SQRT_2 * root.sqrt().copysign(y)
}

/// Rows times coefficients, plus intercepts.
fn linear(call: &Call<'_>, targets: usize) -> Result<Vec<f64>> {
    let (numbers, width) = rows(call.tensor(0)?)?;
    let coefficients = call.floats("coefficients")?.unwrap_or_default();
    let intercepts = call.floats("intercepts")?.unwrap_or_default();
    if coefficients.len() != targets * width
        || !(intercepts.is_empty() || intercepts.len() == targets)
    {
        let text = format!("attribute coefficients: expected {targets} rows of {width}");
        return Err(Error::malformed(text));
    }
    call.room(&[numbers.len() / width, targets])?;
    let mut made = Vec::new();
    for row in numbers.chunks(width) {
        for target in 0..targets {
            let weights = &coefficients[target * width..][..width];
            let sum: f64 = row.iter().zip(weights).map(|(x, w)| x * f64::from(*w)).sum();
            made.push(sum + f64::from(intercepts.get(target).copied().unwrap_or(0.0)));
        }
    }
    Ok(made)
}

fn linear_regressor(call: &Call<'_>) -> Result<Vec<Value>> {
    let targets = call.size("targets", 1)?.max(1);
    let mut made = linear(call, targets)?;
    made.chunks_mut(targets).try_for_each(|row| transformed(call, row))?;
    let made: Vec<f32> = made.into_iter().map(|x| x as f32).collect();
    one(Array::of(vec![made.len() / targets, targets], made)?)
}

/// The names of classes.
pub(super) fn classes(call: &Call<'_>) -> Result<Array> {
    for name in ["classlabels_strings", "classlabels_ints", "classlabels_int64s"] {
        if let (true, Ok(Some(texts))) = (name.ends_with("strings"), call.texts(name)) {
            if !texts.is_empty() {
                return Ok(Array::vector(texts));
            }
        } else if let Ok(Some(ints)) = call.list(name)
            && !ints.is_empty()
        {
            return Ok(Array::vector(ints.to_vec()));
        }
    }
    Err(Error::malformed("attribute classlabels: expected the classes"))
}

/// The best class of each row, and all scores.
pub(super) fn classified(
    call: &Call<'_>,
    mut scores: Vec<f64>,
    classes: &Array,
    binary: bool,
) -> Result<Vec<Value>> {
    let width = if binary { 1 } else { classes.len() };
    let count = scores.len().checked_div(width).unwrap_or(0);
    let mut best = Vec::with_capacity(count);
    let mut shown = Vec::with_capacity(count * classes.len());
    for row in scores.chunks_mut(width.max(1)) {
        if binary {
            let chances = call.text("post_transform", "NONE")? == "LOGISTIC";
            let score = if chances { logistic(row[0]) } else { row[0] };
            // One score stands for the second class; scores of chances are split at a half.
            let is_second = if chances { score > 0.5 } else { score > 0.0 };
            best.push(usize::from(is_second));
            let other = if chances { 1.0 - score } else { -score };
            shown.extend([other as f32, score as f32]);
            continue;
        }
        let first = (0..row.len()).rev().max_by(|a, b| row[*a].total_cmp(&row[*b]));
        best.push(first.unwrap_or(0));
        transformed(call, row)?;
        shown.extend(row.iter().map(|x| *x as f32));
    }
    let labels = classes.pick(vec![count], &best)?;
    Ok(vec![labels.into(), Array::of(vec![count, classes.len()], shown)?.into()])
}

fn linear_classifier(call: &Call<'_>) -> Result<Vec<Value>> {
    let classes = classes(call)?;
    let rows = call.floats("intercepts")?.map_or(classes.len(), <[f32]>::len);
    let binary = classes.len() == 2 && rows == 1;
    let scores = linear(call, if binary { 1 } else { classes.len() })?;
    classified(call, scores, &classes, binary)
}

/// Whole numbers for texts, or texts for whole numbers.
fn category_mapper(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let texts = Array::vector(call.texts("cats_strings")?.unwrap_or_default());
    let ints = Array::vector(call.list("cats_int64s")?.unwrap_or_default().to_vec());
    let (from, to, default) = match x.dtype() {
        Type::Text => (texts, ints, Array::scalar(call.int("default_int64", -1)?)),
        _ => {
            let default = call.text("default_string", "_Unused")?.to_owned();
            (ints, texts, Array::scalar(default))
        }
    };
    let found = places(x, &from).map_err(|error| call.input_error(0, error))?;
    one(to.pick_or(x.shape().to_vec(), found.into_iter(), &default.reshaped(vec![1])?)?)
}

/// A map from classes to numbers for each row.
fn zip_map(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let keys = classes(call)?;
    if x.shape().last() != Some(&keys.len()) {
        return Err(call.unfit(0, format!("rows of {}", keys.len())));
    }
    let count = x.len().checked_div(keys.len()).unwrap_or(0);
    let row = |row: usize| -> Result<Value> {
        let values = x.range(row * keys.len(), vec![keys.len()])?;
        Ok(Value::Map(std::sync::Arc::new((keys.clone(), values))))
    };
    one(super::control::sequence((0..count).map(row).collect::<Result<_>>()?))
}
