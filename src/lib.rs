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
pub mod types;

pub mod arch;
pub mod quant;
pub mod transform;

pub mod store;

pub mod read;
pub mod write;

pub mod run;
pub mod verify;

pub mod cli;
pub mod convert;
pub mod formats;
pub mod manifest;
