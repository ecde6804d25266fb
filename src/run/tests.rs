//! Tiny random models against the logits that transformers gives for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Cache, Decoder, pool};
use crate::arch;
use indexmap::IndexMap;

use crate::ir::{Access, Blob, Config, DType, Model, Naming, Notes, Op, Shape, Tensor, Value};
use crate::quant::simd::tests::on_each;

const CASES: &[&str] =
    &["llama", "llama-linear-rope", "llama-tied-rope3", "llama-yarn", "mistral-window"];

/// The noise between right implementations is 1e-12; a wrong epsilon shows at 8e-10.
const NMSE_MAX: f64 = 1e-11;

struct Case {
    model: Model,
    tokens: Vec<u32>,
    expected: Vec<f32>,
}

fn directory(name: &str) -> PathBuf {
    // A directory of more such models, to try families that are not among the fixtures.
    let root = std::env::var_os("REMOLD_ARCH_FIXTURES").map(PathBuf::from);
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/arch");
    root.unwrap_or_else(own).join(name)
}

fn load(name: &str, access: Access) -> Case {
    let directory = directory(name);
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let mut tensors = IndexMap::new();
    let mut files: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "safetensors")) {
        let blob = Arc::new(Blob::open(path, access).unwrap());
        let mut len = [0; 8];
        blob.read(0, &mut len).unwrap();
        let mut header = vec![0; u64::from_le_bytes(len) as usize];
        blob.read(8, &mut header).unwrap();
        for (name, entry) in json(&header).as_object().unwrap() {
            let Some(dtype) = entry.get("dtype") else { continue };
            let dtype = match dtype.as_str().unwrap() {
                "F32" => DType::F32,
                "BF16" => DType::BF16,
                other => panic!("{other}"),
            };
            let numbers = |key: &str| -> Vec<u64> {
                entry[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
            };
            let shape = Shape::new(numbers("shape")).unwrap();
            let start = 8 + header.len() as u64 + numbers("data_offsets")[0];
            let tensor = Tensor::span(dtype, shape, Arc::clone(&blob), start).unwrap();
            tensors.insert(name.clone(), tensor);
        }
    }
    let config = Arc::new(Blob::open(&directory.join("config.json"), access).unwrap());
    let Value::Map(entries) = Value::parse(&config.read_all(1 << 20).unwrap()).unwrap() else {
        panic!("config.json is a map");
    };
    let tokens = std::fs::read_to_string(directory.join("tokens.txt")).unwrap();
    Case {
        model: Model { config: Config { entries }, tensors, ..Model::empty("safetensors", name) },
        tokens: tokens.trim().split(',').map(|id| id.trim().parse().unwrap()).collect(),
        expected: npy(&std::fs::read(directory.join("expected_logits.npy")).unwrap()),
    }
}

