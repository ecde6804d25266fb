//! A tensor as a recipe: dtype, shape, and how its elements would be made.

use std::ops::Range;
use std::sync::Arc;

use super::{Blob, DType, Error, Op, Result, Shape, Tally};

/// A tensor as a recipe. Cheap to clone; holds no weights.
#[derive(Debug, Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    /// Bytes of a blob, from this offset.
    Span(Arc<Blob>, u64),
    /// Elements that lie scattered in a blob.
    View(Arc<dyn View>),
    /// A step applied to other tensors.
    Op(Arc<Op>),
}

/// Elements that lie in a blob, but not side by side: a transposed or repeated view.
pub trait View: Send + Sync + std::fmt::Debug {
    /// The blob they lie in.
    fn blob(&self) -> &Arc<Blob>;

    /// Gathers a range of elements, row-major.
    ///
    /// # Errors
    /// Io from reading.
    fn read(&self, elements: Range<u64>, out: &mut [u8]) -> Result<()>;
}

/// Buffers that are used again and again by one worker, and what its work lost.
#[derive(Debug, Default)]
pub struct Scratch {
    bytes: Vec<Vec<u8>>,
    floats: Vec<Vec<f32>>,
    /// What the recipes evaluated with this scratch lost.
    pub tally: Tally,
}

impl Scratch {
    /// A buffer of `len` bytes of unspecified content.
    ///
    /// # Errors
    /// Limit if the memory is not to be had.
    pub fn take(&mut self, len: usize) -> Result<Vec<u8>> {
        sized(self.bytes.pop().unwrap_or_default(), len)
    }

    /// A buffer of `len` floats of unspecified content.
    ///
    /// # Errors
    /// Limit if the memory is not to be had.
    pub fn take_floats(&mut self, len: usize) -> Result<Vec<f32>> {
        sized(self.floats.pop().unwrap_or_default(), len)
    }

    /// Gives a buffer back for the next use.
    pub fn give(&mut self, buffer: Vec<u8>) {
        self.bytes.push(buffer);
    }

    /// Gives a buffer back for the next use.
    pub fn give_floats(&mut self, buffer: Vec<f32>) {
        self.floats.push(buffer);
    }
}

fn sized<T: Copy + Default>(mut buffer: Vec<T>, len: usize) -> Result<Vec<T>> {
    let more = len.saturating_sub(buffer.len());
    buffer.try_reserve_exact(more).map_err(|_| {
        let bytes = len.saturating_mul(size_of::<T>());
        Error::limit(format!("{bytes} bytes of memory are not to be had for one piece of a tensor"))
    })?;
    buffer.resize(len, T::default());
    Ok(buffer)
}

impl Tensor {
    /// The elements that lie in `blob` from `start` on, row-major, little-endian.
    ///
    /// # Errors
    /// Malformed if rows are not whole blocks or the bytes reach past the end of the blob.
    pub fn span(dtype: DType, shape: Shape, blob: Arc<Blob>, start: u64) -> Result<Self> {
        let len = shape.bytes(dtype)?;
        if wire::fits(start, len, blob.size()).is_none() {
            let (end, size) = (start.saturating_add(len), blob.size());
            return Err(Error::malformed(format!(
                "data range {start:#x}..{end:#x} exceeds the size of {}, {size:#x}",
                blob.name()
            )));
        }
        Ok(Self { dtype, shape, data: Data::Span(blob, start) })
    }

    /// Elements that are gathered from a blob.
    ///
    /// # Errors
    /// Malformed if rows are not whole blocks.
    pub fn view(dtype: DType, shape: Shape, view: Arc<dyn View>) -> Result<Self> {
        shape.bytes(dtype)?;
        Ok(Self { dtype, shape, data: Data::View(view) })
    }

