//! The original, walked field by field.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use onnx::fields::{attribute, entry, function, graph, model, node, tensor, value};
use onnx::{Field, Limits, Message, Piece, Reader};

use super::super::layout::Part;
use super::super::{Edits, WriteOptions};
use super::encode;
use super::metadata::Metadata;
use super::run::Run;
use super::training::Level;
use crate::ir::graph::{Attribute, Constant, Graph, Node, Origin, Original, Port, Program};
use crate::ir::{Error, Model, Result, Tensor};

/// Where the data of a tensor begin in the file beside the model: the specification asks for
/// whole pages, so that they can be mapped.
const PAGE: u64 = 4096;

/// A tensor whose bytes are made when they are written.
#[derive(Debug, Clone)]
pub(super) struct Data {
    pub(super) name: String,
    pub(super) tensor: Tensor,
}

impl Data {
    pub(super) fn part(self) -> Part {
        Part::Tensor { name: self.name, tensor: self.tensor }
    }
}

/// A message as it grows.
pub(super) type Out = Message<Data>;

/// What is to be written.
pub(super) struct Plan {
    /// The model.
    pub(super) model: Out,
    /// The name of the file beside it.
    pub(super) location: String,
    /// What lies in that file, and where.
    pub(super) beside: Vec<(u64, Data)>,
}

impl Plan {
    /// The length of the model without the file beside it.
    pub(super) fn len(&self) -> u64 {
        self.model.len()
    }
}

/// Writes a program again.
pub(super) struct Rewrite<'a> {
    source: &'a Model,
    program: &'a Program,
    original: Option<&'a Original>,
    reader: Option<Reader<'a>>,
    /// Tensors of at least so many bytes go beside the model.
    beside_min: Option<u64>,
    /// Tensors that lay beside the model.
    external: BTreeSet<&'a str>,
    edits: &'a Edits,
    plan: Plan,
}

impl<'a> Rewrite<'a> {
    pub(super) fn new(
        source: &'a Model,
        program: &'a Program,
        options: &'a WriteOptions,
        beside_min: Option<u64>,
    ) -> Self {
        let original = program.original.as_deref();
        let reader = original.map(|original| Reader::new(&*original.blob, &Limits::NONE));
        let location = format!("{}.data", options.name);
        let plan = Plan { model: Message::default(), location, beside: Vec::new() };
        let origins = original.map(|original| original.tensors.values());
        let external = origins.into_iter().flatten().filter(|origin| origin.external);
        let external = external.map(|origin| origin.name.as_str()).collect();
        let edits = &options.edits;
        Self { source, program, original, reader, beside_min, external, edits, plan }
    }

    /// The whole file.
    pub(super) fn run(mut self) -> Result<Plan> {
        let Some(original) = self.original else {
            let text = "a graph that was not read from an ONNX file";
            return Err(Error::unsupported(format!("writing {text}")));
        };
        let mut functions = self.program.functions.iter();
        let mut metadata = Metadata::new(self.edits)?;
        let mut out = Out::default();
        for field in self.fields(0..original.blob.size())? {
            let key = self.entry_key(&field)?;
            if metadata.field(&mut out, &field, key.as_deref()) {
                continue;
            }
            match field.number {
                model::GRAPH => {
                    let inner = self.graph(&self.program.graph)?;
                    inside(&mut out, &field, inner)?;
                }
                model::FUNCTIONS => {
                    let of = functions.next().ok_or_else(|| Error::bug("a function is gone"))?;
                    let inner = self.function(&field, &of.nodes, of.defaults.values())?;
                    inside(&mut out, &field, inner)?;
                }
                model::TRAINING_INFO => {
                    let inner = self.moved(&field, Level::Training)?;
                    inside(&mut out, &field, inner)?;
                }
                _ => out.copy(field.span),
            }
        }
        metadata.rest(&mut out)?;
        self.plan.model = out;
        Ok(self.plan)
    }

