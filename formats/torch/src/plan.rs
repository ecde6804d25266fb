//! From named views to tensors whose bytes are known to exist.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::{Error, Result, Why};

use crate::names::Named;
use crate::value::Pickle;
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
    let mut ties = Ties::default();
    for (name, view) in named.tensors {
        let Some(storage) = storages.get(view.storage as usize) else { continue };
        unique(&name, view.at)?;
        let dtype = match view.element.plain() {
            Ok(dtype) => dtype,
            Err(what) => {
                refused.push(Refused { name, what });
                continue;
            }
        };
        let counts = |id| pickle.row(id).iter().map(|&id| pickle.count(id)).collect::<Vec<u64>>();
        let stated = Stated {
            name,
            dtype,
            shape: counts(view.shape),
            strides: counts(view.strides),
            element_offset: pickle.count(view.offset),
            at: view.at,
        };
        let mut tensor = stated.within(storage, pickle.limits.expanded)?;
        tensor.same_as = ties.first(&tensor, tensors.len());
        tensors.push(tensor);
    }
    Ok(())
}

/// A storage, type, first element, sizes and strides.
type View = (usize, Dtype, u64, Vec<u64>, Vec<u64>);

/// The first tensor of each view.
#[derive(Default)]
pub(crate) struct Ties(BTreeMap<View, usize>);

impl Ties {
    /// The first tensor that is the same view of the same storage as the one at `place`, if that
    /// is not the first itself.
    pub(crate) fn first(&mut self, tensor: &TensorInfo, place: usize) -> Option<usize> {
        let TensorInfo { dtype, element_offset, shape, strides, storage, .. } = tensor;
        // A storage is one value, to which all its tensors refer.
        let storage = Arc::as_ptr(storage).addr();
        let view = (storage, *dtype, *element_offset, shape.clone(), strides.clone());
        match self.0.entry(view) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(free) => {
                free.insert(place);
                None
            }
        }
    }
}

/// A tensor as a file states it.
pub(crate) struct Stated {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    pub(crate) strides: Vec<u64>,
    pub(crate) element_offset: u64,
    /// Where the file says so.
    pub(crate) at: u64,
}

impl Stated {
    /// The tensor, all of whose elements this storage has; of more than `max` bytes only if the
    /// storage has as many.
    ///
    /// # Errors
    /// `Malformed`, naming the tensor, for a view that reaches outside; `TooLarge` for one that
    /// repeats elements too often.
    pub(crate) fn within(self, storage: &Arc<Storage>, max: u64) -> Result<TensorInfo> {
        let Self { name, dtype, shape, strides, element_offset, at } = self;
        let what = || format!("tensor {}", quoted(&name));
        let invalid = |rule: String| Error::invalid(at, what(), rule);
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
                "shape {shape:?} with strides {strides:?} from element {element_offset} needs \
                 {end} elements, but storage {} has {elements}",
                quoted(&storage.key)
            );
            return Err(invalid(rule));
        }
        if bytes > storage.len && bytes > max {
            let why = Why::TooLarge { value: bytes, max, lift: "expanded" };
            return Err(Error::new(at, what(), why));
        }
        let storage = Arc::clone(storage);
        Ok(TensorInfo { name, dtype, shape, strides, storage, element_offset, same_as: None })
    }
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
