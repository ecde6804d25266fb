//! ONNX → Model: weights where they lie, and the graph that computes with them.
//!
//! Every constant is a tensor of the model, under its own name or, within a node, under the path
//! to it: `node/attribute/name`. Files beside the model are opened only below its directory.

mod graph;
mod order;
mod tensor;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;

pub use self::value::{file_value, kind};
use super::hub;
use crate::ir::graph::{Graph, Origin, Original, Program};
use crate::ir::{Blob, Error, Limits, Model, Notes, Result, Value};
use crate::store::Source;

/// Whether the source is a model.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    let Some(name) = source.entry() else { return Ok(false) };
    Ok(onnx::probe(&super::head(&*source.open(name)?)?))
}

/// Reads the graph and the tensors, and what lies beside them.
///
/// # Errors
/// What the container says; Malformed for names that stand twice, nodes or functions that go in
/// a circle, and files beside the model that are none.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let name = source
        .entry()
        .ok_or_else(|| Error::malformed("expected a file, found a directory").at(source.label()))?;
    let blob = source.open(name)?;
    let place = |error: Error| error.at("onnx").at(blob.name());
    let file = onnx::read(&*blob, &container(limits)).map_err(|error| place(error.into()))?;
    let mut reader = tensor::Reader::new(source, &blob, limits);
    let program = program(&mut reader, &file).map_err(place)?;
    let places = program.graph.nodes.iter().filter_map(|node| node.span.as_ref());
    if !places.map(|span| span.start).is_sorted() {
        let text = "nodes stand before those whose values they read; they are put in order";
        notes.odd(blob.name(), text);
    }
    let mut model = hub::model("onnx", reader.tensors, source, limits, notes)?;
    model.version = u32::try_from(file.ir_version).ok();
    model.config.entries.extend(metadata(&file));
    model.config.entries.extend(edges(&program.graph));
    let (mut tensors, kinds) = (reader.places, reader.kinds);
    tensors.extend(training(source, &blob, &file, limits).map_err(place)?);
    let original = Original { blob: Arc::clone(&blob), tensors, kinds };
    model.graph = Some(Arc::new(Program { original: Some(Arc::new(original)), ..program }));
    Ok(model)
}

/// What messages may take.
pub(super) fn container(limits: &Limits) -> onnx::Limits {
    onnx::Limits { messages: limits.protobuf_messages, field: limits.protobuf_field }
}

fn program(reader: &mut tensor::Reader<'_>, file: &onnx::Model) -> Result<Program> {
    let graph = reader.graph(&file.graph, "")?;
    let functions = file.functions.iter().map(|function| reader.function(function));
    let functions = functions.collect::<Result<Vec<_>>>()?;
    order::functions(&functions)?;
    Ok(Program {
        ir_version: u64::try_from(file.ir_version).unwrap_or(0),
        opsets: opsets(&file.opset_import)?,
        functions,
        graph,
        original: None,
    })
}

/// Where tensors of the graphs that train the model lie that are kept beside it: they are no
/// weights, and only written again.
fn training(
    source: &dyn Source,
    blob: &Arc<Blob>,
    file: &onnx::Model,
    limits: &Limits,
) -> Result<BTreeMap<u64, Origin>> {
    let mut places = BTreeMap::new();
    for (no, training) in file.training.iter().enumerate() {
        let mut reader = tensor::Reader::new(source, blob, limits);
        for graph in [&training.initialization, &training.algorithm].into_iter().flatten() {
            reader.graph(graph, &format!("training_info.{no}"))?;
        }
        places.extend(reader.places.into_iter().filter(|(_, origin)| origin.external));
    }
    Ok(places)
}

/// The versions by domain. `ai.onnx` is another spelling of the default domain.
fn opsets(sets: &[onnx::OperatorSet]) -> Result<IndexMap<String, u64>> {
    let mut versions = IndexMap::new();
    for set in sets {
        let domain = domain(&set.domain);
        let wrong = |text: String| Error::malformed(text).at("opset_import");
        let version = u64::try_from(set.version);
        let version =
            version.map_err(|_| wrong(format!("version {} of '{domain}'", set.version)))?;
        if versions.insert(domain.to_owned(), version).is_some_and(|other| other != version) {
            return Err(wrong(format!("two versions of '{domain}'")));
        }
    }
    Ok(versions)
}

/// A domain, of which the default one has two spellings.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}

/// What the file says of itself, under keys of its own.
fn metadata(file: &onnx::Model) -> Vec<(String, Value)> {
    let (producer, version) = &file.producer;
    let texts = [
        ("producer_name", producer),
        ("producer_version", version),
        ("domain", &file.domain),
        ("doc_string", &file.doc_string),
        ("graph_name", &file.graph.name),
    ];
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let texts = texts.map(|(key, text)| (format!("onnx.{key}"), Value::Text(text.clone())));
    let sets = file.opset_import.iter().map(|set| {
        let domain = if set.domain.is_empty() { "ai.onnx" } else { &set.domain };
        (format!("onnx.opset.{domain}"), Value::I64(set.version))
    });
    let number = (file.model_version != 0)
        .then(|| ("onnx.model_version".to_owned(), Value::I64(file.model_version)));
    let own = file.metadata.iter();
    let own = own.map(|(key, text)| (format!("onnx.metadata.{key}"), Value::Text(text.clone())));
    texts.chain(number).chain(sets).chain(own).collect()
}

/// What goes into a graph and comes out of it, with its types. Before version 4 of the IR, the
/// inputs list the initializers too.
fn edges(graph: &Graph) -> Vec<(String, Value)> {
    let inputs = graph.inputs.iter().filter(|port| !graph.initializers.contains_key(&port.name));
    let inputs = inputs.map(|port| (format!("onnx.input.{}", port.name), port));
    let outputs = graph.outputs.iter().map(|port| (format!("onnx.output.{}", port.name), port));
    inputs.chain(outputs).map(|(key, port)| (key, Value::Text(port.kind.to_string()))).collect()
}

/// Numbers that were spread over fields of the file, as bytes.
fn made(blob: &Blob, bytes: Vec<u8>) -> Arc<Blob> {
    Arc::new(Blob::memory(blob.name(), bytes))
}
