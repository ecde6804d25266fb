//! What stands under a safetensors name, and is something else.

use wire::{Error, ReadAt, Result};

/// First bytes, and what begins with them.
const SIGNATURES: &[(&[u8], &str)] = &[
    // https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
    (
        b"version https://git-lfs",
        "a Git LFS pointer: it stands for the file; fetch that with `git lfs pull`",
    ),
    (b"PK\x03\x04", "a zip archive, as PyTorch's checkpoints are: read it as one, or unpack it"),
    (b"\x1f\x8b", "compressed with gzip: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: decompress it first"),
    (b"\xfd7zXZ\0", "compressed with xz: decompress it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"GGUF", "a GGUF file: read it as one"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file: read it as one"),
    (b"\x93NUMPY", "a NumPy array: read it as one"),
    (b"\x80\x02", "a pickle, as PyTorch's older checkpoints are: read it as one"),
];

/// As many bytes as it takes to recognise one of them.
const HEAD_MAX: u64 = 64;

/// `error`, or in its place what the file is, where it is plainly no safetensors file.
pub(crate) fn or_foreign(source: &dyn ReadAt, error: Error) -> Error {
    match head(source).map(|head| name_of(&head)) {
        Ok(Some(what)) => Error::invalid(0, "file", format!("not a safetensors file, but {what}")),
        _ => error,
    }
}

fn head(source: &dyn ReadAt) -> Result<Vec<u8>> {
    let len = source.size().min(HEAD_MAX);
    wire::Cursor::new(source).bytes(len, HEAD_MAX, "first bytes", "first bytes")
}

fn name_of(head: &[u8]) -> Option<&'static str> {
    let text = head.trim_ascii_start();
    let is = |start: &str| {
        text.get(..start.len()).is_some_and(|t| t.eq_ignore_ascii_case(start.as_bytes()))
    };
    if is("<!doctype html") || is("<html") || is("<head") {
        return Some("an HTML page: a download went wrong, or wants a login");
    }
    SIGNATURES.iter().find(|(magic, _)| head.starts_with(magic)).map(|&(_, name)| name)
}
