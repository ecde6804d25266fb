//! Importance matrices, from the command line to the bytes: `fixtures/imatrix` has what
//! llama-quantize makes of a small model with experts and the same numbers.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use remold::ir::{Access, Blob, Limits, Model, Notes, Value};
use remold::store::Files;
use remold::{formats, read};

const TYPES: [&str; 8] = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q6_K", "Q2_K_S", "Q4_K_M"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/imatrix").join(name)
}

fn fresh(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("imatrix-{name}"));
    let _ = std::fs::remove_file(&path);
    path
}

fn remold(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remold"));
    command.args(arguments.iter().map(AsRef::as_ref)).output().expect("it runs")
}

/// The exit code, and the whole of standard error.
fn refused(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> (i32, String) {
    let output = remold(arguments);
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).expect("text"))
}

fn model(path: &Path) -> Model {
    let source = Files::open(path, Access::Read).expect("opens");
    let format = formats::detect(&source, None).expect("a format");
    format.read.expect("read")(&source, &Limits::default(), &mut Notes::default()).expect("reads")
}

fn bytes(model: &Model, name: &str) -> Vec<u8> {
    let tensor = &model.tensors[name];
    let mut bytes = vec![0; tensor.bytes() as usize];
    let all = 0..tensor.shape().count();
    tensor.read(all, &mut bytes, &mut Default::default()).expect("reads");
    bytes
}

#[test]
fn quantized_tensors_are_those_of_llama_quantize() {
    let mut compared = 0;
    for kind in TYPES {
        let theirs = model(&fixture(&format!("model.{}.gguf", kind.to_lowercase())));
        for matrix in ["model.imatrix.gguf", "model.imatrix.dat"] {
            let (matrix, target) = (fixture(matrix), fresh(&format!("{kind}.gguf")));
            let output = remold(&[
                &"quantize",
                &fixture("model.gguf"),
                &target,
                &kind,
                &"--imatrix",
                &matrix,
            ]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            let missing = said.matches("not in the importance matrix").count();
            assert_eq!((missing, said.contains("output.weight: not in")), (1, true), "{said}");
            let ours = model(&target);
            assert_eq!(ours.tensors.len(), theirs.tensors.len());
            for (name, tensor) in &theirs.tensors {
                assert_eq!(ours.tensors[name].dtype(), tensor.dtype(), "{kind} {name}");
                assert_eq!(bytes(&ours, name), bytes(&theirs, name), "{kind} {name}");
                compared += 1;
            }
            let entry = |key: &str| ours.config.get(&format!("quantize.imatrix.{key}")).cloned();
            assert_eq!(entry("file"), Some(Value::Text(matrix.display().to_string())));
            assert_eq!(entry("dataset"), Some(Value::Text("calibration.txt".into())));
            assert_eq!(entry("entries_count"), Some(Value::U32(8)));
            assert_eq!(entry("chunks_count"), Some(Value::U32(3)));
        }
    }
    assert_eq!(compared, TYPES.len() * 2 * 11);
}

/// What llama-quantize made by a matrix is held against what we make by it; a matrix of another model
/// is refused.
#[test]
fn a_proof_may_know_the_matrix() {
    let reference = fixture("model.gguf");
    for kind in TYPES {
        let candidate = fixture(&format!("model.{}.gguf", kind.to_lowercase()));
        let matrix = fixture("model.imatrix.gguf");
        let (code, said) = refused(&[&"verify", &reference, &candidate, &"--imatrix", &matrix]);
        assert_eq!(code, 0, "{kind} {said}");
    }
    let short = fresh("short-proof.dat");
    std::fs::write(&short, entry("blk.0.ffn_up_exps.weight", 1, &[1.0; 256])).expect("written");
    let candidate = fixture("model.q4_0.gguf");
    let (code, said) = refused(&[&"verify", &reference, &candidate, &"--imatrix", &short]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("blk.0.ffn_up_exps.weight: has 256 values"), "{said}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let (source, target) = (fixture("model.gguf"), fresh("refused.gguf"));
    let with = |matrix: &Path| {
        refused(&[&"quantize", &source, &target, &"q4_0", &"--quiet", &"--imatrix", &matrix])
    };
    let (code, said) = with(&source);
    assert_eq!(code, 3);
    assert!(said.contains("general.type: found nothing, expected \"imatrix\""), "{said}");
    let (code, said) = with(&fixture("../tiny-llama/config.json"));
    assert_eq!(code, 3);
    assert!(said.contains("neither a GGUF nor what llama-imatrix wrote before it"), "{said}");
    assert_eq!(with(&fixture("no such file")).0, 6);

    // The name of a stack of experts, with the columns of one.
    let short = fresh("short.dat");
    std::fs::write(&short, entry("blk.0.ffn_up_exps.weight", 1, &[1.0; 256])).expect("written");
    let (code, said) = with(&short);
    assert_eq!(code, 3);
    let expected = "blk.0.ffn_up_exps.weight: has 256 values in the importance matrix ";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("expected 1024 (256 for each of 4 matrices)"), "{said}");

    let (code, said) = refused(&[&"convert", &source, &target, &"--imatrix", &short]);
    assert_eq!(code, 2);
    assert!(said.contains("--type"), "{said}");
    assert!(!target.exists());
}

/// A type that is of no use without a matrix is refused; but its sizes are known without.
#[test]
fn importance_is_demanded_only_where_bytes_are_written() {
    let (source, target) = (fixture("model.gguf"), fresh("demanded.gguf"));
    let (code, said) = refused(&[&"quantize", &source, &target, &"q2_k_s"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("blk.0.attn_q.weight: q2_k is of no use"), "{said}");
    assert!(said.contains("give --imatrix FILE"), "{said}");
    let (code, said) = refused(&[&"quantize", &source, &target, &"q2_k_s", &"--dry-run"]);
    assert_eq!(code, 0, "{said}");

    let partial = fresh("partial.dat");
    std::fs::write(&partial, entry("blk.0.attn_k.weight", 1, &[1.0; 256])).expect("written");
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 6] =
        [&"quantize", &source, &target, &"q2_k_s", &"--imatrix", &partial];
    let (code, said) = refused(&arguments);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("the importance matrix has no entry for it"), "{said}");
    assert!(!target.exists());
}

