//! Layers of Keras: which variables each kind has, in which order, and what lies within it.
//!
//! Keras 3 keeps variables by number, under the path of Python attributes that leads to their
//! layer: `layers/bidirectional/forward_layer/cell/vars/0`. Names of layers come from the
//! configuration, or else from attributes of the file; names of variables from this table.
//!
//! Source: `build` of each class in keras/src/layers of Keras 3.15, and of tf_keras 2.21.

use std::collections::BTreeMap;

use crate::ir::value::List;
use crate::ir::{Convention, Kernel, Layer as Role, Tensor, Value};

/// A kind of layer.
pub(super) struct Kind {
    class: &'static str,
    variables: &'static [Variable],
    children: &'static [Child],
}

/// A variable of a layer.
pub(super) struct Variable {
    pub(super) name: &'static str,
    /// What it is to the layer, if it is a kernel.
    kernel: Option<Part>,
    /// The option that leaves it out where it is false.
    option: &'static str,
}

/// What a kernel is.
#[derive(Clone, Copy)]
enum Part {
    Dense,
    Conv,
    ConvTranspose,
    Depthwise,
}

/// A layer within a layer.
enum Child {
    /// Under this attribute, of this name and class.
    Own(&'static str, &'static str, &'static str),
    /// Under this attribute, the layer that the configuration has under a key; its name begins so.
    Wrapped(&'static str, &'static str, &'static str),
}

const fn plain(name: &'static str, option: &'static str) -> Variable {
    Variable { name, kernel: None, option }
}

const fn kernel(name: &'static str, part: Part) -> Variable {
    Variable { name, kernel: Some(part), option: "" }
}

const BIAS: Variable = plain("bias", "use_bias");
const GAMMA: Variable = plain("gamma", "scale");
const BETA: Variable = plain("beta", "center");
const CONV: &[Variable] = &[kernel("kernel", Part::Conv), BIAS];
const TRANSPOSE: &[Variable] = &[kernel("kernel", Part::ConvTranspose), BIAS];
const DEPTHWISE: &[Variable] = &[kernel("kernel", Part::Depthwise), BIAS];
const SEPARABLE: &[Variable] =
    &[kernel("depthwise_kernel", Part::Depthwise), kernel("pointwise_kernel", Part::Conv), BIAS];
const NORM: &[Variable] = &[GAMMA, BETA];
const CELL: &[Variable] =
    &[kernel("kernel", Part::Dense), kernel("recurrent_kernel", Part::Dense), BIAS];
const ATTENTION: &[Child] = &[
    Child::Own("query_dense", "query", "EinsumDense"),
    Child::Own("key_dense", "key", "EinsumDense"),
    Child::Own("value_dense", "value", "EinsumDense"),
    Child::Own("output_dense", "attention_output", "EinsumDense"),
];

const fn row(class: &'static str, variables: &'static [Variable]) -> Kind {
    Kind { class, variables, children: &[] }
}

#[rustfmt::skip]
static KINDS: &[Kind] = &[
    row("Dense", &[kernel("kernel", Part::Dense), BIAS]),
    row("EinsumDense", &[plain("kernel", ""), BIAS]),
    row("Embedding", &[plain("embeddings", "")]),
    row("Conv1D", CONV),
    row("Conv2D", CONV),
    row("Conv3D", CONV),
    row("Conv1DTranspose", TRANSPOSE),
    row("Conv2DTranspose", TRANSPOSE),
    row("Conv3DTranspose", TRANSPOSE),
    row("DepthwiseConv1D", DEPTHWISE),
    row("DepthwiseConv2D", DEPTHWISE),
    row("SeparableConv1D", SEPARABLE),
    row("SeparableConv2D", SEPARABLE),
    row("BatchNormalization", &[GAMMA, BETA, plain("moving_mean", ""), plain("moving_variance", "")]),
    row("LayerNormalization", NORM),
    row("GroupNormalization", NORM),
    row("PReLU", &[plain("alpha", "")]),
    row("Normalization", &[plain("mean", ""), plain("variance", ""), plain("count", "")]),
    row("LSTMCell", CELL),
    row("GRUCell", CELL),
    row("SimpleRNNCell", CELL),
    Kind { class: "LSTM", variables: &[], children: &[Child::Own("cell", "lstm_cell", "LSTMCell")] },
    Kind { class: "GRU", variables: &[], children: &[Child::Own("cell", "gru_cell", "GRUCell")] },
    Kind { class: "SimpleRNN", variables: &[], children: &[Child::Own("cell", "simple_rnn_cell", "SimpleRNNCell")] },
    Kind { class: "RNN", variables: &[], children: &[Child::Wrapped("cell", "cell", "")] },
    Kind { class: "MultiHeadAttention", variables: &[], children: ATTENTION },
    Kind { class: "GroupedQueryAttention", variables: &[], children: ATTENTION },
    Kind { class: "Bidirectional", variables: &[], children: &[Child::Wrapped("forward_layer", "layer", "forward_"), Child::Wrapped("backward_layer", "layer", "backward_")] },
    Kind { class: "TimeDistributed", variables: &[], children: &[Child::Wrapped("layer", "layer", "")] },
];

/// A layer within another.
pub(super) struct Within {
    /// Its place among those within the same layer.
    pub(super) place: usize,
    pub(super) name: Option<&'static str>,
    pub(super) kind: Option<&'static Kind>,
}

/// Variables that training does not change: Keras lists them after all others.
const FROZEN: &[&str] = &["moving_mean", "moving_variance"];

/// Whether a weight of this name comes after those that are trained.
pub(super) fn is_frozen(name: &str) -> bool {
    FROZEN.contains(&name.rsplit('/').next().unwrap_or(name))
}

impl Kind {
    fn of(class: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.class == class)
    }

    /// The kind of the layer that a file keeps under `segment`: `conv2d_3`. A cell is called by its
    /// attribute; the name that Keras gives it says which.
    pub(super) fn of_segment(segment: &str, name: Option<&str>) -> Option<&'static Self> {
        let named = if segment == "cell" { name? } else { segment };
        KINDS.iter().find(|kind| snake(kind.class) == base(named))
    }

