//! The types that are asked for, as recipes over a model's tensors.

use std::str::FromStr;
use std::sync::Arc;

use indexmap::IndexMap;
use regex::Regex;

use super::policy::{self, Facts, Policy};
use super::{
    ImportanceMatrix, LEGACY, Search, best_quantizer_for, block_by_name, importance, quantizer_for,
};
use crate::ir::{DType, Error, Model, Naming, Notes, Op, Result, Tensor, Value};

/// Which types the tensors get.
#[derive(Debug, Clone, Default)]
pub struct Types {
    /// For all; nothing keeps the source's.
    pub all: Option<Mixture>,
    /// 8-bit integers with a scale for each channel, which graphs alone hold, instead.
    pub int8: bool,
    /// One type for all that can be quantized, instead of the mixture.
    pub pure: bool,
    /// By name; the first match counts.
    pub by_name: Vec<(Regex, DType)>,
    /// For the output matrix.
    pub output: Option<DType>,
    /// For the token embedding.
    pub embedding: Option<DType>,
    /// Leave the output matrix as it is.
    pub leave_output: bool,
    /// Pack again what is packed already.
    pub allow_requantize: bool,
    /// Bring finite values within the range of their target, instead of refusing them.
    pub clamp: bool,
    /// How the numbers of packings are chosen.
    pub search: Search,
    /// How much each column counts, if it was measured.
    pub importance: Option<Arc<ImportanceMatrix>>,
}

/// How the user names [`Types::int8`].
const INT8: &str = "int8";

impl Types {
    /// One choice for all tensors, by its name in any case.
    ///
    /// # Errors
    /// Usage, naming those that exist.
    pub fn named(name: &str) -> Result<Self> {
        if name.eq_ignore_ascii_case(INT8) {
            return Ok(Self { int8: true, ..Self::default() });
        }
        // As llama-quantize has it: the types of the source, in a new file.
        if name.eq_ignore_ascii_case("copy") {
            return Ok(Self::default());
        }
        Ok(Self { all: Some(name.parse()?), ..Self::default() })
    }

    /// The one type for all weights, for targets that hold no packings: a float, or i8.
    ///
    /// # Errors
    /// Unsupported for a packed type, and for types of single tensors.
    pub fn plain(&self) -> Result<Option<DType>> {
        if !self.by_name.is_empty() || self.output.is_some() || self.embedding.is_some() {
            let text = "types of single tensors in an ONNX: its operators compute in one type";
            return Err(Error::unsupported(text));
        }
        if self.int8 {
            return Ok(Some(DType::I8));
        }
        let Some(Mixture(chosen)) = self.all else { return Ok(None) };
        match dtype_by_name(chosen.name) {
            Some(plain) if !plain.is_packed() => Ok(Some(plain)),
            _ => {
                let text = format!("type {}: ONNX holds f32, f16, bf16 and int8", chosen.name);
                Err(Error::unsupported(text))
            }
        }
    }
}

/// A type as the user names it: a mixture of llama-quantize, of which each plain type is one.
#[derive(Clone, Copy)]
pub struct Mixture(pub(super) &'static Policy);

impl std::fmt::Debug for Mixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

impl FromStr for Mixture {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        policy::asked(name).map(Self).ok_or_else(|| {
            let known: Vec<&str> = policy::POLICIES.iter().map(|policy| policy.name).collect();
            let known = known.join(", ");
            Error::usage(format!(
                "no type '{name}'; there are {known}, COPY for the source's, and {INT8} for ONNX"
            ))
        })
    }
}

/// The type of a name such as `q4_0` or `f16`, in any case.
pub fn dtype_by_name(name: &str) -> Option<DType> {
    let plain = [DType::F32, DType::F16, DType::BF16];
    let plain = plain.into_iter().find(|dtype| dtype.name().eq_ignore_ascii_case(name));
    plain.or_else(|| block_by_name(name).map(DType::Packed))
}

