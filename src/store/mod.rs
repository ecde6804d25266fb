//! Where bytes come from and go to: the only modules that touch the file system.
//!
//! A [`Source`] hands out the files of one model, and never one from outside of it. A [`Sink`]
//! makes an output that appears whole or not at all.

mod contain;
mod digest;
mod directory;
mod journal;
mod memory;
mod ops;
mod recheck;
mod refuse;
pub mod sink;
pub mod source;
pub mod temp;

pub use digest::Digest;
pub use journal::{Finished, Journal};
pub use memory::{MemorySink, MemorySource, Written};
pub use recheck::Recheck;
pub use sink::{
    FileSet, FileSink, Place, Sink, Target, is_same_name, refuse_early, write_file, write_to,
};
pub use source::{Files, Source};

use std::io;

use rustix::io::Errno;

use crate::ir::Error;

/// The error of a call of the system about `path`. A full disk, a used-up quota and a limit on
/// the size of files ask for the same remedy, so they read alike.
fn failed(path: impl std::fmt::Display, error: io::Error) -> Error {
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG];
    let is_full = full.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    let cause = if is_full { format!("no space left: {error}") } else { error.to_string() };
    Error::io(cause).at(path)
}

#[cfg(test)]
mod tests;
