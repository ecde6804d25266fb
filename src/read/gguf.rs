//! GGUF → Model: names, shapes outermost first, metadata as it is, split files joined.

use std::sync::Arc;

use indexmap::IndexMap;

use super::hub::Weights;
use crate::ir::value::List;
use crate::ir::{
    Blob, Config, DType, Error, Limits, Model, Naming, Notes, Op, Result, Shape, Tensor, Value,
};
use crate::quant;
use crate::store::Source;

/// Whether the source is a GGUF, or a directory that holds one and no other weights.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    match main_file(source)? {
        Some(name) => Ok(gguf::probe(&super::head(&*source.open(&name)?)?)),
        None => Ok(false),
    }
}

/// Reads a GGUF; of a split one, any part may be named.
///
/// # Errors
/// What the container says; Malformed if a part of a split is missing or does not belong.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let missing = || Error::malformed("no GGUF in the directory").at(source.label());
    let name = main_file(source)?.ok_or_else(missing)?;
    let first = Part::open(source, &name, limits)?;
    let count = first.number(gguf::SPLIT_COUNT).unwrap_or(1);
    let parts = if count <= 1 { vec![first] } else { siblings(source, &name, count, limits)? };
    let version = parts[0].file.version;
    let mut weights = Weights::default();
    for part in &parts {
        part.tensors(&mut weights)?;
    }
    let Weights { tensors, refused, kernels } = weights;
    check_count(&parts, tensors.len() + refused.len())?;
    let config = Config { entries: entries(&parts[0].file.metadata) };
    let read = super::tokenizer_gguf::read(&config.entries);
    let (tokenizer, unread_tokenizer) = super::optional(read, &source.label(), notes)?;
    Ok(Model {
        version: Some(version),
        naming: Naming::Gguf,
        config,
        tensors,
        refused,
        tokenizer,
        unread_tokenizer,
        kernels,
        ..Model::empty("gguf", source.label())
    })
}

struct Part {
    blob: Arc<Blob>,
    file: gguf::File,
}

impl Part {
    fn open(source: &dyn Source, name: &str, limits: &Limits) -> Result<Self> {
        let blob = source.open(name)?;
        let container = gguf::Limits {
            string: limits.gguf_string,
            metadata: limits.gguf_metadata,
            entries: limits.gguf_entries,
            key: limits.gguf_key,
            nesting: u32::try_from(limits.gguf_nesting).unwrap_or(u32::MAX),
            tensors: limits.gguf_tensors,
            name: limits.gguf_name,
            rank: u32::try_from(limits.gguf_rank).unwrap_or(u32::MAX),
            alignment: limits.gguf_alignment,
        };
        let file = gguf::read(&*blob, &container)
            .map_err(|error| Error::from(error).at("gguf").at(blob.name()))?;
        Ok(Self { blob, file })
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.file.metadata.get(key).and_then(gguf::Value::unsigned)
    }

    /// The tensor with its numbers in the order of bytes that the program computes in, if it is
    /// known where they are.
    fn native(&self, input: Tensor) -> Result<Option<Tensor>> {
        let swapped = match (self.file.endian, input.dtype()) {
            (gguf::Endian::Little, _) => return Ok(Some(input)),
            (gguf::Endian::Big, DType::Packed(block)) => match quant::words_of(block) {
                Some([]) => return Ok(Some(input)),
                Some(words) => Op::SwapWords { input, words },
                None => return Ok(None),
            },
            (gguf::Endian::Big, _) => Op::SwapBytes { input },
        };
        Tensor::of(swapped).map(Some)
    }

    fn tensors(&self, into: &mut Weights) -> Result<()> {
        for info in &self.file.tensors {
            let place = || format!("{}: tensor '{}'", self.blob.name(), info.name);
            let dtype = dtype(info.kind).map_err(|error| error.at(place()))?;
            let shape = Shape::new(info.dims.iter().rev().copied().collect())
                .map_err(|error| error.at(place()))?;
            let tensor = Tensor::span(dtype, shape, Arc::clone(&self.blob), info.offset)
                .and_then(|tensor| self.native(tensor))
                .map_err(|error| error.at(place()))?;
            let name = info.name.clone();
            if into.tensors.contains_key(&name) || into.refused.contains_key(&name) {
                let text = "stands in another part of the split too";
                return Err(Error::malformed(text).at(place()));
            }
            if let Some(tensor) = tensor {
                into.tensors.insert(name, tensor);
            } else {
                let what = format!("made of {dtype} blocks in big-endian order");
                into.refused.insert(name, what);
            }
        }
        Ok(())
    }
}

