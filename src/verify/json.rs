//! The machine form of a report and of a difference. Scripts depend on the names of the fields.

use serde_json::{Map, Value, json};

use super::{Diff, Difference, Report, Unlike};

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
        put("positions", json!(logits.map_or(0, |m| m.positions)));
        put("mean_kld", json!(logits.map(|m| m.mean_kld)));
        put("mean_kld_error", json!(logits.map(|m| m.mean_kld_error)));
        put("median_kld", json!(logits.map(|m| m.median_kld)));
        put("max_kld", json!(logits.map(|m| m.max_kld)));
        put("p99_kld", json!(logits.map(|m| m.p99_kld)));
        put("top1_agreement", json!(logits.map(|m| m.top1_agreement)));
        put("top1_agreement_error", json!(logits.map(|m| m.top1_error)));
        put("nmse", json!(logits.map(|m| m.nmse)));
        put("max_abs_diff", json!(logits.map(|m| m.max_abs_diff)));
        put("ppl_reference", json!(logits.and_then(|m| m.ppl_reference)));
        put("ppl_candidate", json!(logits.and_then(|m| m.ppl_candidate)));
        put("gates", self.gates.iter().map(gate).collect());
        put("tensors", self.tensors.iter().map(tensor).collect());
        let finding =
            |f: &super::Finding| json!({"gate": f.gate, "subject": f.subject, "text": f.text});
        put("findings", self.findings.iter().map(finding).collect());
        put("notes", json!(self.notes));
        Value::Object(all)
    }
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
