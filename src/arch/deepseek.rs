//! DeepSeek 2 and 3: <https://arxiv.org/abs/2405.04434>, <https://arxiv.org/abs/2412.19437>.
//!
//! Keys and values are made of a narrow vector. Hugging Face has what makes them as one matrix,
//! of each head the rows for keys, then those for values; llama.cpp has a matrix for each head,
//! that of keys transposed, so that it can be applied to queries. It counts one key and value
//! head, whose sizes are those of the narrow vector.

use super::llama::{KEYS, LLAMA, ROWS};
use super::qwen_moe::{DENSE, EXPERTS};
use super::table::{
    Arch, Bias, BlockShape, Default, Entries, Expected, Fix, Groups, Hooks, Key, Need, Pairing,
    Role, Row, at, key, part, row,
};
use crate::ir::{Config, Field, Hyper, LayerSet, Model, Result, Routing, Scalar, Scaling, Value};

/// `DeepseekV2ForCausalLM`.
pub(super) static DEEPSEEK2: Arch = Arch {
    gguf: "deepseek2",
    hf: &["DeepseekV2ForCausalLM"],
    model_type: "deepseek_v2",
    keys: &[KEYS, MLA_KEYS, V2_KEYS],
    hooks: Hooks { from_json: v2_from_json, to_json: v2_to_json, from_gguf, to_gguf },
    rows: &[ROWS, MLA_ROWS, DENSE, EXPERTS, SHARED],
    block: BlockShape {
        hf_pairing: Pairing::Pairs,
        gguf_pairing: Pairing::Pairs,
        ..BlockShape::USUAL
    },
    ..LLAMA
};

/// `DeepseekV3ForCausalLM`.
pub(super) static DEEPSEEK3: Arch = Arch {
    hf: &["DeepseekV3ForCausalLM"],
    model_type: "deepseek_v3",
    keys: &[KEYS, MLA_KEYS, V3_KEYS],
    hooks: Hooks { from_json, to_json, from_gguf, to_gguf },
    expects: &[("rope_interleave", Expected::Flag(true))],
    rows: &[ROWS, MLA_ROWS, DENSE, EXPERTS, SHARED, CHOICE],
    ..DEEPSEEK2
};

#[rustfmt::skip]
static MLA_KEYS: &[Key] = &[
    key(Field::KvHeads,           &[],                        "",                           Default::Same(Field::Heads)),
    key(Field::KeyDim,            &["qk_head_dim"],           "attention.key_length_mla",   Default::None),
    key(Field::ValueDim,          &["v_head_dim"],            "attention.value_length_mla", Default::Is(Scalar::Count(128))),
    key(Field::RopeDims,          &["qk_rope_head_dim"],      "rope.dimension_count",       Default::Is(Scalar::Count(64))),
    key(Field::QueryRank,         &["q_lora_rank"],           "attention.q_lora_rank",      Default::None),
    key(Field::KeyValueRank,      &["kv_lora_rank"],          "attention.kv_lora_rank",     Default::Is(Scalar::Count(512))),
    key(Field::LatentEpsilon,     &[],                        "",                           Default::Same(Field::NormEpsilon)),
    key(Field::Experts,           &["n_routed_experts", "num_experts", "num_local_experts"], "expert_count", Default::Is(Scalar::Count(64))),
    key(Field::ExpertsUsed,       &["num_experts_per_tok"],   "expert_used_count",          Default::Is(Scalar::Count(8))),
    key(Field::ExpertFeedForward, &["moe_intermediate_size"], "expert_feed_forward_length", Default::Is(Scalar::Count(1407))),
    key(Field::RouteScale,        &["routed_scaling_factor"], "expert_weights_scale",       Default::Is(Scalar::Real(1.0))),
    key(Field::RouteGroups,       &["n_group"],               "expert_group_count",         Default::None),
    key(Field::RouteGroupsUsed,   &["topk_group"],            "expert_group_used_count",    Default::None),
    key(Field::AttentionScale,    &[],                        "",                           Default::None),
];

