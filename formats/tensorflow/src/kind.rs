//! The types of elements: `tensorflow/core/framework/types.proto`.

use protobuf::Field;
use wire::{Error, Result, Why};

macro_rules! kinds {
    ($($id:literal $kind:ident $name:literal $bytes:literal)*) => {
        /// The type of a tensor's elements.
        #[allow(missing_docs, reason = "the names are the specification's")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum DataType {
            $($kind,)*
        }

        impl DataType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Its number.
            pub fn id(self) -> u64 {
                match self { $(Self::$kind => $id,)* }
            }

            /// Its name, as Python's `tf.as_dtype` has it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Bytes of an element; none for what is no number.
            pub fn bytes(self) -> Option<u64> {
                let bytes: u64 = match self { $(Self::$kind => $bytes,)* };
                (bytes > 0).then_some(bytes)
            }
        }
    };
}

kinds! {
    1 Float "float32" 4
    2 Double "float64" 8
    3 Int32 "int32" 4
    4 Uint8 "uint8" 1
    5 Int16 "int16" 2
    6 Int8 "int8" 1
    7 String "string" 0
    8 Complex64 "complex64" 8
    9 Int64 "int64" 8
    10 Bool "bool" 1
    11 Qint8 "qint8" 1
    12 Quint8 "quint8" 1
    13 Qint32 "qint32" 4
    14 Bfloat16 "bfloat16" 2
    15 Qint16 "qint16" 2
    16 Quint16 "quint16" 2
    17 Uint16 "uint16" 2
    18 Complex128 "complex128" 16
    19 Half "float16" 2
    20 Resource "resource" 0
    21 Variant "variant" 0
    22 Uint32 "uint32" 4
    23 Uint64 "uint64" 8
    24 Float8E5m2 "float8_e5m2" 1
    25 Float8E4m3fn "float8_e4m3fn" 1
    26 Float8E4m3fnuz "float8_e4m3fnuz" 1
    27 Float8E4m3b11fnuz "float8_e4m3b11fnuz" 1
    28 Float8E5m2fnuz "float8_e5m2fnuz" 1
    29 Int4 "int4" 1
    30 Uint4 "uint4" 1
    31 Int2 "int2" 1
    32 Uint2 "uint2" 1
    33 Float4E2m1fn "float4_e2m1fn" 1
}

/// Types of references to variables have the type's number and this.
const REFERENCE: u64 = 100;

/// The type that a field names. A reference to a variable is as the variable.
pub(crate) fn kind(field: &Field, what: &'static str) -> Result<DataType> {
    let id = field.varint(what)?;
    let plain = if id > REFERENCE { id.saturating_sub(REFERENCE) } else { id };
    let found = DataType::ALL.iter().find(|kind| kind.id() == plain);
    found.copied().ok_or_else(|| {
        let value = format!("type of elements {id}");
        Error::new(field.span.start, what, Why::Unknown { value })
    })
}
