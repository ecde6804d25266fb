//! Graphs: `GraphProto`, `NodeProto`, `AttributeProto`.

use std::ops::Range;

use protobuf::{Field, Message, Reader, once};
use wire::{Error, Result};

use crate::fields::{attribute as field, graph as graph_fields, node as node_fields};
use crate::tensor::{SparseTensor, Tensor, sparse_tensor, tensor};
use crate::value::{Type, ValueInfo, type_proto, value_info};

/// A graph.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// Where the message lies.
    pub span: Range<u64>,
    /// The author's name for it.
    pub name: String,
    /// The computation.
    pub nodes: Vec<Node>,
    /// Constants.
    pub initializers: Vec<Tensor>,
    /// Constants of which most is zero.
    pub sparse: Vec<SparseTensor>,
    /// What must be given.
    pub inputs: Vec<ValueInfo>,
    /// What is given back.
    pub outputs: Vec<ValueInfo>,
    /// Other values with their types.
    pub values: Vec<ValueInfo>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// Where the message lies.
    pub span: Range<u64>,
    /// The author's name for it; may be empty.
    pub name: String,
    /// Whose operator it is; "" is ONNX's own.
    pub domain: String,
    /// The operator.
    pub op_type: String,
    /// Tells functions of one name apart.
    pub overload: String,
    /// The values that it reads.
    pub inputs: Vec<String>,
    /// The values that it makes.
    pub outputs: Vec<String>,
    /// Its options.
    pub attributes: Vec<Attribute>,
}

/// An option of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// What it is set to.
    pub value: AttributeValue,
}

/// What an option is set to.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum AttributeValue {
    Float(f32),
    Int(i64),
    String(Vec<u8>),
    Tensor(Tensor),
    Graph(Box<Graph>),
    SparseTensor(Box<SparseTensor>),
    Type(Option<Type>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Strings(Vec<Vec<u8>>),
    Tensors(Vec<Tensor>),
    Graphs(Vec<Graph>),
    SparseTensors(Vec<SparseTensor>),
    Types(Vec<Option<Type>>),
    /// In a function: the attribute of this name of the node that calls it.
    Reference(String),
}

pub(crate) fn graph(
    parser: &mut Reader<'_>,
    of: &Message,
    field: &Field,
    what: &'static str,
) -> Result<Graph> {
    let mut message = parser.inside(of, field, what)?;
    let mut graph = Graph { span: field.bytes(what)?, ..Graph::default() };
    let mut name = None;
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            graph_fields::NODE => graph.nodes.push(node(parser, &message, &field)?),
            graph_fields::NAME => parser.text_once(&mut name, &field, "GraphProto.name")?,
            graph_fields::INITIALIZER => graph.initializers.push(tensor(parser, &message, &field)?),
            graph_fields::SPARSE_INITIALIZER => {
                graph.sparse.push(sparse_tensor(parser, &message, &field)?)
            }
            graph_fields::INPUT => {
                graph.inputs.push(value_info(parser, &message, &field, "GraphProto.input")?)
            }
            graph_fields::OUTPUT => {
                graph.outputs.push(value_info(parser, &message, &field, "GraphProto.output")?)
            }
            graph_fields::VALUE_INFO => {
                graph.values.push(value_info(parser, &message, &field, "GraphProto.value_info")?)
            }
            _ => {}
        }
    }
    graph.name = name.unwrap_or_default();
    Ok(graph)
}

