//! What differs between two models, tensor by tensor, across formats and namings. No side is
//! the reference, and nothing is run.

use indexmap::IndexMap;

use super::alike::{self, Alike};
use super::gates::hyper;
use super::pair::{self, Pair};
use super::scan::{self, Outcome};
use super::{QuantizerFor, own, scaled, whole};
use crate::arch;
use crate::ir::{DType, Model, Result, Shape, Tensor};

/// What differs between two models.
#[derive(Debug, Clone)]
pub struct Diff {
    /// Where A was read from.
    pub a: String,
    /// Where B was read from.
    pub b: String,
    /// How many tensors are equal in type and value.
    pub equal: usize,
    /// Tensors of models of no known family that are equal under other names.
    pub alike: Vec<Alike>,
    /// The other tensors.
    pub tensors: Vec<Difference>,
    /// Hyper-parameters that differ: the field, and both values.
    pub fields: Vec<(String, String)>,
    /// What was not compared, and why.
    pub notes: Vec<String>,
}

/// A tensor that is not equal in both.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// B's name of it, or A's if B lacks it.
    pub name: String,
    /// How it differs.
    pub what: Unlike,
}

/// How a tensor differs.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are the two sides' types, and how far they are apart")]
pub enum Unlike {
    /// B lacks it.
    OnlyInA,
    /// A lacks it.
    OnlyInB,
    /// It is a kernel of A's, each channel out times a number of its own.
    Scaled { a: String },
    /// Nothing else can be compared.
    Shape { a: Shape, b: Shape },
    /// The values are equal as far as the coarser type can say.
    DType { a: DType, b: DType, nmse: Option<f64>, max_abs_diff: Option<f64> },
    /// The values differ, from the element of this index on.
    Values { a: DType, b: DType, nmse: Option<f64>, max_abs_diff: Option<f64>, first: Option<u64> },
}

impl Unlike {
    /// The word that scripts see.
    pub fn text(&self) -> &'static str {
        match self {
            Self::OnlyInA => "only-in-a",
            Self::OnlyInB => "only-in-b",
            Self::Scaled { .. } => "scaled",
            Self::Shape { .. } => "shape",
            Self::DType { .. } => "dtype",
            Self::Values { .. } => "values",
        }
    }
}

impl Diff {
    /// Whether a value, a tensor or a hyper-parameter differs. Another type with the same values
    /// is no difference.
    pub fn differs(&self) -> bool {
        let is_type = |tensor: &Difference| matches!(tensor.what, Unlike::DType { .. });
        !self.fields.is_empty() || !self.tensors.iter().all(is_type)
    }
}

/// Compares two models tensor by tensor.
///
/// # Errors
/// What is wrong with A's configuration, and what reading either of them meets.
pub fn diff(a: &Model, b: &Model, quantizer_for: QuantizerFor) -> Result<Diff> {
    let whole = whole::pair(a, b)?;
    let (a, b) = (&*whole.reference, &*whole.candidate);
    let mut fields = hyper::compare(a, b)?;
    fields.notes.extend(whole.note);
    let mut pairs = pair::pair(a, b)?;
    let mut out = Diff {
        a: a.origin.clone(),
        b: b.origin.clone(),
        equal: 0,
        alike: Vec::new(),
        tensors: Vec::new(),
        fields: fields.findings.into_iter().map(|found| (found.subject, found.text)).collect(),
        notes: [fields.notes, pairs.notes].concat(),
    };
    // The names of a family's tensors are part of what it is.
    if arch::find(a).is_none() && arch::find(b).is_none() {
        out.alike = alike::pair(&named(a, &pairs.missing), &named(b, &pairs.extra))?;
        pairs.missing.retain(|name| out.alike.iter().all(|pair| pair.a != *name));
        pairs.extra.retain(|name| out.alike.iter().all(|pair| pair.b != *name));
        for (theirs, name) in scaled::pair((a, &pairs.missing), (b, &pairs.extra))? {
            pairs.missing.retain(|only| *only != theirs);
            pairs.extra.retain(|only| *only != name);
            out.tensors.push(Difference { name, what: Unlike::Scaled { a: theirs } });
        }
    }
    let one_sided = |names: &[String], what: &Unlike| {
        let difference = |name: &String| Difference { name: name.clone(), what: what.clone() };
        names.iter().map(difference).collect::<Vec<_>>()
    };
    out.tensors.extend(one_sided(&pairs.missing, &Unlike::OnlyInA));
    out.tensors.extend(one_sided(&pairs.extra, &Unlike::OnlyInB));
    for (name, a, b) in pairs.shapes {
        out.tensors.push(Difference { name, what: Unlike::Shape { a, b } });
    }
    for finding in pairs.findings.iter().filter(|found| found.subject == pair::CANDIDATE) {
        out.fields.push(("B".into(), finding.text.clone()));
    }
    for pair in &pairs.pairs {
        match one(pair, quantizer_for).map_err(|error| error.at(&pair.name))? {
            None => out.equal += 1,
            Some(what) => out.tensors.push(Difference { name: pair.name.clone(), what }),
        }
    }
    Ok(out)
}

fn named<'m>(model: &'m Model, names: &[String]) -> IndexMap<&'m String, &'m Tensor> {
    names.iter().filter_map(|name| model.tensors.get_key_value(name)).collect()
}

fn one(pair: &Pair, quantizer_for: QuantizerFor) -> Result<Option<Unlike>> {
    let outcome = scan::compare(pair, quantizer_for, None)?;
    let (a, b) = (pair.reference.dtype(), pair.candidate.dtype());
    let nmse = outcome.error.map(|error| error.nmse);
    let max_abs_diff = outcome.error.map(|error| error.max_abs_diff);
    if outcome.bit_equal {
        return Ok(None);
    }
    if a != b && (is_honest(&outcome) || is_honest(&reversed(pair, quantizer_for)?)) {
        return Ok(Some(Unlike::DType { a, b, nmse, max_abs_diff }));
    }
    let first = outcome.first_different;
    Ok(Some(Unlike::Values { a, b, nmse, max_abs_diff, first }))
}

fn is_honest(outcome: &Outcome) -> bool {
    outcome.wrong == 0 && outcome.wrong_rows == 0
}

/// The same pair with A as the candidate: of two types, either may be the coarser.
fn reversed(pair: &Pair, quantizer_for: QuantizerFor) -> Result<Outcome> {
    if !own::is_weights(pair.reference.dtype()) {
        return Ok(Outcome { wrong: 1, ..Outcome::default() });
    }
    let (name, reference_name) = (pair.reference_name.clone(), pair.name.clone());
    let (reference, candidate) = (pair.candidate.clone(), pair.reference.clone());
    let rounded = pair.rounded;
    let pair = Pair { name, reference_name, reference, candidate, rounded };
    scan::compare(&pair, quantizer_for, None)
}
