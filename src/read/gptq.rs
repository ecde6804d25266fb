//! Matrices quantized by GPTQ or AWQ: integers, scales and zero points as tensors of their own,
//! brought together as the weights that they stand for.
//!
//! ```text
//!            GPTQ                                AWQ (its "gemm" layout)
//!   qweight  i32 [in · bits / 32, out]           i32 [in, out / 8]
//!   qzeros   i32 [in / group, out · bits / 32]   i32 [in / group, out / 8]
//!   scales       [in / group, out]                   [in / group, out]
//!   g_idx    i32 [in]: the group of each row
//! ```
//!
//! Words are filled from the lowest bit up: of GPTQ down each column of `qweight`, and across words
//! where a number ends in the next; of AWQ along rows, eight columns to a word in the order
//! 0 2 4 6 1 3 5 7. A weight is (q − zero) · scale, of its row's group: GPTQ may have formed the groups
//! in the order of importance (`desc_act`). Its first layout keeps each zero point less 1.
//!
//! Source: `QuantLinear.pack` of AutoGPTQ 0.7 (`qlinear_cuda_old.py`) and GPTQModel's
//! `gptq_v2` format; `WQLinear_GEMM.from_linear` of AutoAWQ 0.2.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::ir::op::{Affine, Offset};
use crate::ir::{
    Blob, DType, Error, Limits, Model, Notes, Op, Result, Scratch, Shape, Tensor, Value,
};
use crate::store::Source;

const KEY: &str = "quantization_config";

/// AutoGPTQ's own file, which says the same; all that there was before config.json had it.
const BESIDE: &str = "quantize_config.json";

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
pub(super) fn unpack(
    mut model: Model,
    source: &dyn Source,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<Model> {
    let Some((stated, place)) = stated(&model, source, limits)? else { return Ok(model) };
    let of = |error: Error| error.at(place).at(&model.origin);
    let Some(packing) = packing(&stated).map_err(of)? else { return Ok(model) };
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
        model.tensors.insert(weight, weights(path, packing, &tensors).map_err(named)?);
        count += 1;
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

/// What says how matrices are packed, and where that stands.
fn stated(
    model: &Model,
    source: &dyn Source,
    limits: &Limits,
) -> Result<Option<(Value, &'static str)>> {
    if let Some(stated) = model.config.get(KEY) {
        return Ok(Some((stated.clone(), "config.json: quantization_config")));
    }
    let is_packed = model.tensors.keys().any(|name| name.ends_with(PARTS[0]));
    let Some(blob) = is_packed.then(|| source.find(BESIDE)).transpose()?.flatten() else {
        return Ok(None);
    };
    let stated = Value::parse(&blob.read_all(limits.side_file)?);
    let Value::Map(mut entries) = stated.map_err(|error| error.at(blob.name()))? else {
        return Err(Error::malformed("expected a JSON object").at(blob.name()));
    };
    // Its first versions knew no other method, and do not say so.
    entries.entry("quant_method".to_owned()).or_insert_with(|| Value::Text("gptq".to_owned()));
    Ok(Some((Value::Map(entries), BESIDE)))
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

/// The group of each of so many rows, unless they lie group by group.
fn groups(
    path: &str,
    rows: u64,
    group: u64,
    tensors: &IndexMap<String, Tensor>,
) -> Result<Option<Arc<[u32]>>> {
    let Some(groups) = tensors.get(&format!("{path}.g_idx")) else { return Ok(None) };
    if groups.dtype() != DType::I32 || groups.shape().dims() != [rows] {
        let text = format!("g_idx is {} {}, expected i32 [{rows}]", groups.dtype(), groups.shape());
        return Err(Error::malformed(text));
    }
    let mut bytes = vec![0; groups.bytes() as usize];
    groups.read(0..rows, &mut bytes, &mut Scratch::default())?;
    // A negative number is of no group, as one beyond them.
    let found = bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
    let found: Arc<[u32]> = found.collect();
    let is_in_order = (0..rows).zip(&*found).all(|(row, found)| u64::from(*found) == row / group);
    Ok((!is_in_order).then_some(found))
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
    let (block, groups) = (vec![1, group], self::groups(path, inputs, group, tensors)?);
    let affine = Affine { weights, scales, offset, block, groups };
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
    Tensor::of(Op::Affine(Box::new(Affine { weights, scales, offset, block, groups: None })))
}
