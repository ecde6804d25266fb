//! Where the data of the tensors lies: within the file, without holes, overlaps or stowaways.

use wire::{Error, ReadAt, Result, Why, align_up, fits};

use crate::{TensorInfo, names};

/// Turns stored offsets into offsets from the start of the file.
pub(crate) fn locate(tensors: &mut [TensorInfo], data_start: u64) -> Result<()> {
    for (index, info) in tensors.iter_mut().enumerate() {
        let offset = data_start.checked_add(info.offset);
        info.offset = offset.filter(|at| at.checked_add(info.len).is_some()).ok_or_else(|| {
            let rule = format!("offset {:#x} and {} bytes wrap", info.offset, info.len);
            Error::invalid(info.info_at, names::tensor(&info.name, index), rule)
        })?;
    }
    Ok(())
}

/// Checks that header, data and padding fill the file, and that padding is zero.
pub(crate) fn check(
    source: &dyn ReadAt,
    tensors: &[TensorInfo],
    header_end: u64,
    alignment: u64,
) -> Result<()> {
    let size = source.size();
    for (index, info) in tensors.iter().enumerate() {
        if fits(info.offset, info.len, size).is_none() {
            let end = info.offset.saturating_add(info.len);
            let rule =
                format!("data range {:#x}..{end:#x} exceeds file size {size:#x}", info.offset);
            return Err(Error::invalid(info.info_at, names::tensor(&info.name, index), rule));
        }
    }
    let mut end = header_end;
    for (index, info) in in_order_of_data(tensors) {
        let place = || names::tensor(&info.name, index);
        let next = align_up(end, alignment).unwrap_or(u64::MAX);
        if info.offset != next {
            let found = format!("data at {:#x}", info.offset);
            let expected = match info.offset.checked_sub(next) {
                Some(hole) => format!("{next:#x}: the {hole} bytes between belong to nothing"),
                None => format!("{next:#x}: it overlaps the data that ends at {end:#x}"),
            };
            return Err(Error::new(info.info_at, place(), Why::Mismatch { found, expected }));
        }
        zeros(source, end, next, || format!("padding before {}", place()))?;
        end = info.offset.saturating_add(info.len);
    }
    tail(source, end, alignment)
}

/// The data need not lie in the order of the infos. What is empty comes before what begins there.
fn in_order_of_data(tensors: &[TensorInfo]) -> Vec<(usize, &TensorInfo)> {
    let mut order: Vec<_> = tensors.iter().enumerate().collect();
    order.sort_by_key(|(_, info)| (info.offset, info.len));
    order
}

/// After the last tensor comes nothing, or padding as after every other.
fn tail(source: &dyn ReadAt, end: u64, alignment: u64) -> Result<()> {
    let (size, padded) = (source.size(), align_up(end, alignment).unwrap_or(end));
    if size != end && size != padded {
        let found = format!("{} more bytes", size.saturating_sub(end));
        let padding = padded.saturating_sub(end);
        let expected = match padding {
            0 => "the end of the file".to_owned(),
            _ => format!("the end of the file, or {padding} of padding"),
        };
        return Err(Error::new(end, "end of the data", Why::Mismatch { found, expected }));
    }
    zeros(source, end, size, || "padding at the end".to_owned())
}

/// Checks that the bytes from `start` to `end` are zero: others would be carried along unseen.
fn zeros(source: &dyn ReadAt, start: u64, end: u64, what: impl Fn() -> String) -> Result<()> {
    let mut buffer = [0u8; 4096];
    let mut at = start;
    while at < end {
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let piece = buffer.get_mut(..left.min(4096)).unwrap_or_default();
        source
            .read_at(at, piece)
            .map_err(|error| Error::new(at, what(), Why::Io { cause: error.to_string() }))?;
        if let Some((at, byte)) = (at..).zip(piece.iter()).find(|(_, byte)| **byte != 0) {
            let why = Why::Mismatch { found: format!("{byte:#04x}"), expected: "0x00".to_owned() };
            return Err(Error::new(at, what(), why));
        }
        at = at.saturating_add(piece.len() as u64);
    }
    Ok(())
}
