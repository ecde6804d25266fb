//! f32 → f16 or bf16, operator by operator.
//!
//! ```text
//!  half ──▶ MatMul ──▶ half ──▶ Cast ──▶ f32 ──▶ Pow ──▶ f32 ──▶ ReduceMean ──▶ f32 ──▶ Cast ──▶ half
//! ```
//!
//! Every operator that computes in the narrow type does; those that leave its range or have no
//! such form stay in f32. A value has the type of the operator that makes it, and is cast where
//! another wants it otherwise: so a chain that stays in f32 is not cast in between.
//!
//! The graph is walked twice: weights that some operator wants in f32 stay in f32, which is known
//! after the first walk.

use std::collections::{BTreeMap, BTreeSet};

use super::Retype;
use super::precision::Output;
use super::precision::{computes, follows, is_list, output, set_attribute, signature, wanted};
use super::scope::{F32, Precision, Scopes, Value, element, names, set_element};
use crate::ir::graph::{Attribute, Constant, Element, Graph, Node, Port, Program};
use crate::ir::{DType, Error, Model, Notes, Op, Result, Tensor};

/// The first versions of the operators with a Cast to the type.
const SINCE: &[(DType, u64)] = &[(DType::F16, 7), (DType::BF16, 13)];

/// The model with its f32 in the narrow type, weights and computation.
///
/// # Errors
/// Unsupported for operators too old for the type, or whose outputs are of types that nothing
/// states.
pub(super) fn narrow(mut model: Model, how: &Retype, notes: &mut Notes) -> Result<Model> {
    let Some((_, since)) = SINCE.iter().find(|(dtype, _)| *dtype == how.to) else {
        return Err(Error::bug(format!("narrowing to {}", how.to)));
    };
    let program = model.graph.clone().ok_or_else(|| Error::bug("narrowing no graph"))?;
    let opset = program.opsets.get("").copied().unwrap_or(0);
    if opset < *since {
        let text = format!("version {opset} of the operators; {} needs {since}", how.to);
        return Err(Error::unsupported(text));
    }
    let mut pass = Pass::new(&model, &program, how, opset);
    pass.main(&program.graph)?;
    pass.start(&program.graph);
    let graph = pass.main(&program.graph)?;
    let (narrowed, kept) = (pass.narrowed, pass.kept);
    for name in &narrowed {
        if let Some(tensor) = model.tensors.get_mut(name) {
            *tensor = cast(tensor, how)?;
        }
    }
    if !kept.is_empty() {
        let kept: Vec<String> = kept.iter().map(|(op, n)| format!("{op} × {n}")).collect();
        let text = format!("stay in f32, with casts around them: {}", kept.join(", "));
        notes.chosen("operators", text);
    }
    let program = Program { graph, ..Program::clone(&program) };
    model.graph = Some(std::sync::Arc::new(program));
    Ok(model)
}

fn cast(tensor: &Tensor, how: &Retype) -> Result<Tensor> {
    let limit = match how.to {
        DType::F16 => half::f16::MAX.to_f32(),
        _ => half::bf16::MAX.to_f32(),
    };
    let input = match how.clamp {
        true => Tensor::of(Op::Clamp { input: tensor.clone(), limit })?,
        false => tensor.clone(),
    };
    Tensor::of(Op::Cast { input, to: how.to })
}

/// A walk over the graph.
struct Pass<'a> {
    model: &'a Model,
    program: &'a Program,
    how: &'a Retype,
    opset: u64,
    scopes: Scopes,
    /// Every name that is taken.
    names: BTreeSet<String>,
    /// Weights that some operator wants in f32.
    full: BTreeSet<String>,
    /// Weights that become narrow.
    narrowed: BTreeSet<String>,
    /// Operators that stay in f32, counted.
    kept: BTreeMap<String, usize>,
}

/// The types that outputs of a graph must have, by name.
type Wanted = BTreeMap<String, Precision>;

impl<'a> Pass<'a> {
    fn new(model: &'a Model, program: &'a Program, how: &'a Retype, opset: u64) -> Self {
        let (scopes, names, full, narrowed, kept) = Default::default();
        let mut pass = Self { model, program, how, opset, scopes, names, full, narrowed, kept };
        pass.start(&program.graph);
        pass
    }

    /// Makes ready for a walk; what was learned of weights stays known.
    fn start(&mut self, graph: &Graph) {
        self.names.clear();
        names(graph, &mut self.names);
        self.narrowed.clear();
        self.kept.clear();
    }

