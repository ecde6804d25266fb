//! What a run that was ended had finished already, so that another one goes on from there.
//!
//! ```text
//!  .<name>.<mark>.partial     the unfinished file or directory, as in any run
//!  .<name>.<mark>.journal     remold journal 1 <digest of everything that the bytes follow from>
//!                             <file> <offset> <len> <CRC-32> <what was lost> … <CRC-32 of the line>
//! ```
//!
//! The mark is the beginning of the digest, so a run finds only what a run of the same version,
//! with the same options and from the same source, has left. Nothing waits for the disk: what a
//! line says is believed only after its bytes have been read again and have its sum. So after a
//! power failure too, what is not there is made anew.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ir::{Error, Result, Tally};

use super::ops::Ops;
use super::sink::Parent;
use super::{Digest, failed, temp};

/// Bytes of a journal: a hundred for each of ten million tensors.
const JOURNAL_MAX: u64 = 1 << 30;

/// A piece of the output that has been written whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The number of its file.
    pub file: usize,
    /// Where it begins.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// The CRC-32 of its bytes.
    pub sum: u32,
    /// Their CRC-32C, if the output states that; else 0.
    pub crc32c: u32,
    /// What it lost on its way.
    pub tally: Tally,
}

/// The list of what is finished: what a run before this one has left, and where this one adds.
pub struct Journal {
    file: Mutex<File>,
    shown: String,
    name: OsString,
    finished: Vec<Finished>,
    is_fresh: bool,
    ops: Arc<Ops>,
}

impl Journal {
    /// The journal of this digest for the name that `parent` is to hold, made if there is none.
    ///
    /// # Errors
    /// Io if it cannot be read or made, or if another run is writing it.
    pub(super) fn open(parent: &Parent, digest: &Digest, ops: &Arc<Ops>) -> Result<Self> {
        let name = temp::journal_for(&parent.name, &digest.mark());
        let shown = parent.path.join(&name).display().to_string();
        let fail = |error| failed(&shown, error);
        let old = reopen(&parent.handle, &name, &parent.path, ops)?;
        let mut file = match old {
            Some(file) => file,
            None => ops.create(&parent.handle, &name, Some(0o600)).map_err(fail)?,
        };
        if !temp::lock(&file) {
            let text = "another run with --resume is making this output";
            return Err(Error::io(text).at(&shown));
        }
        let mut text = Vec::new();
        let read = (&mut file).take(JOURNAL_MAX).read_to_end(&mut text);
        read.map_err(fail)?;
        let header = format!("remold journal 1 {digest}\n");
        let (finished, good) = match text.strip_prefix(header.as_bytes()) {
            Some(lines) => {
                let (finished, good) = parse(lines);
                (Some(finished), header.len() + good)
            }
            None => (None, 0),
        };
        // Half a line, and whatever is after it, was never meant.
        ops.set_len(&file, good as u64).map_err(fail)?;
        let is_fresh = finished.is_none();
        if is_fresh {
            ops.write_at(&file, 0, header.as_bytes()).map_err(fail)?;
        }
        let finished = finished.unwrap_or_default();
        let (file, ops) = (Mutex::new(file), Arc::clone(ops));
        Ok(Self { file, shown, name, finished, is_fresh, ops })
    }

    /// Whether nothing is known of what lies in the unfinished files.
    pub(super) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Forgets what cannot be found in the files again.
    pub(super) fn verify(&mut self, is_there: impl Fn(&Finished) -> bool + Sync) {
        use rayon::prelude::*;
        let finished = std::mem::take(&mut self.finished);
        self.finished = finished.into_par_iter().filter(|piece| is_there(piece)).collect();
    }

    /// What a run before this one has finished.
    pub fn finished(&self) -> &[Finished] {
        &self.finished
    }

    /// Adds a piece that has been written.
    ///
    /// # Errors
    /// Io.
    pub fn add(&self, piece: &Finished) -> Result<()> {
        let line = line(piece);
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let end = file.metadata().map_err(|error| failed(&self.shown, error))?.len();
        self.ops.write_at(&file, end, line.as_bytes()).map_err(|error| failed(&self.shown, error))
    }

    /// Removes the journal: the output is whole, or never will be.
    pub(super) fn remove(&self, parent: &Parent) {
        let _ = self.ops.remove(&parent.handle, &self.name);
    }
}

