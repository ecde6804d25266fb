//! The one executor: a layout becomes bytes, by all workers, in bounded memory.
//!
//! ```text
//!  layout ──cut──▶ chunks 0 1 2 3 …      a worker claims the next, makes its bytes with its own
//!                         │ │ │          scratch, and writes them where they belong
//!                         ▼ ▼ ▼
//!       checksums ──▶ check inputs, losses ──▶ commit
//! ```
//!
//! Where a chunk lies, and what is in it, follows from the layout alone, so the output does not
//! depend on who made which one when. Chunks are claimed in order and a claimed one is finished,
//! so of several errors the first in the order of the file is reported, however many workers.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::ir::{Blob, Error, Fault, Result, Scratch, Tally, Tensor};
use crate::store::{FileSet, Finished, Journal, Place, Sink};

use super::layout::{Checksum, Layout, Part};
use super::progress::{Progress, Silent};
use super::sums::{PerKind, Sums};

/// Bytes of a copy that one worker does at a time: large enough that the calls cost nothing,
/// small enough that two workers end at about the same time.
const COPY_BYTES: u64 = 16 << 20;

/// Bytes that are read and written at a time where the kernel cannot copy.
const BUFFER_BYTES: u64 = 1 << 20;

/// Smaller chunks would cost more calls of the system than work.
const CHUNK_BYTES_MIN: u64 = 128 << 10;

/// How a layout is executed. No choice but `allow_nonfinite` changes what is written.
pub struct ExecuteOptions<'a> {
    /// The number of workers.
    pub threads: NonZeroUsize,
    /// Bytes of a chunk, of the larger of what is read and what is written.
    pub chunk_bytes: u64,
    /// Bytes of all buffers together. One chunk that needs more is made while no other is.
    pub memory_bytes: u64,
    /// Who is told how far it is.
    pub progress: &'a dyn Progress,
    /// NaN and infinities may meet a packing, which turns them into something else.
    pub allow_nonfinite: bool,
}

impl Default for ExecuteOptions<'_> {
    fn default() -> Self {
        Self {
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            // What is read and what is written fit in a core's second cache together.
            chunk_bytes: 512 << 10,
            memory_bytes: 128 << 20,
            progress: &Silent,
            allow_nonfinite: false,
        }
    }
}

/// Writes a layout and commits it; what each tensor lost on the way, in the layout's order.
///
/// # Errors
/// Loss if finite values would become infinite, or others than finite meet a packing; Io if an
/// input changes meanwhile; what recipes and the sink say. Nothing appears then.
pub fn execute(
    layout: &Layout,
    mut sink: Box<dyn Sink>,
    options: &ExecuteOptions<'_>,
) -> Result<Vec<(String, Tally)>> {
    layout.validate()?;
    let files: Vec<(&str, u64)> = layout.files.iter().map(|f| (&*f.name, f.len)).collect();
    let places = sink.create(&FileSet { files: &files, entry: layout.entry() })?;
    let run = Run::new(layout, places, sink.journal(), options);
    match made(run) {
        Ok(tallies) => {
            sink.commit()?;
            Ok(tallies)
        }
        // Another run would meet the same.
        Err(error) if error.fault != Fault::Io => {
            sink.discard();
            Err(error)
        }
        Err(error) => Err(error),
    }
}

fn made(run: Run<'_>) -> Result<Vec<(String, Tally)>> {
    let (layout, options) = (run.layout, run.options);
    options.progress.start(layout.total_bytes());
    let tallies = run.run();
    options.progress.finish();
    let tallies = tallies?;
    for blob in layout.blobs() {
        blob.check_unchanged()?;
    }
    refuse_losses(&tallies, options)?;
    Ok(tallies)
}

fn refuse_losses(tallies: &[(String, Tally)], options: &ExecuteOptions<'_>) -> Result<()> {
    let overflows = tallies.iter().filter(|(_, tally)| tally.overflowed > 0);
    if let Some((name, tally)) = overflows.clone().next() {
        let found = format!("{} finite values would become infinite", tally.overflowed);
        let first = tally.first_overflowed.unwrap_or(0);
        let others = others(overflows.count());
        let advice = "choose a type of wider range, such as bf16 or f32, or give --clamp";
        let found = format!("{found}, first element {first}{others}; {advice}");
        return Err(Error::loss(found).at(format_args!("tensor '{name}'")));
    }
    let nonfinite = tallies.iter().filter(|(_, tally)| tally.nonfinite > 0);
    if let Some((name, tally)) = nonfinite.clone().next().filter(|_| !options.allow_nonfinite) {
        let found = format!("{} values are NaN or infinite", tally.nonfinite);
        let first = tally.first_nonfinite.unwrap_or(0);
        let others = others(nonfinite.count());
        let advice = "a packing cannot hold them; --allow-nonfinite packs them nevertheless";
        let found = format!("{found}, first element {first}{others}; {advice}");
        return Err(Error::loss(found).at(format_args!("tensor '{name}'")));
    }
    Ok(())
}

