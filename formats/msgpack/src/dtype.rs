//! The types of elements, by NumPy's names for them and those of `ml_dtypes`.

/// The type of an array's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each variant is the type of its name")]
pub enum Dtype {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
    C64,
    C128,
    Bf16,
    F8E4M3Fn,
    F8E4M3Fnuz,
    F8E5M2,
    F8E5M2Fnuz,
    F8E8M0Fnu,
}

/// Each type with its name and its size in bytes.
#[rustfmt::skip]
const DTYPES: &[(Dtype, &str, u64)] = &[
    (Dtype::Bool,       "bool",            1),
    (Dtype::I8,         "int8",            1),
    (Dtype::I16,        "int16",           2),
    (Dtype::I32,        "int32",           4),
    (Dtype::I64,        "int64",           8),
    (Dtype::U8,         "uint8",           1),
    (Dtype::U16,        "uint16",          2),
    (Dtype::U32,        "uint32",          4),
    (Dtype::U64,        "uint64",          8),
    (Dtype::F16,        "float16",         2),
    (Dtype::F32,        "float32",         4),
    (Dtype::F64,        "float64",         8),
    (Dtype::C64,        "complex64",       8),
    (Dtype::C128,       "complex128",      16),
    (Dtype::Bf16,       "bfloat16",        2),
    (Dtype::F8E4M3Fn,   "float8_e4m3fn",   1),
    (Dtype::F8E4M3Fnuz, "float8_e4m3fnuz", 1),
    (Dtype::F8E5M2,     "float8_e5m2",     1),
    (Dtype::F8E5M2Fnuz, "float8_e5m2fnuz", 1),
    (Dtype::F8E8M0Fnu,  "float8_e8m0fnu",  1),
];

impl Dtype {
    /// The type of this name, if it is known.
    pub(crate) fn named(name: &str) -> Option<Self> {
        DTYPES.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// NumPy's name of it.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        self.row().2
    }

    fn row(self) -> (Self, &'static str, u64) {
        // Each variant has its row; the other arm exists for the compiler alone.
        DTYPES.iter().find(|row| row.0 == self).copied().unwrap_or((self, "", 1))
    }
}