/// A file of ours that a run before this one may have left. Its name can be foretold, so it is
/// not taken from anybody else.
///
/// # Errors
/// Io if it is not a plain file of this user.
pub(super) fn reopen(dir: &File, name: &OsStr, at: &Path, ops: &Ops) -> Result<Option<File>> {
    use std::os::unix::fs::MetadataExt;
    let path = at.join(name);
    let fail = |error| failed(path.display(), error);
    let Some(file) = ops.reopen(dir, name).map_err(fail)? else { return Ok(None) };
    let meta = file.metadata().map_err(fail)?;
    let is_ours = meta.uid() == rustix::process::geteuid().as_raw();
    if is_ours && (meta.is_dir() || meta.is_file() && meta.nlink() == 1) {
        return Ok(Some(file));
    }
    let text = "it has the name of an unfinished output, but is not of this user's making";
    Err(Error::io(format!("{text}; remove it, or leave out --resume")).at(path.display()))
}

fn line(piece: &Finished) -> String {
    let Finished { file, offset, len, sum, crc32c, tally } = piece;
    let first = |at: Option<u64>| at.map_or("-".into(), |at| at.to_string());
    let text = format!(
        "{file} {offset} {len} {sum:08x} {crc32c:08x} {} {} {} {} {} {}",
        tally.overflowed,
        first(tally.first_overflowed),
        tally.nonfinite,
        first(tally.first_nonfinite),
        tally.flushed,
        tally.clamped,
    );
    format!("{text} {:08x}\n", sum_of(text.as_bytes()))
}

fn sum_of(bytes: &[u8]) -> u32 {
    let mut sum = zip::Crc32::default();
    sum.update(bytes);
    sum.value()
}

/// The pieces, and how many bytes of the text tell of them: all up to the first line at fault.
fn parse(text: &[u8]) -> (Vec<Finished>, usize) {
    let (mut pieces, mut good) = (Vec::new(), 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let Some(piece) = std::str::from_utf8(line).ok().and_then(piece) else { break };
        pieces.push(piece);
        good += line.len();
    }
    (pieces, good)
}

fn piece(line: &str) -> Option<Finished> {
    let (text, sum) = line.strip_suffix('\n')?.rsplit_once(' ')?;
    if sum != format!("{:08x}", sum_of(text.as_bytes())) {
        return None;
    }
    let words: Vec<&str> = text.split(' ').collect();
    let [
        file,
        offset,
        len,
        sum,
        crc32c,
        overflowed,
        first_overflowed,
        nonfinite,
        first_nonfinite,
        flushed,
        clamped,
    ] = words[..]
    else {
        return None;
    };
    let number = |word: &str| word.parse::<u64>().ok();
    let first = |word: &str| if word == "-" { Some(None) } else { number(word).map(Some) };
    let tally = Tally {
        overflowed: number(overflowed)?,
        first_overflowed: first(first_overflowed)?,
        nonfinite: number(nonfinite)?,
        first_nonfinite: first(first_nonfinite)?,
        flushed: number(flushed)?,
        clamped: number(clamped)?,
    };
    let file = file.parse().ok()?;
    let (offset, len) = (number(offset)?, number(len)?);
    let hex = |word| u32::from_str_radix(word, 16).ok();
    Some(Finished { file, offset, len, sum: hex(sum)?, crc32c: hex(crc32c)?, tally })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(file: usize) -> Finished {
        let tally = Tally { overflowed: 2, first_overflowed: Some(9), ..Tally::default() };
        Finished { file, offset: 1 << 40, len: 77, sum: 0xbeef, crc32c: 0xfeed, tally }
    }

    #[test]
    fn a_journal_is_read_up_to_its_first_fault() {
        let text: String = (0..3).map(|file| line(&example(file))).collect();
        let whole: Vec<Finished> = (0..3).map(example).collect();
        assert_eq!(parse(text.as_bytes()), (whole.clone(), text.len()));
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        for len in 0..text.len() {
            let lines = ends.iter().filter(|end| **end <= len).count();
            let good = lines.checked_sub(1).map_or(0, |last| ends[last]);
            assert_eq!(parse(&text.as_bytes()[..len]), (whole[..lines].to_vec(), good));
        }
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (pieces, good) = parse(&bytes);
            assert!(good <= bit / 8, "bit {bit} changed nothing");
            assert_eq!(pieces, whole[..pieces.len()]);
        }
    }
}
