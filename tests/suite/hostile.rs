//! The corpus of malformed, odd and hostile files, through the program. It lies outside of the
//! project: `$REMOLD_CORPORA`, or `corpora` beside it.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;

use crate::program::{BINARY, Dir, finish, finish_within, json};

/// The formats that are read, or named where they are not.
const FORMATS: &[&str] = &[
    "safetensors",
    "sharded",
    "gguf",
    "pytorch",
    "zip",
    "json",
    "generic",
    "ggml",
    "onnx",
    "h5",
    "keras",
    "npy",
    "npz",
    "tf",
];

/// Cases that end otherwise than the corpus says, and why that is right.
const EXCEPTIONS: &[(&str, i32, &str)] = &[(
    "generic/bad_directory.safetensors",
    6,
    "an empty directory, which archives lose: not there",
)];

/// Checkpoints that are not malformed (exit 3): what is unsupported in them (4), and what passes
/// a limit (5).
const OTHERWISE: &[(&str, i32)] = &[
    ("pytorch/bad_quantized_qtensor.pt", 4),
    ("pytorch/bad_sparse_bad_index.pt", 4),
    ("zip/bad_encrypted.pt", 4),
    ("zip/bad_multi_disk.pt", 4),
    ("pytorch/bad_pk_deep_tuple.pt", 5),
    ("pytorch/bad_pk_memo_index_4g.pt", 5),
    ("zip/bad_bomb_data_pkl.pt", 5),
];

/// The exit codes of a refusal.
fn refusals(file: &str) -> &'static [i32] {
    let checkpoint = file.starts_with("pytorch/") || file.starts_with("zip/");
    match OTHERWISE.iter().find(|(name, _)| *name == file) {
        Some((_, code)) => std::slice::from_ref(code),
        None if checkpoint => &[3],
        None => &[3, 4, 5, 7],
    }
}

#[test]
fn the_corpus_meets_its_end() {
    let Some(root) = testing::corpus("hostile") else { return };
    let manifest = json(root.join("manifest.json"));
    let cases = manifest["cases"].as_array().expect("cases");
    let ours = |case: &&Json| case["format"].as_str().is_some_and(|f| FORMATS.contains(&f));
    let cases: Vec<&Json> = cases.iter().filter(ours).collect();
    assert_eq!(cases.len(), 359, "the corpus is another one");
    let mut wrong = Vec::new();
    for case in cases {
        wrong.extend(judge(&root, case).err());
    }
    assert!(wrong.is_empty(), "{} of the corpus:\n{}", wrong.len(), wrong.join("\n"));
    let marker = root.join(manifest["marker"].as_str().expect("a name"));
    assert!(!marker.exists(), "something from a file was executed");
}

/// Leaving out objects makes no attack acceptable.
#[test]
fn what_runs_code_is_refused_without_objects_too() {
    let Some(root) = testing::corpus("hostile") else { return };
    let manifest = json(root.join("manifest.json"));
    let cases = manifest["cases"].as_array().expect("cases").iter();
    let attacks = cases.filter(|case| case["format"] == "pytorch" && case["class"] == "code-exec");
    let dir = Dir::new();
    let count = attacks.map(|case| {
        let file = case["file"].as_str().expect("a file");
        let target = dir.join("result.safetensors");
        let mut command = Command::new(BINARY);
        command
            .arg("convert")
            .args([&root.join(file), &target])
            .args(["--quiet", "--skip-objects"]);
        let [code] = refusals(file) else { panic!("{file}") };
        finish(command.current_dir(dir.path())).refuses(*code);
    });
    assert_eq!(count.count(), 15);
    assert!(dir.names().is_empty(), "{:?}", dir.names());
}

/// Files that a pickle scanner was tested with, as checkpoints: two are, four archives are packed
/// in ways that are not read, all others are attacks or something else.
#[test]
fn the_scanner_corpus_is_refused() {
    let Some(root) = testing::corpus("hostile") else { return };
    let folder = root.join("../picklescan/tests/data");
    let dir = Dir::new();
    let target = dir.join("result.safetensors");
    let mut ends = std::collections::BTreeMap::new();
    for entry in folder.read_dir().expect("the corpus") {
        let path = entry.expect("a file").path();
        for more in [["--from", "pytorch"].as_slice(), &["--skip-objects", "--from", "pytorch"]] {
            let mut command = Command::new(BINARY);
            command.arg("convert").args([&path, &target]).args(["--quiet", "--overwrite"]);
            let ran = finish(command.args(more).current_dir(dir.path()));
            let code = ran.code.expect("an exit code");
            *ends.entry(code).or_insert(0) += 1;
            assert!(code == 0 || !ran.error().is_empty());
        }
    }
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [(0, 4), (3, 80), (4, 8)]);
    assert_eq!(dir.names(), ["result.safetensors"], "what a payload would leave behind");
}

fn judge(root: &Path, case: &Json) -> Result<(), String> {
    let text = |key: &str| case[key].as_str();
    let file = text("file").expect("a file");
    let open = text("open").unwrap_or(file);
    let dir = Dir::new();
    let target = dir.join(format!("result.{}", text("ext").unwrap_or("safetensors")));
    let mut command = Command::new(BINARY);
    command.arg("convert").args([&root.join(open), &target]).args(["--no-sync", "--quiet"]);
    // Six times what a refusal may take.
    let ran = finish_within(60, &mut command);

    let exception = EXCEPTIONS.iter().find(|(name, ..)| *name == file);
    let expected: &[i32] = match (exception, text("expected")) {
        (Some((_, code, _)), _) => std::slice::from_ref(code),
        (None, Some("ok")) => &[0],
        _ => refusals(file),
    };
    let fail = |why: &str| Err(format!("{file}: {why}: {:?} {}", ran.code, ran.stderr.trim_end()));
    if !ran.code.is_some_and(|code| expected.contains(&code)) {
        return fail("ends otherwise");
    }
    if ran.code == Some(0) {
        return if target.exists() { Ok(()) } else { fail("no output") };
    }
    let base = Path::new(open).file_name().expect("a name").to_string_lossy().into_owned();
    let lines = ran.stderr.lines().filter(|line| !line.starts_with("note: ")).count();
    match () {
        () if lines != 1 => fail("not one line"),
        () if !ran.stderr.contains(&base) => fail("does not name the file"),
        () if !dir.names().is_empty() => fail("left something behind"),
        () => Ok(()),
    }
}
