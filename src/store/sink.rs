//! Where an output goes: it appears whole, under its name, or not at all.
//!
//! ```text
//!  refuse early → .<name>.<random>.partial: create, lock, reserve → write → sync
//!               → rename over the name → sync the directory
//! ```
//!
//! No existing file is ever opened for writing, so a reader of the old output keeps what it has,
//! and a link at the destination is replaced, not written through.
//!
//! Several files beside each other cannot be renamed at once. The one that readers open first
//! (an index, the first part) is removed before and renamed last: whoever finds it finds all of
//! its set. A directory is built under a temporary name and renamed as a whole (`directory`).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ir::{Blob, Error, Result};

use super::directory::Directory;
use super::ops::{Ops, Replace};
use super::temp::{self, Temp};
use super::{failed, refuse};

/// The files of an output.
#[derive(Debug, Clone, Copy)]
pub struct FileSet<'a> {
    /// Names within the directory of the output, with lengths in bytes.
    pub files: &'a [(&'a str, u64)],
    /// Which of them readers open first.
    pub entry: usize,
}

/// Where files are made. Dropped without [`Self::commit`], nothing remains.
pub trait Sink {
    /// Makes room for all files; what can be refused early is refused here.
    ///
    /// # Errors
    /// Usage if something would be overwritten unasked, or is being read; Io if the destination
    /// cannot be written or has too little space.
    fn create(&mut self, set: &FileSet<'_>) -> Result<Vec<Arc<dyn Place>>>;

    /// Lets the files appear, once all is written.
    ///
    /// # Errors
    /// Io; the destination is then as it was, or, of a set of several files, lacks its entry.
    fn commit(self: Box<Self>) -> Result<()>;
}

/// One file in the making, written at offsets by several threads at once. What is not written is
/// zero.
pub trait Place: Send + Sync {
    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// Io, naming the file.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Copies `len` bytes of `blob` from `from` to `to` without bringing them into the program,
    /// as many as can be copied so. Gives how many; the others are the caller's to read and write.
    ///
    /// # Errors
    /// Io, naming the file.
    fn copy_from(&self, blob: &Blob, from: u64, len: u64, to: u64) -> Result<u64>;
}

/// What an output is to be.
#[derive(Debug, Clone)]
pub struct Target {
    /// The file, the file that names a set, or the directory.
    pub path: PathBuf,
    /// Whether `path` is a directory that holds the files.
    pub directory: bool,
    /// Whether what exists may be replaced.
    pub overwrite: bool,
    /// Whether to wait until the bytes are on the disk.
    pub sync: bool,
    /// What is read meanwhile, and must not be replaced.
    pub inputs: Vec<Arc<Blob>>,
}

/// A sink in the file system.
pub struct FileSink {
    target: Target,
    ops: Arc<Ops>,
    state: State,
}

enum State {
    Empty,
    Files(Files),
    Directory(Directory),
}

impl FileSink {
    /// A sink that has touched nothing yet.
    pub fn new(target: Target) -> Self {
        Self { target, ops: Arc::default(), state: State::Empty }
    }

    #[cfg(test)]
    pub(super) fn with_ops(target: Target, ops: Arc<Ops>) -> Self {
        Self { target, ops, state: State::Empty }
    }
}

impl Sink for FileSink {
    fn create(&mut self, set: &FileSet<'_>) -> Result<Vec<Arc<dyn Place>>> {
        allow_open_files();
        let parent = Parent::of(&self.target.path)?;
        if self.target.directory {
            let made = Directory::create(&self.target, parent, set, &self.ops)?;
            let places = made.places();
            self.state = State::Directory(made);
            return Ok(places);
        }
        let made = Files::create(&self.target, parent, set, &self.ops)?;
        let places = made.pending.iter().map(Pending::place).collect();
        self.state = State::Files(made);
        Ok(places)
    }

