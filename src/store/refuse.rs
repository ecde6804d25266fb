//! What is refused before a byte is written, because it would fail or do harm at the end.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, AtFlags};

use crate::ir::{Blob, Error, Result};

use super::failed;
use super::sink::{FileSet, Parent, Target};

/// The directory, opened, if files can be made in it.
pub(super) fn unless_writable(directory: &Path) -> Result<File> {
    let fail = |error: io::Error| failed(directory.display(), error);
    let handle = File::options()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK)
        .open(directory)
        .map_err(fail)?;
    let access = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(&handle, ".", access, AtFlags::EACCESS).map_err(|e| fail(e.into()))?;
    Ok(handle)
}

/// The mode of the file at `path`, if there is one that may be replaced.
pub(super) fn unless_free(path: &Path, target: &Target) -> Result<Option<u32>> {
    unless_of_the_system(path)?;
    // The name itself, and what it leads to: a link is replaced, but one to a directory or to a
    // pipe was hardly meant so.
    let Some(named) = look(path, fs::symlink_metadata(path))? else { return Ok(None) };
    let Some(meta) = look(path, fs::metadata(path))? else {
        return unless_asked(path, target).map(|()| None);
    };
    if !meta.is_file() {
        let kind = if meta.is_dir() { "a directory" } else { "not a regular file" };
        return Err(Error::io(format!("{kind}, but the output is a file")).at(path.display()));
    }
    unless_read(path, &meta, &target.inputs)?;
    unless_asked(path, target)?;
    Ok((!named.is_symlink()).then(|| meta.permissions().mode() & 0o777))
}

/// Refuses a name that is, or leads to, one of the system's: `/dev/stdout` and links to
/// `/proc/self/fd/1` look like regular files where standard output is one, and to replace them
/// would take them from everybody.
fn unless_of_the_system(path: &Path) -> Result<()> {
    let mut at = path.to_owned();
    for _ in 0..LINKS_MAX {
        let parent = at.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).canonicalize();
        // Whether there is such a directory is asked elsewhere, with a better message.
        let Ok(parent) = parent else { return Ok(()) };
        let is_memory = parent.starts_with("/dev/shm");
        if ["/dev", "/proc", "/sys"].iter().any(|root| parent.starts_with(root)) && !is_memory {
            let text = "it leads to what is no file of a directory; name a file";
            return Err(Error::io(text).at(path.display()));
        }
        match fs::read_link(&at) {
            Ok(next) => at = parent.join(next),
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Links to links that are followed, as many as the system follows.
const LINKS_MAX: usize = 40;

fn unless_asked(path: &Path, target: &Target) -> Result<()> {
    if target.overwrite {
        return Ok(());
    }
    Err(Error::usage("it exists already; --overwrite replaces it").at(path.display()))
}

fn unless_read(path: &Path, meta: &Metadata, inputs: &[std::sync::Arc<Blob>]) -> Result<()> {
    let same = |blob: &&std::sync::Arc<Blob>| blob.identity() == Some((meta.dev(), meta.ino()));
    match inputs.iter().find(same) {
        None => Ok(()),
        Some(input) => {
            let found = format!("the same file as the input {}", input.name());
            Err(Error::usage(format!("{found}; choose another output")).at(path.display()))
        }
    }
}

/// What is at the path of an output directory.
pub(super) enum Existing {
    Nothing,
    Empty(u32),
    /// The mode, and the files of a model with their modes, all of which may be replaced.
    Model(u32, Vec<(std::ffi::OsString, u32)>),
}

/// What is at the path of an output directory, if it may be replaced.
pub(super) fn unless_free_directory(path: &Path, target: &Target) -> Result<Existing> {
    let Some(meta) = look(path, fs::symlink_metadata(path))? else { return Ok(Existing::Nothing) };
    if !meta.is_dir() {
        let found = if meta.is_symlink() { "a symbolic link" } else { "not a directory" };
        let found = format!("{found}, but the output is a directory");
        return Err(Error::io(format!("{found}; name one, or a new name")).at(path.display()));
    }
    let mode = meta.permissions().mode() & 0o777;
    let fail = |error: io::Error| failed(path.display(), error);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let meta = entry.metadata().map_err(fail)?;
        if !meta.is_file() || !belongs_to_a_model(&entry.file_name().to_string_lossy()) {
            let found = "it is not a file of a model, and would be lost with the directory";
            return Err(
                Error::usage(format!("{found}; choose another output")).at(entry.path().display())
            );
        }
        unless_read(&entry.path(), &meta, &target.inputs)?;
        files.push((entry.file_name(), meta.permissions().mode() & 0o777));
    }
    if files.is_empty() {
        return Ok(Existing::Empty(mode));
    }
    unless_asked(path, target)?;
    files.sort();
    Ok(Existing::Model(mode, files))
}

/// What repositories of models hold beside each other, and nothing that a person would keep
/// elsewhere: sources, archives, pictures.
fn belongs_to_a_model(name: &str) -> bool {
    const NAMES: &[&str] =
        &[".gitattributes", "LICENSE", "NOTICE", "README", "USE_POLICY", "checkpoint"];
    const EXTENSIONS: &[&str] = &[
        "safetensors",
        "bin",
        "json",
        "jsonl",
        "txt",
        "model",
        "jinja",
        "md",
        "gguf",
        "npz",
        "npy",
        "h5",
        "msgpack",
        "index",
        "onnx",
        "onnx_data",
        "tiktoken",
    ];
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let is_one_of = |extension: &str| {
        // A checkpoint of TensorFlow's: model.ckpt.data-00000-of-00001.
        EXTENSIONS.contains(&extension) || extension.starts_with("data-")
    };
    NAMES.contains(&name) || extension.is_some_and(is_one_of)
}

/// Compares what will be written with what is free. Advice only, as others write too; that the
/// space is really there is known once it is reserved.
pub(super) fn unless_space(parent: &Parent, set: &FileSet<'_>) -> Result<()> {
    let Ok(disk) = rustix::fs::fstatvfs(&parent.handle) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let need = set.files.iter().fold(0u64, |sum, (_, len)| sum.saturating_add(*len));
    // Some network file systems report no size at all.
    if disk.f_blocks == 0 || need <= free {
        return Ok(());
    }
    let found = format!("no space left: the output needs {need} bytes, {free} are free");
    Err(Error::io(found).at(parent.path.display()))
}

/// What is at `path`, nothing if nothing is.
fn look(path: &Path, found: io::Result<Metadata>) -> Result<Option<Metadata>> {
    match found {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path.display(), error)),
    }
}
