//! The weights of a graph, for containers that hold no graph.
//!
//! Exporters fold a transposition into a linear layer's weights, which then have a name that they
//! made up. What computes with them still says whose they are:
//!
//! ```text
//!  onnx::MatMul_123 ──▶ MatMul "/model/layers.0/mlp/up_proj/MatMul" ──▶ Add ◀── model.layers.0.mlp.up_proj.bias
//!        = model.layers.0.mlp.up_proj.weight, transposed
//! ```

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::Renamed;
use crate::ir::graph::{Attribute, Constant, Graph, Node};
use crate::ir::{Convention, DType, Error, Kernel, Layer, Model, Notes, Op, Result, Tensor, Value};

/// What becomes of constants that are no weights: shapes, axes and single numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constants {
    /// They are tensors like others.
    Keep,
    /// They go with the graph: the model's family says which tensors there are.
    Drop,
}

/// Names that exporters make up for constants, before a number.
const MADE_UP: &[&str] = &["", "_val_", "_v_", "const_fold_opt__", "tensor_", "val_", "onnx::"];

/// The model without its graph: weights with made-up names get those that the graph tells. And
/// which did.
///
/// # Errors
/// Unsupported for constants of text, which containers of weights do not hold.
pub fn weights(
    mut model: Model,
    constants: Constants,
    notes: &mut Notes,
) -> Result<(Model, Renamed)> {
    let mut renamed = Renamed::new();
    let Some(program) = model.graph.take() else { return Ok((model, renamed)) };
    let graph = &program.graph;
    let is_text = |constant: &Constant| matches!(constant, Constant::Text { .. });
    if let Some((name, _)) = graph.initializers.iter().find(|(_, constant)| is_text(constant)) {
        let text = format!("tensor '{name}' is text; only an ONNX holds it");
        return Err(Error::unsupported(text));
    }
    let text = format!("{} operators; the target holds weights only", graph.nodes.len());
    notes.lost("graph", text);
    let guesses = guesses(graph, &model.tensors);
    let mut tensors = IndexMap::with_capacity(model.tensors.len());
    for (name, tensor) in std::mem::take(&mut model.tensors) {
        let guess = guesses.get(&name);
        if guess.is_none() && constants == Constants::Drop && is_computation(&name, &tensor) {
            notes.lost(&name, "a constant of the computation; left out with it");
            continue;
        }
        let tensor = widened(&name, tensor, notes)?;
        let Some(guess) = guess else {
            tensors.insert(name, tensor);
            continue;
        };
        tensors.insert(guess.name.clone(), guess.applied(&name, tensor, notes)?);
        renamed.insert(name, guess.name.clone());
    }
    model.kernels = kernels(graph, &guesses, &tensors);
    model.tensors = tensors;
    Ok((model, renamed))
}

/// The weights that layers compute with, under their new names, which lie as torch has them. One
/// that layers of several kinds share is of none.
fn kernels(
    graph: &Graph,
    guesses: &BTreeMap<String, Guess>,
    tensors: &IndexMap<String, Tensor>,
) -> IndexMap<String, Kernel> {
    let mut layers: IndexMap<&String, Option<Layer>> = IndexMap::new();
    for node in &graph.nodes {
        for (no, input) in node.inputs.iter().enumerate() {
            let Some(Constant::Weight(weight)) = graph.initializers.get(input) else { continue };
            let guess = guesses.get(weight);
            let name = guess.map_or(weight, |guess| &guess.name);
            let Some(tensor) = tensors.get(name) else { continue };
            let layer = layer(node, no, tensor, guess.is_some_and(|guess| guess.transposed));
            let known = layers.entry(name).or_insert(layer);
            *known = known.filter(|known| Some(*known) == layer);
        }
    }
    let convention = Convention::PyTorch;
    let kernel = |(name, layer): (&String, Option<Layer>)| {
        Some((name.clone(), Kernel { layer: layer?, convention }))
    };
    layers.into_iter().filter_map(kernel).collect()
}

/// The layer that a node is, if this input is its kernel and lies as torch has it.
fn layer(node: &Node, input: usize, tensor: &Tensor, transposed: bool) -> Option<Layer> {
    let int = |name: &str, absent: i64| match node.attributes.get(name) {
        Some(Attribute::Int(value)) => *value,
        _ => absent,
    };
    let (groups, dims) = (u64::try_from(int("group", 1)).ok()?.max(1), tensor.shape().dims());
    match (node.op.as_str(), input, dims) {
        ("MatMul", 1, [_, _]) if transposed => Some(Layer::Dense),
        ("Gemm", 1, [_, _]) if transposed || int("transB", 0) == 1 => Some(Layer::Dense),
        ("Conv", 1, [channels, 1, ..]) if groups > 1 && channels.is_multiple_of(groups) => {
            Some(Layer::Depthwise { multiplier: channels / groups })
        }
        ("Conv", 1, [_, _, ..]) => Some(Layer::Conv),
        ("ConvTranspose", 1, [_, _, ..]) if groups == 1 => Some(Layer::ConvTranspose),
        _ => None,
    }
}

