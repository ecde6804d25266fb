//! The element types of torch, and the names by which a pickle calls them.
//!
//! Source: `c10/core/ScalarType.h` and `torch/storage.py` of PyTorch 2.

/// The type of an element that has a fixed number of bytes and a plain meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are torch's, and each says what it is")]
pub enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    F8E4M3Fn,
    F8E5M2,
    F8E4M3Fnuz,
    F8E5M2Fnuz,
    F8E8M0Fnu,
    C64,
    C128,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

/// One type: ours, its bytes, torch's name, torch's short name, and the class of its storages
/// (empty where it has none and is kept in an untyped one).
type Row = (Dtype, u64, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const DTYPES: &[Row] = &[
    (Dtype::F64,        8, "float64",          "double", "DoubleStorage"),
    (Dtype::F32,        4, "float32",          "float",  "FloatStorage"),
    (Dtype::F16,        2, "float16",          "half",   "HalfStorage"),
    (Dtype::Bf16,       2, "bfloat16",         "",       "BFloat16Storage"),
    (Dtype::F8E4M3Fn,   1, "float8_e4m3fn",    "",       ""),
    (Dtype::F8E5M2,     1, "float8_e5m2",      "",       ""),
    (Dtype::F8E4M3Fnuz, 1, "float8_e4m3fnuz",  "",       ""),
    (Dtype::F8E5M2Fnuz, 1, "float8_e5m2fnuz",  "",       ""),
    (Dtype::F8E8M0Fnu,  1, "float8_e8m0fnu",   "",       ""),
    (Dtype::C64,        8, "complex64",        "cfloat", "ComplexFloatStorage"),
    (Dtype::C128,      16, "complex128",       "cdouble", "ComplexDoubleStorage"),
    (Dtype::I64,        8, "int64",            "long",   "LongStorage"),
    (Dtype::I32,        4, "int32",            "int",    "IntStorage"),
    (Dtype::I16,        2, "int16",            "short",  "ShortStorage"),
    (Dtype::I8,         1, "int8",             "",       "CharStorage"),
    (Dtype::U64,        8, "uint64",           "",       ""),
    (Dtype::U32,        4, "uint32",           "",       ""),
    (Dtype::U16,        2, "uint16",           "",       ""),
    (Dtype::U8,         1, "uint8",            "",       "ByteStorage"),
    (Dtype::Bool,       1, "bool",             "",       "BoolStorage"),
];

/// Element types that have no plain values, so that copying their bytes would be wrong:
/// torch's name, the class of their storages, and the bytes by which torch counts them.
#[rustfmt::skip]
const REFUSED: &[(&str, &str, u64)] = &[
    ("complex32",     "ComplexHalfStorage",   4),
    ("chalf",         "",                     4),
    ("qint8",         "QInt8Storage",         1),
    ("quint8",        "QUInt8Storage",        1),
    ("qint32",        "QInt32Storage",        4),
    ("quint4x2",      "QUInt4x2Storage",      1),
    ("quint2x4",      "QUInt2x4Storage",      1),
    ("float4_e2m1fn_x2", "",                  1),
];

/// The numbers that an archive of torch.export calls types by: `ScalarType` of
/// `torch/_export/serde/schema.py` of PyTorch 2.9.
#[rustfmt::skip]
const SCALAR_TYPES: &[(u64, &str)] = &[
    (1,  "uint8"),
    (2,  "int8"),
    (3,  "int16"),
    (4,  "int32"),
    (5,  "int64"),
    (6,  "float16"),
    (7,  "float32"),
    (8,  "float64"),
    (9,  "complex32"),
    (10, "complex64"),
    (11, "complex128"),
    (12, "bool"),
    (13, "bfloat16"),
    (28, "uint16"),
    (29, "float8_e4m3fn"),
    (30, "float8_e5m2"),
    (31, "float8_e4m3fnuz"),
    (32, "float8_e5m2fnuz"),
];

impl Dtype {
    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        self.row().map_or(1, |row| row.1)
    }

    /// Torch's name of it, such as `float32`.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.2)
    }

    /// The class of its storages, as in `torch.FloatStorage`, if it has one.
    pub(crate) fn storage(self) -> Option<&'static str> {
        self.row().map(|row| row.4).filter(|class| !class.is_empty())
    }

    fn row(self) -> Option<&'static Row> {
        DTYPES.iter().find(|row| row.0 == self)
    }
}

/// What a storage holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Known(Dtype),
    /// Bytes; each tensor says of which type.
    Untyped,
    /// A type that is not read, by torch's name, and its bytes.
    Refused(&'static str, u64),
}

impl Element {
    /// The element type that torch calls by this name.
    pub(crate) fn of_dtype(name: &str) -> Option<Self> {
        let named = |text: &str| !text.is_empty() && text == name;
        let known = DTYPES.iter().find(|row| named(row.2) || named(row.3));
        let refused = || REFUSED.iter().find(|row| named(row.0));
        let known = known.map(|row| Self::Known(row.0));
        known.or_else(|| refused().map(|row| Self::Refused(row.0, row.2)))
    }

    /// The type of plain elements, or what a tensor is that has none.
    pub(crate) fn plain(self) -> Result<Dtype, String> {
        match self {
            Self::Known(dtype) => Ok(dtype),
            Self::Refused(name, _) => Err(format!("of type {name}")),
            Self::Untyped => Err("of no type".to_owned()),
        }
    }

    /// The element type that an archive of torch.export calls by this number.
    pub(crate) fn of_scalar_type(number: u64) -> Option<Self> {
        let row = SCALAR_TYPES.iter().find(|row| row.0 == number)?;
        Self::of_dtype(row.1)
    }

    /// The element type of a storage class.
    pub(crate) fn of_storage(class: &str) -> Option<Self> {
        if class == "UntypedStorage" {
            return Some(Self::Untyped);
        }
        let named = |text: &str| !text.is_empty() && text == class;
        let known = DTYPES.iter().find(|row| named(row.4)).map(|row| Self::Known(row.0));
        let refused = || REFUSED.iter().find(|row| named(row.1));
        known.or_else(|| refused().map(|row| Self::Refused(row.0, row.2)))
    }

    /// Bytes of an element.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Known(dtype) => dtype.bytes(),
            Self::Untyped => 1,
            Self::Refused(_, bytes) => bytes,
        }
    }
}
