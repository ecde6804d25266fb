//! Datasets: the type and dimensions of their elements, and where those lie.

use std::ops::Range;
use std::sync::Arc;

use wire::{Error, Result, product};

use crate::attribute::{self, Attribute};
use crate::chunks::{Chunk, Chunks, Cut, coordinates};
use crate::datatype::Datatype;
use crate::fields::{Fields, Image};
use crate::message::{self, Message, Space};
use crate::{Limits, filter};

/// An array of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Where its object header lies: several names may lead there.
    pub offset: u64,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its dimensions, the outermost first; nothing where it has no elements at all.
    pub shape: Option<Vec<u64>>,
    /// Where the elements lie.
    pub storage: Storage,
    /// The value of elements that were never written, where it is not zero.
    pub fill: Option<Vec<u8>>,
    /// Its attributes.
    pub attributes: Vec<Attribute>,
}

/// Where the elements of a dataset lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// Nowhere: none was ever written.
    Nowhere,
    /// Side by side, at this place of the file.
    Place(Range<u64>),
    /// In pieces.
    Chunks(Chunks),
    /// Where this crate does not read: why.
    Refused(String),
}

/// Gives the elements of a chunk.
pub type Fetch<'a> = dyn FnMut(&Chunk) -> Result<Arc<Vec<u8>>> + 'a;

impl Dataset {
    /// The number of elements.
    pub fn count(&self) -> u64 {
        // `read` has checked that the product fits.
        self.shape.as_deref().map_or(0, |shape| product(shape).unwrap_or(0))
    }

    /// Bytes of elements that were never written.
    pub fn unwritten(&self) -> u64 {
        let all = self.count().saturating_mul(self.datatype.size);
        match &self.storage {
            Storage::Place(_) | Storage::Refused(_) => 0,
            Storage::Nowhere => all,
            Storage::Chunks(chunks) => {
                let written = chunks.bytes.saturating_mul(chunks.written.len() as u64);
                all.saturating_sub(written)
            }
        }
    }

    /// Gathers a range of elements, row-major, that do not lie side by side; `fetch` gives the
    /// chunks that it needs.
    ///
    /// # Errors
    /// What `fetch` says.
    pub fn gather(
        &self,
        elements: Range<u64>,
        out: &mut [u8],
        fetch: &mut Fetch<'_>,
    ) -> Result<()> {
        let size = usize::try_from(self.datatype.size).unwrap_or(usize::MAX);
        let Storage::Chunks(chunks) = &self.storage else {
            self.fill(out);
            return Ok(());
        };
        let shape = self.shape.as_deref().unwrap_or_default();
        let (mut at, mut out) = (elements.start, out);
        let mut held: Option<(u64, Option<Arc<Vec<u8>>>)> = None;
        while at < elements.end && !out.is_empty() {
            let run = chunks.run(at, shape);
            let len = run.len.min(elements.end.saturating_sub(at));
            let bytes = usize::try_from(len).unwrap_or(usize::MAX).saturating_mul(size);
            let (piece, rest) = out.split_at_mut(bytes.min(out.len()));
            if held.as_ref().is_none_or(|(number, _)| *number != run.chunk) {
                let chunk = chunks.get(run.chunk).map(&mut *fetch).transpose()?;
                held = Some((run.chunk, chunk));
            }
            let start = usize::try_from(run.start).unwrap_or(usize::MAX).saturating_mul(size);
            let from = held.as_ref().and_then(|(_, chunk)| chunk.as_ref());
            match from.and_then(|chunk| chunk.get(start..start.saturating_add(piece.len()))) {
                Some(from) => piece.copy_from_slice(from),
                None => self.fill(piece),
            }
            (at, out) = (at.saturating_add(len), rest);
        }
        Ok(())
    }

    /// Elements that were never written.
    fn fill(&self, out: &mut [u8]) {
        match &self.fill {
            Some(value) => {
                for (to, from) in out.iter_mut().zip(value.iter().cycle()) {
                    *to = *from;
                }
            }
            None => out.fill(0),
        }
    }
}

/// Elements that lie side by side in the dataset and in one chunk.
struct Run {
    chunk: u64,
    /// The first one, counted in the chunk.
    start: u64,
    len: u64,
}

impl Chunks {
    /// The run that begins at an element.
    fn run(&self, element: u64, shape: &[u64]) -> Run {
        let place = coordinates(element, shape);
        let (mut chunk, mut start, mut len) = (0u64, 0u64, 1u64);
        for (no, (at, edge)) in place.iter().zip(&self.shape).enumerate() {
            let [count, dim] = [self.grid.get(no), shape.get(no)].map(|n| n.copied().unwrap_or(1));
            let inside = at.checked_rem(*edge).unwrap_or(0);
            let number = at.checked_div(*edge).unwrap_or(0);
            chunk = chunk.saturating_mul(count).saturating_add(number);
            start = start.saturating_mul(*edge).saturating_add(inside);
            len = edge.saturating_sub(inside).min(dim.saturating_sub(*at));
        }
        Run { chunk, start, len: len.max(1) }
    }
}

