//! Nothing is lost silently: every tensor of the source is mapped, tied, fused, or dropped for a
//! reason, and what is mapped is there.

use indexmap::IndexMap;

use crate::arch::{Fate, Ledger};
use crate::ir::{Error, Model, Notes, Result, Tensor};
use crate::transform::Renamed;

/// The tensors of a model, by name.
type Tensors = IndexMap<String, Tensor>;

/// What became of every tensor of `source`, in its order: `ledger` says it of the names that they
/// had once they were `renamed`, step by step, when a graph was taken from around them.
///
/// # Errors
/// Loss for a tensor of which nothing is known, and for one that should be in `made` and is not.
pub(super) fn account(
    source: &Tensors,
    renamed: &[Renamed],
    ledger: Ledger,
    made: &Model,
    notes: &Notes,
) -> Result<Ledger> {
    let fates: IndexMap<String, Fate> = ledger.into_iter().collect();
    // What was said first of a tensor; models have a hundred thousand of both.
    let mut reasons: IndexMap<&str, &str> = IndexMap::new();
    for note in notes.iter() {
        reasons.entry(&note.subject).or_insert(&note.text);
    }
    let fate = |name: &String| {
        let now = renamed.iter().fold(name, |name, step| step.get(name).unwrap_or(name));
        let known = fates.get(now).cloned();
        let fate = known
            .or_else(|| {
                let reason = reasons.get(name.as_str())?;
                Some(Fate::Dropped((*reason).to_owned()))
            })
            .ok_or_else(|| {
                Error::loss(format!("tensor '{name}' would be lost without a reason"))
            })?;
        match &fate {
            Fate::Mapped(to) if !made.tensors.contains_key(to) => {
                let text = format!("tensor '{name}' should become '{to}', which is not written");
                Err(Error::loss(text))
            }
            _ => Ok((name.clone(), fate)),
        }
    };
    source.keys().map(fate).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ir::{Blob, DType, Fault, Naming, Shape};

    fn tensors(names: &[&str]) -> Tensors {
        let blob = Arc::new(Blob::memory("in", vec![0; 64]));
        let tensor = |at: usize| {
            let shape = Shape::new(vec![2, 2]).unwrap();
            Tensor::span(DType::F32, shape, Arc::clone(&blob), at as u64 * 16).unwrap()
        };
        names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), tensor(at))).collect()
    }

    fn model(tensors: &Tensors) -> Model {
        Model { naming: Naming::Gguf, tensors: tensors.clone(), ..Model::empty("test", "in") }
    }

    fn mapped(name: &str, to: &str) -> (String, Fate) {
        (name.into(), Fate::Mapped(to.into()))
    }

    #[test]
    fn a_tensor_that_got_another_name_is_followed() {
        let source = tensors(&["a", "val_1", "shape"]);
        let step = |from: &str, to: &str| Renamed::from([(from.to_owned(), to.to_owned())]);
        let renamed = [step("val_1", "long"), step("long", "b")];
        let mut notes = Notes::default();
        notes.lost("shape", "a constant");
        let ledger = vec![mapped("a", "A"), mapped("b", "B")];
        let made = model(&tensors(&["A", "B"]));
        let found = account(&source, &renamed, ledger, &made, &notes).unwrap();
        let dropped = ("shape".into(), Fate::Dropped("a constant".into()));
        assert_eq!(found, [mapped("a", "A"), mapped("val_1", "B"), dropped]);
    }

    #[test]
    fn what_is_lost_without_a_reason_is_refused() {
        let source = tensors(&["a", "b"]);
        let refused = |ledger: Ledger, made: &[&str], words: &str| {
            let made = model(&tensors(made));
            let error = account(&source, &[], ledger, &made, &Notes::default()).unwrap_err();
            assert_eq!(error.fault, Fault::Loss);
            assert!(error.to_string().contains(words), "{error}");
        };
        refused(vec![mapped("a", "A")], &["A"], "'b' would be lost without a reason");
        let both = vec![mapped("a", "A"), mapped("b", "B")];
        refused(both, &["A"], "'b' should become 'B', which is not written");
    }
}
