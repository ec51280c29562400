#!/usr/bin/env bash
# Installs what the tests need and passes them all. What CI runs, and what to run before a change is sent.
# On Debian 12 as root (the mail servers of the end-to-end tests want it). With a filter, only those tests:
#   tests/run.sh cutover
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}" RUST_BACKTRACE="${RUST_BACKTRACE:-0}" RUST_LIB_BACKTRACE=0

tests/install.sh --tests
if (($# == 0)); then
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    tests/fuzz.sh --seconds 5
fi
# The end-to-end tests start the programs themselves: they are built first, of the same sources.
cargo build --workspace --bins --locked
# What failed is told at the end, and nothing but that and what is slow: a log of a thousand passes hides it.
cargo nextest run --workspace --locked --no-fail-fast --no-tests=fail \
    --status-level slow --failure-output immediate-final "$@"
