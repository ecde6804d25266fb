//! Files cut short, and files that are not what their names say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::edit::Gguf;
use crate::program::{Dir, architectures, fixture, read, remold};

/// What the program must do with a broken file: refuse it on one line, leave nothing behind.
#[track_caller]
fn refused(dir: &Dir, input: &str) -> String {
    let before = dir.names();
    let error = remold!("convert", dir.join(input), dir.join("out.gguf"), "--quiet").refuses(3);
    assert!(error.contains(input), "the file is not named: {error}");
    assert_eq!(dir.names(), before);
    error
}

fn each_prefix(name: &str, bytes: &[u8], lengths: impl IntoIterator<Item = usize>) {
    let dir = Dir::new();
    let mut cut = 0;
    for len in lengths {
        fs::write(dir.join(name), &bytes[..len]).expect("written");
        refused(&dir, name);
        cut += 1;
    }
    assert!(cut > 50, "only {cut} prefixes");
    fs::write(dir.join(name), bytes).expect("written");
    remold!("convert", dir.join(name), dir.join("out.gguf"), "--quiet").ends(0);
}

#[test]
fn every_prefix_of_a_small_gguf() {
    let bytes = read(fixture("gguf/pair.gguf"));
    // The padding after the last tensor may lack.
    let end = Gguf::read(&fixture("gguf/pair.gguf")).tensors.iter().map(|t| t.bytes.len()).max();
    let data = bytes.len() - 32 + end.expect("tensors") % 32;
    each_prefix("small.gguf", &bytes, (0..data.min(bytes.len() - 31)).step_by(1));
}

#[test]
fn every_prefix_of_a_small_safetensors() {
    let bytes = read(fixture("safetensors/numpy_types.safetensors"));
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    let mut lengths: BTreeSet<usize> = (0..bytes.len()).step_by(13).collect();
    lengths.extend((0..24).chain(header - 4..header + 4).chain(bytes.len() - 4..bytes.len()));
    // This one holds types that GGUF lacks: it is cut before that could be noticed.
    let dir = Dir::new();
    for len in lengths {
        fs::write(dir.join("small.safetensors"), &bytes[..len]).expect("written");
        refused(&dir, "small.safetensors");
    }
}

/// A model: every boundary of its header, and many places between.
#[test]
fn prefixes_of_a_model() {
    let dir = Dir::new();
    let whole = dir.converted(&fixture("arch/llama"), "whole.gguf", "q4_0");
    let bytes = read(&whole);
    let file = gguf::read(&bytes, &gguf::Limits::default()).expect("a good file");
    let mut lengths: BTreeSet<usize> = (0..bytes.len()).step_by(bytes.len() / 60).collect();
    for info in &file.tensors {
        lengths.extend([info.info_at, info.offset, info.offset + info.len - 1].map(|n| n as usize));
    }
    let tables = 4..28;
    lengths.extend(tables.chain([file.data_start as usize - 1, file.data_start as usize]));
    each_prefix("model.gguf", &bytes, lengths);
}

/// A shard of a model that is cut, or is not there.
#[test]
fn shards_cut_and_missing() {
    let source = architectures().into_iter().find(|path| path.ends_with("llama-tied-rope3"));
    let dir = Dir::new();
    let model = dir.copied(&source.expect("a sharded model"), "model");
    let shard = model.join("model-00002-of-00003.safetensors");
    let bytes = read(&shard);
    let refused = |named: &str| {
        let error = remold!("convert", model, dir.join("out.gguf"), "--quiet").refuses(3);
        assert!(error.contains("model-00002-of-00003.safetensors"), "{error}");
        assert!(error.contains(named), "{error}");
        assert_eq!(dir.names(), ["model"]);
    };
    for len in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&shard, &bytes[..len]).expect("written");
        refused("byte");
    }
    fs::remove_file(&shard).expect("removed");
    refused("missing");
}

