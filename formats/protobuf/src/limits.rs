//! How much is accepted of a file.

/// How much is accepted of a file. Which limit a refusal is about, its `lift` says: the name beside
/// each of them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `protobuf-messages`: messages of a file. Each takes memory beyond its bytes, which may be as
    /// few as two.
    pub messages: u64,
    /// `protobuf-field`: bytes of a field that is read whole: a name, a document, a list of
    /// numbers. Weights are not.
    pub field: u64,
}

impl Limits {
    /// None, for a file that was read under limits before.
    pub const NONE: Self = Self { messages: u64::MAX, field: u64::MAX };
}

impl Default for Limits {
    fn default() -> Self {
        Self { messages: 4 << 20, field: 256 << 20 }
    }
}
