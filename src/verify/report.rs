//! What a comparison found, as a value. How it is shown is the business of its siblings.

use std::fmt;

use super::metrics::Metrics;
use crate::ir::DType;
use crate::ir::error::escape;

/// How far the comparison could go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Same names, same types, same bytes.
    Exact,
    /// Tensor by tensor; the models were not run.
    Tensors,
    /// Tensor by tensor, and both models were run.
    Logits,
}

impl Kind {
    /// The word that scripts see.
    pub fn text(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Tensors => "tensors",
            Self::Logits => "logits",
        }
    }
}

/// What a gate holds its value against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The value may be at most the limit.
    AtMost,
    /// The value must be at least the limit.
    AtLeast,
}

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// What it is called; scripts depend on it.
    pub name: &'static str,
    /// What was measured; NaN if it could not be.
    pub value: f64,
    /// What it is held against.
    pub limit: f64,
    /// Which way it is held.
    pub bound: Bound,
    /// Whether it holds.
    pub pass: bool,
    /// What the value is, and the tensor or field that decided it.
    pub detail: String,
    /// The option that sets the limit, if the user's wish can.
    pub option: Option<&'static str>,
}

impl Gate {
    /// A gate that counts what is wrong: nothing may be.
    pub fn none_of(name: &'static str, findings: &[Finding], holds: impl Into<String>) -> Self {
        let wrong: Vec<&Finding> = findings.iter().filter(|found| found.gate == name).collect();
        let detail = match wrong.first() {
            None => holds.into(),
            Some(first) if wrong.len() == 1 => format!("{}: {}", first.subject, first.text),
            Some(first) => {
                format!("{}: {} (and {} more)", first.subject, first.text, wrong.len() - 1)
            }
        };
        Self::at_most(name, wrong.len() as f64, 0.0, detail)
    }

    /// A gate whose value may be at most its limit. A value that is NaN does not pass.
    pub fn at_most(name: &'static str, value: f64, limit: f64, detail: impl Into<String>) -> Self {
        let (bound, pass) = (Bound::AtMost, value <= limit);
        Self { name, value, limit, bound, pass, detail: detail.into(), option: None }
    }

    /// A gate whose value must be at least its limit. A value that is NaN does not pass.
    pub fn at_least(name: &'static str, value: f64, limit: f64, detail: impl Into<String>) -> Self {
        let (bound, pass) = (Bound::AtLeast, value >= limit);
        Self { name, value, limit, bound, pass, detail: detail.into(), option: None }
    }

    /// The option and the value that would let this gate pass, if it is one that a user sets.
    pub fn would_pass(&self) -> Option<String> {
        let option = self.option.filter(|_| !self.pass && self.value.is_finite())?;
        Some(format!("would pass with {option} {}", self.loosened()))
    }

    /// The value, rounded to three digits towards the passing side.
    fn loosened(&self) -> String {
        if self.value == 0.0 {
            return "0".into();
        }
        let unit = 10f64.powi(self.value.abs().log10().floor() as i32 - 2);
        let digits = match self.bound {
            Bound::AtMost => (self.value / unit).ceil(),
            Bound::AtLeast => (self.value / unit).floor(),
        };
        number(digits * unit)
    }
}

/// One thing that is wrong: a tensor or a field, and what about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The gate that it fails.
    pub gate: &'static str,
    /// The tensor or the field.
    pub subject: String,
    /// What was found and what was expected.
    pub text: String,
}

impl Finding {
    /// Something wrong about `subject`.
    pub fn new(gate: &'static str, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { gate, subject: subject.into(), text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.gate, escape(&self.subject), escape(&self.text))
    }
}

/// How near a tensor of the candidate is to its reference.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorReport {
    /// The candidate's name of it.
    pub name: String,
    /// The reference's name of it.
    pub reference_name: String,
    /// The reference's type.
    pub dtype_reference: DType,
    /// The candidate's type.
    pub dtype_candidate: DType,
    /// Σ(c − r)² / Σr²; nothing if the elements are not numbers that this version decodes.
    pub nmse: Option<f64>,
    /// The same of our own encoding to the candidate's type.
    pub own_nmse: Option<f64>,
    /// The largest |c − r|.
    pub max_abs_diff: Option<f64>,
    /// Whether it passes every gate about tensors.
    pub pass: bool,
}

impl TensorReport {
    /// For sorting: failures first, then by error, then as the file has them.
    pub(super) fn badness(&self) -> (bool, f64) {
        (!self.pass, self.nmse.unwrap_or(0.0))
    }
}

/// What a comparison found.
#[derive(Debug, Clone)]
pub struct Report {
    /// Whether every gate passes.
    pub pass: bool,
    /// How far the comparison could go.
    pub kind: Kind,
    /// Where the reference was read from.
    pub reference: String,
    /// Where the candidate was read from.
    pub candidate: String,
    /// What the logits say, if both models were run.
    pub logits: Option<Metrics>,
    /// What must hold, in the order in which it was asked.
    pub gates: Vec<Gate>,
    /// Every pair of tensors, in the candidate's order.
    pub tensors: Vec<TensorReport>,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
    /// What should be known: what was not compared, and why.
    pub notes: Vec<String>,
}

impl Report {
    /// The tensors, worst first.
    pub fn worst(&self) -> Vec<&TensorReport> {
        let mut worst: Vec<&TensorReport> = self.tensors.iter().collect();
        worst.sort_by(|a, b| {
            let ((a_failed, a), (b_failed, b)) = (a.badness(), b.badness());
            b_failed.cmp(&a_failed).then(b.total_cmp(&a))
        });
        worst
    }
}

/// A number as people read it: few digits, and no more zeros than needed.
pub(super) fn number(x: f64) -> String {
    if x.is_nan() {
        return "unknown".into();
    }
    if x == 0.0 || !x.is_finite() {
        return format!("{x}");
    }
    if x.fract() == 0.0 && x.abs() < 1e15 {
        return format!("{x:.0}");
    }
    let exponent = x.abs().log10().floor() as i32;
    if (-4..6).contains(&exponent) {
        let decimals = (3 - exponent).max(0) as usize;
        let text = format!("{x:.decimals$}");
        return match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        };
    }
    format!("{x:.2e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_gate_says_what_would_pass() {
        let mut gate = Gate::at_most("max-kld", 0.012_345, 0.01, "");
        assert_eq!(gate.would_pass(), None, "no option sets it");
        gate.option = Some("--max-kld");
        assert_eq!(gate.would_pass().unwrap(), "would pass with --max-kld 0.0124");
        let mut gate = Gate::at_least("min-top1", 0.987_65, 0.99, "");
        gate.option = Some("--min-top1");
        assert_eq!(gate.would_pass().unwrap(), "would pass with --min-top1 0.987");
    }

    #[test]
    fn what_could_not_be_measured_does_not_pass() {
        assert!(!Gate::at_most("a", f64::NAN, 1.0, "").pass);
        assert!(!Gate::at_least("a", f64::NAN, 0.0, "").pass);
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 12.0, 0.012_345_6, 1.5e-9, 0.5, 123.456].map(number);
        assert_eq!(texts, ["0", "12", "0.01235", "1.50e-9", "0.5", "123.5"]);
    }
}
