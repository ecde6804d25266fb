//! Chunks: pieces of a dataset, each of which lies somewhere else, and the indexes that say where.

use wire::{Error, ReadAt, Result, Why, product};

use crate::fields::{Fields, Image, read};
use crate::filter::{self, Filter};
use crate::message::Space;
use crate::{Limits, btree1, btree2, extensible, fixed};

/// One chunk that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Its number in the grid of chunks, row-major.
    pub number: u64,
    /// Where in the file it lies.
    pub offset: u64,
    /// Bytes there.
    pub len: u64,
    /// Filters that were left out, a bit each.
    mask: u32,
}

/// How a dataset is cut, and where the pieces lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    /// Elements of a chunk in each dimension; chunks at the edges are as large.
    pub shape: Vec<u64>,
    /// Chunks in each dimension.
    pub grid: Vec<u64>,
    /// Bytes of a chunk once its filters are undone.
    pub bytes: u64,
    /// Those that were written, in the order of their numbers.
    pub written: Vec<Chunk>,
    filters: Vec<Filter>,
}

impl Chunks {
    /// The chunk of this number, unless it was never written.
    pub fn get(&self, number: u64) -> Option<&Chunk> {
        let at = self.written.binary_search_by_key(&number, |chunk| chunk.number).ok()?;
        self.written.get(at)
    }

    /// The elements of a chunk as they were before filters.
    ///
    /// # Errors
    /// `Invalid` for a chunk that is damaged; `Io`.
    pub fn decode(&self, source: &dyn ReadAt, chunk: &Chunk) -> Result<Vec<u8>> {
        let size = |len: u64| {
            let why = Why::TooLarge { value: len, max: 0, lift: "memory that can be had" };
            usize::try_from(len).map_err(|_| Error::new(chunk.offset, "chunk", why))
        };
        let mut bytes = vec![0; size(chunk.len)?];
        read(source, chunk.offset, &mut bytes, "chunk")?;
        filter::undo(&self.filters, chunk.mask, bytes, chunk.offset, size(self.bytes)?)
    }
}

/// What a layout message is read with.
pub(crate) struct Cut<'a> {
    pub(crate) image: &'a Image<'a>,
    pub(crate) space: &'a Space,
    /// Bytes of an element.
    pub(crate) size: u64,
    pub(crate) filters: Vec<Filter>,
    pub(crate) limits: Limits,
    /// Where the message is, for errors.
    pub(crate) offset: u64,
}

