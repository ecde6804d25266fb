//! What the elements of a tensor are: plain numbers, or blocks that pack several weights.

use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DType {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// 8 bits: 4 of exponent, 3 of mantissa, no infinity (OCP "E4M3FN").
    F8E4M3,
    /// 8 bits: 5 of exponent, 2 of mantissa.
    F8E5M2,
    /// As `F8E4M3`, with one zero, and NaN in place of the other.
    F8E4M3Fnuz,
    /// As `F8E5M2`, with one zero, NaN in place of the other, and no infinity.
    F8E5M2Fnuz,
    /// A power of two: 8 bits of exponent (OCP "E8M0").
    F8E8M0,
    /// 6 bits: 2 of exponent, 3 of mantissa (OCP "E2M3"). Four elements fill three bytes.
    F6E2M3,
    /// 6 bits: 3 of exponent, 2 of mantissa (OCP "E3M2"). Four elements fill three bytes.
    F6E3M2,
    /// 4 bits: 2 of exponent, 1 of mantissa (OCP "E2M1"). Two elements fill a byte.
    F4E2M1,
    /// Two binary32: real, imaginary.
    C64,
    /// Two binary64: real, imaginary.
    C128,
    /// Signed, 64 bits.
    I64,
    /// Signed, 32 bits.
    I32,
    /// Signed, 16 bits.
    I16,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 64 bits.
    U64,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 4 bits. Two elements fill a byte, the first its lower half.
    I4,
    /// Unsigned, 4 bits. Two elements fill a byte, the first its lower half.
    U4,
    /// Signed, 2 bits. Four elements fill a byte, from the lowest bits up.
    I2,
    /// Unsigned, 2 bits. Four elements fill a byte, from the lowest bits up.
    U2,
    /// One byte, 0 or 1.
    Bool,
    /// Blocks of weights that share scales.
    Packed(&'static Block),
}

/// A packing: how many weights share how many bytes, and how the bits become numbers.
pub struct Block {
    /// The name in lower case, as in `q4_0`.
    pub name: &'static str,
    /// The number of the type in ggml's `enum ggml_type`.
    pub ggml_id: u32,
    /// Weights in a block.
    pub len: usize,
    /// Bytes in a block.
    pub bytes: usize,
    /// The type cannot be quantized to sensibly without an importance matrix.
    pub needs_importance: bool,
    /// How the bits become numbers; without it, tensors of the type are only carried along.
    pub codec: Option<Codec>,
}

/// The two things that everything else needs of a packing.
#[derive(Clone, Copy)]
pub struct Codec {
    /// Whole blocks → weights: `bytes.len() / block.bytes * block.len == weights.len()`.
    pub decode: fn(bytes: &[u8], weights: &mut [f32]),
    /// The dot product of whole blocks with as many activations.
    pub dot: fn(bytes: &[u8], activations: &[f32]) -> f32,
    /// An upper bound of |weight − decoded| within one block that any sensible encoder of these
    /// weights keeps, in the unit of the weights.
    pub error_bound: fn(weights: &[f32]) -> f32,
}

/// Encodes whole rows of `columns` weights; `importance` is E[x²] for each column.
pub type Pack = fn(weights: &[f32], columns: usize, importance: Option<&[f32]>, out: &mut [u8]);

/// A quantizer: how the numbers of a packing are chosen.
pub struct Quantizer {
    /// The packing that it fills.
    pub block: &'static Block,
    /// How rows are encoded.
    pub pack: Pack,
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.ggml_id == other.ggml_id
    }
}

impl Eq for Block {}

/// Two quantizers are the same if they are the same row of the table.
impl PartialEq for Quantizer {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl fmt::Debug for Quantizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.block.name)
    }
}

impl DType {
    /// The name in lower case: `f32`, `bf16`, `q4_0`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F8E4M3 => "f8_e4m3",
            Self::F8E5M2 => "f8_e5m2",
            Self::F8E4M3Fnuz => "f8_e4m3fnuz",
            Self::F8E5M2Fnuz => "f8_e5m2fnuz",
            Self::F8E8M0 => "f8_e8m0",
            Self::F6E2M3 => "f6_e2m3",
            Self::F6E3M2 => "f6_e3m2",
            Self::F4E2M1 => "f4_e2m1",
            Self::C64 => "c64",
            Self::C128 => "c128",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::I4 => "i4",
            Self::U4 => "u4",
            Self::I2 => "i2",
            Self::U2 => "u2",
            Self::Bool => "bool",
            Self::Packed(block) => block.name,
        }
    }

    /// Weights in the smallest piece that stands alone: 1, a block's, or as many as fill bytes.
    pub fn block_len(self) -> u64 {
        match self {
            Self::I4 | Self::U4 | Self::F4E2M1 => 2,
            Self::I2 | Self::U2 | Self::F6E2M3 | Self::F6E3M2 => 4,
            Self::Packed(block) => block.len as u64,
            _ => 1,
        }
    }

    /// Bytes of the smallest piece that stands alone.
    pub fn block_bytes(self) -> u64 {
        match self {
            Self::C128 => 16,
            Self::F64 | Self::I64 | Self::U64 | Self::C64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F6E2M3 | Self::F6E3M2 => 3,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::F8E4M3Fnuz | Self::F8E5M2Fnuz | Self::F8E8M0 => 1,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::I4 | Self::U4 | Self::F4E2M1 | Self::I2 | Self::U2 => 1,
            Self::Packed(block) => block.bytes as u64,
        }
    }

    /// Whether elements have less than a byte. They lie side by side across rows; only the end of
    /// the tensor is filled up to a byte.
    pub fn is_sub_byte(self) -> bool {
        !self.is_packed() && self.block_len() > 1
    }

    /// Bytes of the first `elements` elements of a tensor, which are whole blocks or all it has.
    pub fn bytes_of(self, elements: u64) -> u64 {
        let (len, bytes) = (self.block_len(), self.block_bytes());
        elements / len * bytes + (elements % len * bytes).div_ceil(len)
    }

    /// Whether the elements are floating-point numbers, each with its own bits.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16) || self.is_small_float()
    }

    /// Whether the elements are floating-point numbers of at most eight bits.
    pub fn is_small_float(self) -> bool {
        matches!(
            self,
            Self::F8E4M3
                | Self::F8E5M2
                | Self::F8E4M3Fnuz
                | Self::F8E5M2Fnuz
                | Self::F8E8M0
                | Self::F6E2M3
                | Self::F6E3M2
                | Self::F4E2M1
        )
    }

    /// Whether an element is two numbers: real, imaginary.
    pub fn is_complex(self) -> bool {
        matches!(self, Self::C64 | Self::C128)
    }

    /// Whether the elements are weights: floats, or packed.
    pub fn is_weights(self) -> bool {
        self.is_float() || self.is_packed()
    }

    /// Whether weights share scales.
    pub fn is_packed(self) -> bool {
        matches!(self, Self::Packed(_))
    }

    /// Bytes of a row of `columns` elements; nothing unless they are whole blocks.
    pub fn row_bytes(self, columns: u64) -> Option<u64> {
        if !columns.is_multiple_of(self.block_len()) {
            return None;
        }
        (columns / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
