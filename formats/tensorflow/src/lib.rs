//! TensorFlow: checkpoints, SavedModels, graphs.
//!
//! ```text
//!  PREFIX.index, a table of LevelDB                       PREFIX.data-00000-of-00002
//!  ┌─────────────────────────────┐                        ┌───────────────────────┐
//!  │ block: key → message …      │  "" → BundleHeader     │ elements, row-major,  │
//!  │ type, masked CRC-32C        │  "w" → BundleEntry ───▶│ one tensor after the  │
//!  │ block …                     │   dtype shape shard    │ other                 │
//!  │ index of blocks             │   offset size crc32c   └───────────────────────┘
//!  │ footer, 48 bytes: magic     │  slice's key → BundleEntry ──▶ …
//!  └─────────────────────────────┘
//!
//!  version 1: the same table in one file   "" → SavedTensorSlices.meta
//!                                          slice's key → SavedTensorSlices.data
//!
//!  saved_model.pb: SavedModel > MetaGraphDef > GraphDef > NodeDef…, FunctionDef…
//!                                            > SignatureDef…, assets, objects
//! ```
//!
//! A block of a table:
//!
//! ```text
//!  entry…                                            restart: u32 …  count: u32 │ type: u8  crc: u32
//!  shared, own, value: varints │ own bytes of the key │ value
//! ```
//!
//! Keys are ascending, and each leaves out what it shares with the one before but for every 16th,
//! a restart. A checksum is masked: rotated by 15 bits, plus 0xa282ead8.
//!
//! Specification: `tensorflow/core/lib/io/format.cc`, `tensorflow/core/protobuf/*.proto`,
//! `tensorflow/core/util/tensor_bundle/tensor_bundle.cc`, `tensorflow/core/util/saved_tensor_slice.proto`
//! of <https://github.com/tensorflow/tensorflow>, version 2.21.
//! Every checksum of the table is checked; those of weights on request. Refused, where TensorFlow
//! goes on: keys that are not ascending, restarts that are none, slices that no tensor has.
//!
//! This crate reads and writes the containers; it knows no operator and runs nothing.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod checkpoint;
mod crc;
mod graph;
mod kind;
mod limits;
mod objects;
mod ordered;
mod parser;
mod saved;
mod shape;
mod slice;
mod table;
mod tensor;
mod text;
mod v1;
mod v2;
mod write;

pub use checkpoint::{Checkpoint, Data, Options, Piece, Tensor, Version, probe, read};
pub use crc::{Sum, combine, mask, verify};
pub use graph::{Attribute, Function, Graph, Node, probe_graph, read_graph};
pub use kind::DataType;
pub use limits::Limits;
pub use objects::{Object, Objects, Saved, Slot};
pub use saved::{
    ConcreteFunction, MetaGraph, SavedModel, SavedObject, Signature, TensorInfo, probe_saved_model,
    read_saved_model,
};
pub use shape::Shape;
pub use tensor::{Constant, Values};
pub use text::{read_state, read_text};
pub use wire::{Class, Error, Result, Why};
pub use write::{Entry, Plan};

/// The tensor of a checkpoint that holds the graph of objects which it was made of, as one text.
/// Source: `OBJECT_GRAPH_PROTO_KEY`, `tensorflow/python/trackable/base.py`.
pub const OBJECT_GRAPH: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";