pub(crate) fn node(parser: &mut Reader<'_>, of: &Message, field: &Field) -> Result<Node> {
    let mut message = parser.inside(of, field, "NodeProto")?;
    let mut node = Node { span: field.bytes("NodeProto")?, ..Node::default() };
    let (mut name, mut op_type, mut domain, mut overload) = (None, None, None, None);
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            node_fields::INPUT => node.inputs.push(parser.text(&field, "NodeProto.input")?),
            node_fields::OUTPUT => node.outputs.push(parser.text(&field, "NodeProto.output")?),
            node_fields::NAME => parser.text_once(&mut name, &field, "NodeProto.name")?,
            node_fields::OP_TYPE => parser.text_once(&mut op_type, &field, "NodeProto.op_type")?,
            node_fields::ATTRIBUTE => node.attributes.push(attribute(parser, &message, &field)?),
            node_fields::DOMAIN => parser.text_once(&mut domain, &field, "NodeProto.domain")?,
            node_fields::OVERLOAD => {
                parser.text_once(&mut overload, &field, "NodeProto.overload")?
            }
            _ => {}
        }
    }
    node.name = name.unwrap_or_default();
    node.op_type = op_type.unwrap_or_default();
    node.domain = domain.unwrap_or_default();
    node.overload = overload.unwrap_or_default();
    Ok(node)
}

/// The fields that hold a value, each with the number of its type in `AttributeType`.
pub const TYPES: &[(i32, u64)] = &[
    (1, field::F),
    (2, field::I),
    (3, field::S),
    (4, field::T),
    (5, field::G),
    (6, field::FLOATS),
    (7, field::INTS),
    (8, field::STRINGS),
    (9, field::TENSORS),
    (10, field::GRAPHS),
    (11, field::SPARSE_TENSOR),
    (12, field::SPARSE_TENSORS),
    (13, field::TP),
    (14, field::TYPE_PROTOS),
];

pub(crate) fn attribute(parser: &mut Reader<'_>, of: &Message, field: &Field) -> Result<Attribute> {
    const WHAT: &str = "AttributeProto";
    let (at, mut message) = (field.span.start, parser.inside(of, field, WHAT)?);
    let (mut name, mut reference, mut code, mut value) = (None, None, None, None);
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            field::NAME => parser.text_once(&mut name, &field, "AttributeProto.name")?,
            field::TYPE => once(&mut code, field.int32("AttributeProto.type")?, &field, WHAT)?,
            field::REF_ATTR_NAME => {
                parser.text_once(&mut reference, &field, "AttributeProto.ref_attr_name")?
            }
            number if TYPES.iter().any(|(_, own)| *own == number) => {
                add(parser, &message, &field, &mut value)?
            }
            _ => {}
        }
    }
    let name = name.unwrap_or_default();
    let wrong = |rule: String| Error::invalid(at, WHAT, format!("'{name}' {rule}"));
    let value = match (reference.filter(|name| !name.is_empty()), value, code.unwrap_or(0)) {
        (Some(_), Some(_), _) => return Err(wrong("refers to another and has a value".into())),
        (Some(reference), None, _) => AttributeValue::Reference(reference),
        // The first version of the IR states no type.
        (None, Some((_, value)), 0) => value,
        (None, None, 0) => return Err(wrong("has neither a type nor a value".into())),
        (None, value, code) => {
            let row = TYPES.iter().find(|(own, _)| *own == code);
            let (_, number) = row.ok_or_else(|| wrong(format!("is of the unknown type {code}")))?;
            match value {
                Some((found, value)) if found == *number => value,
                Some((found, _)) => {
                    let rule = format!("has a value in field {found}, but type {code}");
                    return Err(wrong(rule));
                }
                None => absent(code).ok_or_else(|| wrong("has no value".into()))?,
            }
        }
    };
    Ok(Attribute { name, value })
}

/// What a type means where no value is stated: writers leave out zeros and empty lists.
fn absent(code: i32) -> Option<AttributeValue> {
    Some(match code {
        1 => AttributeValue::Float(0.0),
        2 => AttributeValue::Int(0),
        3 => AttributeValue::String(Vec::new()),
        6 => AttributeValue::Floats(Vec::new()),
        7 => AttributeValue::Ints(Vec::new()),
        8 => AttributeValue::Strings(Vec::new()),
        9 => AttributeValue::Tensors(Vec::new()),
        10 => AttributeValue::Graphs(Vec::new()),
        12 => AttributeValue::SparseTensors(Vec::new()),
        14 => AttributeValue::Types(Vec::new()),
        _ => return None,
    })
}

