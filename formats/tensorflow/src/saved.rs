//! SavedModels: `SavedModel`, `MetaGraphDef`, `SignatureDef`, `SavedObjectGraph`.

use std::collections::BTreeMap;

use protobuf::{Field, Message, once};
use wire::{Error, ReadAt, Result};

use crate::Limits;
use crate::graph::{Graph, graph, message};
use crate::kind::{DataType, kind};
use crate::objects;
use crate::parser::Parser;
use crate::shape::{Shape, shape};

/// The file `saved_model.pb`.
#[derive(Debug, Clone, Default)]
pub struct SavedModel {
    /// The version of its layout.
    pub schema_version: i64,
    /// The same model for several uses, told apart by tags; mostly one.
    pub meta_graphs: Vec<MetaGraph>,
}

/// A graph, and what is said of it.
#[derive(Debug, Clone, Default)]
pub struct MetaGraph {
    /// What it is for: `serve`.
    pub tags: Vec<String>,
    /// The version of TensorFlow that wrote it.
    pub tensorflow: String,
    /// The operators.
    pub graph: Graph,
    /// Ways to call it, by name.
    pub signatures: BTreeMap<String, Signature>,
    /// Names of files in `assets/`.
    pub assets: Vec<String>,
    /// The objects that it was made of, if TensorFlow 2 wrote it.
    pub objects: Vec<SavedObject>,
    /// Functions, and which objects they use, in the order of their last arguments.
    pub functions: BTreeMap<String, ConcreteFunction>,
}

/// A way to call a model.
#[derive(Debug, Clone, Default)]
pub struct Signature {
    /// What goes in, by name.
    pub inputs: BTreeMap<String, TensorInfo>,
    /// What comes out, by name.
    pub outputs: BTreeMap<String, TensorInfo>,
    /// What it does, for the program that serves it.
    pub method: String,
}

/// What a value of a graph is.
#[derive(Debug, Clone, Default)]
pub struct TensorInfo {
    /// The value's name in the graph, unless it has parts.
    pub name: String,
    /// The type of its elements, if it is said.
    pub kind: Option<DataType>,
    /// Its shape, as far as it is known.
    pub shape: Shape,
}

/// An object of a SavedModel.
#[derive(Debug, Clone, Default)]
pub struct SavedObject {
    /// Its parts: name and node.
    pub children: Vec<(String, usize)>,
    /// Its name, if it is a variable.
    pub variable: Option<String>,
}

/// What a function uses.
#[derive(Debug, Clone, Default)]
pub struct ConcreteFunction {
    /// Nodes of the objects that are its last arguments.
    pub bound: Vec<usize>,
}

/// Fields of `MetaGraphDef`: `tensorflow/core/protobuf/meta_graph.proto`.
mod field {
    pub(super) const INFO: u64 = 1;
    pub(super) const GRAPH: u64 = 2;
    pub(super) const SIGNATURES: u64 = 5;
    pub(super) const ASSETS: u64 = 6;
    pub(super) const OBJECTS: u64 = 7;
}

/// Whether bytes begin as a SavedModel does: the version of its layout, 1, and a graph, which
/// begins with what is said of it or with its operators.
pub fn probe_saved_model(head: &[u8]) -> bool {
    let rest = head.strip_prefix(b"\x08\x01");
    let meta = rest.and_then(message).filter(|(_, tag)| *tag == 0x12);
    meta.is_some_and(|(meta, _)| meta.first().is_some_and(|tag| matches!(tag, 0x0a | 0x12)))
}

/// Reads `saved_model.pb`. Weights within it are passed over.
///
/// # Errors
/// With the offset and the field at fault.
pub fn read_saved_model(source: &dyn ReadAt, limits: &Limits) -> Result<SavedModel> {
    const WHAT: &str = "SavedModel.saved_model_schema_version";
    let (mut version, mut meta_graphs) = (None, Vec::new());
    Parser::new(source, limits).whole(&mut |parser, of, field| match field.number {
        1 => once(&mut version, field.int64(WHAT)?, field, WHAT),
        2 => {
            meta_graphs.push(meta_graph(parser, of, field)?);
            Ok(())
        }
        _ => Ok(()),
    })?;
    let schema_version = version.unwrap_or(0);
    if schema_version > 1 {
        let text = format!("a SavedModel of version {schema_version}, later than 1");
        return Err(Error::unsupported(0, WHAT, text));
    }
    Ok(SavedModel { schema_version, meta_graphs })
}

