//! Local heaps, which hold the names of old groups, and fractal heaps, which hold the links of
//! new ones and attributes where there are many.
//!
//! ```text
//!  HEAP 0 ─ ─ ─  size  free list  data
//!
//!  FRHP 0 … table of blocks, each row twice as large as the one before:
//!    row 0   ▢ ▢ ▢ ▢        start bytes each
//!    row 1   ▢ ▢ ▢ ▢        start
//!    row 2   ▢▢ ▢▢ ▢▢ ▢▢    2 · start …      up to the largest direct block; then tables of tables
//! ```
//!
//! The space of a fractal heap includes the heads of its blocks: an object's offset minus its
//! block's is where it lies behind the block's address.

use wire::{Error, Result};

use crate::btree2::{self, width};
use crate::fields::{Fields, Image};

/// The data of a local heap, and where they lie.
pub(crate) struct Local {
    bytes: Vec<u8>,
    start: u64,
}

impl Local {
    pub(crate) fn open(image: &Image<'_>, address: u64) -> Result<Self> {
        let len = image.widths.length.saturating_mul(2).saturating_add(image.widths.address);
        let head = image.block(address, len.saturating_add(8) as u64, "local heap")?;
        let mut fields = image.fields(&head, address);
        fields.signature(b"HEAP", "local heap")?;
        fields.version(&[0], "local heap version")?;
        fields.skip(3, "local heap")?;
        let size = fields.length("local heap size")?;
        fields.length("local heap free list")?;
        let data = fields.defined("local heap data")?;
        let bytes = image.block(data, size, "local heap data")?;
        Ok(Self { bytes, start: image.base.saturating_add(data) })
    }

    /// The text that begins at an offset.
    pub(crate) fn text(&self, offset: u64, what: &'static str) -> Result<String> {
        let at = self.start.saturating_add(offset);
        let from = usize::try_from(offset).ok().and_then(|from| self.bytes.get(from..));
        let size = self.bytes.len();
        let rule = || format!("lies at {offset:#x} of a heap of {size:#x} bytes");
        let from = from.ok_or_else(|| Error::invalid(at, what, rule()))?;
        if !from.contains(&0) {
            return Err(Error::invalid(at, what, "has no end"));
        }
        crate::fields::text(from, at, what)
    }
}

/// An object of a fractal heap.
pub(crate) struct Held {
    address: u64,
    bytes: Vec<u8>,
}

impl Held {
    pub(crate) fn fields(&self, image: &Image<'_>) -> Fields<'_> {
        image.fields(&self.bytes, self.address)
    }
}

/// The header of a fractal heap.
pub(crate) struct Fractal {
    address: u64,
    id_len: usize,
    offset_len: usize,
    length_len: usize,
    table_width: u64,
    start: u64,
    direct_rows: u64,
    root: Option<u64>,
    rows: u64,
    huge: Option<u64>,
}

impl Fractal {
    pub(crate) fn open(image: &Image<'_>, address: u64) -> Result<Self> {
        let widths = image.widths;
        let len = widths.address.saturating_mul(3).saturating_add(widths.length.saturating_mul(12));
        let bytes = image.summed(address, len.saturating_add(26) as u64, "fractal heap")?;
        let mut fields = image.fields(&bytes, address);
        fields.signature(b"FRHP", "fractal heap")?;
        fields.version(&[0], "fractal heap version")?;
        let id_len = usize::from(fields.u16("heap identifier length")?);
        let filters_at = fields.offset();
        if fields.u16("heap filters")? != 0 {
            return Err(Error::unsupported(filters_at, "heap filters", "a compressed heap"));
        }
        fields.skip(1, "heap flags")?;
        let managed_max = u64::from(fields.u32("managed object size")?);
        fields.length("next huge object")?;
        let huge = fields.address("huge object index")?;
        fields.length("free space")?;
        fields.address("free space manager")?;
        fields.skip(widths.length.saturating_mul(8), "heap statistics")?;
        let table_at = fields.offset();
        let table_width = u64::from(fields.u16("heap table width")?);
        let start = fields.length("starting block size")?;
        let direct_max = fields.length("largest direct block")?;
        let bits = usize::from(fields.u16("heap size")?);
        fields.skip(2, "starting rows")?;
        let root = fields.address("heap root")?;
        let rows = u64::from(fields.u16("heap rows")?);
        let powers = [table_width, start, direct_max].iter().all(|size| size.is_power_of_two());
        if !powers || direct_max < start || bits > 64 || table_width.checked_mul(start).is_none() {
            let rule = format!("{table_width} blocks of {start} to {direct_max} bytes");
            return Err(Error::invalid(table_at, "heap table", rule));
        }
        let direct_rows = u64::from(direct_max.ilog2().saturating_sub(start.ilog2()));
        let in_block = (direct_max.ilog2() as usize).div_ceil(8);
        Ok(Self {
            address,
            id_len,
            offset_len: bits.div_ceil(8),
            length_len: in_block.min(width(managed_max)),
            table_width,
            start,
            direct_rows: direct_rows.saturating_add(2),
            root,
            rows,
            huge,
        })
    }

