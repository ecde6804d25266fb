//! Honest conversions, none of which may be refused.

use std::sync::Arc;

use super::model::{Like, encode_by, honest, normal, packing, reference, renamed};
use super::{assert_passes, with_running, without_running};
use crate::ir::{Blob, DType, Model, Op, Shape, Tensor};
use crate::quant;
use crate::run::random::SplitMix;
use crate::verify::pair::Pair;
use crate::verify::{Asked, Kind, Options, compare, scan};

const PLAIN: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

#[test]
fn from_every_float_to_every_float() {
    for from in PLAIN {
        for tied in [true, false] {
            let good = reference(from, Like { tied, biased: tied });
            for to in PLAIN {
                let report = with_running(&good, &honest(&good, to));
                assert_passes(&report);
                assert_eq!((report.kind, report.gates.len()), (Kind::Logits, 6));
            }
        }
    }
}

#[test]
fn from_binary64() {
    let good = reference(DType::F64, Like::default());
    for to in PLAIN {
        assert_passes(&without_running(&good, &honest(&good, to)));
    }
}

#[test]
fn to_every_packing() {
    let good = reference(DType::BF16, Like::default());
    for quantizer in quant::QUANTIZERS {
        let report = with_running(&good, &honest(&good, DType::Packed(quantizer.block)));
        assert_passes(&report);
        assert!(report.logits.as_ref().is_some_and(|m| m.kld.mean.value > 0.0), "{quantizer:?}");
    }
}

/// Another encoder of the same type: weights chosen by importance err more where it is low.
#[test]
fn to_every_packing_by_importance() {
    let good = reference(DType::F32, Like::default());
    for quantizer in quant::QUANTIZERS {
        let mut candidate = renamed(&good);
        for tensor in candidate.tensors.values_mut().filter(|tensor| tensor.shape().rank() == 2) {
            *tensor = encode_by(tensor, quantizer);
        }
        assert_passes(&with_running(&good, &candidate));
    }
}

/// Encoders by importance clip outliers that matter little: no bound on elements or rows may
/// mistake that for damage, however heavy the tails and however skewed the importance.
#[test]
fn outliers_may_be_clipped() {
    let mut random = SplitMix::new(11);
    let mut spread = |scale: f64| (normal(&mut random) * scale).exp();
    for columns in [32, 64, 256, 1024] {
        let count = columns * 64;
        let importance: Arc<[f32]> = (0..columns).map(|_| spread(2.0) as f32).collect();
        let sign = |i: u64| if i.is_multiple_of(2) { 0.02 } else { -0.02 };
        let values: Vec<f32> = (0..count).map(|i| (sign(i) * spread(1.0)) as f32).collect();
        let weights = super::model::tensor(DType::F32, vec![64, columns], &values);
        for quantizer in quant::QUANTIZERS.iter().chain(quant::BEST_QUANTIZERS) {
            if !columns.is_multiple_of(quantizer.block.len as u64) {
                continue;
            }
            let (input, importance) = (weights.clone(), Some(importance.clone()));
            let candidate = Tensor::of(Op::Pack { input, quantizer, importance }).unwrap();
            let (name, reference_name) = ("x".to_owned(), "x".to_owned());
            let reference = weights.clone();
            let pair = Pair { name, reference_name, reference, candidate, rounded: false };
            let outcome = scan::compare(&pair, quant::quantizer_for, None).unwrap();
            assert_eq!((outcome.wrong, outcome.wrong_rows), (0, 0), "{quantizer:?} {outcome:?}");
        }
    }
}

