//! What lies where in an output: known to the last byte before the first one is written.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::ir::error::escape;
use crate::ir::{Blob, Error, Result, Tensor};

/// The files of an output.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// The files, in the order of their making.
    pub files: Vec<FilePlan>,
    /// Whether they are the content of a directory of their own.
    pub directory: bool,
}

/// One file of an output.
#[derive(Debug, Clone)]
pub struct FilePlan {
    /// The name within the directory of the output.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// What lies at which offset, in ascending order. What lies between is zero.
    pub parts: Vec<(u64, Part)>,
}

/// What lies at one offset of a file.
#[derive(Clone)]
pub enum Part {
    /// Bytes that are known: a header.
    Bytes(Vec<u8>),
    /// The elements of a tensor, made when they are written.
    Tensor {
        /// The name in the output, for messages.
        name: String,
        /// The recipe.
        tensor: Tensor,
    },
    /// A whole file of the input, as it is.
    Copy(Arc<Blob>),
    /// A piece of a file of the input, as it is.
    Slice(Arc<Blob>, Range<u64>),
    /// A checksum of what other parts write, little-endian; known when all of that is written.
    /// They may be sums themselves.
    Sum {
        /// The file whose bytes are summed; nothing for this one.
        file: Option<String>,
        /// The bytes of that file that are summed: those of other parts.
        of: Range<u64>,
        /// How they are summed.
        kind: Checksum,
    },
}

/// How bytes are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// CRC-32 as zip has it.
    Crc32,
    /// CRC-32C, rotated and moved, as TensorFlow has it.
    MaskedCrc32c,
}

impl Checksum {
    /// Length of a checksum in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Crc32 | Self::MaskedCrc32c => 4,
        }
    }
}

impl Layout {
    /// The length of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.len))
    }

    /// Which of the files readers open first: an index, or else the first part.
    pub fn entry(&self) -> usize {
        let is_index =
            |file: &FilePlan| [".index.json", ".index"].iter().any(|e| file.name.ends_with(e));
        self.files.iter().position(is_index).unwrap_or(0)
    }

    /// Where a reader opens the output that was asked for as `target`: the first part of several
    /// files has a name of its own.
    pub fn opened_at(&self, target: &Path) -> PathBuf {
        match self.files.get(self.entry()) {
            Some(first) if !self.directory => self.path_of(first, target),
            _ => target.to_owned(),
        }
    }

    /// Where a file of the output that was asked for as `target` lies.
    pub fn path_of(&self, file: &FilePlan, target: &Path) -> PathBuf {
        match (self.directory, self.files.len()) {
            (true, _) => target.join(&file.name),
            (false, 1) => target.to_owned(),
            (false, _) => target.with_file_name(&file.name),
        }
    }

    /// Every blob that is read, each once, in the order of the files.
    pub fn blobs(&self) -> Vec<Arc<Blob>> {
        let mut seen = BTreeSet::new();
        let parts = self.files.iter().flat_map(|file| &file.parts);
        let blobs = parts.flat_map(|(_, part)| match part {
            Part::Bytes(_) | Part::Sum { .. } => Vec::new(),
            Part::Tensor { tensor, .. } => tensor.blobs(),
            Part::Copy(blob) | Part::Slice(blob, _) => vec![blob],
        });
        blobs.filter(|blob| seen.insert(Arc::as_ptr(blob))).cloned().collect()
    }

    /// Checks that parts lie in order, beside each other and within their file, and that no two
    /// files share a name.
    ///
    /// # Errors
    /// Bug if not: a layout is made by this program alone.
    pub fn validate(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for file in &self.files {
            if !names.insert(&file.name) {
                return Err(Error::bug("two files of the plan have this name").at(&file.name));
            }
            file.validate().map_err(|error| error.at(&file.name))?;
        }
        self.validate_sums()
    }

    /// A checksum is of other parts, whole: no other bytes are summed while they are written.
    fn validate_sums(&self) -> Result<()> {
        let (mut starts, mut ends) = (BTreeSet::new(), BTreeSet::new());
        for file in &self.files {
            for (at, part) in &file.parts {
                if !matches!(part, Part::Sum { .. }) {
                    starts.insert((&file.name, *at));
                    ends.insert((&file.name, at + part.len()));
                }
            }
        }
        for file in &self.files {
            for (offset, part) in &file.parts {
                let Part::Sum { file: other, of, .. } = part else { continue };
                let name = other.as_ref().unwrap_or(&file.name);
                if !(starts.contains(&(name, of.start)) && ends.contains(&(name, of.end))) {
                    let found = format!("{} at {offset:#x} is of no part", part.what());
                    return Err(Error::bug(found).at(&file.name));
                }
            }
        }
        Ok(())
    }

    /// The plan for other programs: files, and of each part its place and what it is.
    pub fn to_json(&self) -> serde_json::Value {
        let files: Vec<_> = self.files.iter().map(FilePlan::to_json).collect();
        json!({ "bytes": self.total_bytes(), "directory": self.directory, "files": files })
    }
}

