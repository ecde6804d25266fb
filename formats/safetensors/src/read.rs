//! From the bytes of a file to its metadata and the places of its tensors.

use wire::{Cursor, Error, ReadAt, Result, Why};

use crate::foreign::or_foreign;
use crate::header::{Stated, parse, place_of};
use crate::json::quoted;
use crate::{Dtype, HEADER_MAX, LENGTH_BYTES};

/// The shortest header: `{}`.
const HEADER_MIN: u64 = 2;

/// The option that raises the header's limit.
const LIFT: &str = "safetensors-header";

/// What a file may ask of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the header; 100 MB, as in the reference, unless set.
    pub header: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header: HEADER_MAX }
    }
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Keys and texts of `__metadata__`, in the order of the header.
    pub metadata: Vec<(String, String)>,
    /// In the order of their data; empty tensors at one offset in the order of the header.
    pub tensors: Vec<TensorInfo>,
    /// Byte offset of the first tensor's data.
    pub data_start: u64,
}

/// One tensor, and where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Any text, the empty one too.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// The outermost dimension first.
    pub shape: Vec<u64>,
    /// Byte offset of its data from the start of the file; of any alignment.
    pub offset: u64,
    /// Bytes of its data.
    pub len: u64,
}

/// Whether a file of `size` bytes that begins with `head` looks like safetensors.
///
/// Nine bytes suffice. A file that was cut short still looks like one: `read` then says so.
pub fn probe(head: &[u8], size: u64) -> bool {
    let Some((length, text)) = head.split_first_chunk() else { return false };
    let length = u64::from_le_bytes(*length);
    let mut after = text.iter().skip(1).filter(|b| !b.is_ascii_whitespace());
    (HEADER_MIN..=HEADER_MAX.max(size)).contains(&length)
        && text.first() == Some(&b'{')
        && after.next().is_none_or(|b| matches!(b, b'"' | b'}'))
}

/// Reads the header; of the data, only the length is checked.
///
/// # Errors
/// - `Truncated`, `Invalid`, `Mismatch`, `Unknown`: the file breaks the format, see the crate.
/// - `TooLarge`: the header is longer than `limits` allow.
/// - `Unsupported`: a type of elements that is not in [`Dtype`].
/// - `Io`: reading failed.
pub fn read(source: &dyn ReadAt, limits: &Limits) -> Result<File> {
    let bytes = header_bytes(source, limits)?;
    let text = header_text(&bytes)?;
    let header = parse(text)?;
    let data_start = LENGTH_BYTES.saturating_add(bytes.len() as u64);
    let tensors = place(header.tensors, text, data_start..source.size())?;
    Ok(File { metadata: header.metadata, tensors, data_start })
}

/// The header's bytes with their padding, once their number was found plausible.
fn header_bytes(source: &dyn ReadAt, limits: &Limits) -> Result<Vec<u8>> {
    let mut c = Cursor::new(source);
    let len = c.u64("header length")?;
    if len > c.remaining() {
        let rest = c.remaining();
        let rule = format!(
            "states {len} bytes, but {rest} remain: the file is cut short, or no safetensors file"
        );
        return Err(or_foreign(source, Error::invalid(0, "header length", rule)));
    }
    if len < HEADER_MIN {
        let rule = format!("states {len} bytes, but the shortest header, {{}}, has {HEADER_MIN}");
        return Err(or_foreign(source, Error::invalid(0, "header length", rule)));
    }
    let first = c.u8("header")?;
    if first != b'{' {
        let found = format!("first byte {first:#04x}");
        let why = Why::Mismatch { found, expected: "{ (0x7b), with nothing before it".to_owned() };
        return Err(or_foreign(source, Error::new(LENGTH_BYTES, "header", why)));
    }
    c.seek(LENGTH_BYTES);
    c.bytes(len, limits.header, LIFT, "header")
}

/// The header without its padding.
fn header_text(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = LENGTH_BYTES.saturating_add(error.valid_up_to() as u64);
        Error::invalid(at, "header", "is not UTF-8")
    })?;
    let text = text.trim_end_matches(' ');
    match text.as_bytes().last() {
        Some(b'}') | None => Ok(text),
        Some(last) => {
            let at = LENGTH_BYTES.saturating_add(text.len() as u64).saturating_sub(1);
            let rule =
                format!("ends in {last:#04x}; only spaces (0x20) may follow its closing brace");
            Err(Error::invalid(at, "header", rule))
        }
    }
}

/// The tensors in the order of their data, which must fill the file without gap or overlap.
fn place(
    mut stated: Vec<Stated>,
    text: &str,
    data: std::ops::Range<u64>,
) -> Result<Vec<TensorInfo>> {
    // Empty tensors lie before the one that begins at their offset, whatever the header's order.
    stated.sort_by_key(|tensor| (tensor.start, tensor.end));
    let mut tensors: Vec<TensorInfo> = Vec::new();
    let (mut end, size) = (0, data.end.saturating_sub(data.start));
    for tensor in stated {
        let what = || format!("tensor {}", quoted(&tensor.name));
        let offset = data.start.saturating_add(tensor.start);
        if tensor.start != end {
            let before = tensors.last().map(|before| before.name.as_str());
            let rule = apart(&tensor, end, before);
            return Err(Error::invalid(place_of(text, &tensor.name), what(), rule));
        }
        let len = tensor.end.saturating_sub(tensor.start);
        if tensor.end > size {
            let why = Why::Truncated { need: len, have: size.saturating_sub(tensor.start) };
            return Err(Error::new(offset, format!("{}, data", what()), why));
        }
        end = tensor.end;
        let Stated { name, dtype, shape, .. } = tensor;
        tensors.push(TensorInfo { name, dtype, shape, offset, len });
    }
    match size.saturating_sub(end) {
        0 => Ok(tensors),
        rest => {
            let rule = format!("{rest} bytes follow the last tensor and belong to none");
            Err(Error::invalid(data.start.saturating_add(end), "data", rule))
        }
    }
}

/// The words for a tensor that does not begin where the one before it ends.
fn apart(tensor: &Stated, end: u64, before: Option<&str>) -> String {
    let Stated { start, end: own, .. } = tensor;
    match before {
        Some(before) if *start < end => {
            let before = quoted(before);
            format!("data_offsets [{start}, {own}] overlap those of {before}, which end at {end}")
        }
        _ => {
            format!("data_offsets [{start}, {own}] leave a hole: the data before them end at {end}")
        }
    }
}
