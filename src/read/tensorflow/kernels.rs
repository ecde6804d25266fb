//! Which weights are kernels: those that a convolution or a product of matrices reads, directly or
//! by way of calls of functions.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use tensorflow::{Attribute, Constant, Function, Node, Values};

use super::graph::{Parts, calls, node_of};
use crate::ir::{Convention, Kernel, Layer, Tensor};

/// For functions, which weight each of their last arguments is.
pub(super) type Bound = BTreeMap<String, Vec<Option<String>>>;

/// What a weight is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// x·W: [in, out].
    Dense,
    /// x·Wᵀ: [out, in].
    DenseTurned,
    Conv,
    ConvTranspose,
    Depthwise,
}

/// Operators that read a kernel: their name, which input it is, what it is then.
const OPERATORS: &[(&str, usize, Role)] = &[
    ("Conv2D", 1, Role::Conv),
    ("_FusedConv2D", 1, Role::Conv),
    ("Conv3D", 1, Role::Conv),
    ("Conv2DBackpropInput", 1, Role::ConvTranspose),
    ("Conv3DBackpropInputV2", 1, Role::ConvTranspose),
    ("DepthwiseConv2dNative", 1, Role::Depthwise),
    ("_FusedDepthwiseConv2dNative", 1, Role::Depthwise),
    ("MatMul", 1, Role::Dense),
    ("_FusedMatMul", 1, Role::Dense),
];

/// Operators whose result is their first input.
const SAME: &[&str] = &["Identity", "ReadVariableOp", "Cast", "Enter", "StopGradient", "Snapshot"];

/// Operators that are a variable.
const VARIABLES: &[&str] = &["VarHandleOp", "VariableV2", "Variable"];

/// Operators that call a function with their inputs as its arguments.
const CALLS: &[&str] = &["PartitionedCall", "StatefulPartitionedCall"];

/// How many steps a weight is followed through nodes that change nothing.
const STEPS_MAX: usize = 64;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// The weight of that name.
    Weight(String),
    /// An argument of the function.
    Argument(usize),
}

/// The kernels among these tensors. One that is read as two things is none.
pub(super) fn of(
    parts: &Parts<'_>,
    bound: &Bound,
    tensors: &IndexMap<String, Tensor>,
) -> IndexMap<String, Kernel> {
    let mut search = Search { parts, known: BTreeMap::new() };
    let own = Scope::new("", parts.nodes.iter().copied(), &[]);
    let mut uses = search.uses(&own);
    for (name, function) in &parts.functions {
        let weights = bound.get(*name).map_or(&[][..], |weights| weights);
        let first = function.arguments.len().saturating_sub(weights.len());
        for (origin, role) in search.function(function) {
            match origin {
                Origin::Weight(_) => uses.push((origin, role)),
                Origin::Argument(no) => {
                    let weight = no.checked_sub(first).and_then(|no| weights.get(no)?.clone());
                    uses.extend(weight.map(|weight| (Origin::Weight(weight), role)));
                }
            }
        }
    }
    let mut roles: BTreeMap<String, Option<Role>> = BTreeMap::new();
    for (origin, role) in uses {
        let Origin::Weight(name) = origin else { continue };
        let known = roles.entry(name).or_insert(Some(role));
        *known = known.filter(|known| *known == role);
    }
    let roles = roles.into_iter().filter_map(|(name, role)| Some((name, role?)));
    let found = roles.filter_map(|(name, role)| {
        let kernel = kernel(role, tensors.get(&name)?)?;
        Some((name, kernel))
    });
    found.collect()
}

/// The kernel, if the tensor has as many dimensions as one.
fn kernel(role: Role, tensor: &Tensor) -> Option<Kernel> {
    let (layer, convention) = match (role, tensor.shape().dims()) {
        (Role::Dense, [_, _]) => (Layer::Dense, Convention::Keras),
        (Role::DenseTurned, [_, _]) => (Layer::Dense, Convention::PyTorch),
        (Role::Conv, [_, _, _, ..]) => (Layer::Conv, Convention::Keras),
        (Role::ConvTranspose, [_, _, _, ..]) => (Layer::ConvTranspose, Convention::Keras),
        (Role::Depthwise, [_, _, _, multiplier]) => {
            (Layer::Depthwise { multiplier: *multiplier }, Convention::Keras)
        }
        _ => return None,
    };
    Some(Kernel { layer, convention })
}

