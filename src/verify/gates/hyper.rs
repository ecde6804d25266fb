//! The gate of hyper-parameters: what a model computes, beside its weights.

use indexmap::IndexMap;

use crate::arch;
use crate::ir::{Field, Hyper, Model, Naming, Result, Scalar, Value};
use crate::verify::report::{Finding, Gate};

/// What the gate is called.
pub(crate) const NAME: &str = "hyper-parameters";

/// GGUF holds the divisors of Llama 3's frequencies, so they are divided twice.
const FREQUENCY_TOLERANCE: f32 = 1e-6;

/// What the hyper-parameters of both sides say.
#[derive(Default)]
pub(crate) struct Compared {
    /// The reference's, if its family is known.
    pub(crate) reference: Option<Hyper>,
    /// Every field that differs.
    pub(crate) findings: Vec<Finding>,
    /// What was not compared, and why.
    pub(crate) notes: Vec<String>,
}

impl Compared {
    /// The gate.
    pub(crate) fn gate(&self) -> Gate {
        let holds = match (&self.reference, self.notes.first()) {
            (_, Some(note)) => note.as_str(),
            (Some(_), None) => "every field, and the rotary frequencies",
            (None, None) => "no family that is known: the configurations' entries",
        };
        Gate::none_of(NAME, &self.findings, holds)
    }

    fn differs(&mut self, field: &str, reference: impl Into<String>, candidate: impl Into<String>) {
        let text = format!("reference {}, candidate {}", reference.into(), candidate.into());
        self.findings.push(Finding::new(NAME, field, text));
    }
}

/// Compares what the two sides compute.
///
/// # Errors
/// What is wrong with the reference's configuration. The candidate's faults are findings.
pub(crate) fn compare(reference: &Model, candidate: &Model) -> Result<Compared> {
    let mut out = Compared::default();
    let Some(family) = arch::find(reference) else {
        entries(reference, candidate, &mut out);
        return Ok(out);
    };
    let expected = arch::hyper(family, reference).map_err(|error| error.at(&reference.origin))?;
    out.reference = Some(expected.clone());
    let Some(other) = arch::find(candidate) else {
        out.differs("architecture", family.gguf, said(candidate));
        return Ok(out);
    };
    if other.gguf != family.gguf {
        out.differs("architecture", family.gguf, other.gguf);
        return Ok(out);
    }
    match arch::hyper(other, candidate) {
        Ok(found) => fields(&expected, &found, &mut out),
        Err(error) => out.findings.push(Finding::new(NAME, "configuration", error.to_string())),
    }
    match (reference.naming, candidate.naming) {
        (Naming::HuggingFace, Naming::HuggingFace) => {
            let theirs = arch::flags(family, &reference.config);
            flags(&theirs, &arch::flags(other, &candidate.config), &mut out);
        }
        (Naming::Gguf, Naming::Gguf) => metadata(family.gguf, reference, candidate, &mut out),
        // What a flag says in config.json, the tensors say that are in a GGUF.
        _ => {}
    }
    let (theirs, ours) = (arch::is_tied(family, reference), arch::is_tied(other, candidate));
    let word = |tied| if tied { "tied to the embedding" } else { "of its own" };
    if theirs != ours {
        out.differs("output matrix", word(theirs), word(ours));
    }
    Ok(out)
}

fn said(model: &Model) -> String {
    let keys = ["general.architecture", "architectures", "model_type"];
    let found = keys.iter().find_map(|key| model.config.get(key));
    found.map_or_else(|| "none".into(), |value| format!("{value:?}"))
}

fn fields(expected: &Hyper, found: &Hyper, out: &mut Compared) {
    for &field in Field::ALL {
        let (theirs, ours) = (value(expected, field), value(found, field));
        if theirs != ours {
            out.differs(field.text(), text(theirs), text(ours));
        }
    }
    let (theirs, ours) = match (frequencies(expected), frequencies(found)) {
        (Ok(theirs), Ok(ours)) => (theirs, ours),
        (Err(_), Err(_)) => return,
        (theirs, ours) => {
            let word = |side: Result<_>| side.err().map_or("stated".into(), |e| e.to_string());
            return out.differs("rotary frequencies", word(theirs), word(ours));
        }
    };
    // A NaN, which a file of factors may hold, is near nothing.
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= FREQUENCY_TOLERANCE * a.abs();
    if theirs.0.len() != ours.0.len() {
        out.differs("rotary frequencies", theirs.0.len().to_string(), ours.0.len().to_string());
    } else if let Some(i) = theirs.0.iter().zip(&ours.0).position(|pair| !near(pair)) {
        let name = format!("rotary frequency {i} (rope theta or scaling)");
        out.differs(&name, format!("{:e}", theirs.0[i]), format!("{:e}", ours.0[i]));
    }
    if !near((&theirs.1, &ours.1)) {
        let name = "attention multiplier of the rope scaling";
        out.differs(name, theirs.1.to_string(), ours.1.to_string());
    }
}

