//! The machine form of a report and of a difference. Scripts depend on the names of the fields.

use serde_json::{Map, Value, json};

use super::metrics::{DELTA_P_SHARES, KLD_SHARES};
use super::statistics::{Mean, Spread};
use super::{Diff, Difference, OnText, Report, Unlike};

impl Report {
    /// The report as JSON. A number that is not known is null.
    pub fn to_json(&self) -> Value {
        let mut all = Map::new();
        let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
        put("pass", json!(self.pass));
        put("kind", json!(self.kind.text()));
        put("reference", json!(self.reference));
        put("candidate", json!(self.candidate));
        let logits = self.logits.as_ref();
        let text = logits.and_then(|m| m.text.as_ref());
        put("positions", json!(logits.map_or(0, |m| m.positions)));
        put("mean_kld", json!(logits.map(|m| m.kld.mean.value)));
        put("mean_kld_error", json!(logits.map(|m| m.kld.mean.error)));
        put("median_kld", json!(logits.map(|m| m.kld.median())));
        put("max_kld", json!(logits.map(|m| m.kld.max())));
        put("min_kld", json!(logits.map(|m| m.kld.min())));
        put("p99_kld", json!(logits.map(|m| m.kld.quantile(0.99))));
        put("kld_percentiles", json!(logits.map(|m| percentiles(&m.kld, KLD_SHARES))));
        put("top1_agreement", json!(logits.map(|m| m.top1.value)));
        put("top1_agreement_error", json!(logits.map(|m| m.top1.error)));
        put("nmse", json!(logits.map(|m| m.nmse)));
        put("max_abs_diff", json!(logits.map(|m| m.max_abs_diff)));
        for (key, value) in on_text(text) {
            put(&key, value);
        }
        put("gates", self.gates.iter().map(gate).collect());
        put("tensors", self.tensors.iter().map(tensor).collect());
        let finding =
            |f: &super::Finding| json!({"gate": f.gate, "subject": f.subject, "text": f.text});
        put("findings", self.findings.iter().map(finding).collect());
        put("notes", json!(self.notes));
        Value::Object(all)
    }
}

/// What the models think of the ids that follow; null where none does.
fn on_text(text: Option<&OnText>) -> Vec<(String, Value)> {
    type Of = fn(&OnText) -> Mean;
    let means: [(&str, Of); 6] = [
        ("ppl_reference", |text| text.reference),
        ("ppl_candidate", |text| text.candidate),
        ("ln_ppl_ratio", |text| text.ln_ratio),
        ("ppl_ratio", |text| text.ratio),
        ("ppl_difference", |text| text.difference),
        ("rms_delta_p", |text| text.rms_delta_p),
    ];
    let both = |(key, mean): (&str, Of)| {
        let mean = text.map(mean);
        let error = (format!("{key}_error"), json!(mean.map(|mean| mean.error)));
        [(key.to_owned(), json!(mean.map(|mean| mean.value))), error]
    };
    let mut all: Vec<(String, Value)> = means.into_iter().flat_map(both).collect();
    let mut put = |key: &str, value: Value| all.push((key.to_owned(), value));
    put("ln_ppl_correlation", json!(text.and_then(|text| text.correlation)));
    put("mean_delta_p", json!(text.map(|text| text.delta_p.mean.value)));
    put("mean_delta_p_error", json!(text.map(|text| text.delta_p.mean.error)));
    put("max_delta_p", json!(text.map(|text| text.delta_p.max())));
    put("min_delta_p", json!(text.map(|text| text.delta_p.min())));
    let shares = |text: &OnText| percentiles(&text.delta_p, DELTA_P_SHARES);
    put("delta_p_percentiles", json!(text.map(shares)));
    all
}

/// `{"99.9": …, "50": …}`.
fn percentiles(spread: &Spread, shares: &[f64]) -> Map<String, Value> {
    let one = |share: &f64| (format!("{share}"), json!(spread.quantile(share / 100.0)));
    shares.iter().map(one).collect()
}

fn gate(gate: &super::Gate) -> Value {
    json!({
        "name": gate.name,
        "value": gate.value,
        "limit": gate.limit,
        "pass": gate.pass,
        "detail": gate.detail,
    })
}

fn tensor(tensor: &super::TensorReport) -> Value {
    json!({
        "name": tensor.name,
        "reference_name": tensor.reference_name,
        "dtype_reference": tensor.dtype_reference.name(),
        "dtype_candidate": tensor.dtype_candidate.name(),
        "nmse": tensor.nmse,
        "own_nmse": tensor.own_nmse,
        "max_abs_diff": tensor.max_abs_diff,
        "pass": tensor.pass,
    })
}

impl Diff {
    /// The difference as JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "differs": self.differs(),
            "a": self.a,
            "b": self.b,
            "equal": self.equal,
            "alike": self.alike.iter().map(|pair| json!({"a": pair.a, "b": pair.b, "axes": pair.axes}))
                .collect::<Vec<_>>(),
            "tensors": self.tensors.iter().map(difference).collect::<Vec<_>>(),
            "hyper_parameters": self.fields.iter()
                .map(|(field, text)| json!({"field": field, "text": text})).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

fn difference(tensor: &Difference) -> Value {
    let mut out = json!({"name": tensor.name, "difference": tensor.what.text()});
    let mut put = |key: &str, value: Value| {
        out[key] = value;
    };
    match &tensor.what {
        Unlike::OnlyInA | Unlike::OnlyInB => {}
        Unlike::Scaled { a } => put("name_a", json!(a)),
        Unlike::Shape { a, b } => {
            put("shape_a", json!(a.dims()));
            put("shape_b", json!(b.dims()));
        }
        Unlike::DType { a, b, nmse, max_abs_diff } => {
            put("dtype_a", json!(a.name()));
            put("dtype_b", json!(b.name()));
            put("nmse", json!(nmse));
            put("max_abs_diff", json!(max_abs_diff));
        }
        Unlike::Values { a, b, nmse, max_abs_diff, first } => {
            put("dtype_a", json!(a.name()));
            put("dtype_b", json!(b.name()));
            put("nmse", json!(nmse));
            put("max_abs_diff", json!(max_abs_diff));
            put("first_index", json!(first));
        }
    }
    out
}
