//! The program as a user has it: arguments in, two streams and an exit code out.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value as Json;

/// The program that cargo has built for these tests.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_remold");

/// Runs the program with these arguments, whatever their types.
macro_rules! remold {
    ($($argument:expr),* $(,)?) => {
        $crate::program::run(&[$(std::ffi::OsStr::new(&$argument)),*])
    };
}
pub(crate) use remold;

/// What a run of the program gave.
pub(crate) struct Ran {
    /// The arguments, for messages.
    line: String,
    /// The exit code; nothing if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn run(arguments: &[&OsStr]) -> Ran {
    finish(Command::new(BINARY).args(arguments))
}

/// Runs a command to its end, which comes: a processor that was busy with it for ten minutes ends
/// it. That is a bound on work; no other program makes it come sooner, as it would that on a clock.
pub(crate) fn finish(command: &mut Command) -> Ran {
    finish_within(600, command)
}

/// As [`finish`], with so many seconds of work.
pub(crate) fn finish_within(seconds: u64, command: &mut Command) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    let limit = Rlimit { current: Some(seconds), maximum: Some(seconds) };
    // One that has ended already needs none.
    let _ = prlimit(Some(Pid::from_child(&child)), Resource::Cpu, limit);
    Ran::of(format!("{command:?}"), child.wait_with_output().expect("the program ends"))
}

/// Does work of this thread that must not take a minute of a processor: then the process ends. It
/// takes a hundredth of that, unless it grows as it must not.
pub(crate) fn bounded<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    let task = Path::new("/proc").join(fs::read_link("/proc/thread-self").expect("Linux"));
    let (start, (done, is_done)) = (on_cpu(&task), std::sync::mpsc::channel::<()>());
    let watch = std::thread::spawn(move || {
        let pause = Duration::from_millis(200);
        while is_done.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            if on_cpu(&task) - start > Duration::from_secs(60) {
                eprintln!("{what}: a minute of work, and no end");
                std::process::abort();
            }
        }
    });
    let result = work();
    drop(done);
    watch.join().expect("it ends when it is told");
    result
}

/// How long this thread worked on something.
pub(crate) fn worked(work: impl FnOnce()) -> Duration {
    let task = Path::new("/proc/thread-self");
    let start = on_cpu(task);
    work();
    on_cpu(task) - start
}

/// How long a thread has run.
fn on_cpu(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).expect("a living thread");
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

impl Ran {
    pub(crate) fn of(line: String, output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8 on both streams");
        let ran = Self {
            line,
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        assert!(!ran.stderr.contains("panicked at"), "{}", ran.told());
        ran
    }

    /// Everything that is known of the run, for messages.
    pub(crate) fn told(&self) -> String {
        let Self { line, code, stdout, stderr } = self;
        format!("{line}\nexit code {code:?}\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }

    /// It must have ended with this code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.told());
        self
    }

    /// It must have refused: this code, nothing on stdout, and an error of one line.
    #[track_caller]
    pub(crate) fn refuses(self, code: i32) -> String {
        let ran = self.ends(code);
        assert_eq!(ran.stdout, "", "{}", ran.told());
        ran.error()
    }

    /// The one line that says what went wrong.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        let lines: Vec<&str> = self.stderr.lines().filter(|l| !l.starts_with("note: ")).collect();
        assert_eq!(lines.len(), 1, "an error is one line\n{}", self.told());
        assert!(lines[0].starts_with("error: "), "{}", self.told());
        assert!(self.stderr.ends_with('\n') && !lines[0].contains('\u{1b}'), "{}", self.told());
        lines[0].to_owned()
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}\n{}", self.told()))
    }
}

/// The file or directory of that name among the fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    assert!(path.exists(), "{}: no such fixture", path.display());
    path
}

/// The trained model among the fixtures.
pub(crate) fn tiny() -> PathBuf {
    fixture("tiny-llama")
}

/// The models of random weights whose logits are known.
pub(crate) fn architectures() -> Vec<PathBuf> {
    let entries = fs::read_dir(fixture("arch")).expect("fixtures");
    let mut found: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.sort();
    assert_eq!(found.len(), 6, "fixtures are missing: the tests would prove less");
    found
}

/// A directory of a test's own, removed when it ends.
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// What lies in it, hidden files too.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.path())
    }

    /// The fixture, converted into this directory by the program.
    #[track_caller]
    pub(crate) fn converted(&self, source: &Path, name: &str, kind: &str) -> PathBuf {
        let target = self.join(name);
        remold!("convert", source, target, "--type", kind, "--no-sync", "--quiet").ends(0);
        target
    }

    /// A copy of a directory of files, writable.
    pub(crate) fn copied(&self, source: &Path, name: &str) -> PathBuf {
        let target = self.join(name);
        fs::create_dir(&target).expect("a new directory");
        for file in names(source) {
            let from = source.join(&file);
            match from.is_dir() {
                true => drop(self.copied(&from, &format!("{name}/{file}"))),
                false => fs::write(target.join(&file), read(from)).expect("a copy"),
            }
        }
        target
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// The bytes of a file.
#[track_caller]
pub(crate) fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON file.
#[track_caller]
pub(crate) fn json(path: impl AsRef<Path>) -> Json {
    serde_json::from_slice(&read(path)).expect("JSON")
}