/// transformers does not make the weights of DeepSeek 2's experts sum to 1, whatever config.json
/// says.
#[rustfmt::skip]
static V2_KEYS: &[Key] = &[
    key(Field::Routing,           &[],                        "",                           Default::Is(Scalar::Routing(Routing::Softmax))),
];

#[rustfmt::skip]
static V3_KEYS: &[Key] = &[
    key(Field::Context,           &["max_position_embeddings"], "context_length",           Default::Is(Scalar::Count(4096))),
    key(Field::Experts,           &["n_routed_experts", "num_experts", "num_local_experts"], "expert_count", Default::Is(Scalar::Count(256))),
    key(Field::ExpertFeedForward, &["moe_intermediate_size"], "expert_feed_forward_length", Default::Is(Scalar::Count(2048))),
    key(Field::Routing,           &[],                        "expert_gating_func",         Default::Is(Scalar::Routing(Routing::Sigmoid))),
    key(Field::NormalizedRoutes,  &["norm_topk_prob"],        "expert_weights_norm",        Default::Is(Scalar::Flag(true))),
    key(Field::RouteScale,        &["routed_scaling_factor"], "expert_weights_scale",       Default::Is(Scalar::Real(2.5))),
    key(Field::RouteGroups,       &["n_group"],               "expert_group_count",         Default::Is(Scalar::Count(8))),
    key(Field::RouteGroupsUsed,   &["topk_group"],            "expert_group_used_count",    Default::Is(Scalar::Count(4))),
];

const UP: Groups = Groups::Of(Field::Heads);

#[rustfmt::skip]
static MLA_ROWS: &[Row] = &[
    row(Role::Query,            &[at("model.layers.{i}.self_attn.q_proj")],             &[at("blk.{i}.attn_q")],         Fix::Keep, Need::FullRank, Bias::Never),
    row(Role::QueryDown,        &[at("model.layers.{i}.self_attn.q_a_proj")],           &[at("blk.{i}.attn_q_a")],       Fix::Keep, Need::LowRank,  Bias::If("attention_bias", false)),
    row(Role::QueryDownNorm,    &[at("model.layers.{i}.self_attn.q_a_layernorm")],      &[at("blk.{i}.attn_q_a_norm")],  Fix::Keep, Need::LowRank,  Bias::Never),
    row(Role::QueryUp,          &[at("model.layers.{i}.self_attn.q_b_proj")],           &[at("blk.{i}.attn_q_b")],       Fix::Keep, Need::LowRank,  Bias::Never),
    row(Role::Key,              &[],                                                    &[],                             Fix::Keep, Need::Optional, Bias::Never),
    row(Role::Value,            &[],                                                    &[],                             Fix::Keep, Need::Optional, Bias::Never),
    row(Role::KeyValueDown,     &[at("model.layers.{i}.self_attn.kv_a_proj_with_mqa")], &[at("blk.{i}.attn_kv_a_mqa")],  Fix::Keep, Need::Always,   Bias::If("attention_bias", false)),
    row(Role::KeyValueDownNorm, &[at("model.layers.{i}.self_attn.kv_a_layernorm")],     &[at("blk.{i}.attn_kv_a_norm")], Fix::Keep, Need::Always,   Bias::Never),
    row(Role::KeyUp,            &[part("model.layers.{i}.self_attn.kv_b_proj", UP, 0)], &[at("blk.{i}.attn_k_b"), part("blk.{i}.attn_kv_b", UP, 0)], Fix::ByHeadTransposed(Field::Heads), Need::Always, Bias::Never),
    row(Role::ValueUp,          &[part("model.layers.{i}.self_attn.kv_b_proj", UP, 1)], &[at("blk.{i}.attn_v_b"), part("blk.{i}.attn_kv_b", UP, 1)], Fix::ByHead(Field::Heads),           Need::Always, Bias::Never),
];

