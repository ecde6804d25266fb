//! Model → Model: what the user asks to leave out and to keep, and graphs of operators: their
//! types, and the weights that they hold; the order of kernels' dimensions.

mod convention;
mod graph;
mod select;

pub use convention::{convention, ordered};
pub use graph::{Constants, Renamed, Retype, retype, weights, weights_for_gguf};
pub use select::{Selection, select};
