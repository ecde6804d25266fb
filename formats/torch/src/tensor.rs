//! A tensor as a view of bytes in the file.

use std::ops::Range;
use std::sync::Arc;

use wire::{Error, ReadAt, Result, Why};

use crate::dtype::Dtype;
use zip::Deflated;
use zip::quoted;
use zip::{Crc32, crc32};

/// A run of bytes in the file that tensors are views of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Torch's key of it.
    pub key: String,
    /// Where its bytes begin, from the start of the file; of what a stream stands for, if they are
    /// deflated.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Its CRC-32, where the file states one that is not zero.
    pub crc: Option<u32>,
    /// What the file has it deflated in: then [`Storage::inflate`] gives the bytes that tensors are
    /// to be read from in the file's place.
    pub deflated: Option<Stream>,
}

/// A deflated run of bytes: one storage, or a checkpoint with all of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Where the file has it.
    pub place: Range<u64>,
    /// Bytes that it stands for.
    pub len: u64,
}

impl Storage {
    /// Compares the bytes with the checksum that the file states, if it states one. Those of a
    /// deflated checkpoint were compared when it was read.
    ///
    /// # Errors
    /// `Mismatch` if they differ, `Io` if they cannot be read.
    pub fn verify(&self, source: &dyn ReadAt) -> Result<()> {
        let Some(stated) = self.crc else { return Ok(()) };
        let found = match &self.deflated {
            None => crc32(source, self.offset, self.len)?,
            // What precedes it in there is the checkpoint.
            Some(_) if self.offset > 0 => return Ok(()),
            Some(stream) => {
                let mut crc = Crc32::default();
                self.packed(source, stream).each(&mut |piece| crc.update(piece))?;
                crc.value()
            }
        };
        if found == stated {
            return Ok(());
        }
        let why = Why::Mismatch {
            found: format!("CRC-32 {found:#010x}"),
            expected: format!("{stated:#010x}: the bytes are damaged"),
        };
        let at = self.deflated.as_ref().map_or(self.offset, |stream| stream.place.start);
        Err(Error::new(at, format!("storage {}", quoted(&self.key)), why))
    }

    /// What the stream stands for that holds a deflated storage.
    ///
    /// # Errors
    /// `Invalid` if the stream is damaged or stands for another number of bytes, `Io` if it cannot
    /// be read; `TooLarge` above `max` bytes, the limit of this name.
    pub fn inflate(&self, source: &dyn ReadAt, max: u64, lift: &'static str) -> Result<Vec<u8>> {
        match &self.deflated {
            Some(stream) => self.packed(source, stream).all(max, lift),
            None => Ok(Vec::new()),
        }
    }

    fn packed<'a>(&self, source: &'a dyn ReadAt, stream: &Stream) -> Deflated<'a> {
        let what = format!("storage {}", quoted(&self.key));
        Deflated { source, place: stream.place.clone(), len: stream.len, what }
    }
}

/// A tensor: which elements of which storage, in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The path to it in the pickled value, its parts joined with dots.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Sizes, outermost dimension first, as NumPy has them.
    pub shape: Vec<u64>,
    /// Elements between neighbours, for each dimension; 0 repeats one element.
    pub strides: Vec<u64>,
    /// The bytes that it is a view of.
    pub storage: Arc<Storage>,
    /// Its first element, counted in elements from the start of the storage.
    pub element_offset: u64,
    /// The index, in the checkpoint, of the first tensor that is the same view of the same bytes.
    pub same_as: Option<usize>,
}

impl TensorInfo {
    /// Number of elements.
    pub fn count(&self) -> u64 {
        // The shape was checked when the checkpoint was read.
        wire::product(&self.shape).unwrap_or(0)
    }

    /// The range of the file, or of what was inflated, that holds the elements in row-major
    /// order, if one does.
    pub fn contiguous(&self) -> Option<Range<u64>> {
        let mut step = 1u64;
        let count = self.count();
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            // The stride of a dimension with one element is never walked.
            if size != 1 && stride != step && count != 0 {
                return None;
            }
            step = step.checked_mul(size.max(1))?;
        }
        let start = self.position(0)?;
        Some(start..start.checked_add(count.checked_mul(self.dtype.bytes())?)?)
    }

    /// Reads elements in row-major order, from the `first` on, as many as `into` has room for.
    /// Their bytes are as in the file: in the checkpoint's byte order. Of a deflated storage, the
    /// source is what [`Storage::inflate`] gave.
    ///
    /// # Errors
    /// `Truncated` if the tensor has fewer elements, `Io` if reading fails.
    pub fn read(&self, source: &dyn ReadAt, first: u64, into: &mut [u8]) -> Result<()> {
        let width = usize::try_from(self.dtype.bytes()).unwrap_or(1);
        let need = (into.len() as u64).div_ceil(self.dtype.bytes());
        let have = self.count().saturating_sub(first);
        if need > have {
            return Err(self.error(Why::Truncated { need, have }));
        }
        let mut rest = into;
        let mut at = first;
        while !rest.is_empty() {
            let (index, run) = self.run(at).ok_or_else(|| self.error(outside()))?;
            let len = usize::try_from(run).unwrap_or(usize::MAX).saturating_mul(width);
            let (part, after) = rest.split_at_mut(len.min(rest.len()));
            let offset = self.position(index).ok_or_else(|| self.error(outside()))?;
            let read = source.read_at(offset, part);
            read.map_err(|cause| self.error(Why::Io { cause: cause.to_string() }))?;
            (rest, at) = (after, at.saturating_add(run));
        }
        Ok(())
    }

    /// Where the `n`th element in row-major order lies within the view, and how many elements
    /// from there on lie side by side.
    fn run(&self, n: u64) -> Option<(u64, u64)> {
        let (mut left, mut index) = (n, 0u64);
        // Elements of the innermost dimensions that lie side by side as a whole.
        let (mut block, mut dense) = (1u64, true);
        for (&size, &stride) in self.shape.iter().zip(&self.strides).rev() {
            let place = left.checked_rem(size)?;
            left = left.checked_div(size)?;
            index = index.checked_add(place.checked_mul(stride)?)?;
            dense &= size == 1 || stride == block;
            if dense {
                block = block.checked_mul(size)?;
            }
        }
        Some((index, block.checked_sub(n.checked_rem(block)?)?))
    }

    /// The offset in the file of the element at `index` of the view.
    fn position(&self, index: u64) -> Option<u64> {
        let element = self.element_offset.checked_add(index)?;
        self.storage.offset.checked_add(element.checked_mul(self.dtype.bytes())?)
    }

    fn error(&self, why: Why) -> Error {
        Error::new(self.storage.offset, format!("tensor {}", quoted(&self.name)), why)
    }
}

fn outside() -> Why {
    Why::Invalid { rule: "an element lies outside the address space".to_owned() }
}
