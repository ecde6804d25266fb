//! What is written reads as it was meant. `fixtures/make/hdf5_check.py` has h5py read it, too.

use hdf5::{Class, Element, Float, Limits, Storage, Text, Tree, open};

const ELEMENTS: &[(&str, Element)] = &[
    ("i1", Element::Integer(1, true)),
    ("u2", Element::Integer(2, false)),
    ("i8", Element::Integer(8, true)),
    ("f2", Element::Float(Float::F16, 2)),
    ("f4", Element::Float(Float::F32, 4)),
    ("f8", Element::Float(Float::F64, 8)),
    ("c8", Element::Complex(Float::F32, 4)),
    ("bool", Element::Bool),
    ("bf16", Element::Opaque(2)),
];

/// A file of each kind of element, whose bytes count up.
fn every() -> Vec<u8> {
    let mut tree = Tree::default();
    for (name, element) in ELEMENTS {
        tree.array(&format!("arrays/of {name}"), *element, &[2, 3]).unwrap();
    }
    tree.array("scalar", Element::Float(Float::F32, 4), &[]).unwrap();
    tree.array("arrays/none", Element::Float(Float::F32, 4), &[0, 4]).unwrap();
    tree.attribute("", "long", Text::One("x".repeat(100_000))).unwrap();
    tree.attribute("arrays/of bf16", "dtype", Text::One("bfloat16".into())).unwrap();
    let names = ["kernel:0", "größe"].map(str::to_owned).to_vec();
    tree.attribute("arrays", "names", Text::Many(names)).unwrap();
    tree.attribute("arrays", "nothing", Text::Many(Vec::new())).unwrap();
    for no in 0..500 {
        tree.group(&format!("many/group {no}")).unwrap();
    }
    let plan = tree.plan().unwrap();
    let mut file = plan.header;
    file.resize(plan.len as usize, 0);
    for range in plan.data.values() {
        for (no, byte) in file[range.start as usize..range.end as usize].iter_mut().enumerate() {
            *byte = no as u8;
        }
    }
    file
}

#[test]
fn every_kind_is_read_again() {
    let bytes = every();
    let file = open(&bytes, &Limits::default()).unwrap();
    assert_eq!(file.datasets().count(), ELEMENTS.len() + 2);
    assert_eq!(file.objects.len(), ELEMENTS.len() + 2 + 3 + 500);
    for (path, dataset) in file.datasets().filter(|(path, _)| path.starts_with("arrays/of")) {
        let Storage::Place(at) = &dataset.storage else { panic!("{path}: {:?}", dataset.storage) };
        assert_eq!(bytes[at.start as usize], 0);
        assert_eq!(bytes[at.end as usize - 1] as u64, 6 * dataset.datatype.size - 1, "{path}");
        assert_eq!(dataset.shape.as_deref(), Some([2, 3].as_slice()));
        assert!(!matches!(dataset.datatype.class, Class::Other(_)), "{path}");
    }
    let texts = |path, name| file.attribute(path, name).and_then(|a| a.texts.clone());
    assert_eq!(texts("", "long"), Some(vec!["x".repeat(100_000)]));
    assert_eq!(texts("arrays", "names"), Some(vec!["kernel:0".into(), "größe".into()]));
    assert_eq!(texts("arrays/of bf16", "dtype"), Some(vec!["bfloat16".into()]));
    assert_eq!(file.attribute("arrays", "nothing").unwrap().shape, Some(vec![0]));
    if let Some(path) = std::env::var_os("HDF5_OUT") {
        std::fs::write(path, &bytes).unwrap();
    }
}

/// Each structure has a checksum: no flipped bit of them goes unnoticed.
#[test]
fn damage_is_found() {
    let mut tree = Tree::default();
    tree.array("a/b", Element::Float(Float::F32, 4), &[3]).unwrap();
    let plan = tree.plan().unwrap();
    let mut file = plan.header.clone();
    file.resize(plan.len as usize, 0);
    let good = open(&file, &Limits::default()).unwrap();
    let mut changed = 0;
    for bit in 0..plan.header.len() * 8 {
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        if let Ok(found) = open(&bad, &Limits::default()) {
            // Padding between structures means nothing.
            assert_eq!(format!("{:?}", found.objects), format!("{:?}", good.objects), "{bit}");
            changed += 1;
        }
    }
    assert!(changed < 200, "{changed}");
    for len in 0..file.len() {
        assert!(open(&file[..len].to_vec(), &Limits::default()).is_err(), "{len}");
    }
}

#[test]
fn paths_are_checked() {
    let mut tree = Tree::default();
    let f4 = Element::Float(Float::F32, 4);
    tree.array("a/b", f4, &[1]).unwrap();
    for bad in ["a/b", "a", "a//c", "/c", "a/b/c", ".", "c/.", "c\0", ""] {
        assert!(tree.array(bad, f4, &[1]).is_err(), "{bad}");
    }
    assert!(tree.attribute("a", "x", Text::Many(vec!["x".into(); 70_000])).is_err());
}
