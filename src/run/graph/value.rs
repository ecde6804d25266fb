//! What flows through a graph: tensors, lists of values, and values left out.

use std::sync::Arc;

use half::{bf16, f16};

use super::array::{Array, Data, Element};
use super::types::Type;
use crate::ir::graph::{Element as Declared, Given};
use crate::ir::{Error, Result, Scratch, Tensor};

/// What flows through a graph. Clones share the elements.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Numbers or text.
    Tensor(Array),
    /// A list.
    Sequence(Arc<Vec<Value>>),
    /// Keys, and a value for each.
    Map(Arc<(Array, Array)>),
    /// An optional value that is not there.
    Nothing,
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Self::Tensor(array)
    }
}

impl Value {
    /// What it is, for messages: `f32 [2, 3]`.
    pub fn describe(&self) -> String {
        match self {
            Self::Tensor(array) => format!("{} {:?}", array.dtype(), array.shape()),
            Self::Sequence(values) => format!("a sequence of {}", values.len()),
            Self::Map(map) => {
                format!("a map of {} {} to {}", map.0.len(), map.0.dtype(), map.1.dtype())
            }
            Self::Nothing => "nothing".into(),
        }
    }

    /// The tensor.
    ///
    /// # Errors
    /// Malformed if it is none.
    pub fn tensor(&self) -> Result<&Array> {
        match self {
            Self::Tensor(array) => Ok(array),
            other => {
                let text = format!("found {}, expected a tensor", other.describe());
                Err(Error::malformed(text))
            }
        }
    }

    /// The list.
    ///
    /// # Errors
    /// Malformed if it is none.
    pub fn sequence(&self) -> Result<&[Value]> {
        match self {
            Self::Sequence(values) => Ok(values),
            other => {
                let text = format!("found {}, expected a sequence", other.describe());
                Err(Error::malformed(text))
            }
        }
    }

    /// Elements, of all its parts.
    pub fn elements(&self) -> usize {
        match self {
            Self::Tensor(array) => array.len(),
            Self::Sequence(values) => values.iter().map(Self::elements).sum(),
            Self::Map(map) => map.0.len() + map.1.len(),
            Self::Nothing => 0,
        }
    }

    /// A value that a file gives.
    ///
    /// # Errors
    /// Io from reading; Unsupported for types that are not computed with.
    pub fn given(given: &Given) -> Result<Self> {
        Ok(match given {
            Given::Tensor(tensor) => load(tensor)?.into(),
            Given::Text { shape, values } => text(shape, values)?.into(),
            Given::Sequence(values) => {
                let values = values.iter().map(Self::given).collect::<Result<_>>()?;
                Self::Sequence(Arc::new(values))
            }
            Given::Nothing => Self::Nothing,
        })
    }
}

/// The type of elements that a graph declares.
///
/// # Errors
/// Unsupported for one that is not computed with.
pub(super) fn element_type(declared: Declared) -> Result<Type> {
    let found = match declared {
        Declared::Number(dtype) => Type::named(dtype.name()),
        Declared::Text => Some(Type::Text),
        Declared::Other(id) => Type::numbered(id),
    };
    found.ok_or_else(|| Error::unsupported(format!("{declared:?} is a type not computed with")))
}

/// Text of a file as a tensor. Bytes that are not UTF-8 are replaced.
pub(super) fn text(shape: &[u64], values: &[Vec<u8>]) -> Result<Array> {
    let values = values.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Array::of(shape.iter().map(|dim| *dim as usize).collect(), values.collect())
}

/// The elements of a tensor of a model.
pub(super) fn load(tensor: &Tensor) -> Result<Array> {
    let shape: Vec<usize> = tensor.shape().dims().iter().map(|dim| *dim as usize).collect();
    let count = tensor.shape().count();
    let dtype = tensor.dtype();
    let mut scratch = Scratch::default();
    let Some(found) = Type::named(dtype.name()) else {
        if dtype.is_packed() {
            return Array::of(shape, tensor.to_floats()?);
        }
        return Err(Error::unsupported(format!("elements of {dtype} are not computed with")));
    };
    let mut bytes = scratch.take(tensor.bytes() as usize)?;
    tensor.read(0..count, &mut bytes, &mut scratch)?;
    if let Some(bits) = found.bits().filter(|bits| *bits < 8) {
        bytes = unpacked(&bytes, bits, count as usize);
    }
    Array::new(shape, decode(found, &bytes))
}

/// Elements of fewer than 8 bits, the first in the lowest bits of a byte, each in its own byte.
fn unpacked(bytes: &[u8], bits: usize, count: usize) -> Vec<u8> {
    let (each, mask) = (8 / bits, (1u8 << bits) - 1);
    let element =
        |i: usize| bytes.get(i / each).map_or(0, |byte| (byte >> (i % each * bits)) & mask);
    (0..count).map(element).collect()
}

/// Elements from their bytes, little-endian.
pub(super) fn decode(dtype: Type, bytes: &[u8]) -> Data {
    fn each<const N: usize, T: Element>(bytes: &[u8], value: fn([u8; N]) -> T) -> Data {
        T::wrap(bytes.as_chunks::<N>().0.iter().map(|bytes| value(*bytes)).collect())
    }
    match dtype {
        Type::F64 => each(bytes, f64::from_le_bytes),
        Type::F32 => each(bytes, f32::from_le_bytes),
        Type::F16 => each(bytes, f16::from_le_bytes),
        Type::BF16 => each(bytes, bf16::from_le_bytes),
        Type::I64 => each(bytes, i64::from_le_bytes),
        Type::I32 => each(bytes, i32::from_le_bytes),
        Type::I16 => each(bytes, i16::from_le_bytes),
        Type::I8 => each(bytes, i8::from_le_bytes),
        Type::U64 => each(bytes, u64::from_le_bytes),
        Type::U32 => each(bytes, u32::from_le_bytes),
        Type::U16 => each(bytes, u16::from_le_bytes),
        Type::U8 => each(bytes, u8::from_le_bytes),
        Type::Bool => each(bytes, |[byte]: [u8; 1]| byte != 0),
        Type::Text => Data::none(Type::Text),
        Type::Small(small) => Data::Small(small, Arc::new(bytes.to_vec())),
    }
}

/// The bytes of elements, little-endian; a byte for each of the small ones.
pub(super) fn encode(data: &Data) -> Vec<u8> {
    fn each<const N: usize, T: Copy>(values: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(|x| bytes(*x)).collect()
    }
    match data {
        Data::F64(v) => each(v, f64::to_le_bytes),
        Data::F32(v) => each(v, f32::to_le_bytes),
        Data::F16(v) => each(v, f16::to_le_bytes),
        Data::BF16(v) => each(v, bf16::to_le_bytes),
        Data::I64(v) => each(v, i64::to_le_bytes),
        Data::I32(v) => each(v, i32::to_le_bytes),
        Data::I16(v) => each(v, i16::to_le_bytes),
        Data::I8(v) => each(v, i8::to_le_bytes),
        Data::U64(v) => each(v, u64::to_le_bytes),
        Data::U32(v) => each(v, u32::to_le_bytes),
        Data::U16(v) => each(v, u16::to_le_bytes),
        Data::U8(v) => v.to_vec(),
        Data::Bool(v) => v.iter().map(|x| u8::from(*x)).collect(),
        Data::Small(_, v) => v.to_vec(),
        Data::Text(_) => Vec::new(),
    }
}
