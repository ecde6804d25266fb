//! npy: one array of NumPy's.
//!
//! ```text
//!  0           6       8          10 (version 1) or 12            a multiple of 64
//!  ┌───────────┬───────┬──────────┬───────────────────────────────┬─────────────────┐
//!  │ 93 "NUMPY"│version│ n: u16   │ header: n bytes, a Python     │ data, to the    │
//!  │           │ 2 × u8│ or u32   │ dict; spaces and a newline pad│ end of the file │
//!  └───────────┴───────┴──────────┴───────────────────────────────┴─────────────────┘
//!
//!  {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
//! ```
//!
//! `descr` is byte order, kind and bytes per element. In Fortran order the first index runs
//! fastest. n has 4 bytes in versions 2 and 3, which differ in the encoding of field names only.
//!
//! Specification: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//! The header is a literal by the specification, and read as one: nothing is evaluated.
//! Refused: object arrays (their data are pickles), structures, text, dates, bytes after the data.
//! Of the types that `ml_dtypes` adds, NumPy's names for them tell two apart: `<V2` is bfloat16 and
//! `<f1` float8_e5m2; `<V1` is any of the others.
//!
//! This crate reads and writes the container; it converts no element.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod descr;
mod limits;
mod literal;
mod read;
mod write;

pub use descr::{Descr, Kind, is_object};
pub use limits::Limits;
pub use read::{Array, probe, read, read_head};
pub use write::header;

/// The first bytes of every file.
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Most dimensions: `NPY_MAXDIMS` of NumPy 2.
const RANK_MAX: usize = 64;
