//! Models in the forms that ggml had before GGUF, through the program: their logits are those of
//! the llama.cpp that wrote them (`fixtures/make/ggml.py`), and a GGUF made of one keeps them.

use std::path::PathBuf;

use serde_json::Value as Json;

use crate::logits::{nmse, npy};
use crate::program::{Dir, json, remold};

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

/// Whisper and RWKV have no family here: names, values and header are kept.
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