/// The model with its tensors in the types asked for; metadata that follows goes to `entries`.
///
/// # Errors
/// Usage if a type cannot be had so; Unsupported if this version does not write it.
pub fn apply(
    mut model: Model,
    types: &Types,
    target: Naming,
    entries: &mut IndexMap<String, Value>,
    notes: &mut Notes,
) -> Result<Model> {
    if types.int8 {
        let text = "type int8 is for a graph, from ONNX to ONNX; q8_0 has 8 bits elsewhere";
        return Err(Error::unsupported(text));
    }
    for (pattern, dtype) in &types.by_name {
        if !model.tensors.keys().any(|name| pattern.is_match(name)) {
            let text = format!("--tensor-type {pattern}={dtype} fits no tensor's name");
            notes.chosen("types", text);
        }
    }
    let wanted = match target {
        Naming::Gguf => for_gguf(&model, types, entries, notes)?,
        Naming::HuggingFace => for_hub(&model, types, notes)?,
    };
    for ((name, tensor), dtype) in model.tensors.iter_mut().zip(wanted) {
        let from = tensor.dtype();
        *tensor = recast(name, tensor, dtype, types).map_err(|error| error.at(name))?;
        if from.is_packed() && dtype.is_packed() && from != dtype {
            notes.lost(
                name.as_str(),
                format!("it was {from} already: packed again, it loses twice"),
            );
        }
    }
    importance::note_missing(&model, types, notes);
    note_unsearched(&model, types, notes);
    Ok(model)
}

/// The bytes of the weights in each mixture, from names and shapes alone. The names are GGUF's;
/// no importance is known.
pub fn sizes(model: &Model) -> Vec<(&'static str, u64)> {
    let facts = facts(model, false);
    let shapes: Vec<_> =
        model.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().clone())).collect();
    let size = |policy: &Policy| {
        let assigned = policy.assign(&facts, &shapes, false);
        let sizes = model.tensors.values().zip(assigned).map(|(tensor, (dtype, _))| {
            let dtype = if tensor.dtype().is_weights() { dtype } else { tensor.dtype() };
            tensor.shape().bytes(dtype).unwrap_or_else(|_| tensor.bytes())
        });
        sizes.sum()
    };
    policy::POLICIES.iter().map(|policy| (policy.name, size(policy))).collect()
}

/// A note for each packing that a better search was asked for, and has none.
fn note_unsearched(model: &Model, types: &Types, notes: &mut Notes) {
    let mut known: Vec<&str> = Vec::new();
    for tensor in model.tensors.values() {
        let Some(Op::Pack { quantizer, .. }) = tensor.op() else { continue };
        let name = quantizer.block.name;
        let searched = best_quantizer_for(quantizer.block).is_some();
        if types.search == Search::Best && !searched && !known.contains(&name) {
            notes.chosen(name, "packed as by the reference: there is no other search for it");
            known.push(name);
        }
    }
}

/// As llama-quantize would, or, if no type is asked for, as llama.cpp's converter would.
fn for_gguf(
    model: &Model,
    types: &Types,
    entries: &mut IndexMap<String, Value>,
    notes: &mut Notes,
) -> Result<Vec<DType>> {
    let facts = facts(model, types.importance.is_some());
    let shapes: Vec<_> =
        model.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().clone())).collect();
    let Some(Mixture(chosen)) = types.all else {
        return keep_for_gguf(model, types, &facts, &shapes, entries, notes);
    };
    entries.insert("general.file_type".into(), Value::U32(chosen.file_type));
    if let Some(matrix) = &types.importance {
        matrix.describe(entries);
    }
    let assigned = chosen.assign(&facts, &shapes, types.pure);
    let wanted = model.tensors.iter().zip(assigned).map(|((name, tensor), (dtype, note))| {
        let asked = by_hand(name, types);
        if let (Some(note), None) = (note, asked) {
            notes.chosen(name.as_str(), note);
        }
        let keeps = types.leave_output && name == "output.weight" || !tensor.dtype().is_weights();
        // No family, so no names that llama.cpp knows.
        let is_bare = facts.layers == 0;
        if is_bare && !keeps && asked.is_none() && policy::is_left_by_name(name, tensor.shape()) {
            let text = "stays f32: only matrices whose names end in 'weight' are packed; quantize \
                        --tensor-type gives it a type";
            notes.chosen(name.as_str(), text);
        }
        if keeps { tensor.dtype() } else { asked.unwrap_or(dtype) }
    });
    Ok(wanted.collect())
}

