//! Checkpoints before PyTorch 0.1.10, of 2016: a tar of three members.
//!
//! ```text
//!  sys_info   pickle: byte order, type sizes
//!  pickle     pickle: the value, with a key where each tensor or storage belongs
//!  tensors    pickle: how many; for each a pickle (key, storage, class), then
//!             i32 dimensions, 4 bytes of nothing, i64 sizes, i64 strides, i64 offset
//!  storages   pickle: how many; for each a pickle (key, location, class), u64 elements, their bytes;
//!             then a pickle of views: [(key, storage, offset, elements), …]
//! ```
//!
//! Source: `legacy_load` of `torch/serialization.py`. There is no checksum of data. Member names are
//! labels; nothing is extracted.

mod members;

use std::collections::BTreeMap;
use std::sync::Arc;

use members::{Member, Members};
use wire::{Cursor, Endian, Error, ReadAt, Result, Why};

use crate::globals::Meaning;
use crate::legacy::byteorder;
use crate::pickle::{self, Described, Keyed};
use crate::value::{Id, Pickle, Stated, Value};
use crate::{Checkpoint, Options, Storage, names, plan};
use zip::quoted;

const MEMBERS: [&str; 4] = ["sys_info", "pickle", "tensors", "storages"];
/// Most dimensions, as in NumPy and torch.
const RANK_MAX: u32 = 64;

/// Whether this is such a tar, by its first member; cut short, by its first header.
pub(crate) fn probe(head: &[u8], source: &dyn ReadAt) -> bool {
    let is_cut = || MEMBERS.iter().any(|name| members::until_zero(head) == name.as_bytes());
    let first = || Members::new(source).next().ok().flatten();
    head.get(257..262) == Some(b"ustar")
        && first().map_or_else(is_cut, |first| known(&first).is_some())
}

pub(crate) fn read(source: &dyn ReadAt, options: &Options) -> Result<Checkpoint> {
    let tar = Tar { source, options, members: members(source)? };
    let byteorder = match tar.members.contains_key("sys_info") {
        true => byteorder(&tar.pickle("sys_info", Keyed::new())?)?,
        false => Endian::Little,
    };
    let storages = tar.storages(byteorder)?;
    let tensors = tar.tensors(&storages)?;
    let value = tar.pickle("pickle", tensors)?;
    let used = value.storages.iter().map(|stated| storages.placed(stated));
    let used = used.collect::<Result<Vec<_>>>()?;
    let named = names::name(&value, "")?;
    let note = "the tar container of 2016, which has no checksums: damage would not show";
    let mut checkpoint = Checkpoint {
        tensors: Vec::new(),
        refused: Vec::new(),
        storages: Vec::new(),
        notes: vec![note.to_owned()],
        byteorder,
    };
    plan::add(&mut checkpoint, &value, &used, named)?;
    Ok(Checkpoint { storages: used, ..checkpoint })
}

/// Where each member's data begin and end.
fn members(source: &dyn ReadAt) -> Result<BTreeMap<&'static str, (u64, u64)>> {
    let mut all = Members::new(source);
    let mut members = BTreeMap::new();
    while let Some(member) = all.next()? {
        if let Some(known) = known(&member)
            && members.insert(known, (member.start, member.end)).is_some()
        {
            let rule = "a member of a name that stood before";
            return Err(Error::invalid(member.at, "tar header", rule));
        }
    }
    Ok(members)
}

fn known(member: &Member) -> Option<&'static str> {
    MEMBERS.into_iter().find(|known| known.as_bytes() == member.name)
}

struct Tar<'a> {
    source: &'a dyn ReadAt,
    options: &'a Options,
    members: BTreeMap<&'static str, (u64, u64)>,
}

impl<'a> Tar<'a> {
    fn member(&self, name: &'static str) -> Result<(Cursor<'a>, u64)> {
        let missing = || Error::invalid(0, format!("tar member '{name}'"), "is missing");
        let &(start, end) = self.members.get(name).ok_or_else(missing)?;
        let mut c = Cursor::new(self.source);
        c.seek(start);
        Ok((c, end))
    }

