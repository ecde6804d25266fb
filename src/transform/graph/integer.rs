//! Weights as 8-bit integers with a scale for each channel; what computes stays as it is.
//!
//! ```text
//!  w f32 ──▶ w_int8 i8, of w's shape ─┐
//!            w_scale f32 [channels]  ─┴▶ DequantizeLinear ──▶ w ──▶ MatMul, Gemm, Conv …
//! ```
//!
//! A node makes the weight again, under its own name: so every node that reads it reads the same
//! numbers as before, but for their rounding. A scale is the greatest magnitude of its channel
//! over 127. Both are recipes: scales are found when the first of them is written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;

use super::scope::{graphs, names};
use crate::ir::graph::{Attribute, Constant, Graph, Node, Program};
use crate::ir::{Blob, DType, Error, Model, Notes, Result, Scratch, Shape, Tensor, View};

/// The first version of the operators whose DequantizeLinear has a scale for each channel.
const SINCE: u64 = 13;

/// The first version of the container in which initializers are no inputs.
const IR_SINCE: u64 = 4;

/// Weights of fewer elements stay: what describes the integers would take the room.
const COUNT_MIN: u64 = 128;

/// The greatest code; the least is its opposite.
const CODE_MAX: f32 = 127.0;

/// Elements that are looked at at once for the scales.
const PIECE: u64 = 1 << 18;

/// The model with the weights of its products and convolutions in 8 bits.
///
/// # Errors
/// Unsupported for versions of the operators and of the container that have no form for it.
pub(super) fn integer(mut model: Model, notes: &mut Notes) -> Result<Model> {
    let program = model.graph.clone().ok_or_else(|| Error::bug("quantizing no graph"))?;
    let opset = program.opsets.get("").copied().unwrap_or(0);
    if opset < SINCE {
        let text = format!("version {opset} of the operators; int8 needs {SINCE}");
        return Err(Error::unsupported(text));
    }
    if program.ir_version < IR_SINCE {
        let found = program.ir_version;
        let text = format!("version {found} of the container; int8 needs {IR_SINCE}");
        return Err(Error::unsupported(text));
    }
    let mut pass = Pass::new(&mut model.tensors, &program.graph);
    let graph = pass.graph(&program.graph)?;
    let text =
        format!("{} in 8 bits, with a scale for each channel; what computes stays", pass.made);
    notes.chosen("weights", text);
    model.graph = Some(Arc::new(Program { graph, ..Program::clone(&program) }));
    Ok(model)
}

/// A walk over the graphs of a model.
struct Pass<'a> {
    tensors: &'a mut IndexMap<String, Tensor>,
    /// Every name that is taken.
    names: BTreeSet<String>,
    /// The dimension of the channels, by the name of the weight in its graph.
    axes: BTreeMap<String, Axis>,
    /// Weights that were made integers.
    made: usize,
}

impl<'a> Pass<'a> {
    fn new(tensors: &'a mut IndexMap<String, Tensor>, graph: &Graph) -> Self {
        let (mut taken, mut axes) = (BTreeSet::new(), BTreeMap::new());
        names(graph, &mut taken);
        taken.extend(tensors.keys().cloned());
        weighing(graph, &mut axes);
        Self { tensors, names: taken, axes, made: 0 }
    }

    /// A graph whose weights are made of integers first.
    fn graph(&mut self, graph: &Graph) -> Result<Graph> {
        let mut graph = graph.clone();
        for node in &mut graph.nodes {
            for attribute in node.attributes.values_mut() {
                if let Attribute::Graph(inner) = attribute {
                    **inner = self.graph(inner)?;
                }
            }
        }
        let mut made = Vec::new();
        for (name, constant) in std::mem::take(&mut graph.initializers) {
            // What may be given instead of a weight stays as it is.
            let given = graph.inputs.iter().any(|port| port.name == name);
            let axis = self.axes.get(&name).copied().filter(|_| !given);
            match (axis, &constant) {
                (Some(axis), Constant::Weight(path)) if self.is_worth(path, axis) => {
                    let path = path.clone();
                    made.push(self.split(&name, &path, axis.at, &mut graph.initializers)?);
                }
                _ => {
                    graph.initializers.insert(name, constant);
                }
            }
        }
        self.made += made.len();
        graph.nodes.splice(0..0, made);
        Ok(graph)
    }

