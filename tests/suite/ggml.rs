//! Models in the forms that ggml had before GGUF, through the program: their logits are those of
//! the llama.cpp that wrote them (`fixtures/make/ggml.py`), and a GGUF made of one keeps them.

use std::path::PathBuf;

use serde_json::Value as Json;

use crate::logits::{nmse, npy};
use crate::program::{Dir, json, read, remold};

const TOKENS: &str = "1,290,262,270,20,299,261,295";

/// llama.cpp rounds what it multiplies packed weights with to eight bits.
const NMSE_MAX: f64 = 2e-3;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/ggml")
}

#[test]
fn logits_are_those_of_the_llama_cpp_of_its_time() {
    let dir = Dir::new();
    let (out, file) = (dir.join("logits.npy"), dir.join("x.gguf"));
    for name in ["llama-ggml", "llama-ggmf", "llama-ggjt1", "llama-ggjt2", "llama-ggjt3"] {
        let old = fixtures().join(name).with_extension("bin");
        let (shape, expected) = npy(&old.with_extension("npy"));
        remold!("logits", old, "--tokens", TOKENS, "-o", out, "--quiet").ends(0);
        let (found_shape, found) = npy(&out);
        assert_eq!(found_shape, shape, "{name}");
        let error = nmse(&expected, &found);
        assert!(error <= NMSE_MAX, "{name}: NMSE {error:e}");

        remold!("convert", old, file, "--quiet", "--no-sync", "--overwrite").ends(0);
        remold!("logits", file, "--tokens", TOKENS, "-o", out, "--quiet").ends(0);
        assert_eq!(npy(&out).1, found, "{name}: the GGUF computes something else");
        remold!("diff", old, file, "--quiet").ends(0);
    }
}

/// Scores and pieces are those that SentencePiece has, in all forms that have scores.
#[test]
fn texts_are_cut_as_by_sentencepiece() {
    let texts = json(fixtures().join("texts.json"));
    let texts = texts.as_array().expect("texts");
    assert_eq!(texts.len(), 12);
    for case in texts {
        let ids = case["ids"].as_array().expect("ids").iter().map(Json::to_string);
        let expected = ids.collect::<Vec<_>>().join(",");
        for name in ["llama-ggmf.bin", "llama-ggjt3.bin"] {
            let model = fixtures().join(name);
            let text = case["text"].as_str().expect("a text");
            let ran = remold!("tokenize", "--quiet", model, "--", text).ends(0);
            assert_eq!(ran.stdout.trim_end(), expected, "{name}: {text:?}");
        }
    }
}

/// What is packed in a way that no format of today has goes on as f32, and says so.
#[test]
fn old_blocks_become_floats_unless_packed_anew() {
    let dir = Dir::new();
    let (old, file) = (fixtures().join("llama-ggjt1.bin"), dir.join("x.gguf"));
    let types = |file: &PathBuf| {
        let listed = remold!("inspect", "--json", file).ends(0).json();
        let tensors = listed["tensors"].as_array().expect("tensors").clone();
        let types = tensors.iter().map(|tensor| tensor["dtype"].as_str().expect("a type").into());
        types.collect::<std::collections::BTreeSet<String>>()
    };
    let ran = remold!("convert", old, file, "--no-sync").ends(0);
    assert!(ran.stderr.contains("q4_2_v1 becomes f32"), "{}", ran.told());
    assert!(types(&file).into_iter().eq(["f16", "f32"]));
    remold!(
        "quantize",
        old,
        file,
        "q4_0",
        "--pure",
        "--allow-requantize",
        "--overwrite",
        "--no-sync"
    )
    .ends(0);
    assert!(types(&file).into_iter().eq(["f32", "q4_0"]));
}