#[rustfmt::skip]
static SHARED: &[Row] = &[
    row(Role::SharedGate, &[at("model.layers.{i}.mlp.shared_experts.gate_proj")], &[at("blk.{i}.ffn_gate_shexp")], Fix::Keep, Need::Optional, Bias::Never),
    row(Role::SharedUp,   &[at("model.layers.{i}.mlp.shared_experts.up_proj")],   &[at("blk.{i}.ffn_up_shexp")],   Fix::Keep, Need::Optional, Bias::Never),
    row(Role::SharedDown, &[at("model.layers.{i}.mlp.shared_experts.down_proj")], &[at("blk.{i}.ffn_down_shexp")], Fix::Keep, Need::Optional, Bias::Never),
];

#[rustfmt::skip]
static CHOICE: &[Row] = &[
    row(Role::RouterBias, &[at("model.layers.{i}.mlp.gate.e_score_correction_bias").bare()], &[at("blk.{i}.exp_probs_b.bias").bare(), at("blk.{i}.exp_probs_b").bare()], Fix::Keep, Need::Sparse, Bias::Never),
];

fn count(config: &Config, key: &str, usual: u64) -> u64 {
    config.get(key).and_then(Value::as_u64).unwrap_or(usual)
}

fn v2_from_json(config: &Config, hyper: &mut Hyper) -> Result<()> {
    let method = config.get("topk_method").and_then(Value::as_text);
    if method != Some("group_limited_greedy") {
        (hyper.route_groups, hyper.route_groups_used) = (None, None);
    }
    if super::json::lookup(config, "q_lora_rank").is_none() {
        hyper.query_rank = Some(1536);
    }
    shared(config, hyper, ("n_shared_experts", 2), ("first_k_dense_replace", 0));
    Ok(())
}

fn from_json(config: &Config, hyper: &mut Hyper) -> Result<()> {
    if super::json::lookup(config, "q_lora_rank").is_none() {
        hyper.query_rank = Some(1536);
    }
    shared(config, hyper, ("n_shared_experts", 1), ("first_k_dense_replace", 3));
    Ok(())
}

fn shared(
    config: &Config,
    hyper: &mut Hyper,
    (experts, usual): (&str, u64),
    (first, usual_first): (&str, u64),
) {
    let plain = count(config, "qk_nope_head_dim", 128);
    hyper.key_dim = hyper.rope_dims.map(|rotary| plain + rotary);
    let experts = count(config, experts, usual);
    hyper.shared_feed_forward = hyper.expert_feed_forward.map(|size| size * experts);
    hyper.shared_feed_forward = hyper.shared_feed_forward.filter(|size| *size > 0);
    let first = count(config, first, usual_first);
    hyper.sparse = Some(LayerSet::of(hyper.layers.unwrap_or(0), |layer| layer >= first));
    // transformers builds these norms without config.json's epsilon.
    hyper.latent_epsilon = Some(1e-6);
    let rope = config.get("rope_scaling").or_else(|| config.get("rope_parameters"));
    let all = rope.and_then(|rope| rope.get("mscale_all_dim")).and_then(Value::as_f64);
    let factor = rope.and_then(|rope| rope.get("factor")).and_then(Value::as_f64);
    if let (Some(all), Some(factor), Some(size)) = (all, factor, hyper.key_dim)
        && all != 0.0
    {
        hyper.attention_scale = Some(sharpened(0.1 * all, factor, size));
    }
}

/// The multiplier of attention for longer contexts.
fn sharpened(by: f64, factor: f64, size: u64) -> f32 {
    let scale = if factor <= 1.0 { 1.0 } else { by * libm::log(factor) + 1.0 };
    (scale * scale / (size as f64).sqrt()) as f32
}

fn v2_to_json(hyper: &Hyper, entries: &mut Entries) {
    to_json(hyper, entries);
    let method = if hyper.route_groups.is_some() { "group_limited_greedy" } else { "greedy" };
    entries.insert("topk_method".into(), Value::Text(method.into()));
}

