//! ONNX: a model as a graph of operators, the file `*.onnx`.
//!
//! ```text
//!  ModelProto, a message of protocol buffers (proto2)
//!  1 ir_version  8 opset_import…  7 graph  25 functions…  20 training_info…  14 metadata_props…
//!                                 │
//!  GraphProto                     ├─ 1 node…          1 input… 2 output… 4 op_type 5 attribute…
//!                                 ├─ 5 initializer…   1 dims… 2 data_type 8 name 9 raw_data
//!                                 ├─ 15 sparse_initializer…
//!                                 └─ 11 input…  12 output…  13 value_info…
//! ```
//!
//! A tensor's elements are little-endian, row-major, in `raw_data`; or numbers of `float_data`,
//! `int32_data` and the like; or in a file beside the model. What is smaller than a byte is packed
//! from the lowest bit up, across rows. An attribute may hold a graph: If, Loop, Scan.
//!
//! Specification: <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>, version 14 of the IR.
//! Every message is read together with its place, so that a rewritten file keeps what is not known
//! here. Refused, where libraries of protocol buffers go on: a field that stands twice, text that is
//! not UTF-8, numbers in a field that is not their type's, elements that are not as many as
//! the dimensions say, several kinds of data at once.
//!
//! This crate reads and rewrites the container; it knows no operator and runs nothing.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod entry;
mod external;
pub mod fields;
mod graph;
mod kind;
mod model;
mod stored;
mod tensor;
mod value;
mod write;

pub use external::External;
pub use graph::{Attribute, AttributeValue, Graph, Node, TYPES};
pub use kind::{DataType, Numbers};
pub use model::{Function, Model, OperatorSet, Training, probe, read};
pub use protobuf::{Field, Limits, Message as Fields, Reader, Value};
pub use stored::{Form, Stored, read_value};
pub use tensor::{Data, SparseTensor, Tensor};
pub use value::{Dim, Type, ValueInfo};
pub use wire::{Class, Error, Result, Why};
pub use write::{Message, Piece};
