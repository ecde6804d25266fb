//! Graphs through the program: what onnxruntime gives is what `logits` writes, and what differs
//! is what `verify` says. fixtures/make/graph.py wrote the graphs and what is expected.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use remold::ir::{Access, Blob};

use super::program::remold;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Arrays of an .npz, as numbers with their shapes.
pub(crate) fn arrays(path: &Path) -> IndexMap<String, (Vec<u64>, Vec<f64>)> {
    let blob = Blob::open(path, Access::Read).expect("an archive");
    let archive = zip::Archive::open(&blob).expect("an archive");
    let array = |entry: &zip::Entry| {
        let bytes = entry.data(&blob, 1 << 30, "").expect("an array");
        let header = npy::read(&bytes, &npy::Limits::default()).expect("a header");
        let data = &bytes[header.data_offset as usize..];
        let numbers = match (header.descr.kind, header.descr.size) {
            (npy::Kind::Float, 4) => {
                data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect()
            }
            (npy::Kind::Float, 8) => {
                data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
            }
            (npy::Kind::Int, 1) => data.iter().map(|b| f64::from(b.cast_signed())).collect(),
            (npy::Kind::Int, 8) => {
                data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
            }
            other => panic!("{other:?} is in no fixture"),
        };
        (entry.name.trim_end_matches(".npy").to_owned(), (header.shape, numbers))
    };
    archive.entries.iter().map(array).collect()
}

/// The share of the difference in the expected numbers' power.
pub(crate) fn nmse(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
    let power: f64 = expected.iter().map(|b| b * b).sum();
    if error == 0.0 { 0.0 } else { error / power }
}

/// Runs a graph on its inputs and holds each output to the expected.
fn holds(name: &str, model: &Path, limit: f64) {
    let folder = root().join("fixtures/graph");
    let dir = temporary();
    let out = dir.path().join("out.npz");
    let input = folder.join(format!("{name}.in.npz"));
    remold!("logits", model, "--input", input, "-o", out).ends(0);
    let (found, expected) = (arrays(&out), arrays(&folder.join(format!("{name}.out.npz"))));
    assert!(!expected.is_empty());
    for (key, (shape, numbers)) in expected {
        // Of long outputs every so manieth element is kept.
        let (name_of, step) = match key.split_once("[::") {
            Some((name, step)) => (name, step.trim_end_matches(']').parse().expect("a step")),
            None => (&key[..], 1),
        };
        let (found_shape, all) = &found[name_of];
        assert!(step > 1 || *found_shape == shape, "{name}: {key}");
        let all: Vec<f64> = all.iter().copied().step_by(step).collect();
        let nmse = nmse(&all, &numbers);
        assert!(nmse <= limit, "{name}: {key}: NMSE {nmse:e}");
    }
}

#[test]
fn networks_give_what_onnxruntime_gives() {
    for name in ["mlp", "cnn", "rnn", "gan", "transformer", "quantized", "loop"] {
        holds(name, &root().join(format!("fixtures/graph/{name}.onnx")), 1e-12);
    }
}

/// Models of several MB are not kept here: a directory with them may be named.
#[test]
fn real_models_give_what_onnxruntime_gives() {
    let Some(folder) = std::env::var_os("REMOLD_MODELS").map(PathBuf::from) else {
        eprintln!("REMOLD_MODELS names no directory: the real models were not run");
        return;
    };
    let mut seen = 0;
    let entries = std::fs::read_dir(root().join("fixtures/graph")).expect("fixtures");
    for entry in entries {
        let file = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".in.npz") else { continue };
        let model = folder.join(format!("{name}.onnx"));
        if model.is_file() {
            // A logarithm near 0 in basic_pitch makes much of the last bits.
            holds(name, &model, if name == "basic_pitch" { 1e-6 } else { 1e-8 });
            seen += 1;
        }
    }
    assert!(seen > 0, "no model of the fixtures is in {}", folder.display());
}

fn graph(name: &str) -> String {
    root().join("fixtures/graph").join(name).to_str().expect("UTF-8").to_owned()
}

