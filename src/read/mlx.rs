//! What mlx_lm makes of a model: matrices whose integers, scales and offsets are tensors of their
//! own, brought together as the weights that they stand for.
//!
//! ```text
//!   x.weight  u32 [out, in · bits / 32]   from the lowest bit up, across words
//!   x.scales      [out, in / group]       f16, bf16, f32; in other modes a byte
//!   x.biases      [out, in / group]       the same; only where mode is "affine"
//! ```
//!
//! Source: `mlx.core.quantize`, `mlx_lm/utils.py` (`load_model`), `mlx/ops.cpp` of MLX 0.32.

use indexmap::IndexMap;

use crate::ir::op::{Affine, Offset};
use crate::ir::{DType, Error, Model, Notes, Op, Result, Shape, Tensor, Value};

const KEY: &str = "quantization";
/// The same, once more, under the key that transformers reads.
const COPY: &str = "quantization_config";

/// How the numbers of a mode are written.
struct Mode {
    name: &'static str,
    /// What the weights are; integers of any number of bits where there is none.
    weights: Option<(DType, u64)>,
    /// What the scales are, where it is not what their file says.
    scales: Option<DType>,
}

const MODES: &[Mode] = &[
    Mode { name: "affine", weights: None, scales: None },
    Mode { name: "mxfp4", weights: Some((DType::F4E2M1, 4)), scales: Some(DType::F8E8M0) },
    Mode { name: "mxfp8", weights: Some((DType::F8E4M3, 8)), scales: Some(DType::F8E8M0) },
    Mode { name: "nvfp4", weights: Some((DType::F4E2M1, 4)), scales: Some(DType::F8E4M3) },
];

/// Bits that integers may have.
const BITS: &[u64] = &[2, 3, 4, 5, 6, 8];

/// How the matrices of a model, or one of them, are packed.
#[derive(Clone, Copy)]
struct Packing {
    mode: &'static Mode,
    group: u64,
    bits: u64,
}

/// The model with the weights that its packed matrices stand for, if it has any.
///
/// # Errors
/// Malformed if parts do not fit each other; Unsupported for a mode that is not known.
pub(super) fn unpack(mut model: Model, notes: &mut Notes) -> Result<Model> {
    let Some(stated) = model.config.get(KEY).cloned() else { return Ok(model) };
    if stated.get("group_size").is_none() || stated.get("bits").is_none() {
        return Ok(model);
    }
    let of = |error: Error| error.at(format!("config.json: {KEY}")).at(&model.origin);
    let usual = packing(&stated, None).map_err(of)?;
    let mut made = IndexMap::new();
    for (name, tensor) in &model.tensors {
        let Some(path) = packed(name, tensor, &model.tensors) else { continue };
        let own = stated.get(path).filter(|value| matches!(value, Value::Map(_)));
        let packing = own.map_or(Ok(usual), |own| packing(own, Some(usual))).map_err(of)?;
        let tensor = weights(path, packing, &model.tensors)
            .map_err(|error| error.at(format!("tensor '{name}'")).at(&model.origin))?;
        made.insert(name.clone(), tensor);
    }
    if made.is_empty() {
        return Ok(model);
    }
    let Packing { mode, group, bits } = usual;
    let text = format!(
        "{} matrices are packed as MLX has them ({}, {bits} bits, groups of {group}): read as the \
         f32 they stand for",
        made.len(),
        mode.name
    );
    notes.chosen(&model.origin, text);
    let parts = |name: &str| {
        let path = name.strip_suffix(".scales").or_else(|| name.strip_suffix(".biases"));
        path.is_some_and(|path| made.contains_key(&format!("{path}.weight")))
    };
    model.tensors.retain(|name, _| !parts(name));
    for (name, tensor) in made {
        model.tensors.insert(name, tensor);
    }
    if model.config.get(COPY) == Some(&stated) {
        model.config.entries.shift_remove(COPY);
    }
    model.config.entries.shift_remove(KEY);
    Ok(model)
}

/// The path of a module, if this is the weight of one that is packed.
fn packed<'n>(
    name: &'n str,
    weight: &Tensor,
    tensors: &IndexMap<String, Tensor>,
) -> Option<&'n str> {
    let path = name.strip_suffix(".weight").filter(|_| weight.dtype() == DType::U32)?;
    tensors.contains_key(&format!("{path}.scales")).then_some(path)
}

