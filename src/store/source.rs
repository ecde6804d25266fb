//! Where a model is read from: one file with what lies beside it, or a directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ir::blob::text;
use crate::ir::{Access, Blob, Error, Result};

use super::{contain, failed};

/// The files of one model, by name. Names from inside of a file are safe to ask for: nothing
/// outside of the model is ever opened.
pub trait Source: Send + Sync {
    /// The names of the files that lie here, sorted. Directories are left out.
    ///
    /// # Errors
    /// Io if the directory cannot be read.
    fn names(&self) -> Result<Vec<String>>;

    /// The file of that name, if there is one. Opened once, however often it is asked for.
    ///
    /// # Errors
    /// Malformed if the name leads out of the model, or to something that is not a regular file;
    /// Io if the file cannot be opened.
    fn find(&self, name: &str) -> Result<Option<Arc<Blob>>>;

    /// What the user named, for messages.
    fn label(&self) -> String;

    /// The name of the file that the user named; nothing if they named a directory.
    fn entry(&self) -> Option<&str>;

    /// The directory that the names are relative to, if there is one.
    fn root(&self) -> Option<&Path>;

    /// The file of that name.
    ///
    /// # Errors
    /// As [`Self::find`], and Malformed if there is none: the model is not complete.
    fn open(&self, name: &str) -> Result<Arc<Blob>> {
        let missing = || Error::malformed(format!("'{name}' is missing")).at(self.label());
        self.find(name)?.ok_or_else(missing)
    }
}

/// A model in the file system.
///
/// A name that is not UTF-8 is known by a text in which each byte at fault is `\xff`; no name
/// from inside a file can be mistaken for one, because those may not hold a backslash.
pub struct Files {
    /// As the user wrote it.
    named: PathBuf,
    /// The directory, without links.
    root: PathBuf,
    entry: Option<(String, PathBuf)>,
    access: Access,
    opened: Mutex<BTreeMap<String, Arc<Blob>>>,
}

impl Files {
    /// The file or the directory at `path`, read or mapped.
    ///
    /// The user may name a link to anywhere; only names that files give are kept inside.
    ///
    /// # Errors
    /// Io if there is nothing at `path`.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let fail = |error: io::Error| failed(path.display(), error);
        let index = fs::metadata(path).is_err().then(|| index(path)).flatten();
        let path = index.as_deref().unwrap_or(path);
        let is_directory = fs::metadata(path).map_err(fail)?.is_dir();
        let beside = || match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = if is_directory { path } else { beside() };
        let root = directory.canonicalize().map_err(fail)?;
        let entry = path.file_name().filter(|_| !is_directory);
        let entry = entry.map(|name| (text(name), path.to_owned()));
        Ok(Self { named: path.to_owned(), root, entry, access, opened: Mutex::default() })
    }

    /// Every file that has been opened, by the path that it was asked for under; sorted by name.
    pub fn opened(&self) -> Vec<(PathBuf, Arc<Blob>)> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let path = |name: &String| match &self.entry {
            Some((entry, path)) if entry == name => path.clone(),
            _ => self.root.join(name),
        };
        opened.iter().map(|(name, blob)| (path(name), Arc::clone(blob))).collect()
    }

    fn locate(&self, name: &str) -> Result<Option<PathBuf>> {
        if let Some((_, path)) = self.entry.as_ref().filter(|(entry, _)| entry == name) {
            return Ok(Some(path.clone()));
        }
        let inside = |error: Error| error.at(self.label());
        if name.contains("\\x") {
            let all = self.list()?;
            if let Some(real) = all.iter().find(|real| text(real) == name) {
                return contain::resolve(&self.root, Path::new(real));
            }
        }
        let parts = contain::parts(name).map_err(inside)?;
        contain::resolve(&self.root, &parts.iter().collect::<PathBuf>())
    }

    fn list(&self) -> Result<Vec<OsString>> {
        let fail = |error: io::Error| failed(self.root.display(), error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if !entry.file_type().map_err(fail)?.is_dir() {
                names.push(entry.file_name());
            }
        }
        names.sort();
        Ok(names)
    }
}

impl Source for Files {
    fn names(&self) -> Result<Vec<String>> {
        Ok(self.list()?.iter().map(|name| text(name)).collect())
    }

