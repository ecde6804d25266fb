//! What an element of a value is, and the numbers of the types narrower than a byte or a half.

use std::fmt;

/// The type of a value's elements: `TensorProto.DataType` of ONNX, without the complex ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are those of the types")]
pub enum Type {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    Text,
    Small(Small),
}

/// A type of 8 bits or fewer that no processor computes with; each element is kept in a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are those of the types")]
pub enum Small {
    F8E4M3,
    F8E4M3Fnuz,
    F8E5M2,
    F8E5M2Fnuz,
    F8E8M0,
    F4E2M1,
    I4,
    U4,
    I2,
    U2,
}

/// Names, and the numbers of `TensorProto.DataType`: onnx.proto3, IR version 14.
const TYPES: &[(Type, i64, &str)] = &[
    (Type::F32, 1, "f32"),
    (Type::U8, 2, "u8"),
    (Type::I8, 3, "i8"),
    (Type::U16, 4, "u16"),
    (Type::I16, 5, "i16"),
    (Type::I32, 6, "i32"),
    (Type::I64, 7, "i64"),
    (Type::Text, 8, "text"),
    (Type::Bool, 9, "bool"),
    (Type::F16, 10, "f16"),
    (Type::F64, 11, "f64"),
    (Type::U32, 12, "u32"),
    (Type::U64, 13, "u64"),
    (Type::BF16, 16, "bf16"),
    (Type::Small(Small::F8E4M3), 17, "f8_e4m3"),
    (Type::Small(Small::F8E4M3Fnuz), 18, "f8_e4m3fnuz"),
    (Type::Small(Small::F8E5M2), 19, "f8_e5m2"),
    (Type::Small(Small::F8E5M2Fnuz), 20, "f8_e5m2fnuz"),
    (Type::Small(Small::U4), 21, "u4"),
    (Type::Small(Small::I4), 22, "i4"),
    (Type::Small(Small::F4E2M1), 23, "f4_e2m1"),
    (Type::Small(Small::F8E8M0), 24, "f8_e8m0"),
    (Type::Small(Small::U2), 25, "u2"),
    (Type::Small(Small::I2), 26, "i2"),
];

impl Type {
    /// The type of this number in ONNX.
    pub fn numbered(id: i64) -> Option<Self> {
        TYPES.iter().find(|row| row.1 == id).map(|row| row.0)
    }