    fn main(&mut self, graph: &Graph) -> Result<Graph> {
        let io = if self.how.keep_io { Precision::Full } else { Precision::Half };
        self.graph(graph, io, &[]).map(|(graph, _)| graph)
    }

    /// A graph whose f32 inputs and outputs have this precision, and the elements of its outputs;
    /// `given` are those of the inputs, where they state none.
    fn graph(
        &mut self,
        graph: &Graph,
        io: Precision,
        given: &[Option<Element>],
    ) -> Result<(Graph, Vec<Option<Element>>)> {
        self.scopes.enter();
        let mut graph = graph.clone();
        for (name, constant) in &graph.initializers {
            let value = self.constant(name, constant);
            self.scopes.set(name, value);
        }
        for (no, port) in graph.inputs.iter_mut().enumerate() {
            // Before version 4 of the IR, inputs list the initializers too.
            if graph.initializers.contains_key(&port.name) {
                self.state(port);
                continue;
            }
            let element = element(&port.kind).or(given.get(no).copied().flatten());
            let value = match element {
                Some(F32) => Value { is_list: is_list_kind(port), ..Value::float(&port.name, io) },
                other => Value::other(other),
            };
            self.scopes.set(&port.name, value);
            self.state(port);
        }
        let wanted = graph.outputs.iter().map(|port| (port.name.clone(), io)).collect();
        let stated = graph.values.iter().chain(&graph.outputs);
        let stated = stated.filter_map(|port| Some((port.name.clone(), element(&port.kind)?)));
        let stated: BTreeMap<String, Element> = stated.collect();
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        for node in std::mem::take(&mut graph.nodes) {
            let made = self.node(node, &wanted, &stated, &mut nodes)?;
            nodes.extend(made);
        }
        let mut elements = Vec::new();
        for port in &mut graph.outputs {
            elements.push(self.scopes.get(&port.name).and_then(|value| value.element));
            self.output(port, io, &mut nodes)?;
        }
        graph.nodes = nodes;
        graph.values.iter_mut().for_each(|port| self.state(port));
        self.scopes.leave();
        Ok((graph, elements))
    }

    /// Makes a port say the type that its name has now.
    fn state(&self, port: &mut Port) {
        let value = self.scopes.get(&port.name);
        if value.is_some_and(|value| value.half.as_ref() == Some(&port.name)) {
            set_element(&mut port.kind, self.how.to);
        }
    }

    fn output(&mut self, port: &mut Port, io: Precision, nodes: &mut Vec<Node>) -> Result<()> {
        let is_main = self.scopes.depth() == 1;
        let name = self.request(&port.name, io, nodes)?;
        if io == Precision::Half && self.scopes.get(&port.name).is_some_and(Value::is_float) {
            set_element(&mut port.kind, self.how.to);
        }
        if name != port.name && is_main {
            let text =
                format!("output '{name}' is an input or a constant, given back in another type");
            return Err(Error::unsupported(text));
        }
        port.name = name;
        Ok(())
    }

    /// A constant, in the type that it will have.
    fn constant(&mut self, name: &str, constant: &Constant) -> Value {
        let Constant::Weight(weight) = constant else { return Value::other(Some(Element::Text)) };
        let dtype = self.model.tensors.get(weight).map(Tensor::dtype);
        if dtype != Some(DType::F32) {
            return Value::other(dtype.map(Element::Number));
        }
        let precision = self.precision_of(weight);
        Value { weight: Some(weight.clone()), ..Value::float(name, precision) }
    }

    fn precision_of(&mut self, weight: &str) -> Precision {
        if self.full.contains(weight) || !self.survives(weight) {
            return Precision::Full;
        }
        self.narrowed.insert(weight.to_owned());
        Precision::Half
    }

    /// Whether a weight has room in the narrow type. Only single numbers are looked at: an epsilon
    /// or the least of all numbers, which would change what is computed. Of many, those beyond the
    /// range are refused when they are written.
    fn survives(&self, weight: &str) -> bool {
        let Some(tensor) = self.model.tensors.get(weight) else { return true };
        if tensor.shape().count() != 1 || self.how.clamp {
            return true;
        }
        let Ok(values) = tensor.to_floats() else { return true };
        values.iter().all(|x| {
            let narrow = match self.how.to {
                DType::F16 => half::f16::from_f32(*x).to_f32(),
                _ => half::bf16::from_f32(*x).to_f32(),
            };
            narrow.is_finite() == x.is_finite() && (narrow == 0.0) == (*x == 0.0)
        })
    }