/// An importance matrix of one tensor, in the format before GGUF.
fn entry(name: &str, calls: i32, sums: &[f32]) -> Vec<u8> {
    let number = |n: usize| i32::try_from(n).expect("small").to_le_bytes();
    let sums_bytes = sums.iter().flat_map(|x| x.to_le_bytes());
    let head = [number(1), number(name.len())].concat();
    let lengths = [calls.to_le_bytes(), number(sums.len())].concat();
    [head, name.as_bytes().to_vec(), lengths, sums_bytes.collect()].concat()
}

fn read(name: &str, bytes: Vec<u8>) -> remold::ir::Result<remold::quant::ImportanceMatrix> {
    read::imatrix::read(&Blob::memory(name, bytes), &Limits::default())
}

#[test]
fn both_formats_say_the_same() {
    for name in ["small.imatrix.gguf", "small.imatrix.dat"] {
        let matrix = read(name, std::fs::read(fixture(name)).expect("fixture")).expect("reads");
        let entries: Vec<(&str, &[f32])> =
            matrix.entries.iter().map(|(name, values)| (name.as_str(), &**values)).collect();
        let expected: [(&str, &[f32]); 2] =
            [("a.weight", &[1.0, 2.0, 0.5, 0.0]), ("b.weight", &[1.0; 8])];
        assert_eq!(entries, expected, "{name}");
        assert_eq!((matrix.chunks, matrix.file.as_str()), (3, name));
        assert_eq!(matrix.datasets, ["calibration.txt"]);
    }
}

#[test]
fn the_format_before_gguf_may_end_early_and_have_no_calls() {
    let matrix = read("m.dat", entry("a", 0, &[3.0, 4.0])).expect("reads");
    assert_eq!(matrix.entries["a"], Arc::from([3.0, 4.0]));
    assert_eq!((matrix.chunks, matrix.datasets.len()), (0, 0));
    let messages = [
        (
            entry("a", 1, &[f32::NAN]),
            "entry 0: 'a': value 0: found NaN, expected a mean of squares",
        ),
        (entry("a", 1, &[-1.0]), "entry 0: 'a': value 0: found -1, expected a mean of squares"),
        (entry("\u{e9}", -1, &[1.0]), "entry 0: calls (byte 0xa): found -1, expected a count"),
    ];
    for (bytes, message) in messages {
        let error = read("m.dat", bytes).expect_err("refused").to_string();
        assert!(error.contains(message), "{error}");
    }
}

