//! Tensors: `TensorProto` and `SparseTensorProto`.

use std::ops::Range;

use protobuf::{Field, Message, Reader, Value, once};
use wire::{Error, Result, Why, product};

use crate::entry::entry;
use crate::external::{External, external};
use crate::fields::{sparse, tensor as field};
use crate::kind::{DataType, Numbers};

/// A tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Where the message lies.
    pub span: Range<u64>,
    /// The name; may be empty.
    pub name: String,
    /// The type of its elements.
    pub kind: DataType,
    /// Sizes, outermost first.
    pub dims: Vec<u64>,
    /// Its elements.
    pub data: Data,
}

/// The elements of a tensor: little-endian, row-major, as many bytes as the type and the
/// dimensions say.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// At this place of the file.
    At(Range<u64>),
    /// Made of numbers that were spread over fields.
    Made(Vec<u8>),
    /// In a file beside the model.
    External(External),
    /// Text, nearly always UTF-8.
    Texts(Vec<Vec<u8>>),
}

/// A tensor that states only what is not zero.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseTensor {
    /// Where the message lies.
    pub span: Range<u64>,
    /// What is not zero; its name is the tensor's.
    pub values: Tensor,
    /// Where: of each value its flat index, or its index along each dimension.
    pub indices: Tensor,
    /// Sizes, outermost first.
    pub dims: Vec<u64>,
}

pub(crate) fn tensor(parser: &mut Reader<'_>, of: &Message, field: &Field) -> Result<Tensor> {
    let message = parser.inside(of, field, "TensorProto")?;
    tensor_in(parser, message, field.bytes("TensorProto")?)
}

/// The tensor that fills a file.
pub(crate) fn whole_tensor(parser: &mut Reader<'_>) -> Result<Tensor> {
    let message = parser.whole();
    let span = message.span();
    tensor_in(parser, message, span)
}

pub(crate) fn sparse_tensor(
    parser: &mut Reader<'_>,
    of: &Message,
    field: &Field,
) -> Result<SparseTensor> {
    const WHAT: &str = "SparseTensorProto";
    let mut message = parser.inside(of, field, WHAT)?;
    let (mut values, mut indices, mut dims) = (None, None, Vec::new());
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            sparse::VALUES => {
                let read = tensor(parser, &message, &field)?;
                once(&mut values, read, &field, "SparseTensorProto.values")?;
            }
            sparse::INDICES => {
                let read = tensor(parser, &message, &field)?;
                once(&mut indices, read, &field, "SparseTensorProto.indices")?;
            }
            sparse::DIMS => sizes(parser, &field, &mut dims)?,
            _ => {}
        }
    }
    let span = field.bytes(WHAT)?;
    let missing = |rule| Error::invalid(field.span.start, WHAT, rule);
    let values = values.ok_or_else(|| missing("has no values"))?;
    let indices = indices.ok_or_else(|| missing("has no indices"))?;
    product(&dims).ok_or_else(|| missing("dims must have a product of 64 bits"))?;
    Ok(SparseTensor { span, values, indices, dims })
}

/// What a tensor's fields said, before its type is known.
#[derive(Default)]
struct Parts {
    name: Option<String>,
    code: Option<i32>,
    dims: Vec<u64>,
    raw: Option<Range<u64>>,
    /// The field of numbers that was used, and where.
    used: Option<(u64, u64)>,
    /// Numbers of a fixed width: at one place, until a second one comes.
    at: Option<Range<u64>>,
    made: Vec<u8>,
    varints: Vec<u64>,
    texts: Vec<Vec<u8>>,
    entries: Vec<(String, String)>,
    is_external: Option<bool>,
}

fn tensor_in(parser: &mut Reader<'_>, mut message: Message, span: Range<u64>) -> Result<Tensor> {
    let mut parts = Parts::default();
    while let Some(field) = parser.next(&mut message)? {
        match field.number {
            field::DIMS => sizes(parser, &field, &mut parts.dims)?,
            field::DATA_TYPE => {
                let code = field.int32("TensorProto.data_type")?;
                once(&mut parts.code, code, &field, "TensorProto.data_type")?;
            }
            field::SEGMENT => {
                let feature = "a tensor in segments";
                return Err(Error::unsupported(field.span.start, "TensorProto.segment", feature));
            }
            field::NAME => parser.text_once(&mut parts.name, &field, "TensorProto.name")?,
            field::RAW_DATA => {
                let at = field.bytes("TensorProto.raw_data")?;
                once(&mut parts.raw, at, &field, "TensorProto.raw_data")?;
            }
            number if numbers_name(number).is_some() => parts.numbers(parser, &field)?,
            field::EXTERNAL_DATA => {
                let entry = entry(parser, &message, &field, "TensorProto.external_data")?;
                parts.entries.push(entry);
            }
            field::DATA_LOCATION => {
                let what = "TensorProto.data_location";
                once(&mut parts.is_external, field.truth(what)?, &field, what)?;
            }
            _ => {}
        }
    }
    let named = |name: &str, error: Error| match name {
        "" => error,
        name => Error { what: format!("tensor '{name}': {}", error.what).into(), ..error },
    };
    let name = parts.name.clone().unwrap_or_default();
    parts.tensor(span).map_err(|error| named(&name, error))
}

