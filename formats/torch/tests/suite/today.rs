//! Checkpoints by a PyTorch of today; `fixtures/make/torch2.py` wrote what is expected.

use std::collections::BTreeMap;
use std::path::Path;

use torch::{Checkpoint, Crc32, Options};

use crate::golden::elements;
use crate::{files, read};

/// The words of a golden for what this crate calls otherwise.
const KINDS: &[(&str, &str)] = &[
    ("sparse", "a sparse tensor"),
    ("quantized", "a quantized tensor"),
    ("meta", "a meta tensor, which has no values"),
    ("nested", "a nested tensor"),
    ("complex32", "of type complex32"),
    ("subclass", "a tensor of a subclass"),
    ("lazy", "a conjugated or negated view, which torch computes when it is used"),
];

pub(crate) fn open(name: &str, skip_objects: bool) -> (Vec<u8>, Checkpoint) {
    let bytes = std::fs::read(testing::fixtures("torch2").join(name)).unwrap();
    let checkpoint = torch::read(&bytes, &Options { skip_objects, ..Options::default() });
    let checkpoint = checkpoint.unwrap_or_else(|error| panic!("{name}: {error}"));
    checkpoint.verify(&bytes).unwrap();
    (bytes, checkpoint)
}

/// Each tensor's name with a line of the golden's form.
pub(crate) fn found(bytes: &Vec<u8>, checkpoint: &Checkpoint) -> BTreeMap<String, String> {
    let plain = checkpoint.tensors.iter().map(|tensor| {
        let mut crc = Crc32::default();
        let storage = &tensor.storage;
        let stream = storage.deflated.as_ref();
        let inflated = stream.map(|stream| storage.inflate(bytes, stream.len, "storage").unwrap());
        crc.update(&elements(tensor, inflated.as_ref().unwrap_or(bytes)));
        let (dtype, shape, crc) = (tensor.dtype.name(), &tensor.shape, crc.value());
        (tensor.name.clone(), format!("{dtype} {shape:?} {crc:#010x}"))
    });
    let refused = checkpoint.refused.iter().map(|tensor| {
        let kind = KINDS.iter().find(|kind| kind.1 == tensor.what);
        let kind = kind.map_or(tensor.what.as_str(), |kind| kind.0);
        (tensor.name.clone(), format!("refused: {kind}"))
    });
    plain.chain(refused).collect()
}

pub(crate) fn golden(name: &str) -> BTreeMap<String, String> {
    let path = testing::fixtures("torch2").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    // One name has a line break.
    let text = text.replace("größe\n", "größe\u{0}");
    let lines = text.lines().map(|line| {
        let at = ["refused:", "float", "bfloat", "uint", "int", "complex", "bool"]
            .iter()
            .filter_map(|word| line.match_indices(&format!(" {word}")).map(|(at, _)| at).last());
        let (key, rest) = line.split_at(at.min().unwrap());
        (key.replace('\0', "\n"), rest.trim().to_owned())
    });
    lines.collect()
}

#[test]
fn files_hold_what_torch_says() {
    for (file, expected, skip_objects, count) in [
        ("newer.pt", "newer.golden", false, 16),
        ("newer_stream.pt", "newer.golden", false, 16),
        ("newer_deflated.pt", "newer.golden", false, 16),
        ("script.pt", "script.golden", false, 3),
        ("module.pt", "module.golden", true, 11),
    ] {
        let (bytes, checkpoint) = open(file, skip_objects);
        let expected = golden(expected);
        assert_eq!(expected.len(), count, "{file}");
        assert_eq!(found(&bytes, &checkpoint), expected, "{file}");
    }
}

/// Callbacks keep tensors of their own; the model's and no optimizer's are beside them.
#[test]
fn lightning_gives_its_tensors() {
    let (bytes, checkpoint) = open("lightning.ckpt", true);
    let mut found = found(&bytes, &checkpoint);
    found.retain(|name, _| !name.starts_with("callbacks."));
    assert_eq!(found, golden("lightning.golden"));
    assert!(checkpoint.notes.iter().any(|note| note.contains("'optimizer_states'")));
}

