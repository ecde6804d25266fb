//! Whether two graphs give the same on the same inputs, and a graph the same as a family's runner.
//!
//! ```text
//!  inputs ─┬─▶ reference ─▶ outputs ─┐               values in between, with --layers:
//!          └─▶ candidate ─▶ outputs ─┴─▶ gates       the first node where the two depart
//! ```
//!
//! Weights are compared where both sides have a tensor of the same name. Graphs name what they
//! compute, so outputs are paired by name, and by position where the names differ. Where one side
//! is no graph, its family's runner and the graph are given the same ids.

mod layers;
mod near;
mod sides;

use indexmap::IndexMap;

use super::gates::asked::Asked;
use super::report::{Finding, Gate, Kind, Report, TensorReport};
use crate::ir::{DType, Model, Result, Tensor};
use crate::run::graph::{Bounds, Session, Value};
use near::Near;
use sides::Sides;

/// What the gate of outputs is called.
const OUTPUTS: &str = "outputs";
/// What the gate of weights is called.
const WEIGHTS: &str = "weights";
/// What the gate of names is called, where weights alone are compared.
const TENSORS: &str = "tensors";

/// What the outputs' NMSE may be, by the narrowest type among the candidate's weights. Exact types
/// differ by the order of additions alone; the others by what rounding does to a few layers.
#[rustfmt::skip]
const LIMITS: &[(&[DType], f64)] = &[
    (&[DType::F4E2M1, DType::I4, DType::U4, DType::I2, DType::U2], 5e-2),
    (&[DType::I8, DType::U8, DType::F8E4M3, DType::F8E5M2, DType::F8E4M3Fnuz, DType::F8E5M2Fnuz], 1e-2),
    (&[DType::BF16], 1e-3),
    (&[DType::F16], 1e-5),
];
/// What it may be where no weight is narrower than binary32.
const EXACT: f64 = 1e-10;

/// Makes the inputs of a graph.
pub type Feed<'a> = dyn Fn(&Session) -> Result<IndexMap<String, Value>> + Sync + 'a;

/// How graphs are compared.
pub struct GraphOptions<'a> {
    /// Makes inputs for the reference, or for the one side that is a graph.
    pub inputs: &'a Feed<'a>,
    /// The ids of the inputs, where they are a text; drawn where a family's runner needs them.
    pub tokens: Option<&'a [u32]>,
    /// The weights of both, under names that the two have in common as far as is known.
    pub weights: [&'a IndexMap<String, Tensor>; 2],
    /// What the user asks for.
    pub asked: Asked,
    /// Whether the values in between are compared too.
    pub layers: bool,
    /// What a run may take.
    pub bounds: Bounds,
}

/// Compares two models of which one at least is a graph.
///
/// # Errors
/// What running the reference meets. What is wrong with the candidate is in the report.
pub fn compare_graphs(
    reference: &Model,
    candidate: &Model,
    options: &GraphOptions<'_>,
) -> Result<Report> {
    let mut report = Report {
        pass: false,
        kind: Kind::Tensors,
        reference: reference.origin.clone(),
        candidate: candidate.origin.clone(),
        logits: None,
        gates: Vec::new(),
        tensors: Vec::new(),
        findings: Vec::new(),
        notes: Vec::new(),
    };
    weights(options.weights, &mut report)?;
    let sides = Sides { reference, candidate, options };
    let nears = match (&reference.graph, &candidate.graph) {
        (Some(_), Some(_)) => sides.graphs(&mut report)?,
        _ if sides.has_runner() => sides.with_runner(&mut report)?,
        _ => {
            let text = "only weights were compared: the family of the one that is no graph is not \
                        known, so nothing runs it";
            report.notes.push(text.into());
            report.gates.push(complete(options.weights, &mut report.findings));
            report.pass = report.gates.iter().all(|gate| gate.pass);
            return Ok(report);
        }
    };
    let (limit, why) = match options.asked.max_nmse {
        Some(limit) => (limit, "as asked".to_owned()),
        None => limit(candidate),
    };
    let worst = nears.iter().max_by(|a, b| a.1.nmse.total_cmp(&b.1.nmse));
    let (value, detail) = match worst {
        Some((name, near)) => {
            (near.nmse, format!("NMSE of '{name}'; the limit is {why} ({})", near.describe()))
        }
        None => (f64::NAN, "nothing was compared".into()),
    };
    for (name, near) in &nears {
        if near.nmse.is_nan() || near.nmse > limit {
            report.findings.push(Finding::new(OUTPUTS, name, near.describe()));
        } else {
            report.notes.push(format!("output '{name}': {}", near.describe()));
        }
    }
    let gate = Gate::at_most(OUTPUTS, value, limit, detail);
    report.gates.push(Gate { option: Some("--max-nmse"), ..gate });
    report.pass = report.gates.iter().all(|gate| gate.pass);
    Ok(report)
}