    fn find(&self, name: &str) -> Result<Option<Arc<Blob>>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(blob) = opened.get(name) {
            return Ok(Some(Arc::clone(blob)));
        }
        let Some(path) = self.locate(name)? else { return Ok(None) };
        let blob = Arc::new(Blob::open(&path, self.access)?);
        opened.insert(name.to_owned(), Arc::clone(&blob));
        Ok(Some(blob))
    }

    fn label(&self) -> String {
        // `.` and `..` have no name, by which a model would be called; what they lead to has.
        let named = if self.named.file_name().is_some() { &self.named } else { &self.root };
        text(named.as_os_str())
    }

    fn entry(&self) -> Option<&str> {
        self.entry.as_ref().map(|(name, _)| name.as_str())
    }

    fn root(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

/// The index of the files whose names begin so: a checkpoint of TensorFlow is called by what its
/// files have in common, and no file has that name.
fn index(prefix: &Path) -> Option<PathBuf> {
    let mut name = prefix.file_name()?.to_owned();
    name.push(".index");
    Some(prefix.with_file_name(name)).filter(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::ir::Fault;

    #[test]
    fn a_file_has_its_siblings_and_a_directory_its_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        for name in ["b", "a", "sub/c"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let file = Files::open(&dir.path().join("a"), Access::Read).unwrap();
        let folder = Files::open(dir.path(), Access::Map).unwrap();
        assert_eq!((file.entry(), folder.entry()), (Some("a"), None));
        for source in [&file, &folder] {
            assert_eq!(source.names().unwrap(), ["a", "b"]);
            assert_eq!(source.open("b").unwrap().read_all(9).unwrap(), b"b");
            assert_eq!(source.open("sub/c").unwrap().read_all(9).unwrap(), b"sub/c");
            assert!(source.find("x").unwrap().is_none());
            let missing = source.open("x").unwrap_err();
            assert_eq!(missing.fault, Fault::Malformed);
            assert!(missing.to_string().contains("'x' is missing"), "{missing}");
            let (once, twice) = (source.open("a").unwrap(), source.open("a").unwrap());
            assert!(Arc::ptr_eq(&once, &twice));
        }
        let nothing = Files::open(&dir.path().join("x"), Access::Read).err().unwrap();
        assert_eq!(nothing.fault, Fault::Io);
    }

    #[test]
    fn what_files_have_in_common_leads_to_their_index() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("m.ckpt.index"), "i").unwrap();
        let named = Files::open(&dir.path().join("m.ckpt"), Access::Read).unwrap();
        assert_eq!(named.entry(), Some("m.ckpt.index"));
        assert_eq!(named.label(), dir.path().join("m.ckpt.index").display().to_string());
        fs::write(dir.path().join("m.ckpt"), "file").unwrap();
        let named = Files::open(&dir.path().join("m.ckpt"), Access::Read).unwrap();
        assert_eq!(named.entry(), Some("m.ckpt"));
        assert!(Files::open(&dir.path().join("m.ck"), Access::Read).is_err());
    }

    #[test]
    fn the_user_may_name_a_link_to_anywhere() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(there.path().join("m"), "m").unwrap();
        std::os::unix::fs::symlink(there.path().join("m"), here.path().join("link")).unwrap();
        let named = Files::open(&here.path().join("link"), Access::Read).unwrap();
        assert_eq!(named.open("link").unwrap().size(), 1);
        let listed = Files::open(here.path(), Access::Read).unwrap();
        assert_eq!(listed.open("link").unwrap_err().fault, Fault::Malformed);
    }

    #[test]
    fn names_that_are_not_utf8_work_and_are_shown_escaped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(OsStr::from_bytes(b"m\xff.gguf"));
        fs::write(&path, "m").unwrap();
        let file = Files::open(&path, Access::Read).unwrap();
        assert_eq!(file.entry(), Some("m\\xff.gguf"));
        assert_eq!(file.open("m\\xff.gguf").unwrap().size(), 1);
        let folder = Files::open(dir.path(), Access::Read).unwrap();
        assert_eq!(folder.names().unwrap(), ["m\\xff.gguf"]);
        assert_eq!(folder.open("m\\xff.gguf").unwrap().size(), 1);
        assert_eq!(folder.open("n\\xff").unwrap_err().fault, Fault::Malformed);
    }
}