    /// The name under which a value is at hand in this precision; cast here if it is not yet.
    fn request(&mut self, name: &str, want: Precision, nodes: &mut Vec<Node>) -> Result<String> {
        let Some(value) = self.scopes.get(name).filter(|value| value.is_float()).cloned() else {
            return Ok(name.to_owned());
        };
        if let Some(known) = value.name(want) {
            return Ok(known.clone());
        }
        if value.is_list {
            let text = format!("'{name}' is a list, and no operator casts one");
            return Err(Error::unsupported(text));
        }
        if let (Some(weight), Precision::Full) = (&value.weight, want) {
            self.full.insert(weight.clone());
        }
        let (from, suffix, to) = match want {
            Precision::Half => (value.full.as_ref(), self.how.to.name(), self.how.to),
            Precision::Full => (value.half.as_ref(), "f32", DType::F32),
        };
        let twin = self.fresh(name, suffix);
        nodes.push(cast_node(from.ok_or_else(|| Error::bug("a value in no type"))?, &twin, to));
        let mut value = value.clone();
        value.add(&twin, want);
        self.scopes.set(name, value);
        Ok(twin)
    }

    fn fresh(&mut self, name: &str, suffix: &str) -> String {
        let mut wanted = format!("{name}_{suffix}");
        while !self.names.insert(wanted.clone()) {
            wanted.push('_');
        }
        wanted
    }

    /// A node in its new types, with the casts after it; those before it go to `nodes`.
    fn node(
        &mut self,
        mut node: Node,
        graph_wants: &Wanted,
        stated: &BTreeMap<String, Element>,
        nodes: &mut Vec<Node>,
    ) -> Result<Vec<Node>> {
        let inputs: Vec<Option<Value>> =
            node.inputs.iter().map(|name| self.scopes.get(name).cloned()).collect();
        let runs_graphs = matches!(node.op.as_str(), "If" | "Loop" | "Scan");
        if !runs_graphs && super::scope::graphs(&node).next().is_some() {
            let text =
                format!("operator {}, which runs a graph of its own, in {}", node.op, self.how.to);
            return Err(Error::unsupported(text));
        }
        let narrow = runs_graphs || self.computes(&node, &inputs);
        self.take_inputs(&mut node, narrow, nodes)?;
        let mut outputs = match runs_graphs {
            true => self.graphs(&mut node, &inputs)?,
            false => self.outputs(&mut node, &inputs, narrow, stated)?,
        };
        let floats = inputs.iter().flatten().chain(&outputs).any(Value::is_float);
        let is_constant = matches!(node.op.as_str(), "Constant" | "ConstantOfShape");
        if floats && !narrow && !is_constant {
            outputs.iter_mut().for_each(|value| value.wide = true);
            *self.kept.entry(node.op.clone()).or_default() += 1;
        }
        Ok(self.settle(node, outputs, graph_wants))
    }

    /// Whether a node computes in the narrow type.
    fn computes(&self, node: &Node, inputs: &[Option<Value>]) -> bool {
        let weights = || inputs.iter().flatten().filter_map(|value| value.weight.as_ref());
        computes(node, self.how.to, self.opset)
            && !self.calls_function(node)
            && !follows(node, inputs)
            && weights().all(|weight| self.survives(weight))
    }

    /// Makes the outputs of a node known; those that the graph gives back in another type are cast
    /// at once. The node, and the casts after it.
    fn settle(&mut self, mut node: Node, outputs: Vec<Value>, wanted: &Wanted) -> Vec<Node> {
        let mut casts = Vec::new();
        for (no, mut value) in outputs.into_iter().enumerate() {
            let Some(name) = node.outputs.get(no).filter(|name| !name.is_empty()).cloned() else {
                continue;
            };
            let want = wanted.get(&name).copied().filter(|_| value.is_float());
            if let Some(want) = want.filter(|want| value.name(*want).is_none()) {
                let (made, to) = self.rename_output(&mut node, no, want);
                casts.push(cast_node(&made, &name, to));
                (value.half, value.full) = match want {
                    Precision::Half => (Some(name.clone()), Some(made)),
                    Precision::Full => (Some(made), Some(name.clone())),
                };
            }
            self.scopes.set(&name, value);
        }
        casts.insert(0, node);
        casts
    }

    /// An output of the graph is made under another name, and cast to its own: that name, and the
    /// type of the output.
    fn rename_output(&mut self, node: &mut Node, no: usize, want: Precision) -> (String, DType) {
        let (suffix, to) = match want {
            Precision::Half => ("f32", self.how.to),
            Precision::Full => (self.how.to.name(), DType::F32),
        };
        let made = self.fresh(&node.outputs[no], suffix);
        node.outputs[no].clone_from(&made);
        node.changed = true;
        (made, to)
    }

