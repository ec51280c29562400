#!/usr/bin/env bash
# Installs what the end-to-end tests and the quickstart run against, where it is missing: PostgreSQL's server
# binaries, Dovecot, Postfix, mbsync, swaks, Python, and with `--tests` also Dovecot's POP3 and ManageSieve, Cyrus
# IMAP, nginx, Redis, MariaDB, more mail clients, Chromium, what makes hosts and cuts links, cargo-nextest and a telemetry collector. For Debian 12, as root or with sudo. No service
# is started, and nothing is printed when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

want_tests=no
[[ "${1:-}" == --tests ]] && want_tests=yes
tools="${CARGO_TARGET_DIR:-target}/test-tools"

as_root() { if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi; }
# Unpacked, and nothing that it is linked to is missing.
cyrus_runs() {
    local root="$tools/cyrus/usr/lib"
    [[ -x $root/cyrus/bin/httpd ]] || return 1
    ! LD_LIBRARY_PATH=$(dirname "$root"/*/libcyrus.so.0) ldd "$root/cyrus/bin/httpd" | grep -q 'not found'
}
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
if [[ $want_tests == yes ]]; then
    if have python3 && ! python3 -c 'import ensurepip' 2>/dev/null; then packages+=(python3-venv); fi
    [[ -x /usr/lib/dovecot/pop3 ]] || packages+=(dovecot-pop3d)
    [[ -x /usr/lib/dovecot/managesieve ]] || packages+=(dovecot-managesieved)
    have fetchmail || packages+=(fetchmail)
    have msmtp || packages+=(msmtp)
    have sieve-connect || packages+=(sieve-connect)
    have curl || packages+=(curl)
    have nginx || packages+=(nginx-light)
    have ip || packages+=(iproute2)
    have nft || packages+=(nftables)
    have redis-server || packages+=(redis-server)
    have mariadbd || packages+=(mariadb-server)
    have chromium || packages+=(chromium)
    # Only to look at units.
    have systemd-analyze || packages+=(systemd)
    # What Cyrus needs beside itself; it is unpacked below.
    have saslpasswd2 || packages+=(sasl2-bin)
    compgen -G '/usr/lib/*/sasl2/libplain.so' >/dev/null || packages+=(libsasl2-modules)
    cyrus_runs || packages+=(libbrotli1 libical3 libicu72 libjansson4 libkrb5-3 libldap-2.5-0 libnghttp2-14 libpcre3
        libpq5 libshp2 libsqlite3-0 libwrap0 libxapian30 libxml2 libzstd1)
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

# Debian does not install Cyrus beside Dovecot: it is unpacked here, and runs from here.
if [[ ! -x $tools/cyrus/usr/lib/cyrus/bin/httpd ]]; then
    echo "Unpacking Cyrus IMAP into $tools" >&2
    rm -rf "$tools/cyrus" && mkdir -p "$tools/cyrus/packages"
    fetch() {
        (cd "$tools/cyrus/packages" && apt-get download -q cyrus-common cyrus-imapd cyrus-pop3d cyrus-caldav) \
            >"$tools/cyrus/log" 2>&1
    }
    fetch || { as_root apt-get update -q >/dev/null && fetch; } || { cat "$tools/cyrus/log" >&2 && exit 1; }
    for package in "$tools"/cyrus/packages/*.deb; do dpkg -x "$package" "$tools/cyrus"; done
    rm -r "$tools/cyrus/packages" "$tools/cyrus/log"
fi

# The web servers and clients of the HTTP tests are Python programs on these libraries.
python="$tools/web"
if [[ ! -e $python/complete ]]; then
    echo "Installing Python's HTTP libraries into $python" >&2
    rm -rf "$python" && mkdir -p "$tools"
    python3 -m venv "$python"
    "$python/bin/pip" install --quiet --disable-pip-version-check \
        'aiohttp==3.*' 'websockets>=12' 'wsproto==1.*' 'h2==4.*' 'jmapc==0.4.*' 'caldav==1.*'
    touch "$python/complete"
fi

# The collector that the telemetry test sends to: rotel's program is shipped inside its Python package.
if [[ ! -x $tools/rotel-agent ]]; then
    echo "Installing the telemetry collector into $tools" >&2
    rm -rf "$tools/venv" && mkdir -p "$tools"
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --pre rotel
    agent=$(find "$tools/venv" -name rotel-agent -type f)
    chmod +x "$agent"
    ln "$agent" "$tools/rotel-agent"
fi