/// What is in a file counts, not what it is called.
#[test]
fn wrong_magics() {
    let dir = Dir::new();
    let good = read(dir.converted(&fixture("arch/llama"), "good.gguf", "f16"));
    fs::remove_file(dir.join("good.gguf")).expect("removed");
    for magic in [&b"FUGG"[..], b"gguf", b"GGUG", b"\0\0\0\0"] {
        let mut bytes = good.clone();
        bytes[..4].copy_from_slice(magic);
        fs::write(dir.join("x.gguf"), &bytes).expect("written");
        assert!(refused(&dir, "x.gguf").contains("magic"));
    }
    let others: [(&[u8], &str); 5] = [
        (b"", "x.safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><title>404</title>", "HTML"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "gzip"),
        (&[b'x'; 4096], "x.safetensors"),
    ];
    for (bytes, named) in others {
        fs::write(dir.join("x.safetensors"), bytes).expect("written");
        let error = refused(&dir, "x.safetensors");
        assert!(error.contains(named), "{error}");
    }
    let legacy = [&b"tjgg\x03\0\0\0"[..], &[0; 64]].concat();
    fs::write(dir.join("old.bin"), legacy).expect("written");
    let error = remold!("convert", dir.join("old.bin"), dir.join("out.gguf")).refuses(3);
    assert!(error.contains("ggml: n_vocab"), "{error}");

    // The right content under a wrong name is read.
    fs::write(dir.join("y.safetensors"), &good).expect("written");
    remold!("convert", dir.join("y.safetensors"), dir.join("out.gguf"), "--quiet").ends(0);
    assert!(read(dir.join("out.gguf")) == good);
}

/// The fixtures of the format crates, through the program: the same fault, the same words.
#[test]
fn bad_fixtures_are_refused() {
    let mut seen = 0;
    for folder in ["gguf", "safetensors", "torch"] {
        let folder = fixture(&format!("bad/{folder}"));
        for name in crate::program::names(&folder) {
            let input = folder.join(&name);
            if input.extension().is_some_and(|e| e == "message") {
                continue;
            }
            let dir = Dir::new();
            let ran = remold!("convert", input, dir.join("out.safetensors"), "--quiet");
            assert!(matches!(ran.code, Some(3..=5)), "{}", ran.told());
            assert!(ran.error().contains(&name), "{}", ran.told());
            assert!(dir.names().is_empty());
            let message = read(input.with_extension("message"));
            let message = String::from_utf8(message).expect("text");
            let (class, message) = message.trim().split_once(": ").expect("whose fault it is");
            // The program has a flag where the container has a name.
            let of_limit = || message.rsplit_once(" (").map(|(message, _)| message);
            let message = if class == "Limit" { of_limit().expect("a limit") } else { message };
            let mistaken = ["HTML", "LFS"].iter().any(|word| ran.stderr.contains(word));
            assert!(ran.stderr.contains(message) || mistaken, "{message}\n{}", ran.told());
            seen += 1;
        }
    }
    assert_eq!(seen, 32, "fixtures are missing");
}

/// A directory is a model or says what it expected.
#[test]
fn directories_without_a_model() {
    let dir = Dir::new();
    for name in ["empty", "two"] {
        fs::create_dir(dir.join(name)).expect("made");
    }
    let error = remold!("inspect", dir.join("empty")).refuses(3);
    assert!(error.contains("no model in this directory: expected"), "{error}");
    fs::write(dir.join("empty/config.json"), "{}").expect("written");
    remold!("inspect", dir.join("empty")).refuses(3);
    let config = |text: &str| {
        let model = dir.path().join("model");
        if !model.exists() {
            dir.copied(&fixture("arch/llama"), "model");
        }
        fs::write(model.join("config.json"), text).expect("written");
        remold!("convert", model, dir.join("out.gguf"), "--quiet")
    };
    let cut = config("{\"model_type\": \"llama\"").refuses(3);
    assert!(cut.contains("config.json: JSON: EOF"), "{cut}");
    let list = config("[]").refuses(3);
    assert!(list.contains("config.json: expected a JSON object"), "{list}");
    let missing = config("{\"architectures\": [\"LlamaForCausalLM\"]}").refuses(3);
    assert!(missing.contains("model"), "{missing}");
    assert!(!Path::new(&dir.join("out.gguf")).exists());
}