fn meta_graph(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<MetaGraph> {
    const WHAT: &str = "MetaGraphDef";
    let mut meta = MetaGraph::default();
    let (mut info, mut nodes, mut objects) = (None, None, None);
    parser.inside(of, field, WHAT, &mut |parser, of, field| match field.number {
        field::INFO => once(&mut info, about(parser, of, field)?, field, "MetaInfoDef"),
        field::GRAPH => once(&mut nodes, graph(parser, of, field)?, field, "GraphDef"),
        field::SIGNATURES => {
            parser.entry(&mut meta.signatures, (of, field), "SignatureDef", signature)
        }
        field::ASSETS => {
            meta.assets.push(asset(parser, of, field)?);
            Ok(())
        }
        field::OBJECTS => {
            once(&mut objects, object_graph(parser, of, field)?, field, "SavedObjectGraph")
        }
        _ => Ok(()),
    })?;
    (meta.tags, meta.tensorflow) = info.unwrap_or_default();
    meta.graph = nodes.unwrap_or_default();
    (meta.objects, meta.functions) = objects.unwrap_or_default();
    Ok(meta)
}

/// Tags, and the version of TensorFlow.
fn about(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<(Vec<String>, String)> {
    const WHAT: &str = "MetaInfoDef";
    let (mut tags, mut version) = (Vec::new(), None);
    parser.inside(of, field, WHAT, &mut |parser, _, field| match field.number {
        4 => {
            tags.push(parser.text(field, "MetaInfoDef.tags")?);
            Ok(())
        }
        5 => once(&mut version, parser.text(field, WHAT)?, field, WHAT),
        _ => Ok(()),
    })?;
    Ok((tags, version.unwrap_or_default()))
}

fn signature(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Signature> {
    const WHAT: &str = "SignatureDef";
    let (mut made, mut method) = (Signature::default(), None);
    parser.inside(of, field, WHAT, &mut |parser, of, field| match field.number {
        1 => parser.entry(&mut made.inputs, (of, field), WHAT, tensor_info),
        2 => parser.entry(&mut made.outputs, (of, field), WHAT, tensor_info),
        3 => once(&mut method, parser.text(field, WHAT)?, field, WHAT),
        _ => Ok(()),
    })?;
    made.method = method.unwrap_or_default();
    Ok(made)
}

fn tensor_info(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<TensorInfo> {
    const WHAT: &str = "TensorInfo";
    let (mut name, mut dtype, mut dims) = (None, None, None);
    parser.inside(of, field, WHAT, &mut |parser, of, field| match field.number {
        1 => once(&mut name, parser.text(field, WHAT)?, field, WHAT),
        2 if field.varint(WHAT)? != 0 => once(&mut dtype, kind(field, WHAT)?, field, WHAT),
        3 => once(&mut dims, shape(parser, of, field)?, field, WHAT),
        _ => Ok(()),
    })?;
    let shape = dims.unwrap_or_default();
    Ok(TensorInfo { name: name.unwrap_or_default(), kind: dtype, shape })
}

/// The name of a file: `AssetFileDef`.
fn asset(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<String> {
    const WHAT: &str = "AssetFileDef";
    let mut name = None;
    parser.inside(of, field, WHAT, &mut |parser, _, field| match field.number {
        2 => once(&mut name, parser.text(field, "AssetFileDef.filename")?, field, WHAT),
        _ => Ok(()),
    })?;
    Ok(name.unwrap_or_default())
}

/// Objects, and functions with what they use.
type ObjectGraph = (Vec<SavedObject>, BTreeMap<String, ConcreteFunction>);

fn object_graph(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<ObjectGraph> {
    const WHAT: &str = "SavedObjectGraph";
    let (mut nodes, mut functions) = (Vec::new(), BTreeMap::new());
    parser.inside(of, field, WHAT, &mut |parser, of, field| {
        match field.number {
            1 => nodes.push(saved_object(parser, of, field)?),
            2 => parser.entry(&mut functions, (of, field), WHAT, concrete)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((nodes, functions))
}

fn saved_object(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<SavedObject> {
    const WHAT: &str = "SavedObject";
    let mut object = SavedObject::default();
    parser.inside(of, field, WHAT, &mut |parser, of, field| match field.number {
        1 => {
            object.children.push(objects::child(parser, of, field)?);
            Ok(())
        }
        7 => once(&mut object.variable, variable(parser, of, field)?, field, WHAT),
        _ => Ok(()),
    })?;
    Ok(object)
}

/// The name of a variable: `SavedVariable`.
fn variable(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<String> {
    const WHAT: &str = "SavedVariable";
    let mut name = None;
    parser.inside(of, field, WHAT, &mut |parser, _, field| match field.number {
        6 => once(&mut name, parser.text(field, WHAT)?, field, WHAT),
        _ => Ok(()),
    })?;
    Ok(name.unwrap_or_default())
}

fn concrete(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<ConcreteFunction> {
    const WHAT: &str = "SavedConcreteFunction.bound_inputs";
    let mut bound = Vec::new();
    parser.inside(of, field, "SavedConcreteFunction", &mut |parser, _, field| {
        if field.number != 2 {
            return Ok(());
        }
        parser.varints(field, WHAT, |value| {
            let node = usize::try_from(value);
            bound.push(node.map_err(|_| field.wrong(WHAT, "numbers of nodes"))?);
            Ok(())
        })
    })?;
    Ok(ConcreteFunction { bound })
}
