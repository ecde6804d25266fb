//! The model files of ggml before GGUF.
//!
//! ```text
//!  0       4         4 or 8
//!  ┌───────┬─────────┬─────────────┬────────────┬────────────┬──────────────────────────────┐
//!  │ magic │ version │ header:     │ filters    │ vocabulary │ tensors, to the end:         │
//!  │ u32   │ u32     │ some u32,   │ whisper's  │ u32 length,│ u32 dimensions, name length, │
//!  │       │ but for │ by program  │ only: f32  │ text, and  │ kind; dimensions; name;      │
//!  │       │ "ggml"  │             │            │ f32 score  │ padding (ggjt); data         │
//!  └───────┴─────────┴─────────────┴────────────┴────────────┴──────────────────────────────┘
//! ```
//!
//! Numbers are little-endian, so that "ggjt" stands in the file as "tjgg". Dimensions run fastest
//! first. There is no count of tensors and no table: they follow each other to the last byte.
//!
//! Nothing says which program's header follows a magic. [`LAYOUTS`] lists those that are read; a
//! file is in the one that fits it, which is one whose header is plausible and whose tensors end
//! with the file. Numbers of kinds meant other blocks before May 2023: [`Kind`] keeps them apart.
//!
//! Sources: `llama_file_loader` of llama.cpp up to August 2023, `rwkv_file_format.inc` of rwkv.cpp,
//! `whisper_model_load` of whisper.cpp. Refused: models in several parts (`.bin.1`), adapters
//! ("ggla"), Q4_3, and quantized files of rwkv.cpp's version 100, which do not say whose blocks
//! they have.
//!
//! This crate reads the container; it decodes no weight.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod kind;
mod layout;
mod read;

pub use kind::{Blocks, Kind};
pub use layout::{LAYOUTS, Layout, Program};
pub use read::{File, Filters, TensorInfo, Token, probe, read};
