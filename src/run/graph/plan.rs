//! A graph made ready: every operator found, functions expanded, and for each value the step
//! after which nobody needs it.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::Session;
use super::operators::{self, Compute};
use super::value::Value;
use crate::ir::graph::{Attribute, Function, Graph, Node, Port, Program};
use crate::ir::{Error, Result};

/// Graphs within graphs, and functions within functions.
const DEPTH_MAX: usize = 64;

/// A graph made ready.
pub struct Plan {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) constants: HashMap<String, Value>,
    pub(super) steps: Vec<Step>,
}

/// A node made ready.
pub(super) struct Step {
    pub(super) node: Node,
    pub(super) version: u64,
    pub(super) work: Work,
    /// The graphs among its attributes.
    pub(super) graphs: IndexMap<String, Plan>,
    /// Values that nobody needs after this.
    pub(super) dead: Vec<String>,
}

/// What a step does.
pub(super) enum Work {
    Operator(Compute),
    Function(Box<Plan>),
}

/// What is known while graphs are made ready.
pub(super) struct Planner<'p> {
    program: &'p Program,
    session: &'p Session,
    steps: u64,
    depth: usize,
}

impl<'p> Planner<'p> {
    pub(super) fn new(program: &'p Program, session: &'p Session) -> Self {
        Self { program, session, steps: 0, depth: 0 }
    }

    /// Makes a graph ready.
    pub(super) fn plan(&mut self, graph: &Graph, opsets: &IndexMap<String, u64>) -> Result<Plan> {
        if self.depth >= DEPTH_MAX {
            let text = format!("graphs are nested deeper than {DEPTH_MAX}");
            return Err(Error::limit(text));
        }
        self.depth += 1;
        let steps = graph
            .nodes
            .iter()
            .map(|node| self.step(node, opsets).map_err(|error| error.at(describe(node))));
        let steps = steps.collect::<Result<Vec<_>>>()?;
        self.depth -= 1;
        let mut constants = HashMap::new();
        for (name, constant) in &graph.initializers {
            let value = self.session.constant(constant).map_err(|error| error.at(name))?;
            constants.insert(name.clone(), value.into());
        }
        let (inputs, outputs) = (graph.inputs.clone(), graph.outputs.clone());
        let mut plan = Plan { inputs, outputs, constants, steps };
        plan.mark_dead();
        Ok(plan)
    }

    fn step(&mut self, node: &Node, opsets: &IndexMap<String, u64>) -> Result<Step> {
        self.steps += 1;
        let max = self.session.bounds.nodes;
        if self.steps > max {
            let text = format!("the graph has more than {max} nodes");
            return Err(Error::above("graph-nodes", text));
        }
        let mut bare = Node { attributes: IndexMap::new(), ..node.clone() };
        let mut graphs = IndexMap::new();
        for (name, attribute) in &node.attributes {
            if let Attribute::Graph(graph) = attribute {
                graphs.insert(name.clone(), self.plan(graph, opsets)?);
            } else {
                bare.attributes.insert(name.clone(), attribute.clone());
            }
        }
        let version = version(opsets, &node.domain);
        let own = self.program.functions.iter();
        let own = own.filter(|f| {
            same_domain(&f.domain, &node.domain) && f.name == node.op && f.overload == node.overload
        });
        let work = match own.into_iter().next() {
            Some(function) => Work::Function(Box::new(self.expand(function, node)?)),
            None => Work::Operator(operators::find(&node.domain, &node.op, version)?),
        };
        Ok(Step { node: bare, version, work, graphs, dead: Vec::new() })
    }

    /// The body of a function, with the attributes of the node that calls it.
    fn expand(&mut self, function: &Function, call: &Node) -> Result<Plan> {
        let port = |name: &String| Port {
            name: name.clone(),
            kind: crate::ir::graph::Kind::Unknown,
            span: None,
        };
        let mut given = function.defaults.clone();
        given.extend(call.attributes.iter().map(|(name, value)| (name.clone(), value.clone())));
        let graph = Graph {
            name: function.name.clone(),
            inputs: function.inputs.iter().map(port).collect(),
            outputs: function.outputs.iter().map(port).collect(),
            nodes: function.nodes.iter().map(|node| substituted(node, &given)).collect(),
            ..Graph::default()
        };
        let opsets =
            if function.opsets.is_empty() { &self.program.opsets } else { &function.opsets };
        self.plan(&graph, opsets)
    }
}

/// The node with the attributes that stand for those of a call replaced by them.
fn substituted(node: &Node, given: &IndexMap<String, Attribute>) -> Node {
    let mut made = Node { attributes: IndexMap::new(), ..node.clone() };
    for (name, attribute) in &node.attributes {
        let attribute = match attribute {
            Attribute::Of(outer) => match given.get(outer) {
                Some(value) => value.clone(),
                None => continue,
            },
            Attribute::Graph(graph) => {
                let nodes = graph.nodes.iter().map(|node| substituted(node, given)).collect();
                Attribute::Graph(Box::new(Graph { nodes, ..(**graph).clone() }))
            }
            other => other.clone(),
        };
        made.attributes.insert(name.clone(), attribute);
    }
    made
}

fn same_domain(a: &str, b: &str) -> bool {
    canonical(a) == canonical(b)
}

/// ONNX's own domain has two spellings.
pub(super) fn canonical(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// The version of a domain that a model asks for; 1 where it asks for none.
fn version(opsets: &IndexMap<String, u64>, domain: &str) -> u64 {
    let found = opsets.iter().find(|(name, _)| same_domain(name, domain));
    found.map_or(1, |(_, version)| *version)
}

/// A node in messages.
pub(super) fn describe(node: &Node) -> String {
    let domain = canonical(&node.domain);
    let dot = if domain.is_empty() { "" } else { "." };
    let makes = node.outputs.iter().find(|name| !name.is_empty());
    match (&node.name[..], makes) {
        ("", Some(output)) => format!("node {domain}{dot}{} that makes '{output}'", node.op),
        (name, _) => format!("node '{name}' ({domain}{dot}{})", node.op),
    }
}

impl Plan {
    /// What the graph is given.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What the graph gives back.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn mark_dead(&mut self) {
        let mut last = HashMap::new();
        for (index, step) in self.steps.iter().enumerate() {
            for name in &step.node.outputs {
                last.insert(name.clone(), index);
            }
            step.uses(&mut |name| {
                last.insert(name.to_owned(), index);
            });
        }
        for output in &self.outputs {
            last.remove(&output.name);
        }
        let mut dead: Vec<(String, usize)> = last.into_iter().collect();
        dead.sort();
        for (name, index) in dead {
            self.steps[index].dead.push(name);
        }
    }

    /// Every name that the graph reads, its own among them.
    fn uses(&self, visit: &mut dyn FnMut(&str)) {
        self.steps.iter().for_each(|step| step.uses(visit));
        self.outputs.iter().for_each(|port| visit(&port.name));
    }
}

impl Step {
    fn uses(&self, visit: &mut dyn FnMut(&str)) {
        self.node.inputs.iter().for_each(|name| visit(name));
        self.graphs.values().for_each(|plan| plan.uses(visit));
    }
}
