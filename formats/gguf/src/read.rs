//! Bytes to parts: header, entries and tensor infos. `data.rs` checks where the data lies.

use wire::{Cursor, Endian, Error, ReadAt, Result, Why, align_up};

use crate::reader::Reader;
use crate::{
    ALIGNMENT_DEFAULT, ALIGNMENT_KEY, ALIGNMENT_MIN, Kind, Limits, MAGIC, Metadata, VERSION, Value,
    ValueKind, data, kind, names,
};

/// What a file says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// 1, 2 or 3.
    pub version: u32,
    /// The order of the bytes of every number, those of the weights included.
    pub endian: Endian,
    /// Bytes to whose multiples the data and each tensor are aligned; a power of two.
    pub alignment: u64,
    /// The entries, `general.alignment` among them if the file states it.
    pub metadata: Metadata,
    /// The tensors, in the order of their infos.
    pub tensors: Vec<TensorInfo>,
    /// Where the data begins. In a file without tensors this may lie past its end.
    pub data_start: u64,
}

/// What a file says about one tensor. Its data lies within the file, and within no other's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name; not empty, and no other tensor's.
    pub name: String,
    /// The dimensions, fastest first.
    pub dims: Vec<u64>,
    /// How the weights are stored.
    pub kind: &'static Kind,
    /// Where the data begins, from the start of the file.
    pub offset: u64,
    /// Bytes of data, without padding.
    pub len: u64,
    /// Where the info begins, from the start of the file.
    pub info_at: u64,
}

