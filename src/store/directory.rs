//! A directory as an output: built under a temporary name beside its own, renamed as a whole.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use crate::ir::{Error, Result};

use super::failed;
use super::journal::{self, Journal};
use super::ops::{Ops, Replace};
use super::refuse::{self, Existing};
use super::sink::{
    FileSet, FileSink, NewFile, Parent, Pending, Place, Target, plain_name, sync_directory,
    verified,
};
use super::temp::{self, Temp};

/// A directory in the making. Fields are dropped in this order: what it holds, then itself.
pub(super) struct Directory {
    pending: Vec<Pending>,
    temp: Temp,
    handle: File,
    parent: Parent,
    existing: Existing,
    journal: Option<Arc<Journal>>,
}

impl Directory {
    pub(super) fn create(sink: &FileSink, parent: Parent, set: &FileSet<'_>) -> Result<Self> {
        let (target, ops) = (&sink.target, &sink.ops);
        let existing = refuse::unless_free_directory(&target.path, target)?;
        sink.remove_stale(&parent, &[&parent.name]);
        refuse::unless_space(&parent, set)?;
        let journal = sink.open_journal(&parent)?;
        let name = sink.temporary(&parent.name);
        let path = parent.path.join(&name);
        let (old, temp) = match &journal {
            Some(_) => {
                let old = journal::reopen(&parent.handle, &name, &parent.path, ops)?;
                (old, Temp::lasting(path))
            }
            None => (None, Temp::new(path)?),
        };
        let mode = match &existing {
            Existing::Nothing => None,
            Existing::Empty(mode) | Existing::Model(mode, _) => Some(*mode),
        };
        let handle = match old {
            Some(handle) => {
                remove_unplanned(temp.path(), &handle, set, ops)?;
                handle
            }
            None => ops
                .create_dir(&parent.handle, &name, mode)
                .map_err(|error| failed(target.path.display(), error))?,
        };
        temp::lock(&handle);
        let pending = Vec::new();
        let mut made = Self { pending, temp, handle, parent, existing, journal: None };
        for (name, len) in set.files {
            let pending = made.file(sink, plain_name(name)?, *len, journal.as_ref())?;
            made.pending.push(pending);
        }
        made.journal = journal.map(|journal| verified(journal, &made.pending));
        Ok(made)
    }

    fn file(
        &self,
        sink: &FileSink,
        name: &str,
        len: u64,
        journal: Option<&Journal>,
    ) -> Result<Pending> {
        let mode = match &self.existing {
            Existing::Model(_, files) => files.iter().find(|(old, _)| old == name).map(|f| f.1),
            Existing::Nothing | Existing::Empty(_) => None,
        };
        let shown = sink.target.path.join(name);
        let dir = (&self.handle, self.temp.path());
        let file = NewFile { shown: &shown, len, mode, journal };
        Pending::create(dir, OsStr::new(name), file, &sink.ops)
    }

    pub(super) fn journal(&self) -> Option<Arc<Journal>> {
        self.journal.clone()
    }

    pub(super) fn discard(self) {
        self.pending.into_iter().for_each(|pending| pending.temp.remove());
        self.temp.remove();
        self.journal.into_iter().for_each(|journal| journal.remove(&self.parent));
    }

    pub(super) fn places(&self) -> Vec<Arc<dyn Place>> {
        self.pending.iter().map(Pending::place).collect()
    }

    pub(super) fn commit(self, target: &Target, ops: &Ops) -> Result<()> {
        for pending in &self.pending {
            pending.finish(target)?;
        }
        let fail = |error| failed(target.path.display(), error);
        if target.sync {
            ops.sync(&self.handle).map_err(fail)?;
        }
        let name = self.temp.path().file_name().unwrap_or_default();
        let (to, dir) = (&self.parent.name, &self.parent.handle);
        match &self.existing {
            Existing::Nothing => ops.rename(dir, name, to, Replace::No).map_err(fail)?,
            // The system refuses by itself if something has been put there since.
            Existing::Empty(_) => ops.rename(dir, name, to, Replace::Yes).map_err(fail)?,
            Existing::Model(_, files) => {
                let old = files.iter().map(|(name, _)| name.clone()).collect();
                return self.exchange(old, target, ops);
            }
        }
        let Self { pending, temp, parent, journal, .. } = self;
        pending.into_iter().for_each(|pending| pending.temp.keep());
        temp.keep();
        journal.into_iter().for_each(|journal| journal.remove(&parent));
        sync_directory(&parent.handle, target, ops)
    }

    /// Exchanges the new directory with the old one, then removes the old one.
    fn exchange(self, old: Vec<OsString>, target: &Target, ops: &Ops) -> Result<()> {
        // After the exchange the temporary name holds the old files: from then on, to clean up
        // is to remove those, whoever does it.
        let old = old.into_iter().map(|name| Temp::new(self.temp.path().join(name)));
        let old = old.collect::<Result<Vec<Temp>>>()?;
        let name = self.temp.path().file_name().unwrap_or_default();
        if let Err(error) = ops.exchange(&self.parent.handle, name, &self.parent.name) {
            if self.journal.is_some() {
                // These are still the new files, from which another run goes on.
                old.into_iter().for_each(Temp::keep);
            }
            return Err(not_exchanged(target, error));
        }
        let Self { pending, temp, parent, journal, .. } = self;
        journal.into_iter().for_each(|journal| journal.remove(&parent));
        let synced = sync_directory(&parent.handle, target, ops);
        pending.into_iter().for_each(|pending| pending.temp.keep());
        drop(old);
        let left = temp.path().to_owned();
        temp.remove();
        synced?;
        if left.exists() {
            let found = "the new output is in place, but the old one could not be removed";
            return Err(Error::io(found).at(left.display()));
        }
        Ok(())
    }
}

fn not_exchanged(target: &Target, error: io::Error) -> Error {
    let cannot = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
    let is_missing = cannot.iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()));
    if !is_missing {
        return failed(target.path.display(), error);
    }
    let found = "this file system cannot exchange two directories at once";
    Error::io(format!("{found}; remove the old output first")).at(target.path.display())
}

/// Removes from a directory that another run has left what this one will not write: a run that was
/// killed right after the exchange has left the old output.
fn remove_unplanned(path: &Path, handle: &File, set: &FileSet<'_>, ops: &Ops) -> Result<()> {
    let fail = |error: io::Error| failed(path.display(), error);
    for entry in fs::read_dir(path).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        if set.files.iter().all(|(planned, _)| name != **planned) {
            ops.remove(handle, &name).map_err(fail)?;
        }
    }
    Ok(())
}
