//! Model → Keras: `.weights.h5` as Keras 3 loads it, else `.h5` as all versions do.
//!
//! Where a weight belongs was found when it was read, and went along as metadata
//! (`read::keras`): `keras.paths` and `keras.layers`. A tensor that they do not name is an array
//! under its own name.

use ::hdf5::Text;
use indexmap::IndexMap;

use super::hdf5::Arrays;
use super::layout::Layout;
use super::{WriteOptions, json};
use crate::ir::value::List;
use crate::ir::{Error, Model, Notes, Result, Value};

/// Most bytes of an attribute that Keras writes; longer lists it cuts.
const ATTRIBUTE_MAX: usize = 64512;

/// Weights that belong to no layer, which Keras lists apart.
const TOP_LEVEL: &str = "top_level_model_weights";

/// Groups that hold layers, and are none.
const CONTAINERS: &[&str] = &["layers", "_layer_checkpoint_dependencies"];

/// The layout of the file that this model becomes.
///
/// # Errors
/// Unsupported for a `.keras` archive, and as for HDF5.
pub fn layout(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Layout> {
    if options.name.ends_with(".keras") {
        let text = "a .keras archive is not written by this version; name it .weights.h5 or .h5";
        return Err(Error::unsupported(text));
    }
    let mut file = Arrays::new("Keras", model, options, notes)?;
    let placed = match options.name.ends_with(".weights.h5") {
        true => weights(model, &mut file)?,
        false => legacy(model, &mut file)?,
    };
    let mut count = 0usize;
    let mut first = None;
    for (name, tensor) in model.tensors.iter().filter(|(name, _)| !placed.contains(name)) {
        file.add(name, name, tensor)?;
        count += 1;
        first = first.or(Some(name));
    }
    if let Some(first) = first {
        let text = format!(
            "{count} tensors, '{first}' the first, belong to no known layer: they are arrays under \
             their own names, which Keras does not load"
        );
        notes.chosen(&model.origin, text);
    }
    file.layout(options)
}

/// The map that was kept under a key.
fn map<'m>(model: &'m Model, key: &str) -> Option<&'m IndexMap<String, Value>> {
    match model.config.get(key) {
        Some(Value::Map(map)) => Some(map),
        _ => None,
    }
}

/// Variables by number, under the paths of their layers. Returns the names of those that have one.
fn weights<'m>(model: &'m Model, file: &mut Arrays<'m>) -> Result<Vec<&'m String>> {
    let mut placed = Vec::new();
    let mut named = IndexMap::new();
    for (name, path) in map(model, "keras.paths").into_iter().flatten() {
        let found = model.tensors.get_key_value(name);
        if let (Some(path), Some((name, tensor))) = (path.as_text(), found) {
            file.add(path, name, tensor)?;
            named.extend(layers(name, path));
            placed.push(name);
        }
    }
    for (path, seed) in map(model, "keras.seeds").into_iter().flatten() {
        if let Value::List(list) = seed {
            let numbers = (0..list.len()).filter_map(|no| list.get(no)?.as_u64()?.try_into().ok());
            file.add_numbers(path, &numbers.collect::<Vec<u32>>())?;
        }
    }
    for (path, name) in named {
        file.attribute(&format!("{path}/vars"), "name", Text::One(name))?;
    }
    Ok(placed)
}

/// The layers on the way to a variable, by path: each with its name.
fn layers(name: &str, path: &str) -> Vec<(String, String)> {
    let Some((path, number)) = path.rsplit_once("/vars/") else { return Vec::new() };
    let own = format!("/vars/{number}");
    let names = name.strip_suffix(&own).or_else(|| Some(name.rsplit_once('/')?.0));
    let names: Vec<&str> = names.unwrap_or_default().split('/').collect();
    let mut at = String::new();
    let mut paths = Vec::new();
    for segment in path.split('/') {
        at = if at.is_empty() { segment.to_owned() } else { format!("{at}/{segment}") };
        if !CONTAINERS.contains(&segment) {
            paths.push(at.clone());
        }
    }
    if paths.len() != names.len() {
        return Vec::new();
    }
    paths.into_iter().zip(names.into_iter().map(str::to_owned)).collect()
}

/// A group for each layer, which lists the weights in it. Returns the names of those listed.
fn legacy<'m>(model: &'m Model, file: &mut Arrays<'m>) -> Result<Vec<&'m String>> {
    let Some(layers) = map(model, "keras.layers") else { return Ok(Vec::new()) };
    let config = model.config.get("keras.config");
    let root = if config.is_some() { "model_weights" } else { "" };
    let mut placed = Vec::new();
    for (layer, weights) in layers {
        let group = if root.is_empty() { layer.clone() } else { format!("{root}/{layer}") };
        let listed =
            texts(weights).into_iter().filter_map(|name| model.tensors.get_key_value(name));
        let listed: Vec<_> = listed.collect();
        for (name, tensor) in &listed {
            file.add(&format!("{group}/{name}"), name, tensor)?;
        }
        file.tree.group(&group).map_err(Error::from)?;
        let names: Vec<String> = listed.iter().map(|(name, _)| (*name).clone()).collect();
        list(file, &group, "weight_names", names)?;
        placed.extend(listed.iter().map(|(name, _)| *name));
    }
    let names = layers.keys().filter(|name| *name != TOP_LEVEL).cloned().collect();
    list(file, root, "layer_names", names)?;
    for (name, key) in [("keras_version", "keras.version"), ("backend", "keras.backend")] {
        let unstated = if name == "backend" { "tensorflow" } else { "3.0.0" };
        let value = model.config.get(key).and_then(Value::as_text).unwrap_or(unstated);
        file.attribute("", name, Text::One(value.to_owned()))?;
        if !root.is_empty() {
            file.attribute(root, name, Text::One(value.to_owned()))?;
        }
    }
    for (name, key) in [("model_config", "keras.config"), ("training_config", "keras.training")] {
        if let Some(value) = model.config.get(key) {
            file.attribute("", name, Text::One(json::to_json(value)?.to_string()))?;
        }
    }
    Ok(placed)
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        // A list without items has no kind.
        Value::List(List::Any(items)) if items.is_empty() => Vec::new(),
        _ => value.as_texts().unwrap_or_default(),
    }
}

/// A list of names, cut into `name0`, `name1` and so on where it is too long for one attribute.
fn list(file: &mut Arrays<'_>, path: &str, name: &str, texts: Vec<String>) -> Result<()> {
    // Each has the room of the longest.
    let room = texts.iter().map(String::len).max().unwrap_or(0).max(1);
    let most = (ATTRIBUTE_MAX / room).max(1);
    if texts.len() <= most {
        return file.attribute(path, name, Text::Many(texts));
    }
    let pieces = texts.chunks(most).enumerate();
    pieces.into_iter().try_for_each(|(no, piece)| {
        file.attribute(path, &format!("{name}{no}"), Text::Many(piece.to_vec()))
    })
}
