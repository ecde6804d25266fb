//! SHA-256, by which manifests and journals tell one content from another.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::ir::{Blob, Result};

use super::temp;

/// Bytes of a file that are read at a time.
const BUFFER_BYTES: u64 = 1 << 20;

/// A SHA-256 (FIPS 180-4); shown as hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of bytes in memory, one piece after another.
    pub fn of<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Self {
        let mut hasher = Sha256::new();
        pieces.into_iter().for_each(|piece| hasher.update(piece));
        Self(hasher.finalize().into())
    }

    /// Its beginning, by which temporary files of one purpose know each other.
    pub(super) fn mark(&self) -> String {
        self.to_string()[..temp::MARK_DIGITS].to_owned()
    }

    /// Of all bytes of a file.
    ///
    /// # Errors
    /// Io, naming the file.
    pub fn of_blob(blob: &Blob) -> Result<Self> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; BUFFER_BYTES.min(blob.size()) as usize];
        let mut at = 0;
        while at < blob.size() {
            let len = BUFFER_BYTES.min(blob.size() - at);
            let piece = &mut buffer[..len as usize];
            blob.read(at, piece)?;
            hasher.update(&*piece);
            at += len;
        }
        Ok(Self(hasher.finalize().into()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The standard's own examples, whatever the pieces.
    #[test]
    fn digests_are_those_of_the_standard() {
        let long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        let examples = [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (long, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
        ];
        for (text, digest) in examples {
            let (head, tail) = text.as_bytes().split_at(text.len() / 3);
            assert_eq!(Digest::of([head, tail]).to_string(), digest);
            let blob = Blob::memory("text", text.into());
            assert_eq!(Digest::of_blob(&blob).unwrap().to_string(), digest);
        }
    }
}