/// Whether a file that begins with these bytes is GGUF, of whatever version.
pub fn probe(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

/// Reads everything but the weights, and checks that their data is where the infos say.
///
/// # Errors
/// `Unsupported` for a newer version or a type that ggml removed, `TooLarge` above one of `limits`,
/// `Io` if the source fails, and otherwise the rule that the bytes break.
pub fn read(source: &dyn ReadAt, limits: &Limits) -> Result<File> {
    let mut cursor = Cursor::new(source);
    let (version, endian) = version(&mut cursor)?;
    cursor.set_endian(endian);
    let mut reader = Reader::new(cursor, version, endian, limits);
    let tensor_count = reader.count("tensor count", reader.info_min(), limits.tensors())?;
    let entry_count = reader.count("entry count", reader.entry_min(), limits.entries())?;
    reader.begin_metadata();
    let (metadata, alignment) = entries(&mut reader, entry_count)?;
    reader.end_metadata();
    let mut tensors = infos(&mut reader, tensor_count, alignment)?;
    let header_end = reader.offset();
    let past = || Error::invalid(header_end, "data", "begins past 64 bits");
    let data_start = align_up(header_end, alignment).ok_or_else(past)?;
    data::locate(&mut tensors, data_start)?;
    data::check(source, &tensors, header_end, alignment)?;
    Ok(File { version, endian, alignment, metadata, tensors, data_start })
}

/// Magic and version. Only the latter shows the order of the bytes.
fn version(c: &mut Cursor<'_>) -> Result<(u32, Endian)> {
    let magic: [u8; 4] = c.array("magic")?;
    if magic != MAGIC {
        let (found, expected) = (format!("\"{}\"", magic.escape_ascii()), "\"GGUF\"".to_owned());
        return Err(Error::new(0, "magic", Why::Mismatch { found, expected }));
    }
    let at = c.offset();
    let little = c.u32("version")?;
    let big = little.swap_bytes();
    let fault = |why| Err(Error::new(at, "version", why));
    match (little, big) {
        (1..=VERSION, _) => Ok((little, Endian::Little)),
        (_, VERSION) => Ok((big, Endian::Big)),
        (0, _) => fault(Why::Unknown { value: "0".to_owned() }),
        (_, 1..VERSION) => {
            let rule = format!("found {big} in big-endian order, which begins with version 3");
            fault(Why::Invalid { rule })
        }
        _ => {
            let newer = little.min(big);
            let feature = format!("version {newer}; versions 1 to {VERSION} are read");
            fault(Why::Unsupported { feature })
        }
    }
}

fn entries(reader: &mut Reader<'_>, count: usize) -> Result<(Metadata, u64)> {
    let mut alignment = ALIGNMENT_DEFAULT;
    let mut entries = Vec::new();
    let mut places = Vec::new();
    for index in 0..count {
        places.push(reader.offset());
        let key = key(reader).map_err(names::of(|| format!("entry {index}")))?;
        let (value, at) = reader.value().map_err(names::of(|| names::entry(&key, index)))?;
        if key == ALIGNMENT_KEY {
            let fault = |why| Error::new(at, names::entry(&key, index), why);
            alignment = alignment_of(&value, reader.limits).map_err(fault)?;
        }
        entries.push((key, value));
    }
    if let Some((before, again)) = names::duplicate(entries.iter().map(|(key, _)| &**key)) {
        let key = entries.get(again).map_or("", |(key, _)| key);
        let at = places.get(again).copied().unwrap_or(0);
        let rule = format!("entry {before} has the same key");
        return Err(Error::invalid(at, names::entry(key, again), rule));
    }
    Ok((Metadata(entries), alignment))
}

fn key(reader: &mut Reader<'_>) -> Result<String> {
    let at = reader.offset();
    let key = reader.text(reader.limits.key(), "key")?;
    if key.is_empty() { Err(Error::invalid(at, "key", "is empty")) } else { Ok(key) }
}

/// What an entry says about the alignment. The specification wants a multiple of 8; ggml wants a
/// power of two as well.
fn alignment_of(value: &Value, limits: &Limits) -> std::result::Result<u64, Why> {
    let Value::U32(bytes) = *value else {
        let found = value.kind().name().to_owned();
        return Err(Why::Mismatch { found, expected: ValueKind::U32.name().to_owned() });
    };
    let (value, (max, lift)) = (u64::from(bytes), limits.alignment());
    if !value.is_power_of_two() || value < ALIGNMENT_MIN {
        let expected = format!("a power of two, at least {ALIGNMENT_MIN}");
        return Err(Why::Mismatch { found: value.to_string(), expected });
    }
    if value > max { Err(Why::TooLarge { value, max, lift }) } else { Ok(value) }
}

/// The tensor infos; `offset` is still as stored, from the start of the data.
fn infos(reader: &mut Reader<'_>, count: usize, alignment: u64) -> Result<Vec<TensorInfo>> {
    let mut tensors: Vec<TensorInfo> = Vec::new();
    for index in 0..count {
        let at = reader.offset();
        let name = name(reader).map_err(names::of(|| format!("tensor info {index}")))?;
        let info = info(reader, alignment);
        let info = info.map_err(names::of(|| names::tensor(&name, index)))?;
        tensors.push(TensorInfo { name, info_at: at, ..info });
    }
    if let Some((before, again)) = names::duplicate(tensors.iter().map(|info| &*info.name)) {
        let (name, at) = tensors.get(again).map_or(("", 0), |info| (&info.name, info.info_at));
        let rule = format!("info {before} has the same name");
        return Err(Error::invalid(at, names::tensor(name, again), rule));
    }
    Ok(tensors)
}

fn name(reader: &mut Reader<'_>) -> Result<String> {
    let at = reader.offset();
    let name = reader.text(reader.limits.name(), "name")?;
    if name.is_empty() {
        return Err(Error::invalid(at, "name", "is empty"));
    }
    // A reader in C would end the name here, and then two names may be one.
    if name.contains('\0') {
        let rule = format!("'{}' contains a NUL", name.escape_debug());
        return Err(Error::invalid(at, "name", rule));
    }
    Ok(name)
}

/// What follows the name of a tensor.
fn info(reader: &mut Reader<'_>, alignment: u64) -> Result<TensorInfo> {
    let at = reader.offset();
    let dims = dims(reader)?;
    let kind = tensor_kind(reader)?;
    let Some(len) = kind.tensor_len(&dims) else {
        return Err(Error::invalid(at, "shape", no_len(&dims, kind)));
    };
    let at = reader.offset();
    let offset = reader.cursor.u64("offset")?;
    if !offset.is_multiple_of(alignment) {
        let expected = format!("a multiple of {alignment}");
        let why = Why::Mismatch { found: format!("{offset:#x}"), expected };
        return Err(Error::new(at, "offset", why));
    }
    Ok(TensorInfo { name: String::new(), dims, kind, offset, len, info_at: 0 })
}

fn dims(reader: &mut Reader<'_>) -> Result<Vec<u64>> {
    let at = reader.offset();
    let rank = reader.cursor.u32("rank")?;
    let (max, lift) = reader.limits.rank();
    if u64::from(rank) > max {
        return Err(Error::new(at, "rank", Why::TooLarge { value: rank.into(), max, lift }));
    }
    (0..rank).map(|_| dim(reader)).collect()
}

fn dim(reader: &mut Reader<'_>) -> Result<u64> {
    let at = reader.offset();
    let dim = reader.size("dimension")?;
    // ggml counts in `int64_t`: there this would be negative.
    if dim > i64::MAX as u64 {
        let why = Why::Mismatch { found: dim.to_string(), expected: "at most 2^63 - 1".to_owned() };
        return Err(Error::new(at, "dimension", why));
    }
    Ok(dim)
}

fn tensor_kind(reader: &mut Reader<'_>) -> Result<&'static Kind> {
    let at = reader.offset();
    let id = reader.cursor.u32("type")?;
    Kind::of_id(id).ok_or_else(|| match kind::removed(id) {
        Some(name) => {
            let feature = format!("{id} ({name}), which ggml removed: convert the source again");
            Error::unsupported(at, "type", feature)
        }
        None => Error::new(at, "type", Why::Unknown { value: id.to_string() }),
    })
}

/// Why a tensor has no length: see [`Kind::tensor_len`].
pub(crate) fn no_len(dims: &[u64], kind: &Kind) -> String {
    let row = dims.first().copied().unwrap_or(1);
    if row.is_multiple_of(kind.len) {
        return format!("{dims:?} has more weights or bytes than fit in 63 bits");
    }
    format!("rows of {row} are not whole blocks of {} ({})", kind.len, kind.name)
}
