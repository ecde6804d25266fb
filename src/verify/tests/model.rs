//! A small Llama with random weights, and honest conversions of it.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::arch;
use crate::ir::value::List;
use crate::ir::{
    Blob, Config, DType, Model, Naming, Notes, Op, Quantizer, Result, Scratch, Shape, Tensor, Value,
};
use crate::quant;
use crate::run::random::SplitMix;
use crate::verify::own;

pub(super) const VOCAB: u64 = 320;
const HIDDEN: u64 = 256;
const FEED_FORWARD: u64 = 256;
const HEADS: u64 = 4;
const KV_HEADS: u64 = 2;
const LAYERS: u64 = 2;

/// What a reference is like.
#[derive(Clone, Copy, Default)]
pub(super) struct Like {
    pub(super) tied: bool,
    pub(super) biased: bool,
}

/// A Hugging Face Llama of SplitMix64's weights: matrices of variance 1 / columns, norms near 1.
pub(super) fn reference(dtype: DType, like: Like) -> Model {
    let mut tensors = IndexMap::new();
    let mut random = SplitMix::new(7);
    for (name, dims) in shapes(like) {
        let norm = name.contains("norm");
        let columns = *dims.last().unwrap_or(&1) as f64;
        let count = dims.iter().product::<u64>();
        let scale = if norm || dims.len() == 1 { 0.1 } else { columns.sqrt().recip() };
        let values: Vec<f32> =
            (0..count).map(|_| (f64::from(norm) + scale * normal(&mut random)) as f32).collect();
        tensors.insert(name, tensor(dtype, dims, &values));
    }
    Model { config: config(like), tensors, ..Model::empty("safetensors", "reference") }
}

/// A sum of twelve uniform numbers: near enough to a normal one.
pub(super) fn normal(random: &mut SplitMix) -> f64 {
    (0..12).map(|_| random.uniform()).sum::<f64>() - 6.0
}

fn shapes(like: Like) -> Vec<(String, Vec<u64>)> {
    let kv = HIDDEN / HEADS * KV_HEADS;
    let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN])];
    for i in 0..LAYERS {
        let mut put = |stem: &str, dims: Vec<u64>| {
            let bias = like.biased && stem.starts_with("self_attn");
            all.push((format!("model.layers.{i}.{stem}.weight"), dims.clone()));
            if bias {
                all.push((format!("model.layers.{i}.{stem}.bias"), dims[..1].to_vec()));
            }
        };
        put("input_layernorm", vec![HIDDEN]);
        put("self_attn.q_proj", vec![HIDDEN, HIDDEN]);
        put("self_attn.k_proj", vec![kv, HIDDEN]);
        put("self_attn.v_proj", vec![kv, HIDDEN]);
        put("self_attn.o_proj", vec![HIDDEN, HIDDEN]);
        put("post_attention_layernorm", vec![HIDDEN]);
        put("mlp.gate_proj", vec![FEED_FORWARD, HIDDEN]);
        put("mlp.up_proj", vec![FEED_FORWARD, HIDDEN]);
        put("mlp.down_proj", vec![HIDDEN, FEED_FORWARD]);
    }
    all.push(("model.norm.weight".into(), vec![HIDDEN]));
    if !like.tied {
        all.push(("lm_head.weight".into(), vec![VOCAB, HIDDEN]));
    }
    all
}

fn config(like: Like) -> Config {
    let class = List::Text(vec!["LlamaForCausalLM".into()]);
    let entries = [
        ("architectures", Value::List(class)),
        ("model_type", Value::Text("llama".into())),
        ("vocab_size", Value::U64(VOCAB)),
        ("hidden_size", Value::U64(HIDDEN)),
        ("intermediate_size", Value::U64(FEED_FORWARD)),
        ("num_hidden_layers", Value::U64(LAYERS)),
        ("num_attention_heads", Value::U64(HEADS)),
        ("num_key_value_heads", Value::U64(KV_HEADS)),
        ("max_position_embeddings", Value::U64(512)),
        ("rms_norm_eps", Value::F64(1e-5)),
        ("rope_theta", Value::F64(10000.0)),
        ("hidden_act", Value::Text("silu".into())),
        ("tie_word_embeddings", Value::Bool(like.tied)),
        ("attention_bias", Value::Bool(like.biased)),
    ];
    Config { entries: entries.map(|(key, value)| (key.to_owned(), value)).into() }
}

