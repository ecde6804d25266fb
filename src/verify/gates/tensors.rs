//! The gates of weights: each element, each tensor and each packed row.

use crate::ir::{Error, Result};
use crate::quant::ImportanceMatrix;
use crate::verify::own::QuantizerFor;
use crate::verify::pair::Pair;
use crate::verify::report::{Finding, Gate, TensorReport};
use crate::verify::scan::{self, Outcome};

/// The gate of each element.
pub(crate) const ELEMENTS: &str = "elements";
/// The gate of each tensor as a whole.
pub(crate) const TENSORS: &str = "tensors";
/// The gate of each packed row.
pub(crate) const ROWS: &str = "rows";

/// An error too small to speak of, as a share of the power of a tensor.
const EPSILON: f64 = 1e-12;

/// What the weights say.
#[derive(Default)]
pub(crate) struct Compared {
    /// One for each pair.
    pub(crate) tensors: Vec<TensorReport>,
    /// What is wrong.
    pub(crate) findings: Vec<Finding>,
    /// What could not be judged.
    pub(crate) notes: Vec<String>,
    /// Every tensor has its reference's type and bytes.
    pub(crate) bit_equal: bool,
    /// Every tensor has its reference's values.
    pub(crate) exact: bool,
    /// Error, limit and name of the tensor that is nearest to its limit, or beyond it.
    nearest: Option<(f64, f64, String)>,
    wrong_elements: u64,
    wrong_rows: u64,
}

/// Compares every pair, one after the other, each with all cores.
///
/// # Errors
/// From reading the files; Malformed if the importance is that of another model.
pub(crate) fn compare(
    pairs: &[Pair],
    quantizer_for: QuantizerFor,
    importance: Option<&ImportanceMatrix>,
) -> Result<Compared> {
    let mut out = Compared { bit_equal: true, exact: true, ..Compared::default() };
    for pair in pairs {
        let at = |error: Error| error.at(&pair.name);
        let of = |matrix: &ImportanceMatrix| matrix.of(&pair.name, pair.candidate.shape());
        let importance = importance.map_or(Ok(None), of).map_err(at)?;
        out.add(pair, scan::compare(pair, quantizer_for, importance).map_err(at)?);
    }
    Ok(out)
}

impl Compared {
    fn add(&mut self, pair: &Pair, outcome: Outcome) {
        self.bit_equal &= outcome.bit_equal;
        self.exact &= outcome.exact;
        self.wrong_elements += outcome.wrong;
        self.wrong_rows += outcome.wrong_rows;
        let mut pass = outcome.wrong == 0 && outcome.wrong_rows == 0;
        if let Some(first) = outcome.first_wrong {
            let more = match outcome.wrong - 1 {
                0 => String::new(),
                n => format!(" (and {n} more)"),
            };
            self.findings.push(Finding::new(ELEMENTS, &pair.name, format!("{first}{more}")));
        }
        if let Some(error) = outcome.error {
            pass &= self.hold(pair, error);
        }
        if let Some(row) = outcome.wrong_row {
            self.findings.push(Finding::new(ROWS, &pair.name, row));
        }
        self.tensors.push(TensorReport {
            name: pair.name.clone(),
            reference_name: pair.reference_name.clone(),
            dtype_reference: pair.reference.dtype(),
            dtype_candidate: pair.candidate.dtype(),
            nmse: outcome.error.map(|error| error.nmse),
            own_nmse: outcome.error.and_then(|error| error.own_nmse),
            max_abs_diff: outcome.error.map(|error| error.max_abs_diff),
            pass,
        });
    }

    /// Holds one tensor against our own encoding of it.
    fn hold(&mut self, pair: &Pair, error: scan::Error) -> bool {
        let Some(own) = error.own_nmse else {
            let dtype = pair.candidate.dtype();
            let text = format!("{}: this version does not encode {dtype}", pair.name);
            self.notes.push(format!("{text}, so its NMSE is held against nothing"));
            return true;
        };
        let (nmse, limit) = (error.nmse, 2.0 * own + EPSILON);
        let pass = nmse <= limit;
        let nearer = |(a, b, _): &(f64, f64, String)| (nmse / limit).total_cmp(&(a / b)).is_gt();
        if self.nearest.as_ref().is_none_or(nearer) {
            self.nearest = Some((nmse, limit, pair.name.clone()));
        }
        if !pass {
            let text = format!("NMSE {nmse:.3e}, allowed {limit:.3e}: twice our own encoding's");
            self.findings.push(Finding::new(TENSORS, &pair.name, text));
        }
        pass
    }

    /// The gates.
    pub(crate) fn gates(&self) -> [Gate; 3] {
        let first = |gate: &str, holds: &str| {
            let found = self.findings.iter().find(|finding| finding.gate == gate);
            found.map_or_else(|| holds.to_owned(), |f| format!("{}: {}", f.subject, f.text))
        };
        let elements = first(ELEMENTS, "every element as its type owes it");
        let rows = first(ROWS, "no packed row scaled by more than honest encoders differ");
        let (value, limit, text) = match &self.nearest {
            None => (0.0, EPSILON, "no tensor that could be measured".into()),
            Some((nmse, limit, name)) => (*nmse, *limit, format!("{name} is nearest its limit")),
        };
        [
            Gate::at_most(ELEMENTS, self.wrong_elements as f64, 0.0, elements),
            Gate::at_most(TENSORS, value, limit, first(TENSORS, &text)),
            Gate::at_most(ROWS, self.wrong_rows as f64, 0.0, rows),
        ]
    }

    /// The largest NMSE of all tensors.
    pub(crate) fn worst_nmse(&self) -> Option<f64> {
        self.tensors.iter().filter_map(|tensor| tensor.nmse).max_by(f64::total_cmp)
    }
}
