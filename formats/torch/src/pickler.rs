//! A dictionary of tensors as a pickle of protocol 2, as `torch.save` makes it of a state dict.
//!
//! Only what `torch.load(weights_only=True)` of every version reads: `OrderedDict`,
//! `_rebuild_tensor_v2`, classes of storages; and for types without such a class, as torch 2.3
//! and later write them, `_rebuild_tensor_v3` of an `UntypedStorage`.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};

use wire::{Error, Result};

use crate::write::Entry;
use zip::quoted;

/// Items between two `SETITEMS`: CPython's `_BATCHSIZE`, which keeps a reader's stack short.
const BATCH: usize = 1000;

/// The storages of some tensors.
pub(crate) struct Storages {
    /// Of each tensor, the key of its storage: they are counted in the order of the tensors.
    pub(crate) keys: Vec<usize>,
    /// Of each key, the bytes of the storage.
    pub(crate) lens: Vec<u64>,
}

/// Numbers the storages of the tensors.
///
/// # Errors
/// See [`crate::Plan::new`].
pub(crate) fn storages(entries: &[Entry]) -> Result<Storages> {
    let (mut names, mut first) = (BTreeSet::new(), BTreeMap::new());
    let mut storages = Storages { keys: Vec::new(), lens: Vec::new() };
    for entry in entries {
        let invalid = |rule: &str| {
            Err(Error::invalid(0, format!("tensor {}", quoted(&entry.name)), rule.to_owned()))
        };
        if !names.insert(&entry.name) {
            return invalid("another tensor has this name");
        }
        let len = wire::product(&entry.shape).and_then(|n| n.checked_mul(entry.dtype.bytes()));
        let Some(len) = len.filter(|&len| len <= i64::MAX as u64) else {
            return invalid("its shape does not fit in 63 bits");
        };
        let key = match first.entry(entry.storage) {
            Place::Vacant(place) => {
                place.insert((storages.lens.len(), entry.dtype));
                storages.lens.push(len);
                storages.lens.len().saturating_sub(1)
            }
            Place::Occupied(place) => {
                let (key, dtype) = *place.get();
                if dtype != entry.dtype || storages.lens.get(key) != Some(&len) {
                    return invalid("it shares a storage of another type or length");
                }
                key
            }
        };
        storages.keys.push(key);
    }
    Ok(storages)
}

/// The pickle of a dictionary of the tensors.
pub(crate) fn pickle(entries: &[Entry], storages: &Storages) -> Vec<u8> {
    let mut out = Pickler { bytes: b"\x80\x02".to_vec(), memo: Vec::new() };
    out.empty_dict();
    let keyed: Vec<_> = entries.iter().zip(&storages.keys).collect();
    for batch in keyed.chunks(BATCH) {
        out.put(b"(");
        for (entry, key) in batch {
            out.text(&entry.name);
            out.tensor(entry, **key);
        }
        out.put(b"u");
    }
    out.put(b".");
    out.bytes
}

struct Pickler {
    bytes: Vec<u8>,
    /// What is in the memo, by its number: the opcodes that put it on the stack.
    memo: Vec<Vec<u8>>,
}

impl Pickler {
    fn tensor(&mut self, entry: &Entry, key: usize) {
        let class = entry.dtype.storage();
        let version = if class.is_some() { "2" } else { "3" };
        self.global("torch._utils", &format!("_rebuild_tensor_v{version}"));
        let count = entry.shape.iter().fold(1u64, |count, &size| count.saturating_mul(size));
        self.put(b"((");
        self.again(&text("storage"));
        match class {
            Some(class) => self.global("torch", class),
            None => self.global("torch.storage", "UntypedStorage"),
        }
        self.text(&key.to_string());
        self.again(&text("cpu"));
        // An untyped storage counts bytes.
        let width = if class.is_some() { 1 } else { entry.dtype.bytes() };
        self.int(count.saturating_mul(width));
        self.put(b"tQ");
        self.int(0);
        self.tuple(&entry.shape);
        self.tuple(&strides(&entry.shape));
        // It needs no gradient, and has no hooks.
        self.put(b"\x89");
        self.empty_dict();
        if class.is_none() {
            self.global("torch", entry.dtype.name());
        }
        self.put(b"tR");
    }

    fn empty_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.put(b")R");
    }

    fn global(&mut self, module: &str, name: &str) {
        self.again(format!("c{module}\n{name}\n").as_bytes());
    }

    /// Puts a value by its opcodes, or what the memo has of it. It holds some twenty values, of
    /// which one byte is enough to say which.
    fn again(&mut self, opcodes: &[u8]) {
        let known = self.memo.iter().position(|known| known == opcodes);
        match known.map(u8::try_from) {
            Some(Ok(at)) => self.put(&[b'h', at]),
            _ => {
                self.put(opcodes);
                if let Ok(at) = u8::try_from(self.memo.len()) {
                    self.put(&[b'q', at]);
                    self.memo.push(opcodes.to_vec());
                }
            }
        }
    }

    fn text(&mut self, value: &str) {
        self.bytes.extend(text(value));
    }

    fn int(&mut self, value: u64) {
        let bytes = value.to_le_bytes();
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(1, |at| at.saturating_add(1));
        match (used, bytes) {
            (1, [a, ..]) => self.put(&[b'K', a]),
            (2, [a, b, ..]) => self.put(&[b'M', a, b]),
            (3, [a, b, c, ..]) => self.put(&[b'J', a, b, c, 0]),
            (4, [a, b, c, d, ..]) if d < 0x80 => self.put(&[b'J', a, b, c, d]),
            _ => {
                // Two's complement, in no more bytes than needed; no count has 64 bits.
                let signed = bytes.get(used.saturating_sub(1)).is_some_and(|&top| top >= 0x80);
                let digits = bytes.get(..used.saturating_add(signed.into())).unwrap_or(&bytes);
                self.put(&[0x8a, digits.len().to_le_bytes()[0]]);
                self.put(digits);
            }
        }
    }

    fn tuple(&mut self, values: &[u64]) {
        self.put(b"(");
        values.iter().for_each(|&value| self.int(value));
        self.put(b"t");
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }
}

/// The opcodes that put a text on the stack.
fn text(value: &str) -> Vec<u8> {
    // A name came from a file with limits of its own, far below 4 GiB.
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    [b"X", len.to_le_bytes().as_slice(), value.as_bytes()].concat()
}

/// Elements between neighbours, for each dimension. Torch takes an empty dimension for one of 1.
fn strides(shape: &[u64]) -> Vec<u64> {
    let mut step = 1u64;
    let mut strides: Vec<u64> = shape
        .iter()
        .rev()
        .map(|&size| {
            let stride = step;
            step = step.saturating_mul(size.max(1));
            stride
        })
        .collect();
    strides.reverse();
    strides
}
