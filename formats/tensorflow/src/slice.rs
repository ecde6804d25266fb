//! Slices: `TensorSliceProto`, a part of a tensor in each dimension.

use protobuf::{Field, Message, once};
use wire::{Error, Result};

use crate::parser::Parser;

/// A part of one dimension: from where, and how many; nothing for all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) len: Option<u64>,
}

/// A part of a tensor, dimension by dimension.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Slice(pub(crate) Vec<Extent>);

const WHAT: &str = "TensorSliceProto";

/// Reads `TensorSliceProto`.
pub(crate) fn slice(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Slice> {
    let mut extents = Vec::new();
    parser.inside(of, field, WHAT, &mut |parser, of, field| {
        if field.number == 1 {
            extents.push(extent(parser, of, field)?);
        }
        Ok(())
    })?;
    Ok(Slice(extents))
}

fn extent(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Extent> {
    let (mut start, mut len) = (None, None);
    parser.inside(of, field, WHAT, &mut |_, _, field| match field.number {
        1 => once(&mut start, field.int64(WHAT)?, field, WHAT),
        2 => once(&mut len, field.int64(WHAT)?, field, WHAT),
        _ => Ok(()),
    })?;
    let positive = |value: i64| {
        let rule = format!("found {value}, expected no negative number");
        u64::try_from(value).map_err(|_| Error::invalid(field.span.start, WHAT, rule))
    };
    Ok(Extent { start: positive(start.unwrap_or(0))?, len: len.map(positive).transpose()? })
}

impl Slice {
    /// Where the slice begins and how many it has in each dimension of a tensor.
    ///
    /// # Errors
    /// `Invalid` if it is none of a tensor of this shape.
    pub(crate) fn within(&self, dims: &[u64], at: u64) -> Result<(Vec<u64>, Vec<u64>)> {
        let wrong = |rule: String| Error::invalid(at, WHAT, rule);
        if self.0.len() != dims.len() {
            let (found, expected) = (self.0.len(), dims.len());
            return Err(wrong(format!("has {found} dimensions, expected {expected}")));
        }
        let each = self.0.iter().zip(dims).map(|(extent, &dim)| {
            let len = extent.len.unwrap_or(dim);
            let fits = wire::fits(extent.start, len, dim);
            let is_whole = extent.len.is_some() || extent.start == 0;
            if fits.is_none() || !is_whole {
                let start = extent.start;
                return Err(wrong(format!("{len} from {start} reach out of {dim}")));
            }
            Ok((extent.start, len))
        });
        each.collect()
    }
}