/// A graph or a function: nodes by name.
struct Scope<'g> {
    /// What stands before names of constants.
    prefix: String,
    nodes: BTreeMap<&'g str, &'g Node>,
    arguments: BTreeMap<&'g str, usize>,
}

impl<'g> Scope<'g> {
    fn new(prefix: &str, nodes: impl Iterator<Item = &'g Node>, arguments: &'g [String]) -> Self {
        let nodes = nodes.map(|node| (node.name.as_str(), node)).collect();
        let arguments = arguments.iter().enumerate().map(|(no, name)| (name.as_str(), no));
        Self { prefix: prefix.to_owned(), nodes, arguments: arguments.collect() }
    }

    /// Where an input comes from, past whatever does not change it.
    fn origin(&self, input: &'g str) -> Option<Origin> {
        let mut name = node_of(input);
        for _ in 0..STEPS_MAX {
            if let Some(no) = self.arguments.get(name) {
                return Some(Origin::Argument(*no));
            }
            let node = self.nodes.get(name)?;
            match node.op.as_str() {
                "Const" => return Some(Origin::Weight(format!("{}{name}", self.prefix))),
                op if VARIABLES.contains(&op) => return Some(Origin::Weight(name.to_owned())),
                op if SAME.contains(&op) => name = node_of(node.inputs.first()?),
                // A convolution over one dimension is one over two, the first of length 1.
                "ExpandDims" if self.is_zero(node.inputs.get(1)?) => {
                    name = node_of(node.inputs.first()?);
                }
                _ => return None,
            }
        }
        None
    }
}

impl Scope<'_> {
    /// Whether an input is a constant that states nothing but zeros.
    fn is_zero(&self, input: &str) -> bool {
        let node = self.nodes.get(node_of(input));
        match node.and_then(|node| node.attributes.get("value")) {
            Some(Attribute::Tensor(Constant { values: Values::Made(bytes), .. })) => {
                bytes.iter().all(|byte| *byte == 0)
            }
            _ => false,
        }
    }
}

struct Search<'p, 'g> {
    parts: &'p Parts<'g>,
    /// What functions read their weights as; nothing while one is looked at.
    known: BTreeMap<&'g str, Vec<(Origin, Role)>>,
}

impl<'g> Search<'_, 'g> {
    fn function(&mut self, function: &'g Function) -> Vec<(Origin, Role)> {
        if let Some(known) = self.known.get(function.name.as_str()) {
            return known.clone();
        }
        // A function that calls itself is not followed twice.
        self.known.insert(&function.name, Vec::new());
        let prefix = format!("{}/", function.name);
        let scope = Scope::new(&prefix, function.nodes.iter(), &function.arguments);
        let uses = self.uses(&scope);
        self.known.insert(&function.name, uses.clone());
        uses
    }

    fn uses(&mut self, scope: &Scope<'g>) -> Vec<(Origin, Role)> {
        let mut uses = Vec::new();
        for node in scope.nodes.values() {
            let operator = OPERATORS.iter().find(|(op, ..)| *op == node.op);
            if let Some((_, input, role)) = operator {
                let origin = node.inputs.get(*input).and_then(|input| scope.origin(input));
                uses.extend(origin.map(|origin| (origin, turned(node, *role))));
            }
            for name in calls(node) {
                let callee = self.parts.functions.get(name).copied();
                let Some(callee) = callee.filter(|_| CALLS.contains(&&*node.op) || name == node.op)
                else {
                    continue;
                };
                for (origin, role) in self.function(callee) {
                    let Origin::Argument(no) = origin else { continue };
                    let origin = node.inputs.get(no).and_then(|input| scope.origin(input));
                    uses.extend(origin.map(|origin| (origin, role)));
                }
            }
        }
        uses
    }
}

/// A product reads its matrix turned if an attribute says so.
fn turned(node: &Node, role: Role) -> Role {
    match (role, node.attributes.get("transpose_b")) {
        (Role::Dense, Some(Attribute::Bool(true))) => Role::DenseTurned,
        _ => role,
    }
}
