//! Our packings against ggml's bytes, and against themselves on every instruction set.

use std::path::{Path, PathBuf};

use super::*;
use crate::ir::Codec;
use crate::ir::simd::tests::on_each;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/quant")
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

pub(super) fn pack(
    of: &Quantizer,
    weights: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
) -> Vec<u8> {
    let mut out = vec![0xee; weights.len() / of.block.len * of.block.bytes];
    (of.pack)(weights, columns, importance, &mut out);
    out
}

pub(super) fn decode(block: &Block, bytes: &[u8]) -> Vec<f32> {
    let mut weights = vec![f32::NAN; bytes.len() / block.bytes * block.len];
    (codec(block).decode)(bytes, &mut weights);
    weights
}

fn codec(block: &Block) -> Codec {
    block.codec.unwrap()
}

/// A Gaussian row, from a generator that is the same everywhere.
pub(super) fn gaussian(len: usize, mut seed: u64) -> Vec<f32> {
    let mut uniform = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1 << 24) as f32
    };
    (0..len).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

/// The packings that keep codes of points. ggml aborts on some rows that others take, and on all
/// rows if some of these get no importance, so theirs are rows of their own.
const GRIDS: [&str; 7] = ["iq1_m", "iq1_s", "iq2_s", "iq2_xs", "iq2_xxs", "iq3_s", "iq3_xxs"];
const WITH_IMPORTANCE_ONLY: [&str; 3] = ["iq1_s", "iq2_xs", "iq2_xxs"];

/// Compares one set of rows with ggml's bytes of it, and counts the weights.
fn hold_against_ggml(folder: &Path, name: &str, columns: usize) -> usize {
    let file = |suffix: &str| folder.join(format!("{name}.{suffix}"));
    let (rows, importance) = (floats(&file("f32")), floats(&file("importance.f32")));
    let mut compared = 0;
    let of_grids = name.starts_with("grids");
    let these = QUANTIZERS.iter().filter(|q| GRIDS.contains(&q.block.name) == of_grids);
    for quantizer in these.filter(|q| columns.is_multiple_of(q.block.len)) {
        let block = quantizer.block;
        let searched = std::fs::read(file(&format!("{}.importance", block.name))).unwrap();
        for (isa, packed) in on_each(|| pack(quantizer, &rows, columns, Some(&importance))) {
            let what = format!("{name} {} by importance {isa:?}", block.name);
            same_blocks(block, &packed, &searched, &what);
        }
        compared += rows.len();
        if WITH_IMPORTANCE_ONLY.contains(&block.name) {
            continue;
        }
        let expected = std::fs::read(file(block.name)).unwrap();
        for (isa, packed) in on_each(|| pack(quantizer, &rows, columns, None)) {
            same_blocks(block, &packed, &expected, &format!("{name} {} {isa:?}", block.name));
        }
        if !of_grids {
            let decoded = floats(&file(&format!("{}.f32", block.name)));
            same_numbers(block, &expected, &decoded, name);
        }
    }
    compared
}

/// Holds what blocks of random bits are decoded to against ggml's numbers, and counts them.
fn hold_codes_against_ggml(folder: &Path) -> usize {
    let mut compared = 0;
    for name in GRIDS {
        let bytes = std::fs::read(folder.join(format!("codes.{name}"))).unwrap();
        let decoded = floats(&folder.join(format!("codes.{name}.f32")));
        same_numbers(block_by_name(name).unwrap(), &bytes, &decoded, "codes");
        compared += decoded.len();
    }
    compared
}

fn same_numbers(block: &Block, bytes: &[u8], ggml: &[f32], what: &str) {
    assert!(!ggml.is_empty(), "{what} {}: nothing decoded", block.name);
    for (isa, ours) in on_each(|| decode(block, bytes)) {
        // Of types of few bits, only the first rows are kept.
        assert!(!ggml.is_empty() && ours.len() >= ggml.len());
        for (i, (ours, ggml)) in ours.iter().zip(ggml).enumerate() {
            let same = ours.to_bits() == ggml.to_bits() || ours.is_nan() && ggml.is_nan();
            assert!(same, "{what} {} {isa:?}: weight {i} is {ours}, not {ggml}", block.name);
        }
    }
}

