//! From named views to tensors whose bytes are known to exist.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::{Error, Result, Why};

use crate::names::Named;
use crate::value::{Pickle, View};
use crate::{Checkpoint, Dtype, Refused, Storage, TensorInfo};
use zip::quoted;

/// Adds the named views to a checkpoint; `storages` stand in the order of the pickle's.
///
/// # Errors
/// `Malformed`, naming the tensor, for a view that reaches outside its storage or a name given
/// twice.
pub(crate) fn add(
    checkpoint: &mut Checkpoint,
    pickle: &Pickle,
    storages: &[Arc<Storage>],
    named: Named<'_>,
) -> Result<()> {
    let Checkpoint { tensors, refused, notes, .. } = checkpoint;
    notes.extend(named.notes);
    let known = tensors.iter().map(|tensor| &tensor.name);
    let known = known.chain(refused.iter().map(|tensor| &tensor.name));
    let mut names: BTreeSet<String> = known.cloned().collect();
    let mut unique = |name: &str, at: u64| {
        if names.insert(name.to_owned()) {
            return Ok(());
        }
        let what = format!("tensor {}", quoted(name));
        Err(Error::invalid(at, what, "two paths of keys lead to this name"))
    };
    for tensor in named.refused {
        unique(&tensor.name, pickle.start)?;
        refused.push(tensor);
    }
    let mut first = BTreeMap::new();
    for (name, view) in named.tensors {
        let Some(storage) = storages.get(view.storage as usize) else { continue };
        unique(&name, view.at)?;
        let dtype = match view.dtype() {
            Ok(dtype) => dtype,
            Err(what) => {
                refused.push(Refused { name, what });
                continue;
            }
        };
        let mut tensor = tensor(pickle, name, (view, dtype), storage)?;
        let same =
            (view.storage, tensor.element_offset, tensor.shape.clone(), tensor.strides.clone());
        match first.entry((same, tensor.dtype)) {
            Entry::Occupied(first) => tensor.same_as = Some(*first.get()),
            Entry::Vacant(place) => {
                place.insert(tensors.len());
            }
        }
        tensors.push(tensor);
    }
    Ok(())
}

fn tensor(
    pickle: &Pickle,
    name: String,
    (view, dtype): (&View, Dtype),
    storage: &Arc<Storage>,
) -> Result<TensorInfo> {
    let what = || format!("tensor {}", quoted(&name));
    let counts = |id| pickle.row(id).iter().map(|&id| pickle.count(id)).collect::<Vec<u64>>();
    let (shape, strides) = (counts(view.shape), counts(view.strides));
    let element_offset = pickle.count(view.offset);
    let invalid = |rule: String| Error::invalid(view.at, what(), rule);
    if shape.len() != strides.len() {
        let rule = format!("{} sizes, but {} strides", shape.len(), strides.len());
        return Err(invalid(rule));
    }
    let bytes = wire::product(&shape).and_then(|count| count.checked_mul(dtype.bytes()));
    let Some(bytes) = bytes else {
        return Err(invalid(format!("its shape {shape:?} does not fit in 64 bits")));
    };
    let elements = storage.len.checked_div(dtype.bytes()).unwrap_or(0);
    let end = end(element_offset, &shape, &strides);
    if end.is_none_or(|end| end > elements) {
        let end = end.map_or("beyond 64 bits of".to_owned(), |end| end.to_string());
        let rule = format!(
            "shape {shape:?} with strides {strides:?} from element {element_offset} needs {end} \
             elements, but storage {} has {elements}",
            quoted(&storage.key)
        );
        return Err(invalid(rule));
    }
    let max = pickle.limits.expanded;
    if bytes > storage.len && bytes > max {
        let why = Why::TooLarge { value: bytes, max, lift: "expanded" };
        return Err(Error::new(view.at, what(), why));
    }
    let storage = Arc::clone(storage);
    Ok(TensorInfo { name, dtype, shape, strides, storage, element_offset, same_as: None })
}

/// One more than the last element that the view reaches.
fn end(offset: u64, shape: &[u64], strides: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(offset);
    }
    let mut steps = shape.iter().zip(strides);
    let last = steps.try_fold(offset, |at, (&size, &stride)| {
        at.checked_add(size.checked_sub(1)?.checked_mul(stride)?)
    });
    last?.checked_add(1)
}
