//! Deflated parts of a file: inflated whole when they are asked for, and kept while they are used.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ir::{Blob, Limits};

/// Inflated bytes that are kept at least: more tensors than one are made at a time.
const KEPT: u64 = 256 << 20;

/// What a refusal of a larger part names.
const LIFT: &str = "inflated";

/// A part, by where its stream begins, and its bytes.
type Inflated = (u64, Arc<Vec<u8>>);

/// A file, and those of its deflated parts that were used last. Tensors are asked for piece by
/// piece, in order; a stream can only be read from its begin.
#[derive(Debug)]
pub(super) struct Inflater {
    blob: Arc<Blob>,
    max: u64,
    kept: Mutex<VecDeque<Inflated>>,
}

impl Inflater {
    pub(super) fn new(blob: &Arc<Blob>, limits: &Limits) -> Self {
        Self { blob: Arc::clone(blob), max: limits.inflated, kept: Mutex::default() }
    }

    /// The file.
    pub(super) fn blob(&self) -> &Arc<Blob> {
        &self.blob
    }

    /// The `len` bytes of the part whose stream begins at `start`, which `inflate` makes: of the
    /// file, at most so many bytes, by an option of this name. Whoever comes second waits for the
    /// first.
    pub(super) fn bytes(
        &self,
        start: u64,
        len: u64,
        inflate: impl FnOnce(&Blob, u64, &'static str) -> wire::Result<Vec<u8>>,
    ) -> wire::Result<Arc<Vec<u8>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = kept.iter().find(|(known, _)| *known == start) {
            return Ok(Arc::clone(bytes));
        }
        let mut held: u64 = kept.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        while held.saturating_add(len) > KEPT
            && let Some((_, oldest)) = kept.pop_front()
        {
            held = held.saturating_sub(oldest.len() as u64);
        }
        let bytes = Arc::new(inflate(&self.blob, self.max, LIFT)?);
        kept.push_back((start, Arc::clone(&bytes)));
        Ok(bytes)
    }
}