    fn commit(self: Box<Self>) -> Result<()> {
        match self.state {
            State::Empty => Err(Error::bug("an output was committed before it was made")),
            State::Files(files) => files.commit(&self.target, &self.ops),
            State::Directory(directory) => directory.commit(&self.target, &self.ops),
        }
    }
}

/// Writes one small file whole, in place of what may be there: a report, a list.
///
/// # Errors
/// As [`Sink`]'s.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let inputs = Vec::new();
    let target =
        Target { path: path.to_owned(), directory: false, overwrite: true, sync: true, inputs };
    let name = target.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut sink = Box::new(FileSink::new(target));
    let files = [(name.as_str(), bytes.len() as u64)];
    for place in sink.create(&FileSet { files: &files, entry: 0 })? {
        place.write_at(0, bytes)?;
    }
    sink.commit()
}

/// The directory that a name is to appear in, held open: it stays the same one if it is renamed.
pub(super) struct Parent {
    pub(super) path: PathBuf,
    pub(super) handle: File,
    /// The name that is to appear.
    pub(super) name: OsString,
}

impl Parent {
    fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| {
            let asked = format!("'{}' names no file or directory to make", path.display());
            Error::usage(format!("{asked}; give a name"))
        })?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let handle = refuse::unless_writable(parent)?;
        Ok(Self { path: parent.to_owned(), handle, name: name.to_owned() })
    }
}

/// A file that is written under a name of its own.
pub(super) struct Pending {
    pub(super) file: Arc<FilePlace>,
    pub(super) temp: Temp,
}

impl Pending {
    pub(super) fn place(&self) -> Arc<dyn Place> {
        Arc::clone(&self.file) as Arc<dyn Place>
    }

    /// Creates, locks and reserves `name` in an open directory.
    pub(super) fn create(
        dir: (&File, &Path),
        name: &OsStr,
        file: NewFile<'_>,
        ops: &Arc<Ops>,
    ) -> Result<Self> {
        let path = dir.1.join(name);
        let fail = |error| failed(file.shown.display(), error);
        let temp = Temp::new(path)?;
        let handle = match ops.create(dir.0, name, file.mode) {
            Ok(handle) => handle,
            Err(error) => {
                // What has this name is not ours.
                if error.kind() == std::io::ErrorKind::AlreadyExists {
                    temp.keep();
                }
                return Err(fail(error));
            }
        };
        temp::lock(&handle);
        ops.allocate(&handle, file.len).map_err(fail)?;
        let (shown, len, ops) = (file.shown.display().to_string(), file.len, Arc::clone(ops));
        Ok(Self { file: Arc::new(FilePlace { file: handle, shown, len, ops }), temp })
    }

    /// Gives the file its length and, if asked, waits for the disk.
    pub(super) fn finish(&self, target: &Target) -> Result<()> {
        let FilePlace { file, shown, len, ops } = &*self.file;
        ops.set_len(file, *len).map_err(|error| failed(shown, error))?;
        if target.sync {
            ops.sync(file).map_err(|error| failed(shown, error))?;
        }
        Ok(())
    }
}

/// What is to be made of a file: its final path, for messages; its length; the mode that a file
/// of this name has already.
pub(super) struct NewFile<'a> {
    pub(super) shown: &'a Path,
    pub(super) len: u64,
    pub(super) mode: Option<u32>,
}

/// One file, or several beside each other.
struct Files {
    parent: Parent,
    pending: Vec<Pending>,
    finals: Vec<OsString>,
    entry: usize,
}

impl Files {
    fn create(target: &Target, parent: Parent, set: &FileSet<'_>, ops: &Arc<Ops>) -> Result<Self> {
        let finals = set.files.iter().map(|(name, _)| final_name(name, &parent.name));
        let finals = finals.collect::<Result<Vec<OsString>>>()?;
        let modes = finals.iter().map(|name| refuse::unless_free(&parent.path.join(name), target));
        let modes = modes.collect::<Result<Vec<Option<u32>>>>()?;
        let names: Vec<&OsStr> = finals.iter().map(OsString::as_os_str).collect();
        temp::remove_stale(&parent.path, &names);
        refuse::unless_space(&parent, set)?;
        let mut pending = Vec::with_capacity(finals.len());
        for ((name, mode), (_, len)) in finals.iter().zip(modes).zip(set.files) {
            let shown = parent.path.join(name);
            let file = NewFile { shown: &shown, len: *len, mode };
            let dir = (&parent.handle, &*parent.path);
            pending.push(Pending::create(dir, &temp::name_for(name), file, ops)?);
        }
        Ok(Self { parent, pending, finals, entry: set.entry })
    }

