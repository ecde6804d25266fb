//! What a tensor is for, told by its name in GGUF.

use crate::ir::Shape;

/// What a tensor is for, as far as mixtures care: `tensor_category` of llama-quant.cpp.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Any role: only in rules.
    Any,
    /// The head; also the embedding where that is the head.
    Output,
    TokenEmbedding,
    AttentionQ,
    AttentionK,
    /// The values, alone or fused with queries and keys.
    AttentionV,
    AttentionOutput,
    FfnUp,
    FfnGate,
    FfnDown,
    Other,
}

impl Role {
    pub(super) const COUNT: usize = Self::Other as usize + 1;
}

/// The role that a part of the name tells, the first that fits.
const PARTS: [(&str, Role); 9] = [
    ("attn_qkv.weight", Role::AttentionV),
    ("attn_kv_b.weight", Role::AttentionV),
    ("attn_v.weight", Role::AttentionV),
    ("attn_k.weight", Role::AttentionK),
    ("attn_q.weight", Role::AttentionQ),
    ("attn_output.weight", Role::AttentionOutput),
    ("ffn_up", Role::FfnUp),
    ("ffn_gate", Role::FfnGate),
    ("ffn_down", Role::FfnDown),
];

/// Weights that stay F32, by a part of the name: `tensor_allows_quantization`. They are small, or
/// decide much with few numbers, or have no kernel for packed weights.
const KEPT: [&str; 30] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
];

/// Weights that stay F32, by their whole name.
const KEPT_NAMES: [&str; 2] = ["position_embd.weight", "token_types.weight"];

pub(super) fn role(name: &str, tied: bool) -> Role {
    match name {
        "output.weight" => Role::Output,
        "token_embd.weight" | "per_layer_token_embd.weight" if tied => Role::Output,
        "token_embd.weight" | "per_layer_token_embd.weight" => Role::TokenEmbedding,
        _ => {
            let found = PARTS.iter().find(|(part, _)| name.contains(part));
            found.map_or(Role::Other, |(_, role)| *role)
        }
    }
}

/// Whether a policy decides on the tensor at all. Leading dimensions of 1 do not count: to ggml,
/// a matrix of one row is a vector.
pub(super) fn has_weights_to_quantize(name: &str, shape: &Shape) -> bool {
    let rank = shape.dims().iter().skip_while(|dim| **dim == 1).count();
    let kept = || KEPT.iter().any(|part| name.contains(part)) || KEPT_NAMES.contains(&name);
    rank >= 2 && name.ends_with("weight") && !kept()
}

/// Whether the tensor stays F32 for nothing but its name, which is not the model's word for a
/// weight: a matrix of an unknown kind.
pub(crate) fn is_left_by_name(name: &str, shape: &Shape) -> bool {
    let rank = shape.dims().iter().skip_while(|dim| **dim == 1).count();
    rank >= 2 && !name.ends_with("weight") && !name.ends_with("bias")
}

/// The layer of a name such as `blk.3.attn_q.weight`.
pub(super) fn layer_of(name: &str) -> Option<usize> {
    let (number, _) = name.strip_prefix("blk.")?.split_once('.')?;
    number.parse().ok()
}
