//! Types of values, and values in files of their own.

use std::sync::Arc;

use onnx::{Data, DataType, Form, Stored, Type};

use crate::ir::graph::{Dim, Element, Given, Kind};
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
pub fn kind(value: Option<&Type>) -> Kind {
    let inner = |inner: &Option<Box<Type>>| Box::new(kind(inner.as_deref()));
    match value {
        None => Kind::Unknown,
        Some(Type::Tensor(code, dims)) => Kind::Tensor(
            Element::of((*code).into()),
            dims.as_ref().map(|dims| dims.iter().map(dim).collect()),
        ),
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

/// Our type of elements.
///
/// # Errors
/// Bug for text, which is no number: it is sorted out before.
pub(super) fn dtype(kind: DataType) -> Result<DType> {
    match Element::of(kind.code().into()) {
        Element::Number(dtype) => Ok(dtype),
        Element::Text | Element::Other(_) => {
            Err(Error::bug(format!("{} as a number", kind.name())))
        }
    }
}
