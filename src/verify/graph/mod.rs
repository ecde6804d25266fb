//! Whether two graphs give the same on the same inputs, and a graph the same as a family's runner.
//!
//! ```text
//!  inputs ─┬─▶ reference ─▶ outputs ─┐               values in between, with --layers:
//!          └─▶ candidate ─▶ outputs ─┴─▶ gates       the first node where the two depart
//! ```
//!
//! Weights are compared where both sides have a tensor of the same name. Graphs name what they
//! compute, so outputs are paired by name, and by position where the names differ.

mod layers;
mod near;

use indexmap::IndexMap;

use super::gates::asked::Asked;
use super::report::{Finding, Gate, Kind, Report, TensorReport, number};
use crate::ir::{DType, Error, Model, Result, Tensor};
use crate::run::Decoder;
use crate::run::graph::{Array, Bounds, Session, Value};
use near::Near;

/// What the gate of outputs is called.
const OUTPUTS: &str = "outputs";
/// What the gate of weights is called.
const WEIGHTS: &str = "weights";

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
    /// The ids of the inputs, where they are a text: a family's runner needs them.
    pub tokens: Option<&'a [u32]>,
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
    weights(reference, candidate, &mut report)?;
    let sides = Sides { reference, candidate, options };
    let nears = match (&reference.graph, &candidate.graph) {
        (Some(_), Some(_)) => sides.graphs(&mut report)?,
        _ => sides.with_runner(&mut report)?,
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

/// Compares the tensors that have the same name on both sides.
fn weights(reference: &Model, candidate: &Model, report: &mut Report) -> Result<()> {
    let pairs: Vec<(&String, &Tensor, &Tensor)> = candidate
        .tensors
        .iter()
        .filter_map(|(name, ours)| Some((name, reference.tensors.get(name)?, ours)))
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

/// The two models that are run.
struct Sides<'a> {
    reference: &'a Model,
    candidate: &'a Model,
    options: &'a GraphOptions<'a>,
}

type Nears = Vec<(String, Near)>;

impl Sides<'_> {
    fn session(&self, model: &Model) -> Result<Session> {
        let program = model.graph.as_ref().ok_or_else(|| Error::bug("a graph that is none"))?;
        Session::new(program, &model.tensors, self.options.bounds)
            .map_err(|error| error.at(&model.origin))
    }

    fn graphs(&self, report: &mut Report) -> Result<Nears> {
        let (theirs, ours) = (self.session(self.reference)?, self.session(self.candidate)?);
        let given = (self.options.inputs)(&theirs)?;
        let fitted = fitted(&given, &ours)?;
        let seen = layers::Seen::default();
        let watch = |node: &_, name: &str, value: &Value| seen.record(node, name, value);
        let watched = self.options.layers;
        let expected = theirs
            .watched(given, watched.then_some(&watch))
            .map_err(|error| error.at(&self.reference.origin))?;
        let beside = layers::Beside::new(&seen);
        let watch = |node: &_, name: &str, value: &Value| beside.compare(node, name, value);
        let found = match ours.watched(fitted, watched.then_some(&watch)) {
            Ok(found) => found,
            Err(error) => {
                report.findings.push(Finding::new(OUTPUTS, "candidate", error.to_string()));
                return Ok(vec![("candidate".into(), Near::unknown())]);
            }
        };
        if watched {
            let limit = self.options.asked.max_nmse.unwrap_or_else(|| limit(self.candidate).0);
            report.notes.extend(beside.notes(limit));
        }
        let mut nears = Vec::new();
        for (index, (name, expected)) in expected.iter().enumerate() {
            let value = found.get(name).or_else(|| found.get_index(index).map(|(_, value)| value));
            let near = value.map_or_else(Near::unknown, |value| Near::values(expected, value));
            nears.push((name.clone(), near));
        }
        Ok(nears)
    }

    /// One side is a graph, the other runs by its family: logits of the same ids.
    fn with_runner(&self, report: &mut Report) -> Result<Nears> {
        let ids = self.options.tokens.ok_or_else(|| {
            Error::usage("one model is a graph and one is not: give --tokens 1,2,3 to run both on")
        })?;
        let theirs = self.logits(self.reference, ids)?;
        let ours = match self.logits(self.candidate, ids) {
            Ok(ours) => ours,
            Err(error) => {
                report.findings.push(Finding::new(OUTPUTS, "candidate", error.to_string()));
                return Ok(vec![("candidate".into(), Near::unknown())]);
            }
        };
        Ok(vec![("logits".into(), Near::values(&theirs, &ours))])
    }

    /// Logits `[ids, vocab]`.
    fn logits(&self, model: &Model, ids: &[u32]) -> Result<Value> {
        if model.graph.is_none() {
            let decoder = Decoder::new(model)?;
            let logits = decoder.forward(&mut decoder.cache(ids.len())?, ids)?;
            return Ok(Array::of(vec![ids.len(), decoder.vocab()], logits)?.into());
        }
        let session = self.session(model)?;
        let outputs = session.run(session.fill_tokens(ids)?)?;
        let logits = outputs.get("logits").or_else(|| outputs.first().map(|(_, value)| value));
        let logits = logits.ok_or_else(|| Error::malformed("a graph without outputs"))?.tensor()?;
        match logits.shape() {
            [1, rows, vocab] if *rows == ids.len() => {
                Ok(logits.reshaped(vec![*rows, *vocab])?.into())
            }
            found => {
                let text = format!("logits of shape {found:?}, expected [1, {}, …]", ids.len());
                Err(Error::unsupported(text))
            }
        }
    }
}

/// The inputs as another graph declares them: by name, else by position, floats in its type.
fn fitted(given: &IndexMap<String, Value>, session: &Session) -> Result<IndexMap<String, Value>> {
    let mut made = IndexMap::new();
    for (index, port) in session.inputs().enumerate() {
        let value =
            given.get(&port.name).or_else(|| given.get_index(index).map(|(_, value)| value));
        let Some(value) = value else { continue };
        made.insert(port.name.clone(), session.fit(port, value)?);
    }
    Ok(made)
}

impl Near {
    fn describe(&self) -> String {
        match &self.unlike {
            Some(unlike) => unlike.clone(),
            None => format!(
                "NMSE {}, max |difference| {}",
                number(self.nmse),
                number(self.max_abs_diff)
            ),
        }
    }
}