/// Whether there are tensors that a family's model may have or lack: those that are there and not
/// used are in both files.
fn flags(theirs: &Flags, ours: &Flags, out: &mut Compared) {
    for (key, theirs) in theirs {
        if let Some(ours) = ours.get(key).filter(|ours| *ours != theirs) {
            out.differs(key, theirs.to_string(), ours.to_string());
        }
    }
}

type Flags = IndexMap<&'static str, bool>;

/// What two GGUFs of one architecture both say in words that no field has: llama.cpp may act on it.
fn metadata(architecture: &str, reference: &Model, candidate: &Model, out: &mut Compared) {
    /// Compared as frequencies, and as the window that they come to.
    const ELSEWHERE: [&str; 2] = ["rope.", "attention.sliding_window"];
    if !out.findings.is_empty() {
        return;
    }
    let prefix = format!("{architecture}.");
    for (key, theirs) in &reference.config.entries {
        let name = key.strip_prefix(&prefix);
        let name = name.filter(|name| !ELSEWHERE.iter().any(|other| name.starts_with(other)));
        let (Some(name), Some(ours)) = (name, candidate.config.get(key)) else { continue };
        if !says_the_same(theirs, ours) {
            out.differs(name, format!("{theirs:?}"), format!("{ours:?}"));
        }
    }
}

/// Makers of GGUF choose widths of integers, and a number for all layers or one for each.
fn says_the_same(a: &Value, b: &Value) -> bool {
    let numbers = |value: &Value| -> Option<Vec<f64>> {
        match value {
            Value::List(list) => (0..list.len()).map(|i| list.get(i)?.as_f64()).collect(),
            one => one.as_f64().map(|x| vec![x]),
        }
    };
    let (Some(theirs), Some(ours)) = (numbers(a), numbers(b)) else { return a == b };
    match (&theirs[..], &ours[..]) {
        ([one], many) | (many, [one]) => !many.is_empty() && many.iter().all(|x| x == one),
        _ => theirs == ours,
    }
}

/// The rotary frequencies of a text of one token, and of one as long as the context: some
/// scalings have others for long texts.
fn frequencies(hyper: &Hyper) -> Result<(Vec<f32>, f32)> {
    let (mut all, multiplier) = arch::frequencies(hyper, 1)?;
    all.extend(arch::frequencies(hyper, hyper.context.unwrap_or(1))?.0);
    Ok((all, multiplier))
}

/// The value that decides: a window as long as the context is none.
fn value(hyper: &Hyper, field: Field) -> Option<Scalar> {
    let value = hyper.get(field);
    let context = hyper.context.map(|n| n as f64);
    match (field, value, context) {
        (Field::SlidingWindow, Some(Scalar::Count(window)), Some(context))
            if window as f64 >= context =>
        {
            None
        }
        _ => value,
    }
}

fn text(value: Option<Scalar>) -> String {
    value.map_or_else(|| "none".into(), |value| value.to_string())
}

/// Models of no known family: the entries that both should have, as they are.
fn entries(reference: &Model, candidate: &Model, out: &mut Compared) {
    let sides = [reference, candidate];
    if reference.naming != candidate.naming
        || sides.iter().any(|side| side.config.entries.is_empty())
    {
        let text = "the family is not known, so hyper-parameters are not compared";
        out.notes.push(text.into());
        return;
    }
    let keys = reference.config.entries.keys().chain(candidate.config.entries.keys());
    let mut seen = indexmap::IndexSet::new();
    // What a format says of its own files, another cannot say.
    let own = sides.map(|side| format!("{}.", side.format));
    let one_format = reference.format == candidate.format;
    let is_own = |key: &str| !one_format && own.iter().any(|prefix| key.starts_with(prefix));
    for key in keys.filter(|key| !is_about_the_file(key) && !is_own(key)) {
        let (theirs, ours) = (reference.config.get(key), candidate.config.get(key));
        if !seen.insert(key) || theirs == ours {
            continue;
        }
        let text = |value: Option<&Value>| value.map_or("none".into(), |v| format!("{v:?}"));
        let (theirs, ours) = (text(theirs), text(ours));
        // A NaN is unequal to itself, but not to the same NaN in a copy of the file.
        if theirs != ours {
            out.differs(key, theirs, ours);
        }
    }
}

/// Whether both configurations say the same in the same words, but for how the files were made.
pub(crate) fn is_same(reference: &Model, candidate: &Model) -> bool {
    let said = |model: &Model| {
        let entries = model.config.entries.iter().filter(|(key, _)| !is_about_the_file(key));
        entries.map(|(key, value)| (key.clone(), format!("{value:?}"))).collect::<IndexMap<_, _>>()
    };
    said(reference) == said(candidate)
}

/// Entries that say how a file was made and not what the model computes.
fn is_about_the_file(key: &str) -> bool {
    let about = [
        "torch_dtype",
        "dtype",
        "transformers_version",
        "_name_or_path",
        "keras.version",
        "keras.backend",
    ];
    let prefixes = ["general.", "tokenizer.", "split.", "quantize.", "GGUF."];
    (about.contains(&key) || prefixes.iter().any(|prefix| key.starts_with(prefix)))
        && key != "general.architecture"
}
