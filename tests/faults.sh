#!/usr/bin/env bash
# Faults in the middle of cutovers, on hosts (network namespaces) of their own: every process and link, every step, every protocol.
#   tests/faults.sh --all              every cell; takes about two hours
#   tests/faults.sh --cells 100        so many, chosen by the seed
#   tests/faults.sh --only kill-node   those whose name holds it, like kill-node/holding/imap
#   … --seed 7                         another choice, order and timing (default 1); the same seed makes the same run
# Prints each cell and how many were covered; fails when one broke the promise. MAILSWITCH_KEEP=1 keeps logs and state.
set -euo pipefail
cells=24
seed=1
usage() { sed -n '2,7s/^# \?//p' "$0" >&2; exit 1; }
while (($# > 0)); do
    case "$1" in
        --all) cells=all; shift; continue ;;
        --cells | --only) cells="${2:-}" ;;
        --seed) seed="${2:-}" ;;
        *) usage ;;
    esac
    (($# > 1)) || usage
    shift 2
done
cd "$(dirname "$0")/.."
tests/install.sh --tests
cargo build --workspace --bins --locked
MAILSWITCH_FAULTS="$cells" MAILSWITCH_FAULTS_SEED="$seed" RUST_LIB_BACKTRACE=0 \
    cargo nextest run -p mailswitch-tests --test faults --locked --profile soak --no-capture whatever_fails
