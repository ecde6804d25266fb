//! Two models that are run side by side.

use indexmap::IndexMap;

use super::near::Near;
use super::{GraphOptions, OUTPUTS, layers, limit};
use crate::arch;
use crate::ir::{Error, Model, Result};
use crate::run::graph::{Array, Session, Value};
use crate::verify::gates::logits::machine;
use crate::verify::report::{Finding, Report};
use crate::verify::tokens;

/// What exporters call the output that a family's runner computes.
const LOGITS: &[&str] = &["logits", "last_hidden_state", "token_embeddings"];

/// The two models that are run.
pub(super) struct Sides<'a> {
    pub(super) reference: &'a Model,
    pub(super) candidate: &'a Model,
    pub(super) options: &'a GraphOptions<'a>,
}

pub(super) type Nears = Vec<(String, Near)>;

impl Sides<'_> {
    fn session(&self, model: &Model) -> Result<Session> {
        let program = model.graph.as_ref().ok_or_else(|| Error::bug("a graph that is none"))?;
        Session::new(program, &model.tensors, self.options.bounds)
            .map_err(|error| error.at(&model.origin))
    }

    /// Both are graphs.
    pub(super) fn graphs(&self, report: &mut Report) -> Result<Nears> {
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

    /// Whether the family of the side that is no graph is known.
    pub(super) fn has_runner(&self) -> bool {
        arch::find(self.alone()).is_some()
    }

    /// The side that is no graph.
    fn alone(&self) -> &Model {
        if self.reference.graph.is_none() { self.reference } else { self.candidate }
    }

    /// One side is a graph, the other runs by its family: the same ids in, logits compared, or
    /// features where there is no head.
    pub(super) fn with_runner(&self, report: &mut Report) -> Result<Nears> {
        if self.options.layers {
            let text = "--layers compares the nodes of two graphs, and one of the models is none";
            return Err(Error::usage(text));
        }
        let ids = self.ids(report)?;
        let theirs = self.logits(self.reference, &ids)?;
        let ours = match self.logits(self.candidate, &ids) {
            Ok(ours) => ours,
            Err(error) => {
                report.findings.push(Finding::new(OUTPUTS, "candidate", error.to_string()));
                return Ok(vec![("candidate".into(), Near::unknown())]);
            }
        };
        Ok(vec![("logits".into(), Near::values(&theirs, &ours))])
    }

    /// The ids that are given, else ids that are drawn from the vocabulary.
    fn ids(&self, report: &mut Report) -> Result<Vec<u32>> {
        if let Some(ids) = self.options.tokens {
            return Ok(ids.to_vec());
        }
        let family = self.alone();
        let hyper = arch::hyper(arch::require(family)?, family)?;
        let special: Vec<u32> = family.tokenizer.iter().flat_map(tokens::special).collect();
        let ids = tokens::generate(&hyper, &special);
        report.notes.push(format!("both were run on {} ids that were drawn", ids.len()));
        Ok(ids)
    }

    /// Logits `[ids, vocab]`.
    fn logits(&self, model: &Model, ids: &[u32]) -> Result<Value> {
        if model.graph.is_none() {
            let mut runner = machine(model)?;
            runner.begin(ids.len())?;
            let logits = runner.forward(ids)?;
            return Ok(Array::of(vec![ids.len(), runner.vocab()], logits)?.into());
        }
        let session = self.session(model)?;
        let outputs = session.run(session.fill_tokens(ids)?)?;
        let named = LOGITS.iter().find_map(|name| outputs.get(*name));
        let logits = named.or_else(|| outputs.first().map(|(_, value)| value));
        let logits = logits.ok_or_else(|| Error::malformed("a graph without outputs"))?.tensor()?;
        match logits.shape() {
            [rows, _] | [1, rows, _] if *rows == ids.len() => {
                let width = logits.len() / rows.max(&1);
                Ok(logits.reshaped(vec![*rows, width])?.into())
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
