//! What happens when a signal ends the program: temporary files go, one line is written, and the
//! exit code says why.
//!
//! | signal | exit code | meaning |
//! |---|---|---|
//! | SIGINT, SIGTERM, SIGHUP | 130, 143, 129 | somebody ended the program |
//! | SIGBUS | 6 | a mapped file became shorter, or its disk failed |
//!
//! SIGXFSZ is ignored: writing past a limit on the size of files is then an error of the write,
//! which is reported like a full disk.
//!
//! A handler runs between any two instructions, so it may use only what is async-signal-safe
//! (signal-safety(7)): no allocation, no lock, no formatting.

#![allow(unsafe_code, reason = "handlers of signals, and what they may call, have no safe form")]

use std::mem::MaybeUninit;

use libc::{SIG_IGN, SIGBUS, SIGHUP, SIGINT, SIGTERM, SIGXFSZ, c_int, sigaction};

use crate::store::temp;
use crate::write::progress;

/// Installs the handlers. Called once, before anything is read or written.
pub fn install() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Whoever started the program with it ignored (nohup, a shell's `&`) meant it.
        if !is_ignored(signal) {
            handle(signal, end as extern "C" fn(c_int) as libc::sighandler_t);
        }
    }
    handle(SIGBUS, end as extern "C" fn(c_int) as libc::sighandler_t);
    handle(SIGXFSZ, SIG_IGN);
}

fn is_ignored(signal: c_int) -> bool {
    let mut old = MaybeUninit::<sigaction>::zeroed();
    // SAFETY: asks only; `old` has room for the answer, and all zeros is a valid `sigaction`, so
    // it may be read whether or not the call filled it.
    let old = unsafe {
        sigaction(signal, std::ptr::null(), old.as_mut_ptr());
        old.assume_init()
    };
    old.sa_sigaction == SIG_IGN
}

fn handle(signal: c_int, handler: libc::sighandler_t) {
    // SAFETY: all zeros is a valid `sigaction` (no flags, an empty mask), and `handler` is
    // SIG_IGN or a function with the signature that a handler without SA_SIGINFO has. A refusal
    // leaves the signal as it was, which ends the program without cleaning up: nothing worse.
    unsafe {
        let mut action: sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

extern "C" fn end(signal: c_int) {
    let (line, code): (&[u8], c_int) = match signal {
        SIGINT => (b"error: interrupted; ", 130),
        SIGTERM => (b"error: terminated; ", 143),
        SIGHUP => (b"error: hung up; ", 129),
        _ => (
            b"error: a mapped input file became shorter while it was read; \
              leave it as it is and run again, or use --no-mmap\n",
            6,
        ),
    };
    let rest: &[u8] = match (signal, temp::lasts()) {
        (SIGBUS, _) => b"",
        (_, true) => b"the output was not finished; the same command goes on from there\n",
        (_, false) if temp::registered().next().is_none() => b"nothing was written\n",
        (_, false) => b"the output was not finished and is removed\n",
    };
    // Files before the directories that hold them. Each path is tried as both: the table does
    // not say what it is, and a refusal does no harm.
    for path in temp::registered() {
        // SAFETY: `registered` gives NUL-terminated strings that are never freed; unlink is
        // async-signal-safe.
        unsafe { libc::unlink(path) };
    }
    for path in temp::registered() {
        // SAFETY: as above, for rmdir.
        unsafe { libc::rmdir(path) };
    }
    if progress::is_shown() {
        write(b"\n");
    }
    write(line);
    write(rest);
    // SAFETY: _exit is async-signal-safe and runs no destructors.
    unsafe { libc::_exit(code) }
}

fn write(line: &[u8]) {
    // SAFETY: `line` is valid for its length; write is async-signal-safe. What cannot be written
    // is lost: there is no other place to tell.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::store::{FileSet, FileSink, Sink, Target};

    const DIRECTORY: &str = "REMOLD_TEST_SIGNALS";

    /// The child of the test below; alone, it does nothing.
    #[test]
    fn child() {
        let Some(dir) = std::env::var_os(DIRECTORY) else { return };
        // Whoever runs the tests may have it ignored, as `nohup` does.
        // SAFETY: the default disposition needs no handler.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        install();
        let sink = |name: &str, directory: bool| {
            let path = Path::new(&dir).join(name);
            let inputs = Vec::new();
            let mut sink =
                FileSink::new(Target { path, directory, overwrite: true, sync: false, inputs });
            sink.create(&FileSet { files: &[(name, 9)], entry: 0 }).unwrap();
            sink
        };
        let _held = (sink("file", false), sink("directory", true));
        std::fs::write(Path::new(&dir).join("ready"), "").unwrap();
        std::thread::sleep(std::time::Duration::from_secs(60));
    }

    fn names(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| PathBuf::from(entry.unwrap().file_name())).collect()
    }

    #[test]
    fn a_signal_removes_what_is_half_made_and_says_so() {
        let cases = [
            (Signal::INT, 130, "interrupted"),
            (Signal::TERM, 143, "terminated"),
            (Signal::HUP, 129, "hung up"),
            (Signal::BUS, 6, "became shorter"),
        ];
        for (signal, code, word) in cases {
            let dir = tempfile::tempdir().unwrap();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "cli::signals::tests::child", "--nocapture"])
                .env(DIRECTORY, dir.path())
                .stderr(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            while !dir.path().join("ready").exists() {
                assert!(child.try_wait().unwrap().is_none(), "the child ended too early");
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            assert_eq!(names(dir.path()).len(), 3);
            kill_process(Pid::from_child(&child), signal).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(code));
            let mut line = String::new();
            child.stderr.take().unwrap().read_to_string(&mut line).unwrap();
            assert!(line.starts_with("error: ") && line.contains(word), "{line}");
            assert_eq!(line.lines().count(), 1);
            assert_eq!(names(dir.path()), [PathBuf::from("ready")]);
        }
    }
}
