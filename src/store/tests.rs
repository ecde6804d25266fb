//! The write protocol, and every way in which it can be cut short.

mod order;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::ops::{Ops, plan::Plan};
use super::*;
use crate::ir::{Access, Blob, Fault, Result};

fn target(path: &Path) -> Target {
    let (path, inputs) = (path.to_owned(), Vec::new());
    Target { path, directory: false, overwrite: false, sync: true, inputs }
}

fn over(path: &Path) -> Target {
    Target { overwrite: true, ..target(path) }
}

/// Writes files of this content and commits them.
fn put(sink: FileSink, files: &[(&str, &str)]) -> Result<()> {
    let mut sink = Box::new(sink);
    let sized: Vec<(&str, u64)> = files.iter().map(|(n, c)| (*n, c.len() as u64)).collect();
    let entry = files.iter().position(|(name, _)| name.ends_with(".index.json")).unwrap_or(0);
    let places = sink.create(&FileSet { files: &sized, entry })?;
    for (place, (_, content)) in places.iter().zip(files) {
        place.write_at(0, content.as_bytes())?;
    }
    sink.commit()
}

/// What a directory holds, a level deep and hidden ones too: nothing may be left over.
fn tree(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().unwrap().is_dir() {
            let inner = tree(&entry.path()).into_iter();
            found.extend(inner.map(|(inner, content)| (format!("{name}/{inner}"), content)));
            found.entry(name).or_default();
        } else {
            let is_file = entry.path().is_file();
            let content = is_file.then(|| fs::read_to_string(entry.path()).unwrap());
            found.insert(name, content.unwrap_or_default());
        }
    }
    found
}

fn tree_of(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, content)| ((*name).into(), (*content).into())).collect()
}

fn refused(target: Target, fault: Fault, words: &str) {
    let dir = target.path.parent().unwrap().to_owned();
    let before = tree(&dir);
    let name = target.path.file_name().unwrap().to_string_lossy().into_owned();
    let error = put(FileSink::new(target), &[(&name, "new")]).unwrap_err();
    assert_eq!(error.fault, fault, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(tree(&dir), before);
}

#[test]
fn a_file_appears_with_its_name_and_content() {
    let dir = tempfile::tempdir().unwrap();
    put(FileSink::new(target(&dir.path().join("out"))), &[("out", "new")]).unwrap();
    assert_eq!(tree(dir.path()), tree_of(&[("out", "new")]));
    write_file(&dir.path().join("out"), b"again").unwrap();
    assert_eq!(tree(dir.path()), tree_of(&[("out", "again")]));
}

#[test]
fn without_commit_nothing_remains() {
    let dir = tempfile::tempdir().unwrap();
    for directory in [false, true] {
        let mut sink = FileSink::new(Target { directory, ..target(&dir.path().join("out")) });
        let places = sink.create(&FileSet { files: &[("out", 9)], entry: 0 }).unwrap();
        places[0].write_at(0, b"x").unwrap();
        assert!(!tree(dir.path()).is_empty());
        drop(sink);
        assert_eq!(tree(dir.path()), tree_of(&[]));
    }
}

#[test]
fn gaps_are_zeros_and_nothing_is_written_past_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let mut sink = Box::new(FileSink::new(target(&path)));
    let places = sink.create(&FileSet { files: &[("out", 9)], entry: 0 }).unwrap();
    places[0].write_at(3, b"x").unwrap();
    assert_eq!(places[0].write_at(8, b"xy").unwrap_err().fault, Fault::Bug);
    sink.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"\0\0\0x\0\0\0\0\0");
}

#[test]
fn what_exists_is_replaced_only_when_asked_and_keeps_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::write(&out, "old").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o600)).unwrap();
    let (inode, mut reader) = (fs::metadata(&out).unwrap().ino(), fs::File::open(&out).unwrap());
    refused(target(&out), Fault::Usage, "--overwrite");
    put(FileSink::new(over(&out)), &[("out", "new")]).unwrap();
    assert_eq!(tree(dir.path()), tree_of(&[("out", "new")]));
    let meta = fs::metadata(&out).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_ne!(meta.ino(), inode, "never through the old inode");
    let mut seen = String::new();
    std::io::Read::read_to_string(&mut reader, &mut seen).unwrap();
    assert_eq!(seen, "old");
}

