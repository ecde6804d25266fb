//! Which element types a container has, and which of ours they are: one table for its reader and
//! its writer.

use ::safetensors::Dtype as Safetensors;
use ::tensorflow::DataType as TensorFlow;
use ::torch::Dtype as Torch;
use msgpack::Dtype as Flax;

use crate::ir::{DType, Error, Result};

/// The types that a container and we have both.
pub struct Types<T: 'static> {
    /// As messages call the container.
    container: &'static str,
    /// The first row of ours is the one that is written.
    rows: &'static [(T, DType)],
}

impl<T: Copy + PartialEq> Types<T> {
    /// Ours for one of the container's; nothing if we have none.
    pub fn ours(&self, theirs: T) -> Option<DType> {
        self.rows.iter().find(|row| row.0 == theirs).map(|row| row.1)
    }

    /// The container's for one of ours.
    ///
    /// # Errors
    /// Unsupported, saying what to do, for what the container lacks.
    pub fn theirs(&self, ours: DType) -> Result<T> {
        let found = self.rows.iter().find(|row| row.1 == ours).map(|row| row.0);
        found.ok_or_else(|| lacks(self.container, ours))
    }
}

fn lacks(container: &str, dtype: DType) -> Error {
    Error::unsupported(match dtype {
        DType::Packed(block) => format!("{container} has no packing {}; give --type", block.name),
        lacking => format!("{container} has no type {lacking}; --exclude the tensor"),
    })
}

/// Of the header of a safetensors file.
pub const SAFETENSORS: Types<Safetensors> = Types {
    container: "safetensors",
    rows: &[
        (Safetensors::F64, DType::F64),
        (Safetensors::F32, DType::F32),
        (Safetensors::F16, DType::F16),
        (Safetensors::Bf16, DType::BF16),
        (Safetensors::F8E4M3, DType::F8E4M3),
        (Safetensors::F8E5M2, DType::F8E5M2),
        (Safetensors::F8E4M3Fnuz, DType::F8E4M3Fnuz),
        (Safetensors::F8E5M2Fnuz, DType::F8E5M2Fnuz),
        (Safetensors::F8E8M0, DType::F8E8M0),
        (Safetensors::F4, DType::F4E2M1),
        (Safetensors::C64, DType::C64),
        (Safetensors::I64, DType::I64),
        (Safetensors::I32, DType::I32),
        (Safetensors::I16, DType::I16),
        (Safetensors::I8, DType::I8),
        (Safetensors::U64, DType::U64),
        (Safetensors::U32, DType::U32),
        (Safetensors::U16, DType::U16),
        (Safetensors::U8, DType::U8),
        (Safetensors::Bool, DType::Bool),
    ],
};

/// Of PyTorch's storages.
pub const TORCH: Types<Torch> = Types {
    container: "PyTorch",
    rows: &[
        (Torch::F64, DType::F64),
        (Torch::F32, DType::F32),
        (Torch::F16, DType::F16),
        (Torch::Bf16, DType::BF16),
        (Torch::F8E4M3Fn, DType::F8E4M3),
        (Torch::F8E5M2, DType::F8E5M2),
        (Torch::F8E4M3Fnuz, DType::F8E4M3Fnuz),
        (Torch::F8E5M2Fnuz, DType::F8E5M2Fnuz),
        (Torch::F8E8M0Fnu, DType::F8E8M0),
        (Torch::C64, DType::C64),
        (Torch::C128, DType::C128),
        (Torch::I64, DType::I64),
        (Torch::I32, DType::I32),
        (Torch::I16, DType::I16),
        (Torch::I8, DType::I8),
        (Torch::U64, DType::U64),
        (Torch::U32, DType::U32),
        (Torch::U16, DType::U16),
        (Torch::U8, DType::U8),
        (Torch::Bool, DType::Bool),
    ],
};

/// Of the arrays in Flax's messages, which NumPy and ml_dtypes name.
pub const FLAX: Types<Flax> = Types {
    container: "Flax",
    rows: &[
        (Flax::F64, DType::F64),
        (Flax::F32, DType::F32),
        (Flax::F16, DType::F16),
        (Flax::Bf16, DType::BF16),
        (Flax::F8E4M3Fn, DType::F8E4M3),
        (Flax::F8E5M2, DType::F8E5M2),
        (Flax::F8E4M3Fnuz, DType::F8E4M3Fnuz),
        (Flax::F8E5M2Fnuz, DType::F8E5M2Fnuz),
        (Flax::F8E8M0Fnu, DType::F8E8M0),
        (Flax::C64, DType::C64),
        (Flax::C128, DType::C128),
        (Flax::I64, DType::I64),
        (Flax::I32, DType::I32),
        (Flax::I16, DType::I16),
        (Flax::I8, DType::I8),
        (Flax::U64, DType::U64),
        (Flax::U32, DType::U32),
        (Flax::U16, DType::U16),
        (Flax::U8, DType::U8),
        (Flax::Bool, DType::Bool),
    ],
};

/// Of TensorFlow's graphs and checkpoints. Quantized integers are integers: their scale stands
/// elsewhere. Integers of less than a byte are a byte each, whose other bits mean nothing: they are
/// none of ours.
pub const TENSORFLOW: Types<TensorFlow> = Types {
    container: "TensorFlow",
    rows: &[
        (TensorFlow::Double, DType::F64),
        (TensorFlow::Float, DType::F32),
        (TensorFlow::Half, DType::F16),
        (TensorFlow::Bfloat16, DType::BF16),
        (TensorFlow::Float8E4m3fn, DType::F8E4M3),
        (TensorFlow::Float8E5m2, DType::F8E5M2),
        (TensorFlow::Float8E4m3fnuz, DType::F8E4M3Fnuz),
        (TensorFlow::Float8E5m2fnuz, DType::F8E5M2Fnuz),
        (TensorFlow::Complex64, DType::C64),
        (TensorFlow::Complex128, DType::C128),
        (TensorFlow::Int64, DType::I64),
        (TensorFlow::Int32, DType::I32),
        (TensorFlow::Qint32, DType::I32),
        (TensorFlow::Int16, DType::I16),
        (TensorFlow::Qint16, DType::I16),
        (TensorFlow::Int8, DType::I8),
        (TensorFlow::Qint8, DType::I8),
        (TensorFlow::Uint64, DType::U64),
        (TensorFlow::Uint32, DType::U32),
        (TensorFlow::Uint16, DType::U16),
        (TensorFlow::Quint16, DType::U16),
        (TensorFlow::Uint8, DType::U8),
        (TensorFlow::Quint8, DType::U8),
        (TensorFlow::Bool, DType::Bool),
    ],
};
