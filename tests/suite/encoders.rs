//! Encoders, models of an encoder and a decoder, state spaces and RWKV: what transformers makes of
//! them, from a directory, from the GGUF that is made of it, and from the directory made of that.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::edit::{Gguf, Safetensors, Tensors};
use crate::logits::{nmse, npy};
use crate::program::{Dir, fixture, json, read, remold};

/// Right implementations differ by 1e-11 in f32 at most; a wrong epsilon shows at 8e-10.
const NMSE_MAX: f64 = 1e-10;

fn models() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixture("encoders")).expect("fixtures");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut models: Vec<_> = paths.filter(|path| path.join("tokens.txt").exists()).collect();
    models.sort();
    assert_eq!(models.len(), 14, "fixtures are missing: the tests would prove less");
    models
}

/// The numbers that a model gives for a fixture's ids are those of transformers.
#[track_caller]
fn agrees(dir: &Dir, model: &Path, of: &Path, how: &str) {
    let ids = |name: &str| String::from_utf8(read(of.join(name))).expect("ids").trim().to_owned();
    let out = dir.join("logits.npy");
    let tokens = ids("tokens.txt");
    match of.join("decoder_tokens.txt").exists() {
        false => remold!("logits", model, "--tokens", tokens, "-o", out, how).ends(0),
        true => {
            let written = ids("decoder_tokens.txt");
            let flag = "--decoder-tokens";
            remold!("logits", model, "--tokens", tokens, flag, written, "-o", out, how).ends(0)
        }
    };
    let (shape, expected) = npy(&of.join("expected_logits.npy"));
    let (found_shape, found) = npy(&out);
    assert_eq!(found_shape, shape, "{}", model.display());
    let nmse = nmse(&expected, &found);
    assert!(nmse <= NMSE_MAX, "{} {how}: NMSE {nmse:e}", model.display());
}

fn is_causal(model: &Path) -> bool {
    let name = model.file_name().expect("a name").to_string_lossy().into_owned();
    name.starts_with("mamba") || name == "rwkv" || model.join("decoder_tokens.txt").exists()
}

#[test]
fn numbers_are_those_of_transformers() {
    let dir = Dir::new();
    for model in models() {
        let file = dir.converted(&model, "there.gguf", "f32");
        let back = dir.join("back/");
        remold!("convert", file, back, "--no-sync", "--quiet").ends(0);
        for how in ["--quiet", "--no-mmap", "--threads=1"] {
            agrees(&dir, &model, &model, how);
        }
        for path in [&file, &back] {
            agrees(&dir, path, &model, "--quiet");
        }
        if is_causal(&model) {
            agrees(&dir, &model, &model, "--step");
            agrees(&dir, &file, &model, "--step");
        }
        // There and back again: the same bytes.
        let again = dir.converted(&back, "again.gguf", "f32");
        let tensors = |path: &Path| {
            let tensors = Gguf::read(path).tensors.into_iter();
            tensors.map(|t| (t.name, t.kind, t.shape, t.bytes)).collect::<Vec<_>>()
        };
        assert!(tensors(&file) == tensors(&again), "{}", model.display());
        std::fs::remove_dir_all(back).expect("removed");
        for path in [file, again] {
            std::fs::remove_file(path).expect("removed");
        }
    }
}

/// What Mamba's decay is made of comes back within two ulp, and everything else as it was.
#[test]
fn a_decay_comes_back_within_two_ulp() {
    let dir = Dir::new();
    let model = fixture("encoders/mamba-untied");
    let (file, back) = (dir.converted(&model, "there.gguf", "f32"), dir.join("back/"));
    remold!("convert", file, back, "--no-sync", "--quiet").ends(0);
    let tensors = |path: &Path| Safetensors::read(&path.join("model.safetensors")).tensors;
    let found = tensors(&back);
    let mut decays = 0;
    for old in tensors(&model) {
        let new = found.iter().find(|new| new.name == old.name).expect("the same names");
        if !old.name.ends_with(".A_log") {
            assert!(old.bytes == new.bytes && old.shape == new.shape, "{}", old.name);
            continue;
        }
        let bits = |bytes: &[u8]| -> Vec<i64> {
            let floats =
                bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            floats.map(|bits| i64::from(if bits < 0 { i32::MIN - bits } else { bits })).collect()
        };
        for (old, new) in bits(&old.bytes).iter().zip(bits(&new.bytes)) {
            // Around zero an ulp of x is far less than what e^x can tell.
            let (x, y) = (ordered(*old), ordered(new));
            assert!((old - new).abs() <= 2 || (x - y).abs() < 1.2e-7, "{x} became {y}");
            decays += 1;
        }
    }
    assert_eq!(decays, 2 * 96 * 4);
}

/// The number whose bits these are, in the order of numbers.
fn ordered(bits: i64) -> f32 {
    let bits = i32::try_from(bits).expect("32 bits");
    f32::from_bits(if bits < 0 { (i32::MIN - bits) as u32 } else { bits as u32 })
}

