//! Whether two models are numerically the same, and how far apart they are if not.
//!
//! ```text
//!  reference ─┬─ hyper ──────────────────────────────┐
//!             ├─ pair ── scan (rule, rows, own) ─────┼─▶ gates ─▶ Report ─▶ text html json junit
//!  candidate ─┴─ run both on the same ids (metrics) ─┘
//! ```
//!
//! Logits alone cannot carry a verdict: a wrong rope theta can look like honest rounding, and one
//! flipped exponent bit can hide. So the gates go from what must be equal (hyper-parameters, the
//! set of tensors) over each element to what the models say; and every limit on an error is set
//! by what our own encoding of the reference would give. Nothing is mapped back through the
//! table of a family before it is run: each model runs by its own conventions, or a wrong row of
//! the table would cancel itself.

mod alike;
pub mod chunks;
mod diff;
mod gates;
mod graph;
mod html;
mod json;
mod junit;
mod metrics;
mod own;
mod pair;
pub mod perplexity;
mod report;
mod rows;
mod rule;
mod scaled;
mod scan;
pub mod statistics;
mod text;
pub mod tokens;
mod whole;

#[cfg(test)]
mod tests;

pub use alike::Alike;
pub use chunks::Chunk;
pub use diff::{Diff, Difference, Unlike, diff};
pub use gates::asked::Asked;
pub use gates::logits::{Open, Runner, decoder, machine};
pub use graph::{Feed, GraphOptions, compare_graphs};
pub use metrics::{Gather, Metrics, OnText};
pub use own::QuantizerFor;
pub use report::{Bound, Finding, Gate, Kind, Report, TensorReport};
pub use scan::{Apart, apart};

use crate::ir::{Model, Result};
use crate::quant::ImportanceMatrix;
use gates::logits::{Plan, Ran};
use gates::tensors;
use pair::Pairs;

/// How two models are compared.
pub struct Options<'a> {
    /// What the models are run on.
    pub on: On,
    /// Ids that are not drawn when ids are generated: control tokens.
    pub special: Vec<u32>,
    /// What the user asks for, beside the gates that always hold.
    pub asked: Asked,
    /// How a model is run; without it, tensors alone are compared.
    pub open: Option<&'a Open>,
    /// Who encodes a packing.
    pub quantizer_for: QuantizerFor,
    /// Who else may have encoded it, with less error.
    pub better_for: QuantizerFor,
    /// How much each column counted when the candidate was made, if that is known.
    pub importance: Option<&'a ImportanceMatrix>,
}

/// What models are run on.
#[derive(Debug, Clone, Default)]
pub enum On {
    /// Ids that are drawn.
    #[default]
    Drawn,
    /// These ids, every position of which is scored.
    Ids(Vec<u32>),
    /// A long text.
    Chunks(Vec<Chunk>),
}

/// Drawn ids, no wishes, and this program's own runner and encoders.
impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            on: On::Drawn,
            special: Vec::new(),
            asked: Asked::default(),
            open: Some(&machine),
            quantizer_for: crate::quant::quantizer_for,
            better_for: crate::quant::best_quantizer_for,
            importance: None,
        }
    }
}

/// Compares the candidate with the reference.
///
/// # Errors
/// What is wrong with the reference, and what reading either of them meets. What is wrong with
/// the candidate is in the report.
pub fn compare(reference: &Model, candidate: &Model, options: &Options<'_>) -> Result<Report> {
    let whole = whole::pair(reference, candidate)?;
    let (reference, candidate) = (&*whole.reference, &*whole.candidate);
    let mut hyper = gates::hyper::compare(reference, candidate)?;
    hyper.notes.extend(whole.note);
    let pieces = gates::tokenizer::compare(reference, candidate)?;
    let pairs = pair::pair(reference, candidate)?;
    let weights = tensors::compare(&pairs.pairs, options.quantizer_for, options.importance)?;

    let mut report = Report {
        pass: false,
        kind: Kind::Tensors,
        reference: reference.origin.clone(),
        candidate: candidate.origin.clone(),
        logits: None,
        gates: vec![hyper.gate()],
        tensors: Vec::new(),
        findings: [&hyper.findings[..], &pieces.findings, &pairs.findings, &weights.findings]
            .concat(),
        notes: [&hyper.notes[..], &pieces.notes, &pairs.notes, &weights.notes].concat(),
    };
    report.gates.extend(pieces.gates);
    report.gates.push(pairs.gate());
    report.gates.extend(weights.gates());

    let same = report.gates.iter().all(|gate| gate.pass)
        && weights.bit_equal
        && reference.naming == candidate.naming
        && gates::hyper::is_same(reference, candidate);
    if same && matches!(options.on, On::Drawn) && !options.asked.needs_logits() {
        let text = "every tensor has the same name, type and bytes, and every entry of the \
                    configurations is equal: the models were not run, because they cannot differ";
        report.notes.push(text.into());
    } else {
        let sides = Sides { reference, candidate, hyper: hyper.reference.as_ref() };
        sides.run(&pairs, weights.exact, options, &mut report)?;
    }
    if report.logits.is_some() {
        report.kind = Kind::Logits;
    }
    if same {
        report.kind = Kind::Exact;
    }
    report.gates.extend(options.asked.gates(report.logits.as_ref(), weights.worst_nmse()));
    report.tensors = weights.tensors;
    report.pass = report.gates.iter().all(|gate| gate.pass);
    Ok(report)
}

