//! Graphs of operators: the types that they compute in, and the weights that they hold.

mod narrow;
mod precision;
mod scope;
mod signatures;
mod weights;

pub use narrow::{Narrow, narrow};
pub use weights::{Constants, weights, weights_for_gguf};
