//! The types of elements: `TensorProto.DataType`.

/// The field of a tensor that holds numbers of a type, besides `raw_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// `float_data`: one or, of complex types, two for each element.
    Float,
    /// `int32_data`: values from the first to the last of these.
    Int32(i32, i32),
    /// `int64_data`.
    Int64,
    /// `double_data`: one or, of complex types, two for each element.
    Double,
    /// `uint64_data`: values up to this one.
    Uint64(u64),
    /// `string_data`.
    String,
}

macro_rules! types {
    ($($name:ident $code:literal $text:literal $bits:literal $numbers:expr;)*) => {
        /// The type of a tensor's elements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are the specification's")]
        pub enum DataType { $($name),* }

        impl DataType {
            /// Every type, by its number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The number in the specification.
            pub fn code(self) -> i32 {
                match self { $(Self::$name => $code),* }
            }

            /// The name in the specification.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// Bits of an element in `raw_data`; none of text.
            pub fn bits(self) -> u64 {
                match self { $(Self::$name => $bits),* }
            }

            /// Where the numbers stand if not in `raw_data`.
            pub fn numbers(self) -> Numbers {
                match self { $(Self::$name => $numbers),* }
            }
        }
    };
}

types! {
    Float 1 "FLOAT" 32 Numbers::Float;
    Uint8 2 "UINT8" 8 Numbers::Int32(0, 255);
    Int8 3 "INT8" 8 Numbers::Int32(-128, 127);
    Uint16 4 "UINT16" 16 Numbers::Int32(0, 65_535);
    Int16 5 "INT16" 16 Numbers::Int32(-32_768, 32_767);
    Int32 6 "INT32" 32 Numbers::Int32(i32::MIN, i32::MAX);
    Int64 7 "INT64" 64 Numbers::Int64;
    String 8 "STRING" 0 Numbers::String;
    Bool 9 "BOOL" 8 Numbers::Int32(0, 1);
    Float16 10 "FLOAT16" 16 Numbers::Int32(0, 65_535);
    Double 11 "DOUBLE" 64 Numbers::Double;
    Uint32 12 "UINT32" 32 Numbers::Uint64(u32::MAX as u64);
    Uint64 13 "UINT64" 64 Numbers::Uint64(u64::MAX);
    Complex64 14 "COMPLEX64" 64 Numbers::Float;
    Complex128 15 "COMPLEX128" 128 Numbers::Double;
    Bfloat16 16 "BFLOAT16" 16 Numbers::Int32(0, 65_535);
    Float8E4m3fn 17 "FLOAT8E4M3FN" 8 Numbers::Int32(0, 255);
    Float8E4m3fnuz 18 "FLOAT8E4M3FNUZ" 8 Numbers::Int32(0, 255);
    Float8E5m2 19 "FLOAT8E5M2" 8 Numbers::Int32(0, 255);
    Float8E5m2fnuz 20 "FLOAT8E5M2FNUZ" 8 Numbers::Int32(0, 255);
    Uint4 21 "UINT4" 4 Numbers::Int32(0, 255);
    Int4 22 "INT4" 4 Numbers::Int32(-128, 255);
    Float4E2m1 23 "FLOAT4E2M1" 4 Numbers::Int32(0, 255);
    Float8E8m0 24 "FLOAT8E8M0" 8 Numbers::Int32(0, 255);
    Uint2 25 "UINT2" 2 Numbers::Int32(0, 255);
    Int2 26 "INT2" 2 Numbers::Int32(-128, 255);
    Float6E2m3 27 "FLOAT6E2M3" 6 Numbers::Int32(0, 63);
    Float6E3m2 28 "FLOAT6E3M2" 6 Numbers::Int32(0, 63);
}

impl DataType {
    /// The type of this number, if there is one.
    pub fn of(code: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| i64::from(kind.code()) == code)
    }

    /// Bytes of so many elements, side by side: the last one may be filled up with zero bits.
    pub fn bytes(self, count: u64) -> Option<u64> {
        // In 128 bits, because a count of bits may have no room in 64.
        let bits = u128::from(count).checked_mul(u128::from(self.bits()))?;
        u64::try_from(bits.div_ceil(8)).ok()
    }
}