    fn is_worth(&self, path: &str, axis: Axis) -> bool {
        self.tensors.get(path).is_some_and(|tensor| {
            let shape = tensor.shape();
            let fits = axis.at < shape.rank() && axis.rank.is_none_or(|rank| rank == shape.rank());
            tensor.dtype() == DType::F32 && shape.count() >= COUNT_MIN && fits
        })
    }

    /// Codes and scales in place of a weight, and the node that makes it of them.
    fn split(
        &mut self,
        name: &str,
        path: &str,
        axis: usize,
        initializers: &mut IndexMap<String, Constant>,
    ) -> Result<Node> {
        let at = self.tensors.get_index_of(path).ok_or_else(|| Error::bug("a weight is gone"))?;
        let (_, tensor) =
            self.tensors.shift_remove_index(at).ok_or_else(|| Error::bug("a weight is gone"))?;
        let channels = Arc::new(Channels::of(tensor, axis, path)?);
        let mut inputs = Vec::new();
        let parts = [("int8", channels.codes()?), ("scale", channels.scales_tensor()?)];
        for (no, (suffix, tensor)) in parts.into_iter().enumerate() {
            let (own, whole) = (self.fresh(name, suffix), self.fresh(path, suffix));
            // In the main graph the two are one.
            let whole = if name == path { own.clone() } else { whole };
            self.tensors.shift_insert(at + no, whole.clone(), tensor);
            initializers.insert(own.clone(), Constant::Weight(whole));
            inputs.push(own);
        }
        let axis = i64::try_from(axis).map_err(|_| Error::bug("a dimension beyond 2^63"))?;
        Ok(Node {
            name: format!("{name}/dequantize"),
            op: "DequantizeLinear".into(),
            inputs,
            outputs: vec![name.to_owned()],
            attributes: [("axis".to_owned(), Attribute::Int(axis))].into_iter().collect(),
            ..Node::default()
        })
    }

    fn fresh(&mut self, name: &str, suffix: &str) -> String {
        let mut wanted = format!("{name}_{suffix}");
        while !self.names.insert(wanted.clone()) {
            wanted.push('_');
        }
        wanted
    }
}

/// The weights that nodes multiply with, and the dimension of their channels: in this graph and
/// those within it.
fn weighing(graph: &Graph, axes: &mut BTreeMap<String, Axis>) {
    for node in &graph.nodes {
        if let (Some(name), Some(axis)) = (node.inputs.get(1), channels(node)) {
            axes.entry(name.clone()).or_insert(axis);
        }
        graphs(node).for_each(|graph| weighing(graph, axes));
    }
}

/// Which dimension of a weight has a channel of the output each.
#[derive(Clone, Copy)]
struct Axis {
    at: usize,
    /// The dimensions that the weight must have, if not any number.
    rank: Option<usize>,
}

/// The channels in the second input of a node. Of a stack of matrices there are none in common.
fn channels(node: &Node) -> Option<Axis> {
    let turned =
        matches!(node.attributes.get("transB"), Some(Attribute::Int(turned)) if *turned != 0);
    let (at, rank) = match (node.op.as_str(), node.domain.is_empty()) {
        ("MatMul", true) => (1, Some(2)),
        ("Gemm", true) => (usize::from(!turned), Some(2)),
        ("Conv", true) => (0, None),
        ("ConvTranspose", true) => (1, None),
        _ => return None,
    };
    Some(Axis { at, rank })
}

/// A weight by its channels.
#[derive(Debug)]
struct Channels {
    name: String,
    weight: Tensor,
    blob: Arc<Blob>,
    /// How many there are.
    count: u64,
    /// Elements from one to the next.
    step: u64,
    scales: OnceLock<Vec<f32>>,
}

