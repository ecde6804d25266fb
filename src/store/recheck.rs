//! An output read back: made a second time, and compared with what the disk gives.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::Advice;

use crate::ir::{Blob, Error, Result};

use super::{FileSet, Place, Sink, failed};

/// Compares what would be written with the files that are there; writes nothing.
pub struct Recheck(Vec<PathBuf>);

impl Recheck {
    /// Of these files, in the order of the plan.
    pub fn new(files: Vec<PathBuf>) -> Self {
        Self(files)
    }
}

impl Sink for Recheck {
    fn create(&mut self, set: &FileSet<'_>) -> Result<Vec<Arc<dyn Place>>> {
        let open = |(path, (_, len)): (&PathBuf, &(&str, u64))| {
            let shown = path.display().to_string();
            let fail = |error| failed(&shown, error);
            let file = File::open(path).map_err(fail)?;
            let found = file.metadata().map_err(fail)?.len();
            if found != *len {
                let text = format!("it reads back as {found} bytes, but {len} were written");
                return Err(Error::io(text).at(shown));
            }
            // What the system still has in memory says nothing about the disk. Where it cannot
            // be told to forget, the comparison is of less worth, but not wrong.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
            Ok(Arc::new(ReadBack { file, shown }) as Arc<dyn Place>)
        };
        self.0.iter().zip(set.files).map(open).collect()
    }

    fn discard(self: Box<Self>) {}

    fn commit(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct ReadBack {
    file: File,
    shown: String,
}

impl Place for ReadBack {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut found = vec![0; bytes.len()];
        self.file.read_exact_at(&mut found, offset).map_err(|e| failed(&self.shown, e))?;
        match found.iter().zip(bytes).position(|(found, written)| found != written) {
            None => Ok(()),
            Some(at) => {
                let (at, found, written) = (offset + at as u64, found[at], bytes[at]);
                let text = format!("byte {at:#x} reads back as {found:#04x}, not {written:#04x}");
                Err(Error::io(format!("{text}; the disk or the memory is at fault"))
                    .at(&self.shown))
            }
        }
    }

    fn copy_from(&self, _: &Blob, _: u64, _: u64, _: u64) -> Result<u64> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Fault;

    #[test]
    fn what_reads_back_otherwise_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        std::fs::write(&path, "0123456789").unwrap();
        let create = |len| {
            let set = [("out", len)];
            Recheck::new(vec![path.clone()]).create(&FileSet { files: &set, entry: 0 })
        };
        let places = create(10).unwrap();
        places[0].write_at(2, b"2345").unwrap();
        let error = places[0].write_at(5, b"56x8").unwrap_err();
        assert_eq!(error.fault, Fault::Io);
        assert!(error.to_string().contains("byte 0x7 reads back as 0x37, not 0x78"), "{error}");
        let error = create(11).err().unwrap();
        assert!(error.to_string().contains("10 bytes, but 11 were written"), "{error}");
    }
}
