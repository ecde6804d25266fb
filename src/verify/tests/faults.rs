//! Each fault is planted into an otherwise honest candidate.

use super::model::{
    COLUMNS, Like, VOCAB, alter, damage, encode, honest, packing, reference, tensor,
};
use super::{assert_caught, with_running, without_running};
use crate::ir::{DType, Model, Value};
use crate::verify::gates::logits::{Plan, Ran, machine, run};
use crate::verify::gates::tensors;

use crate::quant;
use crate::verify::{Chunk, own, pair};

/// The types in which a fault of weights must be caught.
fn types() -> Vec<DType> {
    let packings = ["q8_0", "q6_k", "q5_1", "q4_0"].map(packing);
    [&[DType::F32, DType::F16, DType::BF16][..], &packings].concat()
}

/// Plants a fault of weights into a candidate of every type; it must be caught and named.
fn plant(named: &str, fault: impl Fn(&Model, &mut Model)) {
    let good = reference(DType::BF16, Like::default());
    for dtype in types() {
        let mut candidate = honest(&good, dtype);
        fault(&good, &mut candidate);
        assert_caught(&without_running(&good, &candidate), named);
    }
}

#[test]
fn rows_not_interleaved() {
    for (hf, gguf) in [("q_proj", "attn_q"), ("k_proj", "attn_k")] {
        let name = format!("blk.0.{gguf}.weight");
        plant(&name, |good, candidate| {
            let plain = &good.tensors[&format!("model.layers.0.self_attn.{hf}.weight")];
            candidate.tensors[&name] = encode(plain, candidate.tensors[&name].dtype());
        });
    }
}

#[test]
fn a_matrix_transposed() {
    plant("blk.1.attn_output.weight", |_, candidate| {
        alter(candidate, "blk.1.attn_output.weight", |values| {
            let old = values.clone();
            for (i, value) in values.iter_mut().enumerate() {
                *value = old[i % COLUMNS * COLUMNS + i / COLUMNS];
            }
        });
    });
}

fn exchange(candidate: &mut Model, a: &str, b: &str) {
    let (x, y) = (candidate.tensors[a].clone(), candidate.tensors[b].clone());
    (candidate.tensors[a], candidate.tensors[b]) = (y, x);
}

/// The error of the whole tensor, whatever the bounds on its elements say.
#[test]
fn a_tensor_of_noise() {
    let good = reference(DType::BF16, Like::default());
    for dtype in types() {
        let mut candidate = honest(&good, dtype);
        exchange(&mut candidate, "blk.0.attn_q.weight", "blk.1.attn_q.weight");
        let report = without_running(&good, &candidate);
        for gate in [tensors::ELEMENTS, tensors::TENSORS] {
            let named = format!("{gate}: blk.1.attn_q.weight");
            assert_caught(&report, &named);
        }
    }
}

#[test]
fn gate_and_up_swapped() {
    plant("blk.0.ffn_gate.weight", |_, candidate| {
        exchange(candidate, "blk.0.ffn_gate.weight", "blk.0.ffn_up.weight");
    });
}

#[test]
fn two_layers_exchanged() {
    for named in ["blk.0.attn_norm.weight", "blk.1.ffn_down.weight"] {
        plant(named, |_, candidate| {
            let of_first = |name: &&String| name.starts_with("blk.0.");
            let names: Vec<String> = candidate.tensors.keys().filter(of_first).cloned().collect();
            for name in names {
                exchange(candidate, &name, &name.replacen("blk.0.", "blk.1.", 1));
            }
        });
    }
}

#[test]
fn a_bias_dropped() {
    let good = reference(DType::BF16, Like { biased: true, ..Like::default() });
    let mut candidate = honest(&good, DType::F16);
    candidate.tensors.shift_remove("blk.1.attn_v.bias").expect("a bias");
    assert_caught(&without_running(&good, &candidate), "blk.1.attn_v.bias");
}

#[test]
fn a_head_lost() {
    let good = reference(DType::BF16, Like::default());
    let mut candidate = honest(&good, DType::F16);
    candidate.tensors.shift_remove("output.weight").expect("a head");
    let report = with_running(&good, &candidate);
    assert_caught(&report, "output.weight");
    assert_caught(&report, "output matrix");
}

