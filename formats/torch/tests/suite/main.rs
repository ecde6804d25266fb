//! One test binary: golden tensors, refusals with their messages, damage, hostile files, and
//! pickles made by hand.

mod build;
mod damage;
mod export;
mod golden;
mod hostile;
mod machine;
mod plan;
mod refusals;
mod tar;
mod today;

use std::path::{Path, PathBuf};

use torch::{Checkpoint, Options};

fn read(bytes: &[u8]) -> wire::Result<Checkpoint> {
    torch::read(&bytes.to_vec(), &Options::default())
}

/// The files below `folder` whose names end so, sorted.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
