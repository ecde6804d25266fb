//! Version 1: `SavedTensorSlices`, a table whose values hold the weights.

use std::collections::BTreeMap;

use protobuf::{Field, Message, once};
use wire::{Error, Result, Why};

use crate::checkpoint::{Checkpoint, Data, Piece, Tensor, Version};
use crate::kind::{DataType, kind};
use crate::ordered;
use crate::parser::Parser;
use crate::shape::{Shape, shape};
use crate::slice::{Slice, slice};
use crate::table::{Value, shown};
use crate::tensor::{Stated, Values, stated};

/// A checkpoint that is being read.
pub(crate) struct Slices {
    tensors: Vec<Meta>,
    /// Slices by their keys, with what is to be looked for.
    expected: BTreeMap<Vec<u8>, Expected>,
}

/// `SavedSliceMeta`.
#[derive(Default)]
struct Meta {
    at: u64,
    name: Option<String>,
    shape: Option<Shape>,
    kind: Option<DataType>,
    slices: Vec<Slice>,
}

/// A slice that the meta data name.
struct Expected {
    tensor: usize,
    piece: Place,
    data: Option<Data>,
}

#[derive(Clone)]
struct Place {
    start: Vec<u64>,
    dims: Vec<u64>,
    kind: DataType,
}

const META: &str = "SavedSliceMeta";
const DATA: &str = "SavedSlice";

impl Slices {
    /// Reads the meta data: `SavedTensorSlices.meta`.
    pub(crate) fn begin(value: &Value<'_>) -> Result<Self> {
        let mut tensors = Vec::new();
        Parser::entry_of(value, &mut |parser, of, field| {
            if field.number != 1 {
                return Ok(());
            }
            parser.inside(of, field, "SavedTensorSliceMeta", &mut |parser, of, field| {
                if field.number == 1 {
                    tensors.push(meta(parser, of, field)?);
                }
                Ok(())
            })
        })?;
        let mut all = Self { tensors, expected: BTreeMap::new() };
        for no in 0..all.tensors.len() {
            all.expect(no)?;
        }
        Ok(all)
    }

    fn expect(&mut self, no: usize) -> Result<()> {
        let Some(meta) = self.tensors.get(no) else { return Ok(()) };
        let wrong = |rule: String| Error::invalid(meta.at, META, rule);
        let name = meta.name.as_deref().ok_or_else(|| wrong("has no name".into()))?;
        let kind = meta.kind.ok_or_else(|| wrong("has no type".into()))?;
        let dims = meta.shape.as_ref().map_or(Ok(Vec::new()), Shape::known)?;
        for slice in &meta.slices {
            let (start, dims) = slice.within(&dims, meta.at)?;
            let piece = Place { start, dims, kind };
            let expected = Expected { tensor: no, piece, data: None };
            if self.expected.insert(ordered::key(name, slice), expected).is_some() {
                return Err(wrong(format!("'{name}' has one slice twice")));
            }
        }
        Ok(())
    }

    /// Takes the entry of a slice: `SavedTensorSlices.data`.
    pub(crate) fn take(&mut self, key: &[u8], value: &Value<'_>) -> Result<()> {
        let at = value.range.start;
        let expected = self.expected.get_mut(key);
        let expected = expected.ok_or_else(|| {
            let rule = format!("{} is a slice of no tensor", shown(key));
            Error::invalid(at, DATA, rule)
        })?;
        let mut found = None;
        Parser::entry_of(value, &mut |parser, of, field| {
            if field.number != 2 {
                return Ok(());
            }
            parser.inside(of, field, DATA, &mut |parser, of, field| match field.number {
                3 => once(&mut found, stated(parser, of, field)?, field, DATA),
                _ => Ok(()),
            })
        })?;
        let found: Stated = found.ok_or_else(|| Error::invalid(at, DATA, "has no data"))?;
        let values = found.values(expected.piece.kind)?;
        check(&values, &expected.piece, at)?;
        let block = value.inflated.cloned();
        expected.data = Some(Data::Here { values, block });
        Ok(())
    }

    /// Joins slices with their tensors.
    pub(crate) fn finish(self) -> Result<Checkpoint> {
        let mut pieces: Vec<Vec<Piece>> = self.tensors.iter().map(|_| Vec::new()).collect();
        for (key, expected) in self.expected {
            let Place { start, dims, .. } = expected.piece;
            let data = expected.data.ok_or_else(|| {
                Error::invalid(0, META, format!("a slice is missing, {}", shown(&key)))
            })?;
            if let Some(of) = pieces.get_mut(expected.tensor) {
                of.push(Piece { start, dims, data });
            }
        }
        let mut tensors = Vec::new();
        for (meta, pieces) in self.tensors.into_iter().zip(pieces) {
            let (Some(name), Some(kind)) = (meta.name, meta.kind) else { continue };
            let dims = meta.shape.as_ref().map_or(Ok(Vec::new()), Shape::known)?;
            tensors.push(Tensor { name, kind, dims, pieces });
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let twice = tensors.iter().zip(tensors.iter().skip(1)).find(|(a, b)| a.name == b.name);
        if let Some((tensor, _)) = twice {
            return Err(Error::invalid(0, META, format!("'{}' stands twice", tensor.name)));
        }
        Ok(Checkpoint { version: Version::V1, tensors })
    }
}

fn meta(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Meta> {
    let mut meta = Meta { at: field.span.start, ..Meta::default() };
    parser.inside(of, field, META, &mut |parser, of, field| match field.number {
        1 => once(&mut meta.name, parser.text(field, META)?, field, META),
        2 => once(&mut meta.shape, shape(parser, of, field)?, field, META),
        3 => once(&mut meta.kind, kind(field, META)?, field, META),
        4 => {
            meta.slices.push(slice(parser, of, field)?);
            Ok(())
        }
        _ => Ok(()),
    })?;
    Ok(meta)
}

/// Whether there are as many elements as the slice has.
fn check(values: &Values, piece: &Place, at: u64) -> Result<()> {
    let (Some(found), Some(width)) = (values.bytes(), piece.kind.bytes()) else { return Ok(()) };
    let need = wire::product(&piece.dims).and_then(|count| count.checked_mul(width));
    if need == Some(found) {
        return Ok(());
    }
    let (dims, name) = (&piece.dims, piece.kind.name());
    let expected = format!("those of {dims:?} of {name}");
    let why = Why::Mismatch { found: format!("{found} bytes"), expected };
    Err(Error::new(at, DATA, why))
}
