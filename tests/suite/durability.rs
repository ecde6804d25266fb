//! The input is never changed, the old output stays until the new one is whole, and what cannot
//! be written is said before anything is lost.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::program::{BINARY, Dir, Ran, finish, fixture, names, read, remold, tiny};

/// Whoever is nobody else: user and group `nobody` of Linux.
const NOBODY: u32 = 65534;

/// A GGUF in a directory of its own, and a copy of its bytes.
fn model(dir: &Dir) -> (PathBuf, Vec<u8>) {
    let path = dir.converted(&fixture("arch/llama"), "model.gguf", "f16");
    let bytes = read(&path);
    (path, bytes)
}

#[test]
fn the_input_is_not_the_output() {
    let dir = Dir::new();
    let (path, bytes) = model(&dir);
    let (link, hard) = (dir.join("link.gguf"), dir.join("hard.gguf"));
    symlink(&path, &link).expect("a link");
    fs::hard_link(&path, &hard).expect("a link");
    let dotted = dir.join("./../").join(dir.path().file_name().expect("a name")).join("model.gguf");
    for target in [&path, &link, &hard, &dotted] {
        for source in [&path, &link] {
            let ran = remold!("convert", source, target, "--overwrite", "--type", "q8_0");
            let error = ran.refuses(2);
            assert!(error.contains("the same file as the input"), "{error}");
            assert!(read(&path) == bytes, "the input was changed");
        }
    }
    assert_eq!(dir.names(), ["hard.gguf", "link.gguf", "model.gguf"]);
    assert_eq!(fs::metadata(&path).expect("there").nlink(), 2);

    let hub = dir.copied(&fixture("arch/llama-tied-rope3"), "hub");
    let error = remold!("convert", hub, hub, "--overwrite", "--type", "f16").refuses(2);
    assert!(error.contains("the same file as the input"), "{error}");
    let inside = hub.join("model-00001-of-00003.safetensors");
    remold!("convert", hub, inside, "--overwrite", "--type", "f16").refuses(2);
    for name in names(&hub) {
        assert!(
            read(hub.join(&name)) == read(fixture("arch/llama-tied-rope3").join(&name)),
            "{name}"
        );
    }
}

/// A link in the place of the target is replaced; what it led to stays.
#[test]
fn a_link_at_the_target_is_not_written_through() {
    let dir = Dir::new();
    let (old, target) = (dir.join("old"), dir.join("x.gguf"));
    fs::write(&old, "old").expect("written");
    symlink(&old, &target).expect("a link");
    remold!("convert", tiny(), target).refuses(2);
    remold!("convert", tiny(), target, "--overwrite").ends(0);
    assert_eq!(read(&old), b"old");
    assert!(fs::symlink_metadata(&target).expect("there").is_file());
}

#[test]
fn a_private_target_stays_private() {
    let dir = Dir::new();
    let target = dir.join("x.gguf");
    for mode in [0o600, 0o640] {
        fs::write(&target, "old").expect("written");
        fs::set_permissions(&target, Permissions::from_mode(mode)).expect("set");
        remold!("convert", tiny(), target, "--overwrite").ends(0);
        assert_eq!(fs::metadata(&target).expect("there").mode() & 0o777, mode);
    }
}

#[test]
fn targets_that_cannot_be() {
    let dir = Dir::new();
    let error = remold!("convert", tiny(), dir.join("none/x.gguf")).refuses(6);
    assert!(error.contains("none: No such file or directory"), "{error}");

    let folder = dir.join("folder.gguf");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("mine.txt"), "mine").expect("written");
    let error = remold!("convert", tiny(), folder, "--to", "gguf", "--overwrite").refuses(6);
    assert!(error.contains("folder.gguf: a directory, but the output is a file"), "{error}");

    let pipe = dir.join("pipe.gguf");
    finish(Command::new("mkfifo").arg(&pipe)).ends(0);
    let error = remold!("convert", tiny(), pipe, "--overwrite").refuses(6);
    assert!(error.contains("pipe.gguf: not a regular file"), "{error}");
    let error = remold!("convert", pipe, dir.join("x.gguf")).refuses(3);
    assert!(error.contains("pipe.gguf: "), "{error}");

    fs::write(dir.join("file"), "file").expect("written");
    let error = remold!("convert", tiny(), dir.join("file/x.gguf")).refuses(6);
    assert!(error.contains("Not a directory"), "{error}");
    let error = remold!("convert", tiny(), dir.join("file"), "--overwrite").refuses(6);
    assert!(error.contains("not a directory, but the output is a directory"), "{error}");
    assert_eq!(dir.names(), ["file", "folder.gguf", "pipe.gguf"]);
    assert_eq!(names(&folder), ["mine.txt"]);

    // A directory that holds what no model has would be lost with it.
    let mine = dir.join("mine");
    fs::create_dir(&mine).and_then(|()| fs::write(mine.join("thesis.tex"), "x")).expect("made");
    let error = remold!("convert", tiny(), mine, "--overwrite").refuses(2);
    assert!(error.contains("thesis.tex"), "{error}");
    assert_eq!(names(&mine), ["thesis.tex"]);
}

