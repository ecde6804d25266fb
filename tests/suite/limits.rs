//! The table of limits, walked: below what a file needs it is refused, with the flag's name, and
//! with the limit raised to what it is unless set the same file is read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use crate::program::{Dir, fixture, remold, run, tiny};

/// What reaches a limit, if that is as low as this.
struct Case {
    limit: &'static str,
    low: u64,
    file: &'static str,
}

const fn case(limit: &'static str, low: u64, file: &'static str) -> Case {
    Case { limit, low, file }
}

/// A line for each limit that `inspect` reaches; what lies in `made` the test makes itself.
#[rustfmt::skip]
const CASES: &[Case] = &[
    case("side-file",          100, "tiny-llama"),
    case("safetensors-header",  50, "safetensors/shapes.safetensors"),
    case("gguf-string",          1, "gguf/scalars.gguf"),
    case("gguf-metadata",       40, "gguf/scalars.gguf"),
    case("gguf-entries",         1, "gguf/scalars.gguf"),
    case("gguf-key",             2, "gguf/scalars.gguf"),
    case("gguf-nesting",         1, "gguf/arrays.gguf"),
    case("gguf-tensors",         1, "gguf/tensors.gguf"),
    case("gguf-name",            1, "gguf/tensors.gguf"),
    case("gguf-rank",            1, "gguf/tensors.gguf"),
    case("gguf-alignment",      32, "gguf/align64.gguf"),
    case("pickle-bytes",        50, "torch/checkpoint.pt"),
    case("pickle-inflated",     50, "torch2/newer_deflated.pt"),
    case("pickle-opcodes",      10, "torch/checkpoint.pt"),
    case("pickle-stack",         2, "torch/checkpoint.pt"),
    case("pickle-values",       20, "torch/checkpoint.pt"),
    case("pickle-nesting",       1, "torch/checkpoint.pt"),
    case("pickle-line",          4, "torch/checkpoint.pt"),
    case("pickle-integer",       8, "torch/legacy_shared_storage.pt"),
    case("pickle-name",         10, "torch/checkpoint.pt"),
    case("pickle-names",         1, "torch/checkpoint.pt"),
    case("torch-names",          1, "made/tied.pt"),
    case("torch-items",          1, "torch3/container.tar"),
    case("npy-header",          16, "npy/le_f4.npy"),
    case("protobuf-messages",    1, "onnx/types.onnx"),
    case("protobuf-field",       1, "tensorflow/network.pb"),
    case("tensorflow-block",     8, "tensorflow/snappy.ckpt.index"),
    case("tensorflow-key",       1, "tensorflow/names.ckpt.index"),
    case("tflite-tables",        1, "tflite/every.tflite"),
    case("tflite-name",          1, "tflite/every.tflite"),
    case("tflite-inputs",        1, "tflite/float.tflite"),
    case("msgpack-values",       2, "flax/types.msgpack"),
    case("msgpack-text",         1, "flax/types.msgpack"),
    case("hdf5-objects",         1, "hdf5/new.h5"),
    case("hdf5-depth",           0, "keras/three.weights.h5"),
    case("hdf5-block",          64, "hdf5/new.h5"),
    case("hdf5-chunk",           1, "hdf5/new.h5"),
    case("hdf5-chunks",          1, "hdf5/new.h5"),
    case("inflated-file",       10, "keras/deflated.keras"),
    case("expanded",             1, "onnx/sparse.onnx"),
    case("shards",               1, "made/sharded"),
];

/// A line for each limit that only reading weights reaches.
const READS: &[Case] = &[case("inflated", 10, "npz/deflated.npz")];

/// A line for each limit that a run of a graph reaches.
#[rustfmt::skip]
const RUNS: &[Case] = &[
    case("graph-elements", 10, "graph/mlp.onnx"),
    case("graph-steps",     1, "graph/mlp.onnx"),
    case("graph-nodes",     1, "graph/mlp.onnx"),
];

/// Every limit with what it is unless set, as the refusal of another name lists them.
fn table() -> BTreeMap<String, u64> {
    let error = remold!("inspect", tiny(), "--limit", "nope=1").refuses(2);
    let (_, known) = error.split_once("there are ").expect("the list");
    let pairs = known.trim().split(", ").map(|pair| pair.split_once('=').expect("NAME=DEFAULT"));
    pairs.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

#[test]
fn every_limit_refuses_by_name_and_is_lifted_by_its_flag() {
    let table = table();
    let known: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    let tried: BTreeSet<&str> =
        CASES.iter().chain(READS).chain(RUNS).map(|case| case.limit).collect();
    assert_eq!(tried, known, "each limit has a line in this test");
    let dir = Dir::new();
    make(dir.path());
    for case in CASES {
        let file = match case.file.strip_prefix("made/") {
            Some(name) => dir.join(name),
            None => fixture(case.file),
        };
        holds(case, table[case.limit], &[OsStr::new("inspect"), file.as_ref()]);
    }
    for case in READS {
        let file = fixture(case.file);
        let arguments =
            ["inspect".as_ref(), file.as_os_str(), "--tensors".as_ref(), "--stats".as_ref()];
        holds(case, table[case.limit], &arguments);
    }
    let out = dir.join("logits.npy");
    for case in RUNS {
        let file = fixture(case.file);
        let arguments = ["logits".as_ref(), file.as_os_str(), "-o".as_ref(), out.as_ref()];
        holds(case, table[case.limit], &arguments);
    }
}

fn holds(case: &Case, default: u64, arguments: &[&OsStr]) {
    let with = |value: u64| {
        let setting = format!("{}={value}", case.limit);
        run(&[arguments, &["--limit".as_ref(), setting.as_ref()]].concat())
    };
    let error = with(case.low).refuses(5);
    let flag = format!("--limit {}=N raises this", case.limit);
    assert!(error.contains(&flag), "expected \"{flag}\": {error}");
    with(default).ends(0);
}

/// A checkpoint whose tensor has very many names, and a model in shards.
fn make(dir: &Path) {
    std::fs::write(dir.join("tied.pt"), checkpoint(1000)).expect("written");
    let size = ["--split-max-size", "1M"];
    remold!("convert", tiny(), dir.join("sharded"), "--type", "f16", size[0], size[1]).ends(0);
}

/// A checkpoint of one tensor in a list, so many times.
fn checkpoint(times: usize) -> Vec<u8> {
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n\
        X\x01\0\0\x000X\x03\0\0\0cpuK\x04tQK\0K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRq\x01";
    let again = b"h\x01".repeat(times - 1);
    let pickle = [b"\x80\x02](".as_slice(), tensor, &again, b"e."].concat();
    let entries = [
        ("a/data.pkl".to_owned(), pickle),
        ("a/version".to_owned(), b"3\n".to_vec()),
        ("a/data/0".to_owned(), vec![0; 16]),
    ];
    zip::stored(&entries).expect("an archive")
}
