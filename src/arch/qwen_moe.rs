//! Qwen's mixtures of experts: <https://arxiv.org/abs/2407.10671>,
//! <https://arxiv.org/abs/2505.09388>.
//!
//! Qwen 2 has a shared expert, of which a gate says how much is used. Hugging Face has that gate
//! as a matrix of one row, GGUF as a vector.

use super::layers;
use super::llama::{HALVES, KEYS, LLAMA, ROWS};
use super::qwen2::BIASES;
use super::qwen3::QUERY_NORMS;
use super::table::{
    Arch, Bias, BlockShape, Default, Entries, Fix, Groups, Hooks, Key, Need, Role, Row, at, each,
    key, part, row,
};
use crate::ir::value::List;
use crate::ir::{Config, Field, Hyper, LayerSet, Model, Result, Routing, Scalar, Value};

/// `Qwen2MoeForCausalLM`.
pub(super) static QWEN2_MOE: Arch = Arch {
    gguf: "qwen2moe",
    hf: &["Qwen2MoeForCausalLM"],
    model_type: "qwen2_moe",
    keys: &[KEYS, EXPERT_KEYS, QWEN2_MOE_KEYS],
    hooks: Hooks { from_json: qwen2_from_json, to_json: qwen2_to_json, ..Hooks::NONE },
    rows: &[ROWS, HALVES, BIASES, QKV_BIASES, DENSE, EXPERTS, SHARED],
    block: BlockShape::USUAL,
    ..LLAMA
};

/// `Qwen3MoeForCausalLM`.
pub(super) static QWEN3_MOE: Arch = Arch {
    gguf: "qwen3moe",
    hf: &["Qwen3MoeForCausalLM"],
    model_type: "qwen3_moe",
    keys: &[KEYS, EXPERT_KEYS, QWEN3_MOE_KEYS],
    hooks: Hooks {
        from_json: qwen3_from_json,
        to_json: qwen3_to_json,
        from_gguf: routes_normalized,
        ..Hooks::NONE
    },
    rows: &[ROWS, HALVES, QUERY_NORMS, DENSE, EXPERTS],
    block: BlockShape::USUAL,
    ..LLAMA
};

#[rustfmt::skip]
pub(super) static EXPERT_KEYS: &[Key] = &[
    key(Field::Experts,           &["num_experts", "num_local_experts"], "expert_count",               Default::Required),
    key(Field::ExpertsUsed,       &["num_experts_per_tok"],              "expert_used_count",          Default::Is(Scalar::Count(8))),
    key(Field::ExpertFeedForward, &["moe_intermediate_size"],            "expert_feed_forward_length", Default::Required),
    key(Field::Routing,           &[],                                   "",                           Default::Is(Scalar::Routing(Routing::Softmax))),
    key(Field::NormalizedRoutes,  &["norm_topk_prob"],                   "",                           Default::None),
];

#[rustfmt::skip]
static QWEN2_MOE_KEYS: &[Key] = &[
    key(Field::Context,           &["max_position_embeddings"],          "context_length",             Default::Is(Scalar::Count(32768))),
    key(Field::KvHeads,           &["num_key_value_heads"],              "attention.head_count_kv",    Default::Is(Scalar::Count(16))),
    key(Field::Experts,           &["num_experts", "num_local_experts"], "expert_count",               Default::Is(Scalar::Count(60))),
    key(Field::ExpertsUsed,       &["num_experts_per_tok"],              "expert_used_count",          Default::Is(Scalar::Count(4))),
    key(Field::ExpertFeedForward, &["moe_intermediate_size"],            "expert_feed_forward_length", Default::Is(Scalar::Count(1408))),
    key(Field::SharedFeedForward, &["shared_expert_intermediate_size"],  "expert_shared_feed_forward_length", Default::Is(Scalar::Count(5632))),
];

#[rustfmt::skip]
static QWEN3_MOE_KEYS: &[Key] = &[
    key(Field::Context,           &["max_position_embeddings"],          "context_length",             Default::Is(Scalar::Count(32768))),
    key(Field::KvHeads,           &["num_key_value_heads"],              "attention.head_count_kv",    Default::Is(Scalar::Count(4))),
    key(Field::Experts,           &["num_experts", "num_local_experts"], "expert_count",               Default::Is(Scalar::Count(128))),
    key(Field::ExpertFeedForward, &["moe_intermediate_size"],            "expert_feed_forward_length", Default::Is(Scalar::Count(768))),
];

#[rustfmt::skip]
static QKV_BIASES: &[Row] = &[
    row(Role::Query, &[at("model.layers.{i}.self_attn.q_proj")], &[at("blk.{i}.attn_q")], Fix::Keep, Need::Always, Bias::If("qkv_bias", true)),
    row(Role::Key,   &[at("model.layers.{i}.self_attn.k_proj")], &[at("blk.{i}.attn_k")], Fix::Keep, Need::Always, Bias::If("qkv_bias", true)),
    row(Role::Value, &[at("model.layers.{i}.self_attn.v_proj")], &[at("blk.{i}.attn_v")], Fix::Keep, Need::Always, Bias::If("qkv_bias", true)),
];