/// The code of a traced archive refers to constants by their number.
#[test]
fn constants_are_read() {
    let (bytes, checkpoint) = open("traced.pt", false);
    let of = |name: &str| found(&bytes, &checkpoint).remove(name).unwrap();
    let script = golden("script.golden");
    for (constant, name) in [("c0", "fc.weight"), ("c1", "fc.bias"), ("c2", "steps")] {
        assert_eq!(of(&format!("CONSTANTS.{constant}")), script[name]);
    }
    // zlib.crc32(struct.pack("<2f", 0.5, 0.25))
    assert_eq!(of("CONSTANTS.c3"), "float32 [2] 0xbcb175de");
}

#[test]
fn tensors_without_plain_elements_are_listed() {
    let (bytes, checkpoint) = open("refused.pt", false);
    let expected = golden("refused.golden");
    assert_eq!((found(&bytes, &checkpoint), expected.len()), (expected.clone(), 9));
    assert_eq!(checkpoint.refused.len(), 6);
}

/// `fixtures/make/torch_containers.py` wrote these: the tar of 2016, archives of torch.export, and
/// types that few others have.
#[test]
fn other_containers_and_types_hold_what_torch_says() {
    for (file, expected, count, refused) in [
        ("../torch3/container.tar", "../torch3/container.golden", 6, 0),
        ("../torch3/container_pax.tar", "../torch3/container.golden", 6, 0),
        ("../torch3/container_gnu.tar", "../torch3/container.golden", 6, 0),
        ("../torch3/exported.pt2", "../torch3/exported.golden", 7, 0),
        ("../torch3/exported_25.pt2", "../torch3/exported.golden", 7, 0),
        ("../torch3/exported_deflated.pt2", "../torch3/exported.golden", 7, 0),
        ("../torch3/exported_25_deflated.pt2", "../torch3/exported.golden", 7, 0),
        ("../torch3/types.pt", "../torch3/types.golden", 8, 3),
    ] {
        let (bytes, checkpoint) = open(file, false);
        let head = &bytes[..4096.min(bytes.len())];
        assert!(torch::probe(head, &bytes), "{file}");
        let expected = golden(expected);
        assert_eq!((expected.len(), checkpoint.refused.len()), (count, refused), "{file}");
        assert_eq!(found(&bytes, &checkpoint), expected, "{file}");
    }
}

/// All of them, so that their user can judge.
#[test]
fn foreign_classes_are_all_named() {
    for (file, classes) in [("module.pt", 7), ("lightning.ckpt", 1)] {
        let bytes = std::fs::read(testing::fixtures("torch2").join(file)).unwrap();
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.class(), wire::Class::Malformed);
        let text = error.to_string();
        assert_eq!(text.matches("'torch.nn.").count() + text.matches("'my.").count(), classes);
        assert!(text.contains("--skip-objects"), "{text}");
    }
}

/// A flipped bit in a deflated storage is damage, whatever it does to the stream.
#[test]
fn damaged_streams_are_found() {
    let (mut bytes, checkpoint) = open("newer_deflated.pt", false);
    let mut seen = 0;
    for storage in &checkpoint.storages {
        let place = storage.deflated.clone().unwrap().place;
        let good = storage.inflate(&bytes, storage.len, "a test").unwrap();
        for bit in place.start * 8..place.end * 8 {
            let (at, mask) = (usize::try_from(bit / 8).unwrap(), 1 << (bit % 8));
            bytes[at] ^= mask;
            // Another stream may stand for the same bytes.
            let same = || storage.inflate(&bytes, storage.len, "a test").unwrap() == good;
            assert!(storage.verify(&bytes).is_err() || same(), "{}: bit {bit}", storage.key);
            bytes[at] ^= mask;
            seen += 1;
        }
        let short = storage.len.checked_sub(1);
        assert!(short.is_none_or(|max| storage.inflate(&bytes, max, "a test").is_err()));
    }
    assert!(seen > 1000, "{seen}");
}

#[test]
fn every_prefix_is_refused() {
    let mut paths = files(&testing::fixtures("torch2"), "");
    paths.retain(|path| path.extension().is_some_and(|extension| extension != "golden"));
    paths.iter().for_each(|path| cut(path));
    assert_eq!(paths.len(), 8);
}

fn cut(path: &Path) {
    let good = std::fs::read(path).unwrap();
    for len in (0..good.len()).step_by(3) {
        let lenient = Options { skip_objects: true, ..Options::default() };
        let error = torch::read(&good[..len].to_vec(), &lenient).expect_err("cut short");
        assert!(error.offset <= len as u64, "{}: {len}: {error}", path.display());
    }
}