fn to_json(hyper: &Hyper, entries: &mut Entries) {
    let rotary = hyper.rope_dims.unwrap_or(0);
    let plain = hyper.key_dim.unwrap_or(0).saturating_sub(rotary);
    let experts = shared_count(hyper).unwrap_or(0);
    let rank = hyper.query_rank.map_or(Value::Null, Value::U64);
    entries.insert("qk_nope_head_dim".into(), Value::U64(plain));
    entries.insert("q_lora_rank".into(), rank);
    entries.insert("n_shared_experts".into(), Value::U64(experts));
    entries.insert("first_k_dense_replace".into(), Value::U64(first_sparse(hyper)));
    entries.insert("num_key_value_heads".into(), Value::U64(hyper.heads.unwrap_or(0)));
    if let (Some(by), Some(Value::Map(rope))) =
        (log_multiplier(hyper), entries.get_mut("rope_scaling"))
    {
        let all = Value::F64(f64::from(by) * 10.0);
        rope.insert("mscale".into(), all.clone());
        rope.insert("mscale_all_dim".into(), all);
    }
}

fn shared_count(hyper: &Hyper) -> Option<u64> {
    hyper.shared_feed_forward?.checked_div(hyper.expert_feed_forward?)
}

fn first_sparse(hyper: &Hyper) -> u64 {
    let layers = hyper.layers.unwrap_or(0);
    (0..layers).find(|layer| hyper.is_sparse(*layer)).unwrap_or(layers)
}

fn to_gguf(hyper: &Hyper, entries: &mut Entries) {
    let mut put = |key: &str, n: u64| {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        entries.insert(format!("{}.{key}", DEEPSEEK2.gguf), Value::U32(n));
    };
    let rank = hyper.key_value_rank.unwrap_or(0);
    put("attention.head_count_kv", 1);
    put("attention.key_length", rank + hyper.rope_dims.unwrap_or(0));
    put("attention.value_length", rank);
    put("leading_dense_block_count", first_sparse(hyper));
    put("expert_shared_count", shared_count(hyper).unwrap_or(0));
    if let Some(by) = log_multiplier(hyper) {
        let key = format!("{}.rope.scaling.yarn_log_multiplier", DEEPSEEK2.gguf);
        entries.insert(key, Value::F32(by));
        entries.shift_remove(&format!("{}.rope.scaling.attn_factor", DEEPSEEK2.gguf));
    }
}

/// A tenth of `mscale_all_dim`, out of the multiplier of attention.
fn log_multiplier(hyper: &Hyper) -> Option<f32> {
    let Scaling::Yarn { factor, .. } = hyper.scaling else { return None };
    let scale = f64::from(hyper.attention_scale?) * (hyper.key_dim? as f64).sqrt();
    Some(((scale.sqrt() - 1.0) / libm::log(f64::from(factor))) as f32)
}

fn from_gguf(model: &Model, hyper: &mut Hyper) -> Result<()> {
    let get = |key: &str| model.config.get(&format!("{}.{key}", DEEPSEEK2.gguf));
    let count = |key: &str| get(key).and_then(Value::as_u64);
    // Files before llama.cpp's latent attention have the sizes of a head under the usual names.
    let usual = |key: &str, found: Option<u64>| found.or_else(|| count(key));
    hyper.key_dim = usual("attention.key_length", hyper.key_dim);
    if count("attention.value_length_mla").is_none() {
        hyper.value_dim = usual("attention.value_length", None);
    }
    let shared = count("expert_shared_count").filter(|experts| *experts > 0);
    hyper.shared_feed_forward = shared.zip(hyper.expert_feed_forward).map(|(n, size)| n * size);
    let first = count("leading_dense_block_count").unwrap_or(0);
    hyper.sparse = Some(LayerSet::of(hyper.layers.unwrap_or(0), |layer| layer >= first));
    let by = get("rope.scaling.yarn_log_multiplier").and_then(Value::as_f64);
    if let (Some(by), Scaling::Yarn { factor, attention_factor, .. }) = (by, &mut hyper.scaling) {
        let factor = f64::from(*factor);
        hyper.attention_scale = hyper.key_dim.map(|size| sharpened(by, factor, size));
        // What sharpens attention takes the place of what sharpens rotation.
        *attention_factor = 1.0;
    }
    Ok(())
}
