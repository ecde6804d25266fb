//! The faults of `faults`, planted into three more families: one with fused rows, columns for rows
//! and biases, one that is tied and whose norms lack 1, one of experts.

use serde_json::Value as Json;

use crate::edit::{Gguf, Safetensors, Tensors};
use crate::faults::{Bench, FLOATS, TYPES, transpose};
use crate::program::fixture;

/// A family, and where each fault is planted in it.
struct Family {
    name: &'static str,
    /// The beginning of its keys.
    keys: &'static str,
    /// A square matrix, here and as the hub has it.
    square: [&'static str; 2],
    /// Two tensors of one shape in one layer, and the same on the hub.
    twins: [[&'static str; 2]; 2],
    /// A matrix of the first layer, which the second has too.
    layered: &'static str,
    /// A vector.
    norm: &'static str,
    /// Keys with a wrong value, and the field that they are of.
    wrong: &'static [(&'static str, gguf::Value, &'static str)],
    /// The same on the hub.
    wrong_there: &'static [(&'static str, &'static str, &'static str)],
}

const FAMILIES: &[Family] = &[
    Family {
        name: "gpt2",
        keys: "gpt2",
        square: ["blk.0.attn_output.weight", "transformer.h.1.attn.c_proj.weight"],
        twins: [
            ["blk.0.attn_norm.bias", "blk.0.ffn_norm.bias"],
            ["transformer.h.0.ln_1.bias", "transformer.h.0.ln_2.bias"],
        ],
        layered: "attn_qkv.weight",
        norm: "blk.1.ffn_norm.weight",
        wrong: &[
            ("attention.layer_norm_epsilon", gguf::Value::F32(2e-5), "norm epsilon"),
            ("attention.head_count", gguf::Value::U32(8), "head count"),
            ("context_length", gguf::Value::U32(32), "context length"),
        ],
        wrong_there: &[
            ("layer_norm_epsilon", "2e-5", "norm epsilon"),
            ("n_head", "8", "head count"),
        ],
    },
    Family {
        name: "gemma",
        keys: "gemma",
        square: ["blk.0.attn_k.weight", "model.layers.1.self_attn.v_proj.weight"],
        twins: [
            ["blk.1.ffn_gate.weight", "blk.1.ffn_up.weight"],
            ["model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.up_proj.weight"],
        ],
        layered: "ffn_down.weight",
        norm: "blk.0.attn_norm.weight",
        wrong: &[
            ("attention.layer_norm_rms_epsilon", gguf::Value::F32(2e-6), "norm epsilon"),
            ("rope.freq_base", gguf::Value::F32(10001.0), "rope theta"),
            ("attention.head_count_kv", gguf::Value::U32(1), "key and value head count"),
        ],
        wrong_there: &[("rms_norm_eps", "2e-6", "norm epsilon")],
    },
    Family {
        name: "mixtral",
        keys: "llama",
        square: ["blk.1.attn_output.weight", "model.layers.0.self_attn.q_proj.weight"],
        twins: [
            ["blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight"],
            [
                "model.layers.0.input_layernorm.weight",
                "model.layers.0.post_attention_layernorm.weight",
            ],
        ],
        layered: "ffn_down_exps.weight",
        norm: "blk.1.attn_norm.weight",
        wrong: &[
            ("attention.layer_norm_rms_epsilon", gguf::Value::F32(2e-5), "norm epsilon"),
            ("rope.freq_base", gguf::Value::F32(1e4), "rope theta"),
            ("expert_used_count", gguf::Value::U32(1), "expert"),
        ],
        wrong_there: &[
            ("rms_norm_eps", "2e-5", "norm epsilon"),
            ("num_experts_per_tok", "1", "expert"),
        ],
    },
];

fn each(plant: impl Fn(&Family, &Bench)) {
    for family in FAMILIES {
        plant(family, &Bench::new(fixture("families").join(family.name)));
    }
}

#[test]
fn matrices_transposed_exchanged_and_moved() {
    each(|family, bench| {
        let [here, there] = family.square;
        bench.gguf(FLOATS, here, |file| transpose(file.at(here)));
        bench.hub(there, |file, _| transpose(file.at(there)));
        let [[a, b], [c, d]] = family.twins;
        bench.gguf(FLOATS, a, |file| file.exchange(a, b));
        bench.hub(c, |file, _| file.exchange(c, d));
        let of = |layer: usize| format!("blk.{layer}.{}", family.layered);
        bench.gguf(FLOATS, &of(0), |file| file.exchange(&of(0), &of(1)));
        for by in [1, 2, 4] {
            bench.gguf(FLOATS, &of(1), |file| file.at(&of(1)).bytes.rotate_left(by));
        }
    });
}

#[test]
fn a_tensor_lost_or_added() {
    each(|family, bench| {
        bench.gguf(FLOATS, family.norm, |file| drop(file.remove(family.norm)));
        let there = family.twins[1][0];
        bench.hub(there, |file, _| drop(file.remove(there)));
    });
    // A head that is a shifted embedding, and one that is gone.
    for name in ["gpt2", "gemma"] {
        let bench = Bench::new(fixture("families").join(name));
        bench.gguf(FLOATS, "output.weight", |file| {
            let mut head = file.at("token_embd.weight").clone();
            let row = head.row();
            head.bytes.rotate_left(row);
            head.name = "output.weight".into();
            file.tensors.push(head);
        });
    }
    let bench = Bench::new(fixture("families/mixtral"));
    bench.gguf(FLOATS, "output.weight", |file| drop(file.remove("output.weight")));
}

#[test]
fn single_elements_and_rows() {
    each(|family, bench| {
        let name = format!("blk.0.{}", family.layered);
        for (kind, byte, bit) in [("f32", 2, 7), ("bf16", 0, 7), ("f16", 1, 2)] {
            bench.gguf(&[kind], &name, |file| {
                let size = file.at(&name).block();
                file.at(&name).bytes[33 * size + byte] ^= 1 << bit;
            });
        }
        bench.gguf(&["f16"], &name, |file| {
            file.at(&name).bytes[600..602].copy_from_slice(&[0x00, 0x7c]);
        });
        bench.gguf(TYPES, family.norm, |file| {
            file.at(family.norm).bytes.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        });
        bench.gguf(TYPES, family.norm, |file| file.at(family.norm).bytes[4 * 9 + 2] ^= 0x80);
        bench.gguf(FLOATS, "token_embd.weight", |file: &mut Gguf| {
            // None of the ids that are run reads this row.
            file.at("token_embd.weight").scale_row(90, 1.25);
        });
    });
}

#[test]
fn hyper_parameters() {
    each(|family, bench| {
        for (key, value, named) in family.wrong {
            let key = format!("{}.{key}", family.keys);
            bench.gguf(&["f16"], named, |file| {
                assert!(file.metadata.get(&key).is_some(), "{key}");
                file.metadata.set(&key, value.clone());
            });
        }
        for (key, value, named) in family.wrong_there {
            bench.hub(named, |_: &mut Safetensors, config: &mut Json| {
                assert!(config.get(*key).is_some(), "{}: {key}", family.name);
                config[*key] = serde_json::from_str(value).expect("a value");
            });
        }
    });
}
