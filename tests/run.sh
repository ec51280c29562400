#!/usr/bin/env bash
# Installs what the tests need and passes them.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
exec cargo nextest run --workspace --locked --no-tests=pass
