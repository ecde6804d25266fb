//! MessagePack as Flax has it: trees of arrays.
//!
//! ```text
//!  map  { "params": map { "Dense_0": map { "kernel": ext 1, "bias": ext 1 } } }
//!
//!  ext 1 (array), ext 3 (NumPy scalar): array [ shape, dtype's name, bin of the elements ]
//!  ext 2: array [ real, imaginary ], a number of Python's
//!  an array above 1 GiB: map { "__msgpack_chunked_array__": true, "shape": { "0": …, "1": … },
//!                              "chunks": { "0": ext 1, "1": ext 1, … } }
//! ```
//!
//! Elements are little-endian and row-major. A value says its own length, so arrays are passed
//! over, not read: what is read of a file is its names.
//!
//! Specification: <https://github.com/msgpack/msgpack/blob/master/spec.md>, and
//! `flax/serialization.py` of Flax 0.12. Refused: values nested more than 128 deep, more than a
//! million of them, keys that are no text or number or stand twice, bytes after the value.
//!
//! This crate reads and writes the container; it converts no element.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod dtype;
mod flax;
mod limits;
mod value;
mod write;

pub use dtype::Dtype;
pub use flax::{Array, Tree, probe, read};
pub use limits::Limits;
pub use value::{Value, parse};
pub use write::{CHUNK, Entry, Plan};

/// Most levels of values in values, which are read by recursion: trees of parameters have some tens.
const DEPTH_MAX: usize = 128;

/// The key that says that a map is an array in pieces: `flax.serialization`.
const CHUNKED: &str = "__msgpack_chunked_array__";

/// The extension types of `flax.serialization._MsgpackExtType`.
mod ext {
    pub(crate) const ARRAY: i8 = 1;
    pub(crate) const COMPLEX: i8 = 2;
    pub(crate) const SCALAR: i8 = 3;
}