    /// Bytes of an identifier.
    pub(crate) fn id_len(&self) -> usize {
        self.id_len
    }

    /// The object that an identifier stands for.
    pub(crate) fn object(&self, image: &Image<'_>, id: &mut Fields<'_>) -> Result<Held> {
        let at = id.offset();
        let first = id.u8("heap identifier")?;
        let (address, len) = match first >> 4 & 3 {
            0 if first >> 6 == 0 => {
                let offset = id.uint(self.offset_len, "heap offset")?;
                let len = id.uint(self.length_len, "heap object length")?;
                (self.find(image, offset)?, len)
            }
            1 => self.huge(image, id)?,
            2 => {
                let (len, extended) = (usize::from(first & 15), self.id_len > 17);
                let more = if extended { usize::from(id.u8("heap identifier")?) } else { 0 };
                let len = if extended { len << 8 | more } else { len };
                let address = id.offset().saturating_sub(image.base);
                let bytes = id.take(len.saturating_add(1), "tiny object")?.to_vec();
                return Ok(Held { address, bytes });
            }
            _ => return Err(Error::invalid(at, "heap identifier", format!("begins {first:#x}"))),
        };
        Ok(Held { address, bytes: image.block(address, len, "heap object")? })
    }

    /// Objects that fit into no block: their places are in the identifier, or in a B-tree.
    fn huge(&self, image: &Image<'_>, id: &mut Fields<'_>) -> Result<(u64, u64)> {
        let at = id.offset();
        if id.left() >= image.widths.address.saturating_add(image.widths.length) {
            return Ok((id.defined("huge object")?, id.length("huge object length")?));
        }
        let key = id.uint(id.left().min(8), "huge object key")?;
        let mut found = None;
        if let Some(index) = self.huge {
            btree2::each(image, index, &[1], &mut |mut record| {
                let place = (record.defined("huge object")?, record.length("huge object length")?);
                if record.length("huge object key")? == key {
                    found = Some(place);
                }
                Ok(())
            })?;
        }
        found.ok_or_else(|| Error::invalid(at, "huge object key", format!("{key} is not there")))
    }

    /// The address of an offset of the heap's space.
    fn find(&self, image: &Image<'_>, offset: u64) -> Result<u64> {
        let outside = || {
            let at = image.base.saturating_add(self.address);
            Error::invalid(at, "heap offset", format!("{offset:#x} is in no block"))
        };
        let mut block = self.root.ok_or_else(outside)?;
        if self.rows == 0 {
            return Ok(block.saturating_add(offset));
        }
        let (mut offset, mut rows) = (offset, self.rows);
        // A table is smaller than the one that it lies in.
        loop {
            let (row, column, within) = self.cell(offset);
            if row >= rows {
                return Err(outside());
            }
            let child = self.child(image, block, rows, row, column)?.ok_or_else(outside)?;
            if row < self.direct_rows {
                return Ok(child.saturating_add(within));
            }
            let size = self.start << row.saturating_sub(1);
            let first = self.start.saturating_mul(self.table_width);
            rows = u64::from(size.ilog2().saturating_sub(first.ilog2())).saturating_add(1);
            (block, offset) = (child, within);
        }
    }

    /// Row and column of the block that holds an offset, and the offset in that block.
    fn cell(&self, offset: u64) -> (u64, u64, u64) {
        let first = self.start.saturating_mul(self.table_width);
        let (row, size, begin) = match offset.checked_div(first).unwrap_or(0) {
            0 => (0, self.start, 0),
            times => {
                let doubled = times.ilog2();
                (u64::from(doubled).saturating_add(1), self.start << doubled, first << doubled)
            }
        };
        let inside = offset.saturating_sub(begin);
        let column = inside.checked_div(size).unwrap_or(0);
        (row, column, inside.checked_rem(size).unwrap_or(0))
    }

    /// The address of a block, out of the table of a block of blocks.
    fn child(
        &self,
        image: &Image<'_>,
        address: u64,
        rows: u64,
        row: u64,
        column: u64,
    ) -> Result<Option<u64>> {
        let head = image.widths.address.saturating_add(self.offset_len).saturating_add(5);
        let cells = rows.saturating_mul(self.table_width);
        let table = cells.saturating_mul(image.widths.address as u64);
        let len = table.saturating_add(head as u64).saturating_add(4);
        let bytes = image.summed(address, len, "heap block table")?;
        let mut fields = image.fields(&bytes, address);
        fields.signature(b"FHIB", "heap block table")?;
        fields.version(&[0], "heap block version")?;
        let cell = row.saturating_mul(self.table_width).saturating_add(column);
        let before = cell.saturating_mul(image.widths.address as u64);
        let before = before.saturating_add(head as u64).saturating_sub(5);
        fields.skip(usize::try_from(before).unwrap_or(usize::MAX), "heap block table")?;
        fields.address("heap block")
    }
}
