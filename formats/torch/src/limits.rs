//! How much is accepted of a file.

/// How much is accepted of a file. Which limit a refusal is about, its `lift` says: the name beside
/// each of them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `pickle-bytes`: bytes of a pickle.
    pub bytes: u64,
    /// `pickle-inflated`: bytes of a deflated pickle, or of a list of torch.export, which are held in
    /// memory.
    pub inflated: u64,
    /// `inflated`: bytes of a checkpoint that is deflated within an archive, which are held in memory
    /// while it is looked through.
    pub deflated: u64,
    /// `pickle-opcodes`: opcodes of a pickle.
    pub opcodes: u64,
    /// `pickle-stack`: values and marks on the stack at one time.
    pub stack: u64,
    /// `pickle-values`: values of a pickle; also the highest index of its memo. Values are told
    /// apart by 32 bits, whatever is asked for.
    pub values: u64,
    /// `pickle-nesting`: values within values.
    pub nesting: u64,
    /// `pickle-line`: bytes of a line of the text protocol.
    pub line: u64,
    /// `pickle-integer`: bytes or decimal digits of an integer. Torch's magic number has ten bytes.
    pub integer: u64,
    /// `pickle-name`: bytes of the whole name of a class or a function.
    pub name: u64,
    /// `pickle-names`: mentions of classes and functions. Real files have a few dozen.
    pub names: u64,
    /// `torch-names`: bytes for the names and shapes of tensors, and steps on the way to them. A
    /// pickle of some size is given more, 32 for each of its bytes.
    pub room: u64,
    /// `torch-items`: tensors, and storages, of a tar.
    pub items: u64,
    /// `expanded`: bytes of a tensor that repeats the elements of a smaller storage. A broadcast
    /// mask or embedding stays far below; a few bytes that claim terabytes do not.
    pub expanded: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 512 << 20,
            inflated: 64 << 20,
            deflated: 4 << 30,
            opcodes: 50_000_000,
            stack: 1_000_000,
            values: 16 << 20,
            nesting: 1000,
            line: 1 << 20,
            integer: 1024,
            name: 1024,
            names: 10_000,
            room: 16 << 20,
            items: 1 << 20,
            expanded: 1 << 30,
        }
    }
}
