//! Model → TensorFlow's checkpoint of version 2: an index, and files of weights beside it.
//!
//! The index states the checksum of each tensor and, for each of its blocks, that of the block: sums
//! of other files, and sums of bytes that hold sums.

use std::ops::Range;

use ::tensorflow::{Entry, Plan};

use super::layout::{Checksum, FilePlan, Layout, Part};
use super::{WriteOptions, hub};
use crate::ir::{Error, Model, Notes, Result, Tensor};
use crate::types;

/// What the files of a directory have in common.
const PREFIX: &str = "model.ckpt";

/// The ending of an index.
const INDEX: &str = ".index";

/// The layout of the files that this model becomes: tensors sorted by name, as TensorFlow has them.
///
/// # Errors
/// Unsupported, naming the tensor, for a dtype or a name that TensorFlow lacks; Usage for a target
/// that is no checkpoint.
pub fn layout(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Layout> {
    let prefix = prefix(options)?;
    let mut tensors: Vec<(&String, &Tensor)> = model.tensors.iter().collect();
    tensors.sort_by_key(|(name, _)| *name);
    if !options.directory {
        hub::tensors_only("TensorFlow checkpoint", model, options, notes)?;
        return Ok(Layout { files: checkpoint(prefix, &tensors, options)?, directory: false });
    }
    let mut files = Vec::new();
    if !options.vocab_only {
        files = checkpoint(prefix, &tensors, options)?;
        let state = format!(
            "model_checkpoint_path: \"{prefix}\"\nall_model_checkpoint_paths: \"{prefix}\"\n"
        );
        files.push(hub::whole("checkpoint", state.into_bytes()));
    }
    files.extend(hub::side_files(model, options, notes)?);
    Ok(Layout { files, directory: true })
}

/// What the names of the files begin with.
fn prefix(options: &WriteOptions) -> Result<&str> {
    let name = options.name.as_str();
    match (options.directory, name.strip_suffix(INDEX)) {
        (true, _) => Ok(PREFIX),
        (false, Some("")) => Err(Error::usage("a checkpoint needs a name before .index")),
        (false, Some(prefix)) => Ok(prefix),
        (false, None) if name.ends_with(".pb") => Err(Error::usage(
            "weights are written as a checkpoint, not as a graph; name NAME.index or NAME.ckpt.index",
        )),
        (false, None) => Ok(name),
    }
}

/// The files of weights, and then the index.
fn checkpoint(
    prefix: &str,
    tensors: &[(&String, &Tensor)],
    options: &WriteOptions,
) -> Result<Vec<FilePlan>> {
    let groups = options.split.groups(tensors);
    let count = groups.len();
    let count = u32::try_from(count).ok().filter(|count| *count < 100_000).ok_or_else(|| {
        Error::usage(format!("{count} files of weights; five digits number them: split less"))
    })?;
    let (mut files, mut entries) = (Vec::new(), Vec::new());
    for (group, shard) in groups.iter().zip(0u32..) {
        let name = format!("{prefix}.data-{shard:05}-of-{count:05}");
        let (mut at, mut parts) = (0, Vec::new());
        for (name, tensor) in group {
            let place = at..at + tensor.bytes();
            entries.push(entry(name, tensor, shard, place.clone())?);
            parts.push((at, Part::Tensor { name: (*name).clone(), tensor: (*tensor).clone() }));
            at = place.end;
        }
        files.push(FilePlan { name, len: at, parts });
    }
    let plan = Plan::new(count, &entries)
        .map_err(|error| Error::unsupported(format!("tensorflow: cannot be written: {error}")))?;
    files.push(index(format!("{prefix}{INDEX}"), plan, &entries, &files));
    Ok(files)
}

fn entry(name: &str, tensor: &Tensor, shard: u32, at: Range<u64>) -> Result<Entry> {
    let kind = types::TENSORFLOW.theirs(tensor.dtype()).map_err(|error| error.at(name))?;
    Ok(Entry { name: name.to_owned(), kind, dims: tensor.shape().dims().to_vec(), shard, at })
}

/// The index: what is known, and sums between.
fn index(name: String, plan: Plan, entries: &[Entry], files: &[FilePlan]) -> FilePlan {
    let kind = Checksum::MaskedCrc32c;
    let weights = plan.sums.into_iter().zip(entries).map(|(at, entry)| {
        let file = Some(files[entry.shard as usize].name.clone());
        (at, Part::Sum { file, of: entry.at.clone(), kind })
    });
    let blocks = plan.blocks.into_iter();
    let blocks = blocks.map(|(at, of)| (at, Part::Sum { file: None, of, kind }));
    let mut sums: Vec<(u64, Part)> = weights.chain(blocks).collect();
    sums.sort_by_key(|(at, _)| *at);
    let (mut parts, mut done) = (Vec::new(), 0usize);
    for (at, sum) in sums {
        parts.push((done as u64, Part::Bytes(plan.bytes[done..at as usize].to_vec())));
        done = at as usize + sum.len() as usize;
        parts.push((at, sum));
    }
    parts.push((done as u64, Part::Bytes(plan.bytes[done..].to_vec())));
    FilePlan { name, len: plan.bytes.len() as u64, parts }
}
