//! How much is accepted of a file.

/// How much is accepted of a file. Which limit a refusal is about, its `lift` says: the name beside
/// each of them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `msgpack-values`: values of a file. Each array of a checkpoint is two, with its name.
    pub values: u64,
    /// `msgpack-text`: bytes of a text. Those of a checkpoint are names.
    pub text: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { values: 1 << 20, text: 64 << 10 }
    }
}