    /// The layer under an attribute: its place, and its name and kind where they are known. Keras 2
    /// has the attributes of attention with an underscore.
    pub(super) fn child(&self, attribute: &str) -> Option<Within> {
        let wanted = attribute.trim_start_matches('_');
        let is = |(place, child): (usize, &Child)| match child {
            Child::Own(key, name, class) => {
                (*key == wanted).then(|| Within { place, name: Some(name), kind: Self::of(class) })
            }
            Child::Wrapped(key, ..) => {
                (*key == wanted).then_some(Within { place, name: None, kind: None })
            }
        };
        self.children.iter().enumerate().find_map(is)
    }

    /// The variables of a layer of this configuration.
    pub(super) fn all(&self, config: Option<&Value>) -> Vec<&'static Variable> {
        let is_there = |variable: &&Variable| {
            let option = config.and_then(|config| config.get(variable.option));
            option.and_then(Value::as_bool) != Some(false)
        };
        self.variables.iter().filter(is_there).collect()
    }

    /// The variables of a layer that has `count` of them; nothing if that leaves open which.
    pub(super) fn variables(&self, config: Option<&Value>, count: usize) -> Vec<&'static Variable> {
        let mut found = self.all(config);
        let lacks_bias = found.len() == count + 1 && found.last().is_some_and(|v| v.name == "bias");
        if config.is_none() && lacks_bias {
            found.pop();
        }
        if found.len() == count { found } else { Vec::new() }
    }

    /// What the variable of this name is to a layer, if it is a kernel.
    fn part(&self, variable: &str) -> Option<Part> {
        let known = self.variables.iter().find(|known| is_like(known.name, variable))?;
        known.kernel
    }

    /// What is known of a tensor that is this variable.
    pub(super) fn kernel(&self, variable: &str, tensor: &Tensor) -> Option<Kernel> {
        let layer = match self.part(variable)? {
            Part::Dense => Role::Dense,
            Part::Conv => Role::Conv,
            Part::ConvTranspose => Role::ConvTranspose,
            Part::Depthwise => {
                Role::Depthwise { multiplier: tensor.shape().dims().last().copied()? }
            }
        };
        Some(Kernel { layer, convention: Convention::Keras })
    }
}

/// Whether two names are of one variable: Keras 2 calls a depthwise kernel so.
pub(super) fn is_like(ours: &str, theirs: &str) -> bool {
    ours == theirs || ours == "kernel" && theirs == "depthwise_kernel"
}

