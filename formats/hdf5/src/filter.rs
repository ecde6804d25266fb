//! Filters: what was done to the bytes of a chunk, and is undone here in reverse.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use wire::{Error, Result};

use crate::fields::{Fields, Image};
use crate::message::Message;

/// One step of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    id: u16,
    values: Vec<u32>,
}

const DEFLATE: u16 = 1;
const SHUFFLE: u16 = 2;
const FLETCHER32: u16 = 3;
/// Registered by h5py, which has brought it along since 2008.
const LZF: u16 = 32000;

/// Those that are known by name, but not undone.
const NAMES: &[(u16, &str)] = &[
    (4, "szip"),
    (5, "n-bit"),
    (6, "scale-offset"),
    (307, "bzip2"),
    (32001, "Blosc"),
    (32004, "LZ4"),
    (32008, "bitshuffle"),
    (32013, "ZFP"),
    (32015, "Zstandard"),
    (32026, "Blosc2"),
];

/// The filters of a dataset, in the order of their application.
pub(crate) fn read(image: &Image<'_>, message: Message) -> Result<Vec<Filter>> {
    let message = message.resolved(image)?;
    let mut fields = message.fields(image);
    let version = fields.version(&[1, 2], "filter pipeline version")?;
    let count = fields.u8("number of filters")?;
    fields.skip(if version == 1 { 6 } else { 0 }, "filter pipeline")?;
    (0..count).map(|_| filter(&mut fields, version)).collect()
}

fn filter(fields: &mut Fields<'_>, version: u8) -> Result<Filter> {
    let id = fields.u16("filter")?;
    let is_named = version == 1 || id >= 256;
    let name_len = if is_named { fields.u16("filter name length")?.into() } else { 0 };
    fields.skip(2, "filter flags")?;
    let count = fields.u16("filter values")?;
    fields.skip(name_len, "filter name")?;
    if version == 1 {
        fields.skip_padding(name_len, "filter name")?;
    }
    let values = (0..count).map(|_| fields.u32("filter value")).collect::<Result<_>>()?;
    if version == 1 && count % 2 == 1 {
        fields.skip(4, "filter")?;
    }
    Ok(Filter { id, values })
}

/// The filter of these that is not undone here, in words.
pub(crate) fn unknown(filters: &[Filter]) -> Option<String> {
    let is_known = |filter: &&Filter| match filter.id {
        DEFLATE | SHUFFLE | FLETCHER32 => true,
        // h5py states the versions of filter and library, and the bytes of a chunk.
        LZF => filter.values.len() == 3,
        _ => false,
    };
    let other = filters.iter().find(|filter| !is_known(filter))?;
    let name = NAMES.iter().find(|(id, _)| *id == other.id);
    Some(match name {
        Some((_, name)) => format!("packed by the filter {name}"),
        None => format!("packed by filter {}", other.id),
    })
}

/// The bytes that `filters` were applied to; `mask` names those that were left out. `len` is what
/// must come out.
pub(crate) fn undo(
    filters: &[Filter],
    mask: u32,
    bytes: Vec<u8>,
    at: u64,
    len: usize,
) -> Result<Vec<u8>> {
    let mut bytes = bytes;
    // Checksums within compressed data are the one thing that makes it longer than a chunk.
    let room = filters.len().saturating_mul(4).saturating_add(len);
    for (no, filter) in filters.iter().enumerate().rev() {
        let is_skipped =
            u32::try_from(no).is_ok_and(|no| mask.checked_shr(no).unwrap_or(1) & 1 == 1);
        if is_skipped {
            continue;
        }
        bytes = match filter.id {
            DEFLATE => inflate(&bytes, room, at)?,
            SHUFFLE => unshuffle(&bytes, filter.values.first().copied().unwrap_or(1)),
            FLETCHER32 => checked(bytes, at)?,
            _ => unlzf(&bytes, room).ok_or_else(|| damaged(at, "its LZF bytes are damaged"))?,
        };
    }
    if bytes.len() != len {
        return Err(damaged(at, &format!("it unpacks to {} bytes, expected {len}", bytes.len())));
    }
    Ok(bytes)
}

fn damaged(at: u64, rule: &str) -> Error {
    Error::invalid(at, "chunk", rule)
}

fn inflate(bytes: &[u8], room: usize, at: u64) -> Result<Vec<u8>> {
    decompress_to_vec_zlib_with_limit(bytes, room).map_err(|error| {
        damaged(at, &format!("its deflated bytes are damaged ({:?})", error.status))
    })
}

/// All first bytes of elements, then all second ones, and so on; what is no whole element follows.
fn unshuffle(bytes: &[u8], size: u32) -> Vec<u8> {
    let size = usize::try_from(size).unwrap_or(1).max(1);
    let count = bytes.len().checked_div(size).unwrap_or(0);
    let mut out = bytes.to_vec();
    if count == 0 || size == 1 {
        return out;
    }
    for (no, plane) in bytes.chunks_exact(count).take(size).enumerate() {
        for (to, from) in out.iter_mut().skip(no).step_by(size).zip(plane) {
            *to = *from;
        }
    }
    out
}

/// Without the checksum at the end, which must be right. Files from before 2006 have the bytes of
/// each of its halves exchanged.
fn checked(mut bytes: Vec<u8>, at: u64) -> Result<Vec<u8>> {
    let Some(len) = bytes.len().checked_sub(4) else {
        return Err(damaged(at, "it is too short for its checksum"));
    };
    let stated = bytes.split_off(len);
    let sum = fletcher32(&bytes).to_le_bytes();
    let [a, b, c, d] = sum;
    if stated != sum && stated != [b, a, d, c] {
        return Err(damaged(at, "its checksum is another one: it is damaged"));
    }
    Ok(bytes)
}

/// Fletcher's checksum of big-endian words of 16 bits, as libhdf5 has it.
pub(crate) fn fletcher32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (0u32, 0u32);
    let fold = |sum: u32| (sum & 0xffff).wrapping_add(sum >> 16);
    // 360 words are what the sums hold without folding.
    for block in bytes.chunks(720) {
        for word in block.chunks(2) {
            let [first, second] = [word.first(), word.get(1)].map(|b| b.copied().unwrap_or(0));
            low = low.wrapping_add(u16::from_be_bytes([first, second]).into());
            high = high.wrapping_add(low);
        }
        (low, high) = (fold(low), fold(high));
    }
    fold(high) << 16 | fold(low)
}

/// LZF of libLZF: runs of bytes as they are, and copies of what came before.
fn unlzf(bytes: &[u8], room: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut input = bytes.iter().copied().map(usize::from);
    while let Some(control) = input.next() {
        if control < 32 {
            for _ in 0..=control {
                out.push(u8::try_from(input.next()?).ok()?);
            }
        } else {
            let long = if control >> 5 == 7 { input.next()? } else { 0 };
            let len = (control >> 5).checked_add(long)?.checked_add(2)?;
            let back = ((control & 31) << 8).checked_add(input.next()?)?.checked_add(1)?;
            let from = out.len().checked_sub(back)?;
            for at in from..from.checked_add(len)? {
                out.push(*out.get(at)?);
            }
        }
        if out.len() > room {
            return None;
        }
    }
    Some(out)
}