/// As somebody who may not write there. The superuser may, so they become nobody.
#[test]
fn a_directory_that_may_not_be_written() {
    let dir = Dir::new();
    let (locked, copy) = (dir.join("locked"), dir.join("remold"));
    fs::create_dir(&locked).expect("made");
    fs::write(locked.join("old.gguf"), "old").expect("written");
    for (path, mode) in [(dir.path(), 0o755), (&*locked, 0o555)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
    }
    let source = dir.copied(&fixture("arch/llama"), "source");
    // Where the program was built, nobody may not look.
    fs::copy(BINARY, &copy).expect("a copy");
    for name in ["old.gguf", "new.gguf"] {
        let mut command = Command::new(&copy);
        command.arg("convert").arg(&source).arg(locked.join(name)).arg("--overwrite");
        if fs::metadata(dir.path()).expect("there").uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let error = finish(command.arg("--quiet")).refuses(6);
        assert!(error.contains("locked: Permission denied"), "{error}");
    }
    assert_eq!(names(&locked), ["old.gguf"]);
    assert_eq!(read(locked.join("old.gguf")), b"old");
}

/// A limit on the size of files is met as a full disk is: by an error, the old output in place.
#[test]
fn no_space_left() {
    let dir = Dir::new();
    for (blocks, name) in [(0, "x.gguf"), (1, "x.gguf"), (1000, "x.gguf"), (1000, "hub")] {
        let target = dir.join(name);
        let run = |what: &str| {
            let ran = limited(blocks, &target);
            assert!(ran.stdout.is_empty(), "{}", ran.told());
            let error = ran.ends(6).error();
            assert!(error.contains("no space left"), "{what}: {error}");
        };
        run("nothing there");
        assert!(dir.names().is_empty());
        remold!("convert", fixture("arch/llama"), target, "--quiet").ends(0);
        let file = if name == "hub" { target.join("model.safetensors") } else { target.clone() };
        let old = read(&file);
        run("an old output there");
        assert!(read(&file) == old, "the old output was damaged");
        assert_eq!(dir.names(), [name]);
        let _ = fs::remove_file(&target).or_else(|_| fs::remove_dir_all(&target));
    }
}

/// tiny-llama, four megabytes of it, where files may have so many blocks (512 bytes or 1024).
fn limited(blocks: usize, target: &Path) -> Ran {
    let mut shell = Command::new("sh");
    let script = format!("ulimit -f {blocks} && exec \"$@\"");
    shell.args(["-c", &script, "sh", BINARY, "convert"]).arg(tiny()).arg(target);
    finish(shell.args(["--overwrite", "--quiet"]))
}

/// Two runs with one target: each is whole, and no temporary file stays.
#[test]
fn two_runs_at_once() {
    let dir = Dir::new();
    let target = dir.join("x.gguf");
    let whole: Vec<Vec<u8>> = ["q8_0", "f16"]
        .iter()
        .map(|kind| {
            let bytes = read(dir.converted(&tiny(), "whole.gguf", kind));
            fs::remove_file(dir.join("whole.gguf")).expect("removed");
            bytes
        })
        .collect();
    for _ in 0..5 {
        let start = |kind: &str| {
            let mut command = Command::new(BINARY);
            command.arg("convert").arg(tiny()).arg(&target).args(["--type", kind, "--overwrite"]);
            command.stderr(std::process::Stdio::piped()).spawn().expect("starts")
        };
        let runs = [start("q8_0"), start("f16")];
        for run in runs {
            let output = run.wait_with_output().expect("ends");
            Ran::of("one of two".into(), output).ends(0);
        }
        assert!(whole.contains(&read(&target)), "neither of the two");
        assert_eq!(dir.names(), ["x.gguf"]);
    }
}

