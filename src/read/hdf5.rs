//! HDF5 → Model: datasets under their paths, in place where their elements lie side by side.
//!
//! Keras's files are HDF5, too: `read::keras` takes the datasets from here and knows their names.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ::hdf5::{Class, Dataset, File, Float, Object, Storage};
use wire::Endian;

use super::hub::Weights;
use crate::ir::{Blob, DType, Error, Limits, Model, Notes, Op, Result, Shape, Tensor, View};
use crate::store::Source;

/// Whether the source is an HDF5 file.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    let Some(name) = source.entry() else { return Ok(false) };
    Ok(::hdf5::probe(&*source.open(name)?)?)
}

/// Reads the numeric datasets; others are named as refused.
///
/// # Errors
/// What the container says.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let name = source.entry().ok_or_else(|| Error::malformed("expected one file"))?;
    let stored = Arc::new(Stored::whole(source.open(name)?));
    let file = stored.open("hdf5", limits, notes)?;
    let mut weights = Weights::default();
    for (path, dataset) in file.datasets() {
        stored.add(path, dataset, limits, &mut weights)?;
    }
    Ok(model("hdf5", weights, source))
}

/// A model of these weights. What lies beside such a file is not of it: the names in a
/// config.json of the hub are not those of its arrays.
pub(super) fn model(format: &'static str, weights: Weights, source: &dyn Source) -> Model {
    let Weights { tensors, refused, kernels } = weights;
    Model { tensors, refused, kernels, ..Model::empty(format, source.label()) }
}

/// An HDF5 file: a whole one, or an entry of an archive.
#[derive(Debug)]
pub(super) struct Stored {
    blob: Arc<Blob>,
    place: Range<u64>,
    kept: Mutex<VecDeque<Decoded>>,
}

/// Where a chunk lies, and its bytes once decoded.
type Decoded = (u64, Arc<Vec<u8>>);

/// Bytes of decoded chunks that are kept: rows of a matrix cross several chunks, and the rows
/// that follow cross the same ones.
const KEPT: usize = 64 << 20;

impl Stored {
    pub(super) fn whole(blob: Arc<Blob>) -> Self {
        let size = blob.size();
        Self::part(blob, 0..size)
    }

    /// The file that lies at a place of another.
    pub(super) fn part(blob: Arc<Blob>, place: Range<u64>) -> Self {
        Self { blob, place, kept: Mutex::default() }
    }

    /// Reads all headers; what is odd is noted.
    pub(super) fn open(&self, format: &str, limits: &Limits, notes: &mut Notes) -> Result<File> {
        let limits = ::hdf5::Limits {
            objects: limits.hdf5_objects,
            chunk: limits.hdf5_chunk,
            chunks: limits.hdf5_chunks,
            block: limits.hdf5_block,
            depth: limits.hdf5_depth,
        };
        let opened = ::hdf5::open(self, &limits);
        let file = opened.map_err(|e| Error::from(e).at(format).at(self.blob.name()))?;
        for (path, text) in &file.notes {
            notes.odd(path, text);
        }
        for (path, dataset) in file.datasets().filter(|(_, dataset)| dataset.unwritten() > 0) {
            let bytes = dataset.unwritten();
            notes.odd(path, format!("{bytes} bytes of it were never written: the fill value"));
        }
        Ok(file)
    }

    /// Adds a dataset to the weights: as a tensor, or with the reason why it is none.
    pub(super) fn add(
        self: &Arc<Self>,
        name: &str,
        dataset: &Arc<Dataset>,
        limits: &Limits,
        weights: &mut Weights,
    ) -> Result<()> {
        let named = |error: Error| error.at(format!("'{name}'")).at(self.blob.name());
        match self.tensor(dataset, limits).map_err(named)? {
            Found::Tensor(tensor) => {
                if weights.tensors.insert(name.to_owned(), tensor).is_some() {
                    return Err(named(Error::malformed("stands twice")));
                }
            }
            Found::Refused(why) => {
                weights.refused.insert(name.to_owned(), why);
            }
        }
        Ok(())
    }

