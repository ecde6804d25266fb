//! Faults planted into the bytes of files that the program itself wrote: `verify` must say no,
//! and name the tensor or the field. The reference is never damaged.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::edit::{Gguf, Safetensors, Stored, Tensors};
use crate::program::{Dir, fixture, json, remold, tiny};

/// The types of candidates: every float, and a packing with and without room to spare.
pub(crate) const TYPES: &[&str] = &["f32", "f16", "bf16", "q8_0", "q4_0"];
pub(crate) const FLOATS: &[&str] = &["f32", "f16", "bf16"];

/// A reference with an honest candidate of each type, ready to be damaged.
pub(crate) struct Bench {
    dir: Dir,
    reference: PathBuf,
}

impl Bench {
    pub(crate) fn new(reference: PathBuf) -> Self {
        Self { dir: Dir::new(), reference }
    }

    /// The trained model, and one of random weights.
    fn both() -> [Self; 2] {
        [Self::new(tiny()), Self::new(fixture("arch/llama"))]
    }

    /// Plants a fault into a GGUF candidate of each type.
    #[track_caller]
    pub(crate) fn gguf(&self, types: &[&str], named: &str, fault: impl Fn(&mut Gguf)) {
        for kind in types {
            let honest = self.dir.join(format!("{kind}.gguf"));
            if !honest.exists() {
                self.dir.converted(&self.reference, &format!("{kind}.gguf"), kind);
            }
            let mut file = Gguf::read(&honest);
            fault(&mut file);
            let bad = self.dir.join("bad.gguf");
            file.write(&bad);
            self.caught(&bad, named, kind);
        }
    }

    /// Plants a fault into a candidate as the hub has it, of each float.
    #[track_caller]
    pub(crate) fn hub(&self, named: &str, fault: impl Fn(&mut Safetensors, &mut Json)) {
        for kind in FLOATS {
            let honest = self.dir.join(kind);
            if !honest.exists() {
                self.dir.converted(&self.reference, kind, kind);
            }
            let bad = self.dir.copied(&honest, "bad");
            let (weights, config) = (bad.join("model.safetensors"), bad.join("config.json"));
            let (mut file, mut entries) = (Safetensors::read(&weights), json(&config));
            fault(&mut file, &mut entries);
            file.write(&weights);
            fs::write(config, entries.to_string()).expect("written");
            self.caught(&bad, named, kind);
            fs::remove_dir_all(bad).expect("removed");
        }
    }

    #[track_caller]
    fn caught(&self, candidate: &Path, named: &str, kind: &str) {
        // A few ids are enough: what they do not touch must be caught as well.
        let ran =
            remold!("verify", self.reference, candidate, "--tokens", "5,6,7,8,9", "--all").ends(1);
        assert!(ran.stdout.starts_with("FAIL"), "{}", ran.told());
        let findings = ran.stdout.lines().any(|line| line.contains(named));
        assert!(findings, "{named}, as {kind}, is not named\n{}", ran.told());
    }
}

/// x0 y0 x1 y1 … becomes x0 x1 … y0 y1 … again, as before the conversion.
fn unpermute(tensor: &mut Stored, heads: usize) {
    let (row, rows) = (tensor.row(), tensor.shape[0] as usize);
    let half = rows / heads / 2;
    let old = tensor.bytes.clone();
    for (i, bytes) in tensor.bytes.chunks_exact_mut(row).enumerate() {
        let (head, within) = (i / (2 * half), i % (2 * half));
        let from = head * 2 * half + within % half * 2 + within / half;
        bytes.copy_from_slice(&old[from * row..(from + 1) * row]);
    }
    assert!(tensor.bytes != old);
}

/// A matrix of floats, its rows for its columns, and its shape as it was.
pub(crate) fn transpose(tensor: &mut Stored) {
    assert_eq!(tensor.shape[0], tensor.shape[1], "{}", tensor.name);
    let (size, n) = (tensor.block(), tensor.shape[0] as usize);
    let old = tensor.bytes.clone();
    for (i, element) in tensor.bytes.chunks_exact_mut(size).enumerate() {
        let from = (i % n * n + i / n) * size;
        element.copy_from_slice(&old[from..from + size]);
    }
}