#[test]
fn what_cannot_be_a_file_is_refused_early() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("f"), "f").unwrap();
    symlink("d", dir.path().join("to_d")).unwrap();
    let fifo = dir.path().join("fifo");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    refused(over(&dir.path().join("d")), Fault::Io, "a directory");
    refused(over(&dir.path().join("to_d")), Fault::Io, "a directory");
    refused(over(&fifo), Fault::Io, "not a regular file");
    let error = put(FileSink::new(over(Path::new("/dev/null"))), &[("null", "x")]).unwrap_err();
    assert_eq!(error.fault, Fault::Io, "{error}");
    let missing = dir.path().join("missing/out");
    assert_eq!(put(FileSink::new(target(&missing)), &[("out", "x")]).unwrap_err().fault, Fault::Io);
    let below = dir.path().join("f/out");
    assert_eq!(put(FileSink::new(target(&below)), &[("out", "x")]).unwrap_err().fault, Fault::Io);
    assert_eq!(put(FileSink::new(target(Path::new("."))), &[]).unwrap_err().fault, Fault::Usage);
    let directory = |name| Target { directory: true, ..over(&dir.path().join(name)) };
    refused(directory("f"), Fault::Io, "not a directory");
    refused(directory("to_d"), Fault::Io, "a symbolic link");
}

#[test]
fn an_input_is_never_replaced_by_whatever_name() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in");
    fs::write(&input, "weights").unwrap();
    fs::hard_link(&input, dir.path().join("hard")).unwrap();
    symlink("in", dir.path().join("soft")).unwrap();
    let inputs = vec![Arc::new(Blob::open(&input, Access::Read).unwrap())];
    for name in ["in", "hard", "soft"] {
        let target = Target { inputs: inputs.clone(), ..over(&dir.path().join(name)) };
        refused(target, Fault::Usage, "the same file as the input");
    }
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    fs::hard_link(&input, model.join("model.safetensors")).unwrap();
    let target = Target { directory: true, inputs, ..over(&model) };
    refused(target, Fault::Usage, "the same file as the input");
}

#[test]
fn a_link_is_replaced_and_not_written_through() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("other"), "kept").unwrap();
    symlink("other", dir.path().join("out")).unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    for name in ["out", "dangling"] {
        let path = dir.path().join(name);
        refused(target(&path), Fault::Usage, "--overwrite");
        put(FileSink::new(over(&path)), &[(name, "new")]).unwrap();
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
    }
    let want = tree_of(&[("dangling", "new"), ("other", "kept"), ("out", "new")]);
    assert_eq!(tree(dir.path()), want);
}

#[test]
fn more_than_the_disk_holds_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = FileSink::new(target(&dir.path().join("out")));
    let set = FileSet { files: &[("out", 1 << 60)], entry: 0 };
    let error = sink.create(&set).err().unwrap();
    assert_eq!(error.fault, Fault::Io);
    assert!(error.to_string().contains("no space"), "{error}");
    assert_eq!(tree(dir.path()), tree_of(&[]));
}