/// What transformers gives for the same weights, whole and token by token, from the file, from the
/// GGUF made of it, and from the directory made of that; `fixtures/make/rwkv.py` wrote both.
#[test]
fn rwkv_gives_what_transformers_gives() {
    let dir = Dir::new();
    let (old, out) = (fixtures().join("rwkv4.bin"), dir.join("logits.npy"));
    let (file, hub) = (dir.join("x.gguf"), dir.join("hub/"));
    remold!("convert", old, file, "--quiet", "--no-sync").ends(0);
    remold!("convert", file, hub, "--quiet", "--no-sync").ends(0);
    let (shape, expected) = npy(&old.with_extension("npy"));
    for (path, how) in [(&old, "--quiet"), (&old, "--step"), (&file, "--quiet"), (&hub, "--step")] {
        remold!("logits", path, "--tokens", "5,60,7,7,31,2,48,11,9,20", "-o", out, how).ends(0);
        let (found_shape, found) = npy(&out);
        assert_eq!(found_shape, shape);
        let error = nmse(&expected, &found);
        assert!(error <= 1e-10, "{} {how}: NMSE {error:e}", path.display());
    }
    remold!("verify", old, file, "--tokens", "5,60,7", "--quiet").ends(0);
    let error = remold!("run", old, "-p", "x").refuses(4);
    assert!(error.contains("no tokenizer"), "{error}");
}

/// The logits that rwkv.cpp tests itself with, after `"in`. It demands that their differences add up
/// to no more than these, which its own packed arithmetic has.
#[test]
fn rwkv_gives_what_rwkv_cpp_gives() {
    let Some(folder) = testing::corpus("rwkv-ggmf") else { return };
    let dir = Dir::new();
    let (out, file) = (dir.join("logits.npy"), dir.join("x.gguf"));
    for (model, sums) in [
        ("4v0-660K", [0.001, 0.013652, 0.180142, 0.294953]),
        ("5v1-730K", [0.001, 0.289921, 163.439407, 39.70853]),
    ] {
        let bytes = read(folder.join(format!("expected-logits-{model}.bin")));
        let expected = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        let expected: Vec<f32> = expected.collect();
        for (kind, max) in ["FP32", "FP16", "Q5_0", "Q5_1"].iter().zip(sums) {
            let old = folder.join(format!("tiny-rwkv-{model}-{kind}.bin"));
            remold!("convert", old, file, "--quiet", "--no-sync", "--overwrite").ends(0);
            let logits = |path: &PathBuf| {
                remold!("logits", path, "--tokens", "34,105,110", "-o", out, "--quiet").ends(0);
                npy(&out).1.split_off(2 * 256)
            };
            let found = logits(&old);
            let differences = found.iter().zip(&expected).map(|(x, y)| f64::from(x - y));
            let sum = differences.sum::<f64>().abs();
            assert!(sum <= max * 1.05, "{model} {kind}: {sum}");
            if *kind == "FP32" {
                let error = nmse(&expected, &found);
                assert!(error < 1e-12, "{model}: NMSE {error:e}");
            }
            assert_eq!(logits(&file), found, "{model} {kind}: the GGUF computes something else");
        }
    }
    // transformers has no class for 5: names stay.
    let (old, target) = (folder.join("tiny-rwkv-5v1-730K-FP16.bin"), dir.join("x.safetensors"));
    let ran = remold!("convert", old, target, "--no-sync").ends(0);
    assert!(ran.stderr.contains("keep their names"), "{}", ran.told());
}

/// Whisper has no family here: names, values and header are kept.
#[test]
fn models_of_other_programs_keep_their_names() {
    let dir = Dir::new();
    let (old, file) = (fixtures().join("whisper.bin"), dir.join("x.safetensors"));
    remold!("convert", old, file, "--quiet", "--no-sync").ends(0);
    remold!("diff", old, file, "--quiet").ends(0);
    let listed = remold!("inspect", "--json", old).ends(0).json();
    assert_eq!(listed["format"], "ggml");
    let tensors = listed["tensors"].as_array().expect("tensors");
    assert_eq!((&tensors[0]["name"], tensors.len()), (&Json::from("mel_filters"), 7));
    let tokens = &listed["metadata"]["ggml.tokens"];
    assert!(tokens.to_string().contains("\u{120}the"), "{tokens}");
}
