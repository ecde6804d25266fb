//! The types of elements: `TensorType` of the schema.

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the type of its name")]
pub enum Kind {
    F16,
    F32,
    F64,
    Bf16,
    C64,
    C128,
    I2,
    I4,
    I8,
    I16,
    I32,
    I64,
    U4,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

/// Each type with its number and its size in bits. Smaller ones than a byte lie side by side, the
/// first in the lowest bits.
#[rustfmt::skip]
const KINDS: &[(u8, Kind, u64)] = &[
    (0,  Kind::F32,  32),
    (1,  Kind::F16,  16),
    (2,  Kind::I32,  32),
    (3,  Kind::U8,   8),
    (4,  Kind::I64,  64),
    (6,  Kind::Bool, 8),
    (7,  Kind::I16,  16),
    (8,  Kind::C64,  64),
    (9,  Kind::I8,   8),
    (10, Kind::F64,  64),
    (11, Kind::C128, 128),
    (12, Kind::U64,  64),
    (15, Kind::U32,  32),
    (16, Kind::U16,  16),
    (17, Kind::I4,   4),
    (18, Kind::Bf16, 16),
    (19, Kind::I2,   2),
    (20, Kind::U4,   4),
];

/// Types whose elements are no numbers.
const OTHERS: &[(u8, &str)] = &[(5, "texts"), (13, "resources"), (14, "variants")];

impl Kind {
    /// The type of this number, or what is known of it.
    pub(crate) fn numbered(number: u8) -> Result<Self, String> {
        if let Some((_, kind, _)) = KINDS.iter().find(|row| row.0 == number) {
            return Ok(*kind);
        }
        let known = OTHERS.iter().find(|row| row.0 == number);
        Err(known.map_or_else(|| format!("of type {number}"), |(_, what)| format!("of {what}")))
    }

    /// Bytes of so many elements.
    pub(crate) fn bytes(self, count: u64) -> Option<u64> {
        let bits = KINDS.iter().find(|row| row.1 == self).map_or(8, |row| row.2);
        Some(count.checked_mul(bits)?.div_ceil(8))
    }

    /// Whether elements are integers, which may stand for others by a scale.
    pub fn is_integer(self) -> bool {
        let others = [Self::F16, Self::F32, Self::F64, Self::Bf16, Self::C64, Self::C128];
        self != Self::Bool && !others.contains(&self)
    }
}
