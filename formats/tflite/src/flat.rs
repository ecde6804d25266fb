//! FlatBuffers: tables whose fields are found by a vtable, and vectors. Every place is held against
//! the length of the file before it is read.

use std::cell::Cell;

use wire::{Error, ReadAt, Result, Why};

use crate::limits::{Limit, Limits};

/// A file, and how much of its tables, lists and names may still be read. Tables may share them, so
/// that a small file could say much.
pub(crate) struct File<'a> {
    source: &'a dyn ReadAt,
    pub(crate) size: u64,
    budget: Cell<u64>,
    pub(crate) limits: Limits,
}

/// A table, by its place and the place and the length of its vtable.
#[derive(Clone, Copy)]
pub(crate) struct Table<'f, 'a> {
    pub(crate) file: &'f File<'a>,
    pub(crate) at: u64,
    vtable: u64,
    vtable_len: u16,
    len: u16,
}

/// A vector: where its first element is, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vector {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl<'a> File<'a> {
    pub(crate) fn new(source: &'a dyn ReadAt, limits: &Limits) -> Self {
        let size = source.size();
        let budget = Cell::new(size.saturating_mul(4).saturating_add(1 << 20));
        Self { source, size, budget, limits: *limits }
    }

    /// Bytes at a place.
    pub(crate) fn array<const N: usize>(&self, at: u64, what: &'static str) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(at, &mut bytes, what)?;
        Ok(bytes)
    }

    pub(crate) fn u32(&self, at: u64, what: &'static str) -> Result<u32> {
        self.array(at, what).map(u32::from_le_bytes)
    }

    fn u16(&self, at: u64, what: &'static str) -> Result<u16> {
        self.array(at, what).map(u16::from_le_bytes)
    }

    fn fill(&self, at: u64, into: &mut [u8], what: &'static str) -> Result<()> {
        self.fits(at, into.len() as u64, what)?;
        let left = self.budget.get().checked_sub(into.len() as u64);
        let Some(left) = left else {
            let rule =
                "its tables and lists are shared so often that they say more than it has bytes";
            return Err(Error::invalid(at, what, rule));
        };
        self.budget.set(left);
        let read = self.source.read_at(at, into);
        read.map_err(|cause| Error::new(at, what, Why::Io { cause: cause.to_string() }))
    }

    /// Bytes that lie within the file.
    pub(crate) fn fits(&self, at: u64, len: u64, what: &'static str) -> Result<()> {
        match wire::fits(at, len, self.size) {
            Some(_) => Ok(()),
            None => {
                let have = self.size.saturating_sub(at);
                Err(Error::new(at, what, Why::Truncated { need: len, have }))
            }
        }
    }

    /// Where the offset that stands at a place leads.
    fn follow(&self, at: u64, what: &'static str) -> Result<u64> {
        let offset = u64::from(self.u32(at, what)?);
        if offset == 0 {
            return Err(Error::invalid(at, what, "an offset of 0 leads to itself"));
        }
        Ok(at.saturating_add(offset))
    }

    /// The table that the offset at a place leads to.
    pub(crate) fn table(&self, at: u64, what: &'static str) -> Result<Table<'_, 'a>> {
        let at = self.follow(at, what)?;
        let back = i64::from(i32::from_le_bytes(self.array(at, what)?));
        let vtable = i64::try_from(at).ok().and_then(|at| at.checked_sub(back));
        let Some(vtable) = vtable.and_then(|vtable| u64::try_from(vtable).ok()) else {
            return Err(Error::invalid(at, what, "its vtable would lie before the file"));
        };
        let (vtable_len, len) =
            (self.u16(vtable, what)?, self.u16(vtable.saturating_add(2), what)?);
        if vtable_len < 4 || vtable_len & 1 == 1 || len < 4 {
            let rule = format!("a vtable of {vtable_len} bytes for a table of {len}");
            return Err(Error::invalid(vtable, what, rule));
        }
        self.fits(vtable, vtable_len.into(), what)?;
        self.fits(at, len.into(), what)?;
        Ok(Table { file: self, at, vtable, vtable_len, len })
    }
}