#[test]
fn a_head_untied_wrongly() {
    let good = reference(DType::BF16, Like { tied: true, ..Like::default() });
    let mut candidate = honest(&good, DType::F16);
    let norm = candidate.tensors["token_embd.weight"].clone();
    candidate.tensors.insert("output.weight".into(), norm);
    alter(&mut candidate, "output.weight", |values| values.reverse());
    assert_caught(&without_running(&good, &candidate), "output.weight");
}

/// Hugging Face to Hugging Face: the flag alone is wrong.
#[test]
fn a_tie_lost_in_the_configuration() {
    let good = reference(DType::BF16, Like { tied: true, ..Like::default() });
    let mut candidate = good.clone();
    candidate.config.entries.insert("tie_word_embeddings".into(), Value::Bool(false));
    let report = without_running(&good, &candidate);
    assert_caught(&report, "output matrix");
    assert_caught(&report, "lm_head.weight");
}

#[test]
fn an_overflow_of_f16() {
    let mut good = reference(DType::BF16, Like::default());
    alter(&mut good, "model.layers.0.mlp.down_proj.weight", |values| values[300] = 70000.0);
    let mut candidate = honest(&good, DType::F16);
    let named = "blk.0.ffn_down.weight: overflowed at [1, 44]: reference 70144";
    assert_caught(&without_running(&good, &candidate), named);
    alter(&mut candidate, "blk.0.ffn_down.weight", |values| values[300] = 65504.0);
    assert_caught(&without_running(&good, &candidate), "saturated at [1, 44]");
}

#[test]
fn shards_off_by_one() {
    for by in [1, 2, 4, 34] {
        plant("blk.1.ffn_up.weight", |_, candidate| {
            damage(candidate, "blk.1.ffn_up.weight", |bytes| bytes.rotate_left(by));
        });
    }
}

#[test]
fn byte_order_swapped() {
    plant("token_embd.weight", |_, candidate| {
        damage(candidate, "token_embd.weight", |bytes| {
            bytes.chunks_exact_mut(2).for_each(<[u8]>::reverse);
        });
    });
}

#[test]
fn one_flipped_exponent_bit() {
    let good = reference(DType::BF16, Like::default());
    for dtype in types() {
        let size = dtype.block_bytes() as usize;
        // The scale of a block stands first, but in q6_k; the exponent's lowest bit in a half,
        // a brain float and a float.
        let (byte, bit) = match dtype {
            DType::F32 => (2, 7),
            DType::BF16 => (0, 7),
            DType::Packed(block) if block.name == "q6_k" => (size - 1, 2),
            _ => (1, 2),
        };
        let mut candidate = honest(&good, dtype);
        damage(&mut candidate, "blk.0.attn_v.weight", |bytes| bytes[5 * size + byte] ^= 1 << bit);
        assert_caught(&without_running(&good, &candidate), "blk.0.attn_v.weight");
    }
    let mut candidate = honest(&good, DType::F16);
    damage(&mut candidate, "blk.1.ffn_norm.weight", |bytes| bytes[4 * 9 + 2] ^= 0x80);
    assert_caught(&without_running(&good, &candidate), "blk.1.ffn_norm.weight");
}

#[test]
fn an_unused_row_scaled() {
    let good = reference(DType::BF16, Like::default());
    let factors = [
        (DType::F32, 1.0001),
        (DType::F16, 1.004),
        (DType::BF16, 1.01),
        (packing("q8_0"), 1.05),
        (packing("q6_k"), 1.05),
        (packing("q5_0"), 1.15),
        (packing("q5_1"), 1.15),
        (packing("q4_1"), 1.25),
        (packing("q4_0"), 1.25),
    ];
    for (dtype, factor) in factors {
        for factor in [factor, 2.0 - factor] {
            let mut values = good.tensors["model.embed_tokens.weight"].to_floats().unwrap();
            values[77 * COLUMNS..78 * COLUMNS].iter_mut().for_each(|x| *x *= factor);
            let mut candidate = honest(&good, dtype);
            let scaled = tensor(dtype, vec![VOCAB, COLUMNS as u64], &values);
            candidate.tensors["token_embd.weight"] = scaled;
            let report = without_running(&good, &candidate);
            assert_caught(&report, "token_embd.weight");
            assert_caught(&report, "[77, ");
            // Each gate must see it by itself: bounds on elements are loose where types are.
            let by_rows = report.findings.iter().any(|found| found.gate == tensors::ROWS);
            assert_eq!(by_rows, dtype.is_packed(), "{dtype}: {}", report.to_text(true));
        }
    }
}