    fn commit(self, target: &Target, ops: &Ops) -> Result<()> {
        for pending in &self.pending {
            pending.finish(target)?;
        }
        let Self { parent, pending, finals, entry } = self;
        let mut files: Vec<(Pending, OsString)> = pending.into_iter().zip(finals).collect();
        if files.len() > 1 && entry < files.len() {
            let last = files.remove(entry);
            if target.overwrite {
                remove_entry(&parent, &last.1, target, ops)?;
            }
            files.push(last);
        }
        let mut appeared = Appeared { directory: &parent.path, names: Vec::new() };
        for (pending, name) in files {
            let was_free = std::fs::symlink_metadata(parent.path.join(&name)).is_err();
            appear(&parent, pending, &name, target, ops)?;
            if was_free {
                appeared.names.push(name);
            }
        }
        appeared.names.clear();
        sync_directory(&parent.handle, target, ops)
    }
}

/// Removes the old entry of a set, for good, before the first of its old files is replaced.
fn remove_entry(parent: &Parent, name: &OsStr, target: &Target, ops: &Ops) -> Result<()> {
    let fail = |error| failed(parent.path.join(name).display(), error);
    ops.remove(&parent.handle, name).map_err(fail)?;
    if target.sync {
        ops.sync(&parent.handle).map_err(fail)?;
    }
    Ok(())
}

fn appear(
    parent: &Parent,
    pending: Pending,
    name: &OsStr,
    target: &Target,
    ops: &Ops,
) -> Result<()> {
    let replace = if target.overwrite { Replace::Yes } else { Replace::No };
    let temp = pending.temp.path().file_name().unwrap_or_default();
    ops.rename(&parent.handle, temp, name, replace)
        .map_err(|error| failed(parent.path.join(name).display(), error))?;
    pending.temp.keep();
    Ok(())
}

/// Waits until new names are on the disk.
pub(super) fn sync_directory(handle: &File, target: &Target, ops: &Ops) -> Result<()> {
    if !target.sync {
        return Ok(());
    }
    ops.sync(handle).map_err(|error| {
        let found = "written, but it is not certain that a power failure would spare it";
        Error::io(format!("{found}: {error}")).at(target.path.display())
    })
}

/// Files of a set that have their names already, none of which existed before; removed again if
/// the set does not become whole.
struct Appeared<'a> {
    directory: &'a Path,
    names: Vec<OsString>,
}

impl Drop for Appeared<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = std::fs::remove_file(self.directory.join(name));
        }
    }
}

/// The name that the user typed may not be UTF-8; a plan knows it by its text.
fn final_name(planned: &str, typed: &OsStr) -> Result<OsString> {
    if typed.to_string_lossy() == planned {
        return Ok(typed.to_owned());
    }
    plain_name(planned).map(OsString::from)
}

/// A name that stays in its directory: output names may come from names in the input.
pub(super) fn plain_name(name: &str) -> Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(Error::malformed(format!("'{name}' cannot name a file of the output")));
    }
    Ok(name)
}

/// A file of the output.
pub(super) struct FilePlace {
    file: File,
    /// The final path, for messages.
    shown: String,
    len: u64,
    ops: Arc<Ops>,
}

impl Place for FilePlace {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if wire::fits(offset, bytes.len() as u64, self.len).is_none() {
            let range = format!("{} bytes at {offset:#x}", bytes.len());
            return Err(
                Error::bug(format!("{range} lie outside of the planned file")).at(&self.shown)
            );
        }
        self.ops.write_at(&self.file, offset, bytes).map_err(|e| failed(&self.shown, e))
    }

    fn copy_from(&self, blob: &Blob, from: u64, len: u64, to: u64) -> Result<u64> {
        let Some(source) = blob.file() else { return Ok(0) };
        let mut done = 0;
        while done < len {
            let (from, to) = ((source, from + done), (&self.file, to + done));
            let more = self.ops.copy(from, to, len - done).map_err(|e| failed(&self.shown, e))?;
            if more == 0 {
                break;
            }
            done += more;
        }
        Ok(done)
    }
}

/// A model of hundreds of shards is read and written with all of them open; many systems allow
/// 1024 unless asked for more. If it cannot be raised, opening will tell.
fn allow_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
