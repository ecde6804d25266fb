//! Temporary files and directories: named so that they are recognised, removed on every way out.
//!
//! Three things remove them: the guard [`Temp`] on an error, the signal handlers of
//! `cli::signals` through [`registered`], and [`remove_stale`] after a crash or a power failure.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::ir::{Error, Result};

/// Temporary files at one time: shards of the largest models are counted in hundreds.
const SLOTS_MAX: usize = 16_384;

/// Bytes of the final name that a temporary name repeats; names may have 255 in all.
const STEM_MAX: usize = 200;

const SUFFIX: &[u8] = b".partial";
const JOURNAL: &[u8] = b".journal";

/// Hexadecimal digits that tell temporary files of one name apart: random ones, or those that a
/// run with `--resume` finds again.
pub(super) const MARK_DIGITS: usize = 16;

/// What is older and unlocked belongs to a run that was killed.
const STALE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The paths to remove when a signal ends the program; null where free. A signal handler may
/// read an entry at any time, so the strings are never freed: a few bytes for each output file.
static SLOTS: [AtomicPtr<c_char>; SLOTS_MAX] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; SLOTS_MAX];

/// Whether what is unfinished is kept for another run.
static LASTS: AtomicBool = AtomicBool::new(false);

/// Whether what is unfinished is kept for another run. Reads only an atomic.
pub fn lasts() -> bool {
    LASTS.load(Ordering::Relaxed)
}

/// Where the search for a free slot begins.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The paths, NUL-terminated and valid for the life of the program, that a dying program should
/// remove: files, and the directories that hold them. Reads only atomics.
pub fn registered() -> impl Iterator<Item = *const c_char> {
    SLOTS.iter().map(|slot| slot.load(Ordering::Acquire).cast_const()).filter(|p| !p.is_null())
}

/// A path that is removed when this is dropped, or when a signal ends the program.
#[derive(Debug)]
pub struct Temp {
    path: PathBuf,
    /// Nothing if the path is to outlive the run.
    slot: Option<usize>,
}

impl Temp {
    /// Takes charge of a path, best before anything exists there.
    ///
    /// # Errors
    /// Limit above [`SLOTS_MAX`] at one time; Usage if the path holds NUL.
    pub fn new(path: PathBuf) -> Result<Self> {
        let text = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::usage("a file name cannot hold NUL").at(path.display()))?;
        let start = NEXT.fetch_add(1, Ordering::Relaxed);
        let text = text.into_raw();
        for i in 0..SLOTS_MAX {
            let slot = start.wrapping_add(i) % SLOTS_MAX;
            let free = std::ptr::null_mut();
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            if SLOTS[slot].compare_exchange(free, text, order.0, order.1).is_ok() {
                return Ok(Self { path, slot: Some(slot) });
            }
        }
        let found = format!("more than {SLOTS_MAX} output files at one time");
        Err(Error::limit(format!("{found}; choose larger shards")).at(path.display()))
    }

    /// A path that is kept for another run, unless [`Self::remove`] says otherwise.
    pub(super) fn lasting(path: PathBuf) -> Self {
        LASTS.store(true, Ordering::Relaxed);
        Self { path, slot: None }
    }

    /// Removes it, whatever it was kept for.
    pub(super) fn remove(self) {
        remove(&self.path);
        self.keep();
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets go of the path: nothing is there any longer, or what is there is to stay.
    pub fn keep(self) {
        self.unregister();
        std::mem::forget(self);
    }

    fn unregister(&self) {
        if let Some(slot) = self.slot {
            SLOTS[slot].store(std::ptr::null_mut(), Ordering::Release);
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if self.slot.is_some() {
            remove(&self.path);
            self.unregister();
        }
    }
}

/// Removes a file, or a directory whose files were dropped before. There is nobody to tell if
/// that fails: an error is on its way already.
fn remove(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
}

/// `.<name>.<random>.partial`, another one at each call.
pub(super) fn name_for(name: &OsStr) -> OsString {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    marked(name, &format!("{:01$x}", hasher.finish(), MARK_DIGITS), SUFFIX)
}

/// `.<name>.<mark>.partial`, the same one at each call.
pub(super) fn lasting_for(name: &OsStr, mark: &str) -> OsString {
    marked(name, mark, SUFFIX)
}

/// `.<name>.<mark>.journal`.
pub(super) fn journal_for(name: &OsStr, mark: &str) -> OsString {
    marked(name, mark, JOURNAL)
}

fn marked(name: &OsStr, mark: &str, suffix: &[u8]) -> OsString {
    OsString::from_vec([&*prefix(name), mark.as_bytes(), suffix].concat())
}

fn prefix(name: &OsStr) -> Vec<u8> {
    let stem = name.as_bytes();
    [b".", &stem[..stem.len().min(STEM_MAX)], b"."].concat()
}

/// The mark of `candidate`, if it is a temporary name of `name`.
fn mark_of<'c>(candidate: &'c OsStr, name: &OsStr) -> Option<&'c [u8]> {
    let rest = candidate.as_bytes().strip_prefix(&*prefix(name))?;
    let mark = rest.strip_suffix(SUFFIX).or_else(|| rest.strip_suffix(JOURNAL))?;
    let is_mark = mark.len() == MARK_DIGITS && mark.iter().all(u8::is_ascii_hexdigit);
    is_mark.then_some(mark)
}