    /// A member that is one pickle.
    fn pickle(&self, name: &'static str, keyed: Keyed) -> Result<Pickle> {
        let (mut c, end) = self.member(name)?;
        pickle::read_keyed(&mut c, end, self.options, keyed)
    }

    /// A member that is read item by item. In a description, classes of tensors that were, such as
    /// `torch.FloatTensor`, are no objects.
    fn items(&self, name: &'static str) -> Result<Items<'a>> {
        let (c, end) = self.member(name)?;
        Ok(Items { c, end, options: Options { skip_objects: true, ..*self.options } })
    }

    fn storages(&self, byteorder: Endian) -> Result<Storages> {
        let mut items = self.items("storages")?;
        let mut storages = Storages::default();
        for _ in 0..items.count()? {
            let at = items.c.offset();
            let description = items.pickle()?;
            let [key, _, class] = *description.row(description.root) else {
                return Err(Error::invalid(at, "storage", "is not described by three values"));
            };
            let key = items.key(&description, key)?;
            let Some(Meaning::Storage(element)) = description.meaning(class) else {
                return Err(Error::invalid(at, "storage", "its class is no storage"));
            };
            items.c.set_endian(byteorder);
            let count = items.number("elements of a storage")?;
            items.c.set_endian(Endian::Little);
            let offset = items.c.offset();
            let len = count.saturating_mul(element.bytes());
            items.skip(len, &key)?;
            let storage = Storage { key: key.clone(), offset, len, crc: None, deflated: None };
            let stated = Stated { key, element, count, meta: false, part: None, at };
            storages.add(stated, storage)?;
        }
        let views = items.pickle()?;
        for &view in views.row(views.root) {
            let [key, root, first, count] = *views.row(view) else {
                return Err(Error::invalid(views.start, "storage view", "has not four parts"));
            };
            let (key, root) = (items.key(&views, key)?, items.key(&views, root)?);
            storages.view(key, &root, (views.count(first), views.count(count)), views.start)?;
        }
        Ok(storages)
    }

    fn tensors(&self, storages: &Storages) -> Result<Keyed> {
        let mut items = self.items("tensors")?;
        let mut keyed = storages.keyed();
        for _ in 0..items.count()? {
            let at = items.c.offset();
            let description = items.pickle()?;
            let [key, storage, _] = *description.row(description.root) else {
                return Err(Error::invalid(at, "tensor", "is not described by three values"));
            };
            let key = items.key(&description, key)?;
            let storage = items.key(&description, storage)?;
            let Some((stated, _)) = storages.0.get(&storage) else {
                let rule = format!("its storage {} is not in the file", quoted(&storage));
                return Err(Error::invalid(at, "tensor", rule));
            };
            let rank = items.rank()?;
            let sizes = items.numbers(rank, "sizes of a tensor")?;
            let strides = items.numbers(rank, "strides of a tensor")?;
            let offset = items.number("offset of a tensor")?;
            let view = Described { stated: stated.clone(), view: Some((offset, sizes, strides)) };
            if keyed.insert(key, view).is_some() {
                return Err(Error::invalid(at, "tensor", "its key stood before"));
            }
        }
        Ok(keyed)
    }
}

/// A member that is read item by item.
struct Items<'a> {
    c: Cursor<'a>,
    end: u64,
    options: Options,
}

