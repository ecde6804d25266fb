//! A network as a graph of operators, in ONNX's words.
//!
//! ```text
//!  inputs ─▶ node ─▶ value ─▶ node ─▶ … ─▶ outputs        values have names; a node names what it
//!              ▲                ▲                          reads and what it makes
//!         initializer      attribute (a number, a tensor, or a graph of its own: If, Loop, Scan)
//! ```
//!
//! Weights are no part of this: an initializer names a tensor of the [`Model`](super::Model), so
//! that transforms, quantizers and `diff` see every weight in one place. A tensor of a subgraph
//! has the path to it in its name: `node/attribute/name`.
//!
//! Operators and versions: <https://onnx.ai/onnx/operators/>.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;

use super::{Blob, DType, Tensor};

/// A network that can be run: the main graph, and what its operators mean.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// The version of the container's rules (ONNX's `ir_version`).
    pub ir_version: u64,
    /// The version of each domain's operators; the default domain is "".
    pub opsets: IndexMap<String, u64>,
    /// Operators that the file defines itself, by domain and name.
    pub functions: Vec<Function>,
    /// What is run.
    pub graph: Graph,
    /// The file that this was read from: what a change does not touch is written as it was read.
    pub original: Option<Arc<Original>>,
}

/// The file that a program was read from, and what was found where.
#[derive(Debug)]
pub struct Original {
    /// The file.
    pub blob: Arc<Blob>,
    /// Tensors by the place of their messages: the name that each has in the model, and how its
    /// elements were read.
    pub tensors: BTreeMap<u64, (String, Tensor)>,
}

/// Nodes in an order in which each comes after those whose values it reads.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The author's name for it.
    pub name: String,
    /// What must be given, and, before version 4 of the container, the initializers too.
    pub inputs: Vec<Port>,
    /// What is given back.
    pub outputs: Vec<Port>,
    /// Values with stated types: inputs, outputs or neither.
    pub values: Vec<Port>,
    /// Constants by the name that nodes know them by.
    pub initializers: IndexMap<String, Constant>,
    /// The computation.
    pub nodes: Vec<Node>,
    /// Where in the program's original this graph lies.
    pub span: Option<Range<u64>>,
}

/// A named value at the edge of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The name that nodes know it by.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where in the program's original it lies.
    pub span: Option<Range<u64>>,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Nothing is said.
    Unknown,
    /// A tensor of numbers. Without dimensions, not even the rank is known.
    Tensor(Element, Option<Vec<Dim>>),
    /// A list of values of one kind.
    Sequence(Box<Kind>),
    /// A value, or none.
    Optional(Box<Kind>),
    /// A map, a sparse tensor, or what only its domain knows: nothing here computes with it.
    Other,
}

/// What the elements of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Numbers.
    Number(DType),
    /// Text.
    Text,
    /// A type of this number in `TensorProto.DataType` that nothing here computes with.
    Other(i64),
}

/// The size of a value along one dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// This many.
    Known(u64),
    /// The same wherever this name stands.
    Named(String),
    /// Anything.
    Unknown,
}

/// A constant of a graph.
#[derive(Debug, Clone)]
pub enum Constant {
    /// The tensor of this name in the model.
    Weight(String),
    /// Text, which the model's tensors do not hold.
    Text {
        /// Sizes, outermost first.
        shape: Vec<u64>,
        /// The elements, row-major.
        values: Vec<Vec<u8>>,
    },
}

/// One operation.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// The author's name for it; may be empty.
    pub name: String,
    /// Whose operator it is; "" is ONNX's own.
    pub domain: String,
    /// The operator.
    pub op: String,
    /// Tells functions of one name apart; empty for all else.
    pub overload: String,
    /// The values that it reads; an empty name is an input left out.
    pub inputs: Vec<String>,
    /// The values that it makes; an empty name is an output nobody wants.
    pub outputs: Vec<String>,
    /// Its options.
    pub attributes: IndexMap<String, Attribute>,
    /// Where in the program's original this node lies, if it is as it was read.
    pub span: Option<Range<u64>>,
}

/// An option of a node.
#[derive(Debug, Clone)]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// A real number.
    Float(f32),
    /// Bytes, nearly always UTF-8.
    Text(Vec<u8>),
    /// A constant tensor, small as a rule; large ones are weights of the model too.
    Constant(Constant),
    /// A graph that the node runs.
    Graph(Box<Graph>),
    /// Integers.
    Ints(Vec<i64>),
    /// Real numbers.
    Floats(Vec<f32>),
    /// Texts.
    Texts(Vec<Vec<u8>>),
    /// Constant tensors.
    Constants(Vec<Constant>),
    /// Graphs.
    Graphs(Vec<Graph>),
    /// The type of a value.
    Kind(Kind),
    /// In a function's node: the attribute of this name of the node that calls the function.
    Of(String),
}

/// An operator made of operators.
#[derive(Debug, Clone, Default)]
pub struct Function {
    /// Whose it is.
    pub domain: String,
    /// The operator that it defines.
    pub name: String,
    /// Tells functions of one name apart; nodes repeat it.
    pub overload: String,
    /// Names of its inputs.
    pub inputs: Vec<String>,
    /// Names of its outputs.
    pub outputs: Vec<String>,
    /// Attributes that a call must give.
    pub attributes: Vec<String>,
    /// Attributes that a call may give, with their values if it does not.
    pub defaults: IndexMap<String, Attribute>,
    /// The version of each domain's operators in its nodes.
    pub opsets: IndexMap<String, u64>,
    /// The computation.
    pub nodes: Vec<Node>,
}

/// A value that a graph is given, or gives back.
#[derive(Debug, Clone)]
pub enum Given {
    /// Numbers.
    Tensor(Tensor),
    /// Text.
    Text {
        /// Sizes, outermost first.
        shape: Vec<u64>,
        /// The elements, row-major.
        values: Vec<Vec<u8>>,
    },
    /// A list.
    Sequence(Vec<Given>),
    /// No value, where one is optional.
    Nothing,
}