impl Cut<'_> {
    fn invalid(&self, rule: String) -> Error {
        Error::invalid(self.offset, "chunked layout", rule)
    }

    /// Layouts of versions 1 to 3: `edges` has the size of an element as its last one.
    pub(crate) fn by_tree(&self, edges: &[u64], tree: Option<u64>) -> Result<Chunks> {
        let mut chunks = self.chunks(edges)?;
        let Some(tree) = tree else { return Ok(chunks) };
        let rank = self.space.dims.len();
        let kind = btree1::Kind { number: 1, key: edges.len().saturating_mul(8).saturating_add(8) };
        btree1::each(self.image, tree, &kind, &mut |mut key, address| {
            let at = key.offset();
            let len = u64::from(key.u32("chunk size")?);
            let mask = key.u32("chunk filters")?;
            let place =
                (0..rank).map(|_| key.uint(8, "chunk place")).collect::<Result<Vec<_>>>()?;
            let scaled = place
                .iter()
                .zip(&chunks.shape)
                .map(|(at, edge)| at.is_multiple_of(*edge).then(|| at.checked_div(*edge))?);
            let scaled = scaled.collect::<Option<Vec<u64>>>();
            let scaled = scaled.ok_or_else(|| {
                Error::invalid(at, "chunk place", format!("{place:?} is at no multiple of a chunk"))
            })?;
            self.put(&mut chunks, &scaled, Some(address), len, mask)
        })?;
        self.sorted(chunks)
    }

    /// Layouts of version 4: the edges, then which index there is.
    pub(crate) fn by_index(&self, fields: &mut Fields<'_>) -> Result<Chunks> {
        let flags = fields.u8("chunk flags")?;
        let rank = fields.u8("chunk rank")?;
        let width = usize::from(fields.u8("chunk dimension size")?).min(8);
        let edges = (0..rank).map(|_| fields.uint(width, "chunk dimension"));
        let edges = edges.collect::<Result<Vec<_>>>()?;
        let mut chunks = self.chunks(&edges)?;
        let kind_at = fields.offset();
        let kind = fields.u8("chunk index type")?;
        let mut single = (chunks.bytes, 0);
        match kind {
            1 if flags & 2 != 0 => {
                single = (fields.length("chunk size")?, fields.u32("chunk filters")?);
            }
            1 | 2 => {}
            3 => fields.skip(1, "fixed array")?,
            4 => fields.skip(5, "extensible array")?,
            5 => fields.skip(6, "B-tree")?,
            other => {
                let value = other.to_string();
                return Err(Error::new(kind_at, "chunk index type", Why::Unknown { value }));
            }
        }
        let Some(address) = fields.address("chunk index")? else { return Ok(chunks) };
        match kind {
            1 => self.put(
                &mut chunks,
                &vec![0; self.space.dims.len()],
                Some(address),
                single.0,
                single.1,
            )?,
            5 => self.tree(&mut chunks, address)?,
            _ => self.array(&mut chunks, kind, address)?,
        }
        if flags & 1 != 0 {
            self.skip_edges(&mut chunks);
        }
        self.sorted(chunks)
    }

    /// Chunks of these edges, none of which was written yet.
    fn chunks(&self, edges: &[u64]) -> Result<Chunks> {
        let rank = self.space.dims.len();
        let (shape, last) = edges.split_at_checked(rank).unwrap_or((edges, &[]));
        if rank == 0 || last != [self.size] || shape.contains(&0) {
            let dims = &self.space.dims;
            let text = format!("cuts {dims:?} elements of {} bytes into {edges:?}", self.size);
            return Err(self.invalid(text));
        }
        let bytes =
            product(edges).ok_or_else(|| self.invalid(format!("{edges:?} is too large")))?;
        if bytes > self.limits.chunk {
            let max = self.limits.chunk;
            let why = Why::TooLarge { value: bytes, max, lift: "hdf5-chunk" };
            return Err(Error::new(self.offset, "bytes of a chunk", why));
        }
        let grid = self.space.dims.iter().zip(shape).map(|(dim, edge)| dim.div_ceil(*edge));
        let grid: Vec<u64> = grid.collect();
        let filters = self.filters.clone();
        Ok(Chunks { shape: shape.to_vec(), grid, bytes, written: Vec::new(), filters })
    }

    /// Notes a chunk at a place of the grid, if it was written.
    fn put(
        &self,
        chunks: &mut Chunks,
        scaled: &[u64],
        address: Option<u64>,
        len: u64,
        mask: u32,
    ) -> Result<()> {
        let Some(address) = address else { return Ok(()) };
        let number = scaled.iter().zip(&chunks.grid).try_fold(0u64, |number, (at, count)| {
            (at < count).then(|| number.checked_mul(*count)?.checked_add(*at))?
        });
        let number = number.ok_or_else(|| {
            self.invalid(format!("a chunk at {scaled:?} of a grid of {:?}", chunks.grid))
        })?;
        let offset = self.image.place(address, len, "chunk")?;
        // Filters can make a chunk longer, and a file that is mostly holes has room for any length.
        let max = self.limits.chunk;
        if len > max {
            let why = Why::TooLarge { value: len, max, lift: "hdf5-chunk" };
            return Err(Error::new(offset, "stored bytes of a chunk", why));
        }
        if self.filters.is_empty() && len != chunks.bytes {
            let rule = format!("has {len} bytes, expected {}", chunks.bytes);
            return Err(Error::invalid(offset, "chunk", rule));
        }
        if chunks.written.len() as u64 >= self.limits.chunks {
            let max = self.limits.chunks;
            let why = Why::TooLarge { value: max.saturating_add(1), max, lift: "hdf5-chunks" };
            return Err(Error::new(self.offset, "number of chunks", why));
        }
        chunks.written.push(Chunk { number, offset, len, mask });
        Ok(())
    }

    /// The chunks in order; none stands twice.
    fn sorted(&self, mut chunks: Chunks) -> Result<Chunks> {
        chunks.written.sort_unstable_by_key(|chunk| chunk.number);
        let mut pairs = chunks.written.windows(2);
        let twice = pairs.find(|pair| matches!(pair, [a, b] if a.number == b.number));
        match twice {
            Some([a, ..]) => Err(self.invalid(format!("chunk {} stands twice", a.number))),
            _ => Ok(chunks),
        }
    }

    /// Chunks that reach past an edge of the dataset were written without filters.
    fn skip_edges(&self, chunks: &mut Chunks) {
        let dims = &self.space.dims;
        for chunk in &mut chunks.written {
            let place = coordinates(chunk.number, &chunks.grid);
            let ends = place
                .iter()
                .zip(&chunks.shape)
                .map(|(at, edge)| at.saturating_add(1).saturating_mul(*edge));
            if ends.zip(dims).any(|(end, dim)| end > *dim) {
                chunk.mask = u32::MAX;
            }
        }
    }

    fn tree(&self, chunks: &mut Chunks, address: u64) -> Result<()> {
        let (rank, bytes) = (self.space.dims.len(), chunks.bytes);
        let kind = if self.filters.is_empty() { 10 } else { 11 };
        btree2::each(self.image, address, &[kind], &mut |mut record| {
            let address = record.address("chunk address")?;
            let (mut len, mut mask) = (bytes, 0);
            if kind == 11 {
                let width = record.left().saturating_sub(rank.saturating_mul(8)).saturating_sub(4);
                len = record.uint(width.min(8), "chunk size")?;
                mask = record.u32("chunk filters")?;
            }
            let place = (0..rank).map(|_| record.uint(8, "chunk place"));
            self.put(chunks, &place.collect::<Result<Vec<_>>>()?, address, len, mask)
        })
    }

    /// Indexes by number: implicit (2), fixed (3) and extensible arrays (4). They count chunks of
    /// the dataset as it may become, its dimension without bound first.
    fn array(&self, chunks: &mut Chunks, kind: u8, address: u64) -> Result<()> {
        let is_filtered = !self.filters.is_empty();
        let mut entries = Entries::new(chunks.bytes, is_filtered, self.limits.chunks);
        let dims = self.space.max.iter().zip(&self.space.dims).zip(&chunks.shape);
        let full = dims.map(|((max, dim), edge)| max.unwrap_or(*dim).max(*dim).div_ceil(*edge));
        let full: Vec<u64> = full.collect();
        match kind {
            3 => fixed::read(self.image, address, &mut entries)?,
            4 => extensible::read(self.image, address, &mut entries)?,
            _ => self.side_by_side(address, product(&full), &mut entries)?,
        }
        let grows = self.space.max.iter().position(Option::is_none).filter(|_| kind == 4);
        for (number, address, len, mask) in entries.found {
            let scaled = place_of(number, &full, grows);
            // Room for chunks that the dataset has not grown to is no part of it.
            if scaled.iter().zip(&chunks.grid).all(|(at, count)| at < count) {
                self.put(chunks, &scaled, Some(address), len, mask)?;
            }
        }
        Ok(())
    }

    /// Chunks that lie one after the other.
    fn side_by_side(&self, address: u64, count: Option<u64>, entries: &mut Entries) -> Result<()> {
        let (count, len) = (count.unwrap_or(u64::MAX), entries.chunk);
        self.image.place(address, count.saturating_mul(len), "chunks")?;
        entries.check_count(count, self.offset)?;
        let place = |no: u64| (no, address.saturating_add(no.saturating_mul(len)), len, 0);
        entries.found.extend((0..count).map(place));
        Ok(())
    }
}

