//! Checkpoints before PyTorch 1.6, still written with `_use_new_zipfile_serialization=False`.
//!
//! ```text
//!  ┌─────────────┬────────────────┬─────────────┬────────────┬────────────────┬─────────────────┐
//!  │ pickle:     │ pickle: 1001   │ pickle:     │ pickle:    │ pickle: keys   │ for each key    │
//!  │ magic, an   │ the version    │ byte order, │ the value  │ of storages,   │ u64 elements,   │
//!  │ integer     │ of this layout │ type sizes  │            │ a list of text │ their bytes     │
//!  └─────────────┴────────────────┴─────────────┴────────────┴────────────────┴─────────────────┘
//! ```
//!
//! Source: `_legacy_save` and `_legacy_load` of `torch/serialization.py`. There is no checksum.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::{Cursor, Endian, Error, ReadAt, Result, Why};

use crate::value::{Pickle, Stated, Value};
use crate::{Checkpoint, Options, Storage, names, pickle, plan};
use zip::quoted;

/// 0x1950a86a20f9469cfc6c, least byte first, as a pickle holds it.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The same as the protocols before 2 hold it.
const MAGIC_LINE: &[u8] = b"119547037146038801333356L";
const VERSION: i64 = 1001;

/// The magic follows the protocol, a frame if there is one, and the length of an integer.
pub(crate) fn probe(head: &[u8]) -> bool {
    let head = head.get(..32).unwrap_or(head);
    let holds = |magic: &[u8]| head.windows(magic.len()).any(|bytes| bytes == magic);
    holds(&MAGIC) || holds(MAGIC_LINE)
}

pub(crate) fn read(source: &dyn ReadAt, options: &Options) -> Result<Checkpoint> {
    let mut c = Cursor::new(source);
    let end = source.size();
    let strict = Options { skip_objects: false, ..*options };
    let magic = pickle::read(&mut c, end, &strict).map_err(unlike)?;
    if !matches!(magic.value(magic.root), Value::Big(bytes) if **bytes == MAGIC) {
        let rule = "a pickle, but not a PyTorch checkpoint: its first value is not torch's magic";
        return Err(Error::invalid(0, "checkpoint", rule));
    }
    let version = pickle::read(&mut c, end, &strict)?;
    if !matches!(version.value(version.root), Value::Int(VERSION)) {
        let rule = "the version of the layout is not 1001, the only one there was";
        return Err(Error::invalid(version.start, "checkpoint", rule));
    }
    let system = pickle::read(&mut c, end, &strict)?;
    let byteorder = byteorder(&system)?;
    let value = pickle::read(&mut c, end, options)?;
    let keys = pickle::read(&mut c, end, &strict)?;
    c.set_endian(byteorder);
    let placed = place(&mut c, &keys, &value)?;
    let storages = value.storages.iter().map(|stated| storage(&placed, stated));
    let storages = storages.collect::<Result<Vec<_>>>()?;
    let named = names::name(&value, "")?;
    let note = "a layout before 1.6, which has no checksums: damage would not show";
    let mut checkpoint = Checkpoint {
        tensors: Vec::new(),
        refused: Vec::new(),
        storages: Vec::new(),
        notes: vec![note.to_owned()],
        byteorder,
    };
    plan::add(&mut checkpoint, &value, &storages, named)?;
    Ok(Checkpoint { storages, ..checkpoint })
}

/// What is no pickle is no checkpoint either; but a dangerous name is worth its own words.
fn unlike(error: Error) -> Error {
    if error.what == pickle::GLOBAL || matches!(error.why, Why::Io { .. }) {
        return error;
    }
    // As is a limit that was set below what the magic needs.
    if matches!(error.why, Why::TooLarge { max, .. } if max < MAGIC_LINE.len() as u64) {
        return error;
    }
    let rule = "neither a zip nor a stream that begins with torch's magic number: not a PyTorch \
                checkpoint, or cut short";
    Error::invalid(0, "checkpoint", rule)
}

