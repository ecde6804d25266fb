//! The target that `REMOLD_FUZZ_TARGET` names:
//!
//!   REMOLD_FUZZ_TARGET=gguf cargo +nightly fuzz run target -- -max_total_time=600
//!
//! All of them, one after the other: scripts/fuzz_guided.py.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use remold_fuzz::targets::{TARGETS, Target};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let asked = std::env::var("REMOLD_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == asked);
    found.unwrap_or_else(|| panic!("REMOLD_FUZZ_TARGET is none of {}", known.join(", ")))
});

fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
