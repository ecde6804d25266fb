//! The formats: what can be read and written, as a table.

mod unknown;

use std::ffi::OsStr;
use std::path::Path;

use crate::ir::{Convention, Error, Limits, Model, Naming, Notes, Result};
use crate::store::Source;
use crate::write::{Layout, WriteOptions};
use crate::{read, write};

/// A format, as capabilities.
pub struct Format {
    /// The name that `--from` and `--to` take.
    pub name: &'static str,
    /// One line for `--help` and documents.
    pub about: &'static str,
    /// Extensions of its files; the first is the usual one.
    pub extensions: &'static [&'static str],
    /// Whether a directory of the hub can be in this format.
    pub directory: bool,
    /// Whether a source is in this format, by its content.
    pub probe: fn(&dyn Source) -> Result<bool>,
    /// How it is read.
    pub read: Option<Read>,
    /// How a model is laid out in it.
    pub layout: Option<LayOut>,
    /// Whose names its tensors have.
    pub naming: Naming,
    /// In which order its readers expect the dimensions of kernels; none for mere arrays.
    pub convention: Option<Convention>,
    /// Whether it says what is computed, too.
    pub graph: bool,
}

/// Reads a model.
pub type Read = fn(&dyn Source, &Limits, &mut Notes) -> Result<Model>;

/// Lays a model out: every size is decided, no byte is written.
pub type LayOut = fn(&Model, &WriteOptions, &mut Notes) -> Result<Layout>;

const KERAS: Option<Convention> = Some(Convention::Keras);

/// Weights under Hugging Face's names, in PyTorch's order: what a row says nothing else about.
const WEIGHTS: Format = Format {
    name: "",
    about: "",
    extensions: &[],
    directory: false,
    probe: |_| Ok(false),
    read: None,
    layout: None,
    naming: Naming::HuggingFace,
    convention: Some(Convention::PyTorch),
    graph: false,
};

/// Every format, in the order in which a source's content is compared.
#[rustfmt::skip]
pub static FORMATS: &[Format] = &[
    Format { name: "gguf",        about: "GGUF of ggml and llama.cpp",                   extensions: &["gguf"],        probe: read::gguf::probe,        read: Some(read::gguf::read),        layout: Some(write::gguf::layout),        naming: Naming::Gguf, ..WEIGHTS },
    Format { name: "safetensors", about: "safetensors: a file, shards, a hub directory", extensions: &["safetensors"], probe: read::safetensors::probe, read: Some(read::safetensors::read), layout: Some(write::safetensors::layout), directory: true, ..WEIGHTS },
    Format { name: "pytorch",     about: "PyTorch checkpoints, executed by nobody",      extensions: &["pt", "pth", "bin", "ckpt"], probe: read::torch::probe, read: Some(read::torch::read), layout: Some(write::torch::layout),   directory: true, ..WEIGHTS },
    Format { name: "tensorflow",  about: "TensorFlow: checkpoints, SavedModels, frozen graphs", extensions: &["index", "pb"], probe: read::tensorflow::probe, read: Some(read::tensorflow::read), layout: Some(write::tensorflow::layout), directory: true, convention: KERAS, ..WEIGHTS },
    Format { name: "onnx",        about: "ONNX: a graph of operators and its weights",   extensions: &["onnx"],        probe: read::onnx::probe,        read: Some(read::onnx::read),        layout: Some(write::onnx::layout),        graph: true, ..WEIGHTS },
    Format { name: "ggml",        about: "ggml before GGUF: Llama, RWKV, Whisper",       extensions: &["ggml"],        probe: read::ggml::probe,        read: Some(read::ggml::read),        naming: Naming::Gguf, ..WEIGHTS },
    Format { name: "keras",       about: "Keras: .keras, .weights.h5 and .h5",           extensions: &["h5", "hdf5", "keras"], probe: read::keras::probe, read: Some(read::keras::read),       layout: Some(write::keras::layout),       convention: KERAS, ..WEIGHTS },
    Format { name: "hdf5",        about: "HDF5: arrays by their paths",                  extensions: &["hdf", "he5"],  probe: read::hdf5::probe,        read: Some(read::hdf5::read),        layout: Some(write::hdf5::layout),        convention: None, ..WEIGHTS },
    Format { name: "npz",         about: "npz: NumPy's archive of arrays",               extensions: &["npz"],         probe: read::npz::probe,         read: Some(read::npz::read),         layout: Some(write::npz::layout),         convention: None, ..WEIGHTS },
    Format { name: "npy",         about: "npy: one array of NumPy's",                    extensions: &["npy"],         probe: read::npy::probe,         read: Some(read::npy::read),         layout: Some(write::npy::layout),         convention: None, ..WEIGHTS },
    Format { name: "tflite",      about: "TensorFlow Lite: its weights",                 extensions: &["tflite"],      probe: read::tflite::probe,      read: Some(read::tflite::read),      convention: Some(Convention::TfLite), ..WEIGHTS },
    Format { name: "flax",        about: "Flax: trees of arrays in MessagePack",         extensions: &["msgpack"],     probe: read::flax::probe,        read: Some(read::flax::read),        layout: Some(write::flax::layout),        directory: true, convention: KERAS, ..WEIGHTS },
];

/// The format called `name`.
///
/// # Errors
/// Usage, naming those that exist.
pub fn by_name(name: &str) -> Result<&'static Format> {
    FORMATS.iter().find(|format| format.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let known: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        Error::usage(format!("no format '{name}'; there are {}", known.join(", ")))
    })
}

/// The format to write `target` in: what is asked for, else by its extension, else a directory.
///
/// # Errors
/// Usage if its name leads to no format, or to one that is only read.
pub fn for_target(target: &Path, asked: Option<&str>) -> Result<&'static Format> {
    let shown = target.display();
    let format = match (asked, target.extension()) {
        (Some(name), _) => by_name(name)?,
        (None, None) => by_name("safetensors")?,
        // A version in a directory's name is no extension: model-v1.5/
        (None, Some(_)) if is_directory(target) => by_name("safetensors")?,
        (None, Some(extension)) => by_extension(extension).ok_or_else(|| {
            let known = FORMATS.iter().filter(|f| f.layout.is_some());
            let known: Vec<_> = known.map(|f| format!(".{}", f.extensions[0])).collect();
            let known = known.join(", ");
            Error::usage(format!(
                "{shown}: no format has this extension; name one with --to, or end the name \
                     in {known}, or in / for a directory"
            ))
        })?,
    };
    if format.layout.is_none() {
        let text = format!("{shown}: {} is read, but not written by this version", format.name);
        return Err(Error::unsupported(text));
    }
    Ok(format)
}

/// The format whose files end so, in any case.
fn by_extension(extension: &OsStr) -> Option<&'static Format> {
    let is_known = |known: &&str| extension.eq_ignore_ascii_case(known);
    FORMATS.iter().find(|format| format.extensions.iter().any(is_known))
}

/// Whether a target is meant as a directory: it ends in a slash, exists as one, or has no
/// extension.
pub fn is_directory(target: &Path) -> bool {
    let text = target.as_os_str().as_encoded_bytes();
    text.ends_with(b"/") || target.is_dir() || target.extension().is_none()
}

/// The format of a source: what is asked for, else what its content says.
///
/// # Errors
/// Malformed if its content is of no format.
pub fn detect(source: &dyn Source, asked: Option<&str>) -> Result<&'static Format> {
    if let Some(name) = asked {
        return by_name(name);
    }
    for format in FORMATS {
        if (format.probe)(source)? {
            return Ok(format);
        }
    }
    unknown::unknown(source)
}