/// No prefix and no single flipped bit of a good file may panic. A prefix is refused, unless it
/// lacks only the padding at the end of a GGUF, or ends where older files end.
#[test]
fn damage_is_survived() {
    for (name, complete) in [("small.imatrix.gguf", 560..561), ("small.imatrix.dat", 92..93)] {
        let good = std::fs::read(fixture(name)).expect("fixture");
        for len in 0..good.len() {
            let read = read(name, good[..len].to_vec());
            assert_eq!(read.is_ok(), complete.contains(&len), "{name}: {len} bytes");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let _ = read(name, bad);
        }
    }
}

/// `fixtures/imatrix/tiny-llama.gguf` was computed in numpy: see fixtures/make/imatrix_measured.py.
#[test]
fn what_goes_into_the_matrices_is_measured() {
    let expected = fixture("tiny-llama.gguf");
    let tiny = crate::program::tiny();
    let text = tiny.join("heldout.txt");
    let gguf = fresh("tiny.gguf");
    assert!(remold(&[&"convert", &tiny, &gguf, &"--type", &"f32"]).status.success());
    for source in [&tiny, &gguf] {
        let target = fresh("measured.gguf");
        let output = remold(&[
            &"imatrix",
            source,
            &"-f",
            &text,
            &"-o",
            &target,
            &"--ctx",
            &"128",
            &"--chunks",
            &"2",
        ]);
        assert!(output.status.success(), "{output:?}");
        let (found, expected) = (container(&target), container(&expected));
        assert_eq!(found.tensors.len(), 2 * 7 * 3);
        let shape = |file: &gguf::File| -> Vec<_> {
            file.tensors.iter().map(|info| (info.name.clone(), info.dims.clone())).collect()
        };
        assert_eq!(shape(&found), shape(&expected));
        for (key, value) in expected.metadata.iter().filter(|(key, _)| *key != "imatrix.datasets") {
            assert_eq!(found.metadata.get(key), Some(value), "{key}");
        }
        let (found, expected) = (matrix(&target), matrix(&fixture("tiny-llama.gguf")));
        assert_eq!(found.entries.len(), 21);
        for (name, expected) in &expected.entries {
            for (found, expected) in found.entries[name].iter().zip(expected.iter()) {
                assert!((found / expected - 1.0).abs() < 1e-4, "{name}: {found} {expected}");
            }
        }
    }
}

fn container(path: &Path) -> gguf::File {
    let blob = Blob::open(path, Access::Read).expect("opens");
    gguf::read(&blob, &gguf::Limits::default()).expect("reads")
}

fn matrix(path: &Path) -> remold::quant::ImportanceMatrix {
    let blob = Blob::open(path, Access::Read).expect("opens");
    read::imatrix::read(&blob, &Limits::default()).expect("reads")
}

/// Columns that matter more are kept better: what the matrix is for. How far that helps the logits
/// depends on the model.
#[test]
fn a_measured_matrix_lowers_the_errors_that_matter() {
    let tiny = crate::program::tiny();
    let (base, measured) = (fresh("base.gguf"), fresh("calibrated.gguf"));
    assert!(remold(&[&"convert", &tiny, &base, &"--type", &"f32"]).status.success());
    let text = tiny.join("heldout.txt");
    let output = remold(&[&"imatrix", &base, &"-f", &text, &"-o", &measured, &"--chunks", &"2"]);
    assert!(output.status.success(), "{output:?}");
    let (plain, weighted) = (fresh("plain-q4_k.gguf"), fresh("weighted-q4_k.gguf"));
    assert!(remold(&[&"quantize", &base, &plain, &"Q4_K_S"]).status.success());
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 6] =
        [&"quantize", &base, &weighted, &"Q4_K_S", &"--imatrix", &measured];
    assert!(remold(&arguments).status.success());
    let models = [&base, &plain, &weighted].map(|path| model(path));
    let entries = matrix(&measured).entries;
    assert_eq!(entries.len(), 21);
    for (name, importance) in &entries {
        let [right, plain, weighted] =
            models.each_ref().map(|model| model.tensors[name].to_floats().expect("weights"));
        let error = |found: &[f32]| -> f64 {
            let parts = right.iter().zip(found).zip(importance.iter().cycle());
            parts.map(|((r, f), w)| f64::from((r - f) * (r - f) * w)).sum()
        };
        assert!(error(&weighted) < error(&plain), "{name}");
    }
}