/// A copy of a graph with one byte changed in the weight that these bytes begin.
fn damaged(name: &str, dir: &Path, find: &[u8], byte: usize, mask: u8) -> String {
    let mut bytes = std::fs::read(graph(name)).expect("a graph");
    let at = bytes.windows(find.len()).position(|window| window == find).expect("the weight");
    bytes[at + byte] ^= mask;
    let path = dir.join(name);
    std::fs::write(&path, bytes).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_graph_is_the_same_as_itself() {
    for name in ["mlp.onnx", "transformer.onnx", "loop.onnx"] {
        remold!("verify", graph(name), graph(name), "--layers").ends(0);
    }
}

#[test]
fn a_changed_weight_is_caught_and_the_first_node_named() {
    let dir = temporary();
    // The first weight's first number, and the top of its exponent.
    let weight = std::fs::read(graph("mlp.onnx")).expect("a graph");
    let tensors = weight.windows(4).position(|w| w == b"w1J\x80").expect("raw data of w1");
    let first = weight[tensors + 5..tensors + 13].to_vec();
    let bad = damaged("mlp.onnx", dir.path(), &first, 3, 0x08);
    let text = remold!("verify", graph("mlp.onnx"), bad, "--layers").ends(1).stdout;
    assert!(text.contains("w1"), "{text}");
    assert!(text.contains("the first to depart is node 'Gemm_3' (Gemm)"), "{text}");
}

#[test]
fn what_is_asked_of_a_graph_and_cannot_be_is_said() {
    let mlp = graph("mlp.onnx");
    let dir = temporary();
    let out = dir.path().join("o.npz");
    let error = remold!("logits", mlp, "--dim", "rows=3", "-o", out).refuses(2);
    assert!(error.contains("the named dimensions of inputs are: batch"), "{error}");
    remold!("logits", mlp, "--tokens", "1,2", "-o", out).refuses(4);
    let error = remold!("logits", mlp, "--limit", "graph-elements=10", "-o", out).refuses(5);
    assert!(error.contains("--limit graph-elements=N"), "{error}");
    remold!("logits", mlp, "--dim", "batch=4", "--seed", "7", "-o", out).ends(0);
    let (shape, _) = &arrays(&out)["y"];
    assert_eq!(*shape, [4, 10]);
    // An input of another shape: the node, the input, what was found and what was expected.
    let error = remold!("logits", mlp, "--input", graph("rnn.in.npz"), "-o", out).refuses(3);
    let expected = "node 'Gemm_3' (Gemm): input 0 'x': found f32 [3, 3, 5], expected a matrix";
    assert!(error.ends_with(expected), "{error}");
}

/// Graphs of another project, with what they gave there. Left out: one whose expected output is a
/// value within the graph, and one whose expected output has the padding of a streaming run.
#[test]
fn graphs_of_tract_give_what_they_gave() {
    const LEFT_OUT: &[&str] = &["byte_sb_bidi_lstm", "qtdnn_10x5_101_i32_biases"];
    let Some(folder) = testing::corpus("tract-onnx/onnx/test_cases") else { return };
    let entries = std::fs::read_dir(&folder).expect("a folder");
    let mut seen = 0;
    for entry in entries {
        let dir = entry.expect("an entry").path();
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (model, io) = (dir.join("model.onnx"), dir.join("io.npz"));
        if !model.is_file() || !io.is_file() || LEFT_OUT.contains(&&name[..]) {
            continue;
        }
        let expected = arrays(&io);
        let inputs = ["input", "x"].into_iter().filter(|input| expected.contains_key(*input));
        let inputs: Vec<&str> = inputs.collect();
        let blob = Blob::open(&io, Access::Read).expect("an archive");
        let archive = zip::Archive::open(&blob).expect("an archive");
        let entries = inputs.iter().map(|input| {
            let file = format!("{input}.npy");
            let data = archive.get(&file).expect("an input").data(&blob, 1 << 30, "");
            (file, data.expect("an array"))
        });
        let work = temporary();
        let (given, out) = (work.path().join("in.npz"), work.path().join("out.npz"));
        let bytes = zip::stored(&entries.collect::<Vec<_>>()).expect("an archive");
        std::fs::write(&given, bytes).expect("written");
        remold!("logits", model, "--input", given, "-o", out).ends(0);
        let found = arrays(&out);
        for (output, (_, numbers)) in expected.iter().filter(|row| !inputs.contains(&&row.0[..])) {
            let nmse = nmse(&found[output].1, numbers);
            assert!(nmse < 1e-10, "{name}: {output}: NMSE {nmse:e}");
        }
        seen += 1;
    }
    assert!(seen >= 13, "only {seen} graphs were run");
}
