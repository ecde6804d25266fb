//! The tensors of an output: of what each was made, by which steps, and how far it is from that.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::arch::Fate;
use crate::convert::Made;
use crate::ir::{Blob, Op, Result, Tensor};
use crate::verify;
use crate::write::{Layout, Part};

/// Every tensor of the output, in its files' order; `files` are the files, as they were written.
pub(super) fn of(layout: &Layout, files: &[Arc<Blob>], made: &Made) -> Result<Vec<Json>> {
    let sources = sources(made);
    let mut all = Vec::new();
    for (plan, file) in layout.files.iter().zip(files) {
        for (offset, part) in &plan.parts {
            let Part::Tensor { name, tensor } = part else { continue };
            let error = error(tensor, file, *offset).map_err(|e| e.at(name))?;
            let (mut dtypes, mut steps) = (Vec::new(), Vec::new());
            walk(tensor, &mut dtypes, &mut steps);
            all.push(json!({
                "name": name,
                "file": plan.name,
                "dtype": tensor.dtype().name(),
                "shape": tensor.shape().dims(),
                "sources": sources.get(name.as_str()).cloned().unwrap_or_default(),
                "source_dtypes": dtypes,
                "steps": steps,
                "error": error,
            }));
        }
    }
    Ok(all)
}

/// The names of the source's tensors that each tensor of the output is made of.
fn sources(made: &Made) -> BTreeMap<&str, Vec<&str>> {
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, fate) in &made.ledger {
        let targets: Vec<&str> = match fate {
            Fate::Mapped(to) => vec![to],
            Fate::Fused(to) => to.split(", ").collect(),
            Fate::Tied(_) | Fate::Dropped(_) => Vec::new(),
        };
        for to in targets {
            all.entry(to).or_default().push(name);
        }
    }
    all
}

/// The types that a recipe reads, each once, and its steps, first to last.
fn walk(tensor: &Tensor, dtypes: &mut Vec<&'static str>, steps: &mut Vec<String>) {
    let Some(op) = tensor.op() else {
        let name = tensor.dtype().name();
        if !dtypes.contains(&name) {
            dtypes.push(name);
        }
        return;
    };
    op.inputs().into_iter().for_each(|input| walk(input, dtypes, steps));
    steps.push(op.to_string());
}

/// How far a tensor, as it stands in the file, is from what was put into its type.
fn error(tensor: &Tensor, file: &Arc<Blob>, offset: u64) -> Result<Option<Json>> {
    let exact = before_rounding(tensor);
    if exact.dtype() == tensor.dtype() {
        return Ok(None);
    }
    let written = Tensor::span(tensor.dtype(), tensor.shape().clone(), Arc::clone(file), offset)?;
    let apart = verify::apart(exact, &written)?;
    Ok(apart.map(|apart| json!({ "nmse": apart.nmse, "max_abs_diff": apart.max_abs_diff })))
}

/// The recipe without the steps that give its values another type.
fn before_rounding(tensor: &Tensor) -> &Tensor {
    match tensor.op() {
        Some(Op::Pack { input, .. } | Op::Cast { input, .. } | Op::Clamp { input, .. }) => {
            before_rounding(input)
        }
        _ => tensor,
    }
}