/// Importances over many orders of magnitude move scales further than any bound allows: what made
/// the candidate is its proof then.
#[test]
fn importance_that_is_known_excuses_what_it_made() {
    let mut random = SplitMix::new(5);
    let (rows, columns) = (512, 256);
    let importance: Arc<[f32]> =
        (0..columns).map(|_| (normal(&mut random) * 8.0).exp() as f32).collect();
    let mut value = || normal(&mut random).signum() * 0.02 * normal(&mut random).exp();
    let values: Vec<f32> = (0..rows * columns).map(|_| value() as f32).collect();
    let reference = super::model::tensor(DType::F32, vec![rows, columns], &values);
    for block in ["q4_0", "q4_1"].map(|name| quant::block_by_name(name).unwrap()) {
        let quantizer = quant::quantizer_for(block).unwrap();
        let (input, by) = (reference.clone(), Some(importance.clone()));
        let candidate = Tensor::of(Op::Pack { input, quantizer, importance: by }).unwrap();
        let (name, reference_name) = ("x".to_owned(), "x".to_owned());
        let reference = reference.clone();
        let pair = Pair { name, reference_name, reference, candidate, rounded: false };
        let wrong = |importance| {
            let outcome = scan::compare(&pair, quant::quantizer_for, importance).unwrap();
            outcome.wrong + outcome.wrong_rows
        };
        assert_ne!(wrong(None), 0, "{}", block.name);
        assert_eq!(wrong(Some(importance.clone())), 0, "{}", block.name);
    }
}

/// A packed reference, and a mixture of types.
#[test]
fn from_a_packing() {
    let good = honest(&reference(DType::BF16, Like::default()), packing("q8_0"));
    let mut candidate = good.clone();
    for (i, tensor) in candidate.tensors.values_mut().enumerate() {
        let types = [DType::F32, DType::F16, packing("q4_0"), packing("q8_0")];
        if tensor.shape().rank() == 2 {
            *tensor = super::model::encode(tensor, types[i % 4]);
        }
    }
    assert_passes(&with_running(&good, &candidate));
    assert_passes(&with_running(&good, &honest_again(&good)));
}

fn honest_again(good: &Model) -> Model {
    let mut candidate = good.clone();
    for tensor in candidate.tensors.values_mut() {
        *tensor = super::model::encode(tensor, DType::F32);
    }
    candidate
}

/// A GGUF as the reference of a Hugging Face model.
#[test]
fn the_other_way_round() {
    let hub = reference(DType::BF16, Like { tied: true, ..Like::default() });
    assert_passes(&with_running(&honest(&hub, DType::BF16), &hub));
}

#[test]
fn the_same_bytes_are_exact_and_not_run() {
    let good = reference(DType::F16, Like::default());
    let report = compare(&good, &good.clone(), &Options::default()).unwrap();
    assert_passes(&report);
    assert_eq!((report.kind, report.logits.is_none()), (Kind::Exact, true));
    assert!(report.notes.iter().any(|note| note.contains("were not run")), "{:?}", report.notes);
    let asked = Asked { max_kld: Some(0.0), ..Asked::default() };
    let report = compare(&good, &good.clone(), &Options { asked, ..Options::default() }).unwrap();
    assert_passes(&report);
    assert_eq!(report.logits.map(|metrics| metrics.kld.mean.value), Some(0.0));
}

/// What cannot be run is compared as far as it goes, and says so; what was asked of logits fails.
#[test]
fn without_a_runner() {
    let values: Vec<u8> = (0..64u8).collect();
    let blob = Arc::new(Blob::memory("weights", values));
    let tensor = Tensor::span(DType::I8, Shape::new(vec![8, 8]).unwrap(), blob, 0).unwrap();
    let mut good = reference(DType::F32, Like::default());
    good.config.entries.clear();
    good.tensors = [("weights".to_owned(), tensor)].into();
    assert_passes(&compare(&good, &good.clone(), &Options::default()).unwrap());
    let asked = Asked { min_top1: Some(0.5), ..Asked::default() };
    let report = compare(&good, &good.clone(), &Options { asked, ..Options::default() }).unwrap();
    assert!(!report.pass && report.logits.is_none());
    let mut other = good.clone();
    super::model::damage(&mut other, "weights", |bytes| bytes[20] ^= 1);
    super::assert_caught(&without_running(&good, &other), "weights: the bytes differ from [2, 4]");
}

/// The same numbers on one thread and on several.
#[test]
fn the_report_does_not_depend_on_threads() {
    let good = reference(DType::BF16, Like::default());
    let candidate = honest(&good, packing("q5_0"));
    let report = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| with_running(&good, &candidate).to_json().to_string())
    };
    assert_eq!(report(1), report(3));
}
