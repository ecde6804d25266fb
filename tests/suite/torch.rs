//! PyTorch and GGUF through the whole program: what other libraries say that a file holds is what
//! arrives in another format. `fixtures/make/torch.py` and `gguf.py` wrote what is expected.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use torch::{Crc32, Options};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn remold(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_remold")).args(args).output().expect("the program starts")
}

/// Runs to the end, or shows why not.
fn done(args: &[&str]) {
    let output = remold(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
}

/// Converts without waiting for the disk.
fn convert(from: &Path, to: &Path, more: &[&str]) {
    let paths = [from, to].map(|path| path.to_str().expect("a path in UTF-8"));
    done(&[&["convert", "--quiet", "--no-sync", "--overwrite", paths[0], paths[1]], more].concat());
}

fn refused(args: &[&str], code: i32) -> String {
    let output = remold(args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    error
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::default();
    crc.update(bytes);
    crc.value()
}

/// Name, type, shape and sum of every tensor, sorted: of a checkpoint.
fn in_checkpoint(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).expect("a checkpoint");
    let checkpoint = torch::read(&bytes, &Options::default()).expect("a good checkpoint");
    checkpoint.verify(&bytes).expect("good checksums");
    let line = |tensor: &torch::TensorInfo| {
        let range = tensor.contiguous().expect("written contiguously");
        let sum = crc(&bytes[range.start as usize..range.end as usize]);
        format!("{} {} {:?} {sum:#010x}", tensor.name, tensor.dtype.name(), tensor.shape)
    };
    let mut lines: Vec<String> = checkpoint.tensors.iter().map(line).collect();
    lines.sort();
    lines
}

/// The same of a safetensors file.
fn in_safetensors(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).expect("a file");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).expect("JSON");
    let entries = json.as_object().expect("an object").iter();
    let mut lines = Vec::new();
    for (name, entry) in entries.filter(|(name, _)| *name != "__metadata__") {
        let at = |i: usize| entry["data_offsets"][i].as_u64().expect("an offset") as usize;
        let sum = crc(&bytes[8 + header + at(0)..8 + header + at(1)]);
        let dtype = match entry["dtype"].as_str().expect("a dtype") {
            "BF16" => "bfloat16".to_owned(),
            "BOOL" => "bool".to_owned(),
            other => other.replace('F', "float").replace('U', "uint").replace('I', "int"),
        };
        let shape: Vec<u64> = serde_json::from_value(entry["shape"].clone()).expect("a shape");
        lines.push(format!("{name} {dtype} {shape:?} {sum:#010x}"));
    }
    lines.sort();
    lines
}

/// What a golden text says, without strides and offset, which do not survive.
fn expected(golden: &str) -> Vec<String> {
    let line = |line: &str| {
        let parts: Vec<&str> = line.splitn(3, ' ').collect();
        let [name, dtype, rest] = parts[..] else { panic!("{line}") };
        let shape = rest.split_inclusive(']').next().expect("a shape");
        let sum = rest.rsplit(' ').next().expect("a sum");
        format!("{name} {dtype} {shape} {sum}")
    };
    let mut lines: Vec<String> = golden.lines().map(line).collect();
    lines.sort();
    lines
}

fn goldens() -> Vec<(PathBuf, String)> {
    let folder = root().join("fixtures/torch");
    let names = ["checkpoint", "every", "legacy_shared_storage", "legacy_uncloned_views"];
    let names = names.into_iter().chain(["mixed_types", "parameter"]);
    let golden = |name: &str| {
        let path = folder.join(name).with_extension("pt");
        let text = std::fs::read_to_string(path.with_extension("golden")).expect("a golden");
        (path, text)
    };
    names.map(golden).collect()
}

#[test]
fn checkpoints_arrive_whole() {
    let dir = temporary();
    let (pt, safe, back) =
        (dir.path().join("a.pt"), dir.path().join("a.safetensors"), dir.path().join("b.pth"));
    for (path, golden) in goldens() {
        let expected = expected(&golden);
        convert(&path, &pt, &[]);
        assert_eq!(in_checkpoint(&pt), expected, "{}", path.display());
        convert(&path, &safe, &[]);
        assert_eq!(in_safetensors(&safe), expected, "{}", path.display());
        convert(&safe, &back, &[]);
        assert_eq!(in_checkpoint(&back), expected, "{}", path.display());
        done(&["diff", "--quiet", text(&path), text(&back)]);
    }
}