fn others(count: usize) -> String {
    if count > 1 { format!(" (and {} other tensors)", count - 1) } else { String::new() }
}

/// One part of a file, cut into chunks.
struct Job<'a> {
    /// Which file, and where in it.
    file: usize,
    offset: u64,
    work: Work<'a>,
    /// The number of its first chunk among all.
    first: usize,
    /// The name of the tensor, for messages.
    name: Option<&'a str>,
    /// Which sums are taken of it.
    summed: PerKind<bool>,
    len: u64,
    /// Its chunks that are not written yet.
    left: AtomicU64,
}

enum Work<'a> {
    /// Another run has done it.
    Done,
    Bytes(&'a [u8]),
    Copy {
        blob: &'a Blob,
        start: u64,
        len: u64,
    },
    Make {
        tensor: &'a Tensor,
        per_chunk: u64,
        cost: u64,
    },
}

impl<'a> Work<'a> {
    fn of(part: &'a Part, chunk_bytes: u64) -> Self {
        match part {
            Part::Bytes(bytes) => Self::Bytes(bytes),
            Part::Copy(blob) => Self::span(blob, 0, blob.size()),
            Part::Slice(blob, at) => Self::span(blob, at.start, at.end - at.start),
            // Known when all else is written: see `Run::state_sums`.
            Part::Sum { .. } => Self::Bytes(&[]),
            Part::Tensor { tensor, .. } => match tensor.place() {
                Some((blob, start)) => Self::span(blob, start, tensor.bytes()),
                None => Self::make(tensor, chunk_bytes),
            },
        }
    }

    fn span(blob: &'a Blob, start: u64, len: u64) -> Self {
        match blob.slice(start, len) {
            Some(bytes) if blob.file().is_none() => Self::Bytes(bytes),
            _ => Self::Copy { blob, start, len },
        }
    }

    fn make(tensor: &'a Tensor, chunk_bytes: u64) -> Self {
        let granule = tensor.granule();
        let wanted = chunk_bytes.saturating_mul(8) / largest_bits(tensor).max(1);
        let per_chunk = (wanted / granule * granule).max(granule);
        let elements = per_chunk.min(tensor.shape().count());
        let cost = elements.saturating_mul(all_bits(tensor)) / 8;
        Self::Make { tensor, per_chunk, cost }
    }

    fn chunks(&self) -> u64 {
        match self {
            Self::Done => 0,
            Self::Bytes(bytes) => (bytes.len() as u64).div_ceil(COPY_BYTES),
            Self::Copy { len, .. } => len.div_ceil(COPY_BYTES),
            Self::Make { tensor, per_chunk, .. } => tensor.shape().count().div_ceil(*per_chunk),
        }
    }
}

/// Bits of an element where it is largest on its way, rounded up.
fn largest_bits(tensor: &Tensor) -> u64 {
    let inputs = tensor.op().map(|op| op.inputs()).unwrap_or_default();
    inputs.into_iter().map(largest_bits).fold(own_bits(tensor), u64::max)
}

/// Bits that an element takes in all buffers of its way together. A step that changes the type
/// has floats in between.
fn all_bits(tensor: &Tensor) -> u64 {
    let inputs = tensor.op().map(|op| op.inputs()).unwrap_or_default();
    let through_floats = inputs.iter().any(|input| input.dtype() != tensor.dtype());
    let floats = if through_floats { 32 } else { 0 };
    inputs.into_iter().map(all_bits).fold(own_bits(tensor) + floats, u64::saturating_add)
}

fn own_bits(tensor: &Tensor) -> u64 {
    (tensor.dtype().block_bytes() * 8).div_ceil(tensor.dtype().block_len())
}

/// What the workers share.
struct Run<'a> {
    layout: &'a Layout,
    jobs: Vec<Job<'a>>,
    chunks: usize,
    places: Vec<Arc<dyn Place>>,
    options: &'a ExecuteOptions<'a>,
    budget: Budget,
    /// The next chunk that nobody has claimed.
    next: AtomicUsize,
    failed: AtomicBool,
    /// The error of the lowest chunk that has one.
    failure: Mutex<Option<(usize, Error)>>,
    /// By job.
    tallies: Mutex<Vec<Tally>>,
    sums: Sums<'a>,
    /// Where each job is noted when it is done, for a run that may be ended and go on.
    journal: Option<Arc<Journal>>,
}

