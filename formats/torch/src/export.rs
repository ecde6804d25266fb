//! Archives of torch.export.
//!
//! ```text
//!  2.9                                     2.8                            2.1 to 2.7
//!  NAME/archive_format        "pt2"        the same                       version
//!  NAME/models/MODEL.json     the graph    the same                       serialized_exported_program.json
//!  NAME/data/weights/         payloads     NAME/data/weights/MODEL.pt     serialized_state_dict.pt
//!  NAME/data/constants/       payloads     NAME/data/constants/MODEL.pt   serialized_constants.pt
//!  NAME/data/sample_inputs/   …            …                              serialized_example_inputs.pt
//! ```
//!
//! A `.pt` is a checkpoint, an archive itself; [payloads](crate::payload) are storages as they are.
//! Source: `torch/export/pt2_archive` of PyTorch 2.9 and 2.8, `torch/export/__init__.py` of 2.5. The
//! graph and the sample inputs are not looked at.

use std::collections::BTreeSet;

use wire::{Error, ReadAt, Result};
use zip::{Archive, Entry, quoted};

use crate::payload::Folder;
use crate::{Checkpoint, Options, archive};

/// Where weights and constants are in such an archive.
pub(crate) struct Export<'a> {
    archive: &'a Archive,
    /// The directory of everything; empty before 2.8.
    root: &'a str,
    /// The weights first.
    parts: Vec<Part<'a>>,
}

/// What says where tensors are.
struct Part<'a> {
    /// A program of the archive.
    model: &'a str,
    entry: &'a Entry,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// A checkpoint within the archive.
    Checkpoint,
    /// A list of payloads in this folder.
    Payloads(&'static str),
}

const FOLDERS: [&str; 2] = ["weights", "constants"];

impl<'a> Export<'a> {
    /// The parts of such an archive; nothing if it is none.
    pub(crate) fn find(archive: &'a Archive) -> Option<Self> {
        if let Some(weights) = archive.get("serialized_state_dict.pt") {
            let constants = archive.get("serialized_constants.pt");
            let part = |entry| Part { model: "", entry, kind: Kind::Checkpoint };
            let parts = [Some(weights), constants].into_iter().flatten().map(part).collect();
            return Some(Self { archive, root: "", parts });
        }
        let names = archive.entries.iter().map(|entry| entry.name.as_str());
        let mut roots = names.filter_map(|name| name.strip_suffix("/archive_format"));
        let root = roots.next().filter(|root| !root.contains('/'))?;
        let mut export = Self { archive, root, parts: Vec::new() };
        for folder in FOLDERS {
            let parts = export.below(folder).filter_map(|(name, entry)| part(folder, name, entry));
            let parts: Vec<_> = parts.collect();
            export.parts.extend(parts);
        }
        Some(export)
    }

    /// The files in a folder, by their names there.
    fn below(&self, folder: &str) -> impl Iterator<Item = (&'a str, &'a Entry)> + use<'a> {
        let folder = format!("{}/data/{folder}/", self.root);
        let entries = self.archive.entries.iter();
        entries.filter_map(move |entry| Some((entry.name.strip_prefix(&folder)?, entry)))
    }

    /// The tensors of all parts under one roof. If the archive has several programs, names begin
    /// with the program's.
    pub(crate) fn read(
        &self,
        source: &dyn ReadAt,
        options: &Options,
    ) -> Result<Option<Checkpoint>> {
        let models: BTreeSet<&str> = self.parts.iter().map(|part| part.model).collect();
        let mut whole: Option<Checkpoint> = None;
        let (mut named, mut names) = (BTreeSet::new(), BTreeSet::new());
        for part in self.parts.iter().filter(|part| part.entry.len > 0) {
            let mut read = match part.kind {
                Kind::Checkpoint => archive::read_entry(source, part.entry, options)?,
                Kind::Payloads(folder) => {
                    let (archive, root) = (self.archive, self.root);
                    let folder = Folder { source, options, archive, root, folder };
                    folder.read(part.entry, &mut named)?
                }
            };
            if models.len() > 1 {
                prefix(&mut read, part.model);
            }
            unique(&read, part.entry, &mut names)?;
            whole = Some(match whole {
                None => read,
                Some(before) => join(before, read, part.entry)?,
            });
        }
        if let Some(whole) = &mut whole {
            whole.notes.extend(self.unnamed(&named));
        }
        Ok(whole)
    }

    /// Says which payloads no list names.
    fn unnamed(&self, named: &BTreeSet<String>) -> Option<String> {
        let files = FOLDERS.into_iter().flat_map(|folder| {
            let files = self.below(folder).filter(move |(name, e)| part(folder, name, e).is_none());
            files.filter(|(_, entry)| !named.contains(&entry.name))
        });
        let names: Vec<String> = files.map(|(_, entry)| quoted(&entry.name)).collect();
        (!names.is_empty())
            .then(|| format!("entries that no list names are left out: {}", names.join(", ")))
    }
}

/// What an entry of a folder is, if it says where tensors are.
fn part<'a>(folder: &'static str, name: &'a str, entry: &'a Entry) -> Option<Part<'a>> {
    if let Some(model) = name.strip_suffix(".pt") {
        return Some(Part { model, entry, kind: Kind::Checkpoint });
    }
    let model = name.strip_suffix(&format!("_{folder}_config.json"))?;
    Some(Part { model, entry, kind: Kind::Payloads(folder) })
}

fn prefix(checkpoint: &mut Checkpoint, model: &str) {
    let tensors = checkpoint.tensors.iter_mut().map(|tensor| &mut tensor.name);
    let refused = checkpoint.refused.iter_mut().map(|tensor| &mut tensor.name);
    tensors.chain(refused).for_each(|name| *name = format!("{model}.{name}"));
}

/// Two lists may not say two things of one name.
fn unique(part: &Checkpoint, entry: &Entry, names: &mut BTreeSet<String>) -> Result<()> {
    let tensors = part.tensors.iter().map(|tensor| &tensor.name);
    for name in tensors.chain(part.refused.iter().map(|tensor| &tensor.name)) {
        if !names.insert(name.clone()) {
            let rule = "stands twice, among weights and constants";
            return Err(Error::invalid(entry.offset, format!("tensor {}", quoted(name)), rule));
        }
    }
    Ok(())
}

fn join(mut whole: Checkpoint, part: Checkpoint, entry: &Entry) -> Result<Checkpoint> {
    if whole.byteorder != part.byteorder {
        let what = format!("entry {}", quoted(&entry.name));
        return Err(Error::invalid(entry.offset, what, "has another order of bytes than others"));
    }
    let shift = whole.tensors.len();
    whole.tensors.extend(part.tensors.into_iter().map(|mut tensor| {
        tensor.same_as = tensor.same_as.map(|same| same.saturating_add(shift));
        tensor
    }));
    whole.refused.extend(part.refused);
    whole.storages.extend(part.storages);
    whole.notes.extend(part.notes);
    Ok(whole)
}
