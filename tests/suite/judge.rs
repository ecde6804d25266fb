//! Configurations that other programs write, against what transformers and llama.cpp make of them.

use indexmap::IndexMap;
use remold::arch;
use remold::ir::{Config, Hyper, Model, Naming, Scaling, Value};

/// The hyper-parameters of a config.json with these entries, over those of a small Mistral.
fn hyper(entries: &str) -> Hyper {
    let base = r#"{"architectures": ["MistralForCausalLM"], "vocab_size": 64, "hidden_size": 32,
        "num_hidden_layers": 1, "intermediate_size": 48, "num_attention_heads": 16"#;
    let Ok(Value::Map(entries)) = Value::parse(format!("{base}{entries}}}").as_bytes()) else {
        panic!("{entries}: not an object");
    };
    let model = Model {
        format: "safetensors",
        version: None,
        origin: "test".into(),
        naming: Naming::HuggingFace,
        config: Config { entries },
        tensors: IndexMap::new(),
        tokenizer: None,
        unread_tokenizer: None,
        side_files: Vec::new(),
    };
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