/// What the configuration says of all matrices, or of one that is not as the others.
fn packing(stated: &Value, usual: Option<Packing>) -> Result<Packing> {
    let number = |key: &str, usual: Option<u64>| {
        let missing = || Error::malformed(format!("'{key}' is no number above 0"));
        let found = stated.get(key).map_or(usual, Value::as_u64);
        found.filter(|number| *number > 0).ok_or_else(missing)
    };
    let mode = match stated.get("mode").and_then(Value::as_text) {
        None => usual.map_or(&MODES[0], |usual| usual.mode),
        Some(name) => MODES.iter().find(|mode| mode.name == name).ok_or_else(|| {
            let known: Vec<&str> = MODES.iter().map(|mode| mode.name).collect();
            Error::unsupported(format!("mode '{name}'; there are {}", known.join(", ")))
        })?,
    };
    let group = number("group_size", usual.map(|usual| usual.group))?;
    let bits = number("bits", usual.map(|usual| usual.bits))?;
    let is_known = mode.weights.map_or(BITS.contains(&bits), |(_, wanted)| bits == wanted);
    if !is_known {
        return Err(Error::unsupported(format!("{bits} bits in mode '{}'", mode.name)));
    }
    Ok(Packing { mode, group, bits })
}

/// The weights of a module.
fn weights(path: &str, packing: Packing, tensors: &IndexMap<String, Tensor>) -> Result<Tensor> {
    let Packing { mode, group, bits } = packing;
    let part = |name: &str| {
        let missing = || Error::malformed(format!("it is packed, and has no '{path}.{name}'"));
        tensors.get(&format!("{path}.{name}")).ok_or_else(missing)
    };
    let (words, scales) = (part("weight")?, part("scales")?);
    let mut dims = words.shape().dims().to_vec();
    let unfit = || {
        let (words, scales) = (words.shape(), scales.shape());
        let text =
            format!("words {words} and scales {scales} for {bits} bits in groups of {group}");
        Error::malformed(text)
    };
    let Some(columns) = dims.last_mut() else { return Err(unfit()) };
    let total = columns.checked_mul(32).filter(|total| total.is_multiple_of(bits));
    *columns = total.ok_or_else(unfit)? / bits;
    let mut groups = dims.clone();
    let Some(columns) = groups.last_mut().filter(|columns| columns.is_multiple_of(group)) else {
        return Err(unfit());
    };
    *columns /= group;
    if scales.shape().dims() != groups {
        return Err(unfit());
    }
    let mut block = vec![1; dims.len() - 1];
    block.push(group);
    let weights = numbers(words, mode.weights.map(|row| row.0), bits, Shape::new(dims)?)?;
    let scales = match mode.scales {
        Some(dtype) => as_type(scales, dtype)?,
        None => scales.clone(),
    };
    let offset = match mode.weights {
        Some(_) => Offset::None,
        None => Offset::Biases(part("biases")?.clone()),
    };
    Tensor::of(Op::Affine(Box::new(Affine { weights, scales, offset, block, groups: None })))
}

/// The numbers in words: in place where their bits are a type's.
fn numbers(words: &Tensor, dtype: Option<DType>, bits: u64, shape: Shape) -> Result<Tensor> {
    let dtype = dtype.or(match bits {
        2 => Some(DType::U2),
        4 => Some(DType::U4),
        8 => Some(DType::U8),
        _ => None,
    });
    match (dtype, words.place()) {
        (Some(dtype), Some((blob, start))) => Tensor::span(dtype, shape, blob.clone(), start),
        (Some(DType::U2 | DType::U4 | DType::U8) | None, _) => {
            Tensor::of(Op::Spread { input: words.clone(), bits: bits as u32, shape })
        }
        (Some(dtype), None) => {
            Err(Error::unsupported(format!("{dtype} that is not stored as it is")))
        }
    }
}

/// The same bytes as elements of another type of one byte.
fn as_type(bytes: &Tensor, dtype: DType) -> Result<Tensor> {
    match bytes.place() {
        Some((blob, start)) if bytes.dtype() == DType::U8 => {
            Tensor::span(dtype, bytes.shape().clone(), blob.clone(), start)
        }
        _ => Err(Error::malformed(format!("scales of {}, expected u8", bytes.dtype()))),
    }
}
