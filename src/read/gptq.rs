//! Matrices quantized by GPTQ or AWQ: integers, scales and zero points as tensors of their own,
//! brought together as the weights that they stand for.
//!
//! ```text
//!            GPTQ                                AWQ (its "gemm" layout)
//!   qweight  i32 [in · bits / 32, out]           i32 [in, out / 8]
//!   qzeros   i32 [in / group, out · bits / 32]   i32 [in / group, out / 8]
//!   scales       [in / group, out]                   [in / group, out]
//! ```
//!
//! Words are filled from the lowest bit up: of GPTQ down each column of `qweight`, and across words
//! where a number ends in the next; of AWQ along rows, eight columns to a word in the order
//! 0 2 4 6 1 3 5 7. A weight is (q − zero) · scale. GPTQ's first layout keeps each zero point less 1.
//!
//! Source: `QuantLinear.pack` of AutoGPTQ 0.7 (`qlinear_cuda_old.py`) and GPTQModel's
//! `gptq_v2` format; `WQLinear_GEMM.from_linear` of AutoAWQ 0.2.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::ir::op::{Affine, Offset};
use crate::ir::{Blob, DType, Error, Model, Notes, Op, Result, Scratch, Shape, Tensor, Value};

const KEY: &str = "quantization_config";

/// The suffixes of the tensors that one matrix consists of.
const PARTS: &[&str] = &[".qweight", ".qzeros", ".scales", ".g_idx"];

/// Who packed the matrices.
#[derive(Clone, Copy, PartialEq)]
enum Method {
    /// GPTQ; what its zero points lack.
    Gptq {
        lack: f32,
    },
    Awq,
}

#[derive(Clone, Copy)]
struct Packing {
    method: Method,
    bits: u64,
    /// Rows of `qweight`'s inputs that share a scale; all of them where there is none.
    group: Option<u64>,
}

/// The model with the weights that its quantized matrices stand for, if it has any.
///
/// # Errors
/// Malformed if parts do not fit each other; Unsupported for layouts that are not known.
pub(super) fn unpack(mut model: Model, notes: &mut Notes) -> Result<Model> {
    let Some(stated) = model.config.get(KEY) else { return Ok(model) };
    let of = |error: Error| error.at(format!("config.json: {KEY}")).at(&model.origin);
    let Some(packing) = packing(stated).map_err(of)? else { return Ok(model) };
    let tensors = std::mem::take(&mut model.tensors);
    let mut count = 0;
    for (name, tensor) in &tensors {
        let module = PARTS.iter().find_map(|part| name.strip_suffix(part));
        let module = module.filter(|path| tensors.contains_key(&format!("{path}.qweight")));
        let Some(path) = module else {
            model.tensors.insert(name.clone(), tensor.clone());
            continue;
        };
        if !name.ends_with(PARTS[0]) {
            continue;
        }
        let named = |error: Error| error.at(format!("tensor '{name}'")).at(&model.origin);
        let weight = format!("{path}.weight");
        if is_in_order(path, packing, &tensors).map_err(named)? {
            let made = weights(path, packing, &tensors).map_err(named)?;
            model.tensors.insert(weight, made);
            count += 1;
        } else {
            let what = "quantized by GPTQ with its columns in the order of importance (desc_act)";
            model.refused.insert(weight, what.to_owned());
        }
    }
    let text = format!(
        "{count} matrices are quantized ({}, {} bits): read as the f32 they stand for",
        if packing.method == Method::Awq { "AWQ" } else { "GPTQ" },
        packing.bits
    );
    notes.chosen(&model.origin, text);
    model.config.entries.shift_remove(KEY);
    Ok(model)
}

/// What the configuration says; nothing if another method's name stands there.
fn packing(stated: &Value) -> Result<Option<Packing>> {
    let text = |key: &str| stated.get(key).and_then(Value::as_text);
    let method = match (text("quant_method"), text("checkpoint_format"), text("version")) {
        (Some("gptq"), None | Some("gptq"), _) => Method::Gptq { lack: 1.0 },
        (Some("gptq"), Some("gptq_v2"), _) => Method::Gptq { lack: 0.0 },
        (Some("awq"), _, None | Some("gemm" | "GEMM")) => Method::Awq,
        (Some("gptq"), Some(other), _) | (Some("awq"), _, Some(other)) => {
            return Err(Error::unsupported(format!("the layout '{other}'")));
        }
        _ => return Ok(None),
    };
    let bits = stated.get("bits").and_then(Value::as_u64).unwrap_or(0);
    let known: &[u64] = if method == Method::Awq { &[4] } else { &[2, 3, 4, 8] };
    if !known.contains(&bits) {
        return Err(Error::unsupported(format!("{bits} bits; there are {known:?}")));
    }
    // -1 stands for one group.
    let group = stated.get("group_size").and_then(Value::as_u64).filter(|group| *group > 0);
    Ok(Some(Packing { method, bits, group }))
}

