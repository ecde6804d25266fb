//! Graphs: whether they go in a circle, what their results depend on, constants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use tensorflow::{Attribute, Constant, Function, Graph, Node};

use super::{constant, container, kernels};
use crate::ir::{Blob, Error, Limits, Notes, Result, Tensor};
use crate::read::hub::Weights;

/// The weights of a graph that has its variables as constants: every number that it states.
///
/// # Errors
/// What the container says; Malformed for graphs that go in a circle.
pub(super) fn frozen(blob: &Arc<Blob>, limits: &Limits, notes: &mut Notes) -> Result<Weights> {
    let place = |error: Error| error.at("tensorflow").at(blob.name());
    let graph =
        tensorflow::read_graph(&**blob, &container(limits)).map_err(|error| place(error.into()))?;
    check(&graph).map_err(place)?;
    let parts = Parts::whole(&graph);
    let tensors = parts.constants(blob, |_| true, notes).map_err(place)?;
    let mut weights = Weights::from(tensors);
    weights.kernels = kernels::of(&parts, &kernels::Bound::default(), &weights.tensors);
    Ok(weights)
}

/// Refuses graphs that go in a circle: a loop goes around by way of a node that says so.
pub(super) fn check(graph: &Graph) -> Result<()> {
    acyclic(&graph.nodes)?;
    let mut names = BTreeSet::new();
    for function in &graph.functions {
        let named = |error: Error| error.at(format!("function '{}'", function.name));
        if !names.insert(&function.name) {
            return Err(named(Error::malformed("stands twice")));
        }
        acyclic(&function.nodes).map_err(named)?;
    }
    Ok(())
}

fn acyclic(nodes: &[Node]) -> Result<()> {
    let mut places = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate() {
        if places.insert(node.name.as_str(), at).is_some() {
            return Err(Error::malformed(format!("node '{}' stands twice", node.name)));
        }
    }
    let mut waits = vec![0usize; nodes.len()];
    let mut readers = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        let inputs = node.inputs.iter().filter_map(|input| places.get(node_of(input)));
        for &input in inputs.filter(|input| nodes[**input].op != "NextIteration") {
            readers[input].push(at);
            waits[at] += 1;
        }
    }
    let mut ready: Vec<usize> = (0..nodes.len()).filter(|at| waits[*at] == 0).collect();
    while let Some(done) = ready.pop() {
        for &at in &readers[done] {
            waits[at] -= 1;
            if waits[at] == 0 {
                ready.push(at);
            }
        }
    }
    match waits.iter().position(|left| *left > 0) {
        None => Ok(()),
        Some(at) => {
            let name = &nodes[at].name;
            Err(Error::malformed(format!("node '{name}' depends on itself, by way of its inputs")))
        }
    }
}

/// The node that an input names: `^node`, `node`, `node:1`, `node:output:0`.
pub(super) fn node_of(input: &str) -> &str {
    let name = input.strip_prefix('^').unwrap_or(input);
    name.split_once(':').map_or(name, |(name, _)| name)
}

/// What of a graph is looked at: nodes of its own, and functions that they call.
pub(super) struct Parts<'g> {
    pub(super) nodes: Vec<&'g Node>,
    pub(super) functions: BTreeMap<&'g str, &'g Function>,
}

impl<'g> Parts<'g> {
    /// All of it.
    pub(super) fn whole(graph: &'g Graph) -> Self {
        let functions = graph.functions.iter().map(|function| (function.name.as_str(), function));
        Self { nodes: graph.nodes.iter().collect(), functions: functions.collect() }
    }

    /// What values of these names depend on.
    pub(super) fn behind<'v>(graph: &'g Graph, values: impl Iterator<Item = &'v str>) -> Self {
        let nodes: BTreeMap<&str, &Node> =
            graph.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        let mut seen: BTreeMap<&str, &Node> = BTreeMap::new();
        let mut left: Vec<&Node> =
            values.filter_map(|value| nodes.get(node_of(value)).copied()).collect();
        while let Some(node) = left.pop() {
            if seen.insert(&node.name, node).is_none() {
                left.extend(node.inputs.iter().filter_map(|input| nodes.get(node_of(input))));
            }
        }
        let nodes = graph.nodes.iter().filter(|node| seen.contains_key(node.name.as_str()));
        let nodes: Vec<&Node> = nodes.collect();
        let functions = called(graph, nodes.iter().flat_map(|node| calls(node)).collect());
        Self { nodes, functions }
    }

    /// Nodes that state something, each with the name of its tensor.
    fn stated(&self) -> impl Iterator<Item = (String, &'g Constant)> {
        let own = self.nodes.iter().map(|node| (node.name.clone(), *node));
        let of_functions = self.functions.iter().flat_map(|(function, body)| {
            let name = move |node: &Node| format!("{function}/{}", node.name);
            body.nodes.iter().map(move |node| (name(node), node))
        });
        own.chain(of_functions).filter(|(_, node)| node.op == "Const").filter_map(|(name, node)| {
            match node.attributes.get("value") {
                Some(Attribute::Tensor(constant)) => Some((name, constant)),
                _ => None,
            }
        })
    }

    /// Constants that are wanted, as tensors. What is text is left out with those that are not.
    pub(super) fn constants(
        &self,
        blob: &Arc<Blob>,
        wanted: impl Fn(&Constant) -> bool,
        notes: &mut Notes,
    ) -> Result<IndexMap<String, Tensor>> {
        let (mut tensors, mut left) = (IndexMap::new(), 0);
        for (name, constant) in self.stated() {
            let made = match wanted(constant) {
                true => constant::tensor(blob, constant),
                false => Ok(None),
            };
            match made.map_err(|error| error.at(format!("constant '{name}'")))? {
                Some(tensor) => drop(tensors.insert(name, tensor)),
                None => left += 1,
            }
        }
        if left > 0 {
            let text = format!(
                "{left} constants that are texts or arguments of operators, not weights, are left out"
            );
            notes.chosen(blob.name(), text);
        }
        Ok(tensors)
    }
}

/// Functions that a node calls: by attribute, or because its operator is one.
pub(super) fn calls(node: &Node) -> Vec<&str> {
    node.calls().chain([node.op.as_str()]).collect()
}

/// These functions, and those that they call.
fn called<'g>(graph: &'g Graph, mut left: Vec<&'g str>) -> BTreeMap<&'g str, &'g Function> {
    let all: BTreeMap<&str, &Function> =
        graph.functions.iter().map(|function| (function.name.as_str(), function)).collect();
    let mut found = BTreeMap::new();
    while let Some(name) = left.pop() {
        let Some(function) = all.get(name) else { continue };
        if found.insert(function.name.as_str(), *function).is_none() {
            left.extend(function.nodes.iter().flat_map(calls));
        }
    }
    found
}
