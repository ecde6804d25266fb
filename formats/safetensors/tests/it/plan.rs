//! Files assembled from plans: equal to the library's, and read by it.

use std::path::Path;

use safetensors::{Dtype, Entry, File, Limits, Plan, read};

use crate::good;

fn entries(file: &File) -> Vec<Entry> {
    let entry = |tensor: &safetensors::TensorInfo| Entry {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
    };
    file.tensors.iter().map(entry).collect()
}

/// `file`, whose bytes are `bytes`, as the plan of its tensors lays it out.
fn assemble(file: &File, bytes: &[u8]) -> Vec<u8> {
    let plan = Plan::new(&file.metadata, &entries(file)).unwrap();
    assert_eq!(plan.spans.len(), file.tensors.len());
    let mut out = plan.header.clone();
    out.resize(usize::try_from(plan.len).unwrap(), 0);
    for (span, tensor) in plan.spans.iter().zip(&file.tensors) {
        assert_eq!(span.len, tensor.len);
        let at = |offset: u64| usize::try_from(offset).unwrap();
        let data = &bytes[at(tensor.offset)..at(tensor.offset + tensor.len)];
        out[at(span.offset)..at(span.offset + span.len)].copy_from_slice(data);
    }
    out
}

/// Byte by byte, where the library's own bytes are not drawn by lot or made by hand.
///
/// All are left in the build folder; `fixtures/make/safetensors.py --check` reads them there.
#[test]
fn plans_give_the_librarys_files() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plans");
    std::fs::create_dir_all(&folder).unwrap();
    let mut equal = 0;
    for (name, bytes, file) in good() {
        let ours = assemble(&file, &bytes);
        std::fs::write(folder.join(format!("{name}.safetensors")), &ours).unwrap();
        if matches!(name.as_str(), "metadata" | "loose") {
            let again = read(&ours, &Limits::default()).unwrap();
            assert_eq!(entries(&again), entries(&file), "{name}");
            assert_eq!(assemble(&again, &ours), ours, "{name}");
        } else {
            assert_eq!(ours, bytes, "{name}");
            equal += 1;
        }
    }
    assert_eq!(equal, 8);
}

fn entry(name: &str, dtype: Dtype, shape: &[u64]) -> Entry {
    Entry { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

#[test]
fn metadata_are_sorted_and_data_aligned() {
    let metadata = [("b", "2"), ("a", "1")].map(|(key, text)| (key.to_owned(), text.to_owned()));
    let plan = Plan::new(&metadata, &[entry("w", Dtype::F16, &[3])]).unwrap();
    let text = r#"{"__metadata__":{"a":"1","b":"2"},"w":{"dtype":"F16","shape":[3],"data_offsets":[0,6]}}"#;
    assert_eq!(String::from_utf8_lossy(&plan.header[8..]).trim_end(), text);
    assert_eq!(plan.header.len() % 8, 0);
    assert_eq!((plan.spans[0].len, plan.len), (6, plan.header.len() as u64 + 6));
}

#[test]
fn what_could_not_be_read_is_not_planned() {
    let a = entry("a", Dtype::U8, &[1]);
    let refused = [
        (vec![a.clone(), a], "the name stands twice"),
        (vec![entry("__metadata__", Dtype::U8, &[1])], "keeps this name"),
        (vec![entry("a", Dtype::F4, &[3])], "not whole bytes"),
        (vec![entry("a", Dtype::F32, &[1 << 62])], "64-bit"),
        (vec![entry("a", Dtype::F32, &[1 << 62, 0])], "64-bit"),
        (vec![entry("a", Dtype::F32, &[1; 65])], "at most 64"),
    ];
    for (tensors, part) in refused {
        let error = Plan::new(&[], &tensors).expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
    }
    // Each of these fits in 64 bits; eight of them together, in bytes, do not.
    let huge = |i: u64| entry(&i.to_string(), Dtype::U8, &[(1 << 61) - 1]);
    Plan::new(&[], &[huge(0)]).unwrap();
    let error = Plan::new(&[], &(0..9).map(huge).collect::<Vec<_>>()).unwrap_err();
    assert!(error.to_string().contains("length passes"), "{error}");
    let twice = [("k".to_owned(), String::new()), ("k".to_owned(), String::new())];
    assert!(Plan::new(&twice, &[]).unwrap_err().to_string().contains("stands twice"));
}