    fn calls_function(&self, node: &Node) -> bool {
        let functions = &self.program.functions;
        functions.iter().any(|own| own.name == node.op && own.domain == node.domain)
    }

    /// Gives a node its inputs in the types that it wants.
    fn take_inputs(&mut self, node: &mut Node, narrow: bool, nodes: &mut Vec<Node>) -> Result<()> {
        for no in 0..node.inputs.len() {
            let want = wanted(node, no, narrow);
            let name = self.request(&node.inputs[no], want, nodes)?;
            if name != node.inputs[no] {
                node.inputs[no] = name;
                node.changed = true;
            }
        }
        Ok(())
    }

    /// The outputs of a node, in the types that they have now.
    fn outputs(
        &mut self,
        node: &mut Node,
        inputs: &[Option<Value>],
        narrow: bool,
        stated: &BTreeMap<String, Element>,
    ) -> Result<Vec<Value>> {
        if matches!(node.op.as_str(), "Constant" | "ConstantOfShape") && node.domain.is_empty() {
            let name = node.outputs.concat();
            return Ok(vec![self.constant_node(node, &name)]);
        }
        let mut values = Vec::new();
        for (no, name) in node.outputs.clone().iter().enumerate() {
            let known = match output(node, no, inputs) {
                Output::Unknown => stated.get(name).copied().map_or(Output::Unknown, Output::Of),
                known => known,
            };
            values.push(match known {
                Output::Float => Value::float(name, Precision::Full),
                Output::Of(F32) => {
                    if narrow {
                        set_attribute(node, self.how.to);
                    }
                    let precision = if narrow { Precision::Half } else { Precision::Full };
                    Value { is_list: is_list(node), ..Value::float(name, precision) }
                }
                Output::Of(element) => Value::other(Some(element)),
                Output::Unknown if signature(node).is_some() || name.is_empty() => {
                    Value::other(None)
                }
                Output::Unknown => {
                    let text = format!(
                        "operator {} gives '{name}', of which no type is stated; infer the types \
                         first, with onnx.shape_inference.infer_shapes",
                        node.op
                    );
                    return Err(Error::unsupported(text));
                }
            });
        }
        Ok(values)
    }

    /// A constant that a node holds.
    fn constant_node(&mut self, node: &Node, name: &str) -> Value {
        let whole = node.op == "Constant";
        match node.attributes.get("value") {
            Some(Attribute::Constant(constant)) => {
                let value = self.constant(name, constant);
                // Of many equal numbers, only the one is a weight.
                Value { weight: value.weight.clone().filter(|_| whole), ..value }
            }
            _ if !whole => Value::float(name, Precision::Full),
            _ => match node.attributes.keys().next().map(String::as_str) {
                Some("value_float" | "value_floats") => Value::float(name, Precision::Full),
                Some("value_int" | "value_ints") => Value::other(Some(Element::Number(DType::I64))),
                _ => Value::other(Some(Element::Text)),
            },
        }
    }

    /// The graphs of a node, and the outputs that they give it.
    fn graphs(&mut self, node: &mut Node, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let mut given: Vec<Option<Element>> =
            inputs.iter().map(|value| value.as_ref().and_then(|value| value.element)).collect();
        if node.op == "Scan" && self.opset < 9 && !given.is_empty() {
            given.remove(0);
        }
        let mut elements = Vec::new();
        for attribute in node.attributes.values_mut() {
            if let Attribute::Graph(graph) = attribute {
                let (narrowed, outputs) = self.graph(graph, Precision::Half, &given)?;
                **graph = narrowed;
                elements = outputs;
            }
        }
        // A loop gives back all but the condition.
        let first = usize::from(node.op == "Loop");
        let outputs = node.outputs.iter().zip(elements.into_iter().skip(first));
        let value = |(name, element): (&String, Option<Element>)| match element {
            Some(F32) => Value::float(name, Precision::Half),
            other => Value::other(other),
        };
        Ok(outputs.map(value).collect())
    }
}

fn is_list_kind(port: &Port) -> bool {
    !matches!(port.kind, crate::ir::graph::Kind::Tensor(..) | crate::ir::graph::Kind::Unknown)
}

fn cast_node(from: &str, to_name: &str, to: DType) -> Node {
    let code = Element::Number(to).code().unwrap_or_default();
    Node {
        name: format!("{to_name}/cast"),
        op: "Cast".into(),
        inputs: vec![from.to_owned()],
        outputs: vec![to_name.to_owned()],
        attributes: [("to".to_owned(), Attribute::Int(code))].into_iter().collect(),
        ..Node::default()
    }
}