/// All parts of a split, by the names that the convention gives them.
fn siblings(source: &dyn Source, name: &str, count: u64, limits: &Limits) -> Result<Vec<Part>> {
    let split = gguf::parse_split_name(name).filter(|split| u64::from(split.count) == count);
    let split = split.ok_or_else(|| {
        let expected = gguf::split_name("NAME", 0, count.try_into().unwrap_or(u16::MAX));
        let text = format!("one of {count} parts, which are found by names such as {expected}");
        Error::malformed(text).at(name)
    })?;
    (0..split.count)
        .map(|no| {
            let name = gguf::split_name(split.prefix, no, split.count);
            let part = Part::open(source, &name, limits)
                .map_err(|error| error.at(format!("part {} of {count}", no + 1)))?;
            match (part.number(gguf::SPLIT_NO), part.number(gguf::SPLIT_COUNT)) {
                (Some(found), Some(of)) if (found, of) == (no.into(), count) => Ok(part),
                (found, of) => {
                    let said = |n: Option<u64>| n.map_or("nothing".to_owned(), |n| n.to_string());
                    let (found, of) = (said(found), said(of));
                    let text = format!(
                        "found {} {found} and {} {of}, expected {no} and {count}",
                        gguf::SPLIT_NO,
                        gguf::SPLIT_COUNT
                    );
                    Err(Error::malformed(text).at(part.blob.name()))
                }
            }
        })
        .collect()
}

fn check_count(parts: &[Part], found: usize) -> Result<()> {
    match parts[0].number(gguf::SPLIT_TENSORS_COUNT) {
        Some(expected) if parts.len() > 1 && expected != found as u64 => {
            let text = format!("the split holds {found} tensors, expected {expected}");
            Err(Error::malformed(text).at(parts[0].blob.name()))
        }
        _ => Ok(()),
    }
}

/// The named file; in a directory, the first part of the only GGUF.
fn main_file(source: &dyn Source) -> Result<Option<String>> {
    if let Some(name) = source.entry() {
        return Ok(Some(name.to_owned()));
    }
    let is_first = |name: &&String| gguf::parse_split_name(name).is_none_or(|split| split.no == 0);
    let names = source.names()?;
    // Repositories of the hub hold conversions beside the weights that config.json describes.
    let of_the_hub =
        |name: &String| name.ends_with(".safetensors") || name.starts_with("pytorch_model");
    if names.iter().any(of_the_hub) {
        return Ok(None);
    }
    let all: Vec<&String> = names.iter().filter(|name| name.ends_with(".gguf")).collect();
    match all.iter().copied().filter(is_first).collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [only] => Ok(Some(only.clone())),
        [one, other, ..] => Err(Error::usage(format!(
            "the directory holds several models ({one}, {other}, …); name one of them"
        ))
        .at(source.label())),
    }
}

fn dtype(kind: &gguf::Kind) -> Result<DType> {
    if let Some(block) = quant::block_by_id(kind.id) {
        return Ok(DType::Packed(block));
    }
    let plain = [
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::F64,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
    ];
    let found = plain.into_iter().find(|dtype| dtype.name().eq_ignore_ascii_case(kind.name));
    found.ok_or_else(|| Error::unsupported(format!("elements of type {}", kind.name)))
}

/// Metadata with the widths of the file. What describes the split is not of the model.
fn entries(metadata: &gguf::Metadata) -> IndexMap<String, Value> {
    let split = [gguf::SPLIT_NO, gguf::SPLIT_COUNT, gguf::SPLIT_TENSORS_COUNT];
    let own = metadata.iter().filter(|(key, _)| !split.contains(key));
    own.map(|(key, entry)| (key.to_owned(), value(entry))).collect()
}

fn value(entry: &gguf::Value) -> Value {
    use gguf::Value as Theirs;
    match entry {
        Theirs::U8(n) => Value::U8(*n),
        Theirs::I8(n) => Value::I8(*n),
        Theirs::U16(n) => Value::U16(*n),
        Theirs::I16(n) => Value::I16(*n),
        Theirs::U32(n) => Value::U32(*n),
        Theirs::I32(n) => Value::I32(*n),
        Theirs::U64(n) => Value::U64(*n),
        Theirs::I64(n) => Value::I64(*n),
        Theirs::F32(x) => Value::F32(*x),
        Theirs::F64(x) => Value::F64(*x),
        Theirs::Bool(b) => Value::Bool(*b),
        Theirs::Text(text) => Value::Text(text.clone()),
        Theirs::Array(items) => Value::List(list(items)),
    }
}

/// The container bounds the nesting of arrays, so this recursion is bounded.
fn list(items: &gguf::Array) -> List {
    use gguf::Array as Theirs;
    match items {
        Theirs::U8(items) => List::U8(items.clone()),
        Theirs::I8(items) => List::I8(items.clone()),
        Theirs::U16(items) => List::U16(items.clone()),
        Theirs::I16(items) => List::I16(items.clone()),
        Theirs::U32(items) => List::U32(items.clone()),
        Theirs::I32(items) => List::I32(items.clone()),
        Theirs::U64(items) => List::U64(items.clone()),
        Theirs::I64(items) => List::I64(items.clone()),
        Theirs::F32(items) => List::F32(items.clone()),
        Theirs::F64(items) => List::F64(items.clone()),
        Theirs::Bool(items) => List::Bool(items.clone()),
        Theirs::Text(items) => List::Text(items.clone()),
        Theirs::Array(items) => List::List(items.iter().map(list).collect()),
    }
}
