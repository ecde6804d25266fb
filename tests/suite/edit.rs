//! Files of models taken apart and put together again, so that a test can change what lies in
//! them. They are read and written here by other code than the program's own pipeline.

use std::fs;
use std::path::Path;

use half::{bf16, f16};
use serde_json::{Map, Value as Json, json};

use crate::program::read;

/// A tensor as it lies in a file.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) name: String,
    /// ggml's name of the type, in lower case, or safetensors'.
    pub(crate) kind: String,
    /// Outermost first.
    pub(crate) shape: Vec<u64>,
    pub(crate) bytes: Vec<u8>,
}

impl Stored {
    /// Bytes of a row.
    pub(crate) fn row(&self) -> usize {
        self.bytes.len() / self.shape[0] as usize
    }

    /// Bytes of a number, or of a block with its scale.
    pub(crate) fn block(&self) -> usize {
        match self.kind.as_str() {
            "f32" | "F32" => 4,
            "f16" | "F16" | "bf16" | "BF16" => 2,
            other => gguf::Kind::of_name(other).expect("a type of ggml").bytes as usize,
        }
    }

    /// Multiplies every weight of a row: a number itself, or the scale of its block.
    pub(crate) fn scale_row(&mut self, row: usize, factor: f32) {
        let (len, block, kind) = (self.row(), self.block(), self.kind.to_lowercase());
        for bytes in self.bytes[row * len..(row + 1) * len].chunks_exact_mut(block) {
            match kind.as_str() {
                "f32" => {
                    let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    bytes.copy_from_slice(&(value * factor).to_le_bytes());
                }
                "bf16" => {
                    let value = bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
                    bytes.copy_from_slice(&bf16::from_f32(value * factor).to_le_bytes());
                }
                "f16" | "q8_0" | "q4_0" => {
                    let value = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
                    bytes[..2].copy_from_slice(&f16::from_f32(value * factor).to_le_bytes());
                }
                other => panic!("{other}: where is its scale?"),
            }
        }
    }
}

/// The tensors of a file, by name.
pub(crate) trait Tensors {
    fn all(&mut self) -> &mut Vec<Stored>;

    #[track_caller]
    fn at(&mut self, name: &str) -> &mut Stored {
        let found = self.all().iter_mut().find(|tensor| tensor.name == name);
        found.unwrap_or_else(|| panic!("no tensor {name}"))
    }

    fn exchange(&mut self, a: &str, b: &str) {
        let (x, y) = (self.at(a).bytes.clone(), self.at(b).bytes.clone());
        assert_eq!(x.len(), y.len(), "{a} and {b} are not of one size");
        assert!(x != y, "{a} and {b} are equal: the test would prove nothing");
        (self.at(a).bytes, self.at(b).bytes) = (y, x);
    }

    #[track_caller]
    fn remove(&mut self, name: &str) -> Stored {
        let at = self.all().iter().position(|tensor| tensor.name == name).expect("such a tensor");
        self.all().remove(at)
    }
}

/// A GGUF file.
#[derive(Clone)]
pub(crate) struct Gguf {
    pub(crate) metadata: gguf::Metadata,
    pub(crate) tensors: Vec<Stored>,
}

impl Tensors for Gguf {
    fn all(&mut self) -> &mut Vec<Stored> {
        &mut self.tensors
    }
}

impl Gguf {
    #[track_caller]
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = read(path);
        let file = gguf::read(&bytes, &gguf::Limits::default()).expect("a GGUF file");
        let stored = |info: &gguf::TensorInfo| Stored {
            name: info.name.clone(),
            kind: info.kind.name.to_lowercase(),
            shape: info.dims.iter().rev().copied().collect(),
            bytes: bytes[info.offset as usize..(info.offset + info.len) as usize].to_vec(),
        };
        Self { tensors: file.tensors.iter().map(stored).collect(), metadata: file.metadata }
    }

    pub(crate) fn write(&self, path: &Path) {
        let info = |tensor: &Stored| {
            let dims = tensor.shape.iter().rev().copied().collect();
            let kinds = gguf::KINDS.iter();
            let mut same = kinds.filter(|kind| kind.name.eq_ignore_ascii_case(&tensor.kind));
            (tensor.name.clone(), dims, same.next().expect("a type of ggml"))
        };
        let infos: Vec<_> = self.tensors.iter().map(info).collect();
        let plan = gguf::Plan::new(&self.metadata, &infos, gguf::ALIGNMENT_DEFAULT).expect("plan");
        let mut bytes = plan.header;
        for (tensor, placed) in self.tensors.iter().zip(plan.tensors) {
            assert_eq!(placed.len, tensor.bytes.len() as u64, "{}", tensor.name);
            bytes.resize(placed.offset as usize, 0);
            bytes.extend_from_slice(&tensor.bytes);
        }
        bytes.resize(plan.len as usize, 0);
        fs::write(path, bytes).expect("written");
    }
}

/// A safetensors file.
#[derive(Clone)]
pub(crate) struct Safetensors {
    pub(crate) tensors: Vec<Stored>,
}

impl Tensors for Safetensors {
    fn all(&mut self) -> &mut Vec<Stored> {
        &mut self.tensors
    }
}

impl Safetensors {
    #[track_caller]
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = read(path);
        let (len, rest) = bytes.split_at(8);
        let len = u64::from_le_bytes(len.try_into().expect("eight bytes")) as usize;
        let header: Map<String, Json> = serde_json::from_slice(&rest[..len]).expect("a header");
        let entries = header.into_iter().filter(|(name, _)| name != "__metadata__");
        let stored = |(name, info): (String, Json)| {
            let span: Vec<u64> = numbers(&info["data_offsets"]);
            Stored {
                name,
                kind: info["dtype"].as_str().expect("a dtype").to_owned(),
                shape: numbers(&info["shape"]),
                bytes: rest[len + span[0] as usize..len + span[1] as usize].to_vec(),
            }
        };
        Self { tensors: entries.map(stored).collect() }
    }

    pub(crate) fn write(&self, path: &Path) {
        let (mut header, mut data) = (Map::new(), Vec::new());
        for tensor in &self.tensors {
            let start = data.len();
            data.extend_from_slice(&tensor.bytes);
            let span = [start, data.len()];
            let info = json!({"dtype": tensor.kind, "shape": tensor.shape, "data_offsets": span});
            header.insert(tensor.name.clone(), info);
        }
        let header = Json::Object(header).to_string();
        let len = (header.len() as u64).to_le_bytes();
        fs::write(path, [&len, header.as_bytes(), &data].concat()).expect("written");
    }
}

fn numbers(list: &Json) -> Vec<u64> {
    let items = list.as_array().expect("a list").iter();
    items.map(|item| item.as_u64().expect("a number")).collect()
}
