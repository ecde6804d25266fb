//! SentencePiece: the model of a tokenizer, the file `tokenizer.model` or `*.spm`.
//!
//! ```text
//!  ModelProto, a message of protocol buffers (proto2)
//!  1 pieces…          1 piece: text   2 score: f32   3 type      one per id, in the order of ids
//!  2 trainer_spec     3 model_type   35 byte_fallback   40 unk_id   41 bos_id   42 eos_id   43 pad_id
//!  3 normalizer_spec  2 precompiled_charsmap   3 add_dummy_prefix   4 remove_extra_whitespaces
//!                     5 escape_whitespaces
//! ```
//!
//! Fields are those of protocol buffers. What is absent has the default of the specification,
//! which is `true` for three of the normalizer's flags.
//!
//! Specification: `src/sentencepiece_model.proto` of <https://github.com/google/sentencepiece>,
//! version 0.2. Unknown fields are left out; of a field that comes twice the last counts, and two
//! messages are merged, as in every reader of protocol buffers. Refused: numbers that do
//! not fit their type, pieces that are not UTF-8, a file without pieces.
//!
//! This crate reads and writes the container; it cuts no text.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod model;
mod read;
mod write;

pub use model::{Kind, Model, Normalizer, Piece, Trainer, Type};
pub use read::{probe, read};
pub use wire::{Class, Error, Result, Why};
pub use write::write;
