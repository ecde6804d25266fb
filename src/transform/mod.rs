//! Model → Model: what the user asks to leave out and to keep.

mod select;

pub use select::{Selection, select};
