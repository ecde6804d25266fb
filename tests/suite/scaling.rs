//! Rope scaling through a GGUF, which has llama.cpp's divisors and not the numbers of config.json.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::program::{Dir, fixture, remold};

/// A Llama whose frequencies are scaled so.
fn scaled(dir: &Dir, numbers: &Json) -> PathBuf {
    let hub = dir.copied(&fixture("arch/llama-tied-rope3"), "hub");
    let mut config = crate::program::json(hub.join("config.json"));
    let theta = config["rope_parameters"]["rope_theta"].clone();
    config["rope_parameters"] = numbers.clone();
    config["rope_parameters"]["rope_theta"] = theta;
    fs::write(hub.join("config.json"), config.to_string()).expect("written");
    hub
}

/// Whether the file states the numbers, besides the divisors that they give.
fn states_numbers(gguf: &Path) -> bool {
    let ran = remold!("inspect", gguf, "--json").ends(0);
    let metadata = ran.json()["metadata"].clone();
    let stated = |key: &&String| key.starts_with("remold.rope_llama3.");
    let keys = metadata.as_object().expect("metadata").keys().filter(stated).count();
    assert!([0, 4].contains(&keys), "{metadata}");
    keys > 0
}

/// They come back exactly: from the divisors where these say them, else from keys of our own.
#[test]
fn the_numbers_of_llama_3_come_back() {
    for (factor, low, high, original, stated) in [
        (8.0, 1.0, 4.0, 64, false),
        (8.0, 1.0, 4.0, 96, false),
        (32.0, 1.0, 12.0, 1000, false),
        (3.3, 1.0, 4.0, 64, true),
        (16.0, 2.0, 8.0, 128, true),
        (8.0, 1.0, 4.0, 1_000_000, true),
    ] {
        let dir = Dir::new();
        let numbers = json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low,
            "high_freq_factor": high, "original_max_position_embeddings": original,
        });
        let hub = scaled(&dir, &numbers);
        let gguf = dir.converted(&hub, "x.gguf", "f32");
        assert_eq!(states_numbers(&gguf), stated, "{numbers}");
        let back = dir.converted(&gguf, "back", "f32");
        remold!("diff", hub, back).ends(0);
        let config = crate::program::json(back.join("config.json"));
        assert_eq!(config["rope_scaling"], numbers);
    }
}
