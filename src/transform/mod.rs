//! Model → Model: what the user asks to leave out and to keep, and graphs of operators: their
//! types, and the weights that they hold.

mod graph;
mod select;

pub use graph::{Constants, Retype, retype, weights, weights_for_gguf};
pub use select::{Selection, select};