    /// The key of an entry of the metadata; nothing for other fields of the model.
    fn entry_key(&mut self, field: &Field) -> Result<Option<String>> {
        if field.number != model::METADATA_PROPS {
            return Ok(None);
        }
        for inner in self.fields(field.bytes("StringStringEntryProto")?)? {
            if inner.number == entry::KEY {
                let range = inner.bytes("StringStringEntryProto.key")?;
                let blob = self.original.map(|original| &original.blob);
                let blob = blob.ok_or_else(|| Error::bug("an entry of no file"))?;
                let mut bytes = vec![0; (range.end - range.start) as usize];
                blob.read(range.start, &mut bytes)?;
                return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
        Ok(Some(String::new()))
    }

    /// The fields of a message of the original.
    pub(super) fn fields(&mut self, range: Range<u64>) -> Result<Vec<Field>> {
        let place = self.original.map(|original| original.blob.name()).unwrap_or_default();
        let reader = self.reader.as_mut().ok_or_else(|| Error::bug("fields of no file"))?;
        let mut message = reader.within(range);
        let mut fields = Vec::new();
        while let Some(field) =
            reader.next(&mut message).map_err(|error| Error::from(error).at(place))?
        {
            fields.push(field);
        }
        Ok(fields)
    }

    /// A graph, with what was added to it.
    pub(super) fn graph(&mut self, of: &Graph) -> Result<Out> {
        let mut out = Out::default();
        let Some(span) = &of.span else { return encode::graph(self, of) };
        let mut nodes = Run::new(&of.nodes, |node| node.span.clone());
        let mut lists = [
            (graph::INPUT, Run::new(&of.inputs, |port| port.span.clone())),
            (graph::OUTPUT, Run::new(&of.outputs, |port| port.span.clone())),
            (graph::VALUE_INFO, Run::new(&of.values, |port| port.span.clone())),
        ];
        // Names in the graph by those of the model, of what is not written yet.
        let weights = of.initializers.iter().filter_map(|(name, constant)| match constant {
            Constant::Weight(weight) => Some((weight.as_str(), name.as_str())),
            Constant::Text { .. } => None,
        });
        let mut left: BTreeMap<&str, &str> = weights.collect();
        for field in self.fields(span.clone())? {
            let ports = lists.iter_mut().find(|(number, _)| *number == field.number);
            match (field.number, ports) {
                (graph::NODE, _) => {
                    for node in nodes.until(&field)? {
                        self.node(&mut out, &field, node)?;
                    }
                }
                (_, Some((_, ports))) => {
                    for port in ports.until(&field)? {
                        self.port(&mut out, &field, port)?;
                    }
                }
                (graph::INITIALIZER | graph::SPARSE_INITIALIZER, _) => {
                    self.initializer(&mut out, &field, &mut left)?;
                }
                _ => out.copy(field.span),
            }
        }
        for node in nodes.rest() {
            out.message(graph::NODE, self.node_content(node)?);
        }
        for (number, ports) in &mut lists {
            for port in ports.rest() {
                out.message(*number, self.port_content(port)?);
            }
        }
        for (weight, name) in left {
            let inner = self.new_tensor(name, &Constant::Weight(weight.to_owned()))?;
            out.message(graph::INITIALIZER, inner);
        }
        Ok(out)
    }

    /// An initializer where it was, unless the graph has lost it.
    fn initializer<'b>(
        &mut self,
        out: &mut Out,
        field: &Field,
        left: &mut BTreeMap<&'b str, &'b str>,
    ) -> Result<()> {
        let Some(origin) = self.origin(field)? else {
            // Text, which nothing changes.
            out.copy(field.span.clone());
            return Ok(());
        };
        let Some(name) = left.remove(origin.name.as_str()) else { return Ok(()) };
        let sparse = field.number == graph::SPARSE_INITIALIZER;
        match (self.kept(origin)?, sparse) {
            (None, _) => out.copy(field.span.clone()),
            (Some(changed), false) => {
                let inner = self.changed(field, &changed)?;
                out.message(field.number, inner);
            }
            // With other elements it is written with its zeros.
            (Some(_), true) => {
                let inner = self.new_tensor(name, &Constant::Weight(origin.name.clone()))?;
                out.message(graph::INITIALIZER, inner);
            }
        }
        Ok(())
    }

    pub(super) fn origin(&self, field: &Field) -> Result<Option<&'a Origin>> {
        let start = field.bytes("TensorProto")?.start;
        Ok(self.original.and_then(|original| original.tensors.get(&start)))
    }

