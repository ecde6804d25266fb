//! Which operators compute in a narrow type, and which of their outputs have it.

use super::scope::{Precision, Value};
use super::signatures::{SIGNATURES, Signature};
use crate::ir::DType;
use crate::ir::graph::{Attribute, Element, Node};

/// Operators whose results leave the range of f16 where their inputs are well within it, or
/// whose sums lose what matters: powers, sums, and what is made of them.
const WIDE: &[&str] = &[
    "CumSum",
    "CumProd",
    "Det",
    "Exp",
    "GlobalLpPool",
    "LRN",
    "LpNormalization",
    "LpPool",
    "MeanVarianceNormalization",
    "Pow",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMean",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Softplus",
    "Sqrt",
];

/// Operators that stay as they are: so that a quantized model keeps its scales and bits their
/// meaning, and because onnxruntime does not compute their f16 form.
const LEFT: &[&str] = &[
    "BitCast",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "EyeLike",
    "GridSample",
    "NonMaxSuppression",
    "QLinearMatMul",
    "QuantizeLinear",
    "Range",
    "Resize",
    "RoiAlign",
    "Upsample",
];

/// Operators that compute in f32 where all that they compute with was computed in f32: casts in
/// between would only lose. So positions and sizes, which are counted in integers, stay exact, and
/// so do variances between a power and its root.
const FOLLOWING: &[&str] = &[
    "Abs",
    "Add",
    "Ceil",
    "Clip",
    "Concat",
    "Cos",
    "Div",
    "Expand",
    "Floor",
    "Gather",
    "Identity",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Reciprocal",
    "Reshape",
    "Round",
    "Sin",
    "Slice",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
];

/// Attributes that say the type of an output; those without one have f32, or their input's type.
pub(super) const TYPED: &[(&str, &str, bool)] = &[
    ("BitCast", "to", false),
    ("Cast", "to", false),
    ("EyeLike", "dtype", false),
    ("Bernoulli", "dtype", false),
    ("RandomNormal", "dtype", true),
    ("RandomUniform", "dtype", true),
    ("RandomNormalLike", "dtype", false),
    ("RandomUniformLike", "dtype", false),
    ("SequenceEmpty", "dtype", true),
];

/// What an operator takes and gives; only those of the default domain are known.
pub(super) fn signature(node: &Node) -> Option<&'static Signature> {
    let at = SIGNATURES.binary_search_by(|row| row.0.cmp(&node.op)).ok()?;
    SIGNATURES.get(at).filter(|_| node.domain.is_empty())
}

/// Whether the operator computes in the narrow type.
pub(super) fn computes(node: &Node, to: DType, opset: u64) -> bool {
    let Some((op, _, _, f16, bf16)) = signature(node) else { return false };
    let since = if to == DType::F16 { *f16 } else { *bf16 };
    // A scatter that adds up sums, and onnxruntime does not in f16.
    let sums = op.starts_with("Scatter") && node.attributes.contains_key("reduction");
    !sums && since > 0 && since <= opset && !WIDE.contains(op) && !LEFT.contains(op)
}

/// Whether the operator stays in f32 because of what it is given: numbers made of integers, or
/// of operators that stay in f32.
pub(super) fn follows(node: &Node, inputs: &[Option<Value>]) -> bool {
    let known = || inputs.iter().flatten();
    if node.op == "Cast" {
        let counts = [DType::I64, DType::I32].map(|dtype| Some(Element::Number(dtype)));
        return known().any(|value| counts.contains(&value.element));
    }
    let mut made = known().filter(|value| value.is_float() && value.weight.is_none()).peekable();
    FOLLOWING.contains(&node.op.as_str()) && made.peek().is_some() && made.all(|value| value.wide)
}

/// The character of an input or output; the last one stands for all that follow.
fn character(all: &str, no: usize) -> Option<char> {
    all.chars().nth(no).or_else(|| all.chars().last())
}

/// Whether an input is f32 whatever the operator computes in.
pub(super) fn is_fixed(node: &Node, input: usize) -> bool {
    signature(node).is_some_and(|row| character(row.1, input) == Some('F'))
}

/// What is known of an output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Output {
    /// Always f32.
    Float,
    /// These elements, narrow if they were f32 and the operator computes in the narrow type.
    Of(Element),
    /// Nothing.
    Unknown,
}

/// What the elements of an output are, by those of the inputs.
pub(super) fn output(node: &Node, no: usize, inputs: &[Option<Value>]) -> Output {
    let Some((_, takes, gives, ..)) = signature(node) else { return Output::Unknown };
    let element = |value: &Option<Value>| value.as_ref().and_then(|value| value.element);
    let number = |dtype| Output::Of(Element::Number(dtype));
    match character(gives, no) {
        Some('F') => Output::Float,
        Some('I') => number(DType::I64),
        Some('J') => number(DType::I32),
        Some('B') => number(DType::Bool),
        Some('U') => number(DType::U8),
        Some('S') => Output::Of(Element::Text),
        Some('?') | None => by_attribute(node)
            .or_else(|| inputs.first().and_then(element))
            .map_or(Output::Unknown, Output::Of),
        letter => {
            let same = |(i, _): &(usize, &Option<Value>)| character(takes, *i) == letter;
            let mut same = inputs.iter().enumerate().filter(same);
            same.find_map(|(_, value)| element(value)).map_or(Output::Unknown, Output::Of)
        }
    }
}

/// The elements that an attribute says, or that follow where it says nothing.
fn by_attribute(node: &Node) -> Option<Element> {
    let (_, name, has_default) = TYPED.iter().find(|(op, ..)| *op == node.op)?;
    match node.attributes.get(*name) {
        Some(Attribute::Int(code)) => Some(Element::of(*code)),
        _ => has_default.then_some(Element::Number(DType::F32)),
    }
}

/// Makes an attribute that says f32 say the narrow type; whether there was one to say it.
pub(super) fn set_attribute(node: &mut Node, to: DType) -> bool {
    let Some((_, name, has_default)) = TYPED.iter().find(|(op, ..)| *op == node.op) else {
        return false;
    };
    if !has_default && !node.attributes.contains_key(*name) {
        return false;
    }
    let code = Element::Number(to).code().unwrap_or_default();
    node.attributes.insert((*name).to_owned(), Attribute::Int(code));
    node.changed = true;
    true
}

/// Whether an output is a list of tensors.
pub(super) fn is_list(node: &Node) -> bool {
    const LISTS: &[&str] = &[
        "Optional",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceMap",
        "SplitToSequence",
    ];
    LISTS.contains(&node.op.as_str())
}

/// The precision in which a node wants an input that was f32.
pub(super) fn wanted(node: &Node, input: usize, computes: bool) -> Precision {
    if computes && !is_fixed(node, input) { Precision::Half } else { Precision::Full }
}
