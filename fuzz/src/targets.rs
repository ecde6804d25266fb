//! What is fuzzed: each target takes any bytes, and must come to an end without a panic.
//!
//! Containers are read by their crate alone; a mapping reads a model, makes its tensors, and plans
//! a conversion to every format, which renames and quantizes on paper.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use remold::convert::{Job, convert};
use remold::formats::{self, FORMATS};
use remold::ir::tokenizer::Tokenizer;
use remold::ir::{Blob, Config, Limits, Model, Notes, Scratch, Value};
use remold::quant::{self, Types};
use remold::read;
use remold::run::tokens::Encoder;
use remold::store::MemorySource;
use remold::write::{ExecuteOptions, WriteOptions};

/// One way into the program.
pub struct Target {
    /// What the script and cargo-fuzz call it.
    pub name: &'static str,
    /// Good files among the fixtures, which the mutations begin with.
    pub seeds: &'static [&'static str],
    /// Takes the bytes.
    pub run: fn(&[u8]),
}

/// A crate for each container, then the mappings.
#[rustfmt::skip]
pub static TARGETS: &[Target] = &[
    Target { name: "gguf",            seeds: &["gguf/pair.gguf", "gguf/arrays.gguf", "gguf/swapped.gguf", "gguf/v1.gguf", "gguf/scalars.gguf"], run: gguf },
    Target { name: "safetensors",     seeds: &["safetensors/names.safetensors", "safetensors/shapes.safetensors"], run: safetensors },
    Target { name: "index",           seeds: &["safetensors/model.safetensors.index.json"], run: index },
    Target { name: "npy",             seeds: &["npy/fortran.npy", "npy/version_3.npy", "npy/deep.npy"], run: npy },
    Target { name: "zip",             seeds: &["torch/parameter.pt", "graph/loop.in.npz"], run: zip },
    Target { name: "torch",           seeds: &["torch/mixed_types.pt", "torch/legacy_shared_storage.pt", "torch/legacy_uncloned_views.pt"], run: torch },
    Target { name: "pickle",          seeds: &["torch/checkpoint.pt", "torch/parameter.pt", "torch/every.pt"], run: pickle },
    Target { name: "protobuf",        seeds: &["onnx/everything.onnx", "sentencepiece/word.model"], run: protobuf },
    Target { name: "onnx",            seeds: &["onnx/everything.onnx", "onnx/narrow.onnx", "onnx/sparse.onnx", "graph/loop.onnx"], run: onnx },
    Target { name: "sentencepiece",   seeds: &["sentencepiece/word.model", "sentencepiece/unigram.model"], run: sentencepiece },
    Target { name: "hdf5",            seeds: &["hdf5/behind.h5", "keras/float16.weights.h5", "keras/bfloat16.weights.h5"], run: hdf5 },
    Target { name: "ggml",            seeds: &["ggml/whisper.bin"], run: |bytes| drop(ggml::read(&bytes)) },
    Target { name: "tensorflow",      seeds: &["tensorflow/names.ckpt.index", "tensorflow/snappy.ckpt.index", "tensorflow/first.ckpt", "tensorflow/network.pb"], run: tensorflow },
    Target { name: "msgpack",         seeds: &["flax/types.msgpack", "flax/chunked.msgpack"], run: |bytes| drop(msgpack::read(&bytes, &msgpack::Limits::default())) },
    Target { name: "tflite",          seeds: &["tflite/every.tflite", "tflite/outside.tflite"], run: |bytes| drop(tflite::read(&bytes, &tflite::Limits::default())) },
    Target { name: "read-flax",       seeds: &["flax/types.msgpack", "flax/state.msgpack"], run: |bytes| mapping("flax", bytes) },
    Target { name: "read-tflite",     seeds: &["tflite/every.tflite", "tflite/sparse.tflite"], run: |bytes| mapping("tflite", bytes) },
    Target { name: "read-tensorflow", seeds: &["tensorflow/network.pb"], run: |bytes| mapping("tensorflow", bytes) },
    Target { name: "read-hdf5",       seeds: &["hdf5/behind.h5", "keras/float16.weights.h5"], run: |bytes| mapping("hdf5", bytes) },
    Target { name: "read-ggml",       seeds: &["ggml/whisper.bin", "ggml/llama-ggjt3.bin"], run: |bytes| mapping("ggml", bytes) },
    Target { name: "read-npz",        seeds: &["npz/stored.npz", "npz/deflated.npz", "npz/text.npz"], run: |bytes| mapping("npz", bytes) },
    Target { name: "read-npy",        seeds: &["npy/fortran.npy", "npy/be_c16.npy"], run: |bytes| mapping("npy", bytes) },
    Target { name: "read-gguf",       seeds: &["imatrix/model.q2_k_s.gguf", "gguf/packed.gguf", "gguf/swapped.gguf"], run: |bytes| mapping("gguf", bytes) },
    Target { name: "read-safetensors", seeds: &["safetensors/names.safetensors", "safetensors/raw_types.safetensors"], run: |bytes| mapping("safetensors", bytes) },
    Target { name: "read-torch",      seeds: &["torch/parameter.pt", "torch/legacy_shared_storage.pt", "torch/big_endian.pt"], run: |bytes| mapping("pytorch", bytes) },
    Target { name: "read-pickle",     seeds: &["torch/checkpoint.pt", "torch/every.pt"], run: |bytes| mapping("pytorch", &archive(bytes)) },
    Target { name: "read-onnx",       seeds: &["onnx/everything.onnx", "onnx/types.onnx", "graph/mlp.onnx", "graph/loop.onnx"], run: |bytes| mapping("onnx", bytes) },
    Target { name: "read-keras",      seeds: &["keras/float16.weights.h5", "keras/bfloat16.weights.h5"], run: |bytes| mapping("keras", bytes) },
    Target { name: "families",        seeds: &["families/gpt2/config.json", "families/gemma/config.json", "families/mixtral/config.json", "families/phi3-long/config.json"], run: families },
    Target { name: "tokenizer-json",  seeds: &["tokenizer/added/tokenizer.json", "tokenizer/gpt-2/tokenizer.json"], run: |bytes| tokenizer("tokenizer.json", bytes) },
    Target { name: "tokenizer-model", seeds: &["sentencepiece/unigram.model"], run: |bytes| tokenizer("tokenizer.model", bytes) },
    Target { name: "imatrix",         seeds: &["imatrix/small.imatrix.gguf", "imatrix/small.imatrix.dat"], run: imatrix },
    Target { name: "packings",        seeds: &["imatrix/model.q2_k_s.gguf"], run: packings },
    Target { name: "manifest",        seeds: &["families/gpt2/config.json"], run: |bytes| drop(remold::manifest::read(bytes)) },
];