    /// Nothing if a tensor is written as it was; else what it has become.
    fn kept(&self, origin: &Origin) -> Result<Option<Data>> {
        let data = self.data(&origin.name)?;
        let moves = origin.external || self.goes_beside(&data.tensor);
        Ok((moves || !data.tensor.is(&origin.tensor)).then_some(data))
    }

    fn data(&self, name: &str) -> Result<Data> {
        let tensor = self.source.tensors.get(name).ok_or_else(|| {
            let text = "is left out, but the graph computes with it; --exclude nothing";
            Error::usage(format!("tensor '{name}': {text}"))
        })?;
        Ok(Data { name: name.to_owned(), tensor: tensor.clone() })
    }

    fn goes_beside(&self, tensor: &Tensor) -> bool {
        self.beside_min.is_some_and(|min| tensor.bytes() >= min)
    }

    /// A node that is due where the original has this field, which may be another's.
    fn node(&mut self, out: &mut Out, field: &Field, of: &Node) -> Result<()> {
        let content = self.node_content(of)?;
        inside(out, field, content)
    }

    pub(super) fn node_content(&mut self, of: &Node) -> Result<Out> {
        use Attribute as A;
        let Some(span) = &of.span else { return encode::node(self, of) };
        if of.changed {
            let mut out = encode::node(self, of)?;
            for field in self.fields(span.clone())? {
                if !NODE.contains(&field.number) {
                    out.copy(field.span);
                }
            }
            return Ok(out);
        }
        let holds =
            |of: &A| matches!(of, A::Constant(_) | A::Constants(_) | A::Graph(_) | A::Graphs(_));
        let mut out = Out::default();
        if !of.attributes.values().any(holds) {
            out.copy(span.clone());
            return Ok(out);
        }
        let mut attributes = of.attributes.values();
        for field in self.fields(span.clone())? {
            if field.number == node::ATTRIBUTE {
                let content = self.attribute(&field, attributes.next())?;
                inside(&mut out, &field, content)?;
            } else {
                out.copy(field.span);
            }
        }
        Ok(out)
    }

    fn attribute(&mut self, field: &Field, of: Option<&Attribute>) -> Result<Out> {
        let of = of.ok_or_else(|| Error::bug("an attribute is gone"))?;
        let (mut graphs, mut out) = (graphs(of).iter(), Out::default());
        for field in self.fields(field.bytes("AttributeProto")?)? {
            match field.number {
                attribute::T | attribute::TENSORS => {
                    let changed =
                        self.origin(&field)?.map(|origin| self.kept(origin)).transpose()?;
                    match changed.flatten() {
                        Some(changed) => {
                            let inner = self.changed(&field, &changed)?;
                            out.message(field.number, inner);
                        }
                        None => out.copy(field.span),
                    }
                }
                attribute::SPARSE_TENSOR => {
                    let changed =
                        self.origin(&field)?.map(|origin| self.kept(origin)).transpose()?;
                    if let Some(changed) = changed.flatten() {
                        let text = "a sparse tensor of a node in another form";
                        return Err(Error::unsupported(format!("'{}': {text}", changed.name)));
                    }
                    out.copy(field.span);
                }
                attribute::G | attribute::GRAPHS => {
                    let of = graphs.next().ok_or_else(|| Error::bug("a graph is gone"))?;
                    let inner = self.graph(of)?;
                    inside(&mut out, &field, inner)?;
                }
                _ => out.copy(field.span),
            }
        }
        Ok(out)
    }

