//! `diff`: no side is the reference.

use super::model::{Like, alter, honest, normal, packing, reference, tensor};
use crate::ir::{Config, DType, Model, Op, Tensor, Value};
use crate::quant;
use crate::run::random::SplitMix;
use crate::verify::{Alike, Diff, Unlike};

fn diff(a: &Model, b: &Model) -> Diff {
    crate::verify::diff(a, b, quant::quantizer_for).unwrap()
}

#[test]
fn another_type_is_listed_and_no_difference() {
    let hub = reference(DType::BF16, Like::default());
    for dtype in [DType::F32, DType::F16, packing("q4_0")] {
        let gguf = honest(&hub, dtype);
        for diff in [diff(&hub, &gguf), diff(&gguf, &hub)] {
            assert!(!diff.differs(), "{}", diff.to_text(true));
            assert_eq!((diff.equal, diff.tensors.len()), (0, hub.tensors.len()));
        }
    }
    let same = diff(&hub, &hub);
    assert_eq!((same.equal, same.tensors.len()), (hub.tensors.len(), 0));
}

#[test]
fn values_tensors_and_fields_differ() {
    let hub = reference(DType::BF16, Like::default());
    let mut gguf = honest(&hub, DType::F16);
    alter(&mut gguf, "blk.1.attn_k.weight", |values| values[259] += 0.5);
    gguf.tensors.shift_remove("blk.0.ffn_norm.weight");
    gguf.tensors.insert("odd.weight".into(), gguf.tensors["output_norm.weight"].clone());
    gguf.config.entries.insert("llama.rope.freq_base".into(), Value::F32(5e5));
    let found = diff(&hub, &gguf);
    let what = |name: &str| {
        let found = found.tensors.iter().find(|tensor| tensor.name == name);
        found.map(|tensor| tensor.what.clone())
    };
    assert_eq!(what("blk.0.ffn_norm.weight"), Some(Unlike::OnlyInA));
    assert_eq!(what("odd.weight"), Some(Unlike::OnlyInB));
    let Some(Unlike::Values { first, max_abs_diff, .. }) = what("blk.1.attn_k.weight") else {
        panic!("{}", found.to_text(true));
    };
    assert_eq!(first, Some(259));
    assert!(max_abs_diff.is_some_and(|max| (max - 0.5).abs() < 1e-3), "{max_abs_diff:?}");
    assert!(found.fields.iter().any(|(field, _)| field == "rope theta"), "{:?}", found.fields);
    assert!(found.differs());
    let json = found.to_json();
    assert_eq!(json["differs"], true);
    assert!(json["tensors"].as_array().is_some_and(|list| list.len() == found.tensors.len()));
}

/// A network of no known family, as two tools export it: other names, other order of dimensions.
#[test]
fn tensors_under_other_names_are_found_by_their_values() {
    let model = |tensors: [(&str, Tensor); 4]| {
        let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into();
        Model { config: Config::default(), tensors, ..reference(DType::F32, Like::default()) }
    };
    let mut random = SplitMix::new(3);
    let mut values =
        |count: usize| -> Vec<f32> { (0..count).map(|_| normal(&mut random) as f32).collect() };
    let kernel = tensor(DType::F32, vec![3, 2, 4, 5], &values(120));
    let axes = vec![3, 2, 0, 1];
    let turned = Tensor::of(Op::Permute { input: kernel.clone(), axes: axes.clone() }).unwrap();
    let bias = tensor(DType::F32, vec![5], &[0.0; 5]);
    let (one, other) = (values(6), values(6));
    let a = model([
        ("conv/kernel", kernel),
        ("conv/bias", bias.clone()),
        ("norm/beta", bias.clone()),
        ("odd", tensor(DType::F32, vec![6], &one)),
    ]);
    let b = model([
        ("0.weight", turned),
        ("0.bias", bias.clone()),
        ("1.bias", tensor(DType::F16, vec![1, 5], &[0.0; 5])),
        ("2", tensor(DType::F32, vec![6], &other)),
    ]);
    let found = diff(&a, &b);
    let pair = |a: &str, b: &str, axes| Alike { a: a.into(), b: b.into(), axes };
    let expected = [
        pair("conv/kernel", "0.weight", Some(axes)),
        pair("conv/bias", "0.bias", None),
        pair("norm/beta", "1.bias", None),
    ];
    assert_eq!(found.alike, expected, "{}", found.to_text(true));
    let rest: Vec<&str> = found.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(rest, ["odd", "2"]);
    assert!(found.differs());
    assert_eq!(found.to_json()["alike"][0]["axes"], serde_json::json!([3, 2, 0, 1]));
}
