use super::*;

/// Every tensor of six real models under every mixture, as llama-quantize assigns them.
#[test]
fn mixtures_of_real_models_are_those_of_llama_quantize() {
    assert_eq!(hold_against("mixtures.json"), 33 * 2815);
}

/// The same for small models that were made for what no real one of those has: eight experts,
/// an importance matrix, fused attention, Falcon's exceptions.
#[test]
fn mixtures_of_made_models_are_those_of_llama_quantize() {
    assert_eq!(hold_against("mixtures-made.json"), 29_676);
}

fn hold_against(file: &str) -> usize {
    let path = format!("{}/fixtures/quant/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let models: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for (model, golden) in models.as_object().unwrap() {
        let (facts, tensors) = (facts_of(golden), tensors_of(golden));
        for (mixture, expected) in golden["mixtures"].as_object().unwrap() {
            let types = find(mixture).unwrap().assign(&facts, &tensors, false);
            for ((name, shape), (dtype, _)) in tensors.iter().zip(types) {
                let mut exceptions = expected["exceptions"].as_object().unwrap().iter();
                let exception =
                    exceptions.find(|(_, of)| of.as_array().unwrap().iter().any(|n| n == name));
                let ggml = match exception {
                    Some((ggml, _)) => ggml.as_str(),
                    None if shape.rank() < 2 => "f32",
                    None => expected["default"].as_str().unwrap(),
                };
                assert_eq!(dtype.name(), ggml.to_lowercase(), "{model} {mixture} {name}");
                compared += 1;
            }
        }
    }
    compared
}

fn facts_of(golden: &serde_json::Value) -> Facts {
    let dim = |key: &str| golden["dims"][key].as_u64().unwrap_or(0) as usize;
    Facts {
        architecture: golden["architecture"].as_str().unwrap().to_owned(),
        layers: dim("n_layer"),
        experts: dim("n_expert"),
        heads: dim("n_head"),
        kv_heads: dim("n_head_kv"),
        importance: golden["importance"] == true,
    }
}

fn tensors_of(golden: &serde_json::Value) -> Vec<(String, Shape)> {
    let rows = golden["tensors"].as_array().unwrap().iter();
    let tensor = |row: &serde_json::Value| {
        let dims = row[1].as_array().unwrap().iter().map(|d| d.as_u64().unwrap());
        (row[0].as_str().unwrap().to_owned(), Shape::new(dims.collect()).unwrap())
    };
    rows.map(tensor).collect()
}

fn assign(name: &str, facts: &Facts, tensors: &[(&str, &[u64])], pure: bool) -> Vec<String> {
    let tensors: Vec<(String, Shape)> = tensors
        .iter()
        .map(|(name, dims)| ((*name).to_owned(), Shape::new(dims.to_vec()).unwrap()))
        .collect();
    let types = find(name).unwrap().assign(facts, &tensors, pure);
    types
        .into_iter()
        .map(|(dtype, note)| dtype.name().to_owned() + &note.unwrap_or_default())
        .collect()
}

#[test]
fn what_is_small_or_delicate_stays() {
    let tensors: [(&str, &[u64]); 8] = [
        ("token_embd.weight", &[100, 512]),
        ("blk.0.ffn_gate_inp.weight", &[8, 512]),
        ("blk.0.attn_norm.weight", &[512]),
        ("blk.0.attn_q.bias", &[8, 512]),
        ("blk.0.attn_k.weight", &[1, 512]),
        ("blk.0.ssm_conv1d.weight", &[512, 4]),
        ("position_embd.weight", &[512, 512]),
        ("blk.0.attn_q.weight", &[512, 512]),
    ];
    let facts = Facts::default();
    let expected = ["q6_k", "f32", "f32", "f32", "f32", "f32", "f32", "q4_0"];
    assert_eq!(assign("q4_0", &facts, &tensors, false), expected);
    assert_eq!(assign("Q4_0", &facts, &tensors, true)[0], "q4_0");
    let expected = ["bf16", "f32", "f32", "f32", "f32", "f32", "f32", "bf16"];
    assert_eq!(assign("bf16", &facts, &tensors, false), expected);
}

#[test]
fn rows_that_are_no_blocks_get_what_they_can_be_cut_into() {
    let facts = Facts::default();
    let tensors: [(&str, &[u64]); 3] =
        [("output.weight", &[9, 96]), ("a.weight", &[9, 96]), ("b.weight", &[9, 100])];
    let of = |name: &str| assign(name, &facts, &tensors, false);
    let note = |columns, len, instead: &str, meant: &str| {
        format!("{instead}{columns} columns are not blocks of {len}: {instead} instead of {meant}")
    };
    assert_eq!(of("Q4_0")[0], note(96, 256, "q8_0", "q6_k"));
    assert_eq!(of("Q4_K_M")[..2], ["q8_0".to_owned(), note(96, 256, "q5_0", "q4_k")]);
    assert_eq!(of("Q5_K_S")[1], note(96, 256, "q5_1", "q5_k"));
    assert_eq!(of("Q2_K")[1], note(96, 256, "q4_0", "q2_k"));
    assert_eq!(of("Q2_0")[1], note(96, 64, "q4_0", "q2_0"));
    assert_eq!(of("IQ2_XS")[1], note(96, 256, "iq4_nl", "iq2_xs"));
    assert_eq!(of("Q8_0")[2], note(100, 32, "f16", "q8_0"));
    assert_eq!(assign("Q6_K", &facts, &tensors, true)[2], note(100, 256, "f16", "q6_k"));
}

#[test]
fn eight_experts_and_importance_change_the_mixture() {
    let facts = Facts { layers: 8, experts: 8, importance: true, ..Facts::default() };
    let tensors: [(&str, &[u64]); 5] = [
        ("output.weight", &[512, 512]),
        ("blk.1.ffn_down_exps.weight", &[8, 512, 512]),
        ("blk.0.attn_v.weight", &[512, 512]),
        ("blk.0.attn_k.weight", &[512, 512]),
        ("blk.0.ffn_down_exps.weight", &[8, 512, 512]),
    ];
    let expected = ["q6_k", "q4_0", "q8_0", "q8_0", "q4_1"];
    assert_eq!(assign("Q4_0", &facts, &tensors, false), expected);
    let expected = ["q6_k", "q5_0", "q8_0", "q8_0", "q5_1"];
    assert_eq!(assign("Q5_0", &facts, &tensors, false), expected);
}

#[test]
fn names_and_numbers_are_unique() {
    assert!(POLICIES.is_sorted_by_key(|policy| policy.file_type));
    assert_eq!(POLICIES.len(), 36);
    assert!(find("q4_k_m").is_some_and(|policy| policy.file_type == 15));
    assert!(find("q4_k_x").is_none());
}
