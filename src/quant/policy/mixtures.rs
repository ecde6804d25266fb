//! The mixtures of llama-quantize, row by row: role, conditions, type. The first row that fits
//! counts; where none does, the base.

use super::If::{
    EightExperts, Falcon, First, FirstCounted, FirstOfRole, Grouped, GroupedOrExperts, Importance,
    Matrix, Middle, MoreBits, NoImportance, NotEightExperts, NotFalcon, Seventy,
};
use super::roles::Role::{
    Any, AttentionK, AttentionOutput, AttentionQ, AttentionV, FfnDown, FfnGate, FfnUp, Output,
    TokenEmbedding,
};
use super::{Policy, Rule};
use crate::ir::DType::{self, Packed};
use crate::quant;

const Q4_1: DType = Packed(&quant::q4_1::BLOCK);
const Q6_K: DType = Packed(&quant::q6_k::BLOCK);
const Q2_K: DType = Packed(&quant::q2_k::BLOCK);
const Q3_K: DType = Packed(&quant::q3_k::BLOCK);
const Q4_K: DType = Packed(&quant::q4_k::BLOCK);
const Q5_K: DType = Packed(&quant::q5_k::BLOCK);
const IQ1_S: DType = Packed(&quant::iq1_s::BLOCK);
const IQ1_M: DType = Packed(&quant::iq1_m::BLOCK);
const IQ2_XXS: DType = Packed(&quant::iq2_xxs::BLOCK);
const IQ2_XS: DType = Packed(&quant::iq2_xs::BLOCK);
const IQ2_S: DType = Packed(&quant::iq2_s::BLOCK);
const IQ3_XXS: DType = Packed(&quant::iq3_xxs::BLOCK);
const IQ3_S: DType = Packed(&quant::iq3_s::BLOCK);
const IQ4_XS: DType = Packed(&quant::iq4_xs::BLOCK);
const TQ1_0: DType = Packed(&quant::tq1_0::BLOCK);
const TQ2_0: DType = Packed(&quant::tq2_0::BLOCK);
const MXFP4: DType = Packed(&quant::mxfp4::BLOCK);
pub(super) const Q4_0: DType = Packed(&quant::q4_0::BLOCK);
pub(super) const Q5_0: DType = Packed(&quant::q5_0::BLOCK);
pub(super) const Q5_1: DType = Packed(&quant::q5_1::BLOCK);
pub(super) const Q8_0: DType = Packed(&quant::q8_0::BLOCK);
pub(super) const IQ4_NL: DType = Packed(&quant::iq4_nl::BLOCK);

// Rows that several mixtures share.
const HEAD: Rule = Rule(Output, &[], Q6_K);
const HEAD_OF_FEW_BITS: Rule = Rule(Output, &[], Q5_K);
const V_OF_8: Rule = Rule(AttentionV, &[EightExperts], Q8_0);
const K_OF_8: Rule = Rule(AttentionK, &[EightExperts], Q8_0);
const V_OF_70B: Rule = Rule(AttentionV, &[Seventy], Q5_K);
const V_OF_GROUPED_70B: Rule = Rule(AttentionV, &[Seventy, Grouped], Q5_K);
const V_OF_GROUPED: Rule = Rule(AttentionV, &[Grouped], Q4_K);
const O_OF_8: Rule = Rule(AttentionOutput, &[NotFalcon, EightExperts], Q5_K);

