//! safetensors: tensors as they lie in memory, behind a header in JSON.
//!
//! ```text
//!  0          8                          8 + n, a multiple of 8 when written here
//!  ┌──────────┬──────────────────────────┬──────────────────────────────────────┐
//!  │ n: u64   │ header: n bytes of JSON, │ data: every byte belongs to exactly  │
//!  │          │ spaces pad its end       │ one tensor, little-endian, row-major │
//!  └──────────┴──────────────────────────┴──────────────────────────────────────┘
//!
//!  {"__metadata__": {"format": "pt"},                         text to text, optional
//!   "w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, …}
//! ```
//!
//! Offsets count from the start of `data`. Shapes have the outermost dimension first. An offset
//! need not be a multiple of the element's size. The order of the header is not that of the data.
//!
//! Specification: <https://github.com/huggingface/safetensors>, README, "Format", at version 0.8.
//! Accepted: empty names, no tensors, tensors of no dimension or of no element. Refused beyond
//! what the reference refuses: equal keys, unknown fields, more than 64 dimensions, a space
//! before the header, padding other than spaces, `null` for metadata, and dimensions whose
//! product wraps even where another one is 0.
//!
//! This crate reads and writes the container and the index of its shards. It decodes no element
//! and knows no model.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod dtype;
mod foreign;
mod header;
mod index;
mod json;
mod plan;
mod read;

pub use dtype::Dtype;
pub use index::{Index, contained, read_index, shard_name, write_index};
pub use plan::{Entry, Plan, Span};
pub use read::{File, Limits, TensorInfo, probe, read};

/// Bytes of the field that states the header's length.
const LENGTH_BYTES: u64 = 8;

/// Longest header that the reference reads: `MAX_HEADER_SIZE` of its `tensor.rs`.
const HEADER_MAX: u64 = 100_000_000;

/// Most dimensions of a tensor, as in NumPy 2 (`NPY_MAXDIMS`); the specification states none.
const RANK_MAX: u64 = 64;

/// The key of the header that holds text for people and programs, and so can name no tensor.
const METADATA: &str = "__metadata__";
