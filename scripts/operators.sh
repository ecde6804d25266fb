#!/usr/bin/env bash
# Gives each operator of ONNX's node suite strange attributes and inputs: each must be an error, none
# may panic. Minutes; the suite is looked for in ../shared/corpora or $REMOLD_CORPORA.
#
#   scripts/operators.sh
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --test suite --locked malformed_nodes_of_the_suite_are_errors -- --ignored