/// The layers without experts.
#[rustfmt::skip]
pub(super) static DENSE: &[Row] = &[
    row(Role::Gate, &[at("model.layers.{i}.mlp.gate_proj")], &[at("blk.{i}.ffn_gate")], Fix::Keep, Need::Dense, Bias::Never),
    row(Role::Up,   &[at("model.layers.{i}.mlp.up_proj")],   &[at("blk.{i}.ffn_up")],   Fix::Keep, Need::Dense, Bias::Never),
    row(Role::Down, &[at("model.layers.{i}.mlp.down_proj")], &[at("blk.{i}.ffn_down")], Fix::Keep, Need::Dense, Bias::Never),
];

/// The layers with experts: each a tensor on the hub, stacked in transformers 5 and in GGUF.
#[rustfmt::skip]
pub(super) static EXPERTS: &[Row] = &[
    row(Role::Router,     &[at("model.layers.{i}.mlp.gate")], &[at("blk.{i}.ffn_gate_inp")], Fix::Keep, Need::Sparse, Bias::Never),
    row(Role::ExpertGate, &[each("model.layers.{i}.mlp.experts.{e}.gate_proj", Field::Experts), part("model.layers.{i}.mlp.experts.gate_up_proj", Groups::One, 0).bare()],
                          &[at("blk.{i}.ffn_gate_exps")], Fix::Keep, Need::Sparse, Bias::Never),
    row(Role::ExpertUp,   &[each("model.layers.{i}.mlp.experts.{e}.up_proj", Field::Experts), part("model.layers.{i}.mlp.experts.gate_up_proj", Groups::One, 1).bare()],
                          &[at("blk.{i}.ffn_up_exps")], Fix::Keep, Need::Sparse, Bias::Never),
    row(Role::ExpertDown, &[each("model.layers.{i}.mlp.experts.{e}.down_proj", Field::Experts), at("model.layers.{i}.mlp.experts.down_proj").bare()],
                          &[at("blk.{i}.ffn_down_exps")], Fix::Keep, Need::Sparse, Bias::Never),
];

#[rustfmt::skip]
static SHARED: &[Row] = &[
    row(Role::SharedRouter, &[at("model.layers.{i}.mlp.shared_expert_gate")],      &[at("blk.{i}.ffn_gate_inp_shexp")], Fix::Flat, Need::Sparse, Bias::Never),
    row(Role::SharedGate,   &[at("model.layers.{i}.mlp.shared_expert.gate_proj")], &[at("blk.{i}.ffn_gate_shexp")],     Fix::Keep, Need::Sparse, Bias::Never),
    row(Role::SharedUp,     &[at("model.layers.{i}.mlp.shared_expert.up_proj")],   &[at("blk.{i}.ffn_up_shexp")],       Fix::Keep, Need::Sparse, Bias::Never),
    row(Role::SharedDown,   &[at("model.layers.{i}.mlp.shared_expert.down_proj")], &[at("blk.{i}.ffn_down_shexp")],     Fix::Keep, Need::Sparse, Bias::Never),
];

/// Every `decoder_sparse_step`th layer has experts, but for those in `mlp_only_layers`.
fn sparse(config: &Config, hyper: &mut Hyper) {
    let step = config.get("decoder_sparse_step").and_then(Value::as_u64).unwrap_or(1).max(1);
    let dense: Vec<u64> = match config.get("mlp_only_layers") {
        Some(Value::List(list)) => {
            (0..list.len()).filter_map(|i| list.get(i).and_then(|n| n.as_u64())).collect()
        }
        _ => Vec::new(),
    };
    let is_sparse = |layer: u64| (layer + 1).is_multiple_of(step) && !dense.contains(&layer);
    hyper.sparse = Some(LayerSet::of(hyper.layers.unwrap_or(0), is_sparse));
}

fn write_sparse(hyper: &Hyper, entries: &mut Entries) {
    let dense = (0..hyper.layers.unwrap_or(0)).filter(|layer| !hyper.is_sparse(*layer));
    entries.insert("decoder_sparse_step".into(), Value::U64(1));
    entries.insert("mlp_only_layers".into(), Value::List(List::U64(dense.collect())));
}

/// Unlike Qwen 2's, every other layer below `max_window_layers` has the window.
fn qwen2_from_json(config: &Config, hyper: &mut Hyper) -> Result<()> {
    sparse(config, hyper);
    let first = config.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28);
    let is_in = |layer: u64| layer.is_multiple_of(2) && layer < first;
    layers::windowed(config, hyper, ("sliding_window", Some(4096)), is_in)?;
    layers::only_if_used(config, hyper);
    Ok(())
}

fn qwen2_to_json(hyper: &Hyper, entries: &mut Entries) {
    write_sparse(hyper, entries);
    layers::write(hyper, entries);
}

fn qwen3_from_json(config: &Config, hyper: &mut Hyper) -> Result<()> {
    sparse(config, hyper);
    layers::windowed(config, hyper, ("sliding_window", Some(4096)), |_| true)?;
    hyper.windowed = None;
    layers::only_if_used(config, hyper);
    Ok(())
}

fn qwen3_to_json(hyper: &Hyper, entries: &mut Entries) {
    write_sparse(hyper, entries);
    layers::write(hyper, entries);
}

/// llama.cpp makes the weights of Qwen 3's experts sum to 1.
fn routes_normalized(_: &Model, hyper: &mut Hyper) -> Result<()> {
    hyper.normalized_routes = Some(true);
    Ok(())
}