/// The files of the corpus, which lie beside the repository.
#[test]
fn the_corpus_arrives_whole() {
    let Some(corpus) = testing::corpus("burn-pytorch") else { return };
    let shared = corpus.join("../..");
    let golden = std::fs::read_to_string(root().join("fixtures/torch/corpus.golden"));
    let golden = golden.expect("the golden of the corpus");
    let files = golden.split("# ").skip(1).filter(|file| file.starts_with("corpora/burn-pytorch"));
    let dir = temporary();
    let target = dir.path().join("a.safetensors");
    let count = files.map(|file| {
        let (name, lines) = file.split_once('\n').expect("a name, then lines");
        convert(&shared.join(name), &target, &[]);
        assert_eq!(in_safetensors(&target), expected(lines), "{name}");
    });
    assert_eq!(count.count(), 55);
    let broken = "crates/burn-store/src/pytorch/tests/reader/test_data/broken.pt";
    let error =
        refused(&["convert", text(&corpus.join(broken)), text(&dir.path().join("x.pt"))], 3);
    assert!(error.contains("neither a zip nor a stream"), "{error}");
}

#[test]
fn tied_tensors_share_their_bytes() {
    let dir = temporary();
    let every = root().join("fixtures/torch/every.pt");
    let (kept, narrowed) = (dir.path().join("kept.pt"), dir.path().join("narrowed.pt"));
    convert(&every, &kept, &["--include", "^tied$|^float32.matrix$|^transposed$"]);
    convert(&every, &narrowed, &["--include", "^tied$|^float32.matrix$", "--type", "bf16"]);
    for (path, storages) in [(kept, 2), (narrowed, 1)] {
        let bytes = std::fs::read(&path).expect("a checkpoint");
        let checkpoint = torch::read(&bytes, &Options::default()).expect("a good checkpoint");
        let same: Vec<_> = checkpoint.tensors.iter().filter_map(|tensor| tensor.same_as).collect();
        assert_eq!((same, checkpoint.storages.len()), (vec![0], storages), "{}", path.display());
    }
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let dir = temporary();
    let source = root().join("fixtures/tiny-llama");
    let out = |threads: &str| {
        let path = dir.path().join(format!("{threads}.bin"));
        convert(&source, &path, &["--threads", threads, "--type", "f32"]);
        std::fs::read(path).expect("the output")
    };
    let one = out("1");
    assert!(one.len() > 4_000_000);
    assert!(one == out("7"), "7 threads write other bytes than one");
}

#[test]
fn a_directory_of_the_hub_is_written_and_read() {
    let dir = temporary();
    let source = root().join("fixtures/tiny-llama");
    for (name, more) in [("one", [].as_slice()), ("shards", &["--split-max-size", "1M"])] {
        let target = dir.path().join(name);
        convert(&source, &target, &[["--to", "pytorch"].as_slice(), more].concat());
        done(&["verify", "--quiet", "--tokens", "1,2,3", text(&source), text(&target)]);
        let has = |file: &str| target.join(file).is_file();
        assert!(has("config.json") && has("tokenizer.json"));
        assert_eq!(has("pytorch_model.bin"), name == "one");
        assert_eq!(has("pytorch_model.bin.index.json"), name == "shards");
        assert_eq!(has("pytorch_model-00001-of-00005.bin"), name == "shards");
    }
}

#[test]
fn objects_of_foreign_classes_are_refused_or_left_out() {
    let path = root().join("fixtures/bad/torch/foreign_beside.pt");
    let dir = temporary();
    let target = dir.path().join("a.safetensors");
    let error = refused(&["convert", text(&path), text(&target)], 3);
    assert!(error.contains("'my.model.Net'") && error.contains("--skip-objects"), "{error}");
    convert(&path, &target, &["--skip-objects"]);
    // zlib.crc32 of struct.pack("<f", 1), ("<qq", 2, 2), ("<f", 3) and ("<f", 4).
    let expected = [
        "a.b.0 float32 [1] 0xaca16a6a",
        "a.b.1 int64 [2] 0x293e694b",
        "net.inner float32 [1] 0xa7e1d189",
        "z float32 [] 0x6c1b06c7",
    ];
    assert_eq!(in_safetensors(&target), expected);
}

