//! Conversions that are ended by a signal: nothing half made is ever under a final name, and
//! what a signal leaves time for is cleaned up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::memory::sparse;
use crate::program::{BINARY, Dir, Ran, names, read};

/// The run is in the middle of writing once its temporary file is there; one that ended first is
/// repeated with a larger model, so that speed and luck decide nothing.
fn interrupt(dir: &Dir, target: &Path, signal: Signal) -> Ran {
    for layers in [2, 8, 32] {
        let source = dir.join("source");
        if !source.exists() {
            sparse(&source, layers);
        }
        let mut child = start(&source, target);
        let began = wait_for_temporary(&mut child, target.parent().expect("a directory"));
        if began {
            kill_process(Pid::from_child(&child), signal).expect("still running, or a zombie");
        }
        let ran = Ran::of(format!("{signal:?}"), child.wait_with_output().expect("ends"));
        if ran.code != Some(0) {
            return ran;
        }
        fs::remove_dir_all(&source).and_then(|()| fs::remove_file(target)).expect("removed");
    }
    panic!("the program is always faster");
}

fn start(source: &Path, target: &Path) -> Child {
    let mut command = Command::new(BINARY);
    command.arg("convert").arg(source).arg(target).args(["--type", "q4_0", "--overwrite"]);
    command.args(["--no-sync", "--quiet"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn partial(directory: &Path) -> Option<PathBuf> {
    let name = names(directory).into_iter().find(|name| name.ends_with(".partial"));
    name.map(|name| directory.join(name))
}

/// Whether the run got as far as to write; false if it ended before that was seen.
fn wait_for_temporary(child: &mut Child, directory: &Path) -> bool {
    loop {
        if partial(directory).is_some() {
            return true;
        }
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_signal_cleans_up() {
    let dir = Dir::new();
    for (signal, code, word) in
        [(Signal::TERM, 143, "terminated"), (Signal::INT, 130, "interrupted")]
    {
        let out = dir.join("out");
        fs::create_dir(&out).expect("made");
        let target = out.join("x.gguf");
        let error = interrupt(&dir, &target, signal).refuses(code);
        assert!(error.contains(word), "{error}");
        assert!(names(&out).is_empty(), "{:?}", names(&out));

        fs::write(&target, "old").expect("written");
        interrupt(&dir, &target, signal).refuses(code);
        assert_eq!((names(&out), read(&target)), (vec!["x.gguf".to_owned()], b"old".to_vec()));
        fs::remove_dir_all(&out).expect("removed");
    }
}

/// Nothing can be cleaned up after this one, but the final name is free or old, and the next run
/// is not disturbed by what is left.
#[test]
fn a_kill_leaves_nothing_under_the_final_name() {
    let dir = Dir::new();
    let out = dir.join("out");
    fs::create_dir(&out).expect("made");
    let target = out.join("x.gguf");
    let ran = interrupt(&dir, &target, Signal::KILL);
    assert_eq!(ran.code, None, "{}", ran.told());
    assert!(!target.exists());
    fs::write(&target, "old").expect("written");
    interrupt(&dir, &target, Signal::KILL);
    assert_eq!(read(&target), b"old");
    let left = names(&out);
    assert!(left.iter().all(|name| name == "x.gguf" || name.ends_with(".partial")), "{left:?}");

    let source = dir.join("small");
    sparse(&source, 1);
    let finished = start(&source, &target).wait_with_output().expect("ends");
    Ran::of("after the kills".into(), finished).ends(0);
    assert!(read(&target).starts_with(b"GGUF"));
}
