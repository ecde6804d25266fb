//! Graphs of operators: `GraphDef`, `NodeDef`, `FunctionDef`.

use std::collections::BTreeMap;

use protobuf::{Field, Message, once};
use wire::{ReadAt, Result};

use crate::Limits;
use crate::kind::{DataType, kind};
use crate::parser::Parser;
use crate::shape::{Shape, shape};
use crate::tensor::{Constant, stated};

/// A graph, and the functions that its nodes call.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The operators, in the order of the file.
    pub nodes: Vec<Node>,
    /// The library.
    pub functions: Vec<Function>,
}

/// A function: a graph with arguments.
#[derive(Debug, Clone, Default)]
pub struct Function {
    /// Its name, unique.
    pub name: String,
    /// Names of its arguments.
    pub arguments: Vec<String>,
    /// The operators.
    pub nodes: Vec<Node>,
}

/// An operator.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Where it is stated.
    pub at: u64,
    /// Its name, unique in its graph.
    pub name: String,
    /// What it does.
    pub op: String,
    /// What it reads: `node`, `node:1`, in functions `node:output:0` or an argument; `^node` for one
    /// that only comes before it.
    pub inputs: Vec<String>,
    /// Its attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
}

/// The value of an attribute.
#[derive(Debug, Clone, Default)]
pub enum Attribute {
    /// Bytes, mostly text.
    Text(Vec<u8>),
    /// An integer.
    Int(i64),
    /// A number.
    Float(f32),
    /// A truth value.
    Bool(bool),
    /// A type of elements.
    Type(DataType),
    /// A shape.
    Shape(Shape),
    /// A tensor.
    Tensor(Constant),
    /// Functions, by name: one, or a list.
    Functions(Vec<String>),
    /// A list of anything else, or a name for a value that a caller gives.
    #[default]
    Other,
}

/// Fields of `AttrValue`: `tensorflow/core/framework/attr_value.proto`.
mod field {
    pub(super) const LIST: u64 = 1;
    pub(super) const TEXT: u64 = 2;
    pub(super) const INT: u64 = 3;
    pub(super) const FLOAT: u64 = 4;
    pub(super) const BOOL: u64 = 5;
    pub(super) const TYPE: u64 = 6;
    pub(super) const SHAPE: u64 = 7;
    pub(super) const TENSOR: u64 = 8;
    pub(super) const FUNCTION: u64 = 10;
    /// Of `ListValue`.
    pub(super) const LISTED_FUNCTION: u64 = 9;
}

impl Node {
    /// The functions that it calls.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        let lists = self.attributes.values().filter_map(|value| match value {
            Attribute::Functions(names) => Some(names),
            _ => None,
        });
        lists.flatten().map(String::as_str)
    }
}

/// Whether bytes begin as a graph does: with a node, of a name and an operator.
pub fn probe_graph(head: &[u8]) -> bool {
    let Some((node, 0x0a)) = message(head) else { return false };
    let Some((name, 0x0a)) = message(node) else { return false };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-/\\>".contains(byte);
    if name.is_empty() || !name.iter().all(is_name) {
        return false;
    }
    // The tag and the length stand before the name.
    let op = node.get(name.len().saturating_add(2)..).and_then(message);
    op.is_some_and(|(op, tag)| {
        let is_op = |byte: &u8| byte.is_ascii_alphanumeric() || b"_>".contains(byte);
        tag == 0x12 && op.first().is_some_and(u8::is_ascii_alphabetic) && op.iter().all(is_op)
    })
}

/// The content of the field of bytes that these begin with, as far as it is here, and its tag.
pub(crate) fn message(bytes: &[u8]) -> Option<(&[u8], u8)> {
    let (&tag, rest) = bytes.split_first()?;
    let digits = rest.iter().take(5).take_while(|byte| **byte >= 0x80).count();
    let (len, rest) = rest.split_at_checked(digits.saturating_add(1))?;
    let each = len.iter().rev().map(|byte| usize::from(byte & 0x7f));
    let len = each.fold(0usize, |sum, bits| sum.saturating_mul(128).saturating_add(bits));
    Some((rest.get(..len).unwrap_or(rest), tag))
}

/// Reads a file that holds a graph. Weights are passed over.
///
/// # Errors
/// With the offset and the field at fault.
pub fn read_graph(source: &dyn ReadAt, limits: &Limits) -> Result<Graph> {
    let mut graph = Graph::default();
    Parser::new(source, limits).whole(&mut |parser, of, field| graph.take(parser, of, field))?;
    Ok(graph)
}