/// The limit on the outputs' NMSE, and why it is that.
fn limit(candidate: &Model) -> (f64, String) {
    let has = |types: &[DType]| {
        candidate
            .tensors
            .values()
            .find(|tensor| types.contains(&tensor.dtype()) && tensor.shape().count() > 1)
    };
    let row = LIMITS.iter().find_map(|(types, limit)| Some((has(types)?.dtype(), *limit)));
    match row {
        Some((dtype, limit)) => (limit, format!("that of weights in {dtype}")),
        None => (EXACT, "that of exact weights".into()),
    }
}

/// That every tensor of either side has a partner, where nothing else is compared.
fn complete(
    [reference, candidate]: [&IndexMap<String, Tensor>; 2],
    findings: &mut Vec<Finding>,
) -> Gate {
    let alone = |a: &IndexMap<String, Tensor>, b: &IndexMap<String, Tensor>, text: &str| {
        let names = a.keys().filter(|name| !b.contains_key(*name));
        names.map(|name| Finding::new(TENSORS, name, text)).collect::<Vec<_>>()
    };
    findings.extend(alone(reference, candidate, "the candidate has no tensor of this name"));
    findings.extend(alone(candidate, reference, "the reference has no tensor of this name"));
    Gate::none_of(TENSORS, findings, "each tensor has a partner".to_owned())
}

/// Compares the tensors that have the same name on both sides.
fn weights(
    [reference, candidate]: [&IndexMap<String, Tensor>; 2],
    report: &mut Report,
) -> Result<()> {
    let pairs: Vec<(&String, &Tensor, &Tensor)> = candidate
        .iter()
        .filter_map(|(name, ours)| Some((name, reference.get(name)?, ours)))
        .collect();
    for (name, theirs, ours) in &pairs {
        if theirs.shape() != ours.shape() {
            let text = format!("shape {}, expected {}", ours.shape(), theirs.shape());
            report.findings.push(Finding::new(WEIGHTS, *name, text));
            continue;
        }
        let near = match (theirs.to_floats(), ours.to_floats()) {
            (Ok(a), Ok(b)) => {
                Some(Near::of(a.iter().map(|x| f64::from(*x)), b.iter().map(|x| f64::from(*x))))
            }
            _ => None,
        };
        let same = theirs.dtype() == ours.dtype();
        let pass =
            near.as_ref().is_none_or(|near| if same { near.nmse == 0.0 } else { near.nmse < 1e-2 });
        if let Some(near) = near.as_ref().filter(|_| !pass) {
            report.findings.push(Finding::new(WEIGHTS, *name, near.describe()));
        }
        report.tensors.push(TensorReport {
            name: (*name).clone(),
            reference_name: (*name).clone(),
            dtype_reference: theirs.dtype(),
            dtype_candidate: ours.dtype(),
            nmse: near.as_ref().map(|near| near.nmse),
            own_nmse: None,
            max_abs_diff: near.as_ref().map(|near| near.max_abs_diff),
            pass,
        });
    }
    let holds = format!("{} tensors have the same name on both sides", pairs.len());
    report.gates.push(Gate::none_of(WEIGHTS, &report.findings, holds));
    Ok(())
}