impl<'a> Run<'a> {
    fn new(
        layout: &'a Layout,
        places: Vec<Arc<dyn Place>>,
        journal: Option<Arc<Journal>>,
        options: &'a ExecuteOptions<'a>,
    ) -> Self {
        let chunk_bytes = chunk_bytes(options);
        let (mut jobs, mut chunks, mut tallies) = (Vec::new(), 0usize, Vec::new());
        let sums = Sums::of(layout, journal.is_some());
        let finished = finished(journal.as_deref());
        for (file, plan) in layout.files.iter().enumerate() {
            for (offset, part) in &plan.parts {
                let name = match part {
                    Part::Tensor { name, .. } => Some(name.as_str()),
                    Part::Bytes(_) | Part::Copy(_) | Part::Slice(..) | Part::Sum { .. } => None,
                };
                let (offset, len, first) = (*offset, part.len(), chunks);
                let summed = sums.kinds(file, offset);
                let done = finished.get(&(file, offset, len)).copied();
                let work = match done {
                    Some(piece) => {
                        sums.add(file, offset, [piece.sum, piece.crc32c], len);
                        Work::Done
                    }
                    None => Work::of(part, chunk_bytes),
                };
                tallies.push(done.map(|piece| piece.tally).unwrap_or_default());
                let left = AtomicU64::new(work.chunks());
                chunks += work.chunks() as usize;
                jobs.push(Job { file, offset, work, first, name, summed, len, left });
            }
        }
        let (next, failed, failure) = Default::default();
        Self {
            layout,
            jobs,
            chunks,
            places,
            options,
            budget: Budget::new(options.memory_bytes),
            next,
            failed,
            failure,
            tallies: Mutex::new(tallies),
            sums,
            journal,
        }
    }

    fn run(self) -> Result<Vec<(String, Tally)>> {
        if self.journal.is_some() {
            self.clear_gaps()?;
        }
        let workers = self.options.threads.get().min(self.chunks);
        let done = self.jobs.iter().filter(|job| matches!(job.work, Work::Done));
        self.options.progress.add(done.map(|job| job.len).sum());
        thread::scope(|scope| {
            for _ in 1..workers {
                // Without memory for another thread, those that there are do the work.
                if thread::Builder::new().spawn_scoped(scope, || self.work()).is_err() {
                    break;
                }
            }
            self.work();
        });
        if !self.failed.load(Ordering::Relaxed) {
            self.state_sums()?;
        }
        if let Some((_, error)) = self.failure.into_inner().unwrap_or_else(PoisonError::into_inner)
        {
            return Err(error);
        }
        let tallies = self.tallies.into_inner().unwrap_or_else(PoisonError::into_inner);
        let named = self.jobs.iter().zip(tallies);
        Ok(named.filter_map(|(job, tally)| Some((job.name?.to_owned(), tally))).collect())
    }

    /// Makes what lies between the parts zero: a file that another run has left is not believed to
    /// be.
    fn clear_gaps(&self) -> Result<()> {
        for (plan, place) in self.layout.files.iter().zip(&self.places) {
            let ends = plan.parts.iter().map(|(offset, part)| (*offset, offset + part.len()));
            let mut at = 0;
            for (start, end) in ends.chain([(plan.len, plan.len)]) {
                while at < start {
                    let zeros = vec![0; (start - at).min(BUFFER_BYTES) as usize];
                    place.write_at(at, &zeros)?;
                    at += zeros.len() as u64;
                }
                at = end;
            }
        }
        Ok(())
    }

    /// Writes every checksum, now that what it is of has been written.
    fn state_sums(&self) -> Result<()> {
        for wanted in self.sums.in_order() {
            let (file, at) = (wanted.file, wanted.at);
            let name = &self.layout.files[file].name;
            let sum = self.sums.stated(wanted).map_err(|error| error.at(name))?;
            let summed = self.sums.kinds(file, at);
            self.sums.watch((file, summed), &*self.places[file]).write_at(at, &sum)?;
            self.options.progress.add(sum.len() as u64);
        }
        Ok(())
    }

    fn work(&self) {
        let mut scratch = Scratch::default();
        while !self.failed.load(Ordering::Relaxed) {
            let chunk = self.next.fetch_add(1, Ordering::Relaxed);
            if chunk >= self.chunks {
                return;
            }
            if let Err(error) = self.chunk(chunk, &mut scratch) {
                self.failed.store(true, Ordering::Relaxed);
                let mut failure = lock(&self.failure);
                if failure.as_ref().is_none_or(|(lowest, _)| chunk < *lowest) {
                    *failure = Some((chunk, error));
                }
            }
        }
    }