/// The source's types, but for what llama.cpp wants in f32, and what GGUF has no type for.
fn keep_for_gguf(
    model: &Model,
    types: &Types,
    facts: &Facts,
    shapes: &[(String, crate::ir::Shape)],
    entries: &mut IndexMap<String, Value>,
    notes: &mut Notes,
) -> Result<Vec<DType>> {
    let half = policy::find("f16").ok_or_else(|| Error::bug("no f16 policy"))?;
    let halved = half.assign(facts, shapes, false);
    let from_gguf = model.format == "gguf";
    let mut wanted = Vec::new();
    for ((name, tensor), (assigned, _)) in model.tensors.iter().zip(halved) {
        let dtype = match tensor.dtype() {
            DType::Packed(block) if LEGACY.contains(&block) => {
                let text = format!(
                    "{} becomes f32: ggml has it no more; --type and --allow-requantize pack it \
                     anew",
                    block.name
                );
                notes.chosen(name.as_str(), text);
                DType::F32
            }
            kept if from_gguf || !kept.is_float() => kept,
            _ if assigned == DType::F32 => DType::F32,
            small if small.is_small_float() => {
                notes.chosen(name.as_str(), "GGUF has no 8-bit floats; bf16 holds them exactly");
                DType::BF16
            }
            DType::F64 => {
                notes.lost(name.as_str(), "f64 becomes f32, the widest that llama.cpp computes");
                DType::F32
            }
            kept => kept,
        };
        wanted.push(by_hand(name, types).unwrap_or(dtype));
    }
    if !from_gguf {
        // The commonest type among the matrices, as llama.cpp's `llama_ftype` names it.
        let matrices = wanted.iter().zip(shapes).filter(|(_, (_, shape))| shape.rank() > 1);
        let most = commonest(matrices.map(|(dtype, (_, shape))| (*dtype, shape.count())));
        if let Some(policy) = most.and_then(|dtype| policy::find(dtype.name())) {
            entries.insert("general.file_type".into(), Value::U32(policy.file_type));
        }
    }
    Ok(wanted)
}

/// One float type for all weights, as the hub has it; what is packed becomes f32.
fn for_hub(model: &Model, types: &Types, notes: &mut Notes) -> Result<Vec<DType>> {
    let all = match types.all {
        None => None,
        Some(Mixture(chosen)) => match dtype_by_name(chosen.name) {
            Some(plain) if !plain.is_packed() => Some(plain),
            _ => {
                let text = format!("type {}: only GGUF holds packed types", chosen.name);
                return Err(Error::unsupported(text));
            }
        },
    };
    let matrices = model.tensors.values().filter(|tensor| tensor.shape().rank() > 1);
    let usual = commonest(matrices.map(|tensor| (tensor.dtype(), tensor.shape().count())));
    let mut wanted = Vec::new();
    for (name, tensor) in &model.tensors {
        let dtype = match (tensor.dtype(), all) {
            (dtype, _) if !dtype.is_weights() => dtype,
            (_, Some(all)) => all,
            (DType::Packed(block), None) => {
                let text = format!("{} becomes f32: the target has no packings", block.name);
                notes.chosen(name.as_str(), text);
                DType::F32
            }
            // A GGUF keeps vectors in f32, whatever the matrices are; the hub has one type.
            (DType::F32, None) if model.format == "gguf" => match usual {
                Some(half @ (DType::F16 | DType::BF16)) if holds(tensor, half)? => half,
                _ => DType::F32,
            },
            (dtype, None) => dtype,
        };
        wanted.push(by_hand(name, types).unwrap_or(dtype));
    }
    Ok(wanted)
}

