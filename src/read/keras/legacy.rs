//! `.h5` of Keras 1 to 3: a group for each layer, whose attribute lists the weights in it.
//!
//! ```text
//!  /  @model_config @keras_version          /  @layer_names
//!  └─ model_weights  @layer_names           └─ conv2d  @weight_names
//!     └─ conv2d  @weight_names                 └─ conv2d/kernel:0
//!        └─ conv2d/kernel:0
//!     a model                                  weights alone
//! ```

use std::collections::BTreeSet;

use ::hdf5::{File, Object};

use super::layers::{Layers, is_frozen, is_like};
use super::{Found, Weighed, tell_training};
use crate::ir::{Error, Notes, Result};
use crate::read::hdf5::{has_group, texts};

/// Whether a file is laid out so.
pub(super) fn is(file: &File) -> bool {
    texts(file, root(file), "layer_names").is_some()
}

/// The group that holds the groups of layers.
fn root(file: &File) -> &'static str {
    if has_group(file, "model_weights") { "model_weights" } else { "" }
}

/// A weight that a layer lists.
struct Listed {
    /// Its name in the file.
    path: String,
    /// Its name without the layer's.
    inner: String,
}

pub(super) fn read(from: &Weighed<'_>, found: &mut Found, notes: &mut Notes) -> Result<()> {
    let root = root(from.file);
    let mut names = texts(from.file, root, "layer_names").unwrap_or_default();
    let own = "top_level_model_weights";
    names.extend(has_group(from.file, &join(root, own)).then(|| own.to_owned()));
    let mut seen = BTreeSet::new();
    let config = found.config.take();
    let layers = config.as_ref().map(|config| Layers::of(config, "layers")).unwrap_or_default();
    for layer in &names {
        let listed = listed(from.file, root, layer)?;
        let mut weights = Vec::new();
        for weight in &listed {
            let name = format!("{layer}/{}", weight.inner);
            let Some(Object::Dataset(dataset)) = from.file.objects.get(&weight.path) else {
                let text = format!("layer '{layer}' lists '{}', which is not there", weight.path);
                return Err(Error::malformed(text));
            };
            from.stored.add(&name, dataset, from.limits, &mut found.weights)?;
            seen.insert(weight.path.clone());
            weights.push(name);
        }
        tell_layer(&layers, layer, &weights, found);
        if found.layers.insert(layer.clone(), weights).is_some() {
            return Err(Error::malformed(format!("layer '{layer}' is listed twice")));
        }
    }
    drop(layers);
    found.config = config;
    tell_training(from.file, notes);
    others(from, &seen, found)
}

/// The weights that a layer lists, each with a name of its own.
fn listed(file: &File, root: &str, layer: &str) -> Result<Vec<Listed>> {
    let group = join(root, layer);
    let missing =
        || Error::malformed(format!("layer '{layer}' is listed, and has no weight_names"));
    let names = texts(file, &group, "weight_names").ok_or_else(missing)?;
    let short: Vec<String> = names.iter().map(|name| within(name, layer)).collect();
    let distinct: BTreeSet<&String> = short.iter().collect();
    // Two weights of a model within the model may differ in what was cut off.
    let keep = distinct.len() < short.len();
    let listed = names.iter().zip(short).map(|(name, short)| Listed {
        path: join(&group, name),
        inner: if keep { unnumbered(name).to_owned() } else { short },
    });
    Ok(listed.collect())
}

/// `conv2d/kernel:0` of the layer `conv2d` → `kernel`; of another layer → as it is.
fn within(name: &str, layer: &str) -> String {
    let name = unnumbered(name);
    match name.split_once('/') {
        Some((first, rest)) if first.starts_with(layer) => rest.to_owned(),
        _ => name.to_owned(),
    }
}

/// TensorFlow counts the outputs of an operator: a variable has one.
fn unnumbered(name: &str) -> &str {
    name.strip_suffix(":0").unwrap_or(name)
}

/// Says what the weights of a layer are, and where Keras 3 would keep them: variables in the order
/// of the configuration, those that are not trained last.
fn tell_layer(layers: &Layers<'_>, layer: &str, weights: &[String], found: &mut Found) {
    let Some(top) = layers.top.iter().position(|name| name == layer) else { return };
    let inside: Vec<_> = layers.all.iter().filter(|inner| inner.top == top).collect();
    let mut variables = Vec::new();
    for inner in inside {
        let Some(kind) = inner.kind else { continue };
        for (no, variable) in kind.all(inner.config).into_iter().enumerate() {
            variables.push((format!("{}/vars/{no}", inner.path), kind, variable.name));
        }
    }
    variables.sort_by_key(|(_, _, name)| is_frozen(name));
    let leaf = |weight: &String| weight.rsplit('/').next().unwrap_or(weight).to_owned();
    let pairs = || variables.iter().zip(weights);
    let fits = |((_, _, ours), theirs): (&(_, _, &str), &String)| is_like(ours, &leaf(theirs));
    if variables.len() != weights.len() || !pairs().all(fits) {
        return;
    }
    for ((path, kind, _), weight) in pairs() {
        found.paths.insert(weight.clone(), path.clone());
        found.tell_kernel(weight, Some(kind), &leaf(weight));
    }
}

/// What the file holds beside the weights of its layers, under its path.
fn others(from: &Weighed<'_>, seen: &BTreeSet<String>, found: &mut Found) -> Result<()> {
    let is_other = |path: &str| !seen.contains(path) && !super::is_training(path);
    for (path, dataset) in from.file.datasets().filter(|(path, _)| is_other(path)) {
        from.stored.add(path, dataset, from.limits, &mut found.weights)?;
    }
    Ok(())
}

fn join(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") }
}