    fn tensor(self: &Arc<Self>, dataset: &Arc<Dataset>, limits: &Limits) -> Result<Found> {
        let Some((dtype, endian)) = element(dataset) else {
            return Ok(Found::Refused(format!("of {}", dataset.datatype.name())));
        };
        let Some(shape) = dataset.shape.clone() else {
            return Ok(Found::Refused("a dataset without a shape".into()));
        };
        let unwritten = dataset.unwritten();
        if unwritten > limits.expanded {
            let max = limits.expanded;
            let text =
                format!("{unwritten} bytes of it were never written, expected at most {max}");
            return Err(Error::above("expanded", text));
        }
        let shape = Shape::new(shape)?;
        let tensor = match &dataset.storage {
            Storage::Refused(why) => return Ok(Found::Refused(why.clone())),
            Storage::Place(at) => {
                let start = self.place.start + at.start;
                Tensor::span(dtype, shape, Arc::clone(&self.blob), start)?
            }
            Storage::Nowhere | Storage::Chunks(_) => {
                let view = Scattered { file: Arc::clone(self), dataset: Arc::clone(dataset) };
                Tensor::view(dtype, shape, Arc::new(view))?
            }
        };
        Ok(Found::Tensor(match endian {
            Endian::Big if dtype.block_bytes() > 1 => Tensor::of(Op::SwapBytes { input: tensor })?,
            _ => tensor,
        }))
    }

    /// The few numbers of a small dataset, as bytes; for what is no weight.
    pub(super) fn small(
        self: &Arc<Self>,
        dataset: &Arc<Dataset>,
        limits: &Limits,
    ) -> Option<Vec<u8>> {
        let Ok(Found::Tensor(tensor)) = self.tensor(dataset, limits) else { return None };
        if tensor.bytes() > 64 {
            return None;
        }
        let mut bytes = vec![0; tensor.bytes() as usize];
        tensor.read(0..tensor.shape().count(), &mut bytes, &mut Default::default()).ok()?;
        Some(bytes)
    }

    /// The bytes of a chunk, decoded by whoever asks first.
    fn chunk(&self, dataset: &Dataset, chunk: &::hdf5::Chunk) -> wire::Result<Arc<Vec<u8>>> {
        let Storage::Chunks(chunks) = &dataset.storage else { return Ok(Arc::default()) };
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = kept().iter().find(|(at, _)| *at == chunk.offset) {
            return Ok(Arc::clone(bytes));
        }
        // Not under the lock: others decode other chunks meanwhile.
        let bytes = Arc::new(chunks.decode(self, chunk)?);
        let mut kept = kept();
        let mut held: usize = kept.iter().map(|(_, bytes)| bytes.len()).sum();
        while held.saturating_add(bytes.len()) > KEPT
            && let Some((_, oldest)) = kept.pop_front()
        {
            held -= oldest.len();
        }
        kept.push_back((chunk.offset, Arc::clone(&bytes)));
        Ok(bytes)
    }
}

/// What became of a dataset.
enum Found {
    Tensor(Tensor),
    Refused(String),
}

impl wire::ReadAt for Stored {
    fn size(&self) -> u64 {
        self.place.end - self.place.start
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        if wire::fits(offset, into.len() as u64, self.size()).is_none() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.blob.read_at(self.place.start + offset, into)
    }
}

/// A dataset in pieces, or one that was never written.
#[derive(Debug)]
struct Scattered {
    file: Arc<Stored>,
    dataset: Arc<Dataset>,
}

impl View for Scattered {
    fn blob(&self) -> &Arc<Blob> {
        &self.file.blob
    }