    fn chunk(&self, chunk: usize, scratch: &mut Scratch) -> Result<()> {
        // Empty parts have the same first chunk as the part after them, which is the last such.
        let index = self.jobs.partition_point(|job| job.first <= chunk) - 1;
        let job = &self.jobs[index];
        let (number, place) = ((chunk - job.first) as u64, &*self.places[job.file]);
        let place = &self.sums.watch((job.file, job.summed), place);
        let written = match &job.work {
            Work::Done => 0,
            Work::Bytes(bytes) => {
                let start = number * COPY_BYTES;
                let end = (start + COPY_BYTES).min(bytes.len() as u64);
                place.write_at(job.offset + start, &bytes[start as usize..end as usize])?;
                end - start
            }
            Work::Copy { blob, start, len } => {
                let done = number * COPY_BYTES;
                let len = COPY_BYTES.min(len - done);
                copy(place, blob, start + done..start + done + len, job.offset + done, scratch)?;
                len
            }
            Work::Make { tensor, per_chunk, cost } => {
                let start = number * per_chunk;
                let elements = start..(start + per_chunk).min(tensor.shape().count());
                let _held = self.budget.take(*cost);
                let made = make(place, tensor, elements, job.offset, scratch);
                let tally = std::mem::take(&mut scratch.tally);
                if *cost > self.budget.share(self.options.threads) {
                    // Whoever made an uncommonly large piece does not keep its buffers.
                    *scratch = Scratch::default();
                }
                lock(&self.tallies)[index].add(&tally);
                made.map_err(|error| error.at(format_args!("tensor '{}'", job.name.unwrap_or(""))))?
            }
        };
        self.options.progress.add(written);
        match &self.journal {
            Some(journal) if job.left.fetch_sub(1, Ordering::AcqRel) == 1 => {
                self.note(journal, index)
            }
            _ => Ok(()),
        }
    }

    /// Says that a job is done, so that no other run does it again.
    fn note(&self, journal: &Journal, index: usize) -> Result<()> {
        let Job { file, offset, len, .. } = self.jobs[index];
        let of = |kind| self.sums.sum(file, &(offset..offset + len), kind);
        let (sum, crc32c) = (of(Checksum::Crc32)?, of(Checksum::MaskedCrc32c)?);
        let tally = lock(&self.tallies)[index];
        journal.add(&Finished { file, offset, len, sum, crc32c, tally })
    }
}

/// What another run has done already, by file, place and length.
fn finished(journal: Option<&Journal>) -> BTreeMap<(usize, u64, u64), &Finished> {
    let pieces = journal.map(Journal::finished).unwrap_or_default();
    pieces.iter().map(|piece| ((piece.file, piece.offset, piece.len), piece)).collect()
}

/// Bytes of a chunk, such that all workers with four buffers each stay within the memory.
fn chunk_bytes(options: &ExecuteOptions<'_>) -> u64 {
    let share = options.memory_bytes / options.threads.get() as u64 / 4;
    options.chunk_bytes.min(share.max(CHUNK_BYTES_MIN)).max(1)
}

/// Makes the bytes of some elements and writes them; how many there were.
fn make(
    place: &dyn Place,
    tensor: &Tensor,
    elements: Range<u64>,
    offset: u64,
    scratch: &mut Scratch,
) -> Result<u64> {
    let at = tensor.byte_offset(elements.start);
    let len = tensor.byte_offset(elements.end) - at;
    let mut out = scratch.take(len as usize)?;
    let done =
        tensor.read(elements, &mut out, scratch).and_then(|()| place.write_at(offset + at, &out));
    scratch.give(out);
    done.map(|()| len)
}

/// Copies a range of a file, in the kernel as far as it can.
fn copy(
    place: &dyn Place,
    blob: &Blob,
    range: Range<u64>,
    offset: u64,
    scratch: &mut Scratch,
) -> Result<()> {
    let len = range.end - range.start;
    let mut done = place.copy_from(blob, range.start, len, offset)?;
    while done < len {
        let mut buffer = scratch.take((len - done).min(BUFFER_BYTES) as usize)?;
        let copied = blob
            .read(range.start + done, &mut buffer)
            .and_then(|()| place.write_at(offset + done, &buffer));
        done += buffer.len() as u64;
        scratch.give(buffer);
        copied?;
    }
    Ok(())
}

/// Bytes that all workers may hold together.
struct Budget {
    total: u64,
    left: Mutex<u64>,
    freed: Condvar,
}

impl Budget {
    fn new(total: u64) -> Self {
        Self { total, left: Mutex::new(total), freed: Condvar::new() }
    }

    fn share(&self, threads: NonZeroUsize) -> u64 {
        self.total / threads.get() as u64
    }

    /// Waits until so many bytes are free; for more than there are, until all are.
    fn take(&self, bytes: u64) -> Held<'_> {
        let bytes = bytes.min(self.total);
        let left = lock(&self.left);
        let wait = self.freed.wait_while(left, |left| *left < bytes);
        *wait.unwrap_or_else(PoisonError::into_inner) -= bytes;
        Held { budget: self, bytes }
    }
}

/// A share of the budget, given back when dropped: by a panic too, or others would wait forever.
struct Held<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *lock(&self.budget.left) += self.bytes;
        self.budget.freed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