fn same_blocks(block: &Block, ours: &[u8], ggml: &[u8], what: &str) {
    assert_eq!(ours.len(), ggml.len(), "{what}");
    let (ours, ggml) = (ours.chunks(block.bytes), ggml.chunks(block.bytes));
    for (i, (ours, ggml)) in ours.zip(ggml).enumerate() {
        assert_eq!(ours, ggml, "{what}: block {i}");
    }
}

#[test]
fn every_type_of_ggml_has_its_size() {
    let types = std::fs::read_to_string(fixtures().join("types.txt")).unwrap();
    let mut packings = 0;
    for line in types.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |i: usize| words[i].parse::<usize>().unwrap();
        if number(3) > 1 {
            let block = block_by_id(number(0) as u32).unwrap();
            assert_eq!((block.len, block.bytes), (number(3), number(5)), "{line}");
            assert!(block_by_name(words[1]) == Some(block));
            assert_eq!(block.name, words[1].to_lowercase());
            packings += 1;
        }
    }
    assert_eq!(packings, BLOCKS.len());
    assert!(BLOCKS.is_sorted_by_key(|block| block.ggml_id));
}

#[test]
fn bytes_and_numbers_are_those_of_ggml() {
    let plain = QUANTIZERS.len() - GRIDS.len();
    assert_eq!(hold_against_ggml(&fixtures(), "rows", 512), plain * 25 * 512);
    assert_eq!(hold_against_ggml(&fixtures(), "grids", 512), GRIDS.len() * 23 * 512);
    assert_eq!(hold_codes_against_ggml(&fixtures()), GRIDS.len() * 16 * 256);
}

#[test]
fn noise_is_decoded_as_by_ggml() {
    for name in ["tq1_0", "tq2_0", "mxfp4", "nvfp4", "q1_0", "q2_0"] {
        let block = block_by_name(name).unwrap();
        let bytes = std::fs::read(fixtures().join(format!("noise.{name}"))).unwrap();
        let expected = floats(&fixtures().join(format!("noise.{name}.f32")));
        assert_eq!(expected.len(), 4096);
        same_numbers(block, &bytes, &expected, "noise");
    }
}

#[test]
fn activations_have_the_bytes_and_numbers_of_ggml() {
    let (weights, activations) = (floats(&fixtures().join("rows.f32")), gaussian(512 * 25, 6));
    for quantizer in ACTIVATIONS {
        let block = quantizer.block;
        let bytes = std::fs::read(fixtures().join(format!("rows.{}", block.name))).unwrap();
        for (isa, packed) in on_each(|| pack(quantizer, &weights, 512, None)) {
            same_blocks(block, &packed, &bytes, &format!("{} {isa:?}", block.name));
        }
        let expected = floats(&fixtures().join(format!("rows.{}.f32", block.name)));
        assert_eq!(expected.len(), weights.len());
        for (isa, ours) in on_each(|| decode(block, &bytes)) {
            let same =
                |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(ours.iter().zip(&expected).all(same), "{} {isa:?}", block.name);
        }
        // The last five kinds are beyond what a binary16 scales.
        let kept = 20 * 512;
        let parts = parts_of_bound(block, &weights[..kept], &expected[..kept]);
        assert!(parts.into_iter().all(|part| part <= 1.0 || part.is_nan()), "{}", block.name);
        let plain: Vec<u8> = expected[..kept].iter().flat_map(|x| x.to_le_bytes()).collect();
        let expected = dot(DType::F32).unwrap()(&plain, &activations[..kept]);
        let bytes = &bytes[..kept / block.len * block.bytes];
        for (isa, sum) in on_each(|| (codec(block).dot)(bytes, &activations[..kept])) {
            assert_eq!(sum.to_bits(), expected.to_bits(), "{} {isa:?}", block.name);
        }
    }
}

/// The same with many more rows, written by `fixtures/make/quant.py --rows DIR`.
#[test]
fn many_rows_are_those_of_ggml() {
    let Some(folder) = std::env::var_os("REMOLD_ROWS").map(PathBuf::from) else {
        return eprintln!("$REMOLD_ROWS names no rows of fixtures/make/quant.py: not tested");
    };
    let mut compared = 0;
    for columns in [32, 64, 96, 160, 288, 256, 512, 768, 1024, 2048, 2816, 4096, 11008, 16384] {
        compared += hold_against_ggml(&folder, &columns.to_string(), columns);
    }
    for columns in [256, 512, 1024, 4096] {
        compared += hold_against_ggml(&folder, &format!("grids-{columns}"), columns);
    }
    compared += hold_codes_against_ggml(&folder);
    assert!(compared > 1_000_000);
    eprintln!("{compared} weights, packed twice and decoded once on each instruction set, agree");
}

