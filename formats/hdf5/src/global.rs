//! Global heaps: where texts and lists of any length lie.
//!
//! ```text
//!  element   length u32, heap address, index u32
//!  heap      GCOL 1 ─ ─ ─ size │ index u16  references u16  ─ ─ ─ ─  size  data, to a multiple of 8 │ …
//! ```

use wire::{Error, Result};

use crate::fields::{Fields, Image, text as utf8};

/// The text that an element of an attribute points to.
pub(crate) fn text(image: &Image<'_>, element: &mut Fields<'_>) -> Result<String> {
    let len = element.size(4, "text length")?;
    let at = element.offset();
    let Some(address) = element.address("heap address")?.filter(|at| *at != 0 && len > 0) else {
        return Ok(String::new());
    };
    let index = u64::from(element.u32("heap index")?);
    let widths = image.widths;
    let head_len = widths.length.saturating_add(8);
    let head = image.block(address, head_len as u64, "global heap")?;
    let mut fields = image.fields(&head, address);
    fields.signature(b"GCOL", "global heap")?;
    fields.version(&[1], "global heap version")?;
    fields.skip(3, "global heap")?;
    let bytes = image.block(address, fields.length("global heap size")?, "global heap")?;
    let mut fields = image.fields(&bytes, address);
    fields.skip(head_len, "global heap")?;
    while fields.left() > head_len {
        let found = u64::from(fields.u16("heap object index")?);
        fields.skip(6, "heap object")?;
        let size = fields.size(widths.length, "heap object size")?;
        if found == 0 {
            break;
        }
        let mut object = fields.part(size, "heap object")?;
        if found == index {
            let at = object.offset();
            return utf8(object.take(len, "text")?, at, "text");
        }
        // The last object may end where the heap does.
        let padding = size.next_multiple_of(8).saturating_sub(size);
        fields.skip(padding.min(fields.left()), "heap object")?;
    }
    Err(Error::invalid(at, "heap index", format!("{index} is not in the heap at {address:#x}")))
}
