//! NumPy's array → Model of one tensor, in place unless it is in Fortran order.

use std::ops::Range;
use std::sync::Arc;

use npy::{Array, Descr, Kind};

use super::hub::{self, Weights};
use super::inflate::Inflater;
use crate::ir::{Blob, DType, Error, Limits, Model, Notes, Op, Result, Shape, Tensor, View};
use crate::store::Source;

/// Whether the source is one array.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    let Some(name) = source.entry() else { return Ok(false) };
    Ok(npy::probe(&super::head(&*source.open(name)?)?))
}

/// Reads the tensor, which has the file's name, for arrays have none.
///
/// # Errors
/// What the container says.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let name = source.entry().ok_or_else(|| Error::usage("name one .npy file"))?;
    let blob = source.open(name)?;
    let array = npy::read(&*blob, &container(limits));
    let array = array.map_err(|error| Error::from(error).at("npy").at(blob.name()))?;
    let file = Arc::new(Inflater::new(&blob, limits));
    let tensor = tensor(&file, array, Home::File(0)).map_err(|error| error.at(blob.name()))?;
    let stem = name.strip_suffix(".npy").unwrap_or(name).to_owned();
    let mut weights = Weights::default();
    weights.tensors.insert(stem, tensor);
    hub::model("npy", weights, source, limits, notes)
}

pub(super) fn container(limits: &Limits) -> npy::Limits {
    npy::Limits { header: limits.npy_header }
}

/// Where the bytes of an .npy file are.
#[derive(Debug)]
pub(super) enum Home {
    /// In the file at hand, from this offset on.
    File(u64),
    /// In an archive, deflated.
    Deflated(zip::Entry),
}

/// The elements in row-major order and in our order of bytes: in place, or gathered.
pub(super) fn tensor(file: &Arc<Inflater>, array: Array, home: Home) -> Result<Tensor> {
    let (dtype, shape) = (dtype(array.descr)?, Shape::new(array.shape.clone())?);
    let swap = array.descr.endian == wire::Endian::Big;
    // With no more than one dimension of several elements, both orders are one.
    let flat = array.shape.iter().filter(|&&len| len > 1).count() < 2;
    let tensor = match home {
        Home::File(start) if !array.fortran || flat || shape.count() == 0 => {
            let start = start.saturating_add(array.data_offset);
            Tensor::span(dtype, shape, Arc::clone(file.blob()), start)?
        }
        home => {
            let file = Arc::clone(file);
            Tensor::view(dtype, shape, Arc::new(Gathered { file, array, home }))?
        }
    };
    if swap { Tensor::of(Op::SwapBytes { input: tensor }) } else { Ok(tensor) }
}

/// An array in Fortran order, or a deflated one.
#[derive(Debug)]
struct Gathered {
    file: Arc<Inflater>,
    array: Array,
    home: Home,
}

impl View for Gathered {
    fn blob(&self) -> &Arc<Blob> {
        self.file.blob()
    }

    fn read(&self, elements: Range<u64>, out: &mut [u8]) -> Result<()> {
        match &self.home {
            Home::File(start) => {
                let start = start.saturating_add(self.array.data_offset);
                self.gather(elements, out, &mut |at, into| self.blob().read(start + at, into))
            }
            Home::Deflated(entry) => {
                let inflate = |blob: &Blob, max, lift: &'static str| entry.data(blob, max, lift);
                let bytes = self.file.bytes(entry.offset, entry.inflated, inflate);
                let bytes = bytes.map_err(|error| Error::from(error).at(self.blob().name()))?;
                let data = bytes.get(self.array.data_offset as usize..).unwrap_or_default();
                self.gather(elements, out, &mut |at, into| {
                    let piece = data.get(at as usize..at as usize + into.len());
                    let short = || Error::bug("an array that ends before its elements");
                    into.copy_from_slice(piece.ok_or_else(short)?);
                    Ok(())
                })
            }
        }
    }
}

/// Reads bytes of the array's data, from an offset on.
type Fetch<'a> = dyn FnMut(u64, &mut [u8]) -> Result<()> + 'a;

impl Gathered {
    /// Reads elements of the row-major order. In Fortran order the first index runs fastest: what
    /// they have in common lies side by side, one run for each place within a row.
    ///
    /// ```text
    ///   asked for: rows 1 and 2          in the file
    ///   0 3 6                            0 1 2 │ 3 4 5 │ 6 7 8
    ///   1 4 7  ◀                           ━━━     ━━━     ━━━
    ///   2 5 8  ◀
    /// ```
    fn gather(&self, elements: Range<u64>, out: &mut [u8], fetch: &mut Fetch<'_>) -> Result<()> {
        let size = self.array.descr.size;
        if !self.array.fortran {
            return fetch(elements.start * size, out);
        }
        let [height, inner @ ..] = &self.array.shape[..] else { return Ok(()) };
        let row: u64 = inner.iter().product();
        if elements.is_empty() || row == 0 {
            return Ok(());
        }
        let rows = elements.start / row..(elements.end - 1) / row + 1;
        let mut run = vec![0; ((rows.end - rows.start) * size) as usize];
        let within = if rows.end - rows.start == 1 {
            elements.start % row..(elements.end - 1) % row + 1
        } else {
            0..row
        };
        for place in within {
            fetch((backwards(inner, place) * height + rows.start) * size, &mut run)?;
            for (index, element) in rows.clone().zip(run.chunks_exact(size as usize)) {
                let at = index * row + place;
                if elements.contains(&at) {
                    let to = ((at - elements.start) * size) as usize;
                    out[to..to + element.len()].copy_from_slice(element);
                }
            }
        }
        Ok(())
    }
}

/// The place in Fortran order of what has this place in row-major order.
fn backwards(dims: &[u64], mut place: u64) -> u64 {
    let (mut at, mut step) = (0, dims.iter().product::<u64>());
    for &len in dims.iter().rev() {
        step /= len;
        at += place % len * step;
        place /= len;
    }
    at
}

/// The type of the elements.
fn dtype(descr: Descr) -> Result<DType> {
    Ok(match (descr.kind, descr.size) {
        (Kind::Bool, _) => DType::Bool,
        (Kind::Int, 1) => DType::I8,
        (Kind::Int, 2) => DType::I16,
        (Kind::Int, 4) => DType::I32,
        (Kind::Int, 8) => DType::I64,
        (Kind::Uint, 1) => DType::U8,
        (Kind::Uint, 2) => DType::U16,
        (Kind::Uint, 4) => DType::U32,
        (Kind::Uint, 8) => DType::U64,
        (Kind::Float, 1) => DType::F8E5M2,
        (Kind::Float, 2) => DType::F16,
        (Kind::Float, 4) => DType::F32,
        (Kind::Float, 8) => DType::F64,
        (Kind::Bfloat, 2) => DType::BF16,
        (Kind::Complex, 8) => DType::C64,
        (Kind::Complex, 16) => DType::C128,
        _ => return Err(Error::unsupported(format!("elements of {descr}"))),
    })
}