pub(super) fn tensor(dtype: DType, dims: Vec<u64>, values: &[f32]) -> Tensor {
    let shape = Shape::new(dims).unwrap();
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let blob = Arc::new(Blob::memory("random", bytes));
    let plain = Tensor::span(DType::F32, shape, blob, 0).unwrap();
    encode(&plain, dtype)
}

/// The tensor in another type, made and kept in memory, as a file would hold it.
pub(super) fn encode(tensor: &Tensor, to: DType) -> Tensor {
    let recipe =
        own::encoding(tensor, to, quant::quantizer_for, None).unwrap().expect("an encoder");
    stored(&recipe).unwrap()
}

/// As [`encode`], by importance.
pub(super) fn encode_by(tensor: &Tensor, quantizer: &'static Quantizer) -> Tensor {
    let mut random = SplitMix::new(3);
    let weight = |_| (normal(&mut random) * 1.5).exp() as f32;
    let importance: Vec<f32> = (0..tensor.shape().columns()).map(weight).collect();
    let op = Op::Pack { input: tensor.clone(), quantizer, importance: Some(importance.into()) };
    stored(&Tensor::of(op).unwrap()).unwrap()
}

fn stored(recipe: &Tensor) -> Result<Tensor> {
    let bytes = raw(recipe)?;
    let blob = Arc::new(Blob::memory("stored", bytes));
    Tensor::span(recipe.dtype(), recipe.shape().clone(), blob, 0)
}

fn raw(tensor: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = vec![0; tensor.bytes() as usize];
    tensor.read(0..tensor.shape().count(), &mut bytes, &mut Scratch::default())?;
    Ok(bytes)
}

/// The reference under GGUF's names, as recipes.
pub(super) fn renamed(reference: &Model) -> Model {
    let family = arch::require(reference).unwrap();
    let notes = &mut Notes::default();
    let (mut model, _) = arch::rename(family, reference, Naming::Gguf, notes).unwrap();
    (model.format, model.origin) = ("gguf", "candidate".into());
    model
}

/// An honest GGUF: matrices in this type, vectors in binary32.
pub(super) fn honest(reference: &Model, to: DType) -> Model {
    let mut model = renamed(reference);
    for tensor in model.tensors.values_mut() {
        let to = if tensor.shape().rank() == 1 { DType::F32 } else { to };
        *tensor = encode(tensor, to);
    }
    model
}

/// Changes the bytes of one tensor.
pub(super) fn damage(model: &mut Model, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let tensor = &model.tensors[name];
    let mut bytes = raw(tensor).unwrap();
    change(&mut bytes);
    let (dtype, shape) = (tensor.dtype(), tensor.shape().clone());
    let damaged = Tensor::span(dtype, shape, Arc::new(Blob::memory("damaged", bytes)), 0).unwrap();
    model.tensors[name] = damaged;
}

/// Changes the values of one tensor, and encodes them again.
pub(super) fn alter(model: &mut Model, name: &str, change: impl FnOnce(&mut Vec<f32>)) {
    let old = &model.tensors[name];
    let mut values = old.to_floats().unwrap();
    change(&mut values);
    model.tensors[name] = tensor(old.dtype(), old.shape().dims().to_vec(), &values);
}

pub(super) fn packing(name: &str) -> DType {
    DType::Packed(quant::block_by_name(name).expect("a packing of this name"))
}

pub(super) const COLUMNS: usize = HIDDEN as usize;