/// The values of a little-endian f32 file of version 1.
fn npy(bytes: &[u8]) -> Vec<f32> {
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert!(std::str::from_utf8(&bytes[10..header]).unwrap().contains("'<f4'"));
    bytes[header..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn nmse(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    assert!(!expected.is_empty());
    let square = |x: f32| f64::from(x).powi(2);
    let error: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    error / expected.iter().map(|b| square(*b)).sum::<f64>()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Whole, token by token, in two pieces, and the last position alone.
fn check(name: &str, case: &Case, model: &Model) {
    let decoder = Decoder::new(model).unwrap();
    let cache = || decoder.cache(case.tokens.len()).unwrap();
    let close = |what: &str, found: &[f32], expected: &[f32]| {
        let error = nmse(found, expected);
        assert!(error <= NMSE_MAX, "{name}, {what}: {error:e}");
    };
    let whole = decoder.forward(&mut cache(), &case.tokens).unwrap();
    close("whole", &whole, &case.expected);

    let mut grown = cache();
    let one = |token: &u32| decoder.forward(&mut grown, &[*token]).unwrap();
    let single: Vec<f32> = case.tokens.iter().flat_map(one).collect();
    close("token by token", &single, &case.expected);
    assert_eq!((grown.len(), grown.capacity()), (case.tokens.len(), case.tokens.len()));
    assert!(decoder.forward(&mut grown, &[0]).unwrap_err().to_string().contains("context"));

    let (first, second) = case.tokens.split_at(case.tokens.len() / 3);
    let mut halves = cache();
    let mut pieces = decoder.forward(&mut halves, first).unwrap();
    pieces.extend(decoder.forward(&mut halves, second).unwrap());
    assert_eq!(bits(&pieces), bits(&whole), "{name}: slices change the bits");

    let last = decoder.forward_last(&mut cache(), &case.tokens).unwrap();
    close("last", &last, &case.expected[case.expected.len() - decoder.vocab()..]);
}

#[test]
fn logits_are_those_of_transformers() {
    let names = std::env::var("REMOLD_ARCH_CASES").ok();
    let names = names.as_deref().map_or(CASES.to_vec(), |names| names.split(',').collect());
    for name in names {
        for access in [Access::Map, Access::Read] {
            let case = load(name, access);
            check(name, &case, &case.model);
        }
    }
}

/// Each family, by Hugging Face's conventions and by GGUF's.
#[test]
fn families_give_the_logits_of_transformers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families");
    let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 33, "fixtures are missing: this test would prove less");
    for name in names {
        let case = load(&format!("../families/{name}"), Access::Map);
        check(&name, &case, &case.model);
        let family = arch::require(&case.model).unwrap();
        let notes = &mut Notes::default();
        let (model, ledger) = arch::rename(family, &case.model, Naming::Gguf, notes).unwrap();
        assert_eq!(ledger.len(), case.model.tensors.len(), "{name}: all tensors accounted for");
        check(&format!("{name} as GGUF"), &case, &model);
    }
}

#[test]
fn a_gguf_by_its_own_conventions_gives_the_same_logits() {
    for name in CASES {
        let case = load(name, Access::Map);
        let family = arch::require(&case.model).unwrap();
        let (model, _) =
            arch::rename(family, &case.model, Naming::Gguf, &mut Notes::default()).unwrap();
        assert!(model.tensors.contains_key("token_embd.weight"));
        check(&format!("{name} as GGUF"), &case, &model);
    }
}

#[test]
fn threads_and_instruction_sets_do_not_change_a_bit() {
    let case = load("mistral-window", Access::Map);
    let decoder = Decoder::new(&case.model).unwrap();
    let run = |cache: &mut Cache| {
        let mut logits = decoder.forward(cache, &case.tokens[..20]).unwrap();
        for token in &case.tokens[20..] {
            logits.extend(decoder.forward_last(cache, &[*token]).unwrap());
        }
        bits(&logits)
    };
    let fresh = || decoder.cache(case.tokens.len()).unwrap();
    let expected = run(&mut fresh());
    for threads in [1, 3] {
        let found = pool(threads).unwrap().install(|| run(&mut fresh()));
        assert_eq!(found, expected, "{threads} threads");
    }
    // The instruction set is chosen for one thread, so the pool must be that thread.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
    let pool = pool.unwrap();
    for (isa, found) in on_each(|| pool.install(|| run(&mut fresh()))) {
        assert_eq!(found, expected, "{isa:?}");
    }
}

#[test]
fn recipes_are_evaluated_where_they_are_used() {
    let case = load("llama-linear-rope", Access::Map);
    let mut cast = case.model.clone();
    for tensor in cast.tensors.values_mut() {
        *tensor = Tensor::of(Op::Cast { input: tensor.clone(), to: DType::F64 }).unwrap();
    }
    let run = |model: &Model| {
        let decoder = Decoder::new(model).unwrap();
        bits(&decoder.forward(&mut decoder.cache(99).unwrap(), &case.tokens).unwrap())
    };
    assert_eq!(run(&cast), run(&case.model));
}

#[test]
fn what_cannot_be_run_is_named() {
    let case = load("llama", Access::Map);
    let says = |model: &Model| Decoder::new(model).err().unwrap().to_string();

    let decoder = Decoder::new(&case.model).unwrap();
    let mut cache = decoder.cache(4).unwrap();
    let error = decoder.forward(&mut cache, &[1, 320]).unwrap_err();
    assert_eq!(error.to_string(), "token id 320 is not in the vocabulary, which has 320");
    assert!(cache.is_empty());
    assert!(decoder.forward(&mut cache, &[]).unwrap().is_empty());
    assert!(decoder.forward_last(&mut cache, &[]).is_err());

    let mut model = case.model.clone();
    model.tensors.shift_remove("model.layers.1.mlp.up_proj.weight");
    assert!(says(&model).contains("model.layers.1.mlp.up_proj.weight is missing"));

    let mut model = case.model.clone();
    let name = "model.layers.0.self_attn.q_proj.weight";
    let shape = model.tensors[name].shape().clone();
    let integers = Blob::memory("integers", vec![0; shape.bytes(DType::I8).unwrap() as usize]);
    let tensor = Tensor::span(DType::I8, shape, Arc::new(integers), 0).unwrap();
    model.tensors.insert(name.into(), tensor);
    assert_eq!(says(&model), format!("{name}: i8 is not a type of weights"));
}

#[test]
fn a_benchmark_gives_speeds() {
    let case = load("llama", Access::Map);
    let speeds = super::bench(&Decoder::new(&case.model).unwrap(), 5, 3).unwrap();
    assert!(speeds.prompt_tokens_per_second > 0.0);
    assert!(speeds.generation_tokens_per_second > 0.0);
}
