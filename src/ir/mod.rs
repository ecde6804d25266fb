//! The tensor IR: what a model is, whatever file it came from.
//!
//! A [`Model`] is a value: configuration, tokenizer, and tensors that are recipes. A [`Tensor`]
//! knows its dtype and shape and how its bytes would be made; nothing is computed before a
//! writer or the runner asks for rows. This module knows no format, no family and no quantizer.

pub mod blob;
pub mod dtype;
pub mod dump;
pub mod error;
pub mod float;
pub mod graph;
pub mod hyper;
mod json;
pub mod kernel;
pub mod limits;
pub mod model;
pub mod note;
pub mod op;
pub mod shape;
pub(crate) mod simd;
pub mod tensor;
pub mod tokenizer;
pub mod value;
pub(crate) mod wide;

pub use blob::{Access, Blob};
pub use dtype::{Block, Codec, DType, Pack, Quantizer};
pub use error::{Error, Fault, Result};
pub use float::Tally;
pub use hyper::{Activation, Field, Hyper, LayerSet, Routing, Scalar, ScalarKind, Scaling};
pub use kernel::{Convention, Kernel, Layer};
pub use limits::Limits;
pub use model::{Config, Model, Naming};
pub use note::{Note, NoteKind, Notes};
pub use op::Op;
pub use shape::Shape;
pub use tensor::{Scratch, Tensor, View};
pub use value::Value;