#[test]
fn rows_not_permuted_for_rope() {
    for bench in Bench::both() {
        for (name, heads) in [("blk.0.attn_q.weight", 4), ("blk.1.attn_k.weight", 2)] {
            bench.gguf(TYPES, name, |file| unpermute(file.at(name), heads));
        }
    }
}

#[test]
fn a_matrix_transposed() {
    for bench in Bench::both() {
        let name = "blk.0.attn_output.weight";
        bench.gguf(FLOATS, name, |file| transpose(file.at(name)));
        let theirs = "model.layers.0.self_attn.o_proj.weight";
        bench.hub(theirs, |file, _| transpose(file.at(theirs)));

        // A packing is transposed before it is packed, in a source that is converted honestly.
        let source = bench.dir.copied(&bench.reference, "transposed");
        let path = source.join("model.safetensors");
        let mut weights = Safetensors::read(&path);
        transpose(weights.at(theirs));
        weights.write(&path);
        for kind in ["q8_0", "q4_0"] {
            let wrong = bench.dir.converted(&source, "transposed.gguf", kind);
            let wrong = Gguf::read(&wrong).at(name).clone();
            fs::remove_file(bench.dir.join("transposed.gguf")).expect("removed");
            bench.gguf(&[kind], name, |file| *file.at(name) = wrong.clone());
        }
    }
}

#[test]
fn gate_and_up_swapped() {
    for bench in Bench::both() {
        let (gate, up) = ("blk.1.ffn_gate.weight", "blk.1.ffn_up.weight");
        bench.gguf(TYPES, gate, |file| file.exchange(gate, up));
        let (gate, up) =
            ("model.layers.1.mlp.gate_proj.weight", "model.layers.1.mlp.up_proj.weight");
        bench.hub(up, |file, _| file.exchange(gate, up));
    }
}

#[test]
fn two_layers_exchanged() {
    for bench in Bench::both() {
        for named in ["blk.0.attn_norm.weight", "blk.1.ffn_down.weight"] {
            bench.gguf(TYPES, named, |file| exchange_layers(file, "blk.0.", "blk.1."));
        }
        let named = "model.layers.0.input_layernorm.weight";
        bench.hub(named, |file, _| exchange_layers(file, "model.layers.0.", "model.layers.1."));
    }
}

fn exchange_layers(file: &mut impl Tensors, a: &str, b: &str) {
    let of_a = file.all().iter().filter(|tensor| tensor.name.starts_with(a));
    let names: Vec<String> = of_a.map(|tensor| tensor.name.clone()).collect();
    assert_eq!(names.len(), 9);
    for name in names {
        file.exchange(&name, &name.replacen(a, b, 1));
    }
}

#[test]
fn a_bias_dropped() {
    let bench = Bench::new(fixture("arch/llama-bias-headdim"));
    for name in ["blk.1.attn_v.bias", "blk.0.ffn_down.bias"] {
        bench.gguf(TYPES, name, |file| drop(file.remove(name)));
    }
    let name = "model.layers.1.self_attn.q_proj.bias";
    bench.hub(name, |file, _| drop(file.remove(name)));
    // A bias that is there and says nothing.
    bench.gguf(TYPES, "blk.1.attn_k.bias", |file| file.at("blk.1.attn_k.bias").bytes.fill(0));
}

#[test]
fn a_head_lost_or_untied() {
    for bench in Bench::both() {
        bench.gguf(TYPES, "output.weight", |file| drop(file.remove("output.weight")));
        bench.hub("lm_head.weight", |file, config| {
            file.remove("lm_head.weight");
            config["tie_word_embeddings"] = true.into();
        });
    }
    let tied = Bench::new(fixture("arch/llama-tied-rope3"));
    let untie = |file: &mut dyn Tensors, embedding: &str, head: &str| {
        let mut other = file.at(embedding).clone();
        let row = other.row();
        other.bytes.rotate_left(row);
        other.name = head.into();
        file.all().push(other);
    };
    tied.gguf(TYPES, "output.weight", |file| untie(file, "token_embd.weight", "output.weight"));
    tied.hub("lm_head.weight", |file, config| {
        untie(file, "model.embed_tokens.weight", "lm_head.weight");
        config["tie_word_embeddings"] = false.into();
    });
}