/// Where a number of a row-major grid is.
pub(crate) fn coordinates(number: u64, grid: &[u64]) -> Vec<u64> {
    let mut rest = number;
    let mut place = vec![0; grid.len()];
    for (at, count) in place.iter_mut().zip(grid).rev() {
        *at = rest.checked_rem(*count).unwrap_or(0);
        rest = rest.checked_div(*count).unwrap_or(0);
    }
    place
}

/// The same where the dimension `first` counts slowest, without bound.
fn place_of(number: u64, grid: &[u64], first: Option<usize>) -> Vec<u64> {
    let Some(first) = first else { return coordinates(number, grid) };
    let grid: Vec<u64> =
        grid.iter().enumerate().map(|(no, n)| if no == first { 1 } else { *n }).collect();
    let others = product(&grid).unwrap_or(u64::MAX);
    let mut place = coordinates(number.checked_rem(others).unwrap_or(0), &grid);
    if let Some(at) = place.get_mut(first) {
        *at = number.checked_div(others).unwrap_or(0);
    }
    place
}

/// The entries of an array that were written.
pub(crate) struct Entries {
    /// Bytes of a chunk that no filter made shorter.
    chunk: u64,
    is_filtered: bool,
    /// Most entries.
    max: u64,
    /// Bytes of an entry.
    entry: usize,
    /// Entries that were passed, written or not.
    len: u64,
    /// Number, address, length and filters left out.
    found: Vec<(u64, u64, u64, u32)>,
}

