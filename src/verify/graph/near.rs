//! How near two values are.

use crate::run::graph::{Array, Type, Value};
use crate::verify::report::number;

/// How near a value is to its reference.
#[derive(Debug, Clone)]
pub(super) struct Near {
    /// Σ(c − r)² / Σr²; infinite where the values cannot be compared, NaN if nothing is known.
    pub(super) nmse: f64,
    /// The largest |c − r|.
    pub(super) max_abs_diff: f64,
    /// Why they cannot be compared.
    pub(super) unlike: Option<String>,
}

impl Near {
    pub(super) fn unknown() -> Self {
        Self { nmse: f64::NAN, max_abs_diff: f64::NAN, unlike: Some("it was not made".into()) }
    }

    fn unlike(text: String) -> Self {
        Self { nmse: f64::INFINITY, max_abs_diff: f64::INFINITY, unlike: Some(text) }
    }

    /// Of numbers. Equal infinities, and NaN in the same place, are no difference.
    pub(super) fn of(
        reference: impl Iterator<Item = f64>,
        candidate: impl Iterator<Item = f64>,
    ) -> Self {
        let (mut error, mut power, mut max_abs_diff) = (0.0, 0.0, 0.0f64);
        for (r, c) in reference.zip(candidate) {
            if r == c || (r.is_nan() && c.is_nan()) {
                power += if r.is_finite() { r * r } else { 0.0 };
                continue;
            }
            let difference = if (c - r).is_nan() { f64::INFINITY } else { (c - r).abs() };
            error += difference * difference;
            power += if r.is_finite() { r * r } else { 0.0 };
            max_abs_diff = max_abs_diff.max(difference);
        }
        let nmse = match (error == 0.0, power == 0.0) {
            (true, _) => 0.0,
            (false, true) => error,
            (false, false) => error / power,
        };
        Self { nmse, max_abs_diff, unlike: None }
    }

    pub(super) fn values(reference: &Value, candidate: &Value) -> Self {
        let unlike = || {
            let (found, expected) = (candidate.describe(), reference.describe());
            Self::unlike(format!("found {found}, expected {expected}"))
        };
        match (reference, candidate) {
            (Value::Tensor(r), Value::Tensor(c)) if r.shape() == c.shape() => Self::arrays(r, c),
            (Value::Sequence(r), Value::Sequence(c)) if r.len() == c.len() => {
                let parts = r.iter().zip(c.iter()).map(|(r, c)| Self::values(r, c));
                let worst = parts.max_by(|a, b| a.nmse.total_cmp(&b.nmse));
                worst.unwrap_or_else(|| Self::of(std::iter::empty(), std::iter::empty()))
            }
            (Value::Map(r), Value::Map(c)) if r.0 == c.0 => Self::arrays(&r.1, &c.1),
            (Value::Nothing, Value::Nothing) => Self::of(std::iter::empty(), std::iter::empty()),
            _ => unlike(),
        }
    }

    fn arrays(reference: &Array, candidate: &Array) -> Self {
        match (reference.numbers(), candidate.numbers()) {
            (Ok(r), Ok(c)) => Self::of(r.into_iter(), c.into_iter()),
            _ if reference.dtype() == Type::Text && reference == candidate => {
                Self::of(std::iter::empty(), std::iter::empty())
            }
            _ => Self::unlike("the texts differ".into()),
        }
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        match &self.unlike {
            Some(unlike) => unlike.clone(),
            None => {
                let (nmse, max) = (number(self.nmse), number(self.max_abs_diff));
                format!("NMSE {nmse}, max |difference| {max}")
            }
        }
    }
}
