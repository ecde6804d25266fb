//! The operators: a function and a line in its group's table for each.
//!
//! A line says whose operator it is, its name, the version of the domain from which on the
//! function is right, and the function. Where the meaning changed, there is a line for each.

mod attention;
mod binary;
mod bits;
mod cast;
mod control;
mod conv;
mod embedding;
mod gather;
mod grouped;
mod image;
mod learn;
mod linear;
mod loss;
mod matmul;
mod microsoft;
mod norm;
mod pool;
mod qlinear;
mod quantized;
pub mod random;
mod recurrent;
mod reduce;
mod resize;
mod scatter;
mod sequence;
mod shape;
mod signal;
mod slice;
mod sliding;
mod sort;
mod svm;
mod text;
mod training;
mod trees;
mod unary;
mod window;

use super::array::Data;
use super::call::Call;
use super::plan::canonical;
use super::types::Type;
use super::value::Value;
use crate::ir::{Error, Result};

/// Computes the outputs of one node.
pub type Compute = fn(&Call<'_>) -> Result<Vec<Value>>;

/// One line of the table.
pub struct Operator {
    /// Whose it is; "" is ONNX's own.
    pub domain: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The version of the domain from which on `compute` is right.
    pub since: u64,
    /// What it does.
    pub compute: Compute,
}

/// An operator of ONNX's own domain.
const fn onnx(name: &'static str, since: u64, compute: Compute) -> Operator {
    Operator { domain: "", name, since, compute }
}

/// The tables of all groups.
const GROUPS: &[&[Operator]] = &[
    attention::OPERATORS,
    binary::OPERATORS,
    bits::OPERATORS,
    cast::OPERATORS,
    control::OPERATORS,
    conv::OPERATORS,
    embedding::OPERATORS,
    gather::OPERATORS,
    grouped::OPERATORS,
    image::OPERATORS,
    learn::OPERATORS,
    linear::OPERATORS,
    loss::OPERATORS,
    matmul::OPERATORS,
    microsoft::OPERATORS,
    norm::OPERATORS,
    pool::OPERATORS,
    qlinear::OPERATORS,
    quantized::OPERATORS,
    random::OPERATORS,
    recurrent::OPERATORS,
    reduce::OPERATORS,
    resize::OPERATORS,
    scatter::OPERATORS,
    sequence::OPERATORS,
    shape::OPERATORS,
    signal::OPERATORS,
    slice::OPERATORS,
    sort::OPERATORS,
    svm::OPERATORS,
    text::OPERATORS,
    training::OPERATORS,
    trees::OPERATORS,
    unary::OPERATORS,
    window::OPERATORS,
];

/// The newest version of each domain whose operators are known here.
const NEWEST: &[(&str, u64)] = &[
    ("", 28),
    ("ai.onnx.ml", 5),
    ("ai.onnx.preview", 1),
    ("ai.onnx.preview.training", 1),
    ("com.microsoft", 1),
];

/// Every line of every group.
pub fn all() -> impl Iterator<Item = &'static Operator> {
    GROUPS.iter().copied().flatten()
}

/// The function for an operator as of a version of its domain.
///
/// # Errors
/// Unsupported if there is none, saying what is missing.
pub(super) fn find(domain: &str, name: &str, version: u64) -> Result<Compute> {
    let domain = canonical(domain);
    let shown = if domain.is_empty() { "ai.onnx" } else { domain };
    let newest = NEWEST.iter().find(|row| row.0 == domain).map_or(version, |row| row.1);
    if version > newest {
        let text = format!("version {version} of {shown} is asked for, and {newest} known");
        return Err(Error::unsupported(text));
    }
    let lines = all().filter(|row| row.domain == domain && row.name == name);
    let fitting = lines.filter(|row| row.since <= version).max_by_key(|row| row.since);
    fitting.map(|row| row.compute).ok_or_else(|| {
        let text = format!("the operator {name} of {shown}, version {version}, is not known");
        Error::unsupported(text)
    })
}

/// Numbers as elements of a type.
///
/// # Errors
/// Bug for text.
pub(super) fn numbers(values: Vec<f64>, dtype: Type) -> Result<Data> {
    cast::of_reals(values, dtype, cast::How::default())
}

/// The one output of a node.
fn one(value: impl Into<Value>) -> Result<Vec<Value>> {
    Ok(vec![value.into()])
}
