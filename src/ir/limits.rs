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
    /// Usage, naming those that exist.
    pub fn set(&mut self, name: &str, value: u64) -> Result<()> {
        let place = match name {
            "side-file" => &mut self.side_file,
            "safetensors-header" => &mut self.safetensors_header,
            "gguf-string" => &mut self.gguf_string,
            "gguf-metadata" => &mut self.gguf_metadata,
            "shards" => &mut self.shards,
            _ => {
                let known = "side-file, safetensors-header, gguf-string, gguf-metadata, shards";
                return Err(Error::usage(format!("--limit {name}: there are {known}")));
            }
        };
        *place = value;
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            side_file: 256 << 20,
            safetensors_header: 100_000_000,
            gguf_string: 16 << 20,
            gguf_metadata: 1 << 30,
            shards: 100_000,
            checksums: false,
            skip_objects: false,
        }
    }
}