/// Reads `GraphDef`.
pub(crate) fn graph(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Graph> {
    let mut graph = Graph::default();
    let each =
        &mut |parser: &mut Parser<'_>, of: &Message, field: &Field| graph.take(parser, of, field);
    parser.inside(of, field, "GraphDef", each)?;
    Ok(graph)
}

impl Graph {
    fn take(&mut self, parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<()> {
        match field.number {
            1 => self.nodes.push(node(parser, of, field)?),
            2 => parser.inside(of, field, "FunctionDefLibrary", &mut |parser, of, field| {
                if field.number == 1 {
                    self.functions.push(function(parser, of, field)?);
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    }
}

fn function(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Function> {
    const WHAT: &str = "FunctionDef";
    let (mut made, mut signature) = (Function::default(), None);
    parser.inside(of, field, WHAT, &mut |parser, of, field| match field.number {
        1 => once(&mut signature, head(parser, of, field)?, field, WHAT),
        3 => {
            made.nodes.push(node(parser, of, field)?);
            Ok(())
        }
        _ => Ok(()),
    })?;
    (made.name, made.arguments) = signature.unwrap_or_default();
    Ok(made)
}

/// Name and arguments of a function: `OpDef`.
fn head(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<(String, Vec<String>)> {
    const WHAT: &str = "OpDef";
    let (mut name, mut arguments) = (None, Vec::new());
    parser.inside(of, field, WHAT, &mut |parser, of, field| match field.number {
        1 => once(&mut name, parser.text(field, WHAT)?, field, WHAT),
        2 => {
            let mut argument = None;
            parser.inside(of, field, "ArgDef", &mut |parser, _, field| match field.number {
                1 => once(&mut argument, parser.text(field, WHAT)?, field, WHAT),
                _ => Ok(()),
            })?;
            arguments.push(argument.unwrap_or_default());
            Ok(())
        }
        _ => Ok(()),
    })?;
    Ok((name.unwrap_or_default(), arguments))
}

fn node(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Node> {
    const WHAT: &str = "NodeDef";
    let mut node = Node { at: field.span.start, ..Node::default() };
    let (mut name, mut op) = (None, None);
    parser.inside(of, field, WHAT, &mut |parser, of, field| match field.number {
        1 => once(&mut name, parser.text(field, "NodeDef.name")?, field, WHAT),
        2 => once(&mut op, parser.text(field, "NodeDef.op")?, field, WHAT),
        3 => {
            node.inputs.push(parser.text(field, "NodeDef.input")?);
            Ok(())
        }
        5 => parser.entry(&mut node.attributes, (of, field), "NodeDef.attr", attribute),
        _ => Ok(()),
    })?;
    (node.name, node.op) = (name.unwrap_or_default(), op.unwrap_or_default());
    Ok(node)
}

/// Reads `AttrValue`.
fn attribute(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Attribute> {
    const WHAT: &str = "AttrValue";
    let mut found = None;
    parser.inside(of, field, WHAT, &mut |parser, of, field| {
        let value = match field.number {
            field::LIST => listed(parser, of, field)?,
            field::TEXT => Attribute::Text(parser.bytes(field, WHAT)?),
            field::INT => Attribute::Int(field.int64(WHAT)?),
            field::FLOAT => Attribute::Float(field.float(WHAT)?),
            field::BOOL => Attribute::Bool(field.truth(WHAT)?),
            field::TYPE => type_of(field)?,
            field::SHAPE => Attribute::Shape(shape(parser, of, field)?),
            field::TENSOR => Attribute::Tensor(stated(parser, of, field)?.constant()?),
            field::FUNCTION => Attribute::Functions(vec![called(parser, of, field)?]),
            _ => return Ok(()),
        };
        once(&mut found, value, field, WHAT)
    })?;
    Ok(found.unwrap_or_default())
}

/// A type. None at all is written where an operator has no use for one.
fn type_of(field: &Field) -> Result<Attribute> {
    match field.varint("AttrValue.type")? {
        0 => Ok(Attribute::Other),
        _ => kind(field, "AttrValue.type").map(Attribute::Type),
    }
}

fn listed(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Attribute> {
    let mut functions = Vec::new();
    parser.inside(of, field, "AttrValue.ListValue", &mut |parser, of, field| {
        if field.number == field::LISTED_FUNCTION {
            functions.push(called(parser, of, field)?);
        }
        Ok(())
    })?;
    Ok(if functions.is_empty() { Attribute::Other } else { Attribute::Functions(functions) })
}

/// The name in `NameAttrList`.
fn called(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<String> {
    const WHAT: &str = "NameAttrList";
    let mut name = None;
    parser.inside(of, field, WHAT, &mut |parser, _, field| match field.number {
        1 => once(&mut name, parser.text(field, WHAT)?, field, WHAT),
        _ => Ok(()),
    })?;
    Ok(name.unwrap_or_default())
}
