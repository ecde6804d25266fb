//! remold: any model format in, any out, quantized, and proven equal.
//!
//! ```text
//!  Source ──read──▶ Model ──arch──▶ Model ──transform──▶ Model ──quant──▶ Model ──write──▶ Sink
//!  named    bytes    theirs   names   ours    recipes      ours   policy    ours    layout,   named
//!  blobs    found             mapped                              applied           streamed  blobs
//!                                      │                             │
//!                                      └──────────── run ────────────┘ ──▶ verify: a report
//! ```
//!
//! Up to `write` nothing is computed: each arrow rewrites recipes.

pub mod ir;
pub mod store;
pub mod write;
pub mod cli;
