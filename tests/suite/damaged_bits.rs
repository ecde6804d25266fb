//! Every prefix and two thousand flipped bits of a good file of each format, in-process: no panic,
//! no endless loop, and no wrong answer without a word where the format has a checksum.

use std::collections::BTreeMap;

use remold::formats;
use remold::ir::{Config, Limits, Notes, Result, Scratch, Value};
use remold::read;
use remold::store::MemorySource;

use crate::program::{fixture, read as bytes_of};

/// What a file says: everything that is in it, by name.
type Answer = BTreeMap<String, Vec<u8>>;

/// A good file, and what damage must do to it.
struct Good {
    file: &'static str,
    read: fn(&[u8]) -> Result<Answer>,
    cut: Cut,
    /// Whether every bit that counts is under a checksum.
    summed: bool,
}

/// What becomes of a file that ends too early.
#[derive(PartialEq)]
enum Cut {
    /// It is refused, wherever it ends.
    Refused,
    /// It may be refused: where a message ends, nothing says that there was more.
    Survived,
}

/// A format is a line.
#[rustfmt::skip]
const GOOD: &[Good] = &[
    Good { file: "gguf/unpadded.gguf",                 read: |bytes| model("gguf", bytes),        cut: Cut::Refused,  summed: false },
    Good { file: "safetensors/names.safetensors",      read: |bytes| model("safetensors", bytes), cut: Cut::Refused,  summed: false },
    Good { file: "torch/parameter.pt",                 read: |bytes| model("pytorch", bytes),     cut: Cut::Refused,  summed: true },
    Good { file: "torch/legacy_shared_storage.pt",     read: |bytes| model("pytorch", bytes),     cut: Cut::Refused,  summed: false },
    Good { file: "onnx/everything.onnx",               read: |bytes| model("onnx", bytes),        cut: Cut::Survived, summed: false },
    Good { file: "npy/version_3.npy",                  read: |bytes| model("npy", bytes),         cut: Cut::Refused,  summed: false },
    Good { file: "npz/deflated.npz",                   read: |bytes| model("npz", bytes),         cut: Cut::Refused,  summed: true },
    Good { file: "graph/loop.in.npz",                  read: |bytes| model("npz", bytes),         cut: Cut::Refused,  summed: true },
    Good { file: "ggml/whisper.bin",                   read: |bytes| model("ggml", bytes),        cut: Cut::Survived, summed: false },
    Good { file: "tensorflow/types.ckpt.index",        read: table,                               cut: Cut::Refused,  summed: true },
    Good { file: "tensorflow/network.pb",              read: |bytes| model("tensorflow", bytes),  cut: Cut::Survived, summed: false },
    Good { file: "keras/float16.weights.h5",           read: |bytes| model("keras", bytes),       cut: Cut::Refused,  summed: false },
    Good { file: "flax/types.msgpack",                 read: |bytes| model("flax", bytes),        cut: Cut::Refused,  summed: false },
    Good { file: "tflite/every.tflite",                read: |bytes| model("tflite", bytes),      cut: Cut::Refused,  summed: false },
    Good { file: "hdf5/behind.h5",                     read: groups,                              cut: Cut::Survived, summed: false },
    Good { file: "sentencepiece/unigram.model",        read: |bytes| vocabulary("tokenizer.model", bytes), cut: Cut::Survived, summed: false },
    Good { file: "tokenizer/added/tokenizer.json",     read: |bytes| vocabulary("tokenizer.json", bytes),  cut: Cut::Refused,  summed: false },
];

/// Flipped bits of each file.
const FLIPS: usize = 2000;

/// Elements that are made of a tensor: a flipped bit of a shape may ask for any number.
const ELEMENTS_MAX: u64 = 1 << 16;

/// A model of one file, with the bytes of its tensors.
fn model(format: &str, bytes: &[u8]) -> Result<Answer> {
    let source = MemorySource::new([("model".to_owned(), bytes.to_vec())]);
    let format = formats::by_name(format)?;
    let limits = Limits { checksums: true, ..Limits::default() };
    let read = format.read.expect("a format that is read");
    let mut notes = Notes::default();
    let model = read(&source, &limits, &mut notes)?;
    let mut scratch = Scratch::default();
    let mut answer = Answer::new();
    for (name, tensor) in &model.tensors {
        let granule = tensor.granule().max(1);
        let end = tensor.shape().count().min(ELEMENTS_MAX / granule * granule);
        let mut out = scratch.take(tensor.byte_offset(end) as usize)?;
        tensor.read(0..end, &mut out, &mut scratch)?;
        let described = format!("{name} {} {}", tensor.dtype(), tensor.shape());
        answer.insert(described, out);
    }
    // A word about damage is an answer.
    answer.extend(notes.iter().map(|note| (format!("note: {note}"), Vec::new())));
    Ok(answer)
}

/// The index of a TensorFlow checkpoint: its weights lie in other files.
fn table(bytes: &[u8]) -> Result<Answer> {
    let checkpoint = tensorflow::read(&bytes, &tensorflow::Options::default())?;
    Ok([("table".to_owned(), format!("{checkpoint:?}").into_bytes())].into())
}

/// What an HDF5 file holds, by path.
fn groups(bytes: &[u8]) -> Result<Answer> {
    let file = hdf5::open(&bytes, &hdf5::Limits::default())?;
    let objects = file.objects.iter();
    Ok(objects.map(|(path, object)| (path.clone(), format!("{object:?}").into_bytes())).collect())
}

/// A vocabulary, as it is shown.
fn vocabulary(name: &str, bytes: &[u8]) -> Result<Answer> {
    let file = |asked: &str| Ok((asked == name).then(|| bytes.to_vec()));
    let kind = ("model_type".to_owned(), Value::Text("llama".into()));
    let config = Config { entries: [kind].into() };
    let found = read::tokenizer::read(&file, &config, &mut Notes::default())?;
    let tokenizer = found.ok_or_else(|| remold::ir::Error::malformed("no tokenizer"))?;
    let tokens = tokenizer.tokens.iter().enumerate();
    Ok(tokens.map(|(id, token)| (id.to_string(), format!("{token:?}").into_bytes())).collect())
}

#[test]
fn every_prefix_ends_with_a_word() {
    for good in GOOD {
        let bytes = bytes_of(fixture(good.file));
        let whole = (good.read)(&bytes).unwrap_or_else(|error| panic!("{}: {error}", good.file));
        assert!(!whole.is_empty(), "{}", good.file);
        for len in 0..bytes.len() {
            let read = (good.read)(&bytes[..len]);
            let refused = read.is_err() || good.cut == Cut::Survived;
            assert!(refused, "{}: the first {len} bytes are accepted", good.file);
        }
    }
    assert!(GOOD.len() >= 17);
}

#[test]
fn flipped_bits_are_survived_and_seen_where_there_is_a_checksum() {
    for good in GOOD {
        let bytes = bytes_of(fixture(good.file));
        let whole = (good.read)(&bytes).expect("a good file");
        let bits = bytes.len() * 8;
        // Each bit of a small file; of a larger one, as many, evenly.
        let step = bits.div_ceil(FLIPS).max(1);
        for bit in (0..bits).step_by(step) {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let Ok(answer) = (good.read)(&bad) else { continue };
            let is_right = whole.iter().all(|(name, data)| answer.get(name) == Some(data));
            let has_word = answer.keys().any(|name| name.starts_with("note: "));
            let silent = good.summed && !is_right && !has_word;
            assert!(!silent, "{}: bit {bit} gives another answer, without a word", good.file);
        }
    }
}