/// What an unguarded cast of a large number leaves behind.
#[test]
fn an_overflow_of_f16() {
    for bench in Bench::both() {
        let name = "blk.0.ffn_down.weight";
        for infinity in [[0x00, 0x7c], [0x00, 0xfc], [0x01, 0x7e], [0xff, 0x7b]] {
            bench.gguf(&["f16"], name, |file| {
                file.at(name).bytes[600..602].copy_from_slice(&infinity)
            });
        }
    }
}

/// The data of a tensor begins where that of its neighbour should, or some bytes later.
#[test]
fn data_off_by_one() {
    for bench in Bench::both() {
        let name = "blk.1.ffn_up.weight";
        for by in [1, 2, 4, 34] {
            bench.gguf(TYPES, name, |file| file.at(name).bytes.rotate_left(by));
        }
        let norms = ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight");
        bench.gguf(TYPES, norms.1, |file| file.exchange(norms.0, norms.1));
        bench.hub("model.layers.1.mlp.up_proj.weight", |file, _| {
            file.at("model.layers.1.mlp.up_proj.weight").bytes.rotate_right(2);
        });
    }
}

/// The second shard of three in the place of the first: names go with the wrong data.
#[test]
fn shards_off_by_one() {
    let bench = Bench::new(tiny());
    let hub = bench.dir.join("hub");
    remold!("convert", tiny(), hub, "--split-max-tensors", "10").ends(0);
    let shard = |n: usize| hub.join(format!("model-0000{n}-of-00003.safetensors"));
    let mut files = [1, 2, 3].map(|n| Safetensors::read(&shard(n)));
    // Each tensor gets the data of the next one of its size, across the borders of shards.
    let mut all: Vec<Stored> = files.iter().flat_map(|file| file.tensors.clone()).collect();
    for i in 0..all.len() {
        let next = (i + 1..all.len()).find(|j| all[*j].bytes.len() == all[i].bytes.len());
        if let Some(j) = next {
            let (left, right) = all.split_at_mut(j);
            std::mem::swap(&mut left[i].bytes, &mut right[0].bytes);
        }
    }
    let mut left = all.into_iter();
    for (file, n) in files.iter_mut().zip(1..) {
        file.tensors = left.by_ref().take(10).collect();
        file.write(&shard(n));
    }
    bench.caught(&hub, "model.layers.0.self_attn.q_proj.weight", "shards");
}

#[test]
fn byte_order_swapped() {
    for bench in Bench::both() {
        for name in ["token_embd.weight", "blk.1.attn_norm.weight"] {
            bench.gguf(TYPES, name, |file| {
                let size = file.at(name).block().min(4);
                let size = if file.at(name).kind.starts_with('q') { 2 } else { size };
                file.at(name).bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
            });
        }
        let name = "lm_head.weight";
        bench.hub(name, |file, _| {
            let size = file.at(name).block();
            file.at(name).bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        });
    }
}

#[test]
fn one_flipped_exponent_bit() {
    for bench in Bench::both() {
        let name = "blk.0.attn_v.weight";
        for kind in TYPES {
            // The byte of an element, or of a block, with the lowest bit of the exponent.
            let (byte, bit) = match *kind {
                "f32" => (2, 7),
                "bf16" => (0, 7),
                _ => (1, 2),
            };
            bench.gguf(&[kind], name, |file| {
                let size = file.at(name).block();
                file.at(name).bytes[33 * size + byte] ^= 1 << bit;
            });
        }
        let norm = "blk.1.ffn_norm.weight";
        bench.gguf(TYPES, norm, |file| file.at(norm).bytes[4 * 9 + 2] ^= 0x80);
    }
}

/// None of the ids that are run ever reads the row.
#[test]
fn an_unused_row_scaled() {
    for bench in Bench::both() {
        for name in ["token_embd.weight", "output.weight"] {
            let is_packed_otherwise = |kind: &str| kind == "q4_0" && name == "output.weight";
            for kind in ["f16", "bf16", "q8_0", "q4_0"] {
                if is_packed_otherwise(kind) {
                    continue;
                }
                for factor in [1.25, 0.75] {
                    bench.gguf(&[kind], name, |file| file.at(name).scale_row(201, factor));
                }
            }
        }
        bench.hub("model.embed_tokens.weight", |file, _| {
            file.at("model.embed_tokens.weight").scale_row(201, 1.25);
        });
    }
}

