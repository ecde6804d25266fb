#!/usr/bin/env bash
# Mutates good files and gives them to every reader, for so many seconds each. An input at which one
# panics or hangs is kept in target/tmp: it becomes a file of fixtures/fuzz/TARGET when it is mended.
#
#   scripts/fuzz.sh [SECONDS [TARGET]]      600 s for each target of fuzz/src/targets.rs
#
# With a nightly compiler and cargo-fuzz, guided by coverage: scripts/fuzz_guided.py
set -euo pipefail
cd "$(dirname "$0")/.."
export REMOLD_FUZZ_SECONDS=${1:-600} REMOLD_FUZZ_TARGET=${2:-}
cargo test --test suite --locked fuzz::for_as_long_as_it_is_told -- --ignored --nocapture
