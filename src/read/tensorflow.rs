//! TensorFlow → Model: checkpoints of both versions, SavedModels, graphs.
//!
//! A variable has the name that `tf.train.list_variables` shows, without
//! `/.ATTRIBUTES/VARIABLE_VALUE`; a constant that of its node, after that of its function and a `/`.
//! Nothing of a graph is run, and no file is opened but the model's own.

mod checkpoint;
mod constant;
mod exported;
mod graph;
mod join;
mod kernels;
mod saved;

use std::path::Path;
use std::sync::Arc;

use super::hub::{self, Weights};
use crate::ir::{Blob, Error, Limits, Model, Notes, Result};
use crate::store::Source;

/// The file of a SavedModel that says what it is.
const SAVED_MODEL: &str = "saved_model.pb";

/// The file of a directory that names its newest checkpoint.
const STATE: &str = "checkpoint";

/// What a source is.
enum Found {
    /// A table: the index of a checkpoint, or a whole one of version 1.
    Checkpoint(String),
    SavedModel(String),
    Graph(String),
    /// The file that names a checkpoint.
    State,
}

/// Whether the source is any of these, by its content.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    Ok(found(source)?.is_some())
}

/// Reads the tensors, and what lies beside them.
///
/// # Errors
/// What the containers say; Malformed if index and files of weights contradict each other.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    // Who names the format is told what is wrong with the file as a checkpoint.
    let is_message = |name: &&str| Path::new(name).extension().is_some_and(|end| end == "pb");
    let claimed = source.entry().filter(|name| !is_message(name));
    let claimed = || claimed.map(|name| Found::Checkpoint(name.to_owned()));
    let nothing = || {
        let text = match source.entry() {
            Some(_) => "neither a SavedModel, a graph nor a checkpoint of TensorFlow".to_owned(),
            None => format!(
                "no model of TensorFlow here: expected {SAVED_MODEL}, {STATE} or one *.index"
            ),
        };
        Error::malformed(text).at(source.label())
    };
    match found(source)?.or_else(claimed).ok_or_else(nothing)? {
        Found::Checkpoint(name) => checkpoint(source, &name, limits, notes),
        Found::State => checkpoint(source, &checkpoint::newest(source, limits)?, limits, notes),
        Found::SavedModel(name) => saved::read(source, &name, limits, notes),
        Found::Graph(name) => {
            let weights = graph::frozen(&source.open(&name)?, limits, notes)?;
            model(weights, source, limits, notes)
        }
    }
}

/// What the container may take.
fn container(limits: &Limits) -> tensorflow::Limits {
    tensorflow::Limits {
        protobuf: super::onnx::container(limits),
        block: limits.tensorflow_block,
        key: limits.tensorflow_key,
    }
}

fn checkpoint(
    source: &dyn Source,
    name: &str,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<Model> {
    let (variables, version) = checkpoint::read(source, name, limits, notes)?;
    let mut model = model(variables.weights, source, limits, notes)?;
    model.version = Some(version);
    Ok(model)
}

fn model(
    weights: Weights,
    source: &dyn Source,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<Model> {
    hub::model("tensorflow", weights, source, limits, notes)
}

fn found(source: &dyn Source) -> Result<Option<Found>> {
    let Some(name) = source.entry() else { return in_directory(source) };
    let blob = source.open(name)?;
    let head = super::head(&blob)?;
    if tensorflow::probe(&*blob) {
        return Ok(Some(Found::Checkpoint(name.to_owned())));
    }
    if name == STATE && head.starts_with(b"model_checkpoint_path") {
        return Ok(Some(Found::State));
    }
    if let Some(index) = index_of(name)
        && source.find(&index)?.is_some_and(|blob| tensorflow::probe(&*blob))
    {
        return Ok(Some(Found::Checkpoint(index)));
    }
    if name == SAVED_MODEL || tensorflow::probe_saved_model(&head) {
        return Ok(Some(Found::SavedModel(name.to_owned())));
    }
    Ok(tensorflow::probe_graph(&head).then(|| Found::Graph(name.to_owned())))
}

fn in_directory(source: &dyn Source) -> Result<Option<Found>> {
    let names = source.names()?;
    let has = |name: &str| names.iter().any(|other| other == name);
    if has(SAVED_MODEL) {
        return Ok(Some(Found::SavedModel(SAVED_MODEL.to_owned())));
    }
    if has(STATE) {
        return Ok(Some(Found::State));
    }
    let indexes: Vec<&String> = names.iter().filter(|name| name.ends_with(".index")).collect();
    let [index] = indexes[..] else { return Ok(None) };
    let is_table = tensorflow::probe(&*source.open(index)?);
    Ok(is_table.then(|| Found::Checkpoint(index.clone())))
}

/// The index of the checkpoint that a file of weights belongs to: `x.data-00000-of-00001`.
fn index_of(name: &str) -> Option<String> {
    let (prefix, rest) = name.rsplit_once(".data-")?;
    let (no, count) = rest.split_once("-of-")?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(no) && is_number(count)).then(|| format!("{prefix}.index"))
}

/// Numbers that a message spells out, as bytes.
fn made(blob: &Blob, bytes: Vec<u8>) -> Arc<Blob> {
    Arc::new(Blob::memory(blob.name(), bytes))
}
