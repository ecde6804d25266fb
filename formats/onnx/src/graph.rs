//! Graphs: `GraphProto`, `NodeProto`, `AttributeProto`.

use std::ops::Range;

use protobuf::{Field, Message};
use wire::{Error, Result};

use crate::parser::{Parser, once};
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
    parser: &mut Parser<'_>,
    of: &Message,
    field: &Field,
    what: &'static str,
) -> Result<Graph> {
    let mut message = parser.inside(of, field, what)?;
    let mut graph = Graph { span: field.bytes(what)?, ..Graph::default() };
    let mut name = None;
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            1 => graph.nodes.push(node(parser, &message, &field)?),
            2 => parser.text_once(&mut name, &field, "GraphProto.name")?,
            5 => graph.initializers.push(tensor(parser, &message, &field)?),
            15 => graph.sparse.push(sparse_tensor(parser, &message, &field)?),
            11 => graph.inputs.push(value_info(parser, &message, &field, "GraphProto.input")?),
            12 => graph.outputs.push(value_info(parser, &message, &field, "GraphProto.output")?),
            13 => graph.values.push(value_info(parser, &message, &field, "GraphProto.value_info")?),
            _ => {}
        }
    }
    graph.name = name.unwrap_or_default();
    Ok(graph)
}

pub(crate) fn node(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Node> {
    let mut message = parser.inside(of, field, "NodeProto")?;
    let mut node = Node { span: field.bytes("NodeProto")?, ..Node::default() };
    let (mut name, mut op_type, mut domain, mut overload) = (None, None, None, None);
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            1 => node.inputs.push(parser.text(&field, "NodeProto.input")?),
            2 => node.outputs.push(parser.text(&field, "NodeProto.output")?),
            3 => parser.text_once(&mut name, &field, "NodeProto.name")?,
            4 => parser.text_once(&mut op_type, &field, "NodeProto.op_type")?,
            5 => node.attributes.push(attribute(parser, &message, &field)?),
            7 => parser.text_once(&mut domain, &field, "NodeProto.domain")?,
            8 => parser.text_once(&mut overload, &field, "NodeProto.overload")?,
            _ => {}
        }
    }
    node.name = name.unwrap_or_default();
    node.op_type = op_type.unwrap_or_default();
    node.domain = domain.unwrap_or_default();
    node.overload = overload.unwrap_or_default();
    Ok(node)
}

/// The fields that hold a value, by the number of the type that names them.
const VALUES: &[(i32, u64)] = &[
    (1, 2),
    (2, 3),
    (3, 4),
    (4, 5),
    (5, 6),
    (11, 22),
    (13, 14),
    (6, 7),
    (7, 8),
    (8, 9),
    (9, 10),
    (10, 11),
    (12, 23),
    (14, 15),
];

pub(crate) fn attribute(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Attribute> {
    const WHAT: &str = "AttributeProto";
    let (at, mut message) = (field.span.start, parser.inside(of, field, WHAT)?);
    let (mut name, mut reference, mut code, mut value) = (None, None, None, None);
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            1 => parser.text_once(&mut name, &field, "AttributeProto.name")?,
            20 => once(&mut code, field.int32("AttributeProto.type")?, &field, WHAT)?,
            21 => parser.text_once(&mut reference, &field, "AttributeProto.ref_attr_name")?,
            2..=11 | 14 | 15 | 22 | 23 => add(parser, &message, &field, &mut value)?,
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
            let row = VALUES.iter().find(|(own, _)| *own == code);
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
    parser: &mut Parser<'_>,
    of: &Message,
    field: &Field,
    slot: &mut Option<(u64, AttributeValue)>,
) -> Result<()> {
    use AttributeValue as V;
    const WHAT: &str = "AttributeProto";
    match (field.number, slot) {
        (7, Some((7, V::Floats(list)))) => return floats(parser, field, list),
        (8, Some((8, V::Ints(list)))) => return ints(parser, field, list),
        (9, Some((9, V::Strings(list)))) => list.push(parser.bytes(field, WHAT)?),
        (10, Some((10, V::Tensors(list)))) => list.push(tensor(parser, of, field)?),
        (11, Some((11, V::Graphs(list)))) => list.push(graph(parser, of, field, WHAT)?),
        (15, Some((15, V::Types(list)))) => list.push(type_proto(parser, of, field)?),
        (23, Some((23, V::SparseTensors(list)))) => list.push(sparse_tensor(parser, of, field)?),
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
    parser: &mut Parser<'_>,
    of: &Message,
    field: &Field,
) -> Result<Option<AttributeValue>> {
    use AttributeValue as V;
    const WHAT: &str = "AttributeProto";
    Ok(Some(match field.number {
        2 => V::Float(field.float("AttributeProto.f")?),
        3 => V::Int(field.int64("AttributeProto.i")?),
        4 => V::String(parser.bytes(field, "AttributeProto.s")?),
        5 => V::Tensor(tensor(parser, of, field)?),
        6 => V::Graph(Box::new(graph(parser, of, field, WHAT)?)),
        22 => V::SparseTensor(Box::new(sparse_tensor(parser, of, field)?)),
        14 => V::Type(type_proto(parser, of, field)?),
        7 => {
            let mut list = Vec::new();
            floats(parser, field, &mut list)?;
            V::Floats(list)
        }
        8 => {
            let mut list = Vec::new();
            ints(parser, field, &mut list)?;
            V::Ints(list)
        }
        9 => V::Strings(vec![parser.bytes(field, WHAT)?]),
        10 => V::Tensors(vec![tensor(parser, of, field)?]),
        11 => V::Graphs(vec![graph(parser, of, field, WHAT)?]),
        15 => V::Types(vec![type_proto(parser, of, field)?]),
        23 => V::SparseTensors(vec![sparse_tensor(parser, of, field)?]),
        _ => return Ok(None),
    }))
}

fn ints(parser: &mut Parser<'_>, field: &Field, list: &mut Vec<i64>) -> Result<()> {
    parser.reader.varints(field, "AttributeProto.ints", |value| {
        list.push(value.cast_signed());
        Ok(())
    })
}

/// Floats come one by one in the reference, packed from some writers.
fn floats(parser: &mut Parser<'_>, field: &Field, list: &mut Vec<f32>) -> Result<()> {
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