/// Takes up a field of an attribute's value; of those that stand once, it is the only one.
fn add(
    parser: &mut Reader<'_>,
    of: &Message,
    field: &Field,
    slot: &mut Option<(u64, AttributeValue)>,
) -> Result<()> {
    use AttributeValue as V;
    const WHAT: &str = "AttributeProto";
    match (field.number, slot) {
        (field::FLOATS, Some((_, V::Floats(list)))) => return floats(parser, field, list),
        (field::INTS, Some((_, V::Ints(list)))) => return ints(parser, field, list),
        (field::STRINGS, Some((_, V::Strings(list)))) => list.push(parser.bytes(field, WHAT)?),
        (field::TENSORS, Some((_, V::Tensors(list)))) => list.push(tensor(parser, of, field)?),
        (field::GRAPHS, Some((_, V::Graphs(list)))) => list.push(graph(parser, of, field, WHAT)?),
        (field::TYPE_PROTOS, Some((_, V::Types(list)))) => {
            list.push(type_proto(parser, of, field)?);
        }
        (field::SPARSE_TENSORS, Some((_, V::SparseTensors(list)))) => {
            list.push(sparse_tensor(parser, of, field)?);
        }
        (number, Some((first, _))) => {
            let rule = format!("has values in fields {first} and {number}, expected one value");
            return Err(Error::invalid(field.span.start, WHAT, rule));
        }
        (number, slot) => {
            let value = first_value(parser, of, field)?;
            *slot = value.map(|value| (number, value));
        }
    }
    Ok(())
}

/// The value that begins with this field.
fn first_value(
    parser: &mut Reader<'_>,
    of: &Message,
    field: &Field,
) -> Result<Option<AttributeValue>> {
    use AttributeValue as V;
    const WHAT: &str = "AttributeProto";
    Ok(Some(match field.number {
        field::F => V::Float(field.float("AttributeProto.f")?),
        field::I => V::Int(field.int64("AttributeProto.i")?),
        field::S => V::String(parser.bytes(field, "AttributeProto.s")?),
        field::T => V::Tensor(tensor(parser, of, field)?),
        field::G => V::Graph(Box::new(graph(parser, of, field, WHAT)?)),
        field::SPARSE_TENSOR => V::SparseTensor(Box::new(sparse_tensor(parser, of, field)?)),
        field::TP => V::Type(type_proto(parser, of, field)?),
        field::FLOATS => {
            let mut list = Vec::new();
            floats(parser, field, &mut list)?;
            V::Floats(list)
        }
        field::INTS => {
            let mut list = Vec::new();
            ints(parser, field, &mut list)?;
            V::Ints(list)
        }
        field::STRINGS => V::Strings(vec![parser.bytes(field, WHAT)?]),
        field::TENSORS => V::Tensors(vec![tensor(parser, of, field)?]),
        field::GRAPHS => V::Graphs(vec![graph(parser, of, field, WHAT)?]),
        field::TYPE_PROTOS => V::Types(vec![type_proto(parser, of, field)?]),
        field::SPARSE_TENSORS => V::SparseTensors(vec![sparse_tensor(parser, of, field)?]),
        _ => return Ok(None),
    }))
}

fn ints(parser: &mut Reader<'_>, field: &Field, list: &mut Vec<i64>) -> Result<()> {
    parser.varints(field, "AttributeProto.ints", |value| {
        list.push(value.cast_signed());
        Ok(())
    })
}

/// Floats come one by one in the reference, packed from some writers.
fn floats(parser: &mut Reader<'_>, field: &Field, list: &mut Vec<f32>) -> Result<()> {
    const WHAT: &str = "AttributeProto.floats";
    if let Ok(value) = field.float(WHAT) {
        list.push(value);
        return Ok(());
    }
    let bytes = parser.bytes(field, WHAT)?;
    let (values, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(field.wrong(WHAT, "four bytes for each"));
    }
    list.extend(values.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    Ok(())
}
