//! The report as one HTML page that needs nothing else: no script, no font, no network.
//!
//! `maud` escapes every value, so a name from a file cannot become markup.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::report::number;
use super::statistics::Mean;
use super::{Bound, Gate, Metrics, Report, TensorReport};
use crate::ir::error::escape;

/// Rows of the table of tensors; the JSON report has all of them.
const ROWS_MAX: usize = 2000;

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1c2128; --dim: #667080; --line: #d8dee6;
  --back: #ffffff; --card: #f5f7fa; --good: #1a7f37; --bad: #cf222e; --bar: #4078c0; }
@media (prefers-color-scheme: dark) { :root { --text: #e2e8f0; --dim: #93a0b2;
  --line: #333c48; --back: #12161c; --card: #1a2028; --good: #4cc26a; --bad: #ff6b64;
  --bar: #6ea8e8; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 72rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
p { margin: .25rem 0; } .dim { color: var(--dim); }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
code, td.name { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
.cards { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .6rem 1rem; min-width: 8rem; } .card b { display: block; font-size: 1.2rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
table.narrow { width: auto; } th.num { text-align: right; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; } th { color: var(--dim); font-weight: 600; font-size: .85rem; }
td.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { display: block; } .bar { fill: var(--bar); } .bar.over { fill: var(--bad); }
.axis { stroke: var(--line); } svg text { fill: var(--dim); font: 12px system-ui, sans-serif; }
";

impl Report {
    /// The report as a page.
    pub fn to_html(&self) -> String {
        let verdict = if self.pass { "PASS" } else { "FAIL" };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (verdict) ": " (escape(&self.candidate)) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    (self.summary())
                    h2 { "Gates" }
                    (gates(&self.gates))
                    @if !self.findings.is_empty() { (self.wrong()) }
                    @if let Some(metrics) = &self.logits { (logits(metrics)) }
                    @if !self.tensors.is_empty() { (self.tensor_table()) }
                    @if !self.notes.is_empty() {
                        h2 { "Notes" }
                        ul { @for note in &self.notes { li { (escape(note)) } } }
                    }
                    p.dim { "remold verify " (env!("CARGO_PKG_VERSION")) }
                }
            }
        }
        .into_string()
    }

    fn summary(&self) -> Markup {
        let failed = self.gates.iter().filter(|gate| !gate.pass).count();
        let cards = self.logits.as_ref().map_or(Vec::new(), |m| {
            vec![
                ("mean KLD", number(m.kld.mean.value)),
                ("same top id", format!("{:.2} %", 100.0 * m.top1.value)),
                ("NMSE of logits", number(m.nmse)),
                ("positions", m.positions.to_string()),
            ]
        });
        html! {
            h1 {
                (verdict(self.pass)) " "
                @if failed > 0 { (failed) " of " (self.gates.len()) " gates fail" }
                @else { "all " (self.gates.len()) " gates pass" }
            }
            p { "candidate " code { (escape(&self.candidate)) } }
            p { "reference " code { (escape(&self.reference)) } }
            div.cards {
                (card("compared by", self.kind.text()))
                (card("tensors", &self.tensors.len().to_string()))
                @for (name, value) in &cards { (card(name, value)) }
            }
        }
    }

    fn wrong(&self) -> Markup {
        html! {
            h2 { "What is wrong" }
            div.wide { table {
                thead { tr { th { "gate" } th { "tensor or field" } th { "found" } } }
                tbody { @for found in self.findings.iter().take(ROWS_MAX) { tr {
                    td { (found.gate) }
                    td.name { (escape(&found.subject)) }
                    td { (escape(&found.text)) }
                } } }
            } }
        }
    }

    fn tensor_table(&self) -> Markup {
        let worst = self.worst();
        html! {
            h2 { "Tensors, worst first" }
            @if worst.len() > ROWS_MAX {
                p.dim { "The first " (ROWS_MAX) " of " (worst.len()) "; the JSON report has all." }
            }
            div.wide { table {
                thead { tr {
                    th { "tensor" } th { "reference" } th { "candidate" } th.num { "NMSE" }
                    th { "1e-12 … 1" } th.num { "max difference" } th {}
                } }
                tbody { @for tensor in worst.iter().take(ROWS_MAX) { (tensor_row(tensor)) } }
            } }
        }
    }
}

fn verdict(pass: bool) -> Markup {
    html! { @if pass { span.good { "PASS" } } @else { span.bad { "FAIL" } } }
}

fn card(name: &str, value: &str) -> Markup {
    html! { div.card { span.dim { (name) } b { (value) } } }
}

fn gates(gates: &[Gate]) -> Markup {
    let sign = |gate: &Gate| match gate.bound {
        Bound::AtMost => "≤ ",
        Bound::AtLeast => "≥ ",
    };
    html! {
        div.wide { table {
            thead { tr { th {} th { "gate" } th.num { "value" } th.num { "limit" } th { "detail" } } }
            tbody { @for gate in gates { tr {
                td { (verdict(gate.pass)) }
                td { (gate.name) }
                td.num { (number(gate.value)) }
                td.num { (sign(gate)) (number(gate.limit)) }
                td {
                    (escape(&gate.detail))
                    @if let Some(hint) = gate.would_pass() { div.dim { (hint) } }
                }
            } } }
        } }
    }
}

fn tensor_row(tensor: &TensorReport) -> Markup {
    let text = |x: Option<f64>| x.map_or("unknown".into(), number);
    // Errors span many powers of ten, so the bar is logarithmic: empty at 1e-12, full at 1.
    let nmse = tensor.nmse.unwrap_or(0.0);
    let width = match nmse > 0.0 {
        true => (nmse.log10() / 12.0 + 1.0).clamp(0.01, 1.0) * 120.0,
        false => 0.0,
    };
    let class = if tensor.pass { "bar" } else { "bar over" };
    html! { tr {
        td.name { (escape(&tensor.name)) }
        td { (tensor.dtype_reference) }
        td { (tensor.dtype_candidate) }
        td.num { (text(tensor.nmse)) }
        td { svg width="120" height="14" role="img" aria-label=(text(tensor.nmse)) {
            line class="axis" x1="0" y1="13.5" x2="120" y2="13.5" {}
            rect class=(class) x="0" y="2" height="10" width=(format!("{width:.1}")) {}
        } }
        td.num { (text(tensor.max_abs_diff)) }
        td { @if !tensor.pass { (verdict(false)) } }
    } }
}

fn logits(m: &Metrics) -> Markup {
    let mean = |mean: Mean| format!("{} ± {}", number(mean.value), number(mean.error));
    let percent = |mean: Mean| format!("{:.3} ± {:.3} %", 100.0 * mean.value, 100.0 * mean.error);
    let mut rows = vec![
        ("mean KLD", mean(m.kld.mean)),
        ("same top id", percent(m.top1)),
        ("NMSE", number(m.nmse)),
        ("largest difference", number(m.max_abs_diff)),
    ];
    if let Some(text) = &m.text {
        let correlation =
            text.correlation.map_or("unknown".into(), |x| format!("{:.2} %", 100.0 * x));
        rows.extend([
            ("perplexity of the reference", mean(text.reference)),
            ("perplexity of the candidate", mean(text.candidate)),
            ("their ratio", mean(text.ratio)),
            ("their difference", mean(text.difference)),
            ("correlation of their logarithms", correlation),
            ("mean Δp", percent(text.delta_p.mean)),
            ("RMS Δp", percent(text.rms_delta_p)),
        ]);
    }
    html! {
        h2 { "Logits" }
        div.wide { table.narrow { tbody { @for (name, value) in &rows {
            tr { td { (name) } td.num { (value) } }
        } } } }
        h2 { "Percentiles" }
        div.wide { table.narrow {
            thead { tr { th { "percentile" } th.num { "KLD" } @if m.text.is_some() { th.num { "Δp" } } } }
            tbody { @for share in PERCENTILES { tr {
                td { (percentile_name(*share)) }
                td.num { (number(m.kld.quantile(share / 100.0))) }
                @if let Some(text) = &m.text {
                    td.num { (number(100.0 * text.delta_p.quantile(share / 100.0))) " %" }
                }
            } } }
        } }
        h2 { "KLD at each position" }
        (plot(&m.klds))
    }
}

/// Those that the page shows.
const PERCENTILES: &[f64] =
    &[100.0, 99.9, 99.0, 95.0, 90.0, 75.0, 50.0, 25.0, 10.0, 5.0, 1.0, 0.1, 0.0];

fn percentile_name(share: f64) -> String {
    match share {
        100.0 => "maximum".into(),
        50.0 => "median".into(),
        0.0 => "minimum".into(),
        _ => format!("{share} %"),
    }
}

/// KLD over positions. Several positions share a bar where there are many: it shows the largest.
fn plot(klds: &[f64]) -> Markup {
    const WIDTH: f64 = 960.0;
    const HEIGHT: f64 = 180.0;
    const BARS: usize = 480;
    let share = klds.len().div_ceil(BARS).max(1);
    let finite = |x: &f64| if x.is_finite() { *x } else { 0.0 };
    let bars: Vec<f64> =
        klds.chunks(share).map(|c| c.iter().map(finite).fold(0.0, f64::max)).collect();
    let top = bars.iter().copied().fold(0.0, f64::max);
    let step = WIDTH / bars.len().max(1) as f64;
    let height = |kld: f64| if top > 0.0 { kld / top * HEIGHT } else { 0.0 };
    html! {
        div.wide { svg viewBox="0 0 960 212" width="100%" role="img" aria-label="KLD by position" {
            @for (i, kld) in bars.iter().enumerate() {
                rect class="bar" x=(format!("{:.2}", i as f64 * step))
                    y=(format!("{:.2}", 14.0 + HEIGHT - height(*kld)))
                    width=(format!("{:.2}", (step * 0.8).max(0.5)))
                    height=(format!("{:.2}", height(*kld))) {}
            }
            line class="axis" x1="0" y1="194.5" x2="960" y2="194.5" {}
            text x="0" y="10" { "largest " (number(top)) " nats" }
            text x="0" y="209" { "0" }
            text x="960" y="209" text-anchor="end" { (klds.len().saturating_sub(1)) }
        } }
    }
}
