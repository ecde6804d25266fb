//! Containers of arrays: what their owning libraries read from them is what we read. The libraries
//! wrote the files and the goldens beside them: `fixtures/make/npz.py` and its neighbours.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use remold::formats;
use remold::ir::{Access, Limits, Model, Notes, Scratch, Tensor};
use remold::store::Files;
use torch::Crc32;

use crate::program::{Dir, fixture, remold};

/// A model, its format seen by content.
pub(crate) fn model(path: &Path) -> Model {
    let source = Files::open(path, Access::Read).expect("a file");
    let format = formats::detect(&source, None).expect("a format");
    let read = format.read.expect("a format that is read");
    read(&source, &Limits::default(), &mut Notes::default()).expect("a model")
}

/// The CRC-32 of a tensor, made at once or in pieces.
fn sum(tensor: &Tensor, piece: u64) -> u32 {
    let (count, mut at, mut crc) = (tensor.shape().count(), 0, Crc32::default());
    while at < count {
        let end = count.min(at + piece.next_multiple_of(tensor.granule()));
        let mut bytes = vec![0; tensor.byte_offset(end - at) as usize];
        tensor.read(at..end, &mut bytes, &mut Scratch::default()).expect("elements");
        crc.update(&bytes);
        at = end;
    }
    crc.value()
}

/// What `fixtures/make/golden.py` writes of the same file, but for the order.
fn held(model: &Model) -> Vec<String> {
    let lines = model.tensors.iter().map(|(name, tensor)| {
        let crc = sum(tensor, tensor.shape().count().max(1));
        for piece in [1, 3, 64] {
            if tensor.shape().count() < 10_000 {
                assert_eq!(sum(tensor, piece), crc, "{name} in pieces of {piece}");
            }
        }
        let mut line = String::new();
        let _ = write!(line, "{} {} {crc:08x} {name}", tensor.dtype(), tensor.shape());
        line
    });
    sorted(lines.collect())
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// A file gives what its golden says; how many arrays that are.
pub(crate) fn agrees(file: &Path, golden: &Path) -> usize {
    let text = std::fs::read_to_string(golden).expect("a golden text");
    let expected = sorted(text.lines().map(str::to_owned).collect());
    assert_eq!(held(&model(file)), expected, "{}", file.display());
    expected.len()
}

/// A file of `$REMOLD_MODELS`, which names a directory of models that are not kept here.
pub(crate) fn kept_elsewhere(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("REMOLD_MODELS").map(PathBuf::from).unwrap_or_default();
    let path = folder.join(name);
    if !path.exists() {
        eprintln!("$REMOLD_MODELS/{name} is not there: not tested");
        return None;
    }
    Some(path)
}

#[test]
fn archives_of_numpy_hold_what_numpy_says() {
    for name in ["stored", "deflated"] {
        let file = fixture(&format!("npz/{name}.npz"));
        assert_eq!(agrees(&file, &file.with_extension("golden")), 11);
    }
}

#[test]
fn the_checkpoint_of_g2p_en_holds_what_numpy_says() {
    let Some(file) = kept_elsewhere("g2p-en/checkpoint20.npz") else { return };
    assert_eq!(agrees(&file, &fixture("npz/g2p_en.golden")), 12);
}

/// To every type and order of one array, and back: the same elements.
#[test]
fn arrays_alone_are_read_and_written() {
    let (mut seen, dir) = (0, Dir::new());
    for name in crate::program::names(&fixture("npy")) {
        let Some(stem) = name.strip_suffix(".npy") else { continue };
        let file = fixture(&format!("npy/{name}"));
        let (archive, again) = (dir.join(format!("{stem}.npz")), dir.join(&name));
        let tensors = model(&file).tensors;
        assert_eq!(tensors.keys().collect::<Vec<_>>(), [stem]);
        if stem == "bfloat16" || stem == "float8_e5m2" {
            let error = remold!("convert", file, archive, "--quiet").refuses(4);
            assert!(error.contains("give --type f32"), "{error}");
            continue;
        }
        remold!("convert", file, archive, "--quiet", "--no-sync").ends(0);
        remold!("convert", archive, again, "--quiet", "--no-sync").ends(0);
        assert_eq!(held(&model(&again)), held(&model(&file)), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 23);
    let error = remold!("convert", fixture("npz/stored.npz"), dir.join("x.npy")).refuses(4);
    assert!(error.contains("11 tensors; write an .npz"), "{error}");
    let one = remold!(
        "convert",
        fixture("npz/stored.npz"),
        dir.join("x.npy"),
        "--include",
        "^fortran$",
        "--quiet"
    );
    one.ends(0);
}

#[test]
fn arrays_of_no_numbers_are_refused_by_name() {
    let dir = Dir::new();
    let text = fixture("npz/text.npz");
    let error = remold!("convert", text, dir.join("a.npz")).refuses(4);
    assert!(error.contains("'text' is an array whose descr \"<U1\" are text"), "{error}");
    remold!("convert", text, dir.join("a.npz"), "--exclude", "^text$", "--quiet").ends(0);
    assert_eq!(model(&dir.join("a.npz")).tensors.len(), 1);
    let objects = fixture("npz/objects.npz");
    let error = remold!("convert", objects, dir.join("b.npz")).refuses(3);
    assert!(error.contains("array 'objects'") && error.contains("a pickle"), "{error}");
    remold!("convert", objects, dir.join("b.npz"), "--skip-objects", "--quiet").ends(0);
    assert_eq!(model(&dir.join("b.npz")).tensors.len(), 1);
}