/// Every mixture, by the number of its file type.
#[rustfmt::skip]
pub static POLICIES: &[Policy] = &[
    Policy { name: "F32", file_type: 0, base: DType::F32, rules: &[] },
    Policy { name: "F16", file_type: 1, base: DType::F16, rules: &[] },
    Policy { name: "Q4_0", file_type: 2, base: Q4_0, rules: &[
        HEAD, V_OF_8, K_OF_8,
        Rule(FfnDown, &[Importance, First(8)], Q4_1),
    ] },
    Policy { name: "Q4_1", file_type: 3, base: Q4_1, rules: &[HEAD, V_OF_8, K_OF_8] },
    Policy { name: "Q8_0", file_type: 7, base: Q8_0, rules: &[] },
    Policy { name: "Q5_0", file_type: 8, base: Q5_0, rules: &[
        HEAD, V_OF_8, K_OF_8,
        Rule(FfnDown, &[Importance, First(8)], Q5_1),
    ] },
    Policy { name: "Q5_1", file_type: 9, base: Q5_1, rules: &[HEAD, V_OF_8, K_OF_8] },
    Policy { name: "Q2_K", file_type: 10, base: Q2_K, rules: &[
        HEAD, V_OF_8, K_OF_8, O_OF_8, V_OF_70B, V_OF_GROUPED,
        Rule(AttentionV,      &[],                           Q3_K),
        Rule(FfnDown,         &[],                           Q3_K),
        Rule(AttentionOutput, &[NotFalcon],                  Q3_K),
    ] },
    Policy { name: "Q3_K_S", file_type: 11, base: Q3_K, rules: &[HEAD, V_OF_8, K_OF_8, O_OF_8, V_OF_70B] },
    Policy { name: "Q3_K_M", file_type: 12, base: Q3_K, rules: &[
        HEAD, V_OF_8, K_OF_8, O_OF_8, V_OF_70B,
        Rule(AttentionV,      &[FirstOfRole(2)],             Q5_K),
        Rule(AttentionV,      &[],                           Q4_K),
        Rule(FfnDown,         &[First(16)],                  Q5_K),
        Rule(FfnDown,         &[NotFalcon],                  Q4_K),
        Rule(FfnDown,         &[MoreBits],                   Q4_K),
        Rule(AttentionOutput, &[NotFalcon],                  Q4_K),
    ] },
    Policy { name: "Q3_K_L", file_type: 13, base: Q3_K, rules: &[
        HEAD, V_OF_8, K_OF_8,
        Rule(AttentionV,      &[],                           Q5_K),
        Rule(FfnDown,         &[Falcon],                     Q4_K),
        Rule(FfnDown,         &[],                           Q5_K),
        Rule(AttentionOutput, &[Falcon],                     Q4_K),
        Rule(AttentionOutput, &[NotEightExperts],            Q5_K),
    ] },
    Policy { name: "Q4_K_S", file_type: 14, base: Q4_K, rules: &[
        HEAD, V_OF_8, K_OF_8, O_OF_8,
        Rule(AttentionV,      &[FirstOfRole(4)],             Q5_K),
        V_OF_70B,
        Rule(FfnDown,         &[NotFalcon, First(8)],        Q5_K),
    ] },
    Policy { name: "Q4_K_M", file_type: 15, base: Q4_K, rules: &[
        HEAD, V_OF_8, K_OF_8, O_OF_8,
        Rule(AttentionV,      &[MoreBits],                   Q6_K),
        V_OF_70B,
        Rule(FfnDown,         &[Falcon, First(16)],          Q6_K),
        Rule(FfnDown,         &[Falcon, MoreBits],           Q5_K),
        Rule(FfnDown,         &[NotFalcon, MoreBits],        Q6_K),
    ] },
    Policy { name: "Q5_K_S", file_type: 16, base: Q5_K, rules: &[HEAD, V_OF_8, K_OF_8] },
    Policy { name: "Q5_K_M", file_type: 17, base: Q5_K, rules: &[
        HEAD, V_OF_8, K_OF_8,
        Rule(AttentionV,      &[MoreBits],                   Q6_K),
        Rule(FfnDown,         &[MoreBits],                   Q6_K),
    ] },
    Policy { name: "Q6_K", file_type: 18, base: Q6_K, rules: &[HEAD, V_OF_8, K_OF_8] },
    Policy { name: "IQ2_XXS", file_type: 19, base: IQ2_XXS, rules: IQ2_SMALL },
    Policy { name: "IQ2_XS", file_type: 20, base: IQ2_XS, rules: IQ2_SMALL },
    Policy { name: "Q2_K_S", file_type: 21, base: Q2_K, rules: &[
        HEAD, V_OF_8, K_OF_8, V_OF_GROUPED_70B, V_OF_GROUPED,
        Rule(FfnDown,         &[First(8)],                   Q4_K),
    ] },
    Policy { name: "IQ3_XS", file_type: 22, base: IQ3_S, rules: &[
        HEAD, V_OF_8, K_OF_8, O_OF_8, V_OF_GROUPED_70B, V_OF_GROUPED,
        Rule(AttentionK,      &[],                           IQ3_XXS),
        Rule(AttentionQ,      &[],                           IQ3_XXS),
        Rule(FfnGate,         &[Middle],                     IQ3_XXS),
        Rule(FfnUp,           &[Middle],                     IQ3_XXS),
    ] },
    Policy { name: "IQ3_XXS", file_type: 23, base: IQ3_XXS, rules: &[
        HEAD_OF_FEW_BITS, V_OF_8, K_OF_8, O_OF_8, V_OF_GROUPED_70B, V_OF_GROUPED,
        Rule(TokenEmbedding,  &[],                           IQ3_S),
        Rule(AttentionV,      &[NoImportance],               IQ3_S),
        Rule(AttentionK,      &[],                           IQ2_S),
        Rule(AttentionQ,      &[],                           IQ2_S),
        Rule(FfnDown,         &[NoImportance, First(8)],     Q4_K),
        Rule(FfnDown,         &[NoImportance],               Q3_K),
        Rule(AttentionOutput, &[NotFalcon],                  IQ3_S),
    ] },
    Policy { name: "IQ1_S", file_type: 24, base: IQ1_S, rules: IQ1 },
    Policy { name: "IQ4_NL", file_type: 25, base: IQ4_NL, rules: IQ4 },
    Policy { name: "IQ3_S", file_type: 26, base: IQ3_S, rules: &[
        HEAD, V_OF_8, K_OF_8, O_OF_8, V_OF_GROUPED_70B, V_OF_GROUPED,
    ] },
    Policy { name: "IQ3_M", file_type: 27, base: IQ3_S, rules: &[
        HEAD, V_OF_8, K_OF_8, O_OF_8, V_OF_70B,
        Rule(AttentionV,      &[],                           Q4_K),
        Rule(FfnDown,         &[First(8)],                   Q4_K),
        Rule(FfnDown,         &[EightExperts, MoreBits],     Q4_K),
        Rule(AttentionOutput, &[NotFalcon],                  Q4_K),
    ] },
    Policy { name: "IQ2_S", file_type: 28, base: IQ2_XS, rules: IQ2_LARGE },
    Policy { name: "IQ2_M", file_type: 29, base: IQ2_S, rules: IQ2_LARGE },
    Policy { name: "IQ4_XS", file_type: 30, base: IQ4_XS, rules: IQ4 },
    Policy { name: "IQ1_M", file_type: 31, base: IQ1_M, rules: IQ1 },
    Policy { name: "BF16", file_type: 32, base: DType::BF16, rules: &[] },
    Policy { name: "TQ1_0", file_type: 36, base: TQ1_0, rules: TERNARY },
    Policy { name: "TQ2_0", file_type: 37, base: TQ2_0, rules: TERNARY },
    Policy { name: "MXFP4_MOE", file_type: 38, base: MXFP4, rules: &[
        Rule(Output,          &[],                           Q8_0),
        Rule(Any,             &[Matrix],                     Q8_0),
    ] },
];