    fn function<'b>(
        &mut self,
        field: &Field,
        nodes: &'b [Node],
        mut defaults: impl Iterator<Item = &'b Attribute>,
    ) -> Result<Out> {
        let mut out = Out::default();
        let mut nodes = Run::new(nodes, |node| node.span.clone());
        for field in self.fields(field.bytes("FunctionProto")?)? {
            match field.number {
                function::NODE => {
                    for node in nodes.until(&field)? {
                        self.node(&mut out, &field, node)?;
                    }
                }
                function::ATTRIBUTE_PROTO => {
                    let content = self.attribute(&field, defaults.next())?;
                    inside(&mut out, &field, content)?;
                }
                _ => out.copy(field.span),
            }
        }
        for node in nodes.rest() {
            out.message(function::NODE, self.node_content(node)?);
        }
        Ok(out)
    }

    fn port(&mut self, out: &mut Out, field: &Field, of: &Port) -> Result<()> {
        let content = self.port_content(of)?;
        inside(out, field, content)
    }

    /// A value's name and type; where only the type has changed, all else stays.
    fn port_content(&mut self, of: &Port) -> Result<Out> {
        let Some(span) = &of.span else { return encode::port(of) };
        let kinds = self.original.map(|original| &original.kinds);
        let mut out = Out::default();
        if kinds.and_then(|kinds| kinds.get(&span.start)) == Some(&of.kind) {
            out.copy(span.clone());
            return Ok(out);
        }
        for field in self.fields(span.clone())? {
            match field.number {
                value::TYPE => out.message(value::TYPE, encode::kind(&of.kind)?),
                _ => out.copy(field.span),
            }
        }
        Ok(out)
    }

    /// A tensor with other elements: what else its message says stays.
    pub(super) fn changed(&mut self, field: &Field, data: &Data) -> Result<Out> {
        let mut out = Out::default();
        for field in self.fields(field.bytes("TensorProto")?)? {
            if !ELEMENTS.contains(&field.number) {
                out.copy(field.span);
            }
        }
        self.elements(&mut out, data)?;
        Ok(out)
    }

    /// A tensor that the original has not, by its name in the graph.
    pub(super) fn new_tensor(&mut self, name: &str, constant: &Constant) -> Result<Out> {
        let mut out = Out::default();
        match constant {
            Constant::Weight(path) => {
                out.text(tensor::NAME, name);
                let data = self.data(path)?;
                self.elements(&mut out, &data)?;
            }
            Constant::Text { shape, values } => encode::texts(&mut out, name, shape, values),
        }
        Ok(out)
    }

    /// Dimensions, type and data, here or beside.
    fn elements(&mut self, out: &mut Out, data: &Data) -> Result<()> {
        let Data { name, tensor } = data;
        encode::head(out, tensor).map_err(|error| error.at(format!("tensor '{name}'")))?;
        let was_beside = self.external.contains(name.as_str());
        if !was_beside && !self.goes_beside(tensor) {
            out.data(tensor::RAW_DATA, data.clone(), tensor.bytes());
            return Ok(());
        }
        let end = self.plan.beside.last().map_or(0, |(at, data)| at + data.tensor.bytes());
        let at = end.next_multiple_of(PAGE);
        encode::external(out, &self.plan.location, at, tensor.bytes());
        self.plan.beside.push((at, data.clone()));
        Ok(())
    }
}

/// The fields of a node that are written from what is known of it.
const NODE: &[u64] = &[
    node::INPUT,
    node::OUTPUT,
    node::NAME,
    node::OP_TYPE,
    node::ATTRIBUTE,
    node::DOMAIN,
    node::OVERLOAD,
];

/// The fields of a tensor that follow from its elements.
const ELEMENTS: &[u64] = &[
    tensor::DIMS,
    tensor::DATA_TYPE,
    tensor::SEGMENT,
    tensor::FLOAT_DATA,
    tensor::INT32_DATA,
    tensor::STRING_DATA,
    tensor::INT64_DATA,
    tensor::RAW_DATA,
    tensor::DOUBLE_DATA,
    tensor::UINT64_DATA,
    tensor::EXTERNAL_DATA,
    tensor::DATA_LOCATION,
];

/// The graphs of an attribute.
fn graphs(attribute: &Attribute) -> &[Graph] {
    match attribute {
        Attribute::Graph(graph) => std::slice::from_ref(graph),
        Attribute::Graphs(graphs) => graphs,
        _ => &[],
    }
}

/// Adds a field of the original with this content: whole, if the content is what it was.
pub(super) fn inside(out: &mut Out, field: &Field, content: Out) -> Result<()> {
    match is_copy(&content, &field.bytes("message")?) {
        true => out.copy(field.span.clone()),
        false => out.message(field.number, content),
    }
    Ok(())
}

fn is_copy(content: &Out, span: &Range<u64>) -> bool {
    match content.pieces() {
        [] => span.is_empty(),
        [Piece::Copy(range)] => range == span,
        _ => false,
    }
}
