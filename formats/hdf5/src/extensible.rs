//! Extensible arrays: the chunks of a dataset that grows in one dimension.
//!
//! ```text
//!  EAHD 0 client  entry size  bits  in index  in block  pointers  page bits  statistics…  index  sum
//!  EAIB 0 client  header  entries…  data blocks…  super blocks…  sum
//!  EASB 0 client  header  offset  bits of pages…  data blocks…  sum
//!  EADB 0 client  header  offset  entries…  sum           in pages where there are many
//! ```
//!
//! Entry n lies in the index block if it is among the first ones. Of the others, super block s has
//! 2^(s/2) data blocks of `in block`·2^((s+1)/2) entries. The data blocks of the first super
//! blocks are listed in the index block itself.

use wire::{Error, Result};

use crate::chunks::Entries;
use crate::fields::{Fields, Image};
use crate::fixed::is_set;

/// What the header says.
struct Array<'a> {
    image: &'a Image<'a>,
    /// Bytes of the offset that a block states.
    offset_len: usize,
    in_index: u64,
    in_block: u64,
    pointers: u64,
    page: u64,
    /// Entries that were ever set.
    count: u64,
    super_blocks: u64,
}

/// All entries of the array whose header is at an address.
pub(crate) fn read(image: &Image<'_>, address: u64, found: &mut Entries) -> Result<()> {
    let len = image.widths.address.saturating_add(image.widths.length.saturating_mul(6));
    let bytes = image.summed(address, len.saturating_add(16) as u64, "extensible array")?;
    let mut fields = image.fields(&bytes, address);
    fields.signature(b"EAHD", "extensible array")?;
    fields.version(&[0], "extensible array version")?;
    fields.skip(1, "extensible array client")?;
    found.head(image, &mut fields)?;
    let sizes_at = fields.offset();
    let [bits, in_index, in_block, pointers, page_bits] =
        [(); 5].map(|()| fields.u8("extensible array sizes"));
    let (bits, in_block, pointers) = (bits?, u64::from(in_block?), u64::from(pointers?));
    if !in_block.is_power_of_two() || !pointers.is_power_of_two() || bits > 64 {
        let rule = format!("{bits} bits, {in_block} entries in a block, {pointers} pointers");
        return Err(Error::invalid(sizes_at, "extensible array sizes", rule));
    }
    fields.skip(image.widths.length.saturating_mul(4), "extensible array statistics")?;
    let count_at = fields.offset();
    let count = fields.length("number of entries")?;
    fields.length("extensible array statistics")?;
    found.check_count(count, count_at)?;
    let array = Array {
        image,
        offset_len: usize::from(bits).div_ceil(8),
        in_index: in_index?.into(),
        in_block,
        pointers,
        page: 1u64.checked_shl(page_bits?.into()).unwrap_or(u64::MAX),
        count,
        super_blocks: u64::from(bits).saturating_sub(in_block.ilog2().into()).saturating_add(1),
    };
    match fields.address("extensible array index")? {
        Some(index) => array.index(index, found),
        None => Ok(()),
    }
}

impl Array<'_> {
    fn head(&self) -> usize {
        self.image.widths.address.saturating_add(6)
    }

    /// Walks the index block and all that it leads to.
    fn index(&self, address: u64, found: &mut Entries) -> Result<()> {
        let direct = u64::from(self.pointers.ilog2()).saturating_mul(2).min(self.super_blocks);
        let blocks = self.pointers.saturating_sub(1).saturating_mul(2);
        let supers = self.super_blocks.saturating_sub(direct);
        let lists = blocks.saturating_add(supers).saturating_mul(self.image.widths.address as u64);
        let entries = self.in_index.saturating_mul(found.entry_len());
        let len = (self.head() as u64).saturating_add(lists).saturating_add(entries);
        let bytes = self.image.summed(address, len.saturating_add(4), "extensible array index")?;
        let mut fields = self.image.fields(&bytes, address);
        fields.signature(b"EAIB", "extensible array index")?;
        fields.skip(self.head().saturating_sub(4), "extensible array index")?;
        found.take(&mut fields, self.in_index)?;
        for no in 0..direct {
            self.data_blocks(&mut fields, no, None, found)?;
        }
        for no in direct..self.super_blocks {
            let address = fields.address("super block")?;
            if found.len() >= self.count {
                break;
            }
            match address {
                Some(address) => self.super_block(address, no, found)?,
                None => found.none(self.blocks(no).saturating_mul(self.entries(no))),
            }
        }
        Ok(())
    }

    /// Data blocks of a super block.
    fn blocks(&self, super_block: u64) -> u64 {
        power(super_block >> 1)
    }

    /// Entries of a data block of a super block.
    fn entries(&self, super_block: u64) -> u64 {
        power(super_block.saturating_add(1) >> 1).saturating_mul(self.in_block)
    }

    fn super_block(&self, address: u64, no: u64, found: &mut Entries) -> Result<()> {
        let (blocks, entries) = (self.blocks(no), self.entries(no));
        let pages = if entries > self.page { entries.div_ceil(self.page) } else { 0 };
        let bits = blocks.saturating_mul(pages.div_ceil(8));
        let head = self.head().saturating_add(self.offset_len);
        let list = blocks.saturating_mul(self.image.widths.address as u64);
        let len = list.saturating_add(bits).saturating_add(head as u64).saturating_add(4);
        let bytes = self.image.summed(address, len, "super block")?;
        let mut fields = self.image.fields(&bytes, address);
        fields.signature(b"EASB", "super block")?;
        fields.skip(head.saturating_sub(4), "super block")?;
        let bits = fields.take(usize::try_from(bits).unwrap_or(usize::MAX), "super block")?;
        self.data_blocks(&mut fields, no, (pages > 0).then_some(bits), found)
    }

    /// The data blocks of a super block, whose addresses come next; with pages, the bits that say
    /// which were written.
    fn data_blocks(
        &self,
        fields: &mut Fields<'_>,
        no: u64,
        pages: Option<&[u8]>,
        found: &mut Entries,
    ) -> Result<()> {
        let entries = self.entries(no);
        let head = (self.head().saturating_add(self.offset_len)) as u64;
        for block in 0..self.blocks(no) {
            let address = fields.address("data block")?;
            if found.len() >= self.count {
                continue;
            }
            match (address, pages) {
                (None, _) => found.none(entries),
                (Some(at), None) => found.block(self.image, at, (b"EADB", head), entries)?,
                (Some(at), Some(bits)) => {
                    let at = at.saturating_add(head).saturating_add(4);
                    self.pages(at, block, bits, entries, found)?;
                }
            }
        }
        Ok(())
    }

    fn pages(
        &self,
        start: u64,
        block: u64,
        bits: &[u8],
        entries: u64,
        found: &mut Entries,
    ) -> Result<()> {
        let pages = entries.div_ceil(self.page);
        let len = self.page.saturating_mul(found.entry_len()).saturating_add(4);
        for no in 0..pages {
            let bit = block.saturating_mul(pages).saturating_add(no);
            let at = start.saturating_add(no.saturating_mul(len));
            if found.len() < self.count && is_set(bits, bit) {
                found.page(self.image, at, self.page)?;
            } else {
                found.none(self.page);
            }
        }
        Ok(())
    }
}

fn power(exponent: u64) -> u64 {
    u32::try_from(exponent).ok().and_then(|n| 1u64.checked_shl(n)).unwrap_or(u64::MAX)
}
