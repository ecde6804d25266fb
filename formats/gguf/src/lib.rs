//! GGUF, the single-file model format of ggml and llama.cpp.
//!
//! ```text
//!  0        4         8         16        24
//!  ┌────────┬─────────┬─────────┬─────────┬─────────────┬───────────────┬─────┬──────────┐
//!  │ "GGUF" │ version │ tensors │ entries │ entries:    │ infos:        │ pad │ data     │
//!  │ 4 × u8 │ u32 = 3 │ u64     │ u64     │ key kind    │ name rank     │  0… │ each at  │
//!  │        │         │         │         │ value …     │ dims … kind   │     │ align·n, │
//!  │        │         │         │         │             │ offset …      │     │ pad 0…   │
//!  └────────┴─────────┴─────────┴─────────┴─────────────┴───────────────┴─────┴──────────┘
//! ```
//!
//! Integers are little-endian (in a big-endian file everything but the magic is swapped). Text is
//! a `u64` byte length, then UTF-8, no terminator. Dimensions run fastest first: the reverse of
//! NumPy. A stored offset counts from the start of `data`, which begins at the next multiple of
//! `general.alignment` (32 unless stated); [`TensorInfo::offset`] counts from the start of the file.
//!
//! Specification: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, version 3. Versions
//! 1 (lengths, counts and dimensions are `u32`) and 2 are read too; version 3 is written.
//! Seen in the wild, and accepted: text ending in NUL, data in another order than the infos, a last
//! tensor without padding. Refused: holes, overlaps, padding that is not zero, trailing bytes,
//! nested arrays deeper than 8. All of it: `docs/formats/gguf.md`.
//!
//! This crate reads and writes the container. It does not decode weights and names no model.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod data;
mod kind;
mod limits;
mod metadata;
mod names;
mod read;
mod reader;
mod split;
mod value;
mod write;

pub use kind::{KINDS, Kind};
pub use limits::Limits;
pub use metadata::Metadata;
pub use read::{File, TensorInfo, probe, read};
pub use split::{
    SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS_COUNT, SplitName, parse_split_name, split_name,
};
pub use value::{Array, Value, ValueKind};
pub use wire::Endian;
pub use write::{Placed, Plan};

/// The first four bytes of every file, in either byte order.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 3;

/// The key under which a file states its alignment.
pub const ALIGNMENT_KEY: &str = "general.alignment";

/// The alignment of a file that states none.
pub const ALIGNMENT_DEFAULT: u64 = 32;

/// The least alignment: the specification wants a multiple of 8.
const ALIGNMENT_MIN: u64 = 8;

/// The longest tensor name that is written, in bytes: ggml keeps names in 64 bytes with a NUL
/// (`GGML_MAX_NAME`), and refuses one of 64.
pub const NAME_WRITE_MAX: usize = 63;
