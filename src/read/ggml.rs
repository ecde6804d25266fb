//! ggml before GGUF → Model: tensors in place. A Llama becomes the GGUF that llama.cpp would have
//! made of it, RWKV 4 and 5 what it would if it knew them; of other models, names and header stay as
//! they are.

mod llama;
mod rwkv;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ggml::{File, Program};
use indexmap::IndexMap;

use crate::ir::tokenizer::pre;
use crate::ir::value::List;
use crate::ir::{Blob, DType, Error, Limits, Model, Notes, Result, Shape};
use crate::ir::{Tensor, Value};
use crate::quant;
use crate::store::Source;

/// Whether the source is such a file, by its magic.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    match source.entry() {
        Some(name) => Ok(ggml::probe(&super::head(&*source.open(name)?)?)),
        None => Ok(false),
    }
}

/// Reads the tensors, and what the header and the vocabulary say.
///
/// # Errors
/// What the container says.
pub fn read(source: &dyn Source, _: &Limits, notes: &mut Notes) -> Result<Model> {
    let name = source.entry().ok_or_else(|| Error::malformed("a directory, expected a file"))?;
    let blob = source.open(name)?;
    let file = ggml::read(&*blob).map_err(|error| Error::from(error).at("ggml").at(blob.name()))?;
    if file.tensors.is_empty() {
        notes.odd(blob.name(), "it has a header and a vocabulary, and no tensors");
    }
    let tensors = tensors(&file, &blob)?;
    let mut model =
        Model { version: file.version, tensors, ..Model::empty("ggml", source.label()) };
    match file.layout.program {
        Program::Llama => llama::complete(&mut model, &file, notes)?,
        Program::Rwkv if rwkv::complete(&mut model, &file)? => {}
        Program::Rwkv | Program::Whisper => model.config.entries = header(&file),
    }
    Ok(model)
}

/// Every tensor under its name, and the filters as one.
fn tensors(file: &File, blob: &Arc<Blob>) -> Result<IndexMap<String, Tensor>> {
    let mut tensors = IndexMap::new();
    if let Some(filters) = file.filters {
        let shape = Shape::new(vec![filters.rows, filters.columns])?;
        let tensor = Tensor::span(DType::F32, shape, Arc::clone(blob), filters.offset)?;
        tensors.insert("mel_filters".to_owned(), tensor);
    }
    for info in &file.tensors {
        let place = |error: Error| error.at(format!("{}: tensor '{}'", blob.name(), info.name));
        let dtype = dtype(info.kind).map_err(place)?;
        let shape = Shape::new(info.dims.iter().rev().copied().collect()).map_err(place)?;
        let tensor = Tensor::span(dtype, shape, Arc::clone(blob), info.offset).map_err(place)?;
        if tensors.insert(info.name.clone(), tensor).is_some() {
            return Err(place(Error::malformed("has the name that the filters have here")));
        }
    }
    Ok(tensors)
}

fn dtype(kind: &ggml::Kind) -> Result<DType> {
    let plain = [DType::F32, DType::F16].into_iter().find(|dtype| dtype.name() == kind.name);
    let packed = || quant::block_of_any_time(kind.name).map(DType::Packed);
    plain.or_else(packed).ok_or_else(|| Error::bug(format!("no packing {}", kind.name)))
}

/// The header as the program named its fields; tokens, of any bytes, in the letters of GPT-2.
fn header(file: &File) -> IndexMap<String, Value> {
    let program = if file.layout.program == Program::Rwkv { "rwkv.cpp" } else { "whisper.cpp" };
    let mut entries = IndexMap::new();
    entries.insert("ggml.program".to_owned(), Value::Text(program.to_owned()));
    let fields = file.header.iter();
    entries.extend(fields.map(|(name, value)| (format!("ggml.{name}"), Value::U32(*value))));
    if !file.tokens.is_empty() {
        let letters =
            |token: &ggml::Token| token.bytes.iter().map(|byte| pre::letter(*byte)).collect();
        let tokens = file.tokens.iter().map(letters).collect();
        entries.insert("ggml.tokens".to_owned(), Value::List(List::Text(tokens)));
    }
    entries
}
