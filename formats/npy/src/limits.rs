//! How much is accepted of a file.

/// How much is accepted of a file. Which limit a refusal is about, its `lift` says: the name beside
/// each of them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `npy-header`: bytes of a header. NumPy reads 10 000 unless told to trust the file.
    pub header: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header: 64 << 10 }
    }
}

impl Limits {
    /// Bytes at the begin of a file that hold its header, however long: magic, version, length,
    /// text.
    pub fn head(&self) -> u64 {
        self.header.saturating_add(12)
    }
}
