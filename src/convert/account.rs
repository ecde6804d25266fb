//! Nothing is lost silently: every tensor of the source is mapped, tied, fused, or dropped for a
//! reason, and what is mapped is there.

use indexmap::IndexMap;

use crate::arch::{Fate, Ledger};
use crate::ir::{Error, Model, Notes, Result, Tensor};

/// The tensors of a model, by name.
type Tensors = IndexMap<String, Tensor>;

/// What became of every tensor of `source`, in its order: `ledger` says it of those `between`,
/// which some were renamed to when a graph was taken from around them.
///
/// # Errors
/// Loss for a tensor of which nothing is known, and for one that should be in `made` and is not.
pub(super) fn account(
    source: &Tensors,
    between: &Tensors,
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
    let renamed: Vec<(&String, &Tensor)> =
        between.iter().filter(|(name, _)| !source.contains_key(*name)).collect();
    let fate = |(name, tensor): (&String, &Tensor)| {
        let known = fates.get(name).cloned();
        let fate = known
            .or_else(|| {
                let to = renamed.iter().find(|(_, recipe)| is_made_of(recipe, tensor))?;
                fates.get(to.0).cloned()
            })
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
    source.iter().map(fate).collect()
}

fn is_made_of(recipe: &Tensor, tensor: &Tensor) -> bool {
    let inputs = || recipe.op().map(|op| op.inputs()).unwrap_or_default();
    recipe.is_same(tensor) || inputs().into_iter().any(|input| is_made_of(input, tensor))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ir::{Blob, DType, Fault, Naming, Op, Shape};

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
        let turned = Op::Transpose { input: source["val_1"].clone() };
        let mut between = tensors(&["a"]);
        between.insert("b".into(), Tensor::of(turned).unwrap());
        let mut notes = Notes::default();
        notes.lost("shape", "a constant");
        let ledger = vec![mapped("a", "A"), mapped("b", "B")];
        let made = model(&tensors(&["A", "B"]));
        let found = account(&source, &between, ledger, &made, &notes).unwrap();
        let dropped = ("shape".into(), Fate::Dropped("a constant".into()));
        assert_eq!(found, [mapped("a", "A"), mapped("val_1", "B"), dropped]);
    }

    #[test]
    fn what_is_lost_without_a_reason_is_refused() {
        let source = tensors(&["a", "b"]);
        let refused = |ledger: Ledger, made: &[&str], words: &str| {
            let made = model(&tensors(made));
            let error = account(&source, &source, ledger, &made, &Notes::default()).unwrap_err();
            assert_eq!(error.fault, Fault::Loss);
            assert!(error.to_string().contains(words), "{error}");
        };
        refused(vec![mapped("a", "A")], &["A"], "'b' would be lost without a reason");
        let both = vec![mapped("a", "A"), mapped("b", "B")];
        refused(both, &["A"], "'b' should become 'B', which is not written");
    }
}
