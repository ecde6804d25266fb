//! Models: `ModelProto` and `FunctionProto`.

use std::ops::Range;

use protobuf::{Field, Limits, Message, Reader, once};
use wire::{Error, ReadAt, Result, Why};

use crate::entry::entry;
use crate::fields;
use crate::graph::{Attribute, Graph, Node, attribute, graph, node};

/// A file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// The version of the container's rules.
    pub ir_version: i64,
    /// Who wrote it, and in which version.
    pub producer: (String, String),
    /// Whose model it is.
    pub domain: String,
    /// The author's number for it.
    pub model_version: i64,
    /// What the author says of it.
    pub doc_string: String,
    /// The version of each domain's operators.
    pub opset_import: Vec<OperatorSet>,
    /// What is run.
    pub graph: Graph,
    /// Operators that the file defines itself.
    pub functions: Vec<Function>,
    /// What is run to train it.
    pub training: Vec<Training>,
    /// Texts by key, as the author likes.
    pub metadata: Vec<(String, String)>,
}

/// The version of a domain's operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorSet {
    /// Whose they are; "" is ONNX's own.
    pub domain: String,
    /// Their version.
    pub version: i64,
}

/// What is run to train a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Training {
    /// Where the message lies.
    pub span: Range<u64>,
    /// Makes the first values of what is trained.
    pub initialization: Option<Graph>,
    /// One step.
    pub algorithm: Option<Graph>,
}

/// An operator made of operators.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Function {
    /// Where the message lies.
    pub span: Range<u64>,
    /// Whose it is.
    pub domain: String,
    /// The operator that it defines.
    pub name: String,
    /// Tells functions of one name apart.
    pub overload: String,
    /// Names of its inputs.
    pub inputs: Vec<String>,
    /// Names of its outputs.
    pub outputs: Vec<String>,
    /// Attributes that a call must give.
    pub attributes: Vec<String>,
    /// Attributes that a call may give, with their values if it does not.
    pub defaults: Vec<Attribute>,
    /// The version of each domain's operators in its nodes.
    pub opset_import: Vec<OperatorSet>,
    /// The computation.
    pub nodes: Vec<Node>,
}

/// Whether the bytes begin as a model does: with the version of the IR, whose numbers are small
/// and which stands first in every writer known, and another field of `ModelProto`.
///
/// A SavedModel of TensorFlow begins with the same two fields, a version and a message: a name of
/// ONNX is text, in which no control character stands, and a message begins with one.
pub fn probe(head: &[u8]) -> bool {
    let Some((8, rest)) = varint(head) else { return false };
    let Some((1..=64, rest)) = varint(rest) else { return false };
    let Some((tag, rest)) = varint(rest) else { return false };
    let (number, kind) = (tag >> 3, tag & 7);
    match number {
        fields::model::MODEL_VERSION => kind == 0,
        fields::model::PRODUCER_NAME | fields::model::PRODUCER_VERSION | fields::model::DOMAIN => {
            kind == 2 && is_line(rest)
        }
        fields::model::DOC_STRING
        | fields::model::GRAPH
        | fields::model::OPSET_IMPORT
        | fields::model::METADATA_PROPS
        | fields::model::TRAINING_INFO => kind == 2,
        _ => false,
    }
}

/// A number and what follows it. Leading zeros make it longer than it need be, which is legal.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let last = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at_checked(last.checked_add(1)?)?;
    let number = number.iter().rev().try_fold(0u64, |sum, byte| {
        let low = sum.checked_mul(128)?;
        low.checked_add(u64::from(byte & 0x7f))
    });
    Some((number?, rest))
}

/// Whether a length and, as far as they are here, as many characters of one line follow.
fn is_line(rest: &[u8]) -> bool {
    let Some((len, text)) = varint(rest) else { return false };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    !text.iter().take(len).any(u8::is_ascii_control)
}

/// Reads a model. Weights are passed over; memory is in proportion to the rest.
///
/// # Errors
/// With the offset and the field at fault; `TooLarge` names the limit.
pub fn read(source: &dyn ReadAt, limits: &Limits) -> Result<Model> {
    let mut parser = Reader::new(source, limits);
    let mut message = parser.whole();
    let (mut model, mut found) = (Model::default(), Found::default());
    while let Some(field) = parser.next(&mut message)? {
        found.take(&mut parser, &message, &field, &mut model)?;
    }
    let missing =
        |what| Error::invalid(0, "ModelProto", format!("has no {what}: not an ONNX model"));
    model.ir_version = found.ir_version.ok_or_else(|| missing("ir_version"))?;
    model.graph = found.graph.ok_or_else(|| missing("graph"))?;
    model.producer = (found.name.unwrap_or_default(), found.version.unwrap_or_default());
    model.domain = found.domain.unwrap_or_default();
    model.model_version = found.model_version.unwrap_or(0);
    model.doc_string = found.doc_string.unwrap_or_default();
    Ok(model)
}

