#!/usr/bin/env bash
# Runs every fuzz target of the dialogues for a while: --seconds N each (default 20), or --hours N each.
# Needs no nightly toolchain: without sanitizers, since the code has no `unsafe`. A finding fails the run and is kept
# in data-plane/dialogue/fuzz/artifacts; the corpus is kept in fuzz/corpus and makes the next run start further.
set -euo pipefail

seconds=20
while [ $# -gt 0 ]; do
    case "$1" in
        --seconds) seconds="$2"; shift 2 ;;
        --hours) seconds=$(($2 * 3600)); shift 2 ;;
        *) echo "usage: tests/fuzz.sh [--seconds N | --hours N]" >&2; exit 1 ;;
    esac
done

cd "$(dirname "$0")/../data-plane/dialogue"
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
for target in $(cargo fuzz list); do
    echo "== $target, $seconds s"
    mkdir -p "fuzz/corpus/$target"
    cargo fuzz run -s none "$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -dict=fuzz/mail.dict -print_final_stats=1
done