impl Items<'_> {
    /// A description.
    fn pickle(&mut self) -> Result<Pickle> {
        pickle::read(&mut self.c, self.end, &self.options)
    }

    fn count(&mut self) -> Result<u64> {
        let at = self.c.offset();
        let pickle = self.pickle()?;
        match pickle.count(pickle.root) {
            count if count <= self.options.limits.items => Ok(count),
            value => {
                let max = self.options.limits.items;
                let why = Why::TooLarge { value, max, lift: "torch-items" };
                Err(Error::new(at, "items of a tar member", why))
            }
        }
    }

    /// Keys are addresses; the value refers to them as text.
    fn key(&self, pickle: &Pickle, id: Id) -> Result<String> {
        match pickle.value(id) {
            Value::Int(key) => Ok(key.to_string()),
            _ => Err(Error::invalid(pickle.start, "key", "is no integer of 64 bits")),
        }
    }

    fn skip(&mut self, len: u64, key: &str) -> Result<()> {
        let what = || format!("storage {}", quoted(key));
        if wire::fits(self.c.offset(), len, self.end).is_none() {
            let have = self.end.saturating_sub(self.c.offset());
            return Err(Error::new(self.c.offset(), what(), Why::Truncated { need: len, have }));
        }
        self.c.skip(len, what())
    }

    fn number(&mut self, what: &'static str) -> Result<u64> {
        let at = self.c.offset();
        let value = self.c.i64(what)?;
        u64::try_from(value)
            .map_err(|_| Error::invalid(at, what, format!("{value}; it must not be negative")))
    }

    fn numbers(&mut self, count: u32, what: &'static str) -> Result<Vec<u64>> {
        (0..count).map(|_| self.number(what)).collect()
    }

    /// The dimensions, of 8 bytes once: 4 of them mean nothing.
    fn rank(&mut self) -> Result<u32> {
        let at = self.c.offset();
        let rank = self.c.u32("dimensions of a tensor")?;
        self.c.skip(4, "dimensions of a tensor")?;
        if rank > RANK_MAX {
            let lift = "as many as NumPy and torch have";
            let why = Why::TooLarge { value: rank.into(), max: RANK_MAX.into(), lift };
            return Err(Error::new(at, "dimensions of a tensor", why));
        }
        Ok(rank)
    }
}

/// What the file has, by key: stated as the value would, and where it lies.
#[derive(Default)]
struct Storages(BTreeMap<String, (Stated, Arc<Storage>)>);

impl Storages {
    fn add(&mut self, stated: Stated, storage: Storage) -> Result<()> {
        let at = stated.at;
        match self.0.insert(stated.key.clone(), (stated, Arc::new(storage))) {
            None => Ok(()),
            Some((before, _)) => {
                let what = format!("storage {}", quoted(&before.key));
                Err(Error::invalid(at, what, "its key stood before"))
            }
        }
    }

    /// A run of another storage's elements, under a key of its own.
    fn view(&mut self, key: String, root: &str, part: (u64, u64), at: u64) -> Result<()> {
        let invalid = |rule| Error::invalid(at, format!("storage {}", quoted(&key)), rule);
        let (stated, whole) =
            self.0.get(root).ok_or_else(|| invalid("is a view of none that is in the file"))?;
        let (width, (first, count)) = (stated.element.bytes(), part);
        let within = first.checked_mul(width).zip(count.checked_mul(width));
        let within = within.filter(|(start, len)| wire::fits(*start, *len, whole.len).is_some());
        let (start, len) = within.ok_or_else(|| invalid("is a view that reaches past its end"))?;
        let stated = Stated { key: key.clone(), count, at, ..stated.clone() };
        let offset = whole.offset.saturating_add(start);
        self.add(stated, Storage { key, offset, len, crc: None, deflated: None })
    }

    /// Storages that the value may refer to themselves.
    fn keyed(&self) -> Keyed {
        let keyed = self.0.iter();
        keyed
            .map(|(key, (stated, _))| {
                (key.clone(), Described { stated: stated.clone(), view: None })
            })
            .collect()
    }

    fn placed(&self, stated: &Stated) -> Result<Arc<Storage>> {
        let found = self.0.get(&stated.key).map(|(_, storage)| Arc::clone(storage));
        let what = || format!("storage {}", quoted(&stated.key));
        found.ok_or_else(|| Error::invalid(stated.at, what(), "is not in the file"))
    }
}