impl Entries {
    fn new(chunk: u64, is_filtered: bool, max: u64) -> Self {
        Self { chunk, is_filtered, max, entry: 0, len: 0, found: Vec::new() }
    }

    /// Reads how long an entry is.
    pub(crate) fn head(&mut self, image: &Image<'_>, fields: &mut Fields<'_>) -> Result<()> {
        let at = fields.offset();
        self.entry = fields.u8("entry size")?.into();
        let least = image.widths.address.saturating_add(if self.is_filtered { 5 } else { 0 });
        let most = image.widths.address.saturating_add(if self.is_filtered { 12 } else { 0 });
        if (least..=most).contains(&self.entry) {
            return Ok(());
        }
        let rule = format!("is {}, expected {least} to {most}", self.entry);
        Err(Error::invalid(at, "entry size", rule))
    }

    /// Bytes of an entry.
    pub(crate) fn entry_len(&self) -> u64 {
        self.entry as u64
    }

    /// Entries that were passed.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether so many may be read.
    pub(crate) fn check_count(&self, count: u64, at: u64) -> Result<()> {
        if count <= self.max {
            return Ok(());
        }
        let why = Why::TooLarge { value: count, max: self.max, lift: "hdf5-chunks" };
        Err(Error::new(at, "number of chunks", why))
    }

    /// So many entries that were never written.
    pub(crate) fn none(&mut self, count: u64) {
        self.len = self.len.saturating_add(count);
    }

    /// Takes so many entries.
    pub(crate) fn take(&mut self, fields: &mut Fields<'_>, count: u64) -> Result<()> {
        for number in self.len..self.len.saturating_add(count) {
            let mut entry = fields.part(self.entry, "chunk entry")?;
            let address = entry.address("chunk address")?;
            let (mut len, mut mask) = (self.chunk, 0);
            if self.is_filtered {
                len = entry.uint(entry.left().saturating_sub(4), "chunk size")?;
                mask = entry.u32("chunk filters")?;
            }
            self.found.extend(address.map(|address| (number, address, len, mask)));
        }
        self.none(count);
        Ok(())
    }

    /// Takes the entries of a block that begins with this signature and has so long a head.
    pub(crate) fn block(
        &mut self,
        image: &Image<'_>,
        address: u64,
        (signature, head): (&[u8; 4], u64),
        count: u64,
    ) -> Result<()> {
        let len = count.saturating_mul(self.entry_len()).saturating_add(head).saturating_add(4);
        let bytes = image.summed(address, len, "chunk array block")?;
        let mut fields = image.fields(&bytes, address);
        fields.signature(signature, "chunk array block")?;
        let head = usize::try_from(head).unwrap_or(usize::MAX);
        fields.skip(head.saturating_sub(4), "chunk array block")?;
        self.take(&mut fields, count)
    }

    /// Takes the entries of a page.
    pub(crate) fn page(&mut self, image: &Image<'_>, address: u64, count: u64) -> Result<()> {
        let len = count.saturating_mul(self.entry_len()).saturating_add(4);
        let bytes = image.summed(address, len, "chunk array page")?;
        self.take(&mut image.fields(&bytes, address), count)
    }
}
