//! What is accepted from a file, and how much of it.

use super::{Error, Result};

/// What is accepted from a file, and how much of it; `--limit NAME=VALUE` changes one.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one side file (config.json, tokenizer.json, …) that is parsed as a whole.
    pub side_file: u64,
    /// Bytes of a safetensors header.
    pub safetensors_header: u64,
    /// Bytes of one text in a GGUF file. Templates stay below 1 MiB.
    pub gguf_string: u64,
    /// Bytes of all metadata of a GGUF file.
    pub gguf_metadata: u64,
    /// Entries of the metadata of a GGUF file.
    pub gguf_entries: u64,
    /// Bytes of a key of a GGUF file.
    pub gguf_key: u64,
    /// Arrays within arrays of a GGUF file; never more than 64.
    pub gguf_nesting: u64,
    /// Tensors of a GGUF file.
    pub gguf_tensors: u64,
    /// Bytes of a tensor's name in a GGUF file.
    pub gguf_name: u64,
    /// Dimensions of a tensor of a GGUF file.
    pub gguf_rank: u64,
    /// Bytes to which a GGUF file aligns its tensors.
    pub gguf_alignment: u64,
    /// Bytes of a deflated part of a file, which is held in memory while it is used.
    pub inflated: u64,
    /// Links of all groups of an HDF5 file.
    pub hdf5_objects: u64,
    /// Bytes of a chunk of an HDF5 dataset, which is held in memory while it is used.
    pub hdf5_chunk: u64,
    /// Chunks of an HDF5 dataset.
    pub hdf5_chunks: u64,
    /// Bytes of an HDF5 dataset that were never written, and are made from nothing.
    pub hdf5_unwritten: u64,
    /// Elements of one value of a graph that is run.
    pub graph_elements: u64,
    /// Nodes of a graph that are run, those of a loop once for each turn.
    pub graph_steps: u64,
    /// Shards of one model.
    pub shards: u64,
    /// Weights are compared with the checksums that their file states, which reads all of them.
    pub checksums: bool,
    /// Objects of foreign classes in a pickle are left out instead of refused.
    pub skip_objects: bool,
}

impl Limits {
    /// Sets the limit that `--limit` calls `name`.
    ///
    /// # Errors
    /// Usage, naming those that exist with what they are unless set.
    pub fn set(&mut self, name: &str, value: u64) -> Result<()> {
        let Some((_, place)) = LIMITS.iter().find(|(known, _)| *known == name) else {
            let mut defaults = Self::default();
            let known =
                LIMITS.iter().map(|(name, place)| format!("{name}={}", place(&mut defaults)));
            let known: Vec<String> = known.collect();
            return Err(Error::usage(format!("--limit {name}: there are {}", known.join(", "))));
        };
        *place(self) = value;
        Ok(())
    }
}

/// The name that `--limit` has for each, and where it is.
type Row = (&'static str, fn(&mut Limits) -> &mut u64);

#[rustfmt::skip]
const LIMITS: &[Row] = &[
    ("side-file", |limits| &mut limits.side_file),
    ("safetensors-header", |limits| &mut limits.safetensors_header),
    ("gguf-string", |limits| &mut limits.gguf_string),
    ("gguf-metadata", |limits| &mut limits.gguf_metadata),
    ("gguf-entries", |limits| &mut limits.gguf_entries),
    ("gguf-key", |limits| &mut limits.gguf_key),
    ("gguf-nesting", |limits| &mut limits.gguf_nesting),
    ("gguf-tensors", |limits| &mut limits.gguf_tensors),
    ("gguf-name", |limits| &mut limits.gguf_name),
    ("gguf-rank", |limits| &mut limits.gguf_rank),
    ("gguf-alignment", |limits| &mut limits.gguf_alignment),
    ("inflated", |limits| &mut limits.inflated),
    ("hdf5-objects", |limits| &mut limits.hdf5_objects),
    ("hdf5-chunk", |limits| &mut limits.hdf5_chunk),
    ("hdf5-chunks", |limits| &mut limits.hdf5_chunks),
    ("hdf5-unwritten", |limits| &mut limits.hdf5_unwritten),
    ("graph-elements", |limits| &mut limits.graph_elements),
    ("graph-steps", |limits| &mut limits.graph_steps),
    ("shards", |limits| &mut limits.shards),
];

impl Default for Limits {
    fn default() -> Self {
        Self {
            side_file: 256 << 20,
            safetensors_header: 100_000_000,
            gguf_string: 16 << 20,
            gguf_metadata: 1 << 30,
            gguf_entries: 1 << 20,
            gguf_key: 65_535,
            gguf_nesting: 8,
            gguf_tensors: 10_000_000,
            gguf_name: 64,
            gguf_rank: 4,
            gguf_alignment: 1 << 20,
            inflated: 4 << 30,
            hdf5_objects: 10_000_000,
            hdf5_chunk: 256 << 20,
            hdf5_chunks: 1 << 24,
            hdf5_unwritten: 1 << 30,
            graph_elements: 1 << 30,
            graph_steps: 100_000_000,
            shards: 100_000,
            checksums: false,
            skip_objects: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each name sets another limit, and the guide says what it is unless set.
    #[test]
    fn every_limit_has_a_name_and_is_documented() {
        let guide = include_str!("../../docs/guide.md");
        for (name, _) in LIMITS {
            let mut limits = Limits::default();
            let (_, place) = LIMITS.iter().find(|(known, _)| known == name).unwrap();
            let default = *place(&mut limits);
            limits.set(name, 77).unwrap();
            let changed = LIMITS.iter().filter(|(_, place)| *place(&mut limits) == 77).count();
            assert_eq!(changed, 1, "{name}");
            let row = format!("| `{name}` | {default} |");
            assert!(guide.contains(&row), "docs/guide.md lacks: {row}");
        }
        let error = Limits::default().set("nope", 1).unwrap_err().to_string();
        assert!(
            error.contains("side-file=268435456, ") && error.contains("graph-steps="),
            "{error}"
        );
    }
}
