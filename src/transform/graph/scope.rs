//! The values that a node sees, each in the types in which it is at hand.

use std::collections::{BTreeMap, BTreeSet};

use crate::ir::DType;
use crate::ir::graph::{Attribute, Element, Graph, Kind, Node};

/// A value, as nodes see it.
#[derive(Debug, Clone, Default)]
pub(super) struct Value {
    /// What its elements were; of a list, what those of its items were.
    pub(super) element: Option<Element>,
    /// Its name in the narrow type, if it is at hand in it.
    pub(super) half: Option<String>,
    /// Its name in f32, if it is at hand in it.
    pub(super) full: Option<String>,
    /// The tensor of the model that it is, if it is constant.
    pub(super) weight: Option<String>,
    /// Whether an operator made it that stays in f32.
    pub(super) wide: bool,
    /// Whether it is a list of tensors, which no operator casts.
    pub(super) is_list: bool,
}

/// One of the two types of a value that was f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// The narrow one.
    Half,
    /// f32.
    Full,
}

impl Value {
    /// A value that was f32, now at hand under this name.
    pub(super) fn float(name: &str, precision: Precision) -> Self {
        let mut value = Self { element: Some(F32), ..Self::default() };
        value.add(name, precision);
        value
    }

    /// A value of any type; it keeps its name and type.
    pub(super) fn other(element: Option<Element>) -> Self {
        Self { element, ..Self::default() }
    }

    pub(super) fn is_float(&self) -> bool {
        self.element == Some(F32)
    }

    pub(super) fn name(&self, precision: Precision) -> Option<&String> {
        match precision {
            Precision::Half => self.half.as_ref(),
            Precision::Full => self.full.as_ref(),
        }
    }

    pub(super) fn add(&mut self, name: &str, precision: Precision) {
        match precision {
            Precision::Half => self.half = Some(name.to_owned()),
            Precision::Full => self.full = Some(name.to_owned()),
        }
    }
}

/// What becomes narrow.
pub(super) const F32: Element = Element::Number(DType::F32);

/// Values by name; those of a graph within another hide nothing, as names differ by the rules.
#[derive(Debug, Default)]
pub(super) struct Scopes(Vec<BTreeMap<String, Value>>);

impl Scopes {
    pub(super) fn enter(&mut self) {
        self.0.push(BTreeMap::new());
    }

    pub(super) fn leave(&mut self) {
        self.0.pop();
    }

    /// How many graphs lie around what is known last, that one included.
    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().rev().find_map(|scope| scope.get(name))
    }

    /// Known from here on, in this graph and those within it.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        if let Some(scope) = self.0.last_mut() {
            scope.insert(name.to_owned(), value);
        }
    }
}

/// The elements of a kind of value; of a list, those of its items.
pub(super) fn element(kind: &Kind) -> Option<Element> {
    match kind {
        Kind::Tensor(element, _) => Some(*element),
        Kind::Sequence(of) | Kind::Optional(of) => element(of),
        Kind::Unknown | Kind::Other => None,
    }
}

/// The same kind with other elements.
pub(super) fn set_element(kind: &mut Kind, to: DType) {
    match kind {
        Kind::Tensor(element, _) => *element = Element::Number(to),
        Kind::Sequence(of) | Kind::Optional(of) => set_element(of, to),
        Kind::Unknown | Kind::Other => {}
    }
}

/// The graphs that a node runs.
pub(super) fn graphs(node: &Node) -> impl Iterator<Item = &Graph> {
    node.attributes.values().flat_map(|attribute| match attribute {
        Attribute::Graph(graph) => std::slice::from_ref(&**graph),
        Attribute::Graphs(graphs) => graphs,
        _ => &[],
    })
}

/// Every name of a value, in this graph and those within it.
pub(super) fn names(graph: &Graph, all: &mut BTreeSet<String>) {
    let ports = graph.inputs.iter().chain(&graph.outputs).map(|port| &port.name);
    all.extend(ports.chain(graph.initializers.keys()).cloned());
    for node in &graph.nodes {
        all.extend(node.inputs.iter().chain(&node.outputs).cloned());
        graphs(node).for_each(|graph| names(graph, all));
    }
}
