#!/usr/bin/env bash
# The format crates' own tests under Miri, which sees undefined behaviour. Needs a nightly compiler
# with the component miri; damage tests, which try every bit, are left out: they would take days.
#
#   scripts/miri.sh [CRATE…]
set -euo pipefail
cd "$(dirname "$0")/.."
crates=("$@")
[ ${#crates[@]} -gt 0 ] || for dir in formats/*/; do crates+=("remold-$(basename "$dir")"); done
export MIRIFLAGS=${MIRIFLAGS:--Zmiri-disable-isolation}
for crate in "${crates[@]}"; do
    echo "$crate"
    cargo +nightly miri test --locked -p "$crate" -- --skip damage --skip prefix --skip flip --skip corpus
done