/// An input that changes while it is read is noticed, or was read before it changed.
#[test]
fn an_input_that_shrinks() {
    let dir = Dir::new();
    let (path, bytes) = model(&dir);
    let good = read(dir.converted(&path, "good.gguf", "q8_0"));
    let mut refused = 0;
    for round in 0u64..400 {
        if refused >= 3 {
            break;
        }
        fs::write(&path, &bytes).expect("written");
        let mut command = Command::new(BINARY);
        let target = dir.join("x.gguf");
        command.arg("convert").arg(&path).arg(&target).args(["--type", "q8_0", "--overwrite"]);
        let run = command.stderr(std::process::Stdio::piped()).spawn().expect("starts");
        std::thread::sleep(Duration::from_micros(500 + round % 40 * 250));
        fs::File::options().write(true).open(&path).and_then(|f| f.set_len(70_000)).expect("cut");
        let ran = Ran::of("shrinks".into(), run.wait_with_output().expect("ends"));
        match ran.code {
            Some(0) => assert!(read(&target) == good, "what was read is neither old nor new"),
            Some(3 | 6) => {
                refused += 1;
                assert!(ran.error().contains("model.gguf"), "{}", ran.told());
                assert!(!ran.stderr.contains("panicked"));
            }
            _ => panic!("{}", ran.told()),
        }
        let _ = fs::remove_file(&target);
        assert_eq!(dir.names(), ["good.gguf", "model.gguf"]);
    }
    assert!(refused > 0, "no run ever saw the file shrink");
}

/// An input that another file takes the place of is read to its end, as it was when it was opened.
#[test]
fn an_input_that_is_replaced() {
    let dir = Dir::new();
    let (path, bytes) = model(&dir);
    let other = read(dir.converted(&fixture("arch/llama-yarn"), "other.gguf", "f16"));
    let kind = ["--type", "q8_0", "--overwrite", "--quiet"];
    let good = [(&bytes, "old.gguf"), (&other, "new.gguf")].map(|(bytes, name)| {
        fs::write(&path, bytes).expect("written");
        read(dir.converted(&path, name, "q8_0"))
    });
    for round in 0u64..8 {
        fs::write(&path, &bytes).expect("written");
        let (next, target) = (dir.join("next"), dir.join("x.gguf"));
        fs::write(&next, &other).expect("written");
        let mut command = Command::new(BINARY);
        command.arg("convert").arg(&path).arg(&target).args(kind);
        let run = command.stderr(std::process::Stdio::piped()).spawn().expect("starts");
        std::thread::sleep(Duration::from_millis(round * 3));
        fs::rename(&next, &path).expect("renamed");
        let ran = Ran::of("replaced".into(), run.wait_with_output().expect("ends"));
        ran.ends(0);
        assert!(good.contains(&read(&target)), "what was read is neither old nor new");
    }
}

/// The order in which a directory lists its files says nothing.
#[test]
fn the_order_of_files_does_not_matter() {
    let dir = Dir::new();
    let source = fixture("arch/llama-tied-rope3");
    let mut files = names(&source);
    assert!(files.len() > 5);
    let mut made = Vec::new();
    for order in ["a", "b"] {
        let copy = dir.join(order);
        fs::create_dir(&copy).expect("made");
        for name in &files {
            fs::write(copy.join(name), read(source.join(name))).expect("written");
        }
        files.reverse();
        // The name of the directory may be in the file: it is the same one each time.
        fs::rename(&copy, dir.join("model")).expect("renamed");
        made.push(read(dir.converted(&dir.join("model"), &format!("{order}.gguf"), "q8_0")));
        fs::remove_dir_all(dir.join("model")).expect("removed");
    }
    assert!(made[0] == made[1]);
}

/// Names of files are bytes, not text.
#[test]
fn names_that_are_not_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = Dir::new();
    let odd = dir.join(OsStr::from_bytes(b"m\xff\x1b[31m.gguf"));
    remold!("convert", fixture("arch/llama"), odd, "--quiet").ends(0);
    let again = dir.join(OsStr::from_bytes(b"n\xfe.gguf"));
    remold!("convert", odd, again, "--quiet", "--type", "q8_0").ends(0);
    let shown = remold!("inspect", again).ends(0).stdout;
    assert!(!shown.contains('\u{1b}'), "{shown}");
    fs::write(&odd, "no model").expect("written");
    let error = remold!("inspect", odd).refuses(3);
    assert!(error.contains(r"m\xff\u{1b}[31m.gguf"), "{error}");
}

/// What a format leaves in a directory is known as a model's when the directory is to be replaced.
#[test]
fn a_directory_of_every_format_is_replaced() {
    let dir = Dir::new();
    let formats = remold::formats::FORMATS.iter();
    let formats: Vec<_> = formats.filter(|f| f.directory && f.layout.is_some()).collect();
    for format in &formats {
        let target = dir.join(format!("{}/", format.name));
        let flags = ["--quiet", "--no-sync", "--overwrite", "--to", format.name];
        let [quiet, sync, overwrite, to, name] = flags;
        for _ in 0..2 {
            let source = fixture("arch/llama");
            remold!("convert", source, target, quiet, sync, overwrite, to, name).ends(0);
        }
    }
    assert!(formats.len() >= 4, "{}", formats.len());
}
