//! GGUF of every version, byte order, alignment and type through the whole program: what gguf-py
//! says that a file holds is what arrives. `fixtures/make/gguf.py` wrote what is expected.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::program::remold;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gguf")
}

fn convert(from: &Path, to: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remold"));
    command.args(["convert", "--quiet", "--no-sync", "--overwrite"]).arg(from).arg(to);
    command.output().expect("the program starts")
}

/// The file that the program makes of another.
fn converted(from: &Path, to: &Path) -> Vec<u8> {
    let output = convert(from, to);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{}: {error}", from.display());
    std::fs::read(to).expect("the output")
}

fn read(bytes: &[u8]) -> gguf::File {
    gguf::read(&bytes.to_vec(), &gguf::Limits::default()).expect("a good GGUF")
}

/// A tensor as gguf-py reads it.
struct Golden<'a> {
    /// Name, type and dimensions.
    head: [&'a str; 3],
    start: usize,
    len: usize,
}

/// A line `tensor "name" KIND [dims] offset bytes first-bytes`.
fn golden(line: &str) -> Option<Golden<'_>> {
    let parts: Vec<&str> = line.strip_prefix("tensor ")?.rsplitn(6, ' ').collect();
    let [_, len, start, dims, kind, name] = parts[..] else { panic!("{line}") };
    let number = |text: &str| text.parse().expect("a number");
    Some(Golden { head: [name, kind, dims], start: number(start), len: number(len) })
}

/// Elements of the other byte order, each turned around.
fn swapped(bytes: &[u8], width: usize) -> Vec<u8> {
    bytes.chunks_exact(width).flat_map(|element| element.iter().rev().copied()).collect()
}

#[test]
fn every_version_and_order_arrives_as_version_3() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let target = dir.path().join("out.gguf");
    let names = ["align64", "arrays", "big", "no_tensors", "nothing", "pair", "scalars", "swapped"];
    let (mut tensors, names) = (0, names.into_iter().chain(["tensors", "unpadded", "v1", "v2"]));
    for name in names.chain(["zero_size"]) {
        let source = fixtures().join(name).with_extension("gguf");
        let text = std::fs::read_to_string(source.with_extension("golden")).expect("a golden");
        let before = std::fs::read(&source).expect("a fixture");
        let after = converted(&source, &target);
        let (old, new) = (read(&before), read(&after));
        assert_eq!((new.version, new.endian), (3, gguf::Endian::Little), "{name}");
        // As text, because a NaN is not equal to itself.
        assert_eq!(format!("{:?}", new.metadata), format!("{:?}", old.metadata), "{name}");
        let alignment = text.lines().find_map(|line| line.strip_prefix("alignment "));
        assert_eq!(alignment, Some(new.alignment.to_string().as_str()), "{name}");
        let goldens: Vec<Golden<'_>> = text.lines().filter_map(golden).collect();
        assert_eq!(goldens.len(), new.tensors.len(), "{name}");
        for (golden, info) in goldens.iter().zip(&new.tensors) {
            let dims: Vec<String> = info.dims.iter().map(u64::to_string).collect();
            let kind = info.kind.name.to_uppercase();
            let shown = serde_json::to_string(&info.name).expect("JSON");
            let [named, of, sized] = golden.head;
            let spelled: String = serde_json::from_str(named).expect("JSON");
            assert_eq!((shown, kind.as_str()), (serde_json::json!(spelled).to_string(), of));
            assert_eq!(format!("[{}]", dims.join(",")), sized, "{name}: {named}");
            let mut want = before[golden.start..][..golden.len].to_vec();
            if old.endian == gguf::Endian::Big {
                want = swapped(&want, info.kind.bytes as usize);
            }
            let found = &after[info.offset as usize..][..info.len as usize];
            assert_eq!(found, want, "{name}: {named}");
            tensors += 1;
        }
    }
    assert_eq!(tensors, 32);
}

/// What llama.cpp's own converter of byte orders made, turned back.
#[test]
fn packed_blocks_of_the_other_byte_order_are_turned() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (there, back) = (dir.path().join("there.gguf"), dir.path().join("back.gguf"));
    let before = converted(&fixtures().join("packed.gguf"), &there);
    let found = converted(&fixtures().join("big_packed.gguf"), &back);
    let big = std::fs::read(fixtures().join("big_packed.gguf")).expect("a fixture");
    assert_eq!((read(&big).endian, read(&big).tensors.len()), (gguf::Endian::Big, 8));
    assert!(found == before, "other bytes than those of the little-endian file");
}

/// Of a packing whose other order nobody has defined, all are named, unless they are left out.
#[test]
fn packed_blocks_of_an_unknown_order_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (source, target) = (fixtures().join("big_unknown.gguf"), dir.path().join("out.gguf"));
    let output = convert(&source, &target);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(error.contains("'packed' is made of q5_1 blocks in big-endian order"), "{error}");
    let left = remold!("convert", source, target, "--exclude", "packed", "--quiet").ends(0);
    assert_eq!(read(&std::fs::read(&target).expect("made")).tensors.len(), 1, "{}", left.told());
}

/// Also of types that this version cannot decode.
#[test]
fn tensors_of_every_type_are_carried_along() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (source, target) = (dir.path().join("in.gguf"), dir.path().join("out.gguf"));
    let infos: Vec<(String, Vec<u64>, &gguf::Kind)> = gguf::KINDS
        .iter()
        .map(|kind| (format!("of.{}", kind.name), vec![kind.len * 3, 5], kind))
        .collect();
    let architecture = gguf::Value::Text("unheard-of".into());
    let metadata = gguf::Metadata(vec![("general.architecture".into(), architecture)]);
    let plan = gguf::Plan::new(&metadata, &infos, 32).expect("a plan");
    let mut file = plan.header;
    file.resize(plan.len as usize, 0);
    for (no, placed) in plan.tensors.iter().enumerate() {
        let place = &mut file[placed.offset as usize..][..placed.len as usize];
        for (at, byte) in place.iter_mut().enumerate() {
            *byte = (at * 31 + no * 7 % 256) as u8;
        }
    }
    std::fs::write(&source, &file).expect("the source");
    assert_eq!(infos.len(), 35);
    assert!(converted(&source, &target) == file, "the copy differs");
}
