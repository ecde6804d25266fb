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
use super::journal::{self, Finished, Journal};
use super::ops::{Ops, Replace};
use super::temp::{self, Temp};
use super::{Digest, failed, refuse};

/// The files of an output.
#[derive(Debug, Clone, Copy)]
pub struct FileSet<'a> {
    /// Names within the directory of the output, with lengths in bytes.
    pub files: &'a [(&'a str, u64)],
    /// Which of them readers open first.
    pub entry: usize,
}

/// Where files are made. Dropped without [`Self::commit`], nothing remains but what another run is
/// to go on from.
pub trait Sink {
    /// Makes room for all files; what can be refused early is refused here.
    ///
    /// # Errors
    /// Usage if something would be overwritten unasked, or is being read; Io if the destination
    /// cannot be written or has too little space.
    fn create(&mut self, set: &FileSet<'_>) -> Result<Vec<Arc<dyn Place>>>;

    /// What a run before this one has finished of the files that were created, and where this
    /// one says what it finishes; nothing unless that was asked for.
    fn journal(&self) -> Option<Arc<Journal>> {
        None
    }

    /// Removes what would be kept for another run, which would not end otherwise.
    fn discard(self: Box<Self>);

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

impl Target {
    /// A report, which replaces an older one, but no file that it tells of.
    pub fn report(path: &Path, inputs: Vec<Arc<Blob>>) -> Self {
        Self { path: path.to_owned(), directory: false, overwrite: true, sync: true, inputs }
    }
}

/// A sink in the file system.
pub struct FileSink {
    pub(super) target: Target,
    pub(super) ops: Arc<Ops>,
    /// What all bytes follow from, for runs that may be ended and go on.
    pub(super) resume: Option<Digest>,
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
        Self { target, ops: Arc::default(), resume: None, state: State::Empty }
    }

    /// The same sink, which goes on where a run for the same digest was ended: that of
    /// everything that the bytes follow from.
    #[must_use]
    pub fn resumed(self, digest: Digest) -> Self {
        Self { resume: Some(digest), ..self }
    }

    /// The temporary name for a file or directory.
    pub(super) fn temporary(&self, name: &OsStr) -> OsString {
        match &self.resume {
            Some(digest) => temp::lasting_for(name, &digest.mark()),
            None => temp::name_for(name),
        }
    }

    /// The journal of a run that may go on later, opened for the output of `parent`.
    pub(super) fn open_journal(&self, parent: &Parent) -> Result<Option<Journal>> {
        self.resume.as_ref().map(|digest| Journal::open(parent, digest, &self.ops)).transpose()
    }

    /// Removes what killed runs have left for these names.
    pub(super) fn remove_stale(&self, parent: &Parent, names: &[&OsStr]) {
        let kept = self.resume.map(|digest| digest.mark());
        temp::remove_stale(&parent.path, names, kept.as_deref());
    }

    /// The same sink, of whose calls of the system the one of this number fails.
    #[cfg(test)]
    pub(crate) fn failing(self, at: u64) -> (Self, Calls) {
        let plan = super::ops::plan::Plan::new(at, rustix::io::Errno::NOSPC);
        let ops = Arc::new(Ops { plan: Some(plan) });
        (Self { ops: Arc::clone(&ops), ..self }, Calls(ops))
    }

    #[cfg(test)]
    pub(super) fn with_ops(target: Target, ops: Arc<Ops>) -> Self {
        Self { target, ops, resume: None, state: State::Empty }
    }
}

/// The calls of the system that a sink has asked for.
#[cfg(test)]
pub(crate) struct Calls(Arc<Ops>);

#[cfg(test)]
impl Calls {
    pub(crate) fn count(&self) -> u64 {
        self.0.plan.as_ref().map_or(0, super::ops::plan::Plan::count)
    }
}

impl Sink for FileSink {
    fn create(&mut self, set: &FileSet<'_>) -> Result<Vec<Arc<dyn Place>>> {
        allow_open_files();
        let parent = Parent::of(&self.target.path)?;
        if self.target.directory {
            let made = Directory::create(self, parent, set)?;
            let places = made.places();
            self.state = State::Directory(made);
            return Ok(places);
        }
        let made = Files::create(self, parent, set)?;
        let places = made.pending.iter().map(Pending::place).collect();
        self.state = State::Files(made);
        Ok(places)
    }

    fn journal(&self) -> Option<Arc<Journal>> {
        match &self.state {
            State::Empty => None,
            State::Files(files) => files.journal.clone(),
            State::Directory(directory) => directory.journal(),
        }
    }

    fn discard(self: Box<Self>) {
        match self.state {
            State::Empty => {}
            State::Files(files) => files.discard(),
            State::Directory(directory) => directory.discard(),
        }
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
    write_to(Target::report(path, Vec::new()), bytes)
}

/// Refuses what [`write_to`] would, before the work is done that it is to tell of.
///
/// # Errors
/// As [`Sink::create`].
pub fn refuse_early(target: &Target) -> Result<()> {
    Parent::of(&target.path)?;
    refuse::unless_free(&target.path, target).map(drop)
}

/// Writes one small file whole.
///
/// # Errors
/// As [`Sink`]'s.
pub fn write_to(target: Target, bytes: &[u8]) -> Result<()> {
    let name = target.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut sink = Box::new(FileSink::new(target));
    let files = [(name.as_str(), bytes.len() as u64)];
    for place in sink.create(&FileSet { files: &files, entry: 0 })? {
        place.write_at(0, bytes)?;
    }
    sink.commit()
}

/// Whether two paths name one place, which need not exist.
pub fn is_same_name(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
        match (parent, path.file_name()) {
            (Some(parent), Some(name)) => parent.join(name),
            _ => path,
        }
    };
    real(a) == real(b)
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
        let (handle, temp) = match file.journal {
            Some(journal) => (Self::reopen(dir, name, &file, (journal, ops))?, Temp::lasting(path)),
            None => {
                let temp = Temp::new(path)?;
                match ops.create(dir.0, name, file.mode) {
                    Ok(handle) => (handle, temp),
                    Err(error) => {
                        // What has this name is not ours.
                        if error.kind() == std::io::ErrorKind::AlreadyExists {
                            temp.keep();
                        }
                        return Err(fail(error));
                    }
                }
            }
        };
        temp::lock(&handle);
        ops.allocate(&handle, file.len).map_err(fail)?;
        let (shown, len, ops) = (file.shown.display().to_string(), file.len, Arc::clone(ops));
        Ok(Self { file: Arc::new(FilePlace { file: handle, shown, len, ops }), temp })
    }