impl FilePlan {
    fn validate(&self) -> Result<()> {
        let mut end = 0u64;
        for (offset, part) in &self.parts {
            if *offset < end {
                let found =
                    format!("{} at {offset:#x} lies over what ends at {end:#x}", part.what());
                return Err(Error::bug(found));
            }
            end = wire::fits(*offset, part.len(), self.len).ok_or_else(|| {
                let found = format!("{} at {offset:#x}", part.what());
                Error::bug(format!("{found} reaches past the end of the file, {:#x}", self.len))
            })?;
        }
        Ok(())
    }

    fn to_json(&self) -> serde_json::Value {
        let part = |(offset, part): &(u64, Part)| {
            let mut fields = json!({ "offset": offset, "bytes": part.len() });
            match part {
                Part::Bytes(_) => fields["kind"] = "bytes".into(),
                Part::Copy(blob) => {
                    fields["kind"] = "copy".into();
                    fields["source"] = blob.name().into();
                }
                Part::Slice(blob, range) => {
                    fields["kind"] = "copy".into();
                    fields["source"] = blob.name().into();
                    fields["of"] = json!([range.start, range.end]);
                }
                Part::Sum { file, of, .. } => {
                    fields["kind"] = "checksum".into();
                    if let Some(file) = file {
                        fields["file"] = file.as_str().into();
                    }
                    fields["of"] = json!([of.start, of.end]);
                }
                Part::Tensor { name, tensor } => {
                    fields["kind"] = "tensor".into();
                    fields["name"] = name.as_str().into();
                    fields["dtype"] = tensor.dtype().name().into();
                    fields["shape"] = tensor.shape().dims().into();
                    fields["recipe"] = recipe(tensor).into();
                }
            }
            fields
        };
        let parts: Vec<_> = self.parts.iter().map(part).collect();
        json!({ "name": self.name, "bytes": self.len, "parts": parts })
    }
}

impl Part {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Tensor { tensor, .. } => tensor.bytes(),
            Self::Copy(blob) => blob.size(),
            Self::Slice(_, range) => range.end - range.start,
            Self::Sum { kind, .. } => kind.bytes(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it is, for messages.
    pub(super) fn what(&self) -> String {
        match self {
            Self::Bytes(bytes) => format!("a header of {} bytes", bytes.len()),
            Self::Tensor { name, .. } => format!("tensor '{name}'"),
            Self::Copy(blob) | Self::Slice(blob, _) => format!("a copy of {}", blob.name()),
            Self::Sum { file, of, .. } => format!("the {}", summed(file.as_deref(), of)),
        }
    }
}

/// The plan as text: a line for each file, and one for each of its parts.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "{} {} bytes", escape(&file.name), file.len)?;
            for (offset, part) in &file.parts {
                let line = match part {
                    Part::Bytes(_) => "header".to_owned(),
                    Part::Copy(blob) => format!("copy of {}", blob.name()),
                    Part::Slice(blob, at) => format!("copy of {}@{:#x}", blob.name(), at.start),
                    Part::Sum { file, of, .. } => summed(file.as_deref(), of),
                    Part::Tensor { name, tensor: t } => {
                        format!("{name} {} {} = {}", t.dtype(), t.shape(), recipe(t))
                    }
                };
                writeln!(f, "  {offset:#012x} {:>12} {}", part.len(), escape(&line))?;
            }
        }
        write!(f, "total {} bytes", self.total_bytes())
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())
    }
}

