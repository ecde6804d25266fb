//! Numbers within a message: `TensorProto`.

use std::ops::Range;

use protobuf::{Field, Message, once};
use wire::{Error, Result, Why};

use crate::kind::{DataType, kind};
use crate::parser::Parser;
use crate::shape::{Shape, shape};

/// Fields of `TensorProto`: `tensorflow/core/framework/tensor.proto`.
mod field {
    pub(super) const DTYPE: u64 = 1;
    pub(super) const SHAPE: u64 = 2;
    pub(super) const CONTENT: u64 = 4;
    pub(super) const FLOAT: u64 = 5;
    pub(super) const DOUBLE: u64 = 6;
    pub(super) const INT: u64 = 7;
    pub(super) const STRING: u64 = 8;
    pub(super) const SCOMPLEX: u64 = 9;
    pub(super) const INT64: u64 = 10;
    pub(super) const BOOL: u64 = 11;
    pub(super) const DCOMPLEX: u64 = 12;
    pub(super) const HALF: u64 = 13;
    pub(super) const UINT32: u64 = 16;
    pub(super) const UINT64: u64 = 17;
    pub(super) const FLOAT8: u64 = 18;
}

const WHAT: &str = "TensorProto";

/// The elements that a message states, little-endian, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// Where they lie as they are.
    At(Range<u64>),
    /// They were written as varints or one by one.
    Made(Vec<u8>),
    /// Texts, which are not read: so many.
    Texts(u64),
}

/// A tensor that a message states. Of fewer elements than its shape has, the last one is repeated;
/// of none, all are zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    /// The type of its elements.
    pub kind: DataType,
    /// Its dimensions, outermost first.
    pub dims: Vec<u64>,
    /// The elements that are stated.
    pub values: Values,
}

/// What a message states, before its type and shape are known for sure.
#[derive(Debug, Default)]
pub(crate) struct Stated {
    at: u64,
    kind: Option<DataType>,
    shape: Option<Shape>,
    content: Option<Range<u64>>,
    /// The field that numbers stand in.
    number: Option<u64>,
    /// Where they lie, if they are packed in one field.
    packed: Option<Range<u64>>,
    bytes: Vec<u8>,
    varints: Vec<u64>,
    texts: u64,
}

