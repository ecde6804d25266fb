//! What the tests of the format crates share: fixtures, the words of refusals, the hostile corpus.
//!
//! No part of the program: crates name it under `[dev-dependencies]`.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that has no fixtures is to fail")]

use std::path::{Path, PathBuf};

use wire::{Error, Result};

/// A place below `fixtures/`.
pub fn fixtures(place: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(place)
}

/// The files of a folder with this extension, sorted.
pub fn files(folder: impl AsRef<Path>, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

/// A folder of files that this project did not write; nothing, with a word, where it is absent.
pub fn corpus(place: impl AsRef<Path>) -> Option<PathBuf> {
    let corpora = std::env::var_os("REMOLD_CORPORA").map(PathBuf::from);
    let corpora = corpora.unwrap_or_else(|| fixtures("../../shared/corpora"));
    let folder = corpora.join(place);
    if !folder.exists() {
        eprintln!("not run: {} is absent (set REMOLD_CORPORA)", folder.display());
        return None;
    }
    Some(folder)
}

/// Holds that each file of `fixtures/bad/FORMAT` gives the message beside it, and says how many
/// there are; with `BLESS=1` the messages are written anew.
///
/// # Panics
/// For a file that `read` accepts, or refuses in other words.
pub fn refusals<T>(format: &str, extension: &str, read: impl Fn(&[u8]) -> Result<T>) -> usize {
    let files = files(fixtures("bad").join(format), extension);
    for file in &files {
        let Err(error) = read(&std::fs::read(file).unwrap()) else {
            panic!("{} was read", file.display());
        };
        let beside = file.with_extension("message");
        let message = worded(&error);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&beside, &message).unwrap();
        }
        assert_eq!(message, std::fs::read_to_string(&beside).unwrap(), "{}", file.display());
    }
    files.len()
}

/// A refusal as the files beside the fixtures have it: whose fault it is, and the words.
fn worded(error: &Error) -> String {
    format!("{:?}: {error}\n", error.class())
}
