//! The calls of the system that make an output, in one place: tests make the n-th of them fail.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// The calls of the system that make an output. Names are relative to an open directory.
#[derive(Debug, Default)]
pub(super) struct Ops {
    #[cfg(test)]
    pub(super) plan: Option<plan::Plan>,
}

/// Whether a rename may take a name that something else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replace {
    Yes,
    No,
}

impl Ops {
    /// A new file, which nobody else can have put there, with this mode exactly or, if nothing
    /// is given, what the umask leaves of 0666.
    pub(super) fn create(&self, dir: &File, name: &OsStr, mode: Option<u32>) -> io::Result<File> {
        self.step(format_args!("create {}", Name(name)))?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let wanted = Mode::from_raw_mode(mode.unwrap_or(0o666));
        let file = File::from(rustix::fs::openat(dir, name, flags, wanted)?);
        if mode.is_some() {
            rustix::fs::fchmod(&file, wanted)?;
        }
        Ok(file)
    }

    /// A file or directory of this name, if there is one; a link is an error.
    pub(super) fn reopen(&self, dir: &File, name: &OsStr) -> io::Result<Option<File>> {
        self.step(format_args!("reopen {}", Name(name)))?;
        let open = |flags| {
            let common = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            rustix::fs::openat(dir, name, flags | common, Mode::empty())
        };
        let opened = match open(OFlags::RDWR) {
            Err(Errno::ISDIR) => open(OFlags::RDONLY | OFlags::DIRECTORY),
            opened => opened,
        };
        match opened {
            Err(Errno::NOENT) => Ok(None),
            opened => Ok(Some(File::from(opened?))),
        }
    }

    /// A new directory, and a handle of it.
    pub(super) fn create_dir(
        &self,
        dir: &File,
        name: &OsStr,
        mode: Option<u32>,
    ) -> io::Result<File> {
        self.step(format_args!("create directory {}", Name(name)))?;
        let wanted = Mode::from_raw_mode(mode.unwrap_or(0o777));
        rustix::fs::mkdirat(dir, name, wanted)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
        if mode.is_some() {
            rustix::fs::fchmod(&made, wanted)?;
        }
        Ok(made)
    }

    /// Reserves the space, so that a full disk is known at once. Where the file system cannot
    /// reserve, writing will tell.
    pub(super) fn allocate(&self, file: &File, len: u64) -> io::Result<()> {
        self.step(format_args!("allocate"))?;
        if len == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Writes all of `bytes` at `offset`.
    pub(super) fn write_at(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step(format_args!("write"))?;
        file.write_all_at(bytes, offset)
    }

    /// Copies within the kernel up to `len` bytes from `from.1` to `to.1`; how many it did.
    pub(super) fn copy(&self, from: (&File, u64), to: (&File, u64), len: u64) -> io::Result<u64> {
        self.step(format_args!("copy"))?;
        let (mut read, mut written) = (from.1, to.1);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (read, written) = (Some(&mut read), Some(&mut written));
        match rustix::fs::copy_file_range(from.0, read, to.0, written, len) {
            // Two file systems, or one that cannot: not an error, it must be done by hand.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                Ok(0)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(0),
            done => Ok(done? as u64),
        }
    }

    /// Gives the file its length: gaps at its end were never written.
    pub(super) fn set_len(&self, file: &File, len: u64) -> io::Result<()> {
        self.step(format_args!("set length"))?;
        if file.metadata()?.len() == len { Ok(()) } else { file.set_len(len) }
    }

    /// Waits until the file, or the directory's list of names, is on the disk.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.step(format_args!("sync {}", Kind(file)))?;
        file.sync_all()
    }

    /// Gives another name within one directory.
    pub(super) fn rename(
        &self,
        dir: &File,
        from: &OsStr,
        to: &OsStr,
        replace: Replace,
    ) -> io::Result<()> {
        self.step(format_args!("rename {} to {}", Name(from), Name(to)))?;
        if replace == Replace::No {
            match rustix::fs::renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
                // Not every file system can promise it; it was checked at the start.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
                done => return Ok(done?),
            }
        }
        Ok(rustix::fs::renameat(dir, from, dir, to)?)
    }

    /// Exchanges two names of one directory, at once.
    pub(super) fn exchange(&self, dir: &File, a: &OsStr, b: &OsStr) -> io::Result<()> {
        self.step(format_args!("exchange {} and {}", Name(a), Name(b)))?;
        Ok(rustix::fs::renameat_with(dir, a, dir, b, RenameFlags::EXCHANGE)?)
    }

    /// Removes an old file.
    pub(super) fn remove(&self, dir: &File, name: &OsStr) -> io::Result<()> {
        self.step(format_args!("remove {}", Name(name)))?;
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            done => Ok(done?),
        }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "tests fail here")]
    fn step(&self, _: fmt::Arguments<'_>) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self, what: fmt::Arguments<'_>) -> io::Result<()> {
        self.plan.as_ref().map_or(Ok(()), |plan| plan.step(what))
    }
}

/// A name as a test's record of the calls has it: of a temporary one, that it is.
struct Name<'a>(&'a OsStr);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_string_lossy().strip_prefix('.').and_then(|name| name.split('.').next()) {
            Some(name) => write!(f, "temporary {name}"),
            None => write!(f, "{}", self.0.display()),
        }
    }
}

/// What a handle is of.
struct Kind<'a>(&'a File);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_dir = self.0.metadata().is_ok_and(|metadata| metadata.is_dir());
        f.write_str(if is_dir { "directory" } else { "file" })
    }
}

/// Failing at will, as SQLite's tests do: <https://sqlite.org/testing.html>, section 3.2.
#[cfg(test)]
pub(super) mod plan {
    use std::sync::{Mutex, PoisonError};
    use std::{fmt, io};

    use rustix::io::Errno;

    #[derive(Debug)]
    pub(in crate::store) struct Plan {
        at: u64,
        errno: Errno,
        asked: Mutex<Vec<String>>,
    }

    impl Plan {
        /// The operation `at`, counted from 0, fails with `errno`.
        pub(in crate::store) fn new(at: u64, errno: Errno) -> Self {
            Self { at, errno, asked: Mutex::default() }
        }

        /// How many operations were asked for.
        pub(in crate::store) fn count(&self) -> u64 {
            self.asked().len() as u64
        }

        /// What was asked for, in order.
        pub(in crate::store) fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        pub(super) fn step(&self, what: fmt::Arguments<'_>) -> io::Result<()> {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let now = asked.len() as u64;
            asked.push(what.to_string());
            if now == self.at { Err(self.errno.into()) } else { Ok(()) }
        }
    }
}
