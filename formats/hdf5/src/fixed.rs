//! Fixed arrays: the chunks of a dataset that does not grow.
//!
//! ```text
//!  FAHD 0 client  entry size  page bits  entries  data block  sum
//!  FADB 0 client  header  entries… sum
//!  FADB 0 client  header  bits of pages  sum │ page: entries… sum │ …      more than 2^bits entries
//! ```

use wire::Result;

use crate::chunks::Entries;
use crate::fields::Image;

/// All entries of the array whose header is at an address.
pub(crate) fn read(image: &Image<'_>, address: u64, found: &mut Entries) -> Result<()> {
    let len = image.widths.address.saturating_add(image.widths.length).saturating_add(12);
    let bytes = image.summed(address, len as u64, "fixed array")?;
    let mut fields = image.fields(&bytes, address);
    fields.signature(b"FAHD", "fixed array")?;
    fields.version(&[0], "fixed array version")?;
    fields.skip(1, "fixed array client")?;
    found.head(image, &mut fields)?;
    let page_bits = fields.u8("page bits")?;
    let count_at = fields.offset();
    let count = fields.length("number of entries")?;
    let block = fields.address("fixed array block")?;
    found.check_count(count, count_at)?;
    let Some(block) = block else { return Ok(()) };
    let page = 1u64.checked_shl(page_bits.into()).unwrap_or(u64::MAX);
    let head = (image.widths.address as u64).saturating_add(6);
    if count <= page {
        return found.block(image, block, (b"FADB", head), count);
    }
    let pages = count.div_ceil(page);
    let bits = pages.div_ceil(8);
    let len = head.saturating_add(bits).saturating_add(4);
    let bytes = image.summed(block, len, "fixed array block")?;
    let mut fields = image.fields(&bytes, block);
    fields.signature(b"FADB", "fixed array block")?;
    fields.skip(usize::try_from(head).unwrap_or(4).saturating_sub(4), "fixed array block")?;
    let bits = fields.rest();
    let mut at = block.saturating_add(len);
    for no in 0..pages {
        let count = page.min(count.saturating_sub(no.saturating_mul(page)));
        let len = count.saturating_mul(found.entry_len()).saturating_add(4);
        if is_set(bits, no) {
            found.page(image, at, count)?
        } else {
            found.none(count)
        }
        at = at.saturating_add(len);
    }
    Ok(())
}

/// Whether a page was ever written: bits count from the highest of each byte.
pub(crate) fn is_set(bits: &[u8], no: u64) -> bool {
    let byte = usize::try_from(no >> 3).ok().and_then(|at| bits.get(at)).copied().unwrap_or(0);
    byte & (0x80 >> (no & 7)) != 0
}