/// Elements that are made of a tensor: a file of a hundred bytes may ask for a terabyte.
const ELEMENTS_MAX: u64 = 1 << 14;

/// Bytes that a target reads into memory.
const BYTES_MAX: u64 = 1 << 20;

/// The good files of the repository.
pub fn fixtures() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if here.ends_with("fuzz") { here.join("..") } else { here.to_owned() };
    root.join("fixtures")
}

/// What a target is given of a seed: of an archive, where its checksums would stop every
/// mutation, the pickle in it.
pub fn seed(target: &Target, bytes: Vec<u8>) -> Vec<u8> {
    if !target.name.contains("pickle") {
        return bytes;
    }
    let archive = zip::Archive::open(&bytes).expect("a good archive");
    let pickle = archive.entries.iter().find(|entry| entry.name.ends_with("data.pkl"));
    pickle.expect("a pickle").data(&bytes, BYTES_MAX, "").expect("a good pickle")
}

fn gguf(bytes: &[u8]) {
    drop(gguf::read(&bytes, &gguf::Limits::default()));
}

fn safetensors(bytes: &[u8]) {
    safetensors::probe(bytes, bytes.len() as u64);
    drop(safetensors::read(&bytes, &safetensors::Limits::default()));
}

fn index(bytes: &[u8]) {
    drop(safetensors::read_index(bytes));
}