/// The name of a class as Keras makes names of groups from it.
pub(super) fn snake(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut out = String::new();
    for (no, letter) in letters.iter().enumerate() {
        let before = no.checked_sub(1).and_then(|no| letters.get(no));
        let begins = letters.get(no + 1).is_some_and(|next| next.is_ascii_lowercase());
        let follows = before.is_some_and(|before| before.is_ascii_lowercase());
        if letter.is_ascii_uppercase() && (begins && before.is_some() || follows) {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// A name without the number that tells it from others: `conv2d_3`.
pub(super) fn base(segment: &str) -> &str {
    match segment.rsplit_once('_') {
        Some((stem, number)) if number.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => segment,
    }
}

/// A layer of a configuration.
pub(super) struct Layer<'c> {
    /// Where Keras 3 keeps it.
    pub(super) path: String,
    /// Its name, without those of the layers around it.
    pub(super) name: String,
    pub(super) kind: Option<&'static Kind>,
    pub(super) config: Option<&'c Value>,
    /// Which layer of the model it is, or is within.
    pub(super) top: usize,
}

/// The layers of a model, in the order of its configuration.
#[derive(Default)]
pub(super) struct Layers<'c> {
    pub(super) all: Vec<Layer<'c>>,
    /// Names of the layers of the model itself.
    pub(super) top: Vec<String>,
    by_path: BTreeMap<String, usize>,
    /// The group that holds the layers of a model, of those within the model, too.
    container: &'static str,
}

impl<'c> Layers<'c> {
    /// The layers that a model's configuration lists, which lie under `container` in a file.
    pub(super) fn of(config: &'c Value, container: &'static str) -> Self {
        let mut layers = Self { container, ..Self::default() };
        for (segment, layer) in listed(config) {
            let name = name_of(layer).unwrap_or(&segment).to_owned();
            layers.top.push(name.clone());
            layers.walk(layer, format!("{container}/{segment}"), name);
        }
        let paths = layers.all.iter().enumerate();
        layers.by_path = paths.map(|(no, layer)| (layer.path.clone(), no)).collect();
        layers
    }

    /// Place and layer of a path.
    pub(super) fn get(&self, path: &str) -> Option<(usize, &Layer<'c>)> {
        let no = *self.by_path.get(path)?;
        Some((no, self.all.get(no)?))
    }

    fn walk(&mut self, layer: &'c Value, path: String, name: String) {
        let class = layer.get("class_name").and_then(Value::as_text).unwrap_or_default();
        let (kind, config) = (Kind::of(class), layer.get("config"));
        let top = self.top.len() - 1;
        self.all.push(Layer { path: path.clone(), name, kind, config, top });
        for child in kind.map_or(&[][..], |kind| kind.children) {
            match child {
                Child::Own(attribute, name, class) => self.all.push(Layer {
                    path: format!("{path}/{attribute}"),
                    name: (*name).to_owned(),
                    kind: Kind::of(class),
                    config,
                    top,
                }),
                Child::Wrapped(attribute, key, begin) => {
                    let Some(inner) = config.and_then(|config| config.get(key)) else { continue };
                    let name = name_of(inner).unwrap_or(attribute);
                    // Keras 3 states the name that the layer has got here already.
                    let name = format!("{begin}{}", name.strip_prefix("forward_").unwrap_or(name));
                    self.walk(inner, format!("{path}/{attribute}"), name);
                }
            }
        }
        for (segment, inner) in listed(layer) {
            let name = name_of(inner).unwrap_or(&segment).to_owned();
            self.walk(inner, format!("{path}/{}/{segment}", self.container), name);
        }
    }
}

/// The layers that a model lists, each with the name of its group.
fn listed(model: &Value) -> Vec<(String, &Value)> {
    let config = model.get("config");
    // Keras 1 had no name of a sequential model: its configuration is the list.
    let list = config.and_then(|config| config.get("layers")).or(config);
    let Some(Value::List(List::Any(layers))) = list else { return Vec::new() };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let segment = |layer| {
        let class = Value::get(layer, "class_name").and_then(Value::as_text).unwrap_or_default();
        // A model of Keras 2 that lists its layers is Keras 3's Functional.
        let base = snake(if class == "Model" { "Functional" } else { class });
        let count = counts.entry(base.clone()).or_insert(0);
        *count += 1;
        match *count {
            1 => base,
            more => format!("{base}_{}", more - 1),
        }
    };
    layers.iter().map(segment).zip(layers).collect()
}

fn name_of(layer: &Value) -> Option<&str> {
    let inner = layer.get("config").and_then(|config| config.get("name"));
    inner.or_else(|| layer.get("name")).and_then(Value::as_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `keras.src.utils.naming.to_snake_case` of Keras 3.15 gives.
    #[test]
    fn groups_are_named_as_keras_names_them() {
        let names = [
            ("Conv2D", "conv2d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("BatchNormalization", "batch_normalization"),
            ("LSTM", "lstm"),
            ("SimpleRNN", "simple_rnn"),
            ("PReLU", "p_re_lu"),
            ("GRUCell", "gru_cell"),
            ("SeparableConv1D", "separable_conv1d"),
        ];
        for (class, name) in names {
            assert_eq!(snake(class), name);
        }
        assert_eq!(
            [base("conv2d_12"), base("lstm_cell"), base("a_")],
            ["conv2d", "lstm_cell", "a"]
        );
    }
}
