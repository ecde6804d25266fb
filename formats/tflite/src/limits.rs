//! How much is accepted of a file.

/// How much is accepted of a file. Which limit a refusal is about, its `lift` says: the name beside
/// each of them here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `tflite-tables`: tensors, and operators, of all subgraphs.
    pub tables: u64,
    /// `tflite-name`: bytes of a name.
    pub name: u64,
    /// `tflite-inputs`: inputs, and outputs, of an operator.
    pub inputs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tables: 1 << 20, name: 64 << 10, inputs: 1 << 16 }
    }
}

/// A limit, and its name.
pub(crate) type Limit = (u64, &'static str);

impl Limits {
    pub(crate) fn tables(&self) -> Limit {
        (self.tables, "tflite-tables")
    }

    pub(crate) fn name(&self) -> Limit {
        (self.name, "tflite-name")
    }

    pub(crate) fn inputs(&self) -> Limit {
        (self.inputs, "tflite-inputs")
    }
}
