//! Graphs, nodes and functions, in our words.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use onnx::AttributeValue;

use super::tensor::Reader;
use super::value::kind;
use super::{domain, opsets, order};
use crate::ir::graph::{Attribute, Constant, Function, Graph, Node, Port};
use crate::ir::{Error, Result};

impl Reader<'_> {
    /// A graph; `path` leads to it, and is empty for the main one.
    pub(super) fn graph(&mut self, graph: &onnx::Graph, path: &str) -> Result<Graph> {
        let mut initializers = IndexMap::new();
        for tensor in &graph.initializers {
            let constant = self.constant(tensor, &join(path, &tensor.name))?;
            add(&mut initializers, &tensor.name, constant)?;
        }
        for tensor in &graph.sparse {
            let name = &tensor.values.name;
            let constant = self.sparse(tensor, &join(path, name))?;
            add(&mut initializers, name, constant)?;
        }
        let nodes = self.nodes(&graph.nodes, path)?;
        let nodes = order::nodes(nodes, &initializers)?;
        Ok(Graph {
            name: graph.name.clone(),
            inputs: self.ports(&graph.inputs),
            outputs: self.ports(&graph.outputs),
            values: self.ports(&graph.values),
            initializers,
            nodes,
            span: Some(graph.span.clone()),
        })
    }

    fn ports(&mut self, values: &[onnx::ValueInfo]) -> Vec<Port> {
        let port = |value: &onnx::ValueInfo| {
            let (kind, span) = (kind(value.kind.as_ref()), value.span.clone());
            self.kinds.insert(span.start, kind.clone());
            Port { name: value.name.clone(), kind, span: Some(span) }
        };
        values.iter().map(port).collect()
    }

    pub(super) fn function(&mut self, function: &onnx::Function) -> Result<Function> {
        let path = match &*function.domain {
            "" => function.name.clone(),
            domain => format!("{domain}.{}", function.name),
        };
        let mut defaults = IndexMap::new();
        for attribute in &function.defaults {
            let value = self.attribute(attribute, &path)?;
            unique(&defaults, &attribute.name)?;
            defaults.insert(attribute.name.clone(), value);
        }
        let nodes = self.nodes(&function.nodes, &path)?;
        Ok(Function {
            domain: domain(&function.domain).to_owned(),
            name: function.name.clone(),
            overload: function.overload.clone(),
            inputs: function.inputs.clone(),
            outputs: function.outputs.clone(),
            attributes: function.attributes.clone(),
            defaults,
            opsets: opsets(&function.opset_import)?,
            nodes: order::nodes(nodes, &IndexMap::new())?,
        })
    }

    fn nodes(&mut self, nodes: &[onnx::Node], path: &str) -> Result<Vec<Node>> {
        let mut names = BTreeSet::new();
        let nodes = nodes.iter().enumerate().map(|(no, node)| {
            // Names of nodes are optional, and nobody checks that they differ.
            let named =
                [node.name.as_str()].into_iter().chain(node.outputs.iter().map(String::as_str));
            let label = named.into_iter().find(|name| !name.is_empty()).unwrap_or(&node.op_type);
            let label = match names.insert(label) {
                true => label.to_owned(),
                false => format!("{label}#{no}"),
            };
            self.node(node, &join(path, &label))
                .map_err(|error| error.at(format!("node '{label}'")))
        });
        nodes.collect()
    }

    fn node(&mut self, node: &onnx::Node, path: &str) -> Result<Node> {
        if node.op_type.is_empty() {
            return Err(Error::malformed("has no operator"));
        }
        let mut attributes = IndexMap::new();
        for attribute in &node.attributes {
            let value = self.attribute(attribute, path)?;
            unique(&attributes, &attribute.name)?;
            attributes.insert(attribute.name.clone(), value);
        }
        Ok(Node {
            name: node.name.clone(),
            domain: domain(&node.domain).to_owned(),
            op: node.op_type.clone(),
            overload: node.overload.clone(),
            inputs: node.inputs.clone(),
            outputs: node.outputs.clone(),
            attributes,
            span: Some(node.span.clone()),
            changed: false,
        })
    }

    fn attribute(&mut self, attribute: &onnx::Attribute, path: &str) -> Result<Attribute> {
        use AttributeValue as V;
        let path = join(path, &attribute.name);
        Ok(match &attribute.value {
            V::Float(value) => Attribute::Float(*value),
            V::Int(value) => Attribute::Int(*value),
            V::String(value) => Attribute::Text(value.clone()),
            V::Tensor(tensor) => Attribute::Constant(self.inner(tensor, &path)?),
            V::SparseTensor(tensor) => {
                Attribute::Constant(self.sparse(tensor, &join(&path, &tensor.values.name))?)
            }
            V::Graph(graph) => Attribute::Graph(Box::new(self.graph(graph, &path)?)),
            V::Type(value) => Attribute::Kind(kind(value.as_ref())),
            V::Floats(values) => Attribute::Floats(values.clone()),
            V::Ints(values) => Attribute::Ints(values.clone()),
            V::Strings(values) => Attribute::Texts(values.clone()),
            V::Tensors(tensors) => {
                let constants = tensors.iter().map(|tensor| self.inner(tensor, &path));
                Attribute::Constants(constants.collect::<Result<_>>()?)
            }
            V::Graphs(graphs) => {
                let graphs = graphs.iter().enumerate();
                let graphs =
                    graphs.map(|(no, graph)| self.graph(graph, &join(&path, &no.to_string())));
                Attribute::Graphs(graphs.collect::<Result<_>>()?)
            }
            V::SparseTensors(_) => {
                return Err(Error::unsupported(format!("{path}: a list of sparse tensors")));
            }
            V::Types(_) => return Err(Error::unsupported(format!("{path}: a list of types"))),
            V::Reference(name) => Attribute::Of(name.clone()),
        })
    }

    /// A constant of a node.
    fn inner(&mut self, tensor: &onnx::Tensor, path: &str) -> Result<Constant> {
        self.constant(tensor, &join(path, &tensor.name))
    }
}

fn add(
    initializers: &mut IndexMap<String, Constant>,
    name: &str,
    constant: Constant,
) -> Result<()> {
    if name.is_empty() {
        return Err(Error::malformed("an initializer has no name"));
    }
    match initializers.insert(name.to_owned(), constant) {
        Some(_) => Err(Error::malformed(format!("initializer '{name}': stands twice"))),
        None => Ok(()),
    }
}

fn unique(attributes: &IndexMap<String, Attribute>, name: &str) -> Result<()> {
    match attributes.contains_key(name) {
        true => Err(Error::malformed(format!("attribute '{name}': stands twice"))),
        false => Ok(()),
    }
}

/// The path to what is called `name`; what has no name is known by the path alone.
fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_owned(),
        (path, "") => path.to_owned(),
        (path, name) => format!("{path}/{name}"),
    }
}
