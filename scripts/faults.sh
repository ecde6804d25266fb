#!/usr/bin/env bash
# Full disks, kills, little memory, inputs that shrink: shared/tools/faults.py against a release
# build. It is looked for in ../shared or $REMOLD_SHARED.
#
#   scripts/faults.sh [PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:-target/release/remold}
shared=${REMOLD_SHARED:-../shared}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
faults() {
    echo "== $*"
    python3 "$shared/tools/faults.py" "$@"
}
convert="$PWD/$program convert {in} {out} --overwrite --quiet"
good=fixtures/safetensors/names.safetensors
"$program" convert fixtures/tiny-llama "$work/large.gguf" --type f32 --quiet
faults enospc "$work/large.gguf" --cmd "$convert --type q8_0 --to gguf" --ext gguf --codes 6
unshare -rm true 2>/dev/null && unshare -rm python3 "$shared/tools/faults.py" enospc "$work/large.gguf" \
    --cmd "$convert --type q8_0 --to gguf" --ext gguf --codes 6
faults kill "$work/large.gguf" --cmd "$convert --type q4_k_m" --ext gguf --n "${KILLS:-200}"
faults mem "$work/large.gguf" --cmd "$convert --type q8_0" --ext gguf --mib 64,128,256,512
faults shrink "$work/large.gguf" --cmd "$convert --type q4_k_m" --ext gguf
for mode in perm same; do faults "$mode" "$good" --cmd "$convert" --ext safetensors; done
faults trunc "$good" --cmd "$convert" --ext safetensors
faults flip "$good" --cmd "$convert" --ext safetensors --n 500
faults corpus "$shared/corpora/hostile" --cmd "$convert"
