//! What a file may ask for before it is refused.

/// The largest numbers that [`crate::read`] accepts.
///
/// Every error of this sort names its limit: `gguf-string` is [`Limits::string`]. No limit takes the place of a
/// check against the size of the file: counts and lengths are held against the bytes that remain
/// before any memory is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one text value. Chat templates are below 1 MiB; llama.cpp allows 1 GiB.
    pub string: u64,
    /// Bytes from the first metadata entry to the end of the last.
    pub metadata: u64,
    /// Metadata entries. Real files have fewer than a hundred.
    pub entries: u64,
    /// Bytes of a key. The specification allows 65535.
    pub key: u64,
    /// Arrays within arrays: `[[1]]` has depth 2. Never more than 64, whatever is asked for.
    pub nesting: u32,
    /// Tensors.
    pub tensors: u64,
    /// Bytes of a tensor's name. The specification allows 64, llama.cpp loads 63.
    pub name: u64,
    /// Dimensions of a tensor. ggml has 4.
    pub rank: u32,
    /// Bytes to which tensors are aligned.
    pub alignment: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            string: 16 << 20,
            metadata: 1 << 30,
            entries: 1 << 20,
            key: 65535,
            nesting: 8,
            tensors: 10_000_000,
            name: 64,
            rank: 4,
            alignment: 1 << 20,
        }
    }
}

/// The most that [`Limits::nesting`] can be raised to: values are read and dropped by recursion.
pub(crate) const NESTING_MAX: u32 = 64;

/// A limit, and its name.
pub(crate) type Limit = (u64, &'static str);

impl Limits {
    pub(crate) fn string(&self) -> Limit {
        (self.string, "gguf-string")
    }

    pub(crate) fn metadata(&self) -> Limit {
        (self.metadata, "gguf-metadata")
    }

    pub(crate) fn entries(&self) -> Limit {
        (self.entries, "gguf-entries")
    }

    pub(crate) fn key(&self) -> Limit {
        (self.key, "gguf-key")
    }

    pub(crate) fn nesting(&self) -> Limit {
        match self.nesting {
            0..NESTING_MAX => (self.nesting.into(), "gguf-nesting"),
            _ => (NESTING_MAX.into(), "what its reading by recursion allows"),
        }
    }

    pub(crate) fn tensors(&self) -> Limit {
        (self.tensors, "gguf-tensors")
    }

    pub(crate) fn name(&self) -> Limit {
        (self.name, "gguf-name")
    }

    pub(crate) fn rank(&self) -> Limit {
        (self.rank.into(), "gguf-rank")
    }

    pub(crate) fn alignment(&self) -> Limit {
        (self.alignment, "gguf-alignment")
    }
}
