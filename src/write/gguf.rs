//! Model → GGUF: metadata, then tensors, each at its aligned place; in parts if asked for.

use indexmap::IndexMap;

use super::layout::{FilePlan, Layout, Part};
use super::{WriteOptions, tokenizer_gguf};
use crate::ir::value::List;
use crate::ir::{DType, Error, Model, Notes, Op, Result, Tensor, Value};

/// llama.cpp's version of the packings: `GGML_QNT_VERSION`.
const QUANTIZATION_VERSION: u32 = 2;

/// The layout of the file, or of the parts, that this model becomes.
///
/// # Errors
/// Unsupported, naming the tensor or key, for what GGUF cannot hold.
pub fn layout(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Layout> {
    let mut entries = model.config.entries.clone();
    if model.format != "gguf" {
        entries.extend(tokenizer(model, options, notes)?);
    }
    entries.extend(options.entries.clone());
    if model.tensors.values().any(|tensor| matches!(tensor.op(), Some(Op::Pack { .. }))) {
        let us = concat!("remold ", env!("CARGO_PKG_VERSION"));
        entries.insert("general.quantized_by".into(), Value::Text(us.into()));
    }
    // llama.cpp's tools state it for floats too; a file that is only copied stays as it is.
    if options.entries.contains_key("general.file_type") {
        let version = entries.entry("general.quantization_version".into());
        version.or_insert(Value::U32(QUANTIZATION_VERSION));
    }
    options.edits.apply(&mut entries)?;
    let alignment = entries.get(gguf::ALIGNMENT_KEY).and_then(Value::as_u64);
    let alignment = alignment.unwrap_or(gguf::ALIGNMENT_DEFAULT);
    let tensors: Vec<(&String, &Tensor)> =
        if options.vocab_only { Vec::new() } else { model.tensors.iter().collect() };
    let groups = options.split.groups(&tensors);
    let count = u16::try_from(groups.len())
        .map_err(|_| Error::usage(format!("{} parts; GGUF counts to 65535", groups.len())))?;
    let files = groups.into_iter().zip(0u16..).map(|(group, no)| {
        let (name, entries) = match count {
            1 => (options.name.clone(), entries.clone()),
            _ => (
                gguf::split_name(&options.stem(), no, count),
                part_entries(&entries, no, count, tensors.len()),
            ),
        };
        file(name, &entries, group, alignment, notes)
    });
    Ok(Layout { files: files.collect::<Result<_>>()?, directory: false })
}

/// The tokenizer's keys, for a model that was not a GGUF before.
fn tokenizer(
    model: &Model,
    options: &WriteOptions,
    notes: &mut Notes,
) -> Result<Vec<(String, Value)>> {
    match (&model.tokenizer, &model.unread_tokenizer) {
        (Some(tokenizer), _) => {
            let embedding = model.tensors.get("token_embd.weight");
            let rows =
                embedding.map(|tensor| (tensor.shape().dims().first().copied(), tensor.bytes()));
            let rows = match rows {
                // Every row is padded to a token: as many as the file has bytes for, and no more.
                Some((Some(rows), bytes)) if rows > bytes => {
                    let text = format!("token_embd.weight: {rows} rows, but {bytes} bytes");
                    return Err(Error::malformed(text));
                }
                Some((Some(rows), _)) => rows as usize,
                _ => tokenizer.tokens.len(),
            };
            tokenizer_gguf::entries(tokenizer, rows, options.pre.as_deref(), notes)
        }
        (None, Some(error)) => Err(error.clone()),
        (None, None) => {
            let text = "the model has none; the file says so, and only token ids can be run";
            notes.lost("tokenizer", text);
            Ok(tokenizer_gguf::none())
        }
    }
}

/// The first part has all metadata; the others say only where they belong.
fn part_entries(
    entries: &IndexMap<String, Value>,
    no: u16,
    count: u16,
    tensors: usize,
) -> IndexMap<String, Value> {
    let mut own = if no == 0 { entries.clone() } else { IndexMap::new() };
    if let (Some(alignment), true) = (entries.get(gguf::ALIGNMENT_KEY), no > 0) {
        own.insert(gguf::ALIGNMENT_KEY.into(), alignment.clone());
    }
    own.insert(gguf::SPLIT_NO.into(), Value::U16(no));
    own.insert(gguf::SPLIT_COUNT.into(), Value::U16(count));
    let tensors = i32::try_from(tensors).unwrap_or(i32::MAX);
    own.insert(gguf::SPLIT_TENSORS_COUNT.into(), Value::I32(tensors));
    own
}

fn file(
    name: String,
    entries: &IndexMap<String, Value>,
    tensors: Vec<(&String, &Tensor)>,
    alignment: u64,
    notes: &mut Notes,
) -> Result<FilePlan> {
    let metadata = entries.iter().filter(|(_, value)| **value != Value::Null);
    let metadata = metadata
        .map(|(key, value)| Ok((key.clone(), theirs(value).map_err(|error| error.at(key))?)));
    let metadata = gguf::Metadata(metadata.collect::<Result<_>>()?);
    let infos: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| {
            let mut dims: Vec<u64> = tensor.shape().dims().iter().rev().copied().collect();
            if dims.is_empty() {
                notes.lost(name.as_str(), "a scalar; GGUF has none, so its shape is now [1]");
                dims.push(1);
            }
            Ok(((*name).clone(), dims, kind(tensor.dtype()).map_err(|error| error.at(name))?))
        })
        .collect::<Result<_>>()?;
    let plan = gguf::Plan::new(&metadata, &infos, alignment)
        .map_err(|error| Error::unsupported(format!("gguf: cannot be written: {error}")))?;
    let mut parts = vec![(0, Part::Bytes(plan.header))];
    parts.extend(tensors.into_iter().zip(plan.tensors).map(|((name, tensor), placed)| {
        (placed.offset, Part::Tensor { name: name.clone(), tensor: tensor.clone() })
    }));
    Ok(FilePlan { name, len: plan.len, parts })
}