/// What may stand once.
#[derive(Default)]
struct Found {
    ir_version: Option<i64>,
    name: Option<String>,
    version: Option<String>,
    domain: Option<String>,
    model_version: Option<i64>,
    doc_string: Option<String>,
    graph: Option<Graph>,
}

impl Found {
    fn take(
        &mut self,
        parser: &mut Reader<'_>,
        of: &Message,
        field: &Field,
        model: &mut Model,
    ) -> Result<()> {
        match field.number {
            fields::model::IR_VERSION => {
                let what = "ModelProto.ir_version";
                once(&mut self.ir_version, field.int64(what)?, field, what)
            }
            fields::model::PRODUCER_NAME => {
                parser.text_once(&mut self.name, field, "ModelProto.producer_name")
            }
            fields::model::PRODUCER_VERSION => {
                parser.text_once(&mut self.version, field, "ModelProto.producer_version")
            }
            fields::model::DOMAIN => parser.text_once(&mut self.domain, field, "ModelProto.domain"),
            fields::model::MODEL_VERSION => {
                let what = "ModelProto.model_version";
                once(&mut self.model_version, field.int64(what)?, field, what)
            }
            fields::model::DOC_STRING => {
                parser.text_once(&mut self.doc_string, field, "ModelProto.doc_string")
            }
            fields::model::GRAPH => {
                let what = "ModelProto.graph";
                let read = graph(parser, of, field, what)?;
                once(&mut self.graph, read, field, what)
            }
            fields::model::OPSET_IMPORT => {
                model.opset_import.push(operator_set(parser, of, field)?);
                Ok(())
            }
            fields::model::METADATA_PROPS => {
                model.metadata.push(entry(parser, of, field, "ModelProto.metadata_props")?);
                Ok(())
            }
            fields::model::TRAINING_INFO => {
                model.training.push(training(parser, of, field)?);
                Ok(())
            }
            fields::model::FUNCTIONS => {
                model.functions.push(function(parser, of, field)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn operator_set(parser: &mut Reader<'_>, of: &Message, field: &Field) -> Result<OperatorSet> {
    const WHAT: &str = "OperatorSetIdProto";
    let mut message = parser.inside(of, field, WHAT)?;
    let (mut domain, mut version) = (None, None);
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            fields::operator_set::DOMAIN => {
                parser.text_once(&mut domain, &field, "OperatorSetIdProto.domain")?
            }
            fields::operator_set::VERSION => {
                once(&mut version, field.int64(WHAT)?, &field, "OperatorSetIdProto.version")?
            }
            _ => {}
        }
    }
    Ok(OperatorSet { domain: domain.unwrap_or_default(), version: version.unwrap_or(0) })
}

fn training(parser: &mut Reader<'_>, of: &Message, field: &Field) -> Result<Training> {
    const WHAT: &str = "TrainingInfoProto";
    let mut message = parser.inside(of, field, WHAT)?;
    let mut training = Training { span: field.bytes(WHAT)?, ..Training::default() };
    while let Some(field) = parser.next(&mut message)? {
        let slot = match field.number {
            fields::training::INITIALIZATION => &mut training.initialization,
            fields::training::ALGORITHM => &mut training.algorithm,
            _ => continue,
        };
        let read = graph(parser, &message, &field, WHAT)?;
        once(slot, read, &field, WHAT)?;
    }
    Ok(training)
}

fn function(parser: &mut Reader<'_>, of: &Message, field: &Field) -> Result<Function> {
    const WHAT: &str = "FunctionProto";
    let mut message = parser.inside(of, field, WHAT)?;
    let mut function = Function { span: field.bytes(WHAT)?, ..Function::default() };
    let (mut name, mut domain, mut overload) = (None, None, None);
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            fields::function::NAME => parser.text_once(&mut name, &field, "FunctionProto.name")?,
            fields::function::INPUT => {
                function.inputs.push(parser.text(&field, "FunctionProto.input")?)
            }
            fields::function::OUTPUT => {
                function.outputs.push(parser.text(&field, "FunctionProto.output")?)
            }
            fields::function::ATTRIBUTE => {
                function.attributes.push(parser.text(&field, "FunctionProto.attribute")?)
            }
            fields::function::NODE => function.nodes.push(node(parser, &message, &field)?),
            fields::function::OPSET_IMPORT => {
                function.opset_import.push(operator_set(parser, &message, &field)?)
            }
            fields::function::DOMAIN => {
                parser.text_once(&mut domain, &field, "FunctionProto.domain")?
            }
            fields::function::ATTRIBUTE_PROTO => {
                function.defaults.push(attribute(parser, &message, &field)?)
            }
            fields::function::OVERLOAD => {
                parser.text_once(&mut overload, &field, "FunctionProto.overload")?
            }
            _ => {}
        }
    }
    let named = name.filter(|name| !name.is_empty());
    let why = Why::Invalid { rule: "has no name".to_owned() };
    function.name = named.ok_or_else(|| Error::new(field.span.start, WHAT, why))?;
    function.domain = domain.unwrap_or_default();
    function.overload = overload.unwrap_or_default();
    Ok(function)
}
