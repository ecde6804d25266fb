//! What values are: `ValueInfoProto` and `TypeProto`.

use std::ops::Range;

use protobuf::{Field, Message, Reader, once};
use wire::{Error, Result};

use crate::fields::{inner, kind, shape, value};

/// A named value.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueInfo {
    /// Where the message lies.
    pub span: Range<u64>,
    /// The name that nodes know it by.
    pub name: String,
    /// What it is, if that is said.
    pub kind: Option<Type>,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// A tensor: the number of its elements' type, and its dimensions if they are said.
    Tensor(i32, Option<Vec<Dim>>),
    /// A tensor that states only what is not zero.
    SparseTensor(i32, Option<Vec<Dim>>),
    /// A list of values of one kind.
    Sequence(Option<Box<Type>>),
    /// A value, or none.
    Optional(Option<Box<Type>>),
    /// Values by key, keys being of this type.
    Map(i32, Option<Box<Type>>),
    /// Something that only its domain knows.
    Opaque,
}

/// A dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Of this size.
    Value(u64),
    /// The same wherever this name stands.
    Param(String),
    /// Of any size.
    Unknown,
}

pub(crate) fn value_info(
    parser: &mut Reader<'_>,
    of: &Message,
    field: &Field,
    what: &'static str,
) -> Result<ValueInfo> {
    let mut message = parser.inside(of, field, what)?;
    let (mut name, mut of_type) = (None, None);
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            value::NAME => parser.text_once(&mut name, &field, "ValueInfoProto.name")?,
            value::TYPE => {
                let value = type_proto(parser, &message, &field)?;
                once(&mut of_type, value, &field, "ValueInfoProto.type")?;
            }
            _ => {}
        }
    }
    let name = name.unwrap_or_default();
    Ok(ValueInfo { span: field.bytes(what)?, name, kind: of_type.flatten() })
}

/// Several kinds at once are no type; none at all says nothing.
pub(crate) fn type_proto(
    parser: &mut Reader<'_>,
    of: &Message,
    field: &Field,
) -> Result<Option<Type>> {
    const WHAT: &str = "TypeProto";
    let mut message = parser.inside(of, field, WHAT)?;
    let mut found = None;
    while let Some(field) = parser.next(&mut message)? {
        let value = match field.number {
            kind::TENSOR => {
                tensor(parser, &message, &field).map(|(code, dims)| Type::Tensor(code, dims))?
            }
            kind::SPARSE_TENSOR => tensor(parser, &message, &field)
                .map(|(code, dims)| Type::SparseTensor(code, dims))?,
            kind::SEQUENCE => Type::Sequence(nested(parser, &message, &field, inner::ELEM_TYPE)?.1),
            kind::MAP => {
                let (key, value) = nested(parser, &message, &field, inner::VALUE_TYPE)?;
                Type::Map(key, value)
            }
            kind::OPAQUE => Type::Opaque,
            kind::OPTIONAL => Type::Optional(nested(parser, &message, &field, inner::ELEM_TYPE)?.1),
            _ => continue,
        };
        once(&mut found, value, &field, WHAT)?;
    }
    Ok(found)
}

/// The type within another, in the field of this number; of maps, with the type of keys.
fn nested(
    parser: &mut Reader<'_>,
    of: &Message,
    field: &Field,
    number: u64,
) -> Result<(i32, Option<Box<Type>>)> {
    const WHAT: &str = "TypeProto.elem_type";
    let mut message = parser.inside(of, field, WHAT)?;
    let (mut key, mut value) = (None, None);
    while let Some(field) = parser.next(&mut message)? {
        if field.number == number {
            let read = type_proto(parser, &message, &field)?;
            once(&mut value, read, &field, WHAT)?;
        } else if field.number == inner::KEY_TYPE {
            once(&mut key, field.int32("TypeProto.Map.key_type")?, &field, WHAT)?;
        }
    }
    Ok((key.unwrap_or(0), value.flatten().map(Box::new)))
}

fn tensor(parser: &mut Reader<'_>, of: &Message, field: &Field) -> Result<(i32, Option<Vec<Dim>>)> {
    const WHAT: &str = "TypeProto.Tensor";
    let mut message = parser.inside(of, field, WHAT)?;
    let (mut code, mut dims) = (None, None);
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            inner::ELEM_TYPE => {
                once(&mut code, field.int32("TypeProto.Tensor.elem_type")?, &field, WHAT)?
            }
            inner::SHAPE => {
                let read = dims_of(parser, &message, &field)?;
                once(&mut dims, read, &field, "TypeProto.Tensor.shape")?;
            }
            _ => {}
        }
    }
    Ok((code.unwrap_or(0), dims))
}

fn dims_of(parser: &mut Reader<'_>, of: &Message, field: &Field) -> Result<Vec<Dim>> {
    let mut message = parser.inside(of, field, "TensorShapeProto")?;
    let mut dims = Vec::new();
    while let Some(field) = parser.next(&mut message)? {
        if field.number == shape::DIM {
            dims.push(dim(parser, &message, &field)?);
        }
    }
    Ok(dims)
}

fn dim(parser: &mut Reader<'_>, of: &Message, field: &Field) -> Result<Dim> {
    const WHAT: &str = "TensorShapeProto.Dimension";
    let mut message = parser.inside(of, field, WHAT)?;
    let mut dim = None;
    while let Some(field) = parser.next(&mut message)? {
        let value = match field.number {
            // Exporters write -1, and some 0 with a batch in mind, for a size that is not fixed.
            shape::DIM_VALUE => match field.int64(WHAT)? {
                -1 => Dim::Unknown,
                size => Dim::Value(u64::try_from(size).map_err(|_| {
                    let rule = format!("found {size}, expected no negative size");
                    Error::invalid(field.span.start, WHAT, rule)
                })?),
            },
            shape::DIM_PARAM => match parser.text(&field, WHAT)? {
                name if name.is_empty() => Dim::Unknown,
                name => Dim::Param(name),
            },
            _ => continue,
        };
        once(&mut dim, value, &field, WHAT)?;
    }
    Ok(dim.unwrap_or(Dim::Unknown))
}