const K_OF_8_OF_FEW_BITS: Rule = Rule(AttentionK, &[EightExperts], Q4_K);
const O_OF_8_OF_FEW_BITS: Rule = Rule(AttentionOutput, &[EightExperts], Q5_K);
const V_OF_FEW_BITS: Rule = Rule(AttentionV, &[GroupedOrExperts], Q4_K);

#[rustfmt::skip]
const IQ2_SMALL: &[Rule] = &[
    HEAD_OF_FEW_BITS, V_OF_FEW_BITS, K_OF_8_OF_FEW_BITS, O_OF_8_OF_FEW_BITS,
    Rule(TokenEmbedding,      &[],                           Q2_K),
    Rule(AttentionV,          &[],                           Q2_K),
    Rule(FfnDown,             &[FirstCounted(8)],            Q2_K),
];

#[rustfmt::skip]
const IQ2_LARGE: &[Rule] = &[
    HEAD_OF_FEW_BITS, V_OF_FEW_BITS, K_OF_8_OF_FEW_BITS, O_OF_8_OF_FEW_BITS,
    Rule(TokenEmbedding,      &[],                           IQ3_S),
    Rule(AttentionV,          &[],                           IQ3_S),
    Rule(FfnDown,             &[FirstCounted(8)],            IQ3_S),
    Rule(AttentionOutput,     &[],                           IQ3_S),
];

#[rustfmt::skip]
const IQ1: &[Rule] = &[
    HEAD_OF_FEW_BITS, V_OF_FEW_BITS, K_OF_8_OF_FEW_BITS, O_OF_8_OF_FEW_BITS,
    Rule(TokenEmbedding,      &[],                           Q2_K),
    Rule(AttentionV,          &[],                           Q2_K),
    Rule(FfnDown,             &[FirstCounted(8)],            Q2_K),
    Rule(AttentionOutput,     &[],                           IQ2_XXS),
];

#[rustfmt::skip]
const IQ4: &[Rule] = &[
    HEAD, V_OF_8, K_OF_8, O_OF_8,
    Rule(AttentionV,          &[Grouped],                    Q5_K),
    Rule(FfnDown,             &[NoImportance, First(8)],     Q5_K),
];

const TERNARY: &[Rule] = &[HEAD, V_OF_8, K_OF_8, Rule(TokenEmbedding, &[], Q4_K)];
