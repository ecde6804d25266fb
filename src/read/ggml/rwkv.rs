//! RWKV 4 and 5 of rwkv.cpp in the words of GGUF, as llama.cpp has them for version 6.
//!
//! Source: `rwkv_model_loading.inc` and `python/convert_pytorch_to_ggml.py` of rwkv.cpp, which also say how
//! versions are told apart: by the tensors that there are.

use ggml::File;
use indexmap::IndexMap;

use crate::ir::{Model, Naming, Op, Result, Shape, Tensor, Value};

/// Names there and in GGUF, outside of layers.
const NAMES: &[(&str, &str)] = &[
    ("emb", "token_embd"),
    ("blocks.0.ln0", "token_embd_norm"),
    ("ln_out", "output_norm"),
    ("head", "output"),
];

/// Names of a layer, there and in GGUF.
const NAMES_OF_LAYERS: &[(&str, &str)] = &[
    ("ln1", "attn_norm"),
    ("ln2", "attn_norm_2"),
    ("att.time_mix_k", "time_mix_lerp_k"),
    ("att.time_mix_v", "time_mix_lerp_v"),
    ("att.time_mix_r", "time_mix_lerp_r"),
    ("att.time_mix_g", "time_mix_lerp_g"),
    ("att.time_first", "time_mix_first"),
    ("att.time_faaaa", "time_mix_first"),
    ("att.time_decay", "time_mix_decay"),
    ("att.key", "time_mix_key"),
    ("att.value", "time_mix_value"),
    ("att.receptance", "time_mix_receptance"),
    ("att.gate", "time_mix_gate"),
    ("att.output", "time_mix_output"),
    ("att.ln_x", "time_mix_ln"),
    ("ffn.time_mix_k", "channel_mix_lerp_k"),
    ("ffn.time_mix_r", "channel_mix_lerp_r"),
    ("ffn.key", "channel_mix_key"),
    ("ffn.value", "channel_mix_value"),
    ("ffn.receptance", "channel_mix_receptance"),
];

/// `rwkv_layer_norm` of rwkv.cpp.
const EPSILON: f32 = 1e-5;

/// Gives a model of such a file's tensors the names and the configuration that a GGUF would have.
/// Versions that are not known stay as they are.
///
/// # Errors
/// Malformed for two tensors of one name, or a shape of no elements.
pub(super) fn complete(model: &mut Model, file: &File) -> Result<bool> {
    let renamed = model.tensors.keys().map(|name| renamed(name));
    let Some(names) = renamed.collect::<Option<Vec<String>>>() else { return Ok(false) };
    let Some(entries) = hyper(model, file) else { return Ok(false) };
    let mut tensors = IndexMap::new();
    for (name, (old, tensor)) in names.into_iter().zip(&model.tensors) {
        let tensor = shaped(&name, tensor).map_err(|error| error.at(old))?;
        tensors.insert(name, tensor);
    }
    if tensors.len() != model.tensors.len() {
        return Ok(false);
    }
    model.naming = Naming::Gguf;
    model.tensors = tensors;
    model.config.entries = entries;
    Ok(true)
}

fn renamed(name: &str) -> Option<String> {
    let (stem, end) = match (name.strip_suffix(".weight"), name.strip_suffix(".bias")) {
        (Some(stem), _) => (stem, "weight"),
        (_, Some(stem)) => (stem, "bias"),
        _ => (name, "weight"),
    };
    let find = |names: &[(&str, &'static str)], stem: &str| {
        names.iter().find(|(theirs, _)| *theirs == stem).map(|(_, ours)| *ours)
    };
    if let Some(ours) = find(NAMES, stem) {
        return Some(format!("{ours}.{end}"));
    }
    let (layer, part) = stem.strip_prefix("blocks.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    Some(format!("blk.{layer}.{}.{end}", find(NAMES_OF_LAYERS, part)?))
}

/// Shares lie as checkpoints have them, which rwkv.cpp's converter squeezes: `[1, 1, feature]`.
fn shaped(name: &str, tensor: &Tensor) -> Result<Tensor> {
    match tensor.shape().dims() {
        [features] if name.contains("_mix_lerp_") => {
            let shape = Shape::new(vec![1, 1, *features])?;
            Tensor::of(Op::Reshape { input: tensor.clone(), shape })
        }
        _ => Ok(tensor.clone()),
    }
}

/// The hyper-parameters: those of the header, and those that shapes tell.
fn hyper(model: &Model, file: &File) -> Option<IndexMap<String, Value>> {
    let rows = |name: &str| model.tensors.get(name)?.shape().dims().first().copied();
    let channels = rows("blocks.0.att.key.weight")?;
    let (version, head_size) = match rows("blocks.0.att.ln_x.weight") {
        None => ("rwkv4", channels),
        Some(_) => ("rwkv5", channels.checked_div(rows("blocks.0.att.time_decay")?)?),
    };
    let count = |n: u64| Value::U32(u32::try_from(n).unwrap_or(u32::MAX));
    let field = |name: &str| Some(Value::U32(file.field(name)?));
    let pairs = [
        ("vocab_size", field("n_vocab")?),
        ("embedding_length", field("n_embed")?),
        ("block_count", field("n_layer")?),
        ("feed_forward_length", count(rows("blocks.0.ffn.key.weight")?)),
        ("wkv.head_size", count(head_size)),
        ("attention.layer_norm_epsilon", Value::F32(EPSILON)),
    ];
    let architecture = ("general.architecture".to_owned(), Value::Text(version.into()));
    let pairs = pairs.into_iter().map(|(key, value)| (format!("{version}.{key}"), value));
    Some(std::iter::once(architecture).chain(pairs).collect())
}
