//! The header as numpy writes it.

use wire::{Error, Result, Why};

use crate::{Descr, MAGIC, RANK_MAX};

/// The data begin at a multiple of this: `ARRAY_ALIGN` of numpy's `_format_impl.py`.
const DATA_ALIGN: usize = 64;

/// Digits kept free so that an array can grow in place: `GROWTH_AXIS_MAX_DIGITS`.
const GROWTH_DIGITS: usize = 21;

/// The bytes before the elements of an array in C order, equal to those of numpy 2.
///
/// The version is 1.0: 64 dimensions of 20 digits have room in its 65 535 bytes.
///
/// # Errors
/// `TooLarge` above 64 dimensions.
pub fn header(descr: Descr, shape: &[u64]) -> Result<Vec<u8>> {
    if shape.len() > RANK_MAX {
        let (value, max) = (shape.len() as u64, RANK_MAX as u64);
        return Err(Error::new(
            0,
            "shape",
            Why::TooLarge { value, max, lift: "as many as NumPy has" },
        ));
    }
    let dims: Vec<_> = shape.iter().map(u64::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let tuple = dims.join(", ");
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({tuple}{comma}), }}");
    if let Some(first) = dims.first() {
        let free = GROWTH_DIGITS.saturating_sub(first.len());
        text.extend(std::iter::repeat_n(' ', free));
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0, 0, 0]);
    bytes.extend(text.bytes());
    // numpy adds 64 spaces, not none, where the text already ends at a multiple of 64.
    bytes.push(b' ');
    while bytes.len().saturating_add(1).checked_rem(DATA_ALIGN) != Some(0) {
        bytes.push(b' ');
    }
    bytes.push(b'\n');
    let len = u16::try_from(bytes.len().saturating_sub(10)).unwrap_or(u16::MAX);
    for (to, from) in bytes.iter_mut().skip(8).zip(len.to_le_bytes()) {
        *to = from;
    }
    Ok(bytes)
}