    /// What a run before this one has left, or a new file. What is not in the journal is not
    /// believed.
    fn reopen(
        dir: (&File, &Path),
        name: &OsStr,
        file: &NewFile<'_>,
        (journal, ops): (&Journal, &Ops),
    ) -> Result<File> {
        let fail = |error| failed(file.shown.display(), error);
        let Some(old) = journal::reopen(dir.0, name, dir.1, ops)? else {
            return ops.create(dir.0, name, file.mode).map_err(fail);
        };
        if journal.is_fresh() {
            ops.set_len(&old, 0).map_err(fail)?;
        }
        Ok(old)
    }

    /// Whether the bytes of a finished piece are there.
    pub(super) fn holds(&self, piece: &Finished) -> bool {
        let FilePlace { file, len, .. } = &*self.file;
        let is_inside = wire::fits(piece.offset, piece.len, *len).is_some();
        let sum = || zip::crc32(&Read(file, *len), piece.offset, piece.len).ok();
        is_inside && sum() == Some(piece.sum)
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
    /// Where it says what is finished of it, if it may outlive the run.
    pub(super) journal: Option<&'a Journal>,
}

/// A file in the making, to be read again.
struct Read<'a>(&'a File, u64);

impl wire::ReadAt for Read<'_> {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self.0, into, offset)
    }
}

/// One file, or several beside each other.
struct Files {
    parent: Parent,
    pending: Vec<Pending>,
    finals: Vec<OsString>,
    entry: usize,
    journal: Option<Arc<Journal>>,
}

impl Files {
    fn create(sink: &FileSink, parent: Parent, set: &FileSet<'_>) -> Result<Self> {
        let target = &sink.target;
        let finals = set.files.iter().map(|(name, _)| final_name(name, &parent.name));
        let finals = finals.collect::<Result<Vec<OsString>>>()?;
        let modes = finals.iter().map(|name| refuse::unless_free(&parent.path.join(name), target));
        let modes = modes.collect::<Result<Vec<Option<u32>>>>()?;
        let mut names: Vec<&OsStr> = finals.iter().map(OsString::as_os_str).collect();
        names.push(&parent.name);
        sink.remove_stale(&parent, &names);
        refuse::unless_space(&parent, set)?;
        let mut journal = sink.open_journal(&parent)?;
        let mut pending = Vec::with_capacity(finals.len());
        for ((name, mode), (_, len)) in finals.iter().zip(modes).zip(set.files) {
            let shown = parent.path.join(name);
            let file = NewFile { shown: &shown, len: *len, mode, journal: journal.as_ref() };
            let dir = (&parent.handle, &*parent.path);
            pending.push(Pending::create(dir, &sink.temporary(name), file, &sink.ops)?);
        }
        let journal = journal.take().map(|journal| verified(journal, &pending));
        Ok(Self { parent, pending, finals, entry: set.entry, journal })
    }

    fn discard(self) {
        self.pending.into_iter().for_each(|pending| pending.temp.remove());
        self.journal.into_iter().for_each(|journal| journal.remove(&self.parent));
    }

    fn commit(self, target: &Target, ops: &Ops) -> Result<()> {
        for pending in &self.pending {
            pending.finish(target)?;
        }
        let Self { parent, pending, finals, entry, journal } = self;
        let mut files: Vec<(Pending, OsString)> = pending.into_iter().zip(finals).collect();
        if files.len() > 1 && entry < files.len() {
            let last = files.remove(entry);
            if target.overwrite {
                remove_entry(&parent, &last.1, target, ops)?;
            }
            files.push(last);
        }
        let lasts = journal.is_some();
        let mut appeared = Appeared { lasts, moves: Vec::new() };
        for (pending, name) in files {
            let (from, to) = (pending.temp.path().to_owned(), parent.path.join(&name));
            let was_free = std::fs::symlink_metadata(&to).is_err();
            appear(&parent, pending, &name, target, ops)?;
            if was_free || lasts {
                appeared.moves.push((from, to));
            }
        }
        appeared.moves.clear();
        journal.into_iter().for_each(|journal| journal.remove(&parent));
        sync_directory(&parent.handle, target, ops)
    }
}

/// The journal without the pieces that are not in the files.
pub(super) fn verified(mut journal: Journal, pending: &[Pending]) -> Arc<Journal> {
    journal.verify(|piece| pending.get(piece.file).is_some_and(|pending| pending.holds(piece)));
    Arc::new(journal)
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

/// Files of a set that have their names already, with what they were called before. If the set does
/// not become whole, those are removed again that took nobody's place; all go back to their
/// temporary names where another run may go on.
struct Appeared {
    lasts: bool,
    moves: Vec<(PathBuf, PathBuf)>,
}

impl Drop for Appeared {
    fn drop(&mut self) {
        for (from, to) in &self.moves {
            let _ = match self.lasts {
                true => std::fs::rename(to, from),
                false => std::fs::remove_file(to),
            };
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