#[test]
fn a_dot_product_is_that_of_the_decoded_weights_on_every_instruction_set() {
    let (weights, activations) = (gaussian(2048, 1), gaussian(2048, 2));
    for quantizer in QUANTIZERS {
        let bytes = pack(quantizer, &weights, 2048, None);
        let decoded = decode(quantizer.block, &bytes);
        let plain: Vec<u8> = decoded.iter().flat_map(|x| x.to_le_bytes()).collect();
        let expected = dot(DType::F32).unwrap()(&plain, &activations);
        let packed = dot(DType::Packed(quantizer.block)).unwrap();
        for (isa, sum) in on_each(|| packed(&bytes, &activations)) {
            assert_eq!(sum.to_bits(), expected.to_bits(), "{quantizer:?} {isa:?}");
        }
        let exact: f64 =
            decoded.iter().zip(&activations).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
        assert!((f64::from(expected) - exact).abs() < 1e-4, "{expected} {exact}");
    }
}

#[test]
fn plain_dot_products_agree_on_every_instruction_set() {
    for len in [0, 1, 31, 32, 33, 256, 300, 1000] {
        let (weights, activations) = (gaussian(len, 3), gaussian(len, 4));
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let mut bytes = vec![0; len * dtype.block_bytes() as usize];
            crate::ir::float::encode(dtype, &weights, &mut bytes, 0, &mut Default::default())
                .unwrap();
            let mut rounded = vec![0.0; len];
            crate::ir::float::decode(dtype, &bytes, &mut rounded).unwrap();
            let mut sums = [0.0f32; 32];
            for (i, (w, x)) in rounded.iter().zip(&activations).enumerate() {
                sums[i % 32] = w.mul_add(*x, sums[i % 32]);
            }
            for half in [16, 8, 4, 2, 1] {
                for i in 0..half {
                    sums[i] += sums[i + half];
                }
            }
            for (isa, sum) in on_each(|| dot(dtype).unwrap()(&bytes, &activations)) {
                assert_eq!(sum.to_bits(), sums[0].to_bits(), "{dtype} {len} {isa:?}");
            }
        }
    }
    assert!(dot(DType::I8).is_none());
}

#[test]
fn what_is_no_number_does_not_panic() {
    let weird = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, -0.0];
    let weights: Vec<f32> = weird.iter().copied().cycle().take(512).collect();
    for quantizer in QUANTIZERS.iter().chain(BEST_QUANTIZERS) {
        let packed = pack(quantizer, &weights, 256, None);
        assert_eq!(decode(quantizer.block, &packed).len(), 512);
        let packed = pack(quantizer, &weights, 256, Some(&weights[..256]));
        assert_eq!(decode(quantizer.block, &packed).len(), 512);
        // And what no encoder wrote is decoded to something.
        let noise: Vec<u8> = (0..quantizer.block.bytes * 8).map(|i| (i * 37 % 256) as u8).collect();
        assert_eq!(decode(quantizer.block, &noise).len(), quantizer.block.len * 8);
    }
}

/// The largest error in each block as a part of what the packing may have.
pub(super) fn parts_of_bound(block: &Block, weights: &[f32], decoded: &[f32]) -> Vec<f32> {
    let blocks = weights.chunks(block.len).zip(decoded.chunks(block.len));
    let part = |(weights, decoded): (&[f32], &[f32])| {
        let errors = weights.iter().zip(decoded).map(|(w, x)| (w - x).abs());
        errors.fold(0.0, f32::max) / (codec(block).error_bound)(weights)
    };
    blocks.map(part).collect()
}