impl Channels {
    fn of(weight: Tensor, axis: usize, name: &str) -> Result<Self> {
        let blob = weight.blobs().first().map(|blob| Arc::clone(blob));
        let blob = blob.ok_or_else(|| Error::bug("a weight of no file"))?;
        let dims = weight.shape().dims();
        let count = dims.get(axis).copied().ok_or_else(|| Error::bug("no such dimension"))?;
        let step = dims.iter().skip(axis + 1).product();
        let name = name.to_owned();
        Ok(Self { name, weight, blob, count, step, scales: OnceLock::new() })
    }

    fn codes(self: &Arc<Self>) -> Result<Tensor> {
        let view = Arc::new(Codes(Arc::clone(self)));
        Tensor::view(DType::I8, self.weight.shape().clone(), view)
    }

    fn scales_tensor(self: &Arc<Self>) -> Result<Tensor> {
        let view = Arc::new(Scales(Arc::clone(self)));
        Tensor::view(DType::F32, Shape::new(vec![self.count])?, view)
    }

    /// The channel of an element.
    fn channel(&self, element: u64) -> usize {
        (element / self.step % self.count) as usize
    }

    /// The numbers of a range of elements.
    fn floats(&self, elements: Range<u64>) -> Result<Vec<f32>> {
        let granule = self.weight.granule();
        let start = elements.start / granule * granule;
        let end = elements.end.next_multiple_of(granule).min(self.weight.shape().count());
        let mut scratch = Scratch::default();
        let mut floats = scratch.take_floats((end - start) as usize)?;
        self.weight.read_floats(start..end, &mut floats, &mut scratch)?;
        floats.truncate((elements.end - start) as usize);
        floats.drain(..(elements.start - start) as usize);
        Ok(floats)
    }

    fn scales(&self) -> Result<&[f32]> {
        if let Some(scales) = self.scales.get() {
            return Ok(scales);
        }
        let mut greatest = vec![0f32; self.count as usize];
        let count = self.weight.shape().count();
        for start in (0..count).step_by(PIECE as usize) {
            let end = count.min(start + PIECE);
            for (element, x) in (start..end).zip(self.floats(start..end)?) {
                if !x.is_finite() {
                    let text = format!("element {element} is {x}, which 8 bits do not hold");
                    return Err(Error::loss(text).at(&self.name));
                }
                let greatest = &mut greatest[self.channel(element)];
                *greatest = greatest.max(x.abs());
            }
        }
        let scale = |x: f32| if x == 0.0 { 1.0 } else { (x / CODE_MAX).max(f32::MIN_POSITIVE) };
        // Another worker may have been first; both have found the same.
        Ok(self.scales.get_or_init(|| greatest.into_iter().map(scale).collect()))
    }
}

/// The codes of a weight.
#[derive(Debug)]
struct Codes(Arc<Channels>);

impl View for Codes {
    fn blob(&self) -> &Arc<Blob> {
        &self.0.blob
    }

    fn read(&self, elements: Range<u64>, out: &mut [u8]) -> Result<()> {
        let scales = self.0.scales()?;
        let floats = self.0.floats(elements.clone())?;
        for ((element, x), out) in elements.zip(floats).zip(out) {
            let code = (x / scales[self.0.channel(element)]).round_ties_even();
            *out = (code.clamp(-CODE_MAX, CODE_MAX) as i8).cast_unsigned();
        }
        Ok(())
    }
}

/// The scales of a weight's channels.
#[derive(Debug)]
struct Scales(Arc<Channels>);

impl View for Scales {
    fn blob(&self) -> &Arc<Blob> {
        &self.0.blob
    }

    fn read(&self, elements: Range<u64>, out: &mut [u8]) -> Result<()> {
        let scales = &self.0.scales()?[elements.start as usize..elements.end as usize];
        for (out, scale) in out.as_chunks_mut().0.iter_mut().zip(scales) {
            *out = scale.to_le_bytes();
        }
        Ok(())
    }
}
