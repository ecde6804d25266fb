//! A named piece of bytes: a file, mapped or read at offsets, or a buffer made by us.
//!
//! Commands that copy weights read files at offsets; commands that run a model map them, so that
//! weights are used where they lie. Mapping is the one thing in this file that needs `unsafe`.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use memmap2::Mmap;

use super::error::escape;
use super::{Error, Result};

/// How a file's bytes are to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read at offsets into buffers. Survives a file that shrinks, with an error.
    Read,
    /// Mapped into memory.
    Map,
}

/// A named piece of bytes that can be read at any offset, by several threads at once.
pub struct Blob {
    name: String,
    size: u64,
    store: Store,
}

enum Store {
    File(File, Stamp),
    Map(File, Stamp, Mmap),
    Memory(Vec<u8>),
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        Ok(Self { device: meta.dev(), inode: meta.ino(), size: meta.len(), modified })
    }
}

impl Blob {
    /// Opens a regular file; anything else (a pipe, a device, a directory) is refused unopened
    /// or unread.
    ///
    /// # Errors
    /// Io if the file cannot be opened; Malformed if it is not a regular file.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let name = text(path.as_os_str());
        let failed = |error: io::Error| Error::io(error.to_string()).at(&name);
        // Opening a pipe would wait for a writer.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            let found = "not a regular file: pipes, devices and directories are not read";
            return Err(Error::malformed(found).at(&name));
        }
        let stamp = Stamp::of(&file).map_err(failed)?;
        let store = match access {
            Access::Map if stamp.size > 0 => Store::map_or_read(file, stamp).map_err(failed)?,
            _ => Store::File(file, stamp),
        };
        Ok(Self { name, size: stamp.size, store })
    }

    /// Bytes that this program made, under a name for messages.
    pub fn memory(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), size: bytes.len() as u64, store: Store::Memory(bytes) }
    }

    /// The path or name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes from `start`, if they lie in memory already.
    pub fn slice(&self, start: u64, len: u64) -> Option<&[u8]> {
        let bytes: &[u8] = match &self.store {
            Store::File(..) => return None,
            Store::Map(_, _, map) => map,
            Store::Memory(bytes) => bytes,
        };
        let start = usize::try_from(start).ok()?;
        bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }

    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// Io, naming the file.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        wire::ReadAt::read_at(self, offset, into).map_err(|error| {
            let reason = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the file became shorter while it was read".into(),
                _ => error.to_string(),
            };
            Error::io(format!("{}: byte {offset:#x}: {reason}", self.name))
        })
    }

    /// All bytes, at most `max` of them.
    ///
    /// # Errors
    /// Limit above `max`; Io.
    pub fn read_all(&self, max: u64) -> Result<Vec<u8>> {
        if self.size > max {
            let found = format!("{} bytes, expected at most {max} for such a file", self.size);
            return Err(Error::above("side-file", found).at(&self.name));
        }
        let mut bytes = vec![0; self.size as usize];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }

    /// The device and inode of the file, if it is one.
    pub fn identity(&self) -> Option<(u64, u64)> {
        match &self.store {
            Store::File(_, stamp) | Store::Map(_, stamp, _) => Some((stamp.device, stamp.inode)),
            Store::Memory(_) => None,
        }
    }

    /// The file, for calls of the system that copy between files.
    pub fn file(&self) -> Option<&File> {
        match &self.store {
            Store::File(file, _) | Store::Map(file, _, _) => Some(file),
            Store::Memory(_) => None,
        }
    }

    /// Checks that the file is still as it was when opened.
    ///
    /// # Errors
    /// Io if its size or time of change differs: what was read may be of two files.
    pub fn check_unchanged(&self) -> Result<()> {
        let (Store::File(file, then) | Store::Map(file, then, _)) = &self.store else {
            return Ok(());
        };
        let now = Stamp::of(file).map_err(|error| Error::io(error.to_string()).at(&self.name))?;
        if now == *then {
            return Ok(());
        }
        Err(Error::io("the file was changed while it was read; run again").at(&self.name))
    }
}

impl Store {
    /// Maps the file, or reads it where there is no room for a map.
    fn map_or_read(file: File, stamp: Stamp) -> io::Result<Self> {
        let again = file.try_clone()?;
        match Self::map(file, stamp) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                Ok(Self::File(again, stamp))
            }
            mapped => mapped,
        }
    }

    #[allow(unsafe_code, reason = "mapping a file has no safe form")]
    fn map(file: File, stamp: Stamp) -> io::Result<Self> {
        // SAFETY: the map is only read, and lives no longer than the file it keeps open. Another
        // process may change or truncate the file: changed bytes are read through integers and
        // floats, for which every bit pattern is valid; truncation raises SIGBUS, for which the
        // program installs a handler that ends it with a message (`cli::signals`).
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self::Map(file, stamp, map))
    }
}

impl wire::ReadAt for Blob {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match &self.store {
            Store::File(file, _) | Store::Map(file, _, _) => file.read_exact_at(into, offset),
            Store::Memory(bytes) => bytes.read_at(offset, into),
        }
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&escape(&self.name))
    }
}

/// A name as text: bytes that are not UTF-8 become `\xff`.
pub fn text(name: &OsStr) -> String {
    let mut out = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}
