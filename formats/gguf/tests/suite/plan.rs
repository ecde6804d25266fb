//! What is planned is what gguf-py writes, byte for byte; what cannot be written is refused.

use gguf::{Array, Kind, Metadata, Plan, Value};

use crate::{fixture, read};

type Tensors = Vec<(String, Vec<u64>, &'static Kind)>;

fn tensors(file: &gguf::File) -> Tensors {
    file.tensors.iter().map(|t| (t.name.clone(), t.dims.clone(), t.kind)).collect()
}

/// The planned file, with the data that `bytes` has for `file`.
fn write(plan: &Plan, file: &gguf::File, bytes: &[u8]) -> Vec<u8> {
    let mut out = plan.header.clone();
    out.resize(plan.len as usize, 0);
    for (info, placed) in file.tensors.iter().zip(&plan.tensors) {
        assert_eq!(info.len, placed.len);
        let (from, to) = (info.offset as usize, placed.offset as usize);
        let len = info.len as usize;
        out[to..to + len].copy_from_slice(&bytes[from..from + len]);
    }
    out
}

#[test]
fn what_gguf_py_wrote_is_written_again_byte_for_byte() {
    for name in ["scalars", "arrays", "tensors", "align64", "pair", "zero_size", "no_tensors"] {
        let bytes = fixture(&format!("{name}.gguf"));
        let file = read(&bytes).unwrap();
        let plan = Plan::new(&file.metadata, &tensors(&file), file.alignment).unwrap();
        assert!(write(&plan, &file, &bytes) == bytes, "{name} differs");
    }
}

/// Old, big-endian, swapped and unpadded files become files of the usual form, with the same parts.
#[test]
fn other_forms_become_the_usual_one() {
    for name in ["v1", "v2", "big", "swapped", "unpadded"] {
        let bytes = fixture(&format!("{name}.gguf"));
        let file = read(&bytes).unwrap();
        let plan = Plan::new(&file.metadata, &tensors(&file), file.alignment).unwrap();
        let written = write(&plan, &file, &bytes);
        let again = read(&written).unwrap();
        assert_eq!((again.version, again.endian), (3, gguf::Endian::Little), "{name}");
        assert_eq!(bits(&again.metadata), bits(&file.metadata), "{name}");
        assert_eq!(tensors(&again), tensors(&file), "{name}");
        assert!(name != "v2" || written == fixture("pair.gguf"), "{name} differs");
    }
}

/// Text that is equal where the bits are: a NaN is not equal to itself.
fn bits(metadata: &Metadata) -> Vec<String> {
    let show = |value: &Value| match value {
        Value::F32(x) => format!("f32 {:#x}", x.to_bits()),
        Value::F64(x) => format!("f64 {:#x}", x.to_bits()),
        other => format!("{other:?}"),
    };
    metadata.iter().map(|(key, value)| format!("{key} {}", show(value))).collect()
}

#[test]
fn an_unusual_alignment_becomes_an_entry() {
    let tensors = [("a".to_owned(), vec![3], Kind::of_name("f32").unwrap())];
    let plan = Plan::new(&Metadata::default(), &tensors, 64).unwrap();
    assert_eq!(plan.len, plan.header.len() as u64 + 64);
    let mut bytes = plan.header.clone();
    bytes.resize(plan.len as usize, 0);
    let file = read(&bytes).unwrap();
    assert_eq!(file.alignment, 64);
    assert_eq!(file.metadata.get("general.alignment"), Some(&Value::U32(64)));
    // Stated by the caller, it is kept in its place and not stated twice.
    let again = Plan::new(&file.metadata, &tensors, 64).unwrap();
    assert_eq!(again, plan);
}

fn refusal(
    entries: Vec<(&str, Value)>,
    tensors: &[(&str, &[u64], &str)],
    alignment: u64,
) -> String {
    let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let kind = |name| Kind::of_name(name).unwrap();
    let tensors: Tensors = tensors
        .iter()
        .map(|(name, dims, k)| ((*name).to_owned(), dims.to_vec(), kind(k)))
        .collect();
    Plan::new(&Metadata(entries), &tensors, alignment).expect_err("a refusal").to_string()
}

#[test]
fn what_no_reader_would_accept_is_not_planned() {
    let long = "x".repeat(64);
    let tensor = |name, dims: &[u64], kind| refusal(vec![], &[(name, dims, kind)], 32);
    let message = tensor(&long, &[1], "f32");
    assert!(message.ends_with("the name has 64 bytes, expected 1 to 63"), "{message}");
    assert!(tensor("", &[1], "f32").contains("the name has 0 bytes"));
    assert!(
        tensor("a\0b", &[1], "f32").starts_with("tensor 'a\\0b' (info 0) (byte 0x18): the name")
    );
    assert!(tensor("a", &[1; 5], "f32").contains("5 dimensions, expected at most 4"));
    assert!(tensor("a", &[33, 2], "q8_0").contains("rows of 33 are not whole blocks of 32 (q8_0)"));
    assert!(tensor("a", &[1 << 62, 4], "f32").contains("63 bits"));
    let half = [1u64 << 60];
    let twice = [("a", &half[..], "f32"), ("b", &half[..], "f32")];
    assert!(refusal(vec![], &twice, 32).contains("tensor 'b' (info 1)"));
    let twins = [("a", &[1][..], "f32"), ("b", &[1], "f32"), ("a", &[1], "f32")];
    assert!(refusal(vec![], &twins, 32).ends_with("info 0 has the same name"));

    let entry = |key: &str| refusal(vec![(key, Value::U8(1))], &[], 32);
    assert!(entry("").contains("the key has 0 bytes"));
    assert!(entry(&"k".repeat(65536)).contains("the key has 65536 bytes, expected 1 to 65535"));
    let twins = vec![("a", Value::U8(1)), ("a", Value::U8(2))];
    assert!(refusal(twins, &[], 32).ends_with("entry 0 has the same key"));
    let deep = (0..64).fold(Array::U8(vec![]), |inner, _| Array::Array(vec![inner]));
    assert!(refusal(vec![("a", Value::Array(deep))], &[], 32).contains("deeper than 64"));

    for alignment in [0, 4, 24, 1 << 32] {
        assert!(refusal(vec![], &[], alignment).contains("expected a power of two"), "{alignment}");
    }
    let stated = |value| refusal(vec![("general.alignment", value)], &[], 32);
    assert!(stated(Value::U32(64)).ends_with("found 64 in the metadata, expected 32"));
    assert!(stated(Value::U64(32)).ends_with("found uint64, expected uint32"));
}

#[test]
fn the_longest_name_is_written_and_read() {
    let name = "x".repeat(63);
    let tensors = [(name.clone(), vec![], Kind::of_name("f32").unwrap())];
    let plan = Plan::new(&Metadata::default(), &tensors, 32).unwrap();
    let mut bytes = plan.header.clone();
    bytes.resize(plan.len as usize, 0);
    let info = &read(&bytes).unwrap().tensors[0];
    assert_eq!((&info.name, info.dims.len(), info.len), (&name, 0, 4));
}