/// Reads a dataset; nothing if these are not the messages of one.
pub(crate) fn read(
    image: &Image<'_>,
    address: u64,
    messages: &[Message],
    limits: &Limits,
) -> Result<Option<Dataset>> {
    let [space, kind, layout] = [message::DATASPACE, message::DATATYPE, message::LAYOUT]
        .map(|kind| message::find(messages, kind));
    let (Some(space), Some(kind), Some(layout)) = (space, kind, layout) else { return Ok(None) };
    let space_at = space.offset;
    let space = space.clone().resolved(image)?;
    let space = message::dataspace(&mut space.fields(image))?;
    let datatype = message::datatype(image, kind)?;
    let shape = space.as_ref().map(|space| space.dims.clone());
    let dims = shape.clone().unwrap_or_else(|| vec![0]);
    let bytes = product(&[dims.as_slice(), &[datatype.size]].concat()).ok_or_else(|| {
        let rule = format!("{dims:?} elements of {} bytes pass 64-bit numbers", datatype.size);
        Error::invalid(space_at, "dataspace", rule)
    })?;
    let fill = message::fill(image, messages)?;
    let fill = fill.filter(|value| value.iter().any(|byte| *byte != 0));
    if let Some(value) = fill.as_ref().filter(|value| value.len() as u64 != datatype.size) {
        let rule = format!("has {} bytes, the elements {}", value.len(), datatype.size);
        return Err(Error::invalid(space_at, "fill value", rule));
    }
    let filters = message::find(messages, message::FILTERS);
    let filters = filters.map(|m| filter::read(image, m.clone())).transpose()?;
    let space = space.unwrap_or(Space { dims: vec![0], max: vec![Some(0)] });
    let cut = Cut {
        image,
        space: &space,
        size: datatype.size,
        filters: filters.unwrap_or_default(),
        limits: *limits,
        offset: layout.offset,
    };
    let mut storage =
        self::layout(&cut, &mut layout.clone().resolved(image)?.fields(image), bytes)?;
    if message::find(messages, message::EXTERNAL).is_some() {
        storage = Storage::Refused("stored in another file, and none is opened".into());
    }
    let offset = image.base.saturating_add(address);
    let attributes = attribute::all(image, messages)?;
    Ok(Some(Dataset { offset, datatype, shape, storage, fill, attributes }))
}

/// Where a layout message says that `bytes` bytes of elements lie.
fn layout(cut: &Cut<'_>, fields: &mut Fields<'_>, bytes: u64) -> Result<Storage> {
    let version = fields.version(&[1, 2, 3, 4, 5], "layout version")?;
    if version < 3 {
        return layout_old(cut, fields, bytes);
    }
    let class_at = fields.offset();
    match fields.u8("layout class")? {
        0 => {
            let len = fields.uint(2, "compact size")?;
            compact(fields, len, bytes)
        }
        1 => {
            let address = fields.address("data address")?;
            let len = fields.length("data size")?;
            contiguous(cut, address, len, bytes)
        }
        2 => chunked(cut, |cut| match version {
            3 => {
                let rank = fields.u8("chunk rank")?;
                let tree = fields.address("chunk index")?;
                let edges = (0..rank).map(|_| Ok(u64::from(fields.u32("chunk dimension")?)));
                cut.by_tree(&edges.collect::<Result<Vec<_>>>()?, tree)
            }
            _ => cut.by_index(fields),
        }),
        3 => Ok(Storage::Refused("made of other datasets, perhaps of other files".into())),
        other => {
            let value = format!("class {other}");
            Err(Error::new(class_at, "layout class", wire::Why::Unknown { value }))
        }
    }
}

/// Versions 1 and 2.
fn layout_old(cut: &Cut<'_>, fields: &mut Fields<'_>, bytes: u64) -> Result<Storage> {
    let rank = fields.u8("layout rank")?;
    let class_at = fields.offset();
    let class = fields.u8("layout class")?;
    fields.skip(5, "layout")?;
    let address = if class == 0 { None } else { fields.address("data address")? };
    let dims = (0..rank).map(|_| Ok(u64::from(fields.u32("layout dimension")?)));
    let dims = dims.collect::<Result<Vec<_>>>()?;
    match class {
        0 => {
            let len = fields.uint(4, "compact size")?;
            compact(fields, len, bytes)
        }
        1 => contiguous(cut, address, bytes, bytes),
        2 => chunked(cut, |cut| cut.by_tree(&dims, address)),
        other => {
            let value = format!("class {other}");
            Err(Error::new(class_at, "layout class", wire::Why::Unknown { value }))
        }
    }
}

fn compact(fields: &mut Fields<'_>, len: u64, bytes: u64) -> Result<Storage> {
    let start = fields.offset();
    fields.skip(usize::try_from(len).unwrap_or(usize::MAX), "compact data")?;
    placed(start, len, bytes)
}

fn contiguous(cut: &Cut<'_>, address: Option<u64>, len: u64, bytes: u64) -> Result<Storage> {
    let Some(address) = address.filter(|_| bytes > 0) else { return Ok(Storage::Nowhere) };
    placed(cut.image.place(address, bytes, "data")?, len, bytes)
}

fn placed(start: u64, len: u64, bytes: u64) -> Result<Storage> {
    if len < bytes {
        let rule = format!("has {len} bytes, and the elements need {bytes}");
        return Err(Error::invalid(start, "data size", rule));
    }
    Ok(Storage::Place(start..start.saturating_add(bytes)))
}

/// What is packed by an unknown filter is not looked at: its chunks are of no use.
fn chunked(cut: &Cut<'_>, read: impl FnOnce(&Cut<'_>) -> Result<Chunks>) -> Result<Storage> {
    let chunks = read(cut)?;
    Ok(match filter::unknown(&cut.filters) {
        Some(why) => Storage::Refused(why),
        None => Storage::Chunks(chunks),
    })
}
