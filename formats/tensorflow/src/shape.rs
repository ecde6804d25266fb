//! Shapes: `TensorShapeProto`.

use protobuf::{Field, Message, once};
use wire::{Error, Result};

use crate::parser::Parser;

/// The dimensions of a tensor, outermost first, as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape {
    /// Where it is stated.
    pub at: u64,
    /// Each dimension, −1 where it is not known; nothing if not even their number is.
    pub dims: Option<Vec<i64>>,
}

const WHAT: &str = "TensorShapeProto";

/// Reads `TensorShapeProto`.
pub(crate) fn shape(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Shape> {
    let (mut dims, mut unknown) = (Vec::new(), None);
    parser.inside(of, field, WHAT, &mut |parser, of, field| match field.number {
        2 => {
            dims.push(dim(parser, of, field)?);
            Ok(())
        }
        3 => once(&mut unknown, field.truth(WHAT)?, field, WHAT),
        _ => Ok(()),
    })?;
    let dims = (unknown != Some(true)).then_some(dims);
    Ok(Shape { at: field.span.start, dims })
}

fn dim(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<i64> {
    let mut size = None;
    parser.inside(of, field, WHAT, &mut |_, _, field| match field.number {
        1 => once(&mut size, field.int64(WHAT)?, field, WHAT),
        _ => Ok(()),
    })?;
    Ok(size.unwrap_or(0))
}

impl Shape {
    /// The dimensions of what is stored.
    ///
    /// # Errors
    /// `Invalid` if one is not known, or their product is not within 63 bits.
    pub fn known(&self) -> Result<Vec<u64>> {
        let wrong = |rule: String| Error::invalid(self.at, WHAT, rule);
        let dims = self.dims.as_ref();
        let dims = dims.ok_or_else(|| wrong("unknown rank, where elements are stored".into()))?;
        let known = dims.iter().map(|dim| u64::try_from(*dim));
        let known: std::result::Result<Vec<u64>, _> = known.collect();
        let known = known.map_err(|_| wrong(format!("{dims:?}, where elements are stored")))?;
        let count = wire::product(&known).filter(|count| *count <= i64::MAX.cast_unsigned());
        count.ok_or_else(|| wrong(format!("{dims:?} has more elements than 2^63")))?;
        Ok(known)
    }
}
