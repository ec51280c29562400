#!/usr/bin/env bash
# Runs the fuzz targets of every crate that has some (a folder fuzz/ beside its src/): each for --seconds N (default 20), or all
# together for --hours N or --minutes N, divided among them. --only PART: those whose name holds it.
# Needs no nightly toolchain: without sanitizers, since the code has no `unsafe`. A finding fails the run, after the other
# targets had their time, and is kept in the crate's fuzz/artifacts; fuzz/corpus is kept and makes the next run start further.
set -euo pipefail

usage() {
    echo "usage: tests/fuzz.sh [--seconds N | --minutes N | --hours N] [--only PART]" >&2
    exit 1
}

seconds=20
total=
only=
while [ $# -gt 1 ]; do
    case "$1" in
        --seconds) seconds="$2" ;;
        --minutes) total=$(($2 * 60)) ;;
        --hours) total=$(($2 * 3600)) ;;
        --only) only="$2" ;;
        *) usage ;;
    esac
    shift 2
done
[ $# -eq 0 ] || usage

cd "$(dirname "$0")/.."
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
# One for all, since the crates have most of what they build in common.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"

# One "crate target" a line.
targets=$(git ls-files '*fuzz/Cargo.toml' | while read -r manifest; do
    crate=$(dirname "$(dirname "$manifest")")
    (cd "$crate" && cargo fuzz list) | while read -r target; do
        [[ $target == *"$only"* ]] && echo "$crate $target" || true
    done
done)
count=$(grep -c . <<<"$targets" || true)
[ "$count" -gt 0 ] || { echo "no fuzz target has \"$only\" in its name" >&2; exit 1; }
[ -z "$total" ] || seconds=$((total / count > 0 ? total / count : 1))

# All are built first: the time is for running.
cut -d' ' -f1 <<<"$targets" | sort -u | while read -r crate; do
    (cd "$crate" && cargo fuzz build -s none)
done

failed=()
while read -r crate target; do
    echo "== $crate $target, $seconds s"
    mkdir -p "$crate/fuzz/corpus/$target"
    words=()
    for words_file in "$crate"/fuzz/*.dict; do
        [ ! -f "$words_file" ] || words=("-dict=fuzz/$(basename "$words_file")")
    done
    (cd "$crate" && cargo fuzz run -s none "$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=4096 "${words[@]}" -print_final_stats=1 </dev/null) || failed+=("$crate $target")
done <<<"$targets"

[ ${#failed[@]} -eq 0 ] || { printf 'finding: %s\n' "${failed[@]}" >&2; exit 1; }
echo "$count targets, $seconds s each, no finding"