#[test]
fn a_name_that_is_not_utf8_is_written() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(std::ffi::OsStr::from_bytes(b"m\xff"));
    put(FileSink::new(target(&path)), &[("m\u{fffd}", "new")]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn names_from_a_plan_stay_in_their_directory() {
    let dir = tempfile::tempdir().unwrap();
    for directory in [false, true] {
        for name in ["../x", "a/b", "", "..", "a\0b"] {
            let target = Target { directory, ..target(&dir.path().join("out")) };
            let error = put(FileSink::new(target), &[(name, "x")]).unwrap_err();
            assert_eq!(error.fault, Fault::Malformed, "{error}");
            assert_eq!(tree(dir.path()), tree_of(&[]));
        }
    }
}

#[test]
fn a_directory_takes_the_place_of_an_empty_one_or_of_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let directory = |overwrite| Target { directory: true, overwrite, ..target(&out) };
    let new = [("config.json", "c"), ("model.safetensors", "m")];
    let want = tree_of(&[("out", ""), ("out/config.json", "c"), ("out/model.safetensors", "m")]);
    put(FileSink::new(directory(false)), &new).unwrap();
    assert_eq!(tree(dir.path()), want);
    fs::remove_dir_all(&out).unwrap();
    fs::create_dir(&out).unwrap();
    put(FileSink::new(directory(false)), &new).unwrap();
    assert_eq!(tree(dir.path()), want);

    for name in ["old.safetensors", ".gitattributes", "tokenizer.model"] {
        fs::write(out.join(name), "old").unwrap();
    }
    fs::set_permissions(out.join("config.json"), fs::Permissions::from_mode(0o640)).unwrap();
    refused(directory(false), Fault::Usage, "--overwrite");
    put(FileSink::new(directory(true)), &new).unwrap();
    assert_eq!(tree(dir.path()), want);
    let mode = fs::metadata(out.join("config.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    fs::write(out.join("thesis.tex"), "years").unwrap();
    refused(directory(true), Fault::Usage, "thesis.tex");
    fs::remove_file(out.join("thesis.tex")).unwrap();
    fs::create_dir(out.join("sub")).unwrap();
    refused(directory(true), Fault::Usage, "sub");
}

#[test]
fn bytes_are_copied_between_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("in"), "0123456789").unwrap();
    let blob = Blob::open(&dir.path().join("in"), Access::Read).unwrap();
    let mut sink = Box::new(FileSink::new(target(&dir.path().join("out"))));
    let places = sink.create(&FileSet { files: &[("out", 6)], entry: 0 }).unwrap();
    let done = places[0].copy_from(&blob, 3, 4, 1).unwrap();
    places[0].write_at(1 + done, &b"3456"[done as usize..]).unwrap();
    // Past the end of the input there is nothing to copy.
    assert_eq!(places[0].copy_from(&blob, 10, 1, 5).unwrap(), 0);
    assert_eq!(places[0].copy_from(&Blob::memory("m", vec![1]), 0, 1, 5).unwrap(), 0);
    sink.commit().unwrap();
    assert_eq!(fs::read(dir.path().join("out")).unwrap(), b"\x003456\0");
}

const OLD: &[(&str, &str)] = &[("a.gguf", "old a"), ("b.gguf", "old b"), ("x.index.json", "old i")];
const NEW: &[(&str, &str)] = &[("a.gguf", "NEW a"), ("b.gguf", "NEW b"), ("x.index.json", "NEW i")];

/// Runs with operation `at` failing; how many operations there were, and what came of it.
fn with_fault(target: Target, files: &[(&str, &str)], at: u64) -> (u64, Result<()>) {
    let ops = Arc::new(Ops { plan: Some(Plan::new(at, Errno::NOSPC)) });
    let result = put(FileSink::with_ops(target, Arc::clone(&ops)), files);
    (ops.plan.as_ref().unwrap().count(), result)
}

/// Every operation fails once. `check` judges what is there then, without and with an old
/// output; when none fails any more, the new output must be whole.
fn every_fault(target: &Target, files: &[(&str, &str)], check: impl Fn(&BTreeMap<String, String>)) {
    let dir = target.path.parent().unwrap();
    let set_up = |old: bool| {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
        let home = if target.directory { &target.path } else { dir };
        if old {
            fs::create_dir_all(home).unwrap();
        }
        for (name, content) in OLD.iter().filter(|_| old) {
            fs::write(home.join(name), content).unwrap();
        }
    };
    for old in [false, true] {
        let mut at = 0;
        loop {
            set_up(old);
            let (count, result) = with_fault(target.clone(), files, at);
            let now = tree(dir);
            assert!(now.keys().all(|name| !name.contains(".partial")), "{at}: {now:?}");
            check(&now);
            let Err(error) = result else {
                assert!(count <= at, "operation {at} failed, and nobody noticed");
                assert!(count > 3, "only {count} operations were tried");
                break;
            };
            assert_eq!(error.fault, Fault::Io, "{error}");
            assert!(error.to_string().contains("o space left"), "{error}");
            at += 1;
        }
    }
}

