//! Checkpoints: variables, and the objects that they belong to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tensorflow::{Data, Objects, Values, Version};
use wire::Endian;

use super::exported::Exported;
use super::{container, join, made};
use crate::ir::{Blob, DType, Error, Limits, Notes, Op, Result, Shape, Tensor};
use crate::read::hub::Weights;
use crate::store::Source;
use crate::types;

/// What stands behind the name of an object in that of its value.
pub(super) const VALUE: &str = "/.ATTRIBUTES/VARIABLE_VALUE";

/// What any other value of an object has in its name.
const ATTRIBUTE: &str = "/.ATTRIBUTES/";

/// The counter that `tf.train.Checkpoint.save` keeps for names of files.
const COUNTER: &str = "save_counter/.ATTRIBUTES/VARIABLE_VALUE";

/// The variables of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) weights: Weights,
    /// The objects that they belong to, if the checkpoint says so.
    pub(super) objects: Objects,
    /// Names of those that Keras exported.
    pub(super) exported: Exported,
}

/// The name of the index that the file `checkpoint` of a directory leads to.
///
/// # Errors
/// Malformed if it leads to none in this directory.
pub(super) fn newest(source: &dyn Source, limits: &Limits) -> Result<String> {
    let blob = source.open(super::STATE)?;
    let place = |error: Error| error.at(blob.name());
    let text = String::from_utf8(blob.read_all(limits.side_file)?);
    let text = text.map_err(|_| place(Error::malformed("is not UTF-8 text")))?;
    let path = tensorflow::read_state(&text).map_err(|error| place(error.into()))?;
    // An absolute path is of the machine that wrote it; the files were copied here together.
    let prefix = if path.starts_with('/') { path.rsplit('/').next().unwrap_or("") } else { &path };
    for name in [format!("{prefix}.index"), prefix.to_owned()] {
        if source.find(&name).map_err(place)?.is_some() {
            return Ok(name);
        }
    }
    Err(place(Error::malformed(format!("names '{path}', which is not here"))))
}

/// Reads the checkpoint of this index, or of version 1; its version.
///
/// # Errors
/// What the container says, of either file.
pub(super) fn read(
    source: &dyn Source,
    name: &str,
    limits: &Limits,
    notes: &mut Notes,
) -> Result<(Variables, u32)> {
    let index = source.open(name)?;
    let place = |error: Error| error.at("tensorflow").at(index.name());
    let options = tensorflow::Options { checksums: limits.checksums, limits: container(limits) };
    let read = tensorflow::read(&*index, &options).map_err(|error| place(error.into()))?;
    let (prefix, version) = match read.version {
        Version::V1 => (name, 1),
        Version::V2 { .. } => (name.strip_suffix(".index").unwrap_or(name), 2),
    };
    let (shards, endian) = match read.version {
        Version::V1 => (0, Endian::Little),
        Version::V2 { shards, endian } => (shards, endian),
    };
    if u64::from(shards) > limits.shards {
        let text = format!("more than {} shards", limits.shards);
        return Err(place(Error::above("shards", text)));
    }
    let files = Files { source, index: &index, prefix, shards, endian, limits };
    let variables = variables(&files, &read.tensors, notes).map_err(place)?;
    Ok((variables, version))
}

fn variables(
    files: &Files<'_>,
    tensors: &[tensorflow::Tensor],
    notes: &mut Notes,
) -> Result<Variables> {
    let objects = files.objects(tensors, notes)?;
    let training = Training { optimizers: objects.of_optimizers(), metrics: objects.of_metrics() };
    let exported = Exported::of(&objects, tensors);
    let mut weights = Weights::default();
    let mut left = Left::default();
    for tensor in tensors {
        let key = tensor.name.as_str();
        if exported.is_again(key) {
            left.again += 1;
            continue;
        }
        if left.takes(tensor, &training) {
            continue;
        }
        let named = |error: Error| error.at(format!("tensor '{key}'"));
        let name = exported.name(key);
        match types::TENSORFLOW.ours(tensor.kind) {
            None => {
                weights.refused.insert(name.to_owned(), format!("of type {}", tensor.kind.name()));
            }
            Some(dtype) => {
                let made = files.tensor(tensor, dtype).map_err(named)?;
                if weights.tensors.insert(name.to_owned(), made).is_some() {
                    return Err(named(Error::malformed(
                        "stands twice, with and without its suffix",
                    )));
                }
            }
        }
    }
    left.tell(files.index.name(), notes);
    Ok(Variables { weights, objects, exported })
}

/// Names of the tensors that are of use to training only.
struct Training<'o> {
    optimizers: BTreeSet<&'o str>,
    metrics: BTreeSet<&'o str>,
}

/// What is no part of a model: counted, and told.
#[derive(Default)]
struct Left {
    optimizers: usize,
    metrics: usize,
    counter: bool,
    descriptions: usize,
    again: usize,
}

impl Left {
    fn takes(&mut self, tensor: &tensorflow::Tensor, training: &Training<'_>) -> bool {
        let name = tensor.name.as_str();
        let is_text = tensor.kind == tensorflow::DataType::String;
        match () {
            () if name == tensorflow::OBJECT_GRAPH => {}
            () if name == COUNTER => self.counter = true,
            () if training.optimizers.contains(name) => self.optimizers += 1,
            () if training.metrics.contains(name) => self.metrics += 1,
            // What an object says of itself; a variable of text is one that a user made.
            () if is_text && name.contains(ATTRIBUTE) && !name.ends_with(VALUE) => {
                self.descriptions += 1;
            }
            () => return false,
        }
        true
    }