/// Whether a vector loses nothing in another type. A matrix is not read for the question.
fn holds(tensor: &Tensor, dtype: DType) -> Result<bool> {
    if tensor.shape().rank() > 1 {
        return Ok(false);
    }
    let narrowed = Tensor::of(Op::Cast { input: tensor.clone(), to: dtype })?;
    let (before, after) = (tensor.to_floats()?, narrowed.to_floats()?);
    Ok(before.iter().zip(&after).all(|(a, b)| a.to_bits() == b.to_bits()))
}

/// The type that most elements have.
fn commonest(tensors: impl Iterator<Item = (DType, u64)>) -> Option<DType> {
    let mut counts: Vec<(DType, u64)> = Vec::new();
    for (dtype, elements) in tensors {
        match counts.iter_mut().find(|(known, _)| *known == dtype) {
            Some((_, count)) => *count += elements,
            None => counts.push((dtype, elements)),
        }
    }
    counts.into_iter().max_by_key(|(_, elements)| *elements).map(|(dtype, _)| dtype)
}

/// What the user asked for this tensor alone.
fn by_hand(name: &str, types: &Types) -> Option<DType> {
    let by_name = types.by_name.iter().find(|(pattern, _)| pattern.is_match(name));
    let by_role = match name {
        "output.weight" => types.output,
        "token_embd.weight" => types.embedding,
        _ => None,
    };
    by_name.map(|(_, dtype)| *dtype).or(by_role)
}

fn facts(model: &Model, importance: bool) -> Facts {
    let text = |key: &str| model.config.get(key).and_then(Value::as_text).map(str::to_owned);
    let architecture = text("general.architecture").unwrap_or_default();
    let number = |key: &str| {
        let value = model.config.get(&format!("{architecture}.{key}"));
        value.and_then(Value::as_u64).unwrap_or(0) as usize
    };
    let heads = number("attention.head_count");
    Facts {
        layers: number("block_count"),
        experts: number("expert_count"),
        heads,
        kv_heads: match number("attention.head_count_kv") {
            0 => heads,
            n => n,
        },
        importance,
        architecture,
    }
}

/// The tensor in another type, if it is not in it already.
fn recast(name: &str, tensor: &Tensor, dtype: DType, types: &Types) -> Result<Tensor> {
    let from = tensor.dtype();
    if from == dtype {
        return Ok(tensor.clone());
    }
    let input = match (types.clamp, largest(dtype)) {
        (true, Some(limit)) => Tensor::of(Op::Clamp { input: tensor.clone(), limit })?,
        _ => tensor.clone(),
    };
    let DType::Packed(block) = dtype else {
        return Tensor::of(Op::Cast { input, to: dtype });
    };
    if from.is_packed() && !types.allow_requantize {
        return Err(Error::usage(format!(
            "it is {from} already, and packing it again as {dtype} loses twice; \
             start from f16 or f32, or give --allow-requantize"
        )));
    }
    let best = (types.search == Search::Best).then(|| best_quantizer_for(block)).flatten();
    let quantizer = best.or_else(|| quantizer_for(block)).ok_or_else(|| {
        Error::unsupported(format!("{dtype} is carried along, but not made by this version"))
    })?;
    let matrix = types.importance.as_ref();
    let importance = matrix.map_or(Ok(None), |matrix| matrix.of(name, tensor.shape()))?;
    Tensor::of(Op::Pack { input, quantizer, importance })
}

/// The largest magnitude that a type surely holds. Scales of packings are binary16.
fn largest(dtype: DType) -> Option<f32> {
    match dtype {
        DType::F16 | DType::Packed(_) => Some(half::f16::MAX.to_f32()),
        DType::BF16 => Some(half::bf16::MAX.to_f32()),
        DType::F32 => Some(f32::MAX),
        _ => None,
    }
}
