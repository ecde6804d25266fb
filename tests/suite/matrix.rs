//! Every format that is read into every format that is written: a tensor of each type arrives bit
//! for bit, or as another type of the same value, or is refused by name. The outcome is a page,
//! docs/formats/matrix.md; `BLESS=1` writes it anew, and a person reads the difference.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use remold::formats::{self, FORMATS, Format};
use remold::ir::{Access, DType, Limits, Model, Notes, Op, Scratch, Tensor};
use remold::store::Files;
use serde_json::{Map, json};

use crate::program::{Dir, fixture, remold};

/// Where tensors of a format come from: the first of each type in these files counts.
struct Source {
    format: &'static str,
    files: &'static [&'static str],
}

/// A file that the test makes: safetensors of every type that it has.
const MADE: &str = "";

/// A line for each format that is read. Families that are known would get other names.
#[rustfmt::skip]
const SOURCES: &[Source] = &[
    Source { format: "gguf",        files: &["gguf/tensors.gguf", "gguf/packed.gguf"] },
    Source { format: "safetensors", files: &[MADE] },
    Source { format: "pytorch",     files: &["torch/every.pt", "torch2/newer.pt", "torch3/types.pt", "torch3/container.tar", "torch3/exported.pt2"] },
    Source { format: "onnx",        files: &["onnx/types.onnx"] },
    Source { format: "ggml",        files: &["ggml/whisper.bin"] },
    Source { format: "npz",         files: &["npz/stored.npz", "npz/deflated.npz"] },
    Source { format: "npy",         files: &["npy/le_f4.npy", "npy/be_f8.npy", "npy/le_f2.npy", "npy/i1.npy", "npy/le_i2.npy", "npy/be_u2.npy", "npy/le_c8.npy", "npy/b1.npy"] },
];

/// Types of safetensors and the bytes of eight elements.
#[rustfmt::skip]
const TYPES: &[(&str, usize)] = &[
    ("F64", 64), ("F32", 32), ("F16", 16), ("BF16", 16), ("F8_E4M3", 8), ("F8_E5M2", 8), ("F8_E4M3FNUZ", 8), ("F8_E5M2FNUZ", 8),
    ("F8_E8M0", 8), ("F4", 4), ("C64", 64), ("I64", 64), ("I32", 32), ("I16", 16), ("I8", 8), ("U64", 64), ("U32", 32), ("U16", 16), ("U8", 8), ("BOOL", 8),
];

#[test]
fn every_format_reaches_every_other() {
    let made = Dir::new();
    let every = made.join("every.safetensors");
    std::fs::write(&every, every_type()).expect("written");
    let readers = FORMATS.iter().filter(|format| format.read.is_some());
    let known: BTreeSet<&str> = SOURCES.iter().map(|source| source.format).collect();
    for format in readers {
        let name = format.name;
        assert!(known.contains(name), "{name} is read: give it a line in SOURCES of this test");
    }
    let writers: Vec<&Format> = FORMATS.iter().filter(|format| format.layout.is_some()).collect();
    let mut page = String::from(INTRODUCTION);
    for source in SOURCES {
        let files = source.files.iter().map(|name| match *name {
            MADE => every.clone(),
            name => fixture(name),
        });
        section(&mut page, source, &files.collect::<Vec<_>>(), &writers);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats/matrix.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &page).expect("written");
    }
    let before = std::fs::read_to_string(&path).expect("the page");
    assert!(before == page, "{} is stale: BLESS=1 cargo test matrix\n{page}", path.display());
}

const INTRODUCTION: &str = "\
# Every format into every other

Made by a test: `BLESS=1 cargo test --test suite matrix` writes this page anew. One tensor of each type that the fixtures of a format have is converted with
`--include` and no `--type`, read again, and compared.

`=` arrives bit for bit · a type: becomes that, with the same values (f64 rounded to f32 where there is no f64) · `–` is refused by name, exit 4 ·
`!` a value of the fixture has no room in the widest type that there is, exit 7
";