fn part<'t>(path: &str, name: &str, tensors: &'t IndexMap<String, Tensor>) -> Result<&'t Tensor> {
    let missing = || Error::malformed(format!("it is quantized, and has no '{path}.{name}'"));
    tensors.get(&format!("{path}.{name}")).ok_or_else(missing)
}

/// Whether rows share scales in the order in which they lie.
fn is_in_order(path: &str, packing: Packing, tensors: &IndexMap<String, Tensor>) -> Result<bool> {
    let Some(groups) = tensors.get(&format!("{path}.g_idx")) else { return Ok(true) };
    let count = groups.shape().count();
    if groups.dtype() != DType::I32 || count > 1 << 24 {
        let text = format!("g_idx of {} {}, expected i32", groups.dtype(), groups.shape());
        return Err(Error::malformed(text));
    }
    let mut bytes = vec![0; groups.bytes() as usize];
    groups.read(0..count, &mut bytes, &mut Scratch::default())?;
    let group = packing.group.unwrap_or(count).max(1);
    let found = bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes));
    Ok((0..count).zip(found).all(|(row, found)| u64::try_from(found) == Ok(row / group)))
}

/// The weights of a module: out, in.
fn weights(path: &str, packing: Packing, tensors: &IndexMap<String, Tensor>) -> Result<Tensor> {
    let Packing { method, bits, group } = packing;
    let (words, scales) = (part(path, "qweight", tensors)?, part(path, "scales", tensors)?);
    let unfit = || {
        let (words, scales) = (words.shape(), scales.shape());
        let group = group.map_or("all rows".to_owned(), |group| group.to_string());
        let text =
            format!("words {words} and scales {scales} for {bits} bits in groups of {group}");
        Error::malformed(text)
    };
    let (&[rows, columns], &[groups, outputs]) = (words.shape().dims(), scales.shape().dims())
    else {
        return Err(unfit());
    };
    let held = |words: u64| words.checked_mul(32).map(|held| held / bits).ok_or_else(unfit);
    let (inputs, weights) = match method {
        Method::Gptq { .. } if columns == outputs => {
            let inputs = held(rows)?;
            (inputs, spread(&transposed(words)?, bits, [outputs, inputs])?)
        }
        Method::Awq if held(columns)? == outputs => {
            let integers = unshuffled(&spread(words, bits, [rows, outputs])?)?;
            (rows, transposed(&integers)?)
        }
        _ => return Err(unfit()),
    };
    let group = group.unwrap_or(inputs).max(1);
    if inputs.div_ceil(group) != groups {
        return Err(unfit());
    }
    let zeros = spread(part(path, "qzeros", tensors)?, bits, [groups, outputs])?;
    let zeros = match method {
        Method::Gptq { lack } => raised(zeros, lack)?,
        Method::Awq => unshuffled(&zeros)?,
    };
    let (scales, offset) = (transposed(scales)?, Offset::Zeros(transposed(&zeros)?));
    let affine = Affine { weights, scales, offset, block: vec![1, group] };
    Tensor::of(Op::Affine(Box::new(affine)))
}

fn transposed(input: &Tensor) -> Result<Tensor> {
    Tensor::of(Op::Transpose { input: input.clone() })
}

fn spread(words: &Tensor, bits: u64, dims: [u64; 2]) -> Result<Tensor> {
    let shape = Shape::new(dims.to_vec())?;
    Tensor::of(Op::Spread { input: words.clone(), bits: bits as u32, shape })
}

/// Columns in their order: AWQ has of eight the even ones first.
fn unshuffled(input: &Tensor) -> Result<Tensor> {
    let shape = input.shape().clone();
    let eights = Shape::new(vec![shape.rows(), shape.columns() / 8, 2, 4])?;
    let input = Tensor::of(Op::Reshape { input: input.clone(), shape: eights })?;
    let input = Tensor::of(Op::Permute { input, axes: vec![0, 1, 3, 2] })?;
    Tensor::of(Op::Reshape { input, shape })
}

/// Integers, each and a number.
fn raised(weights: Tensor, by: f32) -> Result<Tensor> {
    let one = |value: f32| {
        let blob = Arc::new(Blob::memory("a number", value.to_le_bytes().to_vec()));
        Tensor::span(DType::F32, Shape::new(vec![1])?, blob, 0)
    };
    let block = weights.shape().dims().to_vec();
    let (scales, offset) = (one(1.0)?, Offset::Biases(one(by)?));
    Tensor::of(Op::Affine(Box::new(Affine { weights, scales, offset, block })))
}
