//! Tensors of a file, in place where they can be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;
use onnx::{Data, External};

use super::made;
use super::value::dtype;
use crate::ir::graph::{Constant, Kind, Origin};
use crate::ir::{Blob, DType, Error, Limits, Result, Scratch, Shape, Tensor, View};
use crate::store::Source;

/// Collects the tensors of a file.
pub(super) struct Reader<'a> {
    source: &'a dyn Source,
    blob: &'a Arc<Blob>,
    /// Bytes of a sparse tensor with its zeros, which nothing in the file bounds.
    dense_max: u64,
    /// By name.
    pub(super) tensors: IndexMap<String, Tensor>,
    /// By the place of their messages.
    pub(super) places: BTreeMap<u64, Origin>,
    /// Types of values, by the place of their messages.
    pub(super) kinds: BTreeMap<u64, Kind>,
    /// How often a name was wanted that was taken.
    numbers: BTreeMap<String, u64>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a dyn Source, blob: &'a Arc<Blob>, limits: &Limits) -> Self {
        let (tensors, places, kinds, numbers) = Default::default();
        Self { source, blob, dense_max: limits.expanded, tensors, places, kinds, numbers }
    }

    /// A constant of this name, which is not taken yet: whoever gave it has seen to that.
    pub(super) fn constant(&mut self, tensor: &onnx::Tensor, name: &str) -> Result<Constant> {
        if let Data::Texts(values) = &tensor.data {
            return Ok(Constant::Text { shape: tensor.dims.clone(), values: values.clone() });
        }
        let named = |error: Error| error.at(format!("tensor '{name}'"));
        let read = self.tensor(tensor).map_err(named)?;
        let external = matches!(tensor.data, Data::External(_));
        Ok(self.keep(name, tensor.span.start, read, external))
    }

    /// A constant of which most is zero. It is made whole when it is asked for.
    pub(super) fn sparse(&mut self, tensor: &onnx::SparseTensor, name: &str) -> Result<Constant> {
        let named = |error: Error| error.at(format!("sparse tensor '{name}'"));
        let read = self.dense(tensor).map_err(named)?;
        let parts = [&tensor.values.data, &tensor.indices.data];
        let external = parts.iter().any(|data| matches!(data, Data::External(_)));
        Ok(self.keep(name, tensor.span.start, read, external))
    }

    fn keep(&mut self, name: &str, place: u64, tensor: Tensor, external: bool) -> Constant {
        let name = self.free_name(name);
        self.tensors.insert(name.clone(), tensor.clone());
        self.places.insert(place, Origin { name: name.clone(), tensor, external });
        Constant::Weight(name)
    }

    /// The name, or, where nodes share one, the name with a number.
    fn free_name(&mut self, name: &str) -> String {
        if !self.tensors.contains_key(name) {
            return name.to_owned();
        }
        // Counted by name, so that many of one name take no longer than others.
        let number = self.numbers.entry(name.to_owned()).or_insert(1);
        loop {
            *number += 1;
            let numbered = format!("{name}#{number}");
            if !self.tensors.contains_key(&numbered) {
                return numbered;
            }
        }
    }

    fn tensor(&self, tensor: &onnx::Tensor) -> Result<Tensor> {
        let dtype = dtype(tensor.kind)?;
        let shape = Shape::new(tensor.dims.clone())?;
        match &tensor.data {
            Data::At(at) => Tensor::span(dtype, shape, Arc::clone(self.blob), at.start),
            Data::Made(bytes) => Tensor::span(dtype, shape, made(self.blob, bytes.clone()), 0),
            Data::External(external) => {
                Tensor::span(dtype, shape, self.beside(external)?, external.offset)
            }
            Data::Texts(_) => Err(Error::bug("text as a tensor")),
        }
    }

    /// The file of external data. It may not be the model: bytes would have two meanings.
    fn beside(&self, external: &External) -> Result<Arc<Blob>> {
        let blob = self.source.open(&external.location)?;
        let is_model = Arc::ptr_eq(&blob, self.blob)
            || (blob.identity().is_some() && blob.identity() == self.blob.identity());
        if is_model {
            let text = format!("external data in '{}', which is the model", external.location);
            return Err(Error::malformed(text));
        }
        Ok(blob)
    }

    fn dense(&self, sparse: &onnx::SparseTensor) -> Result<Tensor> {
        let shape = Shape::new(sparse.dims.clone())?;
        let values = self.tensor(&sparse.values)?;
        let dtype = values.dtype();
        if dtype.is_sub_byte() {
            return Err(Error::unsupported(format!("sparse elements of {dtype}")));
        }
        let (indices_of, max) = (self.tensor(&sparse.indices)?, self.dense_max);
        if shape.bytes(dtype)?.max(indices_of.bytes()) > max {
            let text = format!("{shape} of {dtype} with its zeros, expected at most {max} bytes");
            return Err(Error::above("expanded", text));
        }
        if values.shape().count() > shape.count() {
            let (found, room) = (values.shape().count(), shape.count());
            return Err(Error::malformed(format!("{found} values, expected at most {room}")));
        }
        let at = indices(&indices_of, values.shape().count(), &shape)?;
        let mut bytes = vec![0; values.bytes() as usize];
        values.read(0..values.shape().count(), &mut bytes, &mut Scratch::default())?;
        let blob = Arc::clone(self.blob);
        Tensor::view(dtype, shape, Arc::new(Sparse { blob, at, bytes, dtype }))
    }
}