fn npy(bytes: &[u8]) {
    npy::probe(bytes);
    drop(npy::read(&bytes, &npy::Limits::default()));
}

fn zip(bytes: &[u8]) {
    let Ok(archive) = zip::Archive::open(&bytes) else { return };
    for entry in &archive.entries {
        if let Ok(data) = entry.data(&bytes, BYTES_MAX, "") {
            npy(&data);
        }
    }
}

fn torch(bytes: &[u8]) {
    torch::probe(&bytes[..bytes.len().min(512)], &bytes);
    for skip_objects in [false, true] {
        if let Ok(checkpoint) =
            torch::read(&bytes, &torch::Options { skip_objects, ..torch::Options::default() })
        {
            drop(checkpoint.verify(&bytes));
        }
    }
}

fn pickle(bytes: &[u8]) {
    torch(&archive(bytes));
}

/// A checkpoint around a pickle, with sixteen storages of 64 bytes.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut entries = vec![("archive/data.pkl".to_owned(), pickle.to_vec())];
    entries.push(("archive/version".into(), b"3\n".to_vec()));
    entries.extend((0..16).map(|key| (format!("archive/data/{key}"), vec![key; 64])));
    zip::stored(&entries).unwrap_or_default()
}

fn protobuf(bytes: &[u8]) {
    let mut reader =
        onnx::Reader::new(&bytes, &onnx::Limits { field: BYTES_MAX, ..onnx::Limits::default() });
    let mut levels = vec![reader.whole()];
    // Every field is taken for a message, too: most are none.
    while let Some(message) = levels.last_mut() {
        match reader.next(message) {
            Ok(Some(field)) => {
                let inside = reader.inside(message, &field, "a message");
                drop(reader.bytes(&field, "bytes"));
                levels.extend(inside);
            }
            Ok(None) | Err(_) => drop(levels.pop()),
        }
    }
}

fn onnx(bytes: &[u8]) {
    onnx::probe(bytes);
    drop(onnx::read(&bytes, &onnx::Limits::default()));
}

fn hdf5(bytes: &[u8]) {
    let Ok(file) = hdf5::open(&bytes, &hdf5::Limits::default()) else { return };
    for (_, dataset) in file.datasets() {
        if let hdf5::Storage::Chunks(chunks) = &dataset.storage
            && chunks.bytes < BYTES_MAX
        {
            for chunk in &chunks.written {
                drop(chunks.decode(&bytes, chunk));
            }
        }
    }
}

fn tensorflow(bytes: &[u8]) {
    tensorflow::probe(&bytes);
    drop(tensorflow::read(&bytes, &tensorflow::Options::default()));
    drop(tensorflow::read_graph(&bytes, &tensorflow::Limits::default()));
    drop(tensorflow::read_saved_model(&bytes, &tensorflow::Limits::default()));
}

fn sentencepiece(bytes: &[u8]) {
    if let Ok(model) = sentencepiece::read(bytes) {
        sentencepiece::write(&model);
    }
}

fn limits() -> Limits {
    Limits { side_file: BYTES_MAX, checksums: true, skip_objects: true, ..Limits::default() }
}

/// A file as a model of this format: read, made, and planned for every other.
fn mapping(format: &str, bytes: &[u8]) {
    all_ways(format, vec![("model".into(), bytes.to_vec())]);
}

fn all_ways(format: &str, files: Vec<(String, Vec<u8>)>) {
    let source = MemorySource::new(files);
    let read = formats::by_name(format).expect("a format").read.expect("one that is read");
    let Ok(model) = read(&source, &limits(), &mut Notes::default()) else { return };
    make(&model);
    for to in FORMATS.iter().filter(|to| to.layout.is_some()) {
        for kind in [None, Some("q4_k_m"), Some("f16")] {
            drop(convert(
                model.clone(),
                &job(to, kind),
                &ExecuteOptions::default(),
                &mut Notes::default(),
            ));
        }
    }
}