/// A checksum, in words.
fn summed(file: Option<&str>, of: &Range<u64>) -> String {
    let file = file.map_or(String::new(), |file| format!(" of {file}"));
    format!("checksum of {:#x}..{:#x}{file}", of.start, of.end)
}

/// How a tensor is made, from what it is read from to the last step.
fn recipe(tensor: &Tensor) -> String {
    if let Some((blob, start)) = tensor.place() {
        return format!("{} {}@{start:#x}", tensor.dtype(), blob.name());
    }
    let Some(op) = tensor.op() else { return String::new() };
    let inputs: Vec<String> = op.inputs().into_iter().map(recipe).collect();
    format!("{} > {op}", inputs.join(" + "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Fault, Op, Shape};

    fn tensor(count: u64) -> Tensor {
        let blob = Arc::new(Blob::memory("in.bin", vec![0; 64]));
        Tensor::span(DType::BF16, Shape::new(vec![2, count / 2]).unwrap(), blob, 0).unwrap()
    }

    fn plan(parts: Vec<(u64, Part)>) -> Layout {
        let file = FilePlan { name: "out.bin".into(), len: 64, parts };
        Layout { files: vec![file], directory: false }
    }

    fn named(tensor: Tensor) -> Part {
        Part::Tensor { name: "t".into(), tensor }
    }

    #[test]
    fn parts_may_not_overlap_or_reach_past_the_end() {
        let header = || Part::Bytes(vec![1; 8]);
        let sum = |of| Part::Sum { file: None, of, kind: Checksum::Crc32 };
        let elsewhere = || Part::Sum { file: Some("x".into()), of: 0..8, kind: Checksum::Crc32 };
        plan(vec![(0, header()), (8, named(tensor(8))), (56, header())]).validate().unwrap();
        plan(vec![(0, sum(4..12)), (4, header()), (12, sum(4..12))]).validate().unwrap();
        let bad = [
            (vec![(0, header()), (7, named(tensor(8)))], "lies over"),
            (vec![(8, header()), (0, named(tensor(8)))], "lies over"),
            (vec![(57, header())], "reaches past"),
            (vec![(u64::MAX, header())], "reaches past"),
            (vec![(0, header()), (8, sum(0..8)), (10, header())], "lies over"),
            (vec![(0, header()), (8, sum(0..7))], "is of no part"),
            (vec![(0, header()), (8, sum(8..12))], "is of no part"),
            (vec![(0, header()), (8, elsewhere())], "is of no part"),
        ];
        for (parts, words) in bad {
            let error = plan(parts).validate().unwrap_err();
            assert_eq!(error.fault, Fault::Bug);
            assert!(error.to_string().contains(words), "{error}");
        }
        let mut twice = plan(Vec::new());
        twice.files.push(twice.files[0].clone());
        assert!(twice.validate().is_err());
    }

    #[test]
    fn the_plan_is_printed_with_its_recipes() {
        let cast = Tensor::of(Op::Cast { input: tensor(8), to: DType::F32 }).unwrap();
        let layout = plan(vec![(0, Part::Bytes(vec![1; 8])), (32, named(cast))]);
        let text = "out.bin 64 bytes\n  0x0000000000            8 header\n  0x0000000020           \
                    32 t f32 [2, 4] = bf16 in.bin@0x0 > cast f32\ntotal 64 bytes";
        assert_eq!(layout.to_string(), text);
        let json = layout.to_json();
        assert_eq!(json["bytes"], 64);
        let part = &json["files"][0]["parts"][1];
        assert_eq!(part["offset"], 32);
        assert_eq!(part["shape"], json!([2, 4]));
        assert_eq!(part["recipe"], "bf16 in.bin@0x0 > cast f32");
    }

    #[test]
    fn blobs_are_listed_once_and_the_index_is_the_entry() {
        let shared = tensor(8);
        let mut layout = plan(vec![(0, named(shared.clone())), (16, named(shared))]);
        assert_eq!(layout.blobs().len(), 1);
        assert_eq!(layout.entry(), 0);
        let name = "model.safetensors.index.json".into();
        layout.files.push(FilePlan { name, len: 0, parts: Vec::new() });
        assert_eq!(layout.entry(), 1);
    }
}