/// Flat indices, ascending: as the file states them, or made of those along each dimension.
fn indices(tensor: &Tensor, count: u64, shape: &Shape) -> Result<Vec<u64>> {
    let rank = shape.rank() as u64;
    let width = match *tensor.shape().dims() {
        [n] if n == count => 1,
        [n, width] if n == count && width == rank => shape.rank(),
        _ => {
            let expected = format!("[{count}] or [{count}, {rank}]");
            let text = format!("indices of shape {}, expected {expected}", tensor.shape());
            return Err(Error::malformed(text));
        }
    };
    if tensor.dtype() != DType::I64 {
        return Err(Error::malformed(format!("indices of {}, expected i64", tensor.dtype())));
    }
    let mut bytes = vec![0; tensor.bytes() as usize];
    tensor.read(0..tensor.shape().count(), &mut bytes, &mut Scratch::default())?;
    let numbers: Vec<i64> =
        bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
    let outside = || Error::malformed(format!("an index outside of {shape}"));
    let flat = numbers.chunks(width.max(1)).map(|index| {
        let dims: &[u64] = if width == 1 { &[shape.count()] } else { shape.dims() };
        index.iter().zip(dims).try_fold(0u64, |sum, (&i, &dim)| {
            let i = u64::try_from(i).ok().filter(|i| *i < dim)?;
            Some(sum * dim + i)
        })
    });
    let flat = flat.collect::<Option<Vec<u64>>>().ok_or_else(outside)?;
    if !flat.is_sorted_by(|a, b| a < b) {
        return Err(Error::malformed("indices that do not ascend"));
    }
    Ok(flat)
}

/// A tensor of which most is zero.
#[derive(Debug)]
struct Sparse {
    blob: Arc<Blob>,
    /// Flat indices of what is not zero, ascending.
    at: Vec<u64>,
    bytes: Vec<u8>,
    dtype: DType,
}

impl View for Sparse {
    fn blob(&self) -> &Arc<Blob> {
        &self.blob
    }

    fn read(&self, elements: Range<u64>, out: &mut [u8]) -> Result<()> {
        out.fill(0);
        let width = self.dtype.block_bytes() as usize;
        let first = self.at.partition_point(|at| *at < elements.start);
        let values = self.at.iter().zip(self.bytes.chunks_exact(width)).skip(first);
        for (at, value) in values.take_while(|(at, _)| **at < elements.end) {
            let place = (at - elements.start) as usize * width;
            out[place..place + width].copy_from_slice(value);
        }
        Ok(())
    }
}
