//! TensorFlow Lite models: their constant tensors, how those are quantized, and which layers have
//! them as kernels.
//!
//! ```text
//!  0        4       8
//!  ┌────────┬───────┬──────────────────────────────────────────────────────────┬─────────┐
//!  │ root ──┼ TFL3  │ FlatBuffers: tables, vectors, texts, in any order        │ buffers │
//!  └────────┴───────┴──────────────────────────────────────────────────────────┴─────────┘
//!
//!  Model ─▶ subgraphs ─▶ tensors ─▶ buffer number, type, shape, scales and zero points
//!        │            └▶ operators ─▶ operator code, input tensors
//!        └▶ buffers ─▶ bytes: in a vector, or above 2 GiB behind it all, at an offset of the file
//! ```
//!
//! A table begins with the way back to its vtable, which says at which offset within the table each
//! field is; offsets of other things are 32 bits, forwards. Everything is little-endian.
//!
//! Specification: `tensorflow/compiler/mlir/lite/schema/schema.fbs` of TensorFlow 2.21 (version 3),
//! <https://flatbuffers.dev/internals/>. Every offset is held against the file, nothing is read of a
//! buffer; what is read of tables, names and lists is bounded by the length of the file.
//!
//! This crate reads the container; it converts no element.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod flat;
mod graph;
mod kind;
mod limits;
mod model;

pub use graph::Layer;
pub use kind::Kind;
pub use limits::Limits;
pub use model::{Model, Quantization, Tensor, Unread, read};

/// What stands behind the root's offset.
const IDENTIFIER: &[u8; 4] = b"TFL3";

/// Most dimensions of a tensor. The interpreter has kernels for up to 8.
const RANK: limits::Limit = (64, "as many as NumPy has");

/// Whether a file that begins with `head` is a model.
pub fn probe(head: &[u8]) -> bool {
    head.get(4..8) == Some(IDENTIFIER.as_slice())
}
