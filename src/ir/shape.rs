//! The dimensions of a tensor, outermost first, as NumPy has them.

use std::fmt;

use super::{DType, Error, Result};

/// The dimensions of a tensor, outermost first. A scalar has none.
///
/// The number of elements, and of bytes in any dtype, fits in 64 bits: checked at construction.
#[derive(Clone, PartialEq, Eq)]
pub struct Shape(Vec<u64>);

impl Shape {
    /// A shape whose elements, at sixteen bytes each, can be counted in 64 bits.
    ///
    /// # Errors
    /// Malformed if they cannot.
    pub fn new(dims: Vec<u64>) -> Result<Self> {
        let count = wire::product(&dims).and_then(|count| count.checked_mul(16));
        if count.is_none() {
            return Err(Error::malformed(format!("shape {dims:?} has more elements than 2^60")));
        }
        Ok(Self(dims))
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[u64] {
        &self.0
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The number of elements.
    pub fn count(&self) -> u64 {
        self.0.iter().product()
    }

    /// Elements of a row: the innermost dimension.
    pub fn columns(&self) -> u64 {
        self.0.last().copied().unwrap_or(1)
    }

    /// The number of rows: all dimensions but the innermost.
    pub fn rows(&self) -> u64 {
        self.0.split_last().map_or(1, |(_, outer)| outer.iter().product())
    }

    /// The bytes of a tensor of this shape.
    ///
    /// # Errors
    /// Malformed if a row is not a whole number of the dtype's blocks.
    pub fn bytes(&self, dtype: DType) -> Result<u64> {
        if dtype.is_sub_byte() {
            return Ok(dtype.bytes_of(self.count()));
        }
        let row = dtype.row_bytes(self.columns()).ok_or_else(|| {
            Error::malformed(format!(
                "rows of {} elements are not whole blocks of {} ({dtype})",
                self.columns(),
                dtype.block_len()
            ))
        })?;
        Ok(row * self.rows())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.pad(&format!("[{}]", dims.join(", ")))
    }
}