/// Bytes of a name in a GGUF: llama.cpp's `GGML_MAX_NAME`, less the byte that ends it.
const GGUF_NAME_MAX: usize = 63;

/// The weights of a graph as a GGUF holds them: names that it has no room for lose their middle and
/// stand whole in the metadata, and truth values become i8. And which names those are.
///
/// # Errors
/// Bug if a recipe cannot be made.
pub fn weights_for_gguf(mut model: Model, notes: &mut Notes) -> Result<(Model, Renamed)> {
    let mut renamed = Renamed::new();
    let mut tensors: IndexMap<String, Tensor> = IndexMap::with_capacity(model.tensors.len());
    for (name, mut tensor) in std::mem::take(&mut model.tensors) {
        if tensor.dtype() == DType::Bool {
            notes.chosen(&name, "bool becomes i8, which holds it exactly");
            tensor = Tensor::of(Op::Widen { input: tensor })?;
        }
        let mut short = shortened(&name, "");
        let mut numbers = 2u64..;
        while tensors.contains_key(&short) {
            short = shortened(&name, &format!("#{}", numbers.next().unwrap_or_default()));
        }
        if short != name {
            notes.chosen(&name, format!("is called {short}; its name stands in the metadata"));
            let key = format!("onnx.name.{short}");
            model.config.entries.insert(key, Value::Text(name.clone()));
            renamed.insert(name, short.clone());
        }
        tensors.insert(short, tensor);
    }
    model.tensors = tensors;
    Ok((model, renamed))
}

/// The name, or its two ends and `end`, of at most [`GGUF_NAME_MAX`] bytes.
fn shortened(name: &str, end: &str) -> String {
    let room = GGUF_NAME_MAX - end.len();
    if name.len() <= room {
        return format!("{name}{end}");
    }
    // The end of a path says more than its beginning.
    let (head, tail) = (room / 3, room - room / 3 - 1);
    let fits = |at: &usize| name.is_char_boundary(*at);
    let head = (0..=head).rev().find(fits).unwrap_or(0);
    let tail = (name.len() - tail..).find(fits).unwrap_or(name.len());
    format!("{}~{}{end}", &name[..head], &name[tail..])
}

/// Integers of less than a byte take a byte each: only an ONNX packs them.
fn widened(name: &str, tensor: Tensor, notes: &mut Notes) -> Result<Tensor> {
    let dtype = tensor.dtype();
    if !matches!(dtype, DType::I4 | DType::U4 | DType::I2 | DType::U2) {
        return Ok(tensor);
    }
    notes.chosen(name, format!("{dtype} becomes i8, which holds it exactly"));
    Tensor::of(Op::Widen { input: tensor })
}

/// Whether a constant is of the computation: an exporter named it, and it holds no weights.
fn is_computation(name: &str, tensor: &Tensor) -> bool {
    let is_small = !tensor.dtype().is_weights() || tensor.shape().count() <= 1;
    is_small && (is_made_up(name) || name.contains("Constant") || name.contains('/'))
}