fn sizes(parser: &mut Reader<'_>, field: &Field, dims: &mut Vec<u64>) -> Result<()> {
    const WHAT: &str = "TensorProto.dims";
    parser.varints(field, WHAT, |size| {
        let size = size.cast_signed();
        dims.push(u64::try_from(size).map_err(|_| {
            let rule = format!("found {size}, expected no negative size");
            Error::invalid(field.span.start, WHAT, rule)
        })?);
        Ok(())
    })
}

/// The name of a field of numbers, if it is one.
fn numbers_name(number: u64) -> Option<&'static str> {
    Some(match number {
        field::FLOAT_DATA => "TensorProto.float_data",
        field::INT32_DATA => "TensorProto.int32_data",
        field::STRING_DATA => "TensorProto.string_data",
        field::INT64_DATA => "TensorProto.int64_data",
        field::DOUBLE_DATA => "TensorProto.double_data",
        field::UINT64_DATA => "TensorProto.uint64_data",
        _ => return None,
    })
}

impl Parts {
    /// Takes up numbers, which may come packed, one by one, or both in turns.
    fn numbers(&mut self, parser: &mut Reader<'_>, field: &Field) -> Result<()> {
        let what = numbers_name(field.number).unwrap_or_default();
        let (first, _) = *self.used.get_or_insert((field.number, field.span.start));
        if first != field.number {
            let rule = format!(
                "stands beside {}, expected one of them",
                numbers_name(first).unwrap_or_default()
            );
            return Err(Error::invalid(field.span.start, what, rule));
        }
        match (field.number, &field.value) {
            (field::STRING_DATA, _) => self.texts.push(parser.bytes(field, what)?),
            (field::INT32_DATA | field::INT64_DATA | field::UINT64_DATA, _) => {
                parser.varints(field, what, |value| {
                    self.varints.push(value);
                    Ok(())
                })?
            }
            (field::FLOAT_DATA, Value::Fixed32(bytes)) => {
                self.flush(parser)?;
                self.made.extend(bytes);
            }
            (field::DOUBLE_DATA, Value::Fixed64(bytes)) => {
                self.flush(parser)?;
                self.made.extend(bytes);
            }
            _ if self.at.is_none() && self.made.is_empty() => self.at = Some(field.bytes(what)?),
            _ => {
                self.flush(parser)?;
                let at = field.bytes(what)?;
                self.made.extend(parser.range(at, what)?);
            }
        }
        Ok(())
    }

    /// Numbers at one place become numbers in memory, because more follow.
    fn flush(&mut self, parser: &mut Reader<'_>) -> Result<()> {
        if let Some(at) = self.at.take() {
            self.made = parser.range(at, "TensorProto.float_data")?;
        }
        Ok(())
    }

    fn tensor(mut self, span: Range<u64>) -> Result<Tensor> {
        let (at, code) = (span.start, self.code.unwrap_or(0));
        let Some(kind) = DataType::of(i64::from(code)) else {
            let value = format!("{code}");
            return Err(Error::new(at, "TensorProto.data_type", Why::Unknown { value }));
        };
        let bytes = product(&self.dims).and_then(|count| Some((count, kind.bytes(count)?)));
        let (count, bytes) = bytes.ok_or_else(|| {
            let rule = format!("{:?} of {} have no length in 64 bits", self.dims, kind.name());
            Error::invalid(at, "TensorProto.dims", rule)
        })?;
        let data = self.data(kind, count, bytes, at)?;
        Ok(Tensor { span, name: self.name.unwrap_or_default(), kind, dims: self.dims, data })
    }