#[test]
fn a_file_is_old_or_new_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    every_fault(&over(&dir.path().join("a.gguf")), &NEW[..1], |now| {
        let content = now.get("a.gguf").map(String::as_str);
        assert!(matches!(content, None | Some("old a" | "NEW a")), "{now:?}");
    });
}

#[test]
fn a_set_is_old_or_new_or_lacks_its_entry_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    every_fault(&over(&dir.path().join("x")), NEW, |now| {
        let is_whole = *now == tree_of(OLD) || *now == tree_of(NEW);
        assert!(is_whole || !now.contains_key("x.index.json"), "{now:?}");
    });
}

#[test]
fn a_set_that_is_new_is_whole_or_absent_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    for at in 0..1000 {
        let (_, result) = with_fault(target(&dir.path().join("x")), NEW, at);
        let now = tree(dir.path());
        if now == tree_of(NEW) {
            assert!(result.is_ok() || result.unwrap_err().to_string().contains("power failure"));
            return;
        }
        assert_eq!(now, tree_of(&[]), "operation {at}");
    }
    panic!("it never succeeded");
}

#[test]
fn a_directory_is_old_or_new_or_absent_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target { directory: true, ..over(&dir.path().join("out")) };
    let inside = |files: &[(&str, &str)]| {
        let inner = files.iter().map(|(name, content)| (format!("out/{name}"), (*content).into()));
        inner.chain([("out".into(), String::new())]).collect::<BTreeMap<String, String>>()
    };
    every_fault(&target, NEW, |now| {
        assert!(now.is_empty() || *now == inside(OLD) || *now == inside(NEW), "{now:?}");
    });
}

#[test]
fn two_writers_of_one_name_leave_one_whole_output() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("out");
    let make = || {
        let mut sink = Box::new(FileSink::new(target(&path)));
        let places = sink.create(&FileSet { files: &[("out", 1)], entry: 0 }).unwrap();
        places[0].write_at(0, b"x").unwrap();
        sink
    };
    let (first, second) = (make(), make());
    first.commit().unwrap();
    assert_eq!(second.commit().unwrap_err().fault, Fault::Io);
    assert_eq!(tree(dir.path()), tree_of(&[("out", "x")]));
}

#[test]
fn a_limit_on_the_size_of_files_reads_as_no_space() {
    let error = failed("out", Errno::FBIG.into());
    assert!(error.to_string().starts_with("out: no space left: "), "{error}");
}

/// With `--resume`, a directory that could not be exchanged is kept, and whatever a killed run has
/// left in it beside the plan does not appear.
#[test]
fn an_exchange_that_fails_or_is_cut_short_is_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("old.safetensors"), "old").unwrap();
    let target = Target { directory: true, ..over(&out) };
    let resumed = || FileSink::new(target.clone()).resumed(Digest::of([&b"same"[..]]));
    let new = [("config.json", "c"), ("model.safetensors", "m")];
    let count = {
        let other = tempfile::tempdir().unwrap();
        let path = other.path().join("out");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("old.safetensors"), "old").unwrap();
        let (sink, calls) = FileSink::new(Target { path, ..target.clone() })
            .resumed(Digest::of([&b"same"[..]]))
            .failing(u64::MAX);
        put(sink, &new).unwrap();
        calls.count()
    };
    // Behind the exchange come the end of the journal and the sync of the directory.
    let (sink, _) = resumed().failing(count - 3);
    assert_eq!(put(sink, &new).unwrap_err().fault, Fault::Io);
    let left = tree(dir.path());
    let partial = left.keys().find(|name| name.ends_with(".partial")).unwrap().clone();
    assert_eq!(left[&format!("{partial}/model.safetensors")], "m", "{left:?}");
    assert_eq!(left["out/old.safetensors"], "old");
    fs::write(dir.path().join(&partial).join("stray.safetensors"), "stray").unwrap();
    put(resumed(), &new).unwrap();
    let want = tree_of(&[("out", ""), ("out/config.json", "c"), ("out/model.safetensors", "m")]);
    assert_eq!(tree(dir.path()), want);
}
