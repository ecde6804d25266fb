//! Tensors as CPython and NumPy read them; `fixtures/make/torch.py` wrote what is expected.

use std::fmt::Write;
use std::path::Path;

use torch::{Checkpoint, Crc32, TensorInfo};
use wire::ReadAt;

use crate::read;

/// The elements in row-major order, read in pieces of an odd number of elements.
pub(crate) fn elements(tensor: &TensorInfo, bytes: &dyn ReadAt) -> Vec<u8> {
    const PIECE: u64 = 7;
    let width = tensor.dtype.bytes();
    let mut out = Vec::new();
    let mut first = 0;
    while first < tensor.count() {
        let count = PIECE.min(tensor.count() - first);
        let mut piece = vec![0; usize::try_from(count * width).unwrap()];
        tensor.read(bytes, first, &mut piece).unwrap();
        out.extend(piece);
        first += count;
    }
    out
}

fn show(checkpoint: &Checkpoint, bytes: &[u8]) -> String {
    let source = bytes.to_vec();
    let mut text = String::new();
    for tensor in &checkpoint.tensors {
        let elements = elements(tensor, &source);
        let mut crc = Crc32::default();
        crc.update(&elements);
        if let Some(range) = tensor.contiguous() {
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert_eq!(bytes[range], elements, "{}", tensor.name);
        }
        let TensorInfo { name, dtype, shape, strides, element_offset, .. } = tensor;
        let (dtype, crc) = (dtype.name(), crc.value());
        writeln!(text, "{name} {dtype} {shape:?} {strides:?} {element_offset} {crc:#010x}")
            .unwrap();
    }
    text
}

fn check(path: &Path, expected: &str) {
    let bytes = std::fs::read(path).unwrap();
    let checkpoint = read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    checkpoint.verify(&bytes).unwrap();
    assert_eq!(show(&checkpoint, &bytes), expected, "{}", path.display());
    assert!(torch::probe(&bytes[..bytes.len().min(512)], &bytes), "{}", path.display());
}

#[test]
fn fixtures_read_as_numpy_reads_them() {
    let paths = testing::files(testing::fixtures("torch"), "pt");
    for path in &paths {
        check(path, &std::fs::read_to_string(path.with_extension("golden")).unwrap());
    }
    assert_eq!(paths.len(), 7);
}

#[test]
fn corpus_reads_as_numpy_reads_it() {
    let golden = std::fs::read_to_string(testing::fixtures("torch/corpus.golden")).unwrap();
    let files: Vec<&str> = golden.split("# ").skip(1).collect();
    assert_eq!(files.len(), 65);
    for folder in ["corpora/burn-pytorch", "golden/arch"] {
        let Some(path) = testing::corpus(Path::new("..").join(folder)) else { continue };
        let root = path.parent().and_then(Path::parent).unwrap();
        let files = files.iter().filter(|file| file.starts_with(folder));
        let count = files.map(|file| {
            let (name, expected) = file.split_once('\n').unwrap();
            check(&root.join(name), expected);
        });
        assert_eq!(count.count(), if folder == "golden/arch" { 10 } else { 55 });
    }
}

/// Tensors that are the same view are said to be; mere neighbours in one storage are not.
#[test]
fn ties_are_reported() {
    let ties = |name: &str| {
        let bytes = std::fs::read(testing::fixtures("torch").join(name)).unwrap();
        let tensors = read(&bytes).unwrap().tensors;
        tensors.into_iter().map(|tensor| tensor.same_as).collect::<Vec<_>>()
    };
    assert_eq!(ties("legacy_shared_storage.pt"), [None, None, None]);
    assert_eq!(ties("mixed_types.pt"), [None, None, None, None]);
}

#[test]
fn an_optimizer_beside_a_model_is_left_out_with_a_note() {
    let bytes = std::fs::read(testing::fixtures("torch/checkpoint.pt")).unwrap();
    let checkpoint = read(&bytes).unwrap();
    let expected = [
        "the tensors under 'optimizer_state_dict' are an optimizer's and are left out",
        "2 values that hold no tensor are left out",
    ];
    assert_eq!(checkpoint.notes, expected);
    // Its bytes are checked all the same.
    assert_eq!((checkpoint.tensors.len(), checkpoint.storages.len()), (4, 5));
}

/// A flipped bit in a tensor is found by its checksum.
#[test]
fn damaged_elements_are_found() {
    let good = std::fs::read(testing::fixtures("torch/mixed_types.pt")).unwrap();
    let tensors = read(&good).unwrap().tensors;
    for tensor in &tensors {
        let mut bad = good.clone();
        bad[usize::try_from(tensor.storage.offset).unwrap()] ^= 0x10;
        let checkpoint = read(&bad).unwrap();
        let error = checkpoint.verify(&bad).unwrap_err();
        assert_eq!(error.offset, tensor.storage.offset, "{error}");
    }
    assert_eq!(tensors.len(), 4);
}
