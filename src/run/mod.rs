//! Runs a model: token ids in, logits out, driven by the table of its family.
//!
//! ```text
//!  ids ──▶ embedding ─▶ ┌ norm ─▶ query key value ─▶ rope ─▶ cache ─▶ attention ─▶ output ─▶ + ┐
//!                       └ norm ─▶ feed-forward ────────────────────────────────────────────▶ + ┘
//!                         × layers                                        ─▶ norm ─▶ head ─▶ logits
//! ```
//!
//! [`tokens`] makes ids of text and text of ids, as the model's tokenizer says.
//!
//! Weights are used as they are stored, and recipes are evaluated where they are used, so a model
//! that is being re-encoded runs without having been written. Activations are binary32.
//!
//! Every sum is taken in an order that depends on sizes alone: the same logits, bit for bit, on
//! any number of threads and any instruction set.

mod attention;
mod batch;
mod bench;
mod cache;
pub mod chat;
mod decoder;
mod encoder;
pub mod graph;
mod inputs;
pub mod kernels;
mod machine;
pub mod math;
mod pool;
pub mod random;
mod relative;
mod rope;
mod rwkv;
pub mod sample;
mod seq2seq;
mod state;
mod state_space;
pub mod tokens;
mod weight;

#[cfg(test)]
mod tests;

pub use bench::{Speeds, bench};
pub use cache::Cache;
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use inputs::{Inputs, Sums};
pub use machine::Machine;
pub use pool::pooled;
pub use seq2seq::{Conversation, Seq2Seq};

use crate::ir::{Error, Result};

/// A pool of this many threads, or one for each core if it is 0; run a model inside its `install`.
///
/// # Errors
/// Limit if the system grants no more threads.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|error| Error::limit(format!("cannot start {threads} threads: {error}")))
}
