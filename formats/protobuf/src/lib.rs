//! The wire form of protocol buffers: fields, each with its place in the file.
//!
//! ```text
//!  field = varint (number << 3 | kind), then by kind:
//!  0 a varint   1 8 bytes   2 a varint length and as many bytes   3 … 4 a group   5 4 bytes
//!
//!  varint: seven bits a byte, the lowest first; the top bit says that more follow; at most ten bytes
//! ```
//!
//! A message is a range of the file, not a value: whoever rewrites a file copies what it does not
//! know from the place where it lies, so nothing is lost that a later version of a schema added.
//! Weights inside of a message are passed over, never read; a file may be longer than the 2 GiB
//! that libraries of protocol buffers end at.
//!
//! Specification: <https://protobuf.dev/programming-guides/encoding/>.
//! Accepted: varints longer than they need be, groups (passed over whole). Refused: numbers above
//! 64 bits, field numbers outside of 1 to 2²⁹ − 1, kinds 6 and 7, more than 100 levels.
//!
//! This crate knows no schema.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod field;
mod limits;
mod read;
mod write;

pub use field::{Field, Value};
pub use limits::Limits;
pub use read::{Message, Reader, once, read_varint};
pub use wire::{Class, Error, Result, Why};
pub use write::{bytes, fixed32, len_of, open, put_varint, varint};

/// Most levels of messages within messages: what libraries of protocol buffers accept.
pub const LEVELS_MAX: u32 = 100;