/// Marks a temporary file or directory as in use, for as long as it is open; false if it is in
/// use by another run.
pub(super) fn lock(file: &File) -> bool {
    // Some network file systems have no locks; there, age alone tells what is stale.
    let locked = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive);
    locked != Err(Errno::WOULDBLOCK)
}

/// Removes what a killed run left behind for one of these names: ours by its name, older than a
/// day, and locked by nobody; but not what this run is to go on from. Whatever cannot be removed
/// stays: the output does not depend on it.
pub(super) fn remove_stale(directory: &Path, names: &[&OsStr], kept: Option<&str>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name();
        // Most entries of a directory are not even hidden; the names need no look then.
        if !found.as_bytes().starts_with(b".") {
            continue;
        }
        let mark = names.iter().find_map(|name| mark_of(&found, name));
        if mark.is_some() && mark != kept.map(str::as_bytes) {
            remove_if_stale(&entry.path());
        }
    }
}

fn remove_if_stale(path: &Path) {
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    let age = meta.modified().ok().and_then(|then| SystemTime::now().duration_since(then).ok());
    let is_old = age.is_some_and(|age| age > STALE_AGE);
    if !is_old || !(meta.is_file() || meta.is_dir()) {
        return;
    }
    let Ok(file) = File::open(path) else { return };
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
        let _ = fs::remove_dir(path);
    } else {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_guard_removes_and_a_kept_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "x").unwrap();
        let temp = Temp::new(path.clone()).unwrap();
        assert!(!SLOTS[temp.slot.unwrap()].load(Ordering::Acquire).is_null());
        temp.keep();
        assert!(path.exists());
        drop(Temp::new(path.clone()).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn only_our_names_are_ours() {
        let name = OsStr::new("m.gguf");
        let is_ours = |candidate: &OsStr, name: &OsStr| mark_of(candidate, name).is_some();
        assert!(is_ours(&name_for(name), name));
        assert!(is_ours(&journal_for(name, "0123456789abcdef"), name));
        assert_ne!(name_for(name), name_for(name));
        for other in [".m.gguf.partial", "m.gguf", ".m.gguf.0123456789abcdeg.partial"] {
            assert!(!is_ours(OsStr::new(other), name), "{other}");
        }
        assert!(!is_ours(&name_for(OsStr::new("n.gguf")), name));
        let long = OsString::from("x".repeat(255));
        assert!(name_for(&long).len() < 255);
    }

    #[test]
    fn stale_ones_go_and_locked_or_young_or_foreign_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let name = OsStr::new("m.gguf");
        let make = |file: &OsStr, age: u64| {
            let path = dir.path().join(file);
            fs::write(&path, "x").unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
            path
        };
        let day = 25 * 60 * 60;
        let old = make(&name_for(name), day);
        let young = make(&name_for(name), 60);
        let foreign = make(OsStr::new(".m.gguf.download.partial"), day);
        let locked = make(&name_for(name), day);
        let holder = File::open(&locked).unwrap();
        assert!(lock(&holder));
        assert!(!lock(&File::open(&locked).unwrap()));
        let mark = "0123456789abcdef";
        let kept = [lasting_for(name, mark), journal_for(name, mark)].map(|name| make(&name, day));
        remove_stale(dir.path(), &[name], Some(mark));
        assert!(!old.exists());
        assert!(young.exists() && foreign.exists() && locked.exists());
        assert!(kept.iter().all(|path| path.exists()));
        remove_stale(dir.path(), &[name], None);
        assert!(!kept.iter().any(|path| path.exists()));
    }
}