/// Sparse, quantized and the like: named all at once, unless they are left out.
#[test]
fn tensors_that_cannot_be_had_are_refused_or_left_out() {
    let path = root().join("fixtures/torch2/refused.pt");
    let dir = temporary();
    let target = dir.path().join("a.safetensors");
    let odd = ["coo", "csr", "quantized", "per_channel", "meta", "nested"];
    let convert = ["convert", "--no-sync", text(&path), text(&target)];
    for command in [convert.as_slice(), &["diff", text(&path), text(&path)]] {
        let error = refused(command, 4);
        assert!(odd.iter().all(|name| error.contains(&format!("'{name}' is "))), "{error}");
        assert!(error.contains("--exclude"), "{error}");
    }
    let error = refused(&[convert.as_slice(), &["--exclude", "^c[os]"]].concat(), 4);
    assert!(error.contains("'meta'") && !error.contains("'coo'"), "{error}");
    let output =
        remold(&[convert.as_slice(), &["--exclude", "^c|^f|^quant|^per|^meta|^nested"]].concat());
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{notes}");
    assert!(odd.iter().all(|name| notes.contains(&format!("{name}: left out"))), "{notes}");
    assert_eq!(in_safetensors(&target), ["plain float32 [2, 3] 0x91e79017"]);
    let listed = remold(&["inspect", "--tensors", text(&path)]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(odd.iter().all(|name| listed.contains(&format!("  {name} "))), "{listed}");
}

/// What torch 2.8 wrote and summed, through the program and back.
#[test]
fn types_of_today_arrive_whole() {
    let folder = root().join("fixtures/torch2");
    let dir = temporary();
    let target = dir.path().join("a.pt");
    let text = std::fs::read_to_string(folder.join("newer.golden")).expect("a golden");
    // One name has a line break and a tab.
    let (lines, _) = text.split_once("größe").expect("the last line");
    let expected: Vec<String> = lines.lines().map(str::to_owned).collect();
    for name in ["newer.pt", "newer_stream.pt", "newer_deflated.pt"] {
        convert(&folder.join(name), &target, &[]);
        let found = in_checkpoint(&target);
        let matching = expected.iter().filter(|line| found.contains(line)).count();
        assert_eq!((matching, found.len()), (15, 16), "{name}");
    }
}

/// A checkpoint that is deflated within an archive is inflated for its tensors, too.
#[test]
fn archives_that_somebody_zipped_anew_arrive_whole() {
    let folder = root().join("fixtures/torch3");
    let dir = temporary();
    let target = dir.path().join("a.pt");
    let expected = std::fs::read_to_string(folder.join("exported.golden")).expect("a golden");
    for name in ["exported.pt2", "exported_deflated.pt2", "exported_25_deflated.pt2"] {
        convert(&folder.join(name), &target, &[]);
        let found = in_checkpoint(&target);
        let matching = expected.lines().filter(|line| found.iter().any(|other| other == line));
        assert_eq!((matching.count(), found.len()), (7, 7), "{name}: {found:?}");
    }
    let deflated = folder.join("exported_deflated.pt2");
    let bounded = remold(&["inspect", text(&deflated), "--limit", "inflated-file=2000"]);
    let said = String::from_utf8_lossy(&bounded.stderr).into_owned();
    assert_eq!(bounded.status.code(), Some(5), "{said}");
    assert!(said.contains("2461") && said.contains("--limit inflated-file"), "{said}");
}

/// A flipped bit in a tensor: nothing that uses the weights goes on with it.
#[test]
fn damaged_weights_are_found() {
    let dir = temporary();
    let path = dir.path().join("a.pt");
    let good = root().join("fixtures/torch/every.pt");
    let mut bytes = std::fs::read(&good).expect("a checkpoint");
    let checkpoint = torch::read(&bytes, &Options::default()).expect("a good checkpoint");
    let storage = &checkpoint.tensors[0].storage;
    bytes[storage.offset as usize + 3] ^= 1;
    std::fs::write(&path, bytes).expect("a copy");
    let target = dir.path().join("b.gguf");
    for args in [
        ["convert", text(&path), text(&target)].as_slice(),
        &["quantize", text(&path), text(&target), "q8_0"],
        &["diff", text(&path), text(&good)],
        &["verify", text(&path), text(&good)],
    ] {
        let error = refused(args, 3);
        let words = format!("storage '{}' (byte {:#x}): ", storage.key, storage.offset);
        assert!(error.contains(&words) && error.contains("damaged"), "{error}");
    }
    done(&["inspect", text(&path)]);
    assert!(!target.exists());
}

#[test]
fn the_other_byte_order_is_read() {
    let dir = temporary();
    let target = dir.path().join("a.pt");
    let (mut seen, folder) = (0, root().join("fixtures/torch"));
    convert(&folder.join("big_endian.pt"), &target, &[]);
    let golden = std::fs::read_to_string(folder.join("every.golden")).expect("a golden");
    for (found, expected) in in_checkpoint(&target).iter().zip(expected(&golden)) {
        assert_eq!(*found, expected);
        seen += 1;
    }
    assert_eq!(seen, 34);
}
