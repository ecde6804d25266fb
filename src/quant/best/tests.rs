//! What the search gains, held against the reference's quantizers through the same decoder.

use crate::ir::Quantizer;
use crate::quant::simd::tests::on_each;
use crate::quant::tests::{decode, gaussian, pack};
use crate::quant::{BEST_QUANTIZERS, quantizer_for};

const COLUMNS: usize = 1024;

/// Rows of N(0, 1), by Box and Muller, from a generator that is the same everywhere.
fn normal(len: usize, mut seed: u64) -> Vec<f32> {
    let mut uniform = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let mut number = || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    (0..len).map(|_| number() as f32).collect()
}

/// The power of the error as a part of the power of the weights, both by importance.
fn nmse(of: &Quantizer, weights: &[f32], importance: Option<&[f32]>) -> f64 {
    let decoded = decode(of.block, &pack(of, weights, COLUMNS, importance));
    let (mut error, mut power) = (0.0, 0.0);
    for (i, (x, y)) in weights.iter().zip(&decoded).enumerate() {
        let count = importance.map_or(1.0, |importance| f64::from(importance[i % COLUMNS]));
        error += count * (f64::from(*x) - f64::from(*y)).powi(2);
        power += count * f64::from(*x).powi(2);
    }
    error / power
}

/// Per packing, the largest error on N(0, 1) that is accepted. The reference's, measured with
/// `ggml_quantize_chunk`, are 7.39e-3, 6.13e-3, 1.83e-3, 1.43e-3, 2.87e-5, 8.81e-2, 2.28e-2, 5.10e-3,
/// 1.31e-3, 3.16e-4, 5.80e-3 and 5.89e-3.
const ACCEPTED: [(&str, f64); 12] = [
    ("q4_0", 6.6e-3),
    ("q4_1", 4.85e-3),
    ("q5_0", 1.62e-3),
    ("q5_1", 1.12e-3),
    ("q8_0", 2.25e-5),
    ("q2_k", 7.0e-2),
    ("q3_k", 2.08e-2),
    ("q4_k", 4.95e-3),
    ("q5_k", 1.22e-3),
    ("q6_k", 2.9e-4),
    ("iq4_nl", 5.4e-3),
    ("iq4_xs", 5.5e-3),
];

#[test]
fn gaussian_rows_err_by_no_more_than_is_accepted() {
    let weights = normal(512 * COLUMNS, 1);
    assert_eq!(BEST_QUANTIZERS.len(), ACCEPTED.len());
    for (quantizer, (name, accepted)) in BEST_QUANTIZERS.iter().zip(ACCEPTED) {
        assert_eq!(quantizer.block.name, name);
        let found = nmse(quantizer, &weights, None);
        assert!(found <= accepted, "{name}: {found:.4e}, accepted {accepted:.4e}");
    }
}

#[test]
fn by_importance_the_error_is_less_than_the_reference_s() {
    let weights = normal(64 * COLUMNS, 2);
    let importance: Vec<f32> = normal(COLUMNS, 3).iter().map(|x| (1.5 * x).exp()).collect();
    for quantizer in BEST_QUANTIZERS {
        let reference = quantizer_for(quantizer.block).unwrap();
        let [ours, theirs] = [quantizer, reference].map(|of| nmse(of, &weights, Some(&importance)));
        assert!(ours < theirs, "{quantizer:?}: {ours:.4e}, the reference {theirs:.4e}");
    }
}

#[test]
fn bytes_are_the_same_on_every_instruction_set_and_row_by_row() {
    let mut weights = gaussian(24 * COLUMNS, 4);
    for (i, x) in weights.iter_mut().enumerate() {
        let tiny = [1.0, 1e-3, 1e-20, 1e-41, 3e38, 0.0][i / COLUMNS % 6];
        *x *= tiny;
    }
    let importance: Vec<f32> = gaussian(COLUMNS, 5).iter().map(|x| x.max(0.0)).collect();
    for quantizer in BEST_QUANTIZERS {
        for importance in [None, Some(&importance[..])] {
            let all = on_each(|| pack(quantizer, &weights, COLUMNS, importance));
            let rows = weights.chunks(COLUMNS);
            let alone: Vec<u8> =
                rows.flat_map(|row| pack(quantizer, row, COLUMNS, importance)).collect();
            for (isa, bytes) in all {
                assert!(bytes == alone, "{quantizer:?} {isa:?} {}", importance.is_some());
            }
        }
    }
}

#[test]
fn zeros_stay_zero_and_what_counts_for_nothing_stays_near() {
    for quantizer in BEST_QUANTIZERS {
        let zeros = decode(quantizer.block, &pack(quantizer, &[0.0; COLUMNS], COLUMNS, None));
        assert!(zeros.iter().all(|x| *x == 0.0), "{quantizer:?}");
        let weights = gaussian(COLUMNS, 6);
        let packed = pack(quantizer, &weights, COLUMNS, Some(&[0.0; COLUMNS]));
        let decoded = decode(quantizer.block, &packed);
        let error: f32 = weights.iter().zip(&decoded).map(|(x, y)| (x - y).powi(2)).sum();
        assert!(error < 0.2 * weights.iter().map(|x| x * x).sum::<f32>(), "{quantizer:?}");
    }
}
