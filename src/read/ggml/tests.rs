//! What ggml of that time wrote has the values that it unpacked; what rwkv.cpp packed is near what
//! it was packed from.

use std::path::{Path, PathBuf};

use super::*;
use crate::ir::Access;
use crate::store::Files;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn model(path: &Path) -> Model {
    let source = Files::open(path, Access::Read).unwrap();
    assert!(probe(&source).unwrap(), "{}", path.display());
    read(&source, &Limits::default(), &mut Notes::default()).unwrap()
}

/// Name, type, shape and checksum of every tensor's weights.
fn lines(model: &Model) -> Vec<String> {
    let line = |(name, tensor): (&String, &Tensor)| {
        let bytes = tensor.to_floats().unwrap().into_iter().flat_map(f32::to_le_bytes);
        let bytes: Vec<u8> = bytes.collect();
        let crc = torch::crc32(&bytes, 0, bytes.len() as u64).unwrap();
        let (dtype, shape) = (tensor.dtype().name(), tensor.shape().dims());
        let dtype = dtype.trim_end_matches("_v1").trim_end_matches("_v2");
        format!("{name} {dtype} {shape:?} {crc:#010x}")
    };
    model.tensors.iter().map(line).collect()
}

#[test]
fn weights_are_those_that_ggml_unpacked() {
    let folder = root().join("fixtures/ggml");
    let names =
        ["llama-ggml", "llama-ggmf", "llama-ggjt1", "llama-ggjt2", "llama-ggjt3", "whisper"];
    for name in names {
        let golden = std::fs::read_to_string(folder.join(name).with_extension("golden")).unwrap();
        let in_gguf = |line: &str| {
            let (theirs, rest) = line.split_once(' ').unwrap();
            let name =
                if name == "whisper" { theirs.into() } else { llama::renamed(theirs).unwrap() };
            format!("{name} {rest}")
        };
        let expected: Vec<String> = golden.lines().map(in_gguf).collect();
        assert!(expected.len() >= 7);
        assert_eq!(lines(&model(&folder.join(name).with_extension("bin"))), expected, "{name}");
    }
}

/// Squared error by squared weight, over all tensors of both.
fn nmse(reference: &Model, packed: &Model) -> f64 {
    let (mut error, mut power) = (0.0, 0.0);
    for (name, tensor) in &reference.tensors {
        let (a, b) = (tensor.to_floats().unwrap(), packed.tensors[name].to_floats().unwrap());
        for (a, b) in a.iter().zip(&b) {
            error += f64::from(a - b).powi(2);
            power += f64::from(*a).powi(2);
        }
    }
    error / power
}

#[test]
fn quantized_files_of_rwkv_are_near_what_they_were_made_of() {
    let beside = root().join("../shared/corpora");
    let corpora = std::env::var_os("REMOLD_CORPORA").map_or(beside, PathBuf::from);
    let folder = corpora.join("rwkv-ggmf");
    if !folder.is_dir() {
        eprintln!("absent, not tested: {}", folder.display());
        return;
    }
    for (family, tensors) in [("4v0-660K", 78), ("5v1-730K", 246)] {
        let file = |kind: &str| model(&folder.join(format!("tiny-rwkv-{family}-{kind}.bin")));
        let whole = file("FP32");
        assert_eq!(whole.tensors.len(), tensors, "{family}");
        for (kind, limit) in [("FP16", 1e-6), ("Q5_0", 2e-3), ("Q5_1", 2e-3)] {
            let found = nmse(&whole, &file(kind));
            assert!(found > 0.0 && found < limit, "{family} {kind}: {found:e}");
        }
    }
}

/// Files that whisper.cpp tests itself with: no tensors but the filters.
#[test]
fn models_without_tensors_are_read() {
    let beside = root().join("../shared/corpora");
    let corpora = std::env::var_os("REMOLD_CORPORA").map_or(beside, PathBuf::from);
    let folder = corpora.join("whisper-ggml-stubs/models");
    if !folder.is_dir() {
        eprintln!("absent, not tested: {}", folder.display());
        return;
    }
    for (name, tokens) in
        [("for-tests-ggml-tiny.bin", 50257), ("for-tests-ggml-base.en.bin", 50257)]
    {
        let model = model(&folder.join(name));
        assert_eq!(model.tensors.keys().collect::<Vec<_>>(), ["mel_filters"]);
        assert_eq!(model.tensors["mel_filters"].shape().dims(), [80, 201]);
        let Some(Value::List(list)) = model.config.get("ggml.tokens") else { panic!("{name}") };
        assert_eq!(list.len(), tokens, "{name}");
    }
}