/// One table: a row for each type that the files have.
fn section(page: &mut String, source: &Source, files: &[PathBuf], writers: &[&Format]) {
    let names: Vec<&str> = writers.iter().map(|writer| writer.name).collect();
    let (head, line) = (names.join(" | "), "---|".repeat(names.len() + 1));
    write!(page, "\n## From {}\n\n| | {head} |\n|{line}\n", source.format).expect("text");
    let mut seen = BTreeSet::new();
    for file in files {
        let model = open(file);
        assert_eq!(model.format, source.format, "{}", file.display());
        for (name, tensor) in &model.tensors {
            if tensor.shape().count() == 0 || !seen.insert(tensor.dtype().name()) {
                continue;
            }
            let cell = |writer: &Format| match (&model.graph, writer.graph) {
                (Some(_), true) => copied(file, &model, writer),
                _ => became(file, (name.as_str(), tensor), writer),
            };
            let cells: Vec<String> = std::thread::scope(|scope| {
                let threads = writers.iter().map(|writer| scope.spawn(|| cell(writer)));
                let threads: Vec<_> = threads.collect();
                threads.into_iter().map(|thread| thread.join().expect("a cell")).collect()
            });
            let (dtype, cells) = (tensor.dtype(), cells.join(" | "));
            writeln!(page, "| {dtype} | {cells} |").expect("text");
        }
    }
    assert!(!seen.is_empty(), "{}: no tensors", source.format);
}

/// What a tensor, converted alone, is in another format.
fn became(file: &Path, (name, before): (&str, &Tensor), writer: &Format) -> String {
    let dir = Dir::new();
    let target = dir.join(format!("x.{}", writer.extensions[0]));
    let only = format!("^{}$", regex::escape(name));
    let ran = remold!(
        "convert",
        file,
        target,
        "--to",
        writer.name,
        "--include",
        only,
        "--no-sync",
        "--quiet"
    );
    if ran.code == Some(7) {
        let error = ran.refuses(7);
        assert!(error.contains(name) && error.contains("would become"), "{error}");
        return "!".to_owned();
    }
    if ran.code == Some(4) {
        let error = ran.refuses(4);
        let says = [name, before.dtype().name(), "made from an ONNX only"];
        assert!(says.iter().any(|words| error.contains(words)), "{error}");
        return "–".to_owned();
    }
    ran.ends(0);
    let model = open(&target);
    assert_eq!(model.tensors.len(), 1, "{}: {name} to {}", file.display(), writer.name);
    compared(before, &model.tensors[0], &format!("{name} to {}", writer.name))
}

/// A graph goes into a graph as a whole.
fn copied(file: &Path, model: &Model, writer: &Format) -> String {
    let dir = Dir::new();
    let target = dir.join(format!("x.{}", writer.extensions[0]));
    remold!("convert", file, target, "--to", writer.name, "--no-sync", "--quiet").ends(0);
    let after = open(&target);
    for (name, tensor) in &model.tensors {
        assert_eq!(compared(tensor, &after.tensors[name], name), "=");
    }
    "=".to_owned()
}

/// `=` for equal bits of one type, else the type, if its values are the same.
fn compared(before: &Tensor, after: &Tensor, what: &str) -> String {
    let (was, is) = (before.shape().dims(), after.shape().dims());
    assert!(was == is || was.is_empty() && is == [1], "{what}: {was:?} became {is:?}");
    if before.dtype() == after.dtype() {
        assert!(bytes(before) == bytes(after), "{what}: other bits");
        return "=".to_owned();
    }
    if before.dtype().is_weights() {
        let floats = |tensor: &Tensor| {
            let floats = tensor.to_floats().expect("weights").into_iter();
            floats.map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect::<Vec<u32>>()
        };
        assert!(floats(before) == floats(after), "{what}: other values");
    } else {
        let widened = Tensor::of(Op::Widen { input: before.clone() }).expect("small integers");
        assert!(after.dtype() == DType::I8 && bytes(&widened) == bytes(after), "{what}: others");
    }
    after.dtype().name().to_owned()
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(tensor.bytes()).expect("small")];
    let all = 0..tensor.shape().count();
    tensor.read(all, &mut bytes, &mut Scratch::default()).expect("read");
    bytes
}

fn open(path: &Path) -> Model {
    let files = Files::open(path, Access::Read).expect("a file");
    let format = formats::detect(&files, None).expect("a format");
    let read = format.read.expect("a format that is read");
    read(&files, &Limits::default(), &mut Notes::default()).expect("a model")
}

/// A safetensors file of eight elements of each type, none of them special.
fn every_type() -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (dtype, len) in TYPES {
        let start = data.len();
        let byte = |i: usize| if *dtype == "BOOL" { i % 2 } else { 0x35 + i % 11 };
        data.extend((0..*len).map(|i| byte(i) as u8));
        let entry = json!({"dtype": dtype, "shape": [2, 4], "data_offsets": [start, data.len()]});
        header.insert(format!("of.{dtype}"), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let len = header.len() as u64;
    [len.to_le_bytes().as_slice(), header.as_bytes(), &data].concat()
}