#[test]
fn a_wrong_hyper_parameter() {
    use gguf::Value::{F32, U32};
    for bench in Bench::both() {
        let faults = [
            ("llama.rope.freq_base", F32(10001.0), "rope theta"),
            ("llama.attention.layer_norm_rms_epsilon", F32(2e-5), "norm epsilon"),
            ("llama.attention.head_count", U32(8), "head count"),
            ("llama.attention.head_count", U32(2), "head count"),
            ("llama.attention.head_count_kv", U32(4), "key and value head count"),
            ("llama.context_length", U32(4096), "context length"),
            ("llama.block_count", U32(1), "layer count"),
        ];
        for (key, value, named) in faults {
            bench.gguf(&["f16", "q4_0"], named, |file| file.metadata.set(key, value.clone()));
        }
        let faults: [(&str, Json, &str); 4] = [
            ("rms_norm_eps", 2e-5.into(), "norm epsilon"),
            ("num_attention_heads", 8.into(), "head count"),
            ("num_key_value_heads", 4.into(), "key and value head count"),
            ("num_hidden_layers", 1.into(), "layer count"),
        ];
        for (key, value, named) in faults {
            bench.hub(named, |_, config| config[key] = value.clone());
        }
        bench.hub("rope theta", |_, config| {
            config["rope_parameters"]["rope_theta"] = 10001.0.into();
        });
    }
}

#[test]
fn a_truncated_vocabulary() {
    for bench in Bench::both() {
        bench.gguf(&["f16", "q8_0"], "vocabulary size", |file| {
            for name in ["token_embd.weight", "output.weight"] {
                cut_row(file.at(name));
            }
            file.metadata.remove("llama.vocab_size");
            cut_lists(&mut file.metadata);
            cut_list(&mut file.metadata, "tokenizer.ggml.merges");
        });
        bench.hub("vocabulary size", |file, config| {
            for name in ["model.embed_tokens.weight", "lm_head.weight"] {
                cut_row(file.at(name));
            }
            config["vocab_size"] = (config["vocab_size"].as_u64().expect("a size") - 1).into();
        });
    }
}

/// The tokenizer alone: a piece less, and two that changed places.
#[test]
fn a_wrong_tokenizer() {
    let bench = Bench::new(tiny());
    bench.gguf(&["f16"], "tokenizer", |file| {
        cut_lists(&mut file.metadata);
        cut_list(&mut file.metadata, "tokenizer.ggml.merges");
    });
    bench.gguf(&["f16"], "tokenizer", |file| {
        let mut tokens = file.metadata.get("tokenizer.ggml.tokens").cloned().expect("tokens");
        if let gguf::Value::Array(gguf::Array::Text(tokens)) = &mut tokens {
            tokens.swap(2, 3);
        }
        file.metadata.set("tokenizer.ggml.tokens", tokens);
    });
    // A merge to a piece that was cut off: such a file is refused whatever it is compared with.
    let mut file = Gguf::read(&bench.dir.join("f16.gguf"));
    cut_lists(&mut file.metadata);
    let bad = bench.dir.join("bad.gguf");
    file.write(&bad);
    let error = remold!("verify", tiny(), bad).refuses(3);
    assert!(error.contains("bad.gguf: tokenizer.ggml.merges: 509"), "{error}");
}

fn cut_row(tensor: &mut Stored) {
    let row = tensor.row();
    tensor.bytes.truncate(tensor.bytes.len() - row);
    tensor.shape[0] -= 1;
}

fn cut_lists(metadata: &mut gguf::Metadata) {
    cut_list(metadata, "tokenizer.ggml.tokens");
    cut_list(metadata, "tokenizer.ggml.token_type");
}

/// Takes the last item of a list, if there is such a list.
fn cut_list(metadata: &mut gguf::Metadata, key: &str) {
    use gguf::{Array, Value};
    let Some(Value::Array(mut list)) = metadata.get(key).cloned() else { return };
    match &mut list {
        Array::Text(items) => drop(items.pop()),
        Array::I32(items) => drop(items.pop()),
        other => panic!("{key}: {other:?}"),
    }
    metadata.set(key, Value::Array(list));
}
