//! Types of values, and values in files of their own.

use std::sync::Arc;

use onnx::{Data, DataType, Form, Stored, Type};

use crate::ir::graph::{Dim, Element, Given, Kind, Port};
use crate::ir::{Blob, DType, Error, Result, Shape, Tensor};

use super::made;

/// Reads a file that is one value, as the test data of operators are; `kind` says which.
///
/// # Errors
/// What the container says; Unsupported for a kind of value that is not computed with.
pub fn file_value(blob: &Arc<Blob>, kind: &Kind) -> Result<Given> {
    let form = match kind {
        Kind::Unknown | Kind::Tensor(..) => Form::Tensor,
        Kind::Sequence(_) => Form::Sequence,
        Kind::Optional(_) => Form::Optional,
        Kind::Other => return Err(Error::unsupported("a map or a sparse tensor").at(blob.name())),
    };
    let stored =
        onnx::read_value(&**blob, form).map_err(|error| Error::from(error).at(blob.name()))?;
    given(stored, blob).map_err(|error| error.at(blob.name()))
}

fn given(stored: Stored, blob: &Arc<Blob>) -> Result<Given> {
    Ok(match stored {
        Stored::Optional(None) => Given::Nothing,
        Stored::Optional(Some(inner)) => given(*inner, blob)?,
        Stored::Sequence(list) => {
            Given::Sequence(list.into_iter().map(|item| given(item, blob)).collect::<Result<_>>()?)
        }
        Stored::Tensor(tensor) => {
            let (blob, start) = match tensor.data {
                Data::Texts(values) => return Ok(Given::Text { shape: tensor.dims, values }),
                Data::At(at) => (Arc::clone(blob), at.start),
                Data::Made(bytes) => (made(blob, bytes), 0),
                Data::External(_) => {
                    return Err(Error::unsupported("a value that lies in another file"));
                }
            };
            let dtype = dtype(tensor.kind)?;
            Given::Tensor(Tensor::span(dtype, Shape::new(tensor.dims)?, blob, start)?)
        }
    })
}

/// What a value is, in our words.
pub(super) fn port(value: &onnx::ValueInfo) -> Port {
    Port {
        name: value.name.clone(),
        kind: kind(value.kind.as_ref()),
        span: Some(value.span.clone()),
    }
}

/// What a value is, in our words.
pub fn kind(value: Option<&Type>) -> Kind {
    let inner = |inner: &Option<Box<Type>>| Box::new(kind(inner.as_deref()));
    match value {
        None => Kind::Unknown,
        Some(Type::Tensor(code, dims)) => {
            Kind::Tensor(element(*code), dims.as_ref().map(|dims| dims.iter().map(dim).collect()))
        }
        Some(Type::Sequence(of)) => Kind::Sequence(inner(of)),
        Some(Type::Optional(of)) => Kind::Optional(inner(of)),
        Some(Type::SparseTensor(..) | Type::Map(..) | Type::Opaque) => Kind::Other,
    }
}

fn dim(dim: &onnx::Dim) -> Dim {
    match dim {
        onnx::Dim::Value(size) => Dim::Known(*size),
        onnx::Dim::Param(name) => Dim::Named(name.clone()),
        onnx::Dim::Unknown => Dim::Unknown,
    }
}

fn element(code: i32) -> Element {
    match DataType::of(code.into()) {
        Some(DataType::String) => Element::Text,
        Some(kind) => dtype(kind).map_or(Element::Other(code.into()), Element::Number),
        None => Element::Other(code.into()),
    }
}

/// Our type of elements.
///
/// # Errors
/// Bug for text, which is no number: it is sorted out before.
pub(super) fn dtype(kind: DataType) -> Result<DType> {
    let found = TYPES.iter().find(|(own, _)| *own == kind);
    found.map(|(_, dtype)| *dtype).ok_or_else(|| Error::bug(format!("{} as a number", kind.name())))
}

/// The types of elements, theirs and ours.
pub(crate) const TYPES: &[(DataType, DType)] = &[
    (DataType::Float, DType::F32),
    (DataType::Uint8, DType::U8),
    (DataType::Int8, DType::I8),
    (DataType::Uint16, DType::U16),
    (DataType::Int16, DType::I16),
    (DataType::Int32, DType::I32),
    (DataType::Int64, DType::I64),
    (DataType::Bool, DType::Bool),
    (DataType::Float16, DType::F16),
    (DataType::Double, DType::F64),
    (DataType::Uint32, DType::U32),
    (DataType::Uint64, DType::U64),
    (DataType::Complex64, DType::C64),
    (DataType::Complex128, DType::C128),
    (DataType::Bfloat16, DType::BF16),
    (DataType::Float8E4m3fn, DType::F8E4M3),
    (DataType::Float8E4m3fnuz, DType::F8E4M3Fnuz),
    (DataType::Float8E5m2, DType::F8E5M2),
    (DataType::Float8E5m2fnuz, DType::F8E5M2Fnuz),
    (DataType::Uint4, DType::U4),
    (DataType::Int4, DType::I4),
    (DataType::Float4E2m1, DType::F4E2M1),
    (DataType::Float8E8m0, DType::F8E8M0),
    (DataType::Uint2, DType::U2),
    (DataType::Int2, DType::I2),
    (DataType::Float6E2m3, DType::F6E2M3),
    (DataType::Float6E3m2, DType::F6E3M2),
];
