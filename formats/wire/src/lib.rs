//! What every container format shares: a source of bytes, a cursor over it, sizes that cannot
//! wrap, and an error that names its place.
//!
//! A length read from a file is compared with the bytes that remain before it sizes an
//! allocation, so a hostile file costs no more memory than it has bytes.
//!
//! This crate knows no format.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod cursor;
mod error;
mod sizes;
mod source;

pub use cursor::{Cursor, Endian};
pub use error::{Class, Error, Result, Why};
pub use sizes::{align_up, fits, product};
pub use source::ReadAt;
