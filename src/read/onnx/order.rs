//! The order of nodes, and what has none.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use crate::ir::graph::{Attribute, Constant, Function, Graph, Node};
use crate::ir::{Error, Result};

/// The nodes, each after those whose values it reads. Files that are right have them so; a stable
/// order is found for the others.
///
/// # Errors
/// Malformed if a value is made twice, or nodes wait for each other.
pub(super) fn nodes(
    nodes: Vec<Node>,
    initializers: &IndexMap<String, Constant>,
) -> Result<Vec<Node>> {
    let mut makers = BTreeMap::new();
    for (no, node) in nodes.iter().enumerate() {
        for output in node.outputs.iter().filter(|name| !name.is_empty()) {
            if makers.insert(output.as_str(), no).is_some() || initializers.contains_key(output) {
                return Err(Error::malformed(format!("value '{output}': made twice")));
            }
        }
    }
    let needs: Vec<BTreeSet<usize>> = nodes
        .iter()
        .map(|node| reads(node).into_iter().filter_map(|name| makers.get(name)).copied().collect())
        .collect();
    let order = topological(&needs).map_err(|no| {
        let node = nodes.get(no).map(label).unwrap_or_default();
        Error::malformed(format!("node '{node}': waits for a value that is made of its own"))
    })?;
    if order.is_sorted() {
        return Ok(nodes);
    }
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|no| nodes.get_mut(no).and_then(Option::take)).collect())
}

/// Checks that no function runs itself, by whatever way.
///
/// # Errors
/// Malformed, naming one that does, or one that is defined twice.
pub(super) fn functions(functions: &[Function]) -> Result<()> {
    let mut numbers = BTreeMap::new();
    for (no, function) in functions.iter().enumerate() {
        let key = (&*function.domain, &*function.name, &*function.overload);
        if numbers.insert(key, no).is_some() {
            return Err(Error::malformed(format!("function '{}': stands twice", function.name)));
        }
    }
    let needs: Vec<BTreeSet<usize>> = functions
        .iter()
        .map(|function| {
            let mut called = BTreeSet::new();
            function.nodes.iter().for_each(|node| {
                calls(node, &mut |node| {
                    let key = (&*node.domain, &*node.op, &*node.overload);
                    called.extend(numbers.get(&key));
                })
            });
            called
        })
        .collect();
    topological(&needs).map(drop).map_err(|no| {
        let name = functions.get(no).map(|function| function.name.as_str()).unwrap_or_default();
        Error::malformed(format!("function '{name}': calls itself"))
    })
}

/// The node and those of the graphs within it.
fn calls(node: &Node, each: &mut dyn FnMut(&Node)) {
    each(node);
    for graph in graphs(node) {
        graph.nodes.iter().for_each(|node| calls(node, each));
    }
}

fn graphs(node: &Node) -> impl Iterator<Item = &Graph> {
    node.attributes.values().flat_map(|attribute| match attribute {
        Attribute::Graph(graph) => std::slice::from_ref(&**graph),
        Attribute::Graphs(graphs) => graphs,
        _ => &[],
    })
}

/// The values that a node reads, those of the graphs within it included: a graph sees the values
/// around it.
fn reads(node: &Node) -> BTreeSet<&str> {
    let own = node.inputs.iter().map(String::as_str).filter(|name| !name.is_empty());
    let mut all: BTreeSet<&str> = own.collect();
    for graph in graphs(node) {
        let mut inner: BTreeSet<&str> = graph.nodes.iter().flat_map(reads).collect();
        inner.extend(graph.outputs.iter().map(|port| port.name.as_str()));
        let known = graph.inputs.iter().map(|port| &port.name);
        let known = known.chain(graph.initializers.keys());
        for name in known.chain(graph.nodes.iter().flat_map(|node| &node.outputs)) {
            inner.remove(name.as_str());
        }
        all.append(&mut inner);
    }
    all
}

fn label(node: &Node) -> String {
    if node.name.is_empty() {
        node.outputs.first().cloned().unwrap_or_default()
    } else {
        node.name.clone()
    }
}

/// Each number after those that it needs, the lowest first; or a number that is part of a circle.
fn topological(needs: &[BTreeSet<usize>]) -> std::result::Result<Vec<usize>, usize> {
    let mut waiting: Vec<usize> = needs.iter().map(BTreeSet::len).collect();
    let mut users = vec![Vec::new(); needs.len()];
    for (no, needed) in needs.iter().enumerate() {
        needed.iter().for_each(|of| users[*of].push(no));
    }
    let free = waiting.iter().enumerate().filter(|(_, left)| **left == 0).map(|(no, _)| no);
    let mut ready: BTreeSet<usize> = free.collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(no) = ready.pop_first() {
        order.push(no);
        for &user in &users[no] {
            waiting[user] -= 1;
            if waiting[user] == 0 {
                ready.insert(user);
            }
        }
    }
    match waiting.iter().position(|left| *left > 0) {
        Some(no) => Err(no),
        None => Ok(order),
    }
}
