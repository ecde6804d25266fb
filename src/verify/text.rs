//! The report and the difference as people read them at a terminal.

use std::fmt::Write;

use super::metrics::{DELTA_P_SHARES, KLD_SHARES};
use super::report::number;
use super::statistics::{Mean, Spread};
use super::{Alike, Bound, Diff, Gate, Metrics, OnText, Report, Unlike};
use crate::ir::error::escape;

/// Lines of a list that are shown unless all are asked for.
const SHOWN: usize = 10;
/// The widest column of names.
const NAME_WIDTH_MAX: usize = 120;

impl Report {
    /// The report in lines: gates, what is wrong, the worst tensors, the logits. `all` shows
    /// every tensor and every finding.
    pub fn to_text(&self, all: bool) -> String {
        let mut out = String::new();
        let shown = if all { usize::MAX } else { SHOWN };
        let (verdict, kind) = (word(self.pass), self.kind.text());
        let (reference, candidate) = (escape(&self.reference), escape(&self.candidate));
        let _ = writeln!(out, "{verdict}  {candidate} against {reference} ({kind})\n");
        for gate in &self.gates {
            gate_line(&mut out, gate);
        }
        if !self.findings.is_empty() {
            let _ = writeln!(out, "\nwrong:");
            for finding in self.findings.iter().take(shown) {
                let _ = writeln!(out, "  {finding}");
            }
            more(&mut out, self.findings.len(), shown);
        }
        self.tensor_lines(&mut out, shown);
        if let Some(metrics) = &self.logits {
            metric_lines(&mut out, metrics);
        }
        if !self.notes.is_empty() {
            let _ = writeln!(out, "\nnotes:");
            for note in self.notes.iter().take(shown) {
                let _ = writeln!(out, "  {}", escape(note));
            }
            more(&mut out, self.notes.len(), shown);
        }
        out
    }

    fn tensor_lines(&self, out: &mut String, shown: usize) {
        let worst = self.worst();
        let names = worst.iter().take(shown).map(|tensor| escape(&tensor.name));
        let names: Vec<String> = names.collect();
        // Longer names stand out of the column: a name may be longer than a width can be.
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let width = width.min(NAME_WIDTH_MAX);
        if names.is_empty() {
            return;
        }
        let _ = writeln!(out, "\ntensors, worst first:");
        for (tensor, name) in worst.iter().zip(names) {
            let types = format!("{} → {}", tensor.dtype_reference, tensor.dtype_candidate);
            let nmse = tensor.nmse.map_or("unknown".into(), number);
            let max = tensor.max_abs_diff.map_or("unknown".into(), number);
            let mark = if tensor.pass { "" } else { "  FAIL" };
            let line = format!("  {name:width$}  {types:<14}  NMSE {nmse:<9}  max {max}{mark}");
            let _ = writeln!(out, "{}", line.trim_end());
        }
        more(out, worst.len(), shown);
    }
}

fn word(pass: bool) -> &'static str {
    if pass { "PASS" } else { "FAIL" }
}

fn more(out: &mut String, count: usize, shown: usize) {
    if count > shown {
        let _ = writeln!(out, "  … and {} more", count - shown);
    }
}

fn gate_line(out: &mut String, gate: &Gate) {
    let sign = match gate.bound {
        Bound::AtMost => "≤",
        Bound::AtLeast => "≥",
    };
    let holds = format!("{} {sign} {}", number(gate.value), number(gate.limit));
    let (verdict, detail) = (word(gate.pass), escape(&gate.detail));
    let _ = writeln!(out, "  {verdict}  {:<16}  {holds:<20}  {detail}", gate.name);
    if let Some(hint) = gate.would_pass() {
        let _ = writeln!(out, "        {hint}");
    }
}

fn metric_lines(out: &mut String, m: &Metrics) {
    let _ = writeln!(out, "\nlogits at {} positions:", m.positions);
    let kld = shares(&m.kld, KLD_SHARES, 1.0);
    let _ = writeln!(out, "  KLD         mean {}, max {}", mean(m.kld.mean), number(m.kld.max()));
    let _ = writeln!(out, "              {kld}, min {}", number(m.kld.min()));
    let _ = writeln!(out, "  same top    {}", percent(m.top1));
    let _ = writeln!(out, "  difference  NMSE {}, max {}", number(m.nmse), number(m.max_abs_diff));
    if let Some(text) = &m.text {
        text_lines(out, text);
    }
}

