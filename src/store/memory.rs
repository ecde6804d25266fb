//! A source and a sink in memory, for the tests of readers and writers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ir::{Blob, Result};

use super::{FileSet, Place, Sink, Source};

/// Files in memory. The first one is the entry.
pub struct MemorySource {
    files: Vec<(String, Arc<Blob>)>,
}

impl MemorySource {
    /// These files, by name.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let blob = |(name, bytes): (String, Vec<u8>)| {
            let blob = Arc::new(Blob::memory(name.clone(), bytes));
            (name, blob)
        };
        Self { files: files.into_iter().map(blob).collect() }
    }
}

impl Source for MemorySource {
    fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.files.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        Ok(names)
    }

    fn find(&self, name: &str) -> Result<Option<Arc<Blob>>> {
        Ok(self.files.iter().find(|(n, _)| n == name).map(|(_, blob)| Arc::clone(blob)))
    }

    fn label(&self) -> String {
        "memory".into()
    }

    fn entry(&self) -> Option<&str> {
        self.files.first().map(|(name, _)| name.as_str())
    }

    fn root(&self) -> Option<&Path> {
        None
    }
}

/// What a [`MemorySink`] was given, once committed: files by name.
pub type Written = Arc<Mutex<Option<BTreeMap<String, Vec<u8>>>>>;

/// Files made in memory.
#[derive(Default)]
pub struct MemorySink {
    files: Vec<(String, Arc<Buffer>)>,
    written: Written,
}

impl MemorySink {
    /// Where the files will be after [`Sink::commit`]; until then, nothing.
    pub fn written(&self) -> Written {
        Arc::clone(&self.written)
    }
}

impl Sink for MemorySink {
    fn create(&mut self, set: &FileSet<'_>) -> Result<Vec<Arc<dyn Place>>> {
        for (name, len) in set.files {
            let buffer = Buffer(Mutex::new(vec![0; *len as usize]));
            self.files.push(((*name).to_owned(), Arc::new(buffer)));
        }
        Ok(self.files.iter().map(|(_, buffer)| Arc::clone(buffer) as Arc<dyn Place>).collect())
    }

    fn discard(self: Box<Self>) {}

    fn commit(self: Box<Self>) -> Result<()> {
        let bytes = |buffer: &Buffer| {
            std::mem::take(&mut *buffer.0.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let files = self.files.iter().map(|(name, buffer)| (name.clone(), bytes(buffer)));
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        *written = Some(files.collect());
        Ok(())
    }
}

struct Buffer(Mutex<Vec<u8>>);

impl Place for Buffer {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = offset as usize;
        buffer[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn copy_from(&self, _: &Blob, _: u64, _: u64, _: u64) -> Result<u64> {
        Ok(0)
    }
}
