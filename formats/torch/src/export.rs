//! Archives of torch.export: a zip whose weights and constants are checkpoints themselves.
//!
//! ```text
//!  2.8                                        2.1 to 2.7
//!  NAME/archive_format        "pt2"           version
//!  NAME/models/MODEL.json     the graph       serialized_exported_program.json
//!  NAME/data/weights/MODEL.pt                 serialized_state_dict.pt
//!  NAME/data/constants/MODEL.pt               serialized_constants.pt
//!  NAME/data/sample_inputs/MODEL.pt           serialized_example_inputs.pt
//! ```
//!
//! Source: `torch/export/pt2_archive` of PyTorch 2.8 and `torch/export/__init__.py` of 2.5. The graph and
//! the sample inputs are not looked at. Refused: weights as files of their own, which 2.9 writes.

use std::io;

use wire::{Error, ReadAt, Result};
use zip::{Archive, Entry, Method, quoted};

use crate::{Checkpoint, Options, archive};

/// The checkpoints within such an archive, the weights first; nothing if it is none.
pub(crate) fn parts(archive: &Archive) -> Option<Vec<&Entry>> {
    if let Some(weights) = archive.get("serialized_state_dict.pt") {
        let constants = archive.get("serialized_constants.pt");
        return Some([Some(weights), constants].into_iter().flatten().collect());
    }
    let mut roots = archive.entries.iter().filter_map(|e| e.name.strip_suffix("/archive_format"));
    let root = roots.next().filter(|root| !root.contains('/'))?;
    let below = |folder: &str| {
        let folder = format!("{root}/data/{folder}/");
        archive.entries.iter().filter(move |entry| entry.name.starts_with(&folder))
    };
    Some(below("weights").chain(below("constants")).collect())
}

/// The tensors of all parts under one roof.
pub(crate) fn read(
    source: &dyn ReadAt,
    parts: &[&Entry],
    options: &Options,
) -> Result<Option<Checkpoint>> {
    let mut whole: Option<Checkpoint> = None;
    for entry in parts.iter().filter(|entry| entry.len > 0) {
        let part = part(source, entry, options)?;
        whole = Some(match whole {
            None => part,
            Some(before) => join(before, part, entry)?,
        });
    }
    Ok(whole)
}

fn part(source: &dyn ReadAt, entry: &Entry, options: &Options) -> Result<Checkpoint> {
    let unsupported = |feature: &str| {
        Err(Error::unsupported(entry.header, format!("entry {}", quoted(&entry.name)), feature))
    };
    if !entry.name.ends_with(".pt") {
        return unsupported("weights as files of their own, which torch 2.9 writes");
    }
    if entry.method != Method::Stored {
        return unsupported("a checkpoint that is deflated within the archive");
    }
    let window = Window { source, start: entry.offset, len: entry.len };
    let placed = |mut error: Error| {
        error.offset = error.offset.saturating_add(entry.offset);
        error
    };
    archive::read_within(&window, options, entry.offset).map_err(placed)
}

fn join(mut whole: Checkpoint, part: Checkpoint, entry: &Entry) -> Result<Checkpoint> {
    let shift = whole.tensors.len();
    for mut tensor in part.tensors {
        let known = whole.tensors.iter().take(shift).any(|before| before.name == tensor.name);
        if known || whole.byteorder != part.byteorder {
            let what = format!("tensor {}", quoted(&tensor.name));
            let rule = "stands among the weights too, or in another order of bytes";
            return Err(Error::invalid(entry.offset, what, rule));
        }
        tensor.same_as = tensor.same_as.map(|same| same.saturating_add(shift));
        whole.tensors.push(tensor);
    }
    whole.refused.extend(part.refused);
    whole.storages.extend(part.storages);
    whole.notes.extend(part.notes);
    Ok(whole)
}

/// A run of a source's bytes.
struct Window<'a> {
    source: &'a dyn ReadAt,
    start: u64,
    len: u64,
}

impl ReadAt for Window<'_> {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let inside = wire::fits(offset, into.len() as u64, self.len);
        let start = self.start.checked_add(offset).filter(|_| inside.is_some());
        self.source.read_at(start.ok_or(io::ErrorKind::UnexpectedEof)?, into)
    }
}