    /// The type of this name.
    pub fn named(name: &str) -> Option<Self> {
        TYPES.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// The name in lower case.
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|row| row.0 == self).map_or("?", |row| row.2)
    }

    /// Whether the elements are real numbers that operators compute with.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// Bits of an element, where they are of a fixed number.
    pub fn bits(self) -> Option<usize> {
        Some(match self {
            Self::F64 | Self::I64 | Self::U64 => 64,
            Self::F32 | Self::I32 | Self::U32 => 32,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 16,
            Self::I8 | Self::U8 | Self::Bool => 8,
            Self::Small(small) => small.bits(),
            Self::Text => return None,
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a number between two powers of two becomes one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rounding {
    /// To the greater.
    Up,
    /// To the smaller.
    Down,
    /// To the nearer, half up.
    Nearest,
}

/// The layout of a small float: sign, exponent, mantissa.
struct Layout {
    mantissa: u32,
    bias: i32,
    /// The code of the greatest finite number.
    last: u8,
    /// What a number beyond it becomes when it is not brought back.
    beyond: u8,
    nan: u8,
    /// There is no negative zero: its code is the NaN.
    one_zero: bool,
}

impl Small {
    /// Bits of an element where they are packed.
    pub fn bits(self) -> usize {
        match self {
            Self::I4 | Self::U4 | Self::F4E2M1 => 4,
            Self::I2 | Self::U2 => 2,
            _ => 8,
        }
    }

    /// The least and the greatest integer, for the integer types.
    pub fn integers(self) -> Option<(i64, i64)> {
        match self {
            Self::I4 => Some((-8, 7)),
            Self::U4 => Some((0, 15)),
            Self::I2 => Some((-2, 1)),
            Self::U2 => Some((0, 3)),
            _ => None,
        }
    }

    /// OCP "OFP8" 1.0 and "Microscaling Formats" 1.0; FNUZ: <https://arxiv.org/abs/2206.02915>.
    fn layout(self) -> Option<Layout> {
        let layout = |mantissa, bias, last, beyond, nan, one_zero| {
            Some(Layout { mantissa, bias, last, beyond, nan, one_zero })
        };
        match self {
            Self::F8E4M3 => layout(3, 7, 0x7e, 0x7f, 0x7f, false),
            Self::F8E4M3Fnuz => layout(3, 8, 0x7f, 0x80, 0x80, true),
            Self::F8E5M2 => layout(2, 15, 0x7b, 0x7c, 0x7e, false),
            Self::F8E5M2Fnuz => layout(2, 16, 0x7f, 0x80, 0x80, true),
            // NaN has no code: it becomes what ml_dtypes makes of it, the negative zero.
            Self::F4E2M1 => layout(1, 1, 0x07, 0x07, 0x08, false),
            Self::F8E8M0 | Self::I4 | Self::U4 | Self::I2 | Self::U2 => None,
        }
    }

    /// The number that a code stands for.
    pub fn decode(self, code: u8) -> f32 {
        if let Some((least, _)) = self.integers() {
            return self.integer(code, least) as f32;
        }
        let Some(layout) = self.layout() else {
            return if code == 255 { f32::NAN } else { power(i32::from(code) - 127) };
        };
        let sign = 1u8 << (self.bits() - 1);
        let magnitude = layout.value(code & (sign - 1));
        let is_nan = match self {
            Self::F8E4M3 => code & 0x7f == 0x7f,
            Self::F8E5M2 => code & 0x7f > 0x7c,
            Self::F8E4M3Fnuz | Self::F8E5M2Fnuz => code == 0x80,
            _ => false,
        };
        let is_infinite = self == Self::F8E5M2 && code & 0x7f == 0x7c;
        let magnitude = if is_infinite { f32::INFINITY } else { magnitude };
        match (is_nan, code & sign != 0) {
            (true, _) => f32::NAN,
            (false, true) => -magnitude,
            (false, false) => magnitude,
        }
    }

    fn integer(self, code: u8, least: i64) -> i64 {
        let wide = 1i64 << self.bits();
        let value = i64::from(code) & (wide - 1);
        if least < 0 && value >= wide / 2 { value - wide } else { value }
    }

    /// The code nearest to a number, ties to even. Beyond the greatest it is that one if
    /// `saturate`, else infinity or NaN. Integer types take the integer's low bits.
    pub fn encode(self, x: f32, saturate: bool) -> u8 {
        if self.integers().is_some() {
            return (x as i64 as u8) & ((1u8 << self.bits()) - 1);
        }
        let Some(layout) = self.layout() else { return encode_power(x, Rounding::Up, saturate) };
        let sign = if x.is_sign_negative() { 1u8 << (self.bits() - 1) } else { 0 };
        if x.is_nan() {
            return layout.nan;
        }
        let code = layout.nearest(x.abs(), saturate);
        match code {
            0 if layout.one_zero => 0,
            code if layout.one_zero && code == layout.nan => code,
            code => code | sign,
        }
    }
}

impl Layout {
    fn value(&self, code: u8) -> f32 {
        let exponent = i32::from(code >> self.mantissa);
        let fraction =
            f32::from(code & ((1 << self.mantissa) - 1)) / (1u32 << self.mantissa) as f32;
        match exponent {
            0 => fraction * power(1 - self.bias),
            _ => (1.0 + fraction) * power(exponent - self.bias),
        }
    }

    fn nearest(&self, x: f32, saturate: bool) -> u8 {
        let (mut low, mut high) = (0u8, self.last);
        let greatest = self.value(self.last);
        if x >= greatest {
            let half_step = (greatest - self.value(self.last - 1)) / 2.0;
            let stays =
                x < greatest + half_step || (x == greatest + half_step && self.last & 1 == 0);
            return if saturate || stays { self.last } else { self.beyond };
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.value(middle) <= x {
                low = middle;
            } else {
                high = middle;
            }
        }
        let (below, above) = (x - self.value(low), self.value(high) - x);
        let up = above < below || (above == below && high & 1 == 0);
        if up { high } else { low }
    }
}

/// 2 to the power of `n`, between −149 and 127.
fn power(n: i32) -> f32 {
    libm::ldexpf(1.0, n)
}

/// The code of E8M0 for a number: exponents without sign or mantissa.
pub(super) fn encode_power(x: f32, rounding: Rounding, saturate: bool) -> u8 {
    if x.is_nan() || x < 0.0 {
        return 255;
    }
    if x.is_infinite() {
        return if saturate { 254 } else { 255 };
    }
    let (fraction, exponent) = libm::frexpf(x);
    // x = fraction · 2^exponent with fraction in [0.5, 1).
    let below = if x == 0.0 { -127 } else { exponent - 1 };
    let up = match rounding {
        Rounding::Up => fraction > 0.5,
        Rounding::Down => false,
        Rounding::Nearest => fraction >= 0.75,
    };
    let code = below + i32::from(up) + 127;
    match code {
        ..=0 => 0,
        255.. if saturate => 254,
        255.. => 255,
        code => code as u8,
    }
}
