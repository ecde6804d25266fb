//! Storages and tensors, from the arguments by which torch describes them.

use wire::Result;

use super::{Described, Machine};
use crate::dtype::Element;
use crate::globals::{Meaning, Rebuild};
use crate::value::{Id, Stated, Value, View};
use zip::quoted;

/// Longest key of a storage, in bytes: torch counts them, or writes an address.
const KEY_MAX: usize = 40;
/// Most dimensions of a tensor, as in NumPy and torch.
const RANK_MAX: usize = 64;

impl Machine<'_, '_> {
    /// `(class, key, location, count)`, and in old files a view `(key, offset, count)` or None.
    pub(super) fn storage(&mut self, items: &[Id]) -> Result<Id> {
        let (class, key, location, count, part) = match *items {
            [class, key, location, count] => (class, key, location, count, None),
            [class, key, location, count, part] => (class, key, location, count, Some(part)),
            _ => return self.invalid("a persistent identifier of a storage with too few parts"),
        };
        let Some(Meaning::Storage(element)) = self.meaning(class) else {
            return self.invalid("a storage whose class is no storage");
        };
        let Some((key, location)) = self.text(key).zip(self.text(location)) else {
            return self.invalid("a storage whose key or location is no text");
        };
        let fit = !key.is_empty() && key.len() <= KEY_MAX;
        if !fit || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let rule = format!("the storage key {} is no plain label", quoted(key));
            return self.invalid(rule);
        }
        let (key, meta) = (key.to_owned(), location == "meta");
        let count = self.count(count, "the length of a storage")?;
        let part = match part {
            Some(part) => self.part(part)?,
            None => None,
        };
        let stated = Stated { key, element, count, meta, part, at: self.at };
        self.state(stated)
    }

    /// `(key, offset, count)` of a view, or None.
    fn part(&self, id: Id) -> Result<Option<(u64, u64)>> {
        match self.value(id) {
            Value::None => Ok(None),
            Value::Row(items) => match items.as_slice() {
                &[_, offset, count] => {
                    let offset = self.count(offset, "the offset of a storage view")?;
                    Ok(Some((offset, self.count(count, "the length of a storage view")?)))
                }
                _ => self.invalid("a storage view that has not three parts"),
            },
            _ => self.invalid("a storage view that is no tuple"),
        }
    }

    /// One storage has one type and one length, however often it is named.
    fn state(&mut self, stated: Stated) -> Result<Id> {
        let next = u32::try_from(self.storages.len()).unwrap_or(u32::MAX);
        // Views of one storage are told apart by their range.
        let name = format!("{} {:?}", stated.key, stated.part);
        let index = *self.storage_at.entry(name).or_insert(next);
        if index == next {
            self.storages.push(stated);
        } else if let Some(known) = self.storages.get(index as usize) {
            let same = known.element == stated.element && known.count == stated.count;
            if !same {
                let key = quoted(&stated.key);
                return self
                    .invalid(format!("storage {key} is stated twice, with two types or lengths"));
            }
        }
        self.make(Value::Storage(index))
    }

    /// A storage or a tensor that the file describes elsewhere.
    pub(super) fn keyed(&mut self, key: &str) -> Result<Id> {
        let Some(Described { stated, view }) = self.keyed.get(key) else {
            return self.invalid(format!("the key {}, which nothing has", quoted(key)));
        };
        let (stated, view) = (stated.clone(), view.clone());
        let storage = self.state(stated)?;
        let Some((offset, sizes, strides)) = view else { return Ok(storage) };
        let offset = self.number(offset)?;
        let (sizes, strides) = (self.numbers(&sizes)?, self.numbers(&strides)?);
        self.view(storage, [offset, sizes, strides], None)
    }

    fn number(&mut self, value: u64) -> Result<Id> {
        self.make(Value::Int(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn numbers(&mut self, values: &[u64]) -> Result<Id> {
        let ids = values.iter().map(|&value| self.number(value)).collect::<Result<Vec<Id>>>()?;
        self.make(Value::Row(ids))
    }

    /// Whether a tensor's values are those of its storage: the last argument says of complex
    /// numbers that they are to be conjugated, or negated, when they are used.
    fn is_lazy(&self, metadata: Option<&Id>) -> bool {
        let Some(Value::Dict(pairs)) = metadata.map(|&id| self.value(id)) else { return false };
        pairs.iter().any(|&(_, value)| matches!(self.value(value), Value::Bool(true)))
    }

    pub(super) fn rebuild(&mut self, kind: Rebuild, args: Id) -> Result<Id> {
        let Value::Row(items) = self.value(args) else {
            return self.invalid("a tensor whose arguments are no tuple");
        };
        match (kind, items.as_slice()) {
            (Rebuild::Parameter, &[tensor, ..]) => match self.value(tensor) {
                Value::Tensor(_) | Value::Unread(_) => Ok(tensor),
                _ => self.invalid("a parameter of something that is no tensor"),
            },
            (Rebuild::Tensor, items) if self.is_lazy(items.get(6)) => self.lazy(),
            (Rebuild::TensorOfDtype, items) if self.is_lazy(items.get(7)) => self.lazy(),
            (Rebuild::Tensor, &[storage, offset, shape, strides, ..]) => {
                self.view(storage, [offset, shape, strides], None)
            }
            (Rebuild::TensorOfDtype, &[storage, offset, shape, strides, _, _, dtype, ..]) => {
                let Some(Meaning::Dtype(element)) = self.meaning(dtype) else {
                    return self.invalid("a tensor whose dtype is none");
                };
                self.view(storage, [offset, shape, strides], Some(element))
            }
            _ => self.invalid("a tensor with too few arguments"),
        }
    }

    fn lazy(&mut self) -> Result<Id> {
        self.make(Value::Unread(
            "a conjugated or negated view, which torch computes when it is used",
        ))
    }

    fn view(&mut self, storage: Id, parts: [Id; 3], of: Option<Element>) -> Result<Id> {
        let &Value::Storage(storage) = self.value(storage) else {
            return self.invalid("a tensor of something that is no storage");
        };
        let Some(stated) = self.storages.get(storage as usize) else {
            return self.invalid("a tensor of no storage");
        };
        if stated.meta {
            return self.make(Value::Unread("a meta tensor, which has no values"));
        }
        let element = match (stated.element, of) {
            (Element::Untyped, Some(element)) => element,
            (Element::Untyped, None) => return self.invalid("a tensor of an untyped storage"),
            (element, None) => element,
            (element, Some(of)) if element == of => element,
            _ => return self.invalid("a tensor whose dtype is not its storage's"),
        };
        let [offset, shape, strides] = parts;
        self.count(offset, "the offset of a tensor")?;
        for row in [shape, strides] {
            let Value::Row(items) = self.value(row) else {
                return self.invalid("a tensor whose sizes or strides are no tuple");
            };
            if items.len() > RANK_MAX {
                let rule = format!(
                    "a tensor of {} dimensions, where torch has at most {RANK_MAX}",
                    items.len()
                );
                return self.invalid(rule);
            }
            for &item in items {
                self.count(item, "a size or stride of a tensor")?;
            }
        }
        let view = View { storage, element, offset, shape, strides, at: self.at };
        self.make(Value::Tensor(Box::new(view)))
    }

    fn count(&self, id: Id, what: &str) -> Result<u64> {
        match self.value(id) {
            Value::Int(value) => match u64::try_from(*value) {
                Ok(count) => Ok(count),
                Err(_) => self.invalid(format!("{what} is {value}; it must not be negative")),
            },
            _ => self.invalid(format!("{what} is no integer of 64 bits")),
        }
    }
}