/// Reads `TensorProto`.
pub(crate) fn stated(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Stated> {
    let mut all = Stated { at: field.span.start, ..Stated::default() };
    parser.inside(of, field, WHAT, &mut |parser, of, field| all.take(parser, of, field))?;
    Ok(all)
}

impl Stated {
    fn take(&mut self, parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<()> {
        match field.number {
            field::DTYPE => once(&mut self.kind, kind(field, "TensorProto.dtype")?, field, WHAT),
            field::SHAPE => once(&mut self.shape, shape(parser, of, field)?, field, WHAT),
            field::CONTENT => {
                once(&mut self.content, field.bytes(WHAT)?, field, "TensorProto.tensor_content")
            }
            field::STRING => {
                self.texts = self.texts.saturating_add(1);
                self.used(field)
            }
            field::FLOAT | field::DOUBLE | field::SCOMPLEX | field::DCOMPLEX | field::FLOAT8 => {
                self.used(field)?;
                self.fixed(parser, field)
            }
            field::INT
            | field::INT64
            | field::BOOL
            | field::HALF
            | field::UINT32
            | field::UINT64 => {
                self.used(field)?;
                parser.varints(field, WHAT, |value| {
                    self.varints.push(value);
                    Ok(())
                })
            }
            _ => Ok(()),
        }
    }

    /// Numbers stand in one field only.
    fn used(&mut self, field: &Field) -> Result<()> {
        match self.number.replace(field.number) {
            Some(other) if other != field.number => {
                let rule = format!("numbers in the fields {other} and {}", field.number);
                Err(Error::invalid(field.span.start, WHAT, rule))
            }
            _ => Ok(()),
        }
    }

    fn fixed(&mut self, parser: &mut Parser<'_>, field: &Field) -> Result<()> {
        if let protobuf::Value::Bytes(at) = &field.value
            && self.packed.is_none()
            && self.bytes.is_empty()
        {
            self.packed = Some(at.clone());
            return Ok(());
        }
        if let Some(first) = self.packed.take() {
            self.bytes = parser.piece(first, WHAT)?;
        }
        match &field.value {
            protobuf::Value::Fixed32(value) => self.bytes.extend(value),
            protobuf::Value::Fixed64(value) => self.bytes.extend(value),
            protobuf::Value::Bytes(at) => {
                let more = parser.piece(at.clone(), WHAT)?;
                self.bytes.extend(more);
            }
            _ => return Err(field.wrong(WHAT, "numbers of four or eight bytes")),
        }
        Ok(())
    }

    /// The tensor, whose type and shape the message states itself.
    pub(crate) fn constant(self) -> Result<Constant> {
        let at = self.at;
        let kind = self.kind.ok_or_else(|| Error::invalid(at, WHAT, "has no dtype"))?;
        let dims = self.shape.as_ref().map_or(Ok(Vec::new()), Shape::known)?;
        let count = wire::product(&dims).unwrap_or(u64::MAX);
        let values = self.values(kind)?;
        let found = values.count(kind);
        if found > count || matches!(&values, Values::Texts(_)) && count > 0 && found == 0 {
            let expected = format!("{count} for {dims:?}");
            let why = Why::Mismatch { found: format!("{found} elements"), expected };
            return Err(Error::new(at, WHAT, why));
        }
        Ok(Constant { kind, dims, values })
    }

    /// The elements, of a type that is stated elsewhere too.
    pub(crate) fn values(self, kind: DataType) -> Result<Values> {
        let wrong = |rule: String| Error::invalid(self.at, WHAT, rule);
        if self.kind.is_some_and(|stated| stated != kind) {
            return Err(wrong(format!("is of another type than {}", kind.name())));
        }
        let Some(width) = kind.bytes() else {
            return Ok(Values::Texts(self.texts));
        };
        let values = match (self.content, self.number) {
            (Some(content), None) => Values::At(content),
            (None, None) => Values::Made(Vec::new()),
            (None, Some(number)) if number == numbers(kind) => match self.packed {
                Some(at) => Values::At(at),
                None if self.varints.is_empty() => Values::Made(self.bytes),
                None => Values::Made(narrow(&self.varints, width)),
            },
            (None, Some(number)) => {
                let expected = numbers(kind);
                let name = kind.name();
                return Err(wrong(format!("{name} in field {number}, expected {expected}")));
            }
            (Some(_), Some(_)) => {
                return Err(wrong("has both tensor_content and numbers".to_owned()));
            }
        };
        if values.bytes().is_some_and(|bytes| bytes.checked_rem(width) != Some(0)) {
            let bytes = values.bytes().unwrap_or(0);
            return Err(wrong(format!("{bytes} bytes are not whole elements of {width}")));
        }
        Ok(values)
    }
}

impl Values {
    /// How many bytes there are, unless they are texts.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::At(at) => Some(at.end.saturating_sub(at.start)),
            Self::Made(bytes) => Some(bytes.len() as u64),
            Self::Texts(_) => None,
        }
    }

    fn count(&self, kind: DataType) -> u64 {
        match (self, kind.bytes()) {
            (Self::Texts(count), _) => *count,
            (_, Some(width)) => self.bytes().and_then(|b| b.checked_div(width)).unwrap_or(0),
            (_, None) => 0,
        }
    }
}

/// The field that numbers of a type stand in.
fn numbers(kind: DataType) -> u64 {
    match kind {
        DataType::Float => field::FLOAT,
        DataType::Double => field::DOUBLE,
        DataType::Complex64 => field::SCOMPLEX,
        DataType::Complex128 => field::DCOMPLEX,
        DataType::Int64 => field::INT64,
        DataType::Bool => field::BOOL,
        DataType::Half | DataType::Bfloat16 => field::HALF,
        DataType::Uint32 => field::UINT32,
        DataType::Uint64 => field::UINT64,
        DataType::Float8E5m2
        | DataType::Float8E4m3fn
        | DataType::Float8E4m3fnuz
        | DataType::Float8E4m3b11fnuz
        | DataType::Float8E5m2fnuz => field::FLOAT8,
        _ => field::INT,
    }
}

/// Numbers in as many bytes as the type has.
fn narrow(varints: &[u64], width: u64) -> Vec<u8> {
    let width = usize::try_from(width).unwrap_or(8);
    varints.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect()
}