    fn read(&self, elements: Range<u64>, out: &mut [u8]) -> Result<()> {
        let mut fetch = |chunk: &::hdf5::Chunk| self.file.chunk(&self.dataset, chunk);
        let gathered = self.dataset.gather(elements, out, &mut fetch);
        gathered.map_err(|error| Error::from(error).at(self.file.blob.name()))
    }
}

/// The type of the elements and the order of their bytes, if it is one that is read.
fn element(dataset: &Dataset) -> Option<(DType, Endian)> {
    let datatype = &dataset.datatype;
    Some(match &datatype.class {
        Class::Integer { signed, endian } => (integer(*signed, datatype.size)?, *endian),
        Class::Float(float, endian) => (self::float(*float, datatype.size)?, *endian),
        // h5py knows no bf16: Keras keeps its bytes, and says so beside them.
        Class::Opaque if datatype.size == 2 => {
            let is_bf16 = |a: &&::hdf5::Attribute| {
                a.name == "dtype" && a.texts.as_deref() == Some(&["bfloat16".to_owned()])
            };
            dataset.attributes.iter().find(is_bf16).map(|_| (DType::BF16, Endian::Little))?
        }
        Class::Enumeration(base, names) if base.size == 1 => {
            let pairs = names.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            let is_bool = pairs.eq([("FALSE", [0].as_slice()), ("TRUE", &[1])]);
            is_bool.then_some((DType::Bool, Endian::Little))?
        }
        Class::Compound(members) => complex(members, datatype.size)?,
        _ => return None,
    })
}

fn integer(signed: bool, size: u64) -> Option<DType> {
    Some(match (signed, size) {
        (true, 1) => DType::I8,
        (true, 2) => DType::I16,
        (true, 4) => DType::I32,
        (true, 8) => DType::I64,
        (false, 1) => DType::U8,
        (false, 2) => DType::U16,
        (false, 4) => DType::U32,
        (false, 8) => DType::U64,
        _ => return None,
    })
}

fn float(float: Float, size: u64) -> Option<DType> {
    let known = [
        (Float::F16, 2, DType::F16),
        (Float::BF16, 2, DType::BF16),
        (Float::F32, 4, DType::F32),
        (Float::F64, 8, DType::F64),
    ];
    let known = known.into_iter().find(|(form, bytes, _)| *form == float && *bytes == size);
    known.map(|(_, _, dtype)| dtype)
}

/// h5py's complex numbers: compounds of `r` and `i`, which are of one type and fill the element.
fn complex(members: &[::hdf5::Member], size: u64) -> Option<(DType, Endian)> {
    let [real, imaginary] = members else { return None };
    let is_pair = real.name == "r" && imaginary.name == "i" && real.offset == 0;
    let half = size / 2;
    let Class::Float(form, Endian::Little) = real.datatype.class else { return None };
    let fits = imaginary.offset == half && real.datatype == imaginary.datatype;
    match float(form, real.datatype.size).filter(|_| is_pair && fits)? {
        DType::F32 if size == 8 => Some((DType::C64, Endian::Little)),
        DType::F64 if size == 16 => Some((DType::C128, Endian::Little)),
        _ => None,
    }
}

/// The texts of an attribute, which Keras cuts into `name0`, `name1` and so on where it is long.
pub(super) fn texts(file: &File, path: &str, name: &str) -> Option<Vec<String>> {
    if let Some(attribute) = file.attribute(path, name) {
        // No texts at all are stored as no numbers.
        let is_empty = attribute.value.is_empty();
        return attribute.texts.clone().or_else(|| is_empty.then(Vec::new));
    }
    let piece = |no: usize| file.attribute(path, &format!("{name}{no}"))?.texts.clone();
    let pieces: Vec<Vec<String>> = (0..).map_while(piece).collect();
    (!pieces.is_empty()).then(|| pieces.concat())
}

/// Whether there is such a group.
pub(super) fn has_group(file: &File, path: &str) -> bool {
    matches!(file.objects.get(path), Some(Object::Group(_)))
}