impl<'f, 'a> Table<'f, 'a> {
    /// Where field `index`, of `size` bytes, lies; nothing if it is left out.
    fn field(&self, index: u16, size: u16, what: &'static str) -> Result<Option<u64>> {
        let entry = index.saturating_mul(2).saturating_add(4);
        if entry.saturating_add(2) > self.vtable_len {
            return Ok(None);
        }
        let offset = self.file.u16(self.vtable.saturating_add(entry.into()), what)?;
        if offset == 0 {
            return Ok(None);
        }
        if offset < 4 || offset.checked_add(size).is_none_or(|end| end > self.len) {
            let rule = format!("it lies at {offset} of a table of {} bytes", self.len);
            return Err(Error::invalid(self.at, what, rule));
        }
        Ok(Some(self.at.saturating_add(offset.into())))
    }

    fn number<const N: usize>(&self, index: u16, what: &'static str) -> Result<[u8; N]> {
        let size = u16::try_from(N).unwrap_or(u16::MAX);
        match self.field(index, size, what)? {
            Some(at) => self.file.array(at, what),
            None => Ok([0; N]),
        }
    }

    /// A number of one byte; 0 if it is left out, as the others.
    pub(crate) fn u8(&self, index: u16, what: &'static str) -> Result<u8> {
        self.number::<1>(index, what).map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&self, index: u16, what: &'static str) -> Result<u32> {
        self.number(index, what).map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&self, index: u16, what: &'static str) -> Result<i32> {
        self.number(index, what).map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&self, index: u16, what: &'static str) -> Result<u64> {
        self.number(index, what).map(u64::from_le_bytes)
    }

    /// A table, if the field is there.
    pub(crate) fn table(&self, index: u16, what: &'static str) -> Result<Option<Table<'f, 'a>>> {
        let at = self.field(index, 4, what)?;
        at.map(|at| self.file.table(at, what)).transpose()
    }

    /// A vector of elements of `size` bytes; an empty one if it is left out.
    pub(crate) fn vector(&self, index: u16, size: u64, what: &'static str) -> Result<Vector> {
        let Some(at) = self.field(index, 4, what)? else { return Ok(Vector { start: 0, len: 0 }) };
        let at = self.file.follow(at, what)?;
        let len = u64::from(self.file.u32(at, what)?);
        let start = at.saturating_add(4);
        self.file.fits(start, len.saturating_mul(size), what)?;
        Ok(Vector { start, len })
    }

    /// The tables of a vector of offsets.
    pub(crate) fn tables(
        &self,
        index: u16,
        what: &'static str,
    ) -> Result<impl Iterator<Item = Result<Table<'f, 'a>>> + use<'f, 'a>> {
        let (vector, file) = (self.vector(index, 4, what)?, self.file);
        let places = (0..vector.len).map(move |n| vector.start.saturating_add(n.saturating_mul(4)));
        Ok(places.map(move |at| file.table(at, what)))
    }

    /// One table of a vector of offsets, if there are so many.
    pub(crate) fn item(
        &self,
        index: u16,
        number: u64,
        what: &'static str,
    ) -> Result<Option<Table<'f, 'a>>> {
        let vector = self.vector(index, 4, what)?;
        if number >= vector.len {
            return Ok(None);
        }
        let place = vector.start.saturating_add(number.saturating_mul(4));
        self.file.table(place, what).map(Some)
    }

    /// A vector of signed numbers of four bytes, of at most so many.
    pub(crate) fn numbers(&self, index: u16, most: Limit, what: &'static str) -> Result<Vec<i32>> {
        let bytes = self.bytes(index, 4, most, what)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect())
    }

    /// A name, if the field is there.
    pub(crate) fn name(&self, index: u16, what: &'static str) -> Result<String> {
        let bytes = self.bytes(index, 1, self.file.limits.name(), what)?;
        String::from_utf8(bytes).map_err(|_| Error::invalid(self.at, what, "it is not UTF-8"))
    }

    fn bytes(&self, index: u16, size: u64, most: Limit, what: &'static str) -> Result<Vec<u8>> {
        let (vector, (max, lift)) = (self.vector(index, size, what)?, most);
        if vector.len > max {
            let why = Why::TooLarge { value: vector.len, max, lift };
            return Err(Error::new(vector.start, what, why));
        }
        let len = usize::try_from(vector.len.saturating_mul(size)).unwrap_or(0);
        let mut bytes = vec![0; len];
        self.file.fill(vector.start, &mut bytes, what)?;
        Ok(bytes)
    }
}