#[test]
fn encodings_keep_their_error_bound() {
    for quantizer in QUANTIZERS.iter().chain(BEST_QUANTIZERS) {
        let block = quantizer.block;
        for seed in 0..60 {
            let spread = (seed % 4) as f32 / 2.0;
            let mut weights = gaussian(1024, seed + 1);
            if seed % 3 == 1 {
                weights.iter_mut().for_each(|x| *x = x.powi(3));
            }
            if seed % 3 == 2 {
                weights.iter_mut().step_by(61).for_each(|x| *x = *x * 20.0 + 1.0);
            }
            let importance = gaussian(1024, seed + 100);
            let importance: Vec<f32> = importance.iter().map(|x| (x * spread).exp()).collect();
            for importance in [None, Some(&importance[..])] {
                let decoded = decode(block, &pack(quantizer, &weights, 1024, importance));
                let parts = parts_of_bound(block, &weights, &decoded);
                let worst = parts.into_iter().fold(0.0, f32::max);
                assert!(worst <= 1.0, "{quantizer:?} {seed}: {worst} {}", importance.is_some());
            }
        }
    }
}

/// Something done to the bytes of a block.
type Damage = Box<dyn Fn(&mut [u8])>;

/// What one flipped bit can do to the scales of a block, where its error bound must notice.
fn damages(block: &Block) -> Vec<Damage> {
    fn f16(at: usize, damage: fn(u16) -> u16) -> Damage {
        Box::new(move |block| {
            let d = u16::from_le_bytes([block[at], block[at + 1]]);
            block[at..at + 2].copy_from_slice(&damage(d).to_le_bytes());
        })
    }
    fn bytes(len: usize, damage: fn(u8) -> u8) -> Damage {
        Box::new(move |block| block[..len].iter_mut().for_each(|scale| *scale = damage(*scale)))
    }
    let all: [fn(u16) -> u16; 3] = [|d| d + 0x400, |d| d - 0x400, |d| d ^ 0x8000];
    let [double, halve, negate] = all;
    match block.name {
        "mxfp4" => vec![bytes(1, |e| e + 1), bytes(1, |e| e - 1)],
        "nvfp4" => vec![bytes(4, |scale| scale + 8), bytes(4, |scale| scale - 8)],
        // One of three values errs by as much as half the largest weight loses.
        "tq1_0" | "tq2_0" => vec![f16(block.bytes - 2, double), f16(block.bytes - 2, negate)],
        "q2_0" => vec![f16(0, double), f16(0, negate)],
        // The largest weight loses more than a doubled mean adds to the least.
        "q1_0" => vec![f16(0, halve), f16(0, negate)],
        // By importance, an encoder of few bits may err as much as a scale that is halved.
        "q2_k" => vec![f16(block.bytes - 4, negate), f16(block.bytes - 4, double)],
        "q3_k" => vec![f16(block.bytes - 2, negate)],
        "q4_k" | "q5_k" => vec![f16(0, negate), f16(0, double)],
        "q6_k" => all.map(|damage| f16(block.bytes - 2, damage)).into(),
        _ => all.map(|damage| f16(0, damage)).into(),
    }
}

#[test]
fn a_flipped_bit_of_a_scale_breaks_the_error_bound_of_its_block() {
    let weights = gaussian(1 << 14, 5);
    for quantizer in QUANTIZERS.iter().filter(|q| !GRIDS.contains(&q.block.name)) {
        let block = quantizer.block;
        let bytes = pack(quantizer, &weights, 1 << 14, None);
        for damage in damages(block) {
            let mut damaged = bytes.clone();
            damaged.chunks_mut(block.bytes).for_each(&damage);
            let parts = parts_of_bound(block, &weights, &decode(block, &damaged));
            let least = parts.into_iter().fold(f32::MAX, f32::min);
            assert!(least > 1.0, "{quantizer:?}: {least}");
        }
    }
}

/// Few bits err so much that only a larger damage is beyond their bound.
#[test]
fn a_scale_that_is_sixteen_times_too_large_breaks_the_error_bound_of_every_grid() {
    let weights = gaussian(1 << 12, 5);
    for quantizer in QUANTIZERS.iter().filter(|q| GRIDS.contains(&q.block.name)) {
        let block = quantizer.block;
        let mut damaged = pack(quantizer, &weights, 1 << 12, None);
        // The high byte of the scale; iq1_m has the upper half of it, in its last byte.
        let scale = if block.name == "iq1_m" { block.bytes - 1 } else { 1 };
        damaged.chunks_mut(block.bytes).for_each(|block| block[scale] += 0x10);
        let parts = parts_of_bound(block, &weights, &decode(block, &damaged));
        let least = parts.into_iter().fold(f32::MAX, f32::min);
        assert!(least > 1.0, "{quantizer:?}: {least}");
    }
}
