//! How much is accepted of a file.

/// How much is accepted of a file. Which limit a refusal is about, its `lift` says: the name beside
/// each of them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What messages may take.
    pub protobuf: protobuf::Limits,
    /// `tensorflow-block`: bytes of a block that is inflated, which is held in memory. TensorFlow's
    /// own are 256 KiB and one entry.
    pub block: u64,
    /// `tensorflow-key`: bytes of a key of a table.
    pub key: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { protobuf: protobuf::Limits::default(), block: 256 << 20, key: 64 << 10 }
    }
}
