//! Everything that the bytes of an output follow from, as one digest: only a run that has the
//! same may go on where another one was ended.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::ir::{Blob, Error, Result};
use crate::store::Digest;
use crate::write::{Layout, Part};

/// Bytes of each source file that are looked at: more than any header of a format has, but for a
/// vocabulary's, which the layout repeats.
const HEAD_BYTES: u64 = 1 << 20;

/// The digest of a plan, of the files that it reads, and of the options that neither says.
///
/// Of the weights not every byte is read again, which would take as long as the conversion: a
/// file is the same if its place, its size, both its times and its head are. Whatever writes to a
/// file or puts another in its place changes one of them.
///
/// # Errors
/// Io from reading the heads.
pub(super) fn fingerprint(layout: &Layout, options: &str) -> Result<Digest> {
    let mut text = format!("remold {}\n{options}\n{layout}\n", env!("CARGO_PKG_VERSION"));
    for blob in layout.blobs() {
        text.push_str(&stamp(&blob)?);
    }
    let headers = layout.files.iter().flat_map(|file| &file.parts);
    let headers = headers.filter_map(|(_, part)| match part {
        Part::Bytes(bytes) => Some(&bytes[..]),
        _ => None,
    });
    Ok(Digest::of([text.as_bytes()].into_iter().chain(headers)))
}

fn stamp(blob: &Arc<Blob>) -> Result<String> {
    let name = blob.name();
    let Some(file) = blob.file() else {
        return Ok(format!("{name} {}\n", Digest::of_blob(blob)?));
    };
    let meta = file.metadata().map_err(|error| Error::io(error.to_string()).at(name))?;
    let mut head = vec![0; meta.len().min(blob.size()).min(HEAD_BYTES) as usize];
    blob.read(0, &mut head)?;
    Ok(format!(
        "{name} {} {} {} {}.{} {}.{} {}\n",
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
        Digest::of([&*head]),
    ))
}