pub(crate) fn byteorder(system: &Pickle) -> Result<Endian> {
    let Value::Dict(pairs) = system.value(system.root) else {
        return Err(Error::invalid(system.start, "system information", "is no dictionary"));
    };
    let little = pairs.iter().find(|pair| system.text(pair.0) == Some("little_endian"));
    match little.map(|pair| system.value(pair.1)) {
        Some(Value::Bool(true)) => Ok(Endian::Little),
        Some(Value::Bool(false)) => Ok(Endian::Big),
        _ => Err(Error::invalid(system.start, "system information", "states no byte order")),
    }
}

/// Where each storage's bytes are, by key: the list of keys gives their order in the file.
fn place<'p>(
    c: &mut Cursor<'_>,
    keys: &'p Pickle,
    value: &Pickle,
) -> Result<BTreeMap<&'p str, Arc<Storage>>> {
    let mut stated: BTreeMap<&str, &Stated> = BTreeMap::new();
    for storage in &value.storages {
        let first = *stated.entry(&storage.key).or_insert(storage);
        if (first.element, first.count) != (storage.element, storage.count) {
            let rule = "is stated twice, with two types or lengths";
            let what = format!("storage {}", quoted(&storage.key));
            return Err(Error::invalid(storage.at, what, rule));
        }
    }
    let Value::List(list) = keys.value(keys.root) else {
        return Err(Error::invalid(keys.start, "storage keys", "are no list"));
    };
    let mut placed = BTreeMap::new();
    for &id in list {
        let Some(key) = keys.text(id) else {
            return Err(Error::invalid(keys.start, "storage keys", "one of them is no text"));
        };
        let at = c.offset();
        let error = |why| Error::new(at, format!("storage {}", quoted(key)), why);
        let Some(stated) = stated.get(key) else {
            let rule = "is listed, but no tensor names it, so its type is not known".to_owned();
            return Err(error(Why::Invalid { rule }));
        };
        let storage = Arc::new(sized(c, stated)?);
        if placed.insert(key, storage).is_some() {
            return Err(error(Why::Invalid { rule: "is listed twice".to_owned() }));
        }
    }
    if c.remaining() > 0 {
        let rule = format!("{} bytes follow the last storage", c.remaining());
        return Err(Error::invalid(c.offset(), "checkpoint", rule));
    }
    Ok(placed)
}

/// One storage: its number of elements, which the value states as well, and its bytes.
fn sized(c: &mut Cursor<'_>, stated: &Stated) -> Result<Storage> {
    let at = c.offset();
    let error = |why| Error::new(at, format!("storage {}", quoted(&stated.key)), why);
    let count = c.u64("elements of a storage")?;
    if count != stated.count {
        let (found, expected) = (format!("{count} elements"), stated.count.to_string());
        return Err(error(Why::Mismatch { found, expected }));
    }
    let Some(len) = count.checked_mul(stated.element.bytes()) else {
        let rule = format!("its {count} elements do not fit in 64 bits");
        return Err(error(Why::Invalid { rule }));
    };
    let offset = c.offset();
    c.skip(len, format!("storage {}", quoted(&stated.key)))?;
    Ok(Storage { key: stated.key.clone(), offset, len, crc: None, deflated: None })
}

/// The storage that the value means: a whole one, or a part of it.
fn storage(placed: &BTreeMap<&str, Arc<Storage>>, stated: &Stated) -> Result<Arc<Storage>> {
    let invalid = |rule: &str| {
        Err(Error::invalid(stated.at, format!("storage {}", quoted(&stated.key)), rule))
    };
    let Some(whole) = placed.get(stated.key.as_str()) else {
        return invalid("is not in the list of keys, so the file does not hold it");
    };
    let Some((first, count)) = stated.part else { return Ok(Arc::clone(whole)) };
    let width = stated.element.bytes();
    let within = first.checked_mul(width).zip(count.checked_mul(width));
    match within.and_then(|(start, len)| Some((start, len, wire::fits(start, len, whole.len)?))) {
        Some((start, len, _)) => {
            let offset = whole.offset.saturating_add(start);
            let key = stated.key.clone();
            Ok(Arc::new(Storage { key, offset, len, crc: None, deflated: None }))
        }
        None => invalid("a view of it reaches past its end"),
    }
}
