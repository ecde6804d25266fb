//! Weights and constants as files of their own, in archives of torch.export since 2.9.
//!
//! ```text
//!  NAME/data/weights/MODEL_weights_config.json       a list: where each tensor is, and its view
//!  NAME/data/weights/weight_0, weight_1 …            storages, or checkpoints of one tensor
//!  NAME/data/constants/MODEL_constants_config.json   the same of constants
//!  NAME/data/constants/tensor_0 …, custom_obj_0 …    and objects, pickled
//!
//!  {"config": {TENSOR: {"path_name": "weight_0", "use_pickle": false, "tensor_meta": {"dtype": 7,
//!      "sizes": [{"as_int": 2}], "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}, …}}}}
//! ```
//!
//! Source: `torch/export/pt2_archive/_package.py` and `torch/_export/serde/schema.py` of 2.9.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use wire::{Error, ReadAt, Result, Why};
use zip::{Archive, Entry, quoted};

use crate::archive::Within;
use crate::dtype::Element;
use crate::plan::{Stated, Ties};
use crate::{Checkpoint, Options, Refused, Storage, archive};

/// Most dimensions, as in NumPy and torch.
const RANK_MAX: usize = 64;
/// `Layout.Strided` of the schema; the others are sparse.
const STRIDED: u64 = 7;

/// A folder of payloads.
pub(crate) struct Folder<'a> {
    pub(crate) source: &'a dyn ReadAt,
    pub(crate) options: &'a Options,
    pub(crate) archive: &'a Archive,
    pub(crate) root: &'a str,
    /// Its name below `data`.
    pub(crate) folder: &'static str,
}

#[derive(Deserialize)]
struct List {
    config: Payloads,
}

/// In the order of the file.
struct Payloads(Vec<(String, Payload)>);

#[derive(Deserialize)]
struct Payload {
    path_name: String,
    use_pickle: bool,
    /// Objects have none.
    tensor_meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    dtype: u64,
    sizes: Vec<Count>,
    strides: Vec<Count>,
    storage_offset: Count,
    layout: u64,
}

/// A number; a symbol in its place (`as_expr`) is for inputs, not for weights.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Count {
    AsInt(u64),
}

impl Count {
    fn all(counts: &[Self]) -> Vec<u64> {
        counts.iter().map(|Self::AsInt(count)| *count).collect()
    }
}

impl<'de> Deserialize<'de> for Payloads {
    fn deserialize<D: Deserializer<'de>>(json: D) -> std::result::Result<Self, D::Error> {
        json.deserialize_map(PayloadsVisitor)
    }
}

struct PayloadsVisitor;

impl<'de> Visitor<'de> for PayloadsVisitor {
    type Value = Payloads;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of payloads")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Payloads, A::Error> {
        let (mut payloads, mut seen) = (Vec::new(), BTreeSet::new());
        while let Some(name) = map.next_key::<String>()? {
            let within = |error| de::Error::custom(format!("tensor {}: {error}", quoted(&name)));
            if name.is_empty() || !seen.insert(name.clone()) {
                return Err(within("its name is empty, or stands twice".to_owned()));
            }
            let payload = map.next_value().map_err(|error: A::Error| within(error.to_string()))?;
            payloads.push((name, payload));
        }
        Ok(Payloads(payloads))
    }
}

