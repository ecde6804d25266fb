//! How much is accepted of a file.

/// How much is accepted of a file. Which limit a refusal is about, its `lift` says: the name beside
/// each of them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `hdf5-objects`: links of all groups.
    pub objects: u64,
    /// `hdf5-chunk`: bytes of one chunk once its filters are undone: it is held in memory while it is used.
    pub chunk: u64,
    /// `hdf5-chunks`: chunks of one dataset.
    pub chunks: u64,
    /// `hdf5-block`: bytes of one structure: a header, a heap block, a node. libhdf5 writes them
    /// in KiB.
    pub block: u64,
    /// `hdf5-depth`: groups within groups. libhdf5 has no bound; files of models stay below ten.
    pub depth: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { objects: 10_000_000, chunk: 256 << 20, chunks: 1 << 24, block: 64 << 20, depth: 64 }
    }
}

/// Most dimensions: `H5S_MAX_RANK`.
pub(crate) const RANK_MAX: u8 = 32;

/// Levels of a B-tree. With two keys to a node, 64 hold more than a file can.
pub(crate) const LEVELS_MAX: u16 = 64;

/// Datatypes within datatypes.
pub(crate) const NESTING_MAX: u8 = 16;

/// Soft links that are followed to resolve one path: libhdf5's default.
pub(crate) const SOFT_LINKS_MAX: usize = 16;