    fn tell(&self, file: &str, notes: &mut Notes) {
        if self.optimizers > 0 {
            let text = format!("{} values of optimizers are left out", self.optimizers);
            notes.lost(file, text);
        }
        if self.metrics > 0 {
            let text = format!("{} values of metrics are left out", self.metrics);
            notes.lost(file, text);
        }
        if self.counter {
            notes.lost(file, "save_counter, a number for names of files, is left out");
        }
        if self.descriptions > 0 {
            let text = format!("{} texts that describe objects are left out", self.descriptions);
            notes.lost(file, text);
        }
        if self.again > 0 {
            let text = format!("{} variables are listed twice: each is read once", self.again);
            notes.chosen(file, text);
        }
    }
}

/// The files of a checkpoint.
struct Files<'a> {
    source: &'a dyn Source,
    index: &'a Arc<Blob>,
    /// The name of the index without its ending.
    prefix: &'a str,
    shards: u32,
    endian: Endian,
    limits: &'a Limits,
}

impl Files<'_> {
    fn shard(&self, no: u32) -> Result<Arc<Blob>> {
        self.source.open(&format!("{}.data-{no:05}-of-{:05}", self.prefix, self.shards))
    }

    /// The objects that the variables belong to. Without them, every value is a variable.
    fn objects(&self, tensors: &[tensorflow::Tensor], notes: &mut Notes) -> Result<Objects> {
        let graph = tensors.iter().find(|tensor| tensor.name == tensorflow::OBJECT_GRAPH);
        let pieces = graph.map(|graph| &graph.pieces[..]);
        let Some([tensorflow::Piece { data: Data::Shard { shard, at, sum }, .. }]) = pieces else {
            if graph.is_some() {
                notes.odd(self.index.name(), "the graph of objects is in pieces: not read");
            }
            return Ok(Objects::default());
        };
        let named = |error: wire::Error| Error::from(error).at(tensorflow::OBJECT_GRAPH);
        let (blob, limits) = (self.shard(*shard)?, container(self.limits));
        let text = tensorflow::read_text(&*blob, at, *sum, self.endian, &limits).map_err(named)?;
        Objects::read(&text, &limits).map_err(named)
    }

    fn tensor(&self, tensor: &tensorflow::Tensor, dtype: DType) -> Result<Tensor> {
        let pieces = tensor.pieces.iter().map(|piece| {
            let made = self.piece(piece, dtype)?;
            Ok(join::Piece { start: piece.start.clone(), tensor: made })
        });
        join::join(pieces.collect::<Result<Vec<_>>>()?, &tensor.dims)
    }

    fn piece(&self, piece: &tensorflow::Piece, dtype: DType) -> Result<Tensor> {
        let shape = Shape::new(piece.dims.clone())?;
        match &piece.data {
            Data::Shard { shard, at, sum } => {
                let blob = self.shard(*shard)?;
                let tensor = Tensor::span(dtype, shape, Arc::clone(&blob), at.start)?;
                if self.limits.checksums {
                    tensorflow::verify(&*blob, at, *sum, "weights")
                        .map_err(|error| Error::from(error).at(blob.name()))?;
                }
                match self.endian {
                    Endian::Big => Tensor::of(Op::SwapBytes { input: tensor }),
                    Endian::Little => Ok(tensor),
                }
            }
            Data::Here { values: Values::At(at), block: None } => {
                Tensor::span(dtype, shape, Arc::clone(self.index), at.start)
            }
            Data::Here { values: Values::At(at), block: Some(block) } => {
                let bytes = block.get(at.start as usize..at.end as usize);
                let bytes = bytes.ok_or_else(|| Error::bug("numbers outside of their block"))?;
                Tensor::span(dtype, shape, made(self.index, bytes.to_vec()), 0)
            }
            Data::Here { values: Values::Made(bytes), .. } => {
                Tensor::span(dtype, shape, made(self.index, bytes.clone()), 0)
            }
            Data::Here { values: Values::Texts(_), .. } => {
                Err(Error::bug("texts in a tensor of numbers"))
            }
        }
    }
}

/// For each object of a SavedModel that is a variable, the name of its tensor: objects of both
/// graphs have the same parts under the same names.
pub(super) fn names_of(
    saved: &[tensorflow::SavedObject],
    variables: &Variables,
) -> BTreeMap<usize, String> {
    let Variables { objects, exported, .. } = variables;
    let (mut names, mut seen) = (BTreeMap::new(), BTreeSet::new());
    let mut left = vec![(0usize, 0usize)];
    while let Some((a, b)) = left.pop() {
        let (Some(object), Some(node)) = (saved.get(a), objects.nodes.get(b)) else { continue };
        if !seen.insert(a) {
            continue;
        }
        let value = node.values.iter().find(|value| value.key.ends_with(VALUE));
        if let Some(value) = value.filter(|_| object.variable.is_some()) {
            names.insert(a, exported.name(&value.key).to_owned());
        }
        let parts: BTreeMap<&str, usize> =
            node.children.iter().map(|(name, at)| (name.as_str(), *at)).collect();
        let both = object.children.iter();
        left.extend(both.filter_map(|(name, at)| Some((*at, *parts.get(name.as_str())?))));
    }
    names
}
