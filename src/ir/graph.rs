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
use std::fmt;
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
    /// Tensors by the place of their messages.
    pub tensors: BTreeMap<u64, Origin>,
    /// Types of values by the place of the messages that state them.
    pub kinds: BTreeMap<u64, Kind>,
}

/// What a tensor was when it was read.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The name that it has in the model.
    pub name: String,
    /// How its elements were read.
    pub tensor: Tensor,
    /// Whether they lie in a file beside the model.
    pub external: bool,
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

/// The numbers of `TensorProto.DataType`, which files and attributes such as Cast's `to` state.
const TYPES: &[(i64, DType)] = &[
    (1, DType::F32),
    (2, DType::U8),
    (3, DType::I8),
    (4, DType::U16),
    (5, DType::I16),
    (6, DType::I32),
    (7, DType::I64),
    (9, DType::Bool),
    (10, DType::F16),
    (11, DType::F64),
    (12, DType::U32),
    (13, DType::U64),
    (14, DType::C64),
    (15, DType::C128),
    (16, DType::BF16),
    (17, DType::F8E4M3),
    (18, DType::F8E4M3Fnuz),
    (19, DType::F8E5M2),
    (20, DType::F8E5M2Fnuz),
    (21, DType::U4),
    (22, DType::I4),
    (23, DType::F4E2M1),
    (24, DType::F8E8M0),
    (25, DType::U2),
    (26, DType::I2),
    (27, DType::F6E2M3),
    (28, DType::F6E3M2),
];

/// The number of text in `TensorProto.DataType`.
const TEXT: i64 = 8;

impl Element {
    /// The type of this number in `TensorProto.DataType`.
    pub fn of(code: i64) -> Self {
        let known = TYPES.iter().find(|(own, _)| *own == code);
        match known {
            Some((_, dtype)) => Self::Number(*dtype),
            None if code == TEXT => Self::Text,
            None => Self::Other(code),
        }
    }

    /// Its number in `TensorProto.DataType`; none for packed weights.
    pub fn code(self) -> Option<i64> {
        match self {
            Self::Text => Some(TEXT),
            Self::Other(code) => Some(code),
            Self::Number(dtype) => {
                TYPES.iter().find(|(_, own)| *own == dtype).map(|(code, _)| *code)
            }
        }
    }
}

/// `f32 [n, 3, ?]`, `sequence of i64`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Tensor(element, None) => write!(f, "{element}"),
            Self::Tensor(element, Some(dims)) => {
                let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
                write!(f, "{element} [{}]", dims.join(", "))
            }
            Self::Sequence(of) => write!(f, "sequence of {of}"),
            Self::Optional(of) => write!(f, "optional {of}"),
            Self::Other => f.write_str("no tensor"),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(dtype) => write!(f, "{dtype}"),
            Self::Text => f.write_str("text"),
            Self::Other(code) => write!(f, "type {code}"),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(size) => write!(f, "{size}"),
            Self::Named(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
        }
    }
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
    /// Where in the program's original this node lies.
    pub span: Option<Range<u64>>,
    /// Whether it is no longer as it was read; then only what nothing here knows is taken from
    /// there.
    pub changed: bool,
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