/// What the models think of the ids that follow.
fn text_lines(out: &mut String, text: &OnText) {
    let (reference, candidate) = (mean(text.reference), mean(text.candidate));
    let _ = writeln!(out, "  perplexity  reference {reference}, candidate {candidate}");
    let (ratio, difference) = (mean(text.ratio), mean(text.difference));
    let _ = writeln!(out, "              ratio {ratio}, difference {difference}");
    let correlation = text.correlation.map_or("unknown".into(), |x| format!("{:.2} %", 100.0 * x));
    let ln_ratio = mean(text.ln_ratio);
    let _ = writeln!(out, "              ln ratio {ln_ratio}, correlation of ln {correlation}");
    let (delta, rms) = (&text.delta_p, percent(text.rms_delta_p));
    let ends = (number(100.0 * delta.max()), number(100.0 * delta.min()));
    let _ =
        writeln!(out, "  Δp          mean {}, RMS {rms}, max {} %", percent(delta.mean), ends.0);
    let delta = shares(delta, DELTA_P_SHARES, 100.0);
    let _ = writeln!(out, "              {delta}, min {} %", ends.1);
}

fn mean(mean: Mean) -> String {
    format!("{} ± {}", number(mean.value), number(mean.error))
}

fn percent(share: Mean) -> String {
    format!("{:.3} ± {:.3} %", 100.0 * share.value, 100.0 * share.error)
}

/// `99.9% 0.1, …, median 0.01, …`.
fn shares(spread: &Spread, shares: &[f64], unit: f64) -> String {
    let one = |share: &f64| {
        let name = if *share == 50.0 { "median".to_owned() } else { format!("{share}%") };
        format!("{name} {}", number(unit * spread.quantile(share / 100.0)))
    };
    shares.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl Diff {
    /// The difference in lines; `all` shows every tensor.
    pub fn to_text(&self, all: bool) -> String {
        let mut out = String::new();
        let shown = if all { usize::MAX } else { SHOWN };
        let _ = writeln!(out, "A  {}\nB  {}\n", escape(&self.a), escape(&self.b));
        for (field, text) in &self.fields {
            let _ = writeln!(out, "  {}: {}", escape(field), escape(text));
        }
        for Alike { a, b, axes } in self.alike.iter().take(shown) {
            let order = axes.as_ref().map_or(String::new(), |axes| format!(" permuted {axes:?}"));
            let _ = writeln!(out, "  {}{order} = {}", escape(a), escape(b));
        }
        more(&mut out, self.alike.len(), shown);
        for tensor in self.tensors.iter().take(shown) {
            let _ = writeln!(out, "  {}: {}", escape(&tensor.name), tensor.what.describe());
        }
        more(&mut out, self.tensors.len(), shown);
        for note in &self.notes {
            let _ = writeln!(out, "  note: {}", escape(note));
        }
        let verdict = if self.differs() { "the models differ" } else { "no difference in values" };
        let (equal, listed, fields) = (self.equal, self.tensors.len(), self.fields.len());
        let alike = match self.alike.len() {
            0 => String::new(),
            count => format!(" {count} equal under other names,"),
        };
        let _ = writeln!(
            out,
            "{verdict}: {equal} tensors equal,{alike} {listed} listed, {fields} hyper-parameters \
             differ"
        );
        out
    }
}

impl Unlike {
    fn describe(&self) -> String {
        let size = |nmse: &Option<f64>, max: &Option<f64>| {
            let text = |x: &Option<f64>| x.map_or("unknown".into(), number);
            format!("NMSE {}, max {}", text(nmse), text(max))
        };
        match self {
            Self::OnlyInA => "only in A".into(),
            Self::OnlyInB => "only in B".into(),
            Self::Scaled { a } => {
                let a = escape(a);
                format!("{a} of A, each channel out times a factor, as after folding a norm")
            }
            Self::Shape { a, b } => format!("shape {a} in A, {b} in B"),
            Self::DType { a, b, nmse, max_abs_diff } => {
                format!("type only: {a} in A, {b} in B; {}", size(nmse, max_abs_diff))
            }
            Self::Values { a, b, nmse, max_abs_diff, first } => {
                let from = first.map_or(String::new(), |at| format!(", from element {at} on"));
                format!("values differ ({a}, {b}){from}: {}", size(nmse, max_abs_diff))
            }
        }
    }
}
