//! Model → Model: what the user asks to leave out, to keep, to set.

mod metadata;
mod select;

pub use metadata::{Edits, edit};
pub use select::{Selection, select};
