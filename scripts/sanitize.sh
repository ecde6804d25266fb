#!/usr/bin/env bash
# Tests under AddressSanitizer, which sees what Miri cannot run: the map, the kernels of each instruction
# set, calls of the system. Needs a nightly compiler. Without arguments: the format crates, and of the
# program all that is unsafe or fed by it (maps, kernels, packings, the store, the runner).
#
#   scripts/sanitize.sh [CRATE…]
set -euo pipefail
cd "$(dirname "$0")/.."
if ! rustc +nightly --version >/dev/null 2>&1; then echo "not run: there is no nightly compiler"; exit 1; fi
export RUSTFLAGS="-Zsanitizer=address ${RUSTFLAGS:-}" CARGO_TARGET_DIR=target/sanitize
# A limit on memory is the program's to meet, not the sanitizer's. Names of temporary files stay for
# good, because a signal's handler may be reading them: those leaks are meant.
export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1:detect_leaks=0}
target=x86_64-unknown-linux-gnu
crates=("$@")
[ ${#crates[@]} -gt 0 ] || for dir in formats/*/; do crates+=("remold-$(basename "$dir")"); done
for crate in "${crates[@]}"; do
    echo "$crate"
    cargo +nightly test --locked --quiet --target "$target" -p "$crate" --lib --tests
done
[ $# -gt 0 ] || cargo +nightly test --locked --quiet --target "$target" -p remold --lib -- ir:: quant:: store:: read:: run::
