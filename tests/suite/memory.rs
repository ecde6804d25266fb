//! A conversion needs little memory, however large the model.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use crate::program::{BINARY, Dir, Ran};

/// What SAFETY allows at any size of the model.
const PEAK_MAX: u64 = 256 << 20;

const VOCAB: u64 = 65536;
const HIDDEN: u64 = 2048;
const FEED_FORWARD: u64 = 8192;

/// A Llama of zeros with so many layers, of which the disk holds only the header: 256 MiB of
/// embedding, and 128 MiB for each layer.
pub(crate) fn sparse(directory: &Path, layers: u64) {
    fs::create_dir(directory).expect("made");
    let (mut header, mut at) = (Map::new(), 0u64);
    for (name, shape) in shapes(layers) {
        let end = at + 2 * shape.iter().product::<u64>();
        header.insert(name, json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let header = Json::Object(header).to_string();
    let file = File::create(directory.join("model.safetensors")).expect("created");
    file.write_all_at(&(header.len() as u64).to_le_bytes(), 0).expect("written");
    file.write_all_at(header.as_bytes(), 8).expect("written");
    file.set_len(8 + header.len() as u64 + at).expect("long");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": layers, "num_attention_heads": 16, "num_key_value_heads": 16,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true,
    });
    fs::write(directory.join("config.json"), config.to_string()).expect("written");
}

fn shapes(layers: u64) -> Vec<(String, Vec<u64>)> {
    let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN])];
    let square = vec![HIDDEN, HIDDEN];
    for i in 0..layers {
        let mut put = |name: &str, shape: &[u64]| {
            all.push((format!("model.layers.{i}.{name}.weight"), shape.to_vec()));
        };
        put("input_layernorm", &[HIDDEN]);
        put("post_attention_layernorm", &[HIDDEN]);
        for name in ["q", "k", "v", "o"] {
            put(&format!("self_attn.{name}_proj"), &square);
        }
        put("mlp.gate_proj", &[FEED_FORWARD, HIDDEN]);
        put("mlp.up_proj", &[FEED_FORWARD, HIDDEN]);
        put("mlp.down_proj", &[HIDDEN, FEED_FORWARD]);
    }
    all.push(("model.norm.weight".into(), vec![HIDDEN]));
    all
}

/// A model of 1 GiB, in one tensor of 256 MiB and many smaller ones.
#[test]
fn a_conversion_needs_little_memory() {
    let dir = Dir::new();
    let source = dir.join("source");
    sparse(&source, 6);
    let size = fs::metadata(source.join("model.safetensors")).expect("there").len();
    assert!(size > 1 << 30, "{size}");
    for (kind, threads) in [("q8_0", "2"), ("f16", "8")] {
        let target = dir.join("x.gguf");
        let mut command = Command::new(BINARY);
        command.arg("convert").arg(&source).arg(&target).args(["--type", kind, "--no-sync"]);
        command.args(["--threads", threads, "--quiet"]);
        let peak = peak(&mut command);
        assert!(peak > 1 << 20, "{peak} bytes: this was not measured");
        assert!(peak <= PEAK_MAX, "{kind}: {} MiB", peak >> 20);
        fs::remove_file(target).expect("made");
    }
}

/// Runs a command, which must succeed; the most memory that it had at one time, in bytes.
///
/// The kernel keeps that number for as long as the process lives, and it never falls.
fn peak(command: &mut Command) -> u64 {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) << 10);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ran::of(format!("{command:?}"), child.wait_with_output().expect("ends")).ends(0);
    peak
}
