//! SavedModels: variables, constants that are weights, signatures.

use tensorflow::{Constant, MetaGraph, SavedModel, TensorInfo};

use super::checkpoint::{self, Variables};
use super::graph::{self, Parts};
use super::{container, kernels};
use crate::ir::value::List;
use crate::ir::{Error, Limits, Model, Notes, Result, Value};
use crate::store::Source;

/// The checkpoint of a SavedModel.
const VARIABLES: &str = "variables/variables.index";

/// The tag of a graph that is for use, not for training: `tf.saved_model.SERVING`.
const SERVE: &str = "serve";

/// Operators that reach out of the graph. Nothing here runs them; whoever does should know.
const REACHING: &[&str] =
    &["PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles"];

/// Reads a SavedModel.
///
/// # Errors
/// What the containers say; Malformed for graphs that go in a circle, and names of assets that lead
/// out of the model.
pub(super) fn read(
    source: &dyn Source,
    name: &str,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<Model> {
    let blob = source.open(name)?;
    let place = |error: Error| error.at("tensorflow").at(blob.name());
    let saved = tensorflow::read_saved_model(&*blob, &container(limits));
    let saved = saved.map_err(|error| place(error.into()))?;
    let meta = chosen(&saved, blob.name(), notes).map_err(place)?;
    graph::check(&meta.graph).map_err(place)?;
    assets(source, meta, notes).map_err(place)?;
    let variables = match source.find(VARIABLES).map_err(place)? {
        Some(_) => checkpoint::read(source, VARIABLES, limits, notes)?.0,
        None => Variables::default(),
    };
    let parts = parts(meta);
    refuse_reaching(&parts, blob.name(), limits, notes).map_err(place)?;
    let names = checkpoint::names_of(&meta.objects, &variables);
    let mut weights = variables.weights;
    for (name, tensor) in parts.constants(&blob, is_weight, notes).map_err(place)? {
        let taken = weights.tensors.contains_key(&name);
        let name = if taken { format!("graph/{name}") } else { name };
        weights.tensors.insert(name, tensor);
    }
    let bound = meta.functions.iter().map(|(function, uses)| {
        (function.clone(), uses.bound.iter().map(|node| names.get(node).cloned()).collect())
    });
    weights.kernels = kernels::of(&parts, &bound.collect(), &weights.tensors);
    let mut model = super::model(weights, source, limits, notes)?;
    model.config.entries.extend(metadata(meta));
    Ok(model)
}

/// The graph for use, of several.
fn chosen<'s>(saved: &'s SavedModel, file: &str, notes: &mut Notes) -> Result<&'s MetaGraph> {
    let all = &saved.meta_graphs;
    let serves = all.iter().find(|meta| meta.tags.iter().any(|tag| tag == SERVE));
    let chosen = serves.or(all.first());
    let chosen = chosen.ok_or_else(|| Error::malformed("SavedModel: has no graph"))?;
    if all.len() > 1 {
        let (count, tags) = (all.len(), chosen.tags.join(", "));
        notes.chosen(file, format!("of {count} graphs, that with the tags {tags} is read"));
    }
    Ok(chosen)
}

/// Files that the graph reads when it is run: their names are checked, and they stay where they are.
fn assets(source: &dyn Source, meta: &MetaGraph, notes: &mut Notes) -> Result<()> {
    for asset in &meta.assets {
        let found = source.find(&format!("assets/{asset}"));
        let found = found.map_err(|error| error.at("AssetFileDef.filename"))?;
        let what = if found.is_some() { "is not carried over" } else { "is missing" };
        notes.lost(format!("assets/{asset}"), format!("a file that the graph reads, {what}"));
    }
    Ok(())
}

/// What the results of the signatures depend on; without one, what the functions hold.
fn parts(meta: &MetaGraph) -> Parts<'_> {
    let outputs = meta.signatures.values().flat_map(|signature| signature.outputs.values());
    let outputs: Vec<&str> = outputs.map(|output| output.name.as_str()).collect();
    if outputs.is_empty() {
        return Parts::whole(&meta.graph);
    }
    Parts::behind(&meta.graph, outputs.into_iter())
}

/// Whether a constant is an array of weights. Single numbers and integers are shapes, axes, paddings
/// and the like.
fn is_weight(constant: &Constant) -> bool {
    use tensorflow::DataType as Kind;
    let is_float = matches!(
        constant.kind,
        Kind::Float
            | Kind::Double
            | Kind::Half
            | Kind::Bfloat16
            | Kind::Complex64
            | Kind::Complex128
    );
    is_float && !constant.dims.is_empty() && !constant.dims.contains(&0)
}

/// A graph that runs code or opens files where it is run is taken for its weights only if that is
/// asked for.
fn refuse_reaching(
    parts: &Parts<'_>,
    file: &str,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<()> {
    let inner = parts.functions.values().flat_map(|function| &function.nodes);
    let mut nodes = parts.nodes.iter().copied().chain(inner);
    let Some(node) = nodes.find(|node| REACHING.contains(&node.op.as_str())) else {
        return Ok(());
    };
    let found = format!("node '{}' is {}, which runs code or opens files", node.name, node.op);
    if !limits.skip_objects {
        let text = format!("{found} where the graph is run; --skip-objects reads the weights");
        return Err(Error::malformed(text));
    }
    notes.odd(file, format!("{found}: nothing is run here, only weights are read"));
    Ok(())
}

/// What the file says of itself, under keys of its own.
fn metadata(meta: &MetaGraph) -> Vec<(String, Value)> {
    let texts = [("version", meta.tensorflow.clone()), ("tags", meta.tags.join(","))];
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let mut all: Vec<(String, Value)> =
        texts.map(|(key, text)| (format!("tensorflow.{key}"), Value::Text(text))).collect();
    for (name, signature) in &meta.signatures {
        let key = format!("tensorflow.signature.{name}");
        all.push((key.clone(), Value::Text(signature.method.clone())));
        for (word, infos) in [("input", &signature.inputs), ("output", &signature.outputs)] {
            let infos = infos.iter();
            all.extend(infos.map(|(name, info)| (format!("{key}.{word}.{name}"), described(info))));
        }
    }
    let functions: Vec<String> =
        meta.graph.functions.iter().map(|function| function.name.clone()).collect();
    if !functions.is_empty() {
        all.push(("tensorflow.functions".to_owned(), Value::List(List::Text(functions))));
    }
    all
}

/// The type and the shape of a value: `float32 [?, 4]`.
fn described(info: &TensorInfo) -> Value {
    let kind = info.kind.map_or("any type", tensorflow::DataType::name);
    let shape = info.shape.dims.as_ref().map_or_else(
        || "of any shape".to_owned(),
        |dims| {
            let dims = dims.iter().map(|dim| if *dim < 0 { "?".into() } else { dim.to_string() });
            format!("[{}]", dims.collect::<Vec<_>>().join(", "))
        },
    );
    Value::Text(format!("{kind} {shape}"))
}