impl Folder<'_> {
    /// The tensors of a list; the entries that it names are added to `named`.
    pub(crate) fn read(&self, list: &Entry, named: &mut BTreeSet<String>) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint {
            tensors: Vec::new(),
            refused: Vec::new(),
            storages: Vec::new(),
            notes: Vec::new(),
            byteorder: archive::byteorder(self.source, self.archive, self.root, self.options)?,
        };
        let mut storages = BTreeMap::new();
        let mut ties = Ties::default();
        for (name, payload) in self.list(list)? {
            let entry = self.entry(list, &name, &payload)?;
            named.insert(entry.name.clone());
            match (payload.tensor_meta, payload.use_pickle) {
                (None, _) => {
                    let (name, path) = (quoted(&name), quoted(&payload.path_name));
                    let note = format!("{name} is an object, pickled in {path}, and is left out");
                    checkpoint.notes.push(note);
                }
                (Some(_), true) => self.pickled(&name, entry, &mut checkpoint)?,
                (Some(meta), false) => {
                    let key = format!("{}/{}", self.folder, payload.path_name);
                    let storage = match storages.entry(key.clone()) {
                        btree_map::Entry::Occupied(known) => known.into_mut(),
                        btree_map::Entry::Vacant(free) => {
                            let storage = archive::storage(&key, entry, &Within::File(0))?;
                            free.insert(Arc::new(storage))
                        }
                    };
                    self.view(name, &meta, (storage, list.offset), &mut ties, &mut checkpoint)?;
                }
            }
        }
        checkpoint.storages.extend(storages.into_values());
        archive::note_unsummed(&mut checkpoint);
        Ok(checkpoint)
    }

    fn list(&self, entry: &Entry) -> Result<Vec<(String, Payload)>> {
        let json = entry.data(self.source, self.options.limits.inflated, "pickle-inflated")?;
        let list: serde_json::Result<List> = serde_json::from_slice(&json);
        let what = || format!("entry {}", quoted(&entry.name));
        let list = list.map_err(|e| Error::invalid(entry.offset, what(), e.to_string()))?;
        Ok(list.config.0)
    }

    fn entry(&self, list: &Entry, name: &str, payload: &Payload) -> Result<&Entry> {
        let path = format!("{}/data/{}/{}", self.root, self.folder, payload.path_name);
        self.archive.get(&path).ok_or_else(|| {
            let rule = format!("its entry {} is missing", quoted(&path));
            Error::invalid(list.offset, format!("tensor {}", quoted(name)), rule)
        })
    }

    /// A tensor of a subclass: a checkpoint of its own, whose root is a tensor, or an object of
    /// which tensors are parts.
    fn pickled(&self, name: &str, entry: &Entry, checkpoint: &mut Checkpoint) -> Result<()> {
        let part = archive::read_entry(self.source, entry, self.options)?;
        let shift = checkpoint.tensors.len();
        let full =
            |part: &str| if part == "0" { name.to_owned() } else { format!("{name}.{part}") };
        checkpoint.tensors.extend(part.tensors.into_iter().map(|mut tensor| {
            tensor.name = full(&tensor.name);
            tensor.same_as = tensor.same_as.map(|same| same.saturating_add(shift));
            tensor
        }));
        let refused = part.refused.into_iter();
        let refused = refused.map(|tensor| Refused { name: full(&tensor.name), ..tensor });
        checkpoint.refused.extend(refused);
        checkpoint.storages.extend(part.storages);
        checkpoint.notes.extend(part.notes.iter().map(|note| format!("{}: {note}", quoted(name))));
        Ok(())
    }

    /// Adds a view of a storage, as a list that begins at byte `at` states it.
    fn view(
        &self,
        name: String,
        meta: &Meta,
        (storage, at): (&Arc<Storage>, u64),
        ties: &mut Ties,
        checkpoint: &mut Checkpoint,
    ) -> Result<()> {
        let (shape, strides) = (Count::all(&meta.sizes), Count::all(&meta.strides));
        let error = |why| Error::new(at, format!("tensor {}", quoted(&name)), why);
        if shape.len() > RANK_MAX {
            let (value, max) = (shape.len() as u64, RANK_MAX as u64);
            return Err(error(Why::TooLarge {
                value,
                max,
                lift: "as many as NumPy and torch have",
            }));
        }
        let Some(element) = Element::of_scalar_type(meta.dtype) else {
            return Err(error(Why::Unknown { value: format!("dtype {}", meta.dtype) }));
        };
        let dtype = match element.plain() {
            _ if meta.layout != STRIDED => Err("a sparse tensor".to_owned()),
            // What torch.export makes of a fake tensor.
            _ if storage.len == 0 && !shape.contains(&0) => {
                Err("a tensor without values".to_owned())
            }
            plain => plain,
        };
        let dtype = match dtype {
            Ok(dtype) => dtype,
            Err(what) => {
                checkpoint.refused.push(Refused { name, what });
                return Ok(());
            }
        };
        let Count::AsInt(element_offset) = meta.storage_offset;
        let stated = Stated { name, dtype, shape, strides, element_offset, at };
        let mut tensor = stated.within(storage, self.options.limits.expanded)?;
        tensor.same_as = ties.first(&tensor, checkpoint.tensors.len());
        checkpoint.tensors.push(tensor);
        Ok(())
    }
}