fn is_made_up(name: &str) -> bool {
    let numbered = |prefix: &&str| {
        let number = name.strip_prefix(*prefix);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    name.starts_with("onnx::") || name.starts_with('/') || MADE_UP.iter().any(numbered)
}

/// Whose weights they are, and how they lie.
#[derive(Debug, PartialEq)]
struct Guess {
    name: String,
    transposed: bool,
}

impl Guess {
    /// The tensor as torch has it.
    fn applied(&self, old: &str, tensor: Tensor, notes: &mut Notes) -> Result<Tensor> {
        let Self { name, transposed } = self;
        let how = if *transposed { ", transposed" } else { "" };
        notes.chosen(old, format!("is taken for {name}{how}: so its place in the graph says"));
        match transposed {
            true => Tensor::of(Op::Transpose { input: tensor }),
            false => Ok(tensor),
        }
    }
}

/// Better names by those that were made up; only names that nothing else has.
fn guesses(graph: &Graph, tensors: &IndexMap<String, Tensor>) -> BTreeMap<String, Guess> {
    let users = users(graph);
    let (mut guesses, mut given) = (BTreeMap::new(), BTreeSet::new());
    for node in &graph.nodes {
        for (no, name) in node.inputs.iter().enumerate() {
            let Some(Constant::Weight(weight)) = graph.initializers.get(name) else { continue };
            let Some(tensor) = tensors.get(weight).filter(|_| is_made_up(weight)) else { continue };
            let Some((part, transposed)) = part(node, no, tensor) else { continue };
            let Some(owner) = owner(node, graph, &users) else { continue };
            let name = format!("{owner}.{part}");
            let is_free = !tensors.contains_key(&name) && !guesses.contains_key(weight);
            if is_free && given.insert(name.clone()) {
                guesses.insert(weight.clone(), Guess { name, transposed });
            }
        }
    }
    guesses
}

/// The nodes that read a value.
fn users(graph: &Graph) -> BTreeMap<&str, Vec<&Node>> {
    let mut users: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    for node in &graph.nodes {
        for name in &node.inputs {
            users.entry(name).or_default().push(node);
        }
    }
    users
}

/// What a constant is to the node that computes with it, and whether torch has it transposed.
fn part(node: &Node, input: usize, tensor: &Tensor) -> Option<(&'static str, bool)> {
    let rank = tensor.shape().rank();
    Some(match (node.op.as_str(), input, rank) {
        ("MatMul", 1, 2) => ("weight", true),
        ("Gemm", 1, 2) => {
            ("weight", !matches!(node.attributes.get("transB"), Some(Attribute::Int(1))))
        }
        ("Gather", 0, 2) | ("Conv" | "ConvTranspose", 1, _) => ("weight", false),
        ("Gemm" | "Conv" | "ConvTranspose", 2, 1) | ("Add", _, 1) => ("bias", false),
        ("Mul", _, 1) => ("weight", false),
        (op, 1, 1) if op.ends_with("Normalization") => ("weight", false),
        (op, 2, 1) if op.ends_with("Normalization") => ("bias", false),
        ("BatchNormalization", 3, 1) => ("running_mean", false),
        ("BatchNormalization", 4, 1) => ("running_var", false),
        _ => return None,
    })
}

/// The layer that a node belongs to: that of the bias which is added to what it makes, else what
/// its own name says.
fn owner(node: &Node, graph: &Graph, users: &BTreeMap<&str, Vec<&Node>>) -> Option<String> {
    let next = node.outputs.first().and_then(|name| users.get(name.as_str()));
    if let (Some([add]), "MatMul") = (next.map(Vec::as_slice), node.op.as_str())
        && add.op == "Add"
    {
        let constants = add.inputs.iter().filter(|name| graph.initializers.contains_key(*name));
        let mut owners = constants.filter_map(|name| name.strip_suffix(".bias"));
        if let Some(owner) = owners.find(|owner| !is_made_up(owner)) {
            return Some(owner.to_owned());
        }
    }
    let (path, _) = node.name.strip_prefix('/')?.rsplit_once('/')?;
    Some(path.replace('/', "."))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ir::{Blob, Shape};

    fn tensor(dims: &[u64]) -> Tensor {
        let shape = Shape::new(dims.to_vec()).unwrap();
        let blob = Arc::new(Blob::memory("test", vec![0; 4 * shape.count() as usize]));
        Tensor::span(DType::F32, shape, blob, 0).unwrap()
    }

    fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> Node {
        Node {
            op: op.into(),
            name: name.into(),
            inputs: inputs.iter().map(|&name| name.into()).collect(),
            outputs: vec![output.into()],
            ..Node::default()
        }
    }

    fn guessed(nodes: Vec<Node>, tensors: &[(&str, &[u64])]) -> Vec<(String, String, bool)> {
        let tensors: IndexMap<String, Tensor> =
            tensors.iter().map(|(name, dims)| ((*name).to_owned(), tensor(dims))).collect();
        let initializers = tensors.keys().map(|n| (n.clone(), Constant::Weight(n.clone())));
        let graph = Graph { nodes, initializers: initializers.collect(), ..Graph::default() };
        let guesses = guesses(&graph, &tensors).into_iter();
        guesses.map(|(old, guess)| (old, guess.name, guess.transposed)).collect()
    }

    #[test]
    fn a_bias_tells_more_than_a_path_and_a_real_name_stays() {
        let nodes = vec![
            node("MatMul", "/m/fc_1/MatMul", &["x", "onnx::MatMul_7"], "y"),
            node("Add", "", &["m.fc.bias", "y"], "z"),
            node("MatMul", "/m/up/MatMul_1", &["z", "onnx::MatMul_8"], "a"),
            node("MatMul", "/m/down/MatMul", &["a", "m.own"], "b"),
            node("MatMul", "MatMul_12", &["b", "onnx::MatMul_9"], "c"),
            node("Mul", "/m/norm/Mul_1", &["c", "onnx::Mul_3"], "d"),
        ];
        let tensors: &[(&str, &[u64])] = &[
            ("onnx::MatMul_7", &[2, 3]),
            ("m.fc.bias", &[3]),
            ("onnx::MatMul_8", &[3, 3]),
            ("m.own", &[3, 3]),
            ("onnx::MatMul_9", &[3, 3]),
            ("onnx::Mul_3", &[3]),
        ];
        let found = guessed(nodes, tensors);
        let expected = [
            ("onnx::MatMul_7", "m.fc.weight", true),
            ("onnx::MatMul_8", "m.up.weight", true),
            ("onnx::Mul_3", "m.norm.weight", false),
        ];
        let expected = expected.map(|(old, new, t)| (old.to_owned(), new.to_owned(), t));
        assert_eq!(found, expected);
    }

    #[test]
    fn names_without_room_keep_their_ends() {
        let long = format!("/first/{}/last/weight", "x".repeat(80));
        let short = shortened(&long, "");
        assert_eq!(short.len(), GGUF_NAME_MAX);
        assert!(short.starts_with("/first/") && short.ends_with("/last/weight"), "{short}");
        assert!(shortened(&"é".repeat(50), "#2").len() <= GGUF_NAME_MAX);
        assert_eq!(shortened("short", ""), "short");
        let tensors = [format!("{long}a"), format!("{}y/last/weighta", &long[..60])];
        let tensors = tensors.map(|name| (name, tensor(&[2])));
        let model = model(tensors.into_iter().collect());
        let (fitted, renamed) = weights_for_gguf(model, &mut Notes::default()).unwrap();
        assert!(renamed.values().eq(fitted.tensors.keys().filter(|name| name.contains('~'))));
        assert_eq!(fitted.tensors.len(), 2);
        assert_eq!(fitted.config.entries.len(), 2);
        assert!(fitted.tensors.keys().all(|name| name.len() <= GGUF_NAME_MAX));
    }

    fn model(tensors: IndexMap<String, Tensor>) -> Model {
        Model { tensors, ..Model::empty("onnx", "test") }
    }

    #[test]
    fn no_two_weights_get_one_name() {
        let nodes = vec![
            node("MatMul", "/fc/MatMul", &["x", "onnx::MatMul_1"], "y"),
            node("MatMul", "/fc/MatMul", &["y", "onnx::MatMul_2"], "z"),
            node("MatMul", "/up/MatMul", &["z", "3"], "a"),
        ];
        let tensors: &[(&str, &[u64])] = &[
            ("onnx::MatMul_1", &[3, 3]),
            ("onnx::MatMul_2", &[3, 3]),
            ("3", &[3, 3]),
            ("up.weight", &[3, 3]),
        ];
        let found = guessed(nodes, tensors);
        assert_eq!(found, [("onnx::MatMul_1".to_owned(), "fc.weight".to_owned(), true)]);
    }

    #[test]
    fn kernels_are_those_of_the_nodes_that_read_them() {
        let with = |mut node: Node, key: &str, value: i64| {
            node.attributes.insert(key.into(), Attribute::Int(value));
            node
        };
        let nodes = [
            node("Conv", "", &["x", "conv"], "a"),
            with(node("Conv", "", &["a", "depthwise"], "b"), "group", 4),
            node("MatMul", "/fc/MatMul", &["b", "onnx::MatMul_1"], "c"),
            with(node("Gemm", "", &["c", "gemm"], "d"), "transB", 1),
            node("MatMul", "", &["d", "as_it_is"], "e"),
            with(node("Gemm", "", &["e", "tied"], "f"), "transB", 1),
            node("Gather", "", &["tied", "ids"], "g"),
        ];
        let tensors: &[(&str, &[u64])] = &[
            ("conv", &[4, 3, 2, 2]),
            ("depthwise", &[8, 1, 2, 2]),
            ("fc.weight", &[3, 5]),
            ("gemm", &[3, 5]),
            ("as_it_is", &[3, 5]),
            ("tied", &[3, 5]),
        ];
        let tensors: IndexMap<String, Tensor> =
            tensors.iter().map(|(name, dims)| ((*name).to_owned(), tensor(dims))).collect();
        let mut graph = Graph { nodes: nodes.into(), ..Graph::default() };
        for name in tensors.keys() {
            let old = if name == "fc.weight" { "onnx::MatMul_1" } else { name };
            graph.initializers.insert(old.into(), Constant::Weight(old.into()));
        }
        let guess = Guess { name: "fc.weight".into(), transposed: true };
        let guesses = [("onnx::MatMul_1".to_owned(), guess)].into();
        let found = kernels(&graph, &guesses, &tensors);
        let found: Vec<_> = found.iter().map(|(name, kernel)| (&**name, kernel.layer)).collect();
        let expected = [
            ("conv", Layer::Conv),
            ("depthwise", Layer::Depthwise { multiplier: 2 }),
            ("fc.weight", Layer::Dense),
            ("gemm", Layer::Dense),
        ];
        assert_eq!(found, expected);
    }
}