    /// The result of a step.
    ///
    /// # Errors
    /// What the step says about its inputs: see [`Op::result`].
    pub fn of(op: Op) -> Result<Self> {
        let (dtype, shape) = op.result()?;
        shape.bytes(dtype)?;
        let data = match op.place() {
            Some((blob, start)) => Data::Span(blob, start),
            None => Data::Op(Arc::new(op)),
        };
        Ok(Self { dtype, shape, data })
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The number of bytes of all elements.
    pub fn bytes(&self) -> u64 {
        // Both constructors have checked that this fits.
        self.byte_offset(self.shape.count())
    }

    /// Whether this is the same recipe, of the same bytes, and not only an equal one.
    pub fn is(&self, other: &Self) -> bool {
        let same = match (&self.data, &other.data) {
            (Data::Span(a, at), Data::Span(b, place)) => Arc::ptr_eq(a, b) && at == place,
            (Data::View(a), Data::View(b)) => Arc::ptr_eq(a, b),
            (Data::Op(a), Data::Op(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        same && self.dtype == other.dtype && self.shape == other.shape
    }

    /// The blob and the offset in it, if the elements lie in a file as they are.
    pub fn place(&self) -> Option<(&Arc<Blob>, u64)> {
        match &self.data {
            Data::Span(blob, start) => Some((blob, *start)),
            Data::View(_) | Data::Op(_) => None,
        }
    }

    /// Whether this is the same recipe over the same bytes, as far as that is known at once.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.data, &other.data) {
            (Data::Span(a, x), Data::Span(b, y)) => Arc::ptr_eq(a, b) && x == y,
            (Data::View(a), Data::View(b)) => Arc::ptr_eq(a, b),
            (Data::Op(a), Data::Op(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// The step that makes this tensor, if it is not read as it is.
    pub fn op(&self) -> Option<&Op> {
        match &self.data {
            Data::Span(..) | Data::View(_) => None,
            Data::Op(op) => Some(op),
        }
    }

    /// The bytes of whole pieces `elements`, if they lie in memory as they are.
    pub fn mapped(&self, elements: Range<u64>) -> Option<&[u8]> {
        let (blob, start) = self.place()?;
        let (from, to) = (self.byte_offset(elements.start), self.byte_offset(elements.end));
        blob.slice(start + from, to - from)
    }

    /// Ranges of elements that begin and end at multiples of this (or at the tensor's end) are
    /// made without making more than they ask for.
    pub fn granule(&self) -> u64 {
        match &self.data {
            Data::Span(..) | Data::View(_) => self.dtype.block_len(),
            Data::Op(op) => op.granule(),
        }
    }

    /// Makes the bytes of a range of elements that respects [`Self::granule`].
    ///
    /// # Errors
    /// Io from reading, Unsupported from decoding, Limit from memory.
    pub fn read(&self, elements: Range<u64>, out: &mut [u8], scratch: &mut Scratch) -> Result<()> {
        match &self.data {
            Data::Span(blob, start) => blob.read(start + self.byte_offset(elements.start), out),
            Data::View(view) => view.read(elements, out),
            Data::Op(op) => op.make(elements, out, scratch),
        }
    }

    /// Makes a range of elements as floats.
    ///
    /// # Errors
    /// As [`Self::read`], and Unsupported if the elements are not weights.
    pub fn read_floats(
        &self,
        elements: Range<u64>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<()> {
        if let Some(bytes) = self.mapped(elements.clone()) {
            return super::float::decode(self.dtype, bytes, out);
        }
        let len = self.byte_offset(elements.end - elements.start);
        let mut bytes = scratch.take(len as usize)?;
        let made = self
            .read(elements, &mut bytes, scratch)
            .and_then(|()| super::float::decode(self.dtype, &bytes, out));
        scratch.give(bytes);
        made
    }

    /// All elements as floats.
    ///
    /// # Errors
    /// As [`Self::read_floats`].
    pub fn to_floats(&self) -> Result<Vec<f32>> {
        let count = self.shape.count();
        let mut out = sized(Vec::new(), count as usize)?;
        self.read_floats(0..count, &mut out, &mut Scratch::default())?;
        Ok(out)
    }

    /// Bytes of the first `elements` elements, which are whole blocks.
    pub fn byte_offset(&self, elements: u64) -> u64 {
        self.dtype.bytes_of(elements)
    }

    /// Every blob that the recipe reads.
    pub fn blobs(&self) -> Vec<&Arc<Blob>> {
        match &self.data {
            Data::Span(blob, _) => vec![blob],
            Data::View(view) => vec![view.blob()],
            Data::Op(op) => op.inputs().into_iter().flat_map(Tensor::blobs).collect(),
        }
    }
}
