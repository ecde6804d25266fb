//! An index that is planned is the one that TensorFlow writes, byte for byte.

use tensorflow::{Data, Entry, Plan, Sum, mask};

use crate::{bytes, read};

#[test]
fn a_plan_with_its_sums_is_the_file() {
    for name in ["types.ckpt", "names.ckpt"] {
        let (mut entries, mut sums) = (Vec::new(), Vec::new());
        for tensor in read(&format!("{name}.index")).tensors {
            let Data::Shard { shard, at, sum } = tensor.pieces[0].data.clone() else { panic!() };
            entries.push(Entry {
                name: tensor.name,
                kind: tensor.kind,
                dims: tensor.dims,
                shard,
                at,
            });
            sums.push(sum);
        }
        let plan = Plan::new(1, &entries).unwrap();
        let mut made = plan.bytes;
        for (at, sum) in plan.sums.iter().zip(sums) {
            made[*at as usize..*at as usize + 4].copy_from_slice(&sum.to_le_bytes());
        }
        for (at, of) in plan.blocks {
            let mut sum = Sum::default();
            sum.update(&made[of.start as usize..of.end as usize]);
            made[at as usize..at as usize + 4].copy_from_slice(&mask(sum.value()).to_le_bytes());
        }
        assert!(made == bytes(&format!("{name}.index")), "{name}");
    }
}

#[test]
fn many_blocks_are_read_again() {
    let entry = |no: u64| {
        let (name, at) = (format!("layer/{no:06}/weight"), no * 4..no * 4 + 4);
        Entry { name, kind: tensorflow::DataType::Float, dims: vec![1], shard: 0, at }
    };
    let plan = Plan::new(1, &(0..20_000).map(entry).collect::<Vec<_>>()).unwrap();
    assert!(plan.blocks.len() > 2, "{}", plan.blocks.len());
    let mut made = plan.bytes;
    for (at, of) in plan.blocks {
        let mut sum = Sum::default();
        sum.update(&made[of.start as usize..of.end as usize]);
        made[at as usize..at as usize + 4].copy_from_slice(&mask(sum.value()).to_le_bytes());
    }
    let again = tensorflow::read(&made, &tensorflow::Options::default()).unwrap();
    assert_eq!(again.tensors.len(), 20_000);
    assert_eq!(again.tensors[12_345].name, "layer/012345/weight");
}

#[test]
fn names_that_no_tensor_may_have_are_refused() {
    for names in [&["b", "a"][..], &["a", "a"], &[""], &["\0a"]] {
        let entry = |name: &&str| {
            let (kind, at) = (tensorflow::DataType::Float, 0..4);
            Entry { name: (*name).to_owned(), kind, dims: vec![], shard: 0, at }
        };
        let entries: Vec<Entry> = names.iter().map(entry).collect();
        assert!(Plan::new(1, &entries).is_err(), "{names:?}");
    }
}
