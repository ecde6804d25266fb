//! How much of anything is accepted from a file.

/// How much of anything is accepted from a file; `--limit NAME=VALUE` changes one.
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            side_file: 256 << 20,
            safetensors_header: 100_000_000,
            gguf_string: 16 << 20,
            gguf_metadata: 1 << 30,
            shards: 100_000,
        }
    }
}