/// What is to be run.
struct Sides<'m> {
    reference: &'m Model,
    candidate: &'m Model,
    hyper: Option<&'m crate::ir::Hyper>,
}

impl Sides<'_> {
    /// Runs both models if they can be run, and adds what comes of it to the report.
    fn run(
        &self,
        pairs: &Pairs,
        exact: bool,
        options: &Options<'_>,
        report: &mut Report,
    ) -> Result<()> {
        let (Some(open), Some(hyper)) = (options.open, self.hyper) else {
            let text = "the models were not run: there is no runner for this family";
            report.notes.push(text.into());
            return Ok(());
        };
        let (own, unknown) = own::model(self.reference, pairs, options.quantizer_for)?;
        if let Some(name) = unknown.first() {
            let text = "cannot be encoded as it is in the candidate, so logits have no limit";
            report.notes.push(format!("{name}: {text}; give --max-kld for one"));
        }
        let chunks = match &options.on {
            On::Drawn => {
                let mut special = options.special.clone();
                special.extend(self.reference.tokenizer.iter().flat_map(tokens::special));
                chunks::whole(hyper, &tokens::generate(hyper, &special))
            }
            On::Ids(ids) => chunks::whole(hyper, ids),
            On::Chunks(chunks) => chunks.clone(),
        };
        let plan = Plan {
            reference: self.reference,
            candidate: self.candidate,
            own: (!exact && unknown.is_empty()).then_some(&own),
            exact: exact && pairs.findings.is_empty(),
            chunks: &chunks,
        };
        match self.ran(&plan, pairs, open, options)? {
            Ran::Compared(metrics, gate) => {
                report.logits = Some(*metrics);
                report.gates.extend(gate);
            }
            Ran::Skipped(reason) => report.notes.push(reason),
            Ran::Failed(error) => {
                let finding = Finding::new(gates::logits::NAME, "candidate", error.to_string());
                let text = format!("the candidate does not run: {error}");
                report.gates.push(Gate::at_most(gates::logits::NAME, f64::NAN, 0.0, text));
                report.findings.push(finding);
            }
        }
        Ok(())
    }

    /// What comes of running both; beside the encoding of less error too, where the reference's is
    /// nearer than the candidate. Less error of weights can be more error of logits, and a
    /// candidate that was made so is honest.
    fn ran(
        &self,
        plan: &Plan<'_>,
        pairs: &Pairs,
        open: &Open,
        options: &Options<'_>,
    ) -> Result<Ran> {
        let ran = gates::logits::run(plan, open)?;
        let failed = matches!(&ran, Ran::Compared(_, Some(gate)) if !gate.pass);
        if !failed || plan.own.is_none() {
            return Ok(ran);
        }
        let either =
            |block: &_| (options.better_for)(block).or_else(|| (options.quantizer_for)(block));
        let (own, unknown) = own::model(self.reference, pairs, either)?;
        if !unknown.is_empty() {
            return Ok(ran);
        }
        let again = gates::logits::run(&Plan { own: Some(&own), ..*plan }, open)?;
        let passes = matches!(&again, Ran::Compared(_, Some(gate)) if gate.pass);
        Ok(if passes { again } else { ran })
    }
}