/// Makes the first elements of every tensor.
fn make(model: &Model) {
    let mut scratch = Scratch::default();
    for tensor in model.tensors.values() {
        let granule = tensor.granule().max(1);
        let end = (ELEMENTS_MAX / granule * granule).min(tensor.shape().count());
        if let Ok(mut out) = scratch.take(tensor.byte_offset(end) as usize) {
            drop(tensor.read(0..end, &mut out, &mut scratch));
            scratch.give(out);
        }
    }
}

fn job(to: &'static formats::Format, kind: Option<&str>) -> Job {
    let all = kind.map(|kind| kind.parse().expect("a type"));
    Job {
        target: "out".into(),
        to,
        types: Types { all, allow_requantize: true, ..Types::default() },
        partial: false,
        left_out: Vec::new(),
        keep_io: false,
        manifest: None,
        write: WriteOptions {
            name: "out".into(),
            directory: to.directory,
            ..WriteOptions::default()
        },
        overwrite: false,
        recheck: false,
        resume: None,
        sync: false,
        plan_only: true,
        strict: false,
    }
}

/// A configuration, beside the weights of the family whose name is in it.
fn families(bytes: &[u8]) {
    static WEIGHTS: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
        let weights = |family: &str| {
            let path = fixtures().join("families").join(family).join("model.safetensors");
            (family.to_owned(), std::fs::read(path).expect("a fixture"))
        };
        ["gpt2", "gemma", "mixtral", "phi3-long", "falcon", "mpt", "qwen3_moe"].map(weights).into()
    });
    let text = String::from_utf8_lossy(bytes);
    let named = WEIGHTS.iter().find(|(family, _)| {
        text.contains(&format!("\"{}\"", family.split('-').next().unwrap_or("")))
    });
    let weights = named.unwrap_or(&WEIGHTS[0]).1.clone();
    let files = vec![("model.safetensors".into(), weights), ("config.json".into(), bytes.to_vec())];
    all_ways("safetensors", files);
}

/// A file of a tokenizer, which cuts a text if it can be read.
fn tokenizer(name: &str, bytes: &[u8]) {
    let file = |asked: &str| Ok((asked == name).then(|| bytes.to_vec()));
    let config =
        Config { entries: [("model_type".to_owned(), Value::Text("llama".into()))].into() };
    if let Ok(Some(tokenizer)) = read::tokenizer::read(&file, &config, &mut Notes::default()) {
        cut(&tokenizer);
    }
}

fn cut(tokenizer: &Tokenizer) {
    let Ok(encoder) = Encoder::new(tokenizer) else { return };
    for text in ["", "Hello, world! 1234", "  é\u{301} ﬁ\u{a0}\n\t<s>", "日本語\u{1f600}\u{200d}"]
    {
        if let Ok(ids) = encoder.encode(text, true, true) {
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.tokens.len()), "no such token");
        }
    }
}

fn imatrix(bytes: &[u8]) {
    drop(read::imatrix::read(&Blob::memory("imatrix", bytes.to_vec()), &limits()));
}

/// Any bytes are weights in any packing, and any numbers can be packed: NaN too.
fn packings(bytes: &[u8]) {
    for block in quant::BLOCKS {
        let Some(codec) = &block.codec else { continue };
        let whole = bytes.len().min(8 * block.bytes) / block.bytes * block.bytes;
        let mut weights = vec![0.0; whole / block.bytes * block.len];
        (codec.decode)(&bytes[..whole], &mut weights);
        let quantizer = quant::quantizer_for(block).filter(|_| !block.needs_importance);
        if let Some(quantizer) = quantizer {
            (quantizer.pack)(&weights, block.len, None, &mut vec![0; whole]);
        }
    }
}
