//! f16 and bf16 → f32: what was narrow computes in f32, on the same numbers.
//!
//! Every operator that has a narrow form has one of f32, so nothing is cast: weights, values and
//! the attributes that state a type say f32 where they said f16 or bf16.

use std::sync::Arc;

use super::precision::TYPED;
use super::scope::{element, set_element};
use crate::ir::graph::{Attribute, Element, Graph, Kind, Node, Port, Program};
use crate::ir::{DType, Error, Model, Notes, Op, Result, Tensor};

/// Attributes beside those of [`TYPED`] that state the type of an output.
const STATED: &[(&str, &str)] =
    &[("DequantizeLinear", "output_dtype"), ("SplitToSequence", "dtype"), ("SequenceMap", "dtype")];

/// The model with all that was f16 or bf16 in f32.
///
/// # Errors
/// Unsupported for operators that look at the bits of narrow numbers.
pub(super) fn widen(mut model: Model, notes: &mut Notes) -> Result<Model> {
    let program = model.graph.clone().ok_or_else(|| Error::bug("widening no graph"))?;
    let mut program = Program::clone(&program);
    let mut changed = graph(&mut program.graph)?;
    for function in &mut program.functions {
        for node in &mut function.nodes {
            changed |= self::node(node)?;
        }
    }
    for tensor in model.tensors.values_mut().filter(|tensor| is_narrow(tensor.dtype())) {
        *tensor = Tensor::of(Op::Cast { input: Tensor::clone(tensor), to: DType::F32 })?;
        changed = true;
    }
    if changed {
        notes.chosen("operators", "compute in f32 where they computed in f16 or bf16");
        model.graph = Some(Arc::new(program));
    }
    Ok(model)
}

fn is_narrow(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// Makes a graph say f32; whether it said anything narrower.
fn graph(of: &mut Graph) -> Result<bool> {
    let mut changed = false;
    for node in &mut of.nodes {
        changed |= self::node(node)?;
    }
    let ports = of.inputs.iter_mut().chain(&mut of.outputs).chain(&mut of.values);
    Ok(ports.fold(changed, |changed, port: &mut Port| kind(&mut port.kind) || changed))
}

fn kind(of: &mut Kind) -> bool {
    let narrow = matches!(element(of), Some(Element::Number(dtype)) if is_narrow(dtype));
    if narrow {
        set_element(of, DType::F32);
    }
    narrow
}

fn node(of: &mut Node) -> Result<bool> {
    let (op, is_onnx) = (of.op.clone(), of.domain.is_empty());
    let states = |name: &str| {
        let typed = TYPED.iter().any(|row| row.0 == op && row.1 == name);
        is_onnx && (typed || STATED.contains(&(&*op, name)))
    };
    let mut changed = false;
    for (name, attribute) in &mut of.attributes {
        changed |= match attribute {
            Attribute::Graph(inner) => graph(inner)?,
            Attribute::Graphs(inner) => {
                inner.iter_mut().try_fold(false, |all, of| graph(of).map(|one| one || all))?
            }
            Attribute::Kind(of) => kind(of),
            Attribute::Int(code) if states(name) => match Element::of(*code) {
                Element::Number(dtype) if is_narrow(dtype) => {
                    if op == "BitCast" {
                        let text =
                            format!("operator BitCast to {dtype}, which has 16 bits, as f32");
                        return Err(Error::unsupported(text));
                    }
                    *code = Element::Number(DType::F32).code().unwrap_or_default();
                    true
                }
                _ => false,
            },
            _ => false,
        };
    }
    of.changed |= changed;
    Ok(changed)
}
