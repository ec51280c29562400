#!/usr/bin/env bash
# Installs what the end-to-end tests and the quickstart run against, where it is missing: PostgreSQL's server
# binaries, Dovecot, Postfix, mbsync, swaks, Python, and with `--tests` also cargo-nextest and a telemetry
# collector. For Debian 12, as root or with sudo. No service is started, and nothing is printed when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

want_tests=no
[[ "${1:-}" == --tests ]] && want_tests=yes

as_root() { if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi; }
have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

packages=()
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || packages+=(postgresql)
have dovecot || packages+=(dovecot-core)
[[ -x /usr/lib/dovecot/imap ]] || packages+=(dovecot-imapd)
[[ -x /usr/lib/dovecot/lmtp ]] || packages+=(dovecot-lmtpd)
have postfix || packages+=(postfix)
have python3 || packages+=(python3)
have mbsync || packages+=(isync)
have swaks || packages+=(swaks)
perl -MNet::SSLeay -e 1 2>/dev/null || packages+=(libnet-ssleay-perl)
have cc || packages+=(build-essential)
if [[ $want_tests == yes ]] && have python3 && ! python3 -c 'import ensurepip' 2>/dev/null; then
    packages+=(python3-venv)
fi

# Debian's packages start their services when they are installed. A policy-rc.d that says 101 forbids it; one
# that is there already is put back afterwards.
policy=/usr/sbin/policy-rc.d
kept=""
deny_services() {
    if [[ -e $policy ]]; then kept=$(mktemp -u "$policy.XXXXXX") && as_root mv "$policy" "$kept"; fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    trap allow_services EXIT
}
allow_services() {
    as_root rm -f "$policy"
    if [[ -n $kept ]]; then as_root mv "$kept" "$policy"; fi
    trap - EXIT
}

if ((${#packages[@]})); then
    echo "Installing ${packages[*]} (their services are not started)" >&2
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    deny_services
    # No mail system is configured: what we run has configuration directories of its own.
    printf 'postfix postfix/main_mailer_type select No configuration\n' >"$log.preseed"
    have debconf-set-selections && as_root debconf-set-selections "$log.preseed"
    rm -f "$log.preseed"
    # The cluster that Debian would make is of no use here.
    if ! [[ -e /etc/postgresql-common/createcluster.conf ]]; then
        as_root mkdir -p /etc/postgresql-common
        printf 'create_main_cluster = false\n' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    if ! { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
        --no-install-recommends -o Dpkg::Options::=--force-confold "${packages[@]}"; } >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        echo "Could not install ${packages[*]}; the whole log is in $log" >&2
        exit 1
    fi
    rm -f "$log"
    allow_services
fi

[[ $want_tests == yes ]] || exit 0

if ! have cargo-nextest; then
    echo "Installing cargo-nextest" >&2
    cargo install --locked --quiet cargo-nextest
fi

# The collector that the telemetry test sends to: rotel's program is shipped inside its Python package.
tools="${CARGO_TARGET_DIR:-target}/test-tools"
if [[ ! -x $tools/rotel-agent ]]; then
    echo "Installing the telemetry collector into $tools" >&2
    rm -rf "$tools/venv" && mkdir -p "$tools"
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --pre rotel
    agent=$(find "$tools/venv" -name rotel-agent -type f)
    chmod +x "$agent"
    ln "$agent" "$tools/rotel-agent"
fi