/// An encoder sees the whole text: it cannot be asked for one position after the other.
#[test]
fn what_cannot_be_asked() {
    let dir = Dir::new();
    let (bert, t5) = (fixture("encoders/bert-model"), fixture("encoders/t5-plain"));
    let logits = |model: &Path, more: &str| {
        remold!("logits", model, "--tokens", "5,6", "-o", dir.join("x.npy"), more).refuses(2)
    };
    assert!(logits(&bert, "--step").contains("sees the whole text"));
    assert!(logits(&bert, "--decoder-tokens=5").contains("an encoder and a decoder"));
    let error = remold!("run", t5, "-p", "x").refuses(4);
    assert!(error.contains("not a decoder alone") || error.contains("tokenizer"), "{error}");
    let tokens = vec!["5"; 41].join(",");
    let error = remold!("logits", bert, "--tokens", tokens, "-o", dir.join("x.npy")).refuses(5);
    assert!(error.contains("41 tokens, but the model has only 40 positions"), "{error}");
    // The first token is the decoder's where nothing is said.
    remold!("logits", t5, "--tokens", "5,6", "-o", dir.join("y.npy")).ends(0);
    assert_eq!(npy(&dir.join("y.npy")).0, [1, 96]);
}

#[test]
fn what_llama_cpp_has_no_place_for_is_said() {
    let dir = Dir::new();
    let notes = |model: &str| {
        let target = dir.join(format!("{model}.gguf"));
        remold!("convert", fixture(&format!("encoders/{model}")), target, "--no-sync")
            .ends(0)
            .stderr
    };
    let said = notes("bert-untied");
    assert!(
        said.contains("note: head.weight, head_norm.weight, output.weight, output.bias: "),
        "{said}"
    );
    assert!(
        said.contains("note: cls.predictions.bias: cls.predictions.decoder.bias is used"),
        "{said}"
    );
    assert!(said.contains("note: activation: llama.cpp has no word for it"), "{said}");
    let said = notes("bert-model");
    assert!(said.contains("note: pooler.dense.weight: the pooler"), "{said}");
    let said = notes("t5-plain");
    assert!(said.contains("note: logit multiplier: "), "{said}");
    assert!(said.contains("note: distance of the last bucket: "), "{said}");
}

/// Vectors of texts are those of transformers' hidden states, pooled as sentence-transformers'
/// files say; a GGUF says it in a key.
#[test]
fn texts_become_vectors() {
    let dir = Dir::new();
    let model = fixture("encoders/embedder");
    let file = dir.converted(&model, "embedder.gguf", "f32");
    let about = remold!("inspect", file, "--json", "--quiet").ends(0).json();
    assert_eq!(about["metadata"]["bert.pooling_type"], 1);
    let expected = json(model.join("expected.json"));
    let expected = expected.as_array().expect("texts");
    assert_eq!(expected.len(), 3);
    let numbers = |value: &Json| -> Vec<f32> {
        let numbers = value.as_array().expect("numbers").iter();
        numbers.map(|x| x.as_f64().expect("a number") as f32).collect()
    };
    for one in expected {
        let text = one["text"].as_str().expect("a text");
        for path in [&model, &file] {
            let found = remold!("embed", path, text, "--json").ends(0).json();
            assert_eq!((&found["dimensions"], &found["pooling"]), (&24.into(), &"mean".into()));
            let found = &found["embeddings"][0];
            assert_eq!(found["tokens"], one["tokens"], "{text}");
            let nmse = nmse(&numbers(&one["vector"]), &numbers(&found["embedding"]));
            assert!(nmse < 1e-11, "{text}: NMSE {nmse:e}");
        }
    }
    let lines = remold!("embed", model, "one", "two", "--pooling", "cls").ends(0).stdout;
    assert_eq!(lines.lines().map(|line| line.split(' ').count()).collect::<Vec<_>>(), [24, 24]);
}

/// Honest conversions of an encoder pass; planted faults are caught and named.
#[test]
fn faults_of_an_encoder_are_caught() {
    let dir = Dir::new();
    let reference = fixture("encoders/bert-gamma");
    for kind in ["f32", "f16", "q8_0"] {
        let honest = dir.converted(&reference, &format!("{kind}.gguf"), kind);
        let ran = remold!("verify", reference, honest, "--quiet");
        assert_eq!(ran.code, Some(0), "{}", ran.told());
    }
    let honest = dir.join("f32.gguf");
    let caught = |named: &str, fault: &dyn Fn(&mut Gguf)| {
        let mut file = Gguf::read(&honest);
        fault(&mut file);
        let bad = dir.join("bad.gguf");
        file.write(&bad);
        let ran = remold!("verify", reference, bad, "--tokens", "5,6,7,8", "--all").ends(1);
        assert!(ran.stdout.lines().any(|line| line.contains(named)), "{named}\n{}", ran.told());
    };
    let swap = |file: &mut Gguf, a: &str, b: &str| {
        let bytes = file.at(a).bytes.clone();
        file.at(a).bytes = std::mem::replace(&mut file.at(b).bytes, bytes);
    };
    caught("token_types.weight", &|file| swap_rows(file, "token_types.weight"));
    caught("position_embd.weight", &|file| swap_rows(file, "position_embd.weight"));
    caught("blk.0.attn_k.weight", &|f| swap(f, "blk.0.attn_k.weight", "blk.0.attn_q.weight"));
    caught("blk.1.attn_output_norm", &|f| {
        swap(f, "blk.1.attn_output_norm.weight", "blk.1.layer_output_norm.weight");
    });
    caught("head_norm.bias", &|file| file.at("head_norm.bias").scale_row(0, 1.5));
    caught("output.bias", &|file| drop(file.remove("output.bias")));
    caught("norm epsilon", &|file| {
        let value = gguf::Value::F32(1e-5);
        file.metadata.set("bert.attention.layer_norm_epsilon", value);
    });
}

/// The first two rows of a table, each in the other's place.
fn swap_rows(file: &mut Gguf, name: &str) {
    let row = file.at(name).row();
    let bytes = &mut file.at(name).bytes;
    let (first, second) = bytes.split_at_mut(row);
    first.swap_with_slice(&mut second[..row]);
}
