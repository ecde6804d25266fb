//! Parts to bytes: the whole header, and the place of each tensor, before any data exists.

use wire::{Error, Result, Why, align_up};

use crate::limits::NESTING_MAX;
use crate::{
    ALIGNMENT_DEFAULT, ALIGNMENT_KEY, ALIGNMENT_MIN, Array, Kind, Limits, MAGIC, Metadata,
    NAME_WRITE_MAX, VERSION, Value, ValueKind, names, read,
};

/// A file yet to be written: version 3, little-endian.
///
/// The file is `header`, then each tensor's data at its offset, and zeros elsewhere up to `len`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Everything before the data, with the padding.
    pub header: Vec<u8>,
    /// Where the data of each tensor goes, in the order given.
    pub tensors: Vec<Placed>,
    /// Bytes of the whole file: the last tensor is padded too, as ggml does.
    pub len: u64,
}

/// Where the data of a tensor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// From the start of the file.
    pub offset: u64,
    /// Bytes, without the padding that follows.
    pub len: u64,
}

impl Plan {
    /// Plans a file with these entries and these tensors: name, dimensions (fastest first), kind.
    ///
    /// An `alignment` other than 32 becomes an entry, unless `metadata` states it already.
    ///
    /// # Errors
    /// What a reader would refuse, ours or ggml's: empty or equal names and keys, names of more
    /// than [`NAME_WRITE_MAX`] bytes or with a NUL, keys of more than 65535 bytes, more than 4
    /// dimensions, rows that are not whole blocks, an alignment that is no power of two or below
    /// 8, or that `metadata` contradicts. Nested arrays are written, to a depth of 64, though ggml
    /// reads none. The offset is the place in the header at which it was found.
    pub fn new(
        metadata: &Metadata,
        tensors: &[(String, Vec<u64>, &'static Kind)],
        alignment: u64,
    ) -> Result<Self> {
        let mut header = Header(MAGIC.to_vec());
        let stated = stated_alignment(metadata, alignment)?;
        header.put(&VERSION.to_le_bytes());
        header.put_count(tensors.len());
        header.put_count(metadata.len().saturating_add(stated.is_some().into()));
        header
            .entries(metadata.iter().chain(stated.as_ref().map(|value| (ALIGNMENT_KEY, value))))?;
        let (stored, data_len) = header.infos(tensors, alignment)?;
        let past = || Error::invalid(0, "file", "has more bytes than fit in 63 bits");
        let data_start = align_up(header.offset(), alignment).ok_or_else(past)?;
        let len = data_start.checked_add(data_len).filter(|&len| len <= i64::MAX as u64);
        let len = len.ok_or_else(past)?;
        header.0.resize(usize::try_from(data_start).map_err(|_| past())?, 0);
        let place =
            |(stored, len): (u64, u64)| Placed { offset: data_start.saturating_add(stored), len };
        Ok(Self { header: header.0, tensors: stored.into_iter().map(place).collect(), len })
    }
}

/// The entry that must be added for this alignment, if any.
fn stated_alignment(metadata: &Metadata, alignment: u64) -> Result<Option<Value>> {
    let fault = |found: String, expected: String| {
        Err(Error::new(0, ALIGNMENT_KEY, Why::Mismatch { found, expected }))
    };
    let bytes = u32::try_from(alignment).ok();
    let Some(bytes) = bytes.filter(|n| n.is_power_of_two() && alignment >= ALIGNMENT_MIN) else {
        let expected = format!("a power of two, at least {ALIGNMENT_MIN}, in 32 bits");
        return fault(alignment.to_string(), expected);
    };
    match metadata.get(ALIGNMENT_KEY) {
        None if alignment == ALIGNMENT_DEFAULT => Ok(None),
        None => Ok(Some(Value::U32(bytes))),
        Some(Value::U32(stated)) if *stated == bytes => Ok(None),
        Some(Value::U32(stated)) => fault(format!("{stated} in the metadata"), bytes.to_string()),
        Some(other) => fault(other.kind().name().to_owned(), ValueKind::U32.name().to_owned()),
    }
}

/// The header as far as it is written.
struct Header(Vec<u8>);

impl Header {
    fn offset(&self) -> u64 {
        self.0.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn put_count(&mut self, count: usize) {
        self.put(&(count as u64).to_le_bytes());
    }

    fn put_text(&mut self, text: &str) {
        self.put_count(text.len());
        self.put(text.as_bytes());
    }

    fn put_all<T: Copy, const N: usize>(&mut self, items: &[T], bytes: fn(T) -> [u8; N]) {
        self.0.reserve(items.len().saturating_mul(N));
        self.0.extend(items.iter().flat_map(|item| bytes(*item)));
    }

    fn entries<'a>(&mut self, entries: impl Iterator<Item = (&'a str, &'a Value)>) -> Result<()> {
        let entries: Vec<_> = entries.collect();
        let key_max = Limits::default().key;
        for (index, (key, value)) in entries.iter().enumerate() {
            let fault = |at, rule: String| Error::invalid(at, names::entry(key, index), rule);
            if key.is_empty() || key.len() as u64 > key_max {
                let rule = format!("the key has {} bytes, expected 1 to {key_max}", key.len());
                return Err(fault(self.offset(), rule));
            }
            self.put_text(key);
            self.put(&value.kind().id().to_le_bytes());
            self.value(value).map_err(|rule| fault(self.offset(), rule))?;
        }
        if let Some((before, again)) = names::duplicate(entries.iter().map(|(key, _)| *key)) {
            let key = entries.get(again).map_or("", |(key, _)| key);
            let rule = format!("entry {before} has the same key");
            return Err(Error::invalid(self.offset(), names::entry(key, again), rule));
        }
        Ok(())
    }

    fn value(&mut self, value: &Value) -> std::result::Result<(), String> {
        match value {
            Value::U8(n) => self.put(&n.to_le_bytes()),
            Value::I8(n) => self.put(&n.to_le_bytes()),
            Value::U16(n) => self.put(&n.to_le_bytes()),
            Value::I16(n) => self.put(&n.to_le_bytes()),
            Value::U32(n) => self.put(&n.to_le_bytes()),
            Value::I32(n) => self.put(&n.to_le_bytes()),
            Value::F32(x) => self.put(&x.to_le_bytes()),
            Value::Bool(yes) => self.put(&[u8::from(*yes)]),
            Value::Text(text) => self.put_text(text),
            Value::Array(array) => self.array(array, 1)?,
            Value::U64(n) => self.put(&n.to_le_bytes()),
            Value::I64(n) => self.put(&n.to_le_bytes()),
            Value::F64(x) => self.put(&x.to_le_bytes()),
        }
        Ok(())
    }

    /// An array that is itself `depth` deep.
    fn array(&mut self, array: &Array, depth: u32) -> std::result::Result<(), String> {
        if depth > NESTING_MAX {
            return Err(format!("arrays are nested deeper than {NESTING_MAX}"));
        }
        self.put(&array.kind().id().to_le_bytes());
        self.put_count(array.len());
        match array {
            Array::U8(items) => self.put(items),
            Array::I8(items) => self.put_all(items, i8::to_le_bytes),
            Array::U16(items) => self.put_all(items, u16::to_le_bytes),
            Array::I16(items) => self.put_all(items, i16::to_le_bytes),
            Array::U32(items) => self.put_all(items, u32::to_le_bytes),
            Array::I32(items) => self.put_all(items, i32::to_le_bytes),
            Array::F32(items) => self.put_all(items, f32::to_le_bytes),
            Array::Bool(items) => self.put_all(items, |yes| [u8::from(yes)]),
            Array::Text(items) => items.iter().for_each(|text| self.put_text(text)),
            Array::Array(items) => {
                items.iter().try_for_each(|item| self.array(item, depth.saturating_add(1)))?;
            }
            Array::U64(items) => self.put_all(items, u64::to_le_bytes),
            Array::I64(items) => self.put_all(items, i64::to_le_bytes),
            Array::F64(items) => self.put_all(items, f64::to_le_bytes),
        }
        Ok(())
    }

    /// The infos; gives stored offset and length of each tensor, and the length of all data.
    fn infos(
        &mut self,
        tensors: &[(String, Vec<u64>, &'static Kind)],
        alignment: u64,
    ) -> Result<(Vec<(u64, u64)>, u64)> {
        let mut places = Vec::with_capacity(tensors.len());
        let mut stored = 0u64;
        for (index, (name, dims, kind)) in tensors.iter().enumerate() {
            let fault = |rule| Error::invalid(self.offset(), names::tensor(name, index), rule);
            let (rank, len) = check(name, dims, kind).map_err(fault)?;
            let past = || fault("the data ends past 63 bits".to_owned());
            let next = stored.checked_add(len).and_then(|end| align_up(end, alignment));
            let next = next.filter(|&next| next <= i64::MAX as u64).ok_or_else(past)?;
            self.put_text(name);
            self.put(&rank.to_le_bytes());
            self.put_all(dims, u64::to_le_bytes);
            self.put(&kind.id.to_le_bytes());
            self.put(&stored.to_le_bytes());
            places.push((stored, len));
            stored = next;
        }
        if let Some((before, again)) = names::duplicate(tensors.iter().map(|(name, ..)| &**name)) {
            let name = tensors.get(again).map_or("", |(name, ..)| name);
            let rule = format!("info {before} has the same name");
            return Err(Error::invalid(self.offset(), names::tensor(name, again), rule));
        }
        Ok((places, stored))
    }
}

/// The rank and the bytes of a tensor, if both its name and its shape can be written.
fn check(name: &str, dims: &[u64], kind: &Kind) -> std::result::Result<(u32, u64), String> {
    if name.is_empty() || name.len() > NAME_WRITE_MAX {
        return Err(format!("the name has {} bytes, expected 1 to {NAME_WRITE_MAX}", name.len()));
    }
    if name.contains('\0') {
        return Err("the name contains a NUL".to_owned());
    }
    let max = Limits::default().rank;
    let rank = u32::try_from(dims.len()).ok().filter(|&rank| rank <= max);
    let rank = rank.ok_or_else(|| format!("{} dimensions, expected at most {max}", dims.len()))?;
    let len = kind.tensor_len(dims).ok_or_else(|| read::no_len(dims, kind))?;
    Ok((rank, len))
}