fn kind(dtype: DType) -> Result<&'static gguf::Kind> {
    let found = match dtype {
        DType::Packed(block) => gguf::Kind::of_id(block.ggml_id),
        DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 => None,
        plain => gguf::Kind::of_name(plain.name()),
    };
    found.ok_or_else(|| {
        Error::unsupported(format!(
            "GGUF has no type {dtype}; give --type, or --exclude the tensor"
        ))
    })
}

fn theirs(value: &Value) -> Result<gguf::Value> {
    use gguf::Value as Theirs;
    Ok(match value {
        Value::U8(n) => Theirs::U8(*n),
        Value::I8(n) => Theirs::I8(*n),
        Value::U16(n) => Theirs::U16(*n),
        Value::I16(n) => Theirs::I16(*n),
        Value::U32(n) => Theirs::U32(*n),
        Value::I32(n) => Theirs::I32(*n),
        Value::U64(n) => Theirs::U64(*n),
        Value::I64(n) => Theirs::I64(*n),
        Value::F32(x) => Theirs::F32(*x),
        Value::F64(x) => Theirs::F64(*x),
        Value::Bool(b) => Theirs::Bool(*b),
        Value::Text(text) => Theirs::Text(text.clone()),
        Value::List(items) => Theirs::Array(array(items)?),
        Value::Null | Value::Map(_) => return Err(Error::unsupported("GGUF holds no such value")),
    })
}

fn array(items: &List) -> Result<gguf::Array> {
    use gguf::Array as Theirs;
    Ok(match items {
        List::U8(items) => Theirs::U8(items.clone()),
        List::I8(items) => Theirs::I8(items.clone()),
        List::U16(items) => Theirs::U16(items.clone()),
        List::I16(items) => Theirs::I16(items.clone()),
        List::U32(items) => Theirs::U32(items.clone()),
        List::I32(items) => Theirs::I32(items.clone()),
        List::U64(items) => Theirs::U64(items.clone()),
        List::I64(items) => Theirs::I64(items.clone()),
        List::F32(items) => Theirs::F32(items.clone()),
        List::F64(items) => Theirs::F64(items.clone()),
        List::Bool(items) => Theirs::Bool(items.clone()),
        List::Text(items) => Theirs::Text(items.clone()),
        List::List(items) => Theirs::Array(items.iter().map(array).collect::<Result<_>>()?),
        List::Any(_) => return Err(Error::unsupported("GGUF holds no list of mixed kinds")),
    })
}
