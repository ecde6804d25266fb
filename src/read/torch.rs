//! PyTorch checkpoint → Model: tensors of the pickle, in place where they are contiguous.

use std::ops::Range;
use std::sync::Arc;

use super::hub::{self, Weights};
use super::inflate::Inflater;
use crate::ir::{Blob, DType, Error, Limits, Model, Notes, Op, Result, Shape, Tensor, View};
use crate::store::Source;
use crate::types;

const SINGLE: &str = "pytorch_model.bin";
const INDEX: &str = "pytorch_model.bin.index.json";

/// Whether the source is a checkpoint, or a directory of the hub that holds one.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    match source.entry() {
        Some(name) if name.ends_with(".bin.index.json") => Ok(true),
        Some(name) => {
            let blob = source.open(name)?;
            Ok(torch::probe(&super::head(&blob)?, &*blob))
        }
        None => Ok(source.names()?.iter().any(|name| name == SINGLE || name == INDEX)),
    }
}

/// Reads the tensors, and what lies beside them.
///
/// # Errors
/// What the container says.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let weights = match source.entry() {
        Some(name) if name.ends_with(".index.json") => sharded(source, name, limits, notes)?,
        Some(name) => file(&source.open(name)?, limits, notes)?,
        None if source.find(INDEX)?.is_some() => sharded(source, INDEX, limits, notes)?,
        None => file(&source.open(SINGLE)?, limits, notes)?,
    };
    hub::model("pytorch", weights, source, limits, notes)
}

/// The weights of one checkpoint, in the order of its pickle.
fn file(blob: &Arc<Blob>, limits: &Limits, notes: &mut Notes) -> Result<Weights> {
    let place = |error: Error| error.at("pytorch").at(blob.name());
    let options = torch::Options { skip_objects: limits.skip_objects, limits: container(limits) };
    let checkpoint = torch::read(&**blob, &options).map_err(|error| place(error.into()))?;
    if limits.checksums {
        checkpoint.verify(&**blob).map_err(|error| place(error.into()))?;
    }
    let swap = checkpoint.byteorder == wire::Endian::Big;
    for note in &checkpoint.notes {
        notes.odd(blob.name(), note.as_str());
    }
    let file = Arc::new(Inflater::new(blob, limits));
    let refused = checkpoint.refused.into_iter().map(|tensor| (tensor.name, tensor.what));
    let mut weights = Weights { refused: refused.collect(), ..Weights::default() };
    for info in checkpoint.tensors {
        let name = info.name.clone();
        let named = |error: Error| place(error.at(format!("tensor '{name}'")));
        let Some(dtype) = types::TORCH.ours(info.dtype) else {
            weights.refused.insert(name, format!("of type {}", info.dtype.name()));
            continue;
        };
        let mut tensor = tensor(&file, dtype, info).map_err(named)?;
        if swap {
            tensor = Tensor::of(Op::SwapBytes { input: tensor }).map_err(named)?;
        }
        if weights.tensors.insert(name.clone(), tensor).is_some() {
            return Err(named(Error::malformed("stands twice")));
        }
    }
    Ok(weights)
}

fn container(limits: &Limits) -> torch::Limits {
    torch::Limits {
        bytes: limits.pickle_bytes,
        inflated: limits.pickle_inflated,
        deflated: limits.inflated,
        opcodes: limits.pickle_opcodes,
        stack: limits.pickle_stack,
        values: limits.pickle_values,
        nesting: limits.pickle_nesting,
        line: limits.pickle_line,
        integer: limits.pickle_integer,
        name: limits.pickle_name,
        names: limits.pickle_names,
        room: limits.torch_names,
        items: limits.torch_items,
        expanded: limits.expanded,
    }
}

/// In place where the elements lie side by side, else gathered when they are asked for.
fn tensor(file: &Arc<Inflater>, dtype: DType, info: torch::TensorInfo) -> Result<Tensor> {
    let shape = Shape::new(info.shape.clone())?;
    match info.contiguous().filter(|_| info.storage.deflated.is_none()) {
        Some(span) => Tensor::span(dtype, shape, Arc::clone(file.blob()), span.start),
        None => Tensor::view(dtype, shape, Arc::new(Strided { file: Arc::clone(file), info })),
    }
}

/// A transposed, sliced or repeated view of a storage, or one of a deflated storage.
#[derive(Debug)]
struct Strided {
    file: Arc<Inflater>,
    info: torch::TensorInfo,
}

impl View for Strided {
    fn blob(&self) -> &Arc<Blob> {
        self.file.blob()
    }

    fn read(&self, elements: Range<u64>, out: &mut [u8]) -> Result<()> {
        let (blob, storage) = (&**self.file.blob(), &self.info.storage);
        let read = match &storage.deflated {
            None => self.info.read(blob, elements.start, out),
            Some(stream) => {
                let inflate = |blob: &Blob, max, lift| storage.inflate(blob, max, lift);
                let bytes = self.file.bytes(stream.place.start, stream.len, inflate);
                bytes.and_then(|bytes| self.info.read(&*bytes, elements.start, out))
            }
        };
        read.map_err(|error| Error::from(error).at(blob.name()))
    }
}

/// The weights of all shards; index and shards must agree.
fn sharded(
    source: &dyn Source,
    index_name: &str,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<Weights> {
    hub::sharded(source, index_name, limits, notes, &mut |blob, notes| file(blob, limits, notes))
}