#[test]
fn a_wrong_hyper_parameter() {
    let good = reference(DType::BF16, Like::default());
    let faults = [
        ("llama.rope.freq_base", Value::F32(10001.0), "rope theta"),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-6), "norm epsilon"),
        ("llama.attention.head_count", Value::U32(8), "head count"),
        ("llama.attention.head_count", Value::U32(3), "head count"),
        ("llama.attention.head_count_kv", Value::U32(4), "key and value head count"),
        ("llama.context_length", Value::U32(256), "context length"),
        ("llama.vocab_size", Value::U32(319), "vocabulary size"),
        ("llama.block_count", Value::U32(1), "layer count"),
        ("general.architecture", Value::Text("qwen2".into()), "architecture"),
    ];
    for (key, value, named) in faults {
        let mut candidate = honest(&good, DType::F16);
        candidate.config.entries.insert(key.into(), value);
        assert_caught(&with_running(&good, &candidate), named);
    }
    let mut candidate = honest(&good, DType::F16);
    let factors = tensor(DType::F32, vec![32], &[2.0; 32]);
    candidate.tensors.insert("rope_freqs.weight".into(), factors);
    assert_caught(&without_running(&good, &candidate), "rotary frequency 0");
}

#[test]
fn a_truncated_vocabulary() {
    let good = reference(DType::BF16, Like::default());
    let mut candidate = honest(&good, DType::F16);
    for name in ["token_embd.weight", "output.weight"] {
        let values = candidate.tensors[name].to_floats().unwrap();
        let dims = vec![VOCAB - 1, COLUMNS as u64];
        let cut = tensor(DType::F16, dims, &values[..values.len() - COLUMNS]);
        candidate.tensors[name] = cut;
    }
    candidate.config.entries.shift_remove("llama.vocab_size");
    let report = with_running(&good, &candidate);
    assert_caught(&report, "vocabulary size");
    assert_caught(&report, "token_embd.weight");
}

/// Were the table wrong about rows, every gate about tensors would be blind: the reference's
/// recipe and the candidate would be wrong alike. The logits are not.
#[test]
fn logits_see_what_the_table_would_hide() {
    let good = reference(DType::BF16, Like::default());
    let ids: Vec<u32> = (0..64).map(|i| i * 53 % VOCAB as u32).collect();
    let chunks = [Chunk { scored: 0..ids.len(), ids }];
    for (dtype, exact) in [(DType::F32, true), (packing("q4_0"), false)] {
        let mut candidate = honest(&good, dtype);
        for layer in 0..2 {
            let name = format!("blk.{layer}.attn_q.weight");
            let plain = &good.tensors[&format!("model.layers.{layer}.self_attn.q_proj.weight")];
            candidate.tensors[&name] = encode(plain, dtype);
        }
        let pairs = pair::pair(&good, &candidate).unwrap();
        let (own, unknown) = own::model(&good, &pairs, quant::quantizer_for).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        let own = (!exact).then_some(&own);
        let (reference, candidate) = (&good, &candidate);
        let plan = Plan { reference, candidate, own, exact, chunks: &chunks };
        let Ran::Compared(_, Some(gate)) = run(&plan, &machine).unwrap() else {
            panic!("both models run");
        };
        assert!(!gate.pass, "{dtype}: {gate:?}");
    }
}

#[test]
fn a_nan_in_a_packing_and_in_a_float() {
    plant("blk.0.ffn_up.weight", |_, candidate| {
        let dtype = candidate.tensors["blk.0.ffn_up.weight"].dtype();
        let size = dtype.block_bytes() as usize;
        let at = match dtype {
            DType::Packed(block) if block.name == "q6_k" => size - 2,
            DType::F32 | DType::BF16 => size - 2,
            _ => 0,
        };
        damage(candidate, "blk.0.ffn_up.weight", |bytes| {
            bytes[at..at + 2].copy_from_slice(&[0xff, 0x7f]);
        });
    });
}
