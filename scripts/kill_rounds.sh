#!/usr/bin/env bash
# Kills a conversion (signal 9) at many moments between its start and its end. What lies under the
# final name must be the old output or the whole new one, each time.
#
# With --resume, what a kill leaves is gone on with, and gives the same bytes.
#
#   scripts/kill_rounds.sh [--resume] [ROUNDS [PROGRAM]]      200 rounds of target/release/remold
set -euo pipefail
cd "$(dirname "$0")/.."
resume=()
if [ "${1:-}" = --resume ]; then resume=(--resume) && shift; fi
rounds=${1:-200}
program=${2:-target/release/remold}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
target=$work/out.gguf

arguments=(convert fixtures/tiny-llama "$target" --type f32 --overwrite --quiet "${resume[@]}")
convert() { "$program" "${arguments[@]}"; }

started=$(date +%s%N)
convert
micros=$((($(date +%s%N) - started) / 1000))
good=$(sha256sum <"$target")
echo old >"$target"
old=$(sha256sum <"$target")

landed=0 finished=0
for ((round = 0; round < rounds; round++)); do
    echo old >"$target"
    # Not the function: its shell would die in the place of the program.
    "$program" "${arguments[@]}" &
    child=$!
    # Evenly over the time that a whole run takes, and a tenth more.
    wait_us=$((micros * 11 / 10 * round / rounds))
    sleep "$(printf '%d.%06d' $((wait_us / 1000000)) $((wait_us % 1000000)))"
    kill -KILL "$child" 2>/dev/null || true
    status=0
    wait "$child" 2>/dev/null || status=$?
    if [ "$status" = 137 ]; then landed=$((landed + 1)); fi
    if [ ${#resume[@]} -gt 0 ] && [ "$status" = 137 ]; then
        convert
        [ "$(sha256sum <"$target")" = "$good" ] || { echo "round $round: resumed to other bytes" >&2; exit 1; }
        echo old >"$target"
    fi
    case $(sha256sum <"$target") in
    "$old") ;;
    "$good") finished=$((finished + 1)) ;;
    *) echo "round $round: half an output under the final name" >&2; exit 1 ;;
    esac
done
convert
[ "$(sha256sum <"$target")" = "$good" ] || { echo "the run after the kills gives other bytes" >&2; exit 1; }
left=$(find "$work" -name '.*.partial' | wc -l)
echo "$rounds rounds, $landed kills landed, $finished outputs were whole by then, $left temporary files left"
