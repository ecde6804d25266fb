//! Graphs of operators: the types that they compute in, and the weights that they hold.

mod narrow;
mod precision;
mod scope;
mod signatures;

pub use narrow::{Narrow, narrow};
