//! What the original has not: nodes, values and tensors anew.

use onnx::fields::{attribute, entry, graph, inner, kind as kinds, node, shape, tensor, value};
use onnx::{DataType, Message};

use super::rewrite::{Out, Rewrite};
use crate::ir::graph::{Attribute, Dim, Element, Graph, Kind, Node, Port};
use crate::ir::{Error, Result, Tensor};

/// A graph.
pub(super) fn graph(rewrite: &mut Rewrite<'_>, of: &Graph) -> Result<Out> {
    let mut out = Out::default();
    for node in &of.nodes {
        out.message(graph::NODE, rewrite.node_content(node)?);
    }
    out.text(graph::NAME, &of.name);
    for (name, constant) in &of.initializers {
        out.message(graph::INITIALIZER, rewrite.new_tensor(name, constant)?);
    }
    let lists =
        [(graph::INPUT, &of.inputs), (graph::OUTPUT, &of.outputs), (graph::VALUE_INFO, &of.values)];
    for (number, ports) in lists {
        for of in ports {
            out.message(number, port(of)?);
        }
    }
    Ok(out)
}

/// A node.
pub(super) fn node(rewrite: &mut Rewrite<'_>, of: &Node) -> Result<Out> {
    let mut out = Out::default();
    // An empty name is an input left out, and has its place.
    of.inputs.iter().for_each(|name| out.bytes(node::INPUT, name.as_bytes()));
    of.outputs.iter().for_each(|name| out.bytes(node::OUTPUT, name.as_bytes()));
    out.text(node::NAME, &of.name);
    out.text(node::OP_TYPE, &of.op);
    for (name, value) in &of.attributes {
        let mut inner = Out::default();
        inner.text(attribute::NAME, name);
        attribute(rewrite, &mut inner, value)?;
        out.message(node::ATTRIBUTE, inner);
    }
    out.text(node::DOMAIN, &of.domain);
    out.text(node::OVERLOAD, &of.overload);
    Ok(out)
}

fn attribute(rewrite: &mut Rewrite<'_>, out: &mut Out, of: &Attribute) -> Result<()> {
    use Attribute as A;
    let number = match of {
        A::Int(value) => {
            out.int(attribute::I, *value);
            attribute::I
        }
        A::Float(value) => {
            out.float(attribute::F, *value);
            attribute::F
        }
        A::Text(value) => {
            out.bytes(attribute::S, value);
            attribute::S
        }
        A::Ints(values) => {
            values.iter().for_each(|value| out.int(attribute::INTS, *value));
            attribute::INTS
        }
        A::Floats(values) => {
            values.iter().for_each(|value| out.float(attribute::FLOATS, *value));
            attribute::FLOATS
        }
        A::Texts(values) => {
            values.iter().for_each(|value| out.bytes(attribute::STRINGS, value));
            attribute::STRINGS
        }
        A::Constant(constant) => {
            out.message(attribute::T, rewrite.new_tensor("", constant)?);
            attribute::T
        }
        A::Constants(constants) => {
            for constant in constants {
                out.message(attribute::TENSORS, rewrite.new_tensor("", constant)?);
            }
            attribute::TENSORS
        }
        A::Graph(of) => {
            out.message(attribute::G, rewrite.graph(of)?);
            attribute::G
        }
        A::Graphs(graphs) => {
            for of in graphs {
                out.message(attribute::GRAPHS, rewrite.graph(of)?);
            }
            attribute::GRAPHS
        }
        A::Kind(of) => {
            out.message(attribute::TP, kind(of)?);
            attribute::TP
        }
        A::Of(name) => {
            let text = format!("a reference to '{name}' in a node that was not read");
            return Err(Error::bug(text));
        }
    };
    let code = onnx::TYPES.iter().find(|(_, own)| *own == number).map_or(0, |(code, _)| *code);
    out.int(attribute::TYPE, code.into());
    Ok(())
}

/// A value's name and type.
pub(super) fn port(of: &Port) -> Result<Out> {
    let mut out = Out::default();
    out.text(value::NAME, &of.name);
    if of.kind != Kind::Unknown {
        out.message(value::TYPE, kind(&of.kind)?);
    }
    Ok(out)
}

/// The type of a value.
pub(super) fn kind(of: &Kind) -> Result<Out> {
    let mut out = Out::default();
    match of {
        Kind::Unknown => {}
        Kind::Tensor(element, dims) => {
            let mut tensor = Out::default();
            tensor.int(inner::ELEM_TYPE, code(*element)?);
            if let Some(dims) = dims {
                tensor.message(inner::SHAPE, sizes(dims));
            }
            out.message(kinds::TENSOR, tensor);
        }
        Kind::Sequence(of) => out.message(kinds::SEQUENCE, element_kind(of)?),
        Kind::Optional(of) => out.message(kinds::OPTIONAL, element_kind(of)?),
        Kind::Other => return Err(Error::bug("a type that was not read as a whole")),
    }
    Ok(out)
}

fn element_kind(of: &Kind) -> Result<Out> {
    let mut out = Out::default();
    out.message(inner::ELEM_TYPE, kind(of)?);
    Ok(out)
}

fn sizes(dims: &[Dim]) -> Out {
    let mut out = Out::default();
    for dim in dims {
        let mut inner = Message::default();
        match dim {
            Dim::Known(size) => inner.int(shape::DIM_VALUE, size.cast_signed()),
            Dim::Named(name) => inner.text(shape::DIM_PARAM, name),
            Dim::Unknown => {}
        }
        out.message(shape::DIM, inner);
    }
    out
}

/// Dimensions and type of a tensor.
pub(super) fn head(out: &mut Out, of: &Tensor) -> Result<()> {
    for size in of.shape().dims() {
        out.int(tensor::DIMS, size.cast_signed());
    }
    out.int(tensor::DATA_TYPE, code(Element::Number(of.dtype()))?);
    Ok(())
}

/// Where the data of a tensor lie beside the model.
pub(super) fn external(out: &mut Out, location: &str, offset: u64, len: u64) {
    let (offset, len) = (offset.to_string(), len.to_string());
    for (key, text) in [("location", location), ("offset", &*offset), ("length", &*len)] {
        let mut inner = Out::default();
        inner.text(entry::KEY, key);
        inner.text(entry::VALUE, text);
        out.message(tensor::EXTERNAL_DATA, inner);
    }
    out.int(tensor::DATA_LOCATION, 1);
}

/// A tensor of text.
pub(super) fn texts(out: &mut Out, name: &str, sizes: &[u64], values: &[Vec<u8>]) {
    out.text(tensor::NAME, name);
    sizes.iter().for_each(|size| out.int(tensor::DIMS, size.cast_signed()));
    out.int(tensor::DATA_TYPE, DataType::String.code().into());
    values.iter().for_each(|value| out.bytes(tensor::STRING_DATA, value));
}

/// The number of a type of elements.
fn code(element: Element) -> Result<i64> {
    element.code().ok_or_else(|| {
        let Element::Number(dtype) = element else { return Error::bug("a type without a number") };
        Error::unsupported(format!("ONNX has no type {dtype}; give --type f16, bf16 or f32"))
    })
}