    /// The elements, from the one place that holds them.
    fn data(&mut self, kind: DataType, count: u64, bytes: u64, at: u64) -> Result<Data> {
        let is_external = self.is_external.unwrap_or(false);
        let places = [is_external, self.raw.is_some(), self.used.is_some()];
        if places.iter().filter(|there| **there).count() > 1 {
            let rule = "has several of raw_data, numbers and external data, expected one of them";
            return Err(Error::invalid(at, "TensorProto", rule));
        }
        if kind == DataType::String {
            return self.texts(count, at);
        }
        if is_external {
            return external(&self.entries, bytes, at).map(Data::External);
        }
        let data = match (self.raw.take(), self.used) {
            (Some(raw), _) => Data::At(raw),
            (None, Some((number, offset))) => self.typed(kind, number, count, offset)?,
            (None, None) => Data::Made(Vec::new()),
        };
        let found = match &data {
            Data::At(at) => at.end.saturating_sub(at.start),
            Data::Made(bytes) => bytes.len() as u64,
            Data::External(_) | Data::Texts(_) => bytes,
        };
        if found != bytes {
            let (dims, kind) = (&self.dims, kind.name());
            let expected = format!("{bytes} for {dims:?} of {kind}");
            let why = Why::Mismatch { found: format!("{found} bytes of data"), expected };
            return Err(Error::new(at, "TensorProto", why));
        }
        Ok(data)
    }

    fn texts(&mut self, count: u64, at: u64) -> Result<Data> {
        let found = self.texts.len() as u64;
        if found != count || self.raw.is_some() || self.is_external == Some(true) {
            let expected = format!("{count} in string_data");
            let why = Why::Mismatch { found: format!("{found} texts"), expected };
            return Err(Error::new(at, "TensorProto.string_data", why));
        }
        Ok(Data::Texts(std::mem::take(&mut self.texts)))
    }

    /// Numbers of a field as bytes, if it is the field of this type.
    fn typed(&mut self, kind: DataType, number: u64, count: u64, offset: u64) -> Result<Data> {
        let what = numbers_name(number).unwrap_or_default();
        let made = match (kind.numbers(), number) {
            (Numbers::Float, field::FLOAT_DATA) | (Numbers::Double, field::DOUBLE_DATA) => {
                match self.at.take() {
                    Some(at) => return Ok(Data::At(at)),
                    None => std::mem::take(&mut self.made),
                }
            }
            (Numbers::Int32(least, most), field::INT32_DATA) => {
                let each = |&value: &u64| {
                    let value = i32::try_from(value.cast_signed()).ok();
                    value.filter(|value| (least..=most).contains(value))
                };
                let values: Option<Vec<i32>> = self.varints.iter().map(each).collect();
                let rule = format!("{} has values from {least} to {most}", kind.name());
                let values = values.ok_or_else(|| Error::invalid(offset, what, rule))?;
                if kind.bits() == 6 && values.len() as u64 != count {
                    let rule = format!("has {} numbers, expected {count}", values.len());
                    return Err(Error::invalid(offset, what, rule));
                }
                narrow(kind, &values)
            }
            (Numbers::Int64, field::INT64_DATA) => {
                self.varints.iter().flat_map(|n| n.to_le_bytes()).collect()
            }
            (Numbers::Uint64(most), field::UINT64_DATA) => {
                if let Some(value) = self.varints.iter().find(|value| **value > most) {
                    let rule = format!("found {value}; {} has values up to {most}", kind.name());
                    return Err(Error::invalid(offset, what, rule));
                }
                let width =
                    usize::from(kind == DataType::Uint64).saturating_add(1).saturating_mul(4);
                let bytes = self.varints.iter().map(|n| n.to_le_bytes());
                bytes.flat_map(|bytes| bytes.into_iter().take(width)).collect()
            }
            _ => {
                let rule = format!("is not where numbers of {} stand", kind.name());
                return Err(Error::invalid(offset, what, rule));
            }
        };
        Ok(Data::Made(made))
    }
}

/// Numbers of `int32_data` in as many bits as the type has: one each, but for those of four and
/// two bits, of which each number holds a byte full.
fn narrow(kind: DataType, values: &[i32]) -> Vec<u8> {
    if kind.bits() == 6 {
        return six_bits(values);
    }
    let width = usize::try_from(kind.bits().div_ceil(8)).unwrap_or(4);
    values.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect()
}

/// Four elements of six bits in three bytes, from the lowest bit up.
fn six_bits(values: &[i32]) -> Vec<u8> {
    let groups = values.chunks(4).flat_map(|group| {
        let bits = group.iter().zip([0u32, 6, 12, 18]);
        let bits = bits.fold(0u32, |sum, (value, at)| sum | value.cast_unsigned() << at);
        // One, two, three elements have as many bytes; four have three.
        bits.to_le_bytes().into_iter().take(group.len().min(3))
    });
    groups.collect()
}
