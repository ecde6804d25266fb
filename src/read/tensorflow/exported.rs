//! What `Model.export` of Keras 3 lists twice.
//!
//! ```text
//!  variables/0, variables/1 …            all variables, in the model's order
//!  _all_variables/0, _all_variables/1 …  those that the functions use, as objects of their own:
//!                                        the same bytes once more, in another order
//! ```
//!
//! Neither path says which layer a variable is of; what Keras calls it does, unless layers share a
//! name. Source: `keras/src/export/saved_model_export_archive.py` 3.15.

use std::collections::{BTreeMap, BTreeSet};

use tensorflow::{Data, Objects, Piece, Saved, Tensor};

use super::checkpoint::VALUE;

/// The list of all variables.
const FIRST: &str = "variables";

/// The list of those that are used.
const AGAIN: &str = "_all_variables";

/// What is known of variables that Keras exported, by the names of their tensors.
#[derive(Debug, Default)]
pub(super) struct Exported {
    /// For those that are there again, the first.
    again: BTreeMap<String, String>,
    /// What Keras calls each, if no two have one name.
    own: BTreeMap<String, String>,
}

/// What the two of one variable have in common: name, type, dimensions, checksum.
type Mark<'a> = (&'a str, &'static str, &'a [u64], u32);

impl Exported {
    /// Looks for both lists; without them nothing is known.
    pub(super) fn of(objects: &Objects, tensors: &[Tensor]) -> Self {
        let (Some(first), Some(again)) = (list(objects, FIRST), list(objects, AGAIN)) else {
            return Self::default();
        };
        let tensors: BTreeMap<&str, &Tensor> =
            tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let known: BTreeSet<&str> = first.iter().map(|value| value.key.as_str()).collect();
        let again = again.into_iter().filter(|value| !known.contains(value.key.as_str()));
        // Layers of one name may have equal variables: each is the first of one other.
        let mut free: BTreeMap<Mark<'_>, Vec<&str>> = BTreeMap::new();
        for value in first.iter().rev() {
            if let Some(mark) = mark(value, &tensors) {
                free.entry(mark).or_default().push(&value.key);
            }
        }
        let (mut pairs, mut single) = (BTreeMap::new(), first.clone());
        for value in again {
            let same = mark(value, &tensors).and_then(|mark| free.get_mut(&mark)?.pop());
            match same {
                Some(same) => _ = pairs.insert(value.key.clone(), same.to_owned()),
                None => single.push(value),
            }
        }
        let own = own_names(&single, &pairs, &tensors).unwrap_or_default();
        Self { again: pairs, own }
    }

    /// Whether this tensor is one that is there under another name.
    pub(super) fn is_again(&self, key: &str) -> bool {
        self.again.contains_key(key)
    }

    /// The name in the model of the variable with this tensor.
    pub(super) fn name<'k>(&'k self, key: &'k str) -> &'k str {
        let key = self.again.get(key).map_or(key, String::as_str);
        let own = self.own.get(key).map(String::as_str);
        own.unwrap_or_else(|| key.strip_suffix(VALUE).unwrap_or(key))
    }
}

/// The variables of a list that the root has.
fn list<'o>(objects: &'o Objects, name: &str) -> Option<Vec<&'o Saved>> {
    let (_, at) = objects.nodes.first()?.children.iter().find(|(child, _)| child == name)?;
    let items = objects.nodes.get(*at)?.children.iter();
    let nodes = items.filter_map(|(_, at)| objects.nodes.get(*at));
    let value =
        |node: &'o tensorflow::Object| node.values.iter().find(|value| value.key.ends_with(VALUE));
    Some(nodes.filter_map(value).collect())
}

/// Nothing for what has no one checksum.
fn mark<'a>(value: &'a Saved, tensors: &BTreeMap<&str, &'a Tensor>) -> Option<Mark<'a>> {
    let tensor = tensors.get(value.key.as_str())?;
    let [Piece { data: Data::Shard { sum, .. }, .. }] = &tensor.pieces[..] else { return None };
    Some((&value.own_name, tensor.kind.name(), &tensor.dims, *sum))
}

/// What Keras calls these variables, by their keys; nothing if that does not tell them apart, from
/// each other and from everything else that is read.
fn own_names(
    variables: &[&Saved],
    again: &BTreeMap<String, String>,
    tensors: &BTreeMap<&str, &Tensor>,
) -> Option<BTreeMap<String, String>> {
    let own: BTreeMap<String, String> =
        variables.iter().map(|value| (value.key.clone(), value.own_name.clone())).collect();
    let others =
        tensors.keys().filter(|key| !own.contains_key(**key) && !again.contains_key(**key));
    let mut taken: BTreeSet<&str> =
        others.map(|key| key.strip_suffix(VALUE).unwrap_or(key)).collect();
    let are_apart = own.values().all(|name| !name.is_empty() && taken.insert(name));
    are_apart.then_some(own)
}
