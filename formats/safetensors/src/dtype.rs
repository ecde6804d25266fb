//! The types of elements, and the bytes that a shape of them fills.

use wire::{Why, product};

use crate::RANK_MAX;
use crate::json::quoted;

macro_rules! dtypes {
    ($($variant:ident $name:literal $bits:literal $about:literal;)*) => {
        /// The type of a tensor's elements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Dtype {
            $(#[doc = $about] $variant,)*
        }

        impl Dtype {
            /// Every type, in the order of the reference's alignment: narrow ones first.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in a header.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Bits of one element; elements narrower than a byte are packed without gaps.
            pub fn bits(self) -> u64 {
                match self { $(Self::$variant => $bits,)* }
            }
        }
    };
}

// `enum Dtype` of safetensors/src/tensor.rs, version 0.8.0.
#[rustfmt::skip]
dtypes! {
    //       name           bits
    Bool     "BOOL"          8  "True or false, a byte each.";
    F4       "F4"            4  "MXFP4's element: 1 sign, 2 exponent and 1 mantissa bit.";
    F6E2M3   "F6_E2M3"       6  "MXFP6's element with 3 mantissa bits.";
    F6E3M2   "F6_E3M2"       6  "MXFP6's element with 2 mantissa bits.";
    U8       "U8"            8  "Unsigned integer.";
    I8       "I8"            8  "Signed integer.";
    F8E5M2   "F8_E5M2"       8  "Float with 2 mantissa bits, and infinities.";
    F8E4M3   "F8_E4M3"       8  "Float with 3 mantissa bits, no infinity (`float8_e4m3fn`).";
    F8E8M0   "F8_E8M0"       8  "A power of two: the scale of the MX formats.";
    F8E4M3Fnuz "F8_E4M3FNUZ" 8  "Float with 3 mantissa bits, one NaN, no negative zero.";
    F8E5M2Fnuz "F8_E5M2FNUZ" 8  "Float with 2 mantissa bits, one NaN, no negative zero.";
    I16      "I16"          16  "Signed integer.";
    U16      "U16"          16  "Unsigned integer.";
    F16      "F16"          16  "IEEE half precision.";
    Bf16     "BF16"         16  "The upper half of an `F32`.";
    I32      "I32"          32  "Signed integer.";
    U32      "U32"          32  "Unsigned integer.";
    F32      "F32"          32  "IEEE single precision.";
    C64      "C64"          64  "Complex: two `F32`.";
    F64      "F64"          64  "IEEE double precision.";
    I64      "I64"          64  "Signed integer.";
    U64      "U64"          64  "Unsigned integer.";
}

impl Dtype {
    /// The type that a header calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dtype| dtype.name() == name)
    }

    /// The type called `name`, or why there is none.
    ///
    /// The list of types grows with the reference, so a well-formed name that is not in it is
    /// taken for a newer one: unsupported, not malformed.
    pub(crate) fn named(name: &str) -> Result<Self, Why> {
        let capitals = name.to_ascii_uppercase();
        match (Self::from_name(name), Self::from_name(&capitals)) {
            (Some(dtype), _) => Ok(dtype),
            (None, Some(meant)) => Err(Why::Mismatch {
                found: format!("dtype {}", quoted(name)),
                expected: format!("{:?}, in capitals", meant.name()),
            }),
            (None, None) if is_well_formed(name) => Err(Why::Unsupported {
                feature: format!("dtype {}; it may be newer than this program", quoted(name)),
            }),
            (None, None) => Err(Why::Unknown { value: format!("dtype {}", quoted(name)) }),
        }
    }

    /// Bytes of a tensor of this type and shape.
    pub(crate) fn len_of(self, shape: &[u64]) -> Result<u64, Why> {
        let rank = shape.len() as u64;
        if rank > RANK_MAX {
            return Err(Why::TooLarge {
                value: rank,
                max: RANK_MAX,
                lift: "as many as NumPy and torch have",
            });
        }
        // The bits are a factor like the others: a huge dimension beside an empty one is not real.
        let bits = product(&[shape, &[self.bits()]].concat());
        let Some(bits) = bits else {
            let rule =
                format!("the bits of shape {shape:?} in {} pass 64-bit numbers", self.name());
            return Err(Why::Invalid { rule });
        };
        if !bits.is_multiple_of(8) {
            let name = self.name();
            let rule = format!("shape {shape:?} in {name} fills {bits} bits: not whole bytes");
            return Err(Why::Invalid { rule });
        }
        Ok(bits.div_euclid(8))
    }
}

fn is_well_formed(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    (1..=16).contains(&name.len())
        && name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_uppercase())
}
