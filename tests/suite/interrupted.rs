//! Conversions that are ended by a signal: nothing half made is ever under a final name, and
//! what a signal leaves time for is cleaned up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::memory::sparse;
use crate::program::{BINARY, Dir, Ran, names, read, tiny};

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

/// A run that may go on, ended by a signal once it has finished some parts: in IQ4_XS, which
/// takes longest.
fn end_resumable(source: &Path, target: &Path, signal: Signal) -> Ran {
    for _ in 0..20 {
        let _ = fs::remove_file(target);
        let mut child = resumable(source, target);
        let out = target.parent().expect("a directory");
        while child.try_wait().expect("a child").is_none() && finished(out) < 3 {
            std::thread::sleep(Duration::from_micros(200));
        }
        // Of one that has just ended, too, nothing else has the number yet.
        kill_process(Pid::from_child(&child), signal).expect("still running, or a zombie");
        let ran = Ran::of(format!("{signal:?}"), child.wait_with_output().expect("ends"));
        if ran.code != Some(0) {
            return ran;
        }
    }
    panic!("the program is always faster");
}

fn resumable(source: &Path, target: &Path) -> Child {
    let mut command = Command::new(BINARY);
    command.args(["quantize", "--resume", "--quiet", "--threads", "1"]).arg(source).arg(target);
    command.arg("IQ4_XS").stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// How many parts the journal in this directory tells of.
fn finished(directory: &Path) -> usize {
    let journal = names(directory).into_iter().find(|name| name.ends_with(".journal"));
    let text = journal.and_then(|name| fs::read(directory.join(name)).ok()).unwrap_or_default();
    text.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1)
}

/// With `--resume`, what is finished stays whatever ends the run, and the next one goes on: the
/// same bytes, as if nothing had happened.
#[test]
fn an_ended_run_goes_on() {
    let dir = Dir::new();
    let whole = read(dir.converted(&tiny(), "whole.gguf", "iq4_xs"));
    for signal in [Signal::TERM, Signal::KILL] {
        let out = dir.join(format!("{signal:?}"));
        fs::create_dir(&out).expect("made");
        let target = out.join("x.gguf");
        let ran = end_resumable(&tiny(), &target, signal);
        if signal == Signal::TERM {
            let error = ran.refuses(143);
            assert!(error.contains("the same command goes on from there"), "{error}");
        }
        let left = names(&out);
        let ends = |end: &str| left.iter().filter(|name| name.ends_with(end)).count();
        assert_eq!((left.len(), ends(".partial"), ends(".journal")), (2, 1, 1), "{left:?}");
        let again = resumable(&tiny(), &target).wait_with_output().expect("ends");
        Ran::of("again".into(), again).ends(0);
        assert_eq!(names(&out), ["x.gguf"]);
        assert!(read(&target) == whole, "{signal:?}: other bytes");
    }
}

/// What another source has left is not gone on with, nor disturbed.
#[test]
fn only_the_same_run_goes_on() {
    let dir = Dir::new();
    let (source, out) = (dir.copied(&tiny(), "source"), dir.join("out"));
    fs::create_dir(&out).expect("made");
    let target = out.join("x.gguf");
    end_resumable(&source, &target, Signal::KILL);
    let left = names(&out);
    let weights = fs::File::options().write(true).open(source.join("model.safetensors"));
    weights.and_then(|file| file.set_modified(std::time::SystemTime::now())).expect("touched");
    let again = resumable(&source, &target).wait_with_output().expect("ends");
    Ran::of("of a source that was touched".into(), again).ends(0);
    let now = names(&out);
    assert!(left.iter().all(|name| now.contains(name)), "it was another run's: {now:?}");
    assert_eq!(now.len(), left.len() + 1);
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
