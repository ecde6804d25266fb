//! A tensor as a recipe: dtype, shape, and how its elements would be made.

use std::ops::Range;
use std::sync::Arc;

use super::op::lcm;
use super::{Blob, DType, Error, Op, Result, Shape, Tally};

/// A tensor as a recipe. Cheap to clone; holds no weights.
#[derive(Debug, Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    data: Data,
    /// Known once: recipes are deep, and read piece by piece.
    granule: u64,
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

/// Ranges of `count` elements, each of at most `most` and a multiple of all `granules`, or of one
/// such multiple where that is more.
pub fn pieces(
    count: u64,
    granules: impl IntoIterator<Item = u64>,
    most: u64,
) -> impl Iterator<Item = Range<u64>> {
    let unit = granules.into_iter().fold(1, lcm);
    let step = unit.saturating_mul((most / unit).max(1));
    (0..count.div_ceil(step)).map(move |no| no * step..count.min((no + 1).saturating_mul(step)))
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
        Ok(Self { dtype, shape, data: Data::Span(blob, start), granule: dtype.block_len() })
    }

    /// Elements that are gathered from a blob.
    ///
    /// # Errors
    /// Malformed if rows are not whole blocks.
    pub fn view(dtype: DType, shape: Shape, view: Arc<dyn View>) -> Result<Self> {
        shape.bytes(dtype)?;
        Ok(Self { dtype, shape, data: Data::View(view), granule: dtype.block_len() })
    }

    /// The result of a step.
    ///
    /// # Errors
    /// What the step says about its inputs: see [`Op::result`].
    pub fn of(op: Op) -> Result<Self> {
        let (dtype, shape) = op.result()?;
        shape.bytes(dtype)?;
        let (data, granule) = match op.place() {
            Some((blob, start)) => (Data::Span(blob, start), dtype.block_len()),
            None => {
                let granule = op.granule().max(1);
                (Data::Op(Arc::new(op)), granule)
            }
        };
        Ok(Self { dtype, shape, data, granule })
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
        self.shares_data(other) && self.dtype == other.dtype && self.shape == other.shape
    }

    /// The blob and the offset in it, if the elements lie in a file as they are.
    pub fn place(&self) -> Option<(&Arc<Blob>, u64)> {
        match &self.data {
            Data::Span(blob, start) => Some((blob, *start)),
            Data::View(_) | Data::Op(_) => None,
        }
    }

    /// Whether both begin with the same bytes or are made by the same step, whatever type and
    /// shape they give them.
    pub fn shares_data(&self, other: &Self) -> bool {
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
        let (blob, start) = self.place().filter(|_| self.is_whole(&elements))?;
        let (from, to) = (self.byte_offset(elements.start), self.byte_offset(elements.end));
        blob.slice(start + from, to - from)
    }

    /// Ranges of elements that begin and end at multiples of this (or at the tensor's end) are
    /// made without making more than they ask for.
    pub fn granule(&self) -> u64 {
        self.granule
    }

    /// Whether the recipe can make this range alone. One that cannot leaves out what crosses the
    /// ends, without a word.
    fn is_whole(&self, elements: &Range<u64>) -> bool {
        let count = self.shape.count();
        let is_edge = |at: u64| at == count || at.is_multiple_of(self.granule);
        let is_inside = elements.start <= elements.end && elements.end <= count;
        is_inside && is_edge(elements.start) && is_edge(elements.end)
    }

    /// The number of bytes of a range that is whole.
    fn range_bytes(&self, elements: &Range<u64>) -> Result<u64> {
        if self.is_whole(elements) {
            return Ok(self.byte_offset(elements.end) - self.byte_offset(elements.start));
        }
        let (shape, granule) = (&self.shape, self.granule);
        let text = format!("elements {elements:?} of {shape}, made by {granule}, were asked for");
        Err(Error::bug(text))
    }

    /// Makes the bytes of a range of elements that respects [`Self::granule`].
    ///
    /// # Errors
    /// Io from reading, Unsupported from decoding, Limit from memory; Bug for another range.
    pub fn read(&self, elements: Range<u64>, out: &mut [u8], scratch: &mut Scratch) -> Result<()> {
        let (len, room) = (self.range_bytes(&elements)?, out.len() as u64);
        if len != room {
            return Err(Error::bug(format!("room for {room} bytes of elements that have {len}")));
        }
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
        let mut bytes = scratch.take(self.range_bytes(&elements)? as usize)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Fault;

    fn transposed() -> Tensor {
        let blob = Arc::new(Blob::memory("in", (0..24).collect()));
        let shape = Shape::new(vec![2, 3, 4]).unwrap();
        let input = Tensor::span(DType::U8, shape, blob, 0).unwrap();
        Tensor::of(Op::Transpose { input }).unwrap()
    }

    #[test]
    fn a_range_that_cannot_be_made_alone_is_an_error() {
        let (tensor, scratch) = (transposed(), &mut Scratch::default());
        assert_eq!(tensor.granule(), 12);
        for (range, room) in [(0..6, 6), (6..24, 18), (12..36, 24), (0..12, 11)] {
            let error = tensor.read(range, &mut vec![0; room], scratch).unwrap_err();
            assert_eq!(error.fault, Fault::Bug, "{error}");
        }
        let error = tensor.read_floats(0..6, &mut [0.0; 6], scratch).unwrap_err();
        assert_eq!(error.fault, Fault::Bug, "{error}");
        let mut last = [0; 12];
        tensor.read(12..24, &mut last, scratch).unwrap();
        assert_eq!(last, [12, 16, 20, 13, 17, 21, 14, 18, 22, 15, 19, 23]);
    }

    #[test]
    fn pieces_are_whole_and_cover_all() {
        let cut = |count, granules: &[u64], most| -> Vec<_> {
            pieces(count, granules.iter().copied(), most).collect()
        };
        assert_eq!(cut(10, &[2], 5), [0..4, 4..8, 8..10]);
        assert_eq!(cut(30, &[4, 6], 5), [0..12, 12..24, 24..30]);
        let all = cut(7, &[1 << 40, (1 << 40) - 1], 5);
        assert_eq!((all.len(), all.first()), (1, Some(&(0..7))));
        assert!(cut(0, &[3], 5).is_empty());
    }
}
