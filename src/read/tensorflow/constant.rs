//! Constants of graphs: in place, or the last element again and again.

use std::ops::Range;
use std::sync::Arc;

use tensorflow::{Constant, Values};

use super::made;
use crate::ir::{Blob, Error, Result, Shape, Tensor, View};
use crate::types;

/// The tensor that a graph states; nothing for what is no number.
pub(super) fn tensor(blob: &Arc<Blob>, constant: &Constant) -> Result<Option<Tensor>> {
    let Some(dtype) = types::TENSORFLOW.ours(constant.kind) else { return Ok(None) };
    let shape = Shape::new(constant.dims.clone())?;
    let (blob, start, len) = match &constant.values {
        Values::At(at) => (Arc::clone(blob), at.start, at.end - at.start),
        Values::Made(bytes) => (made(blob, bytes.clone()), 0, bytes.len() as u64),
        Values::Texts(_) => return Err(Error::bug("texts in a tensor of numbers")),
    };
    if len == shape.bytes(dtype)? {
        return Tensor::span(dtype, shape, blob, start).map(Some);
    }
    let width = dtype.block_bytes();
    let repeated = Repeated { blob, start, stated: len / width, width };
    Tensor::view(dtype, shape, Arc::new(repeated)).map(Some)
}

/// Of fewer elements than there are, the last one fills the rest; of none, zero does.
#[derive(Debug)]
struct Repeated {
    blob: Arc<Blob>,
    start: u64,
    stated: u64,
    width: u64,
}

impl View for Repeated {
    fn blob(&self) -> &Arc<Blob> {
        &self.blob
    }

    fn read(&self, elements: Range<u64>, out: &mut [u8]) -> Result<()> {
        let stated = self.stated.clamp(elements.start, elements.end) - elements.start;
        let (first, rest) = out.split_at_mut((stated * self.width) as usize);
        if !first.is_empty() {
            self.blob.read(self.start + elements.start * self.width, first)?;
        }
        let mut last = vec![0; self.width as usize];
        if let Some(at) = self.stated.checked_sub(1).filter(|_| !rest.is_empty()) {
            self.blob.read(self.start + at * self.width, &mut last)?;
        }
        rest.chunks_exact_mut(last.len()).for_each(|element| element.copy_from_slice(&last));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_the_last_element_or_zero() {
        let blob = Arc::new(Blob::memory("test", vec![9, 1, 0, 2, 0, 9]));
        let constant = |values| {
            let kind = tensorflow::DataType::Int16;
            tensor(&blob, &Constant { kind, dims: vec![2, 2], values }).unwrap().unwrap()
        };
        let bytes = |tensor: Tensor, range: Range<u64>| {
            let mut out = vec![7; (range.end - range.start) as usize * 2];
            tensor.read(range, &mut out, &mut Default::default()).unwrap();
            out
        };
        let two = || constant(Values::At(1..5));
        assert_eq!(bytes(two(), 0..4), [1, 0, 2, 0, 2, 0, 2, 0]);
        assert_eq!(bytes(two(), 1..3), [2, 0, 2, 0]);
        assert_eq!(bytes(two(), 3..4), [2, 0]);
        assert_eq!(bytes(constant(Values::Made(vec![5, 0])), 0..2), [5, 0, 5, 0]);
        assert_eq!(bytes(constant(Values::Made(Vec::new())), 0..2), [0; 4]);
    }
}
