//! `diff`: no side is the reference.

use super::model::{Like, alter, honest, packing, reference};
use crate::ir::{DType, Model, Value};
use crate::quant;
use crate::verify::{Diff, Unlike};

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
