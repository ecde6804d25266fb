//! Values in files of their own, as the test data of operators are: a `TensorProto`, or the
//! `SequenceProto` and `OptionalProto` of `onnx-data.proto`.

use protobuf::{Limits, Message, Reader, once};
use wire::{Error, ReadAt, Result};

use crate::fields::stored as fields;
use crate::tensor::{Tensor, tensor, whole_tensor};

/// What a file holds; nothing in it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A tensor.
    Tensor,
    /// A list.
    Sequence,
    /// A value, or none.
    Optional,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// A tensor.
    Tensor(Tensor),
    /// A list.
    Sequence(Vec<Stored>),
    /// A value, or none.
    Optional(Option<Box<Stored>>),
}

/// Reads a file that is one value.
///
/// # Errors
/// With the offset and the field at fault; `Unsupported` for maps and sparse tensors.
pub fn read_value(source: &dyn ReadAt, form: Form) -> Result<Stored> {
    let mut parser = Reader::new(source, &Limits::default());
    match form {
        Form::Tensor => whole_tensor(&mut parser).map(Stored::Tensor),
        Form::Sequence | Form::Optional => {
            let message = parser.whole();
            stored(&mut parser, message, form)
        }
    }
}

/// Lists and options have the same fields: one of a list is many, one of an option is it.
fn stored(parser: &mut Reader<'_>, mut message: Message, form: Form) -> Result<Stored> {
    const WHAT: &str = "SequenceProto";
    let (mut list, mut only) = (Vec::new(), None);
    while let Some(field) = parser.next(&mut message)? {
        let inner = match field.number {
            fields::TENSOR => Stored::Tensor(tensor(parser, &message, &field)?),
            fields::SEQUENCE | fields::OPTIONAL => {
                let form =
                    if field.number == fields::SEQUENCE { Form::Sequence } else { Form::Optional };
                let inside = parser.inside(&message, &field, WHAT)?;
                stored(parser, inside, form)?
            }
            fields::SPARSE_TENSOR | fields::MAP => {
                let feature = "maps and sparse tensors as values";
                return Err(Error::unsupported(field.span.start, WHAT, feature));
            }
            _ => continue,
        };
        match form {
            Form::Optional => once(&mut only, Box::new(inner), &field, "OptionalProto")?,
            Form::Sequence | Form::Tensor => list.push(inner),
        }
    }
    Ok(match form {
        Form::Optional => Stored::Optional(only),
        Form::Sequence | Form::Tensor => Stored::Sequence(list),
    })
}
