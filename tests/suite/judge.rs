//! Configurations that other programs write, against what transformers and llama.cpp make of them.

use std::fs;
use std::path::{Path, PathBuf};

use remold::arch;
use remold::ir::{Config, Hyper, Model, Scaling, Value};
use serde_json::{Value as Json, json};

use crate::program::{Dir, fixture, remold};

/// The hyper-parameters of a config.json with these entries, over those of a small Mistral.
fn hyper(entries: &str) -> Hyper {
    let base = r#"{"architectures": ["MistralForCausalLM"], "vocab_size": 64, "hidden_size": 32,
        "num_hidden_layers": 1, "intermediate_size": 48, "num_attention_heads": 16"#;
    let Ok(Value::Map(entries)) = Value::parse(format!("{base}{entries}}}").as_bytes()) else {
        panic!("{entries}: not an object");
    };
    let model = Model { config: Config { entries }, ..Model::empty("safetensors", "test") };
    let family = arch::find(&model).expect("a Mistral");
    arch::hyper(family, &model).expect("hyper-parameters")
}

/// `MistralConfig`: absent is 8, null is as many as heads.
#[test]
fn no_key_and_value_heads_are_not_null() {
    assert_eq!(hyper("").kv_heads, Some(8));
    assert_eq!(hyper(r#", "num_key_value_heads": null"#).kv_heads, Some(16));
    assert_eq!(hyper(r#", "num_key_value_heads": 4"#).kv_heads, Some(4));
}

/// `convert_rope_params_to_dict`: what `rope_parameters` says goes before `rope_theta`, and a
/// `rope_scaling` that says something before both.
#[test]
fn dialects_that_contradict_each_other_are_read_as_transformers_reads_them() {
    let both = r#", "rope_theta": 777.0, "rope_parameters": {"rope_theta": 5e5}"#;
    assert_eq!(hyper(both).rope_theta, Some(5e5));
    let three = r#", "rope_parameters": {"rope_type": "default"},
        "rope_scaling": {"type": "linear", "factor": 2.0, "rope_theta": 1e6}"#;
    assert_eq!(hyper(three).rope_theta, Some(1e6));
    assert_eq!(hyper(three).scaling, Scaling::Linear { factor: 2.0 });
    let empty = r#", "rope_parameters": {"rope_type": "linear", "factor": 4},
        "rope_scaling": {}, "rope_theta": null"#;
    assert_eq!(hyper(empty).rope_theta, Some(1e4));
    assert_eq!(hyper(empty).scaling, Scaling::Linear { factor: 4.0 });
}

/// `_compute_yarn_parameters`: a null factor is the ratio of the two contexts.
#[test]
fn yarn_without_a_factor_stretches_to_the_context() {
    let scaling = hyper(
        r#", "max_position_embeddings": 512, "rope_scaling":
        {"type": "yarn", "factor": null, "original_max_position_embeddings": 64}"#,
    );
    let Scaling::Yarn { factor, original, .. } = scaling.scaling else {
        panic!("{:?}", scaling.scaling);
    };
    assert_eq!((factor, original), (8.0, 64));
}

/// A fixture of one safetensors file with another config.json.
fn with_config(dir: &Dir, source: &str, change: impl Fn(&mut Json)) -> PathBuf {
    let (source, copy) = (fixture(source), dir.join("model"));
    fs::create_dir(&copy).expect("created");
    fs::copy(source.join("model.safetensors"), copy.join("model.safetensors")).expect("copied");
    let text = fs::read(source.join("config.json")).expect("read");
    let mut config = serde_json::from_slice(&text).expect("JSON");
    change(&mut config);
    fs::write(copy.join("config.json"), config.to_string()).expect("written");
    copy
}

fn metadata(gguf: &Path) -> Json {
    remold!("inspect", gguf, "--json").ends(0).json()["metadata"].take()
}

/// llama.cpp multiplies by `attn_factor`, and sets what `yarn_attn_factor` says anew: it gave an
/// NMSE of 0.07 for a file that had the latter, and 7e-7 for one that has the former.
#[test]
fn an_attention_factor_is_said_where_llama_cpp_reads_it() {
    let dir = Dir::new();
    let model = with_config(&dir, "arch/llama-yarn", |config| {
        let rope = &mut config["rope_parameters"];
        rope["factor"] = json!(16.0);
        rope["attention_factor"] = json!(1.0);
    });
    let target = dir.join("x.gguf");
    remold!("convert", model, target, "--verify", "--quiet").ends(0);
    let metadata = metadata(&target);
    let said = metadata["llama.rope.scaling.attn_factor"].as_f64().expect("a factor");
    let expected = 1.0 / (0.1 * 16f64.ln() + 1.0);
    assert!((said - expected).abs() < 1e-6, "{said}, expected {expected}");
    assert!(metadata["llama.rope.scaling.yarn_attn_factor"].is_null());
}

/// llama.cpp gave the same logits with and without these keys, so a file that has them says so.
#[test]
fn ends_of_the_ramp_that_llama_cpp_ignores_are_noted() {
    let dir = Dir::new();
    let model = with_config(&dir, "arch/llama-yarn", |config| {
        config["rope_parameters"]["beta_slow"] = json!(2.0);
    });
    let target = dir.join("x.gguf");
    let ran = remold!("convert", model, target, "--verify").ends(0);
    assert!(ran.stderr.contains("beta_slow"), "{}", ran.told());
    assert_eq!(metadata(&target)["llama.rope.scaling.yarn_beta_slow"], json!(2.0));
}

/// A layer that the configuration does not count is not written for nobody to use: llama.cpp
/// refuses such a file.
#[test]
fn a_layer_too_many_is_a_loss() {
    let dir = Dir::new();
    let model = with_config(&dir, "arch/llama", |config| config["num_hidden_layers"] = json!(1));
    let target = dir.join("x.gguf");
    let error = remold!("convert", model, target).refuses(7);
    assert!(error.contains("model.layers.1.") && error.contains("1 layers"), "{error}");
    remold!("convert", model, target, "--exclude", r"layers\.1\.").ends(0);
}

/// A conversion that lies beside the weights it was made of does not stand for them.
#[test]
fn a_gguf_beside_the_weights_is_not_the_directory() {
    let dir = Dir::new();
    let model = with_config(&dir, "arch/llama", |_| ());
    let other = dir.converted(&fixture("arch/mistral-window"), "other.gguf", "f32");
    fs::rename(&other, model.join("other.gguf")).expect("moved");
    let said = remold!("inspect", model, "--json").ends(0).json();
    assert_eq!(said["format"], "safetensors");
    let ran = remold!("verify", model, model.join("other.gguf"), "--quiet").ends(1);
    assert!(ran.stdout.contains("FAIL"), "a verdict has its reason\n{}", ran.told());
}

/// What overflows its type is refused with its count, or clamped and counted.
#[test]
fn overflow_is_clamped_if_asked_for() {
    let dir = Dir::new();
    let (source, target) = (dir.join("x.safetensors"), dir.join("x.gguf"));
    let values = [70000.0f32, -1e30, 1.5, -0.0].repeat(16);
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut header =
        r#"{"x.weight":{"dtype":"F32","shape":[2,32],"data_offsets":[0,256]}}"#.to_owned();
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat();
    std::fs::write(&source, file).expect("a source");
    for kind in ["f16", "q8_0"] {
        let error = remold!("convert", source, target, "--type", kind).refuses(7);
        assert!(error.contains("x.weight") && error.contains("--clamp"), "{error}");
        assert!(!target.exists());
        let ran =
            remold!("convert", source, target, "--type", kind, "--clamp", "--overwrite").ends(0);
        assert!(ran.stderr.contains("x.weight: 32 values were clamped"), "{}", ran.told());
        std::fs::remove_file(&target).expect("the target");
        remold!("convert", source, target, "--type", kind, "--clamp", "--strict").refuses(7);
    }
}
