//! Weights of Keras 3 (and of `.keras` files since 2.12): variables by number, under the path of
//! Python attributes that leads to their layer.
//!
//! ```text
//!  layers/conv2d/vars  @name conv1          the layer's own name, since Keras 3.6
//!  layers/conv2d/vars/0                     conv1/kernel
//!  layers/conv2d/vars/1                     conv1/bias
//!  layers/lstm/cell/vars/0                  lstm/lstm_cell/kernel
//!  optimizer/vars/0
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use ::hdf5::{Dataset, File};

use super::layers::{Kind, Layers, is_frozen};
use super::{Found, Weighed, container, tell_training};
use crate::ir::{Notes, Result, Value};
use crate::read::hdf5::{has_group, texts};

/// Whether a file is laid out so.
pub(super) fn is(file: &File) -> bool {
    let is_variable = |path: &str| split(path).is_some();
    file.datasets().any(|(path, _)| is_variable(path)) || has_group(file, "layers")
}

/// `layers/conv2d/vars/0` → the layer's path, and the variable's number.
fn split(path: &str) -> Option<(&str, usize)> {
    let (layer, number) = path.rsplit_once('/')?;
    let layer = layer.strip_suffix("vars")?;
    Some((layer.strip_suffix('/').unwrap_or(layer), number.parse().ok()?))
}

/// A layer of a file: how it is called, what it is, and where it stands among the others.
#[derive(Clone, Default)]
struct Known<'c> {
    name: Vec<String>,
    kind: Option<&'static Kind>,
    config: Option<&'c Value>,
    /// Places on the way; then names with their numbers, where no place is known.
    order: Vec<(usize, String, u64)>,
}

pub(super) fn read(from: &Weighed<'_>, found: &mut Found, notes: &mut Notes) -> Result<()> {
    let config = found.config.take();
    let container = container(from.file);
    let layers = config.as_ref().map(|config| Layers::of(config, container)).unwrap_or_default();
    let mut by_layer: BTreeMap<&str, BTreeMap<usize, &Arc<Dataset>>> = BTreeMap::new();
    let mut others = Vec::new();
    for (path, dataset) in from.file.datasets().filter(|(path, _)| !super::is_training(path)) {
        match split(path) {
            Some((layer, no)) => drop(by_layer.entry(layer).or_default().insert(no, dataset)),
            None => others.push((path, dataset)),
        }
    }
    let known = by_layer.keys().map(|path| (*path, known(from.file, &layers, path)));
    let mut known: Vec<(&str, Known<'_>)> = known.collect();
    known.sort_by(|(_, a), (_, b)| a.order.cmp(&b.order));
    // Layers without weights have their place in the list, too.
    found.layers.extend(layers.top.iter().map(|name| (name.clone(), Vec::new())));
    for (path, layer) in &known {
        if let Some(variables) = by_layer.get(path) {
            take(from, path, layer, variables, found)?;
        }
    }
    for (path, dataset) in others {
        from.stored.add(path, dataset, from.limits, &mut found.weights)?;
    }
    for weights in found.layers.values_mut() {
        weights.sort_by_key(|name| is_frozen(name));
    }
    tell_training(from.file, notes);
    drop((known, layers));
    found.config = config;
    Ok(())
}

/// Follows a path from the root, and collects what is known on the way.
fn known<'c>(file: &File, layers: &Layers<'c>, path: &str) -> Known<'c> {
    let mut known = Known::default();
    let mut at = String::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        at = if at.is_empty() { segment.to_owned() } else { format!("{at}/{segment}") };
        let stated =
            texts(file, &format!("{at}/vars"), "name").and_then(|texts| texts.into_iter().next());
        let child = known.kind.and_then(|kind| kind.child(segment));
        let listed = layers.get(&at);
        let place = listed.map(|(no, _)| no).or(child.as_ref().map(|child| child.place));
        known.order.push(ordered(place, segment));
        if let Some((_, layer)) = listed {
            (known.kind, known.config) = (layer.kind, layer.config);
            known.name.push(stated.unwrap_or_else(|| layer.name.clone()));
        } else if stated.is_some() || has_group(file, &format!("{at}/vars")) {
            let own = child.as_ref().and_then(|child| child.name);
            known.kind = child.as_ref().and_then(|child| child.kind);
            known.kind = known.kind.or_else(|| Kind::of_segment(segment, stated.as_deref()));
            known.name.push(stated.unwrap_or_else(|| own.unwrap_or(segment).to_owned()));
        }
    }
    known
}

/// What segments are sorted by: `dense_10` comes after `dense_2`.
fn ordered(place: Option<usize>, segment: &str) -> (usize, String, u64) {
    let stem = super::layers::base(segment);
    let number = segment.strip_prefix(stem).and_then(|rest| rest.strip_prefix('_'));
    let number = number.and_then(|number| number.parse().ok()).unwrap_or(0);
    (place.unwrap_or(usize::MAX), stem.to_owned(), number)
}

/// Adds the variables of a layer.
fn take(
    from: &Weighed<'_>,
    path: &str,
    layer: &Known<'_>,
    variables: &BTreeMap<usize, &Arc<Dataset>>,
    found: &mut Found,
) -> Result<()> {
    let names = layer.kind.map(|kind| kind.variables(layer.config, variables.len()));
    let names = names.unwrap_or_default();
    let prefix = layer.name.join("/");
    for (no, dataset) in variables {
        let place =
            if path.is_empty() { format!("vars/{no}") } else { format!("{path}/vars/{no}") };
        if path.rsplit('/').next() == Some("seed_generator")
            && let Some(seed) = seed(from, dataset)
        {
            found.seeds.insert(place, seed);
            continue;
        }
        let variable = names.get(*no).map(|variable| variable.name);
        let own = variable.map_or_else(|| format!("vars/{no}"), str::to_owned);
        let name = if prefix.is_empty() { own } else { format!("{prefix}/{own}") };
        from.stored.add(&name, dataset, from.limits, &mut found.weights)?;
        found.tell_kernel(&name, layer.kind, variable.unwrap_or_default());
        if let Some(top) = layer.name.first() {
            found.layers.entry(top.clone()).or_default().push(name.clone());
        }
        found.paths.insert(name, place);
    }
    Ok(())
}

/// The two numbers of a random generator.
fn seed(from: &Weighed<'_>, dataset: &Arc<Dataset>) -> Option<Vec<u32>> {
    let bytes = from.stored.small(dataset, from.limits)?;
    let is_seed = dataset.datatype.size == 4 && bytes.len() == 8;
    is_seed.then(|| bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
}
