#!/usr/bin/env bash
# Shows Mailswitch at work on this machine: two real mail systems (Dovecot and Postfix), a control plane on a
# private PostgreSQL, two nodes; then an account that moves while it reads and sends, and comes back.
#
#   deploy/quickstart.sh            asks before it installs packages
#   deploy/quickstart.sh --yes      asks nothing
#   deploy/quickstart.sh --stop     ends what it has left running
#
# For Debian 12 with Rust, as root or with sudo (mail servers want it). Everything listens on 127.0.0.0/8, on
# unprivileged ports, and lies in deploy/.quickstart/. No service of the machine is started or changed.
set -Eeuo pipefail
cd "$(dirname "$0")/.."

SUDO=""
[[ $EUID -eq 0 ]] || SUDO=sudo
as_root() { $SUDO "$@"; }
export PATH="$PATH:/usr/sbin:/sbin"

BIN="$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug"
FAILED=no
for part in screen servers fleet proofs; do
    # shellcheck source=/dev/null
    source "deploy/quickstart/$part.sh"
done

main() {
    local answer=ask
    case "${1:-}" in
        --yes) answer=yes ;;
        --stop) stop && return ;;
        "") ;;
        *) sed -n '2,10s/^# \{0,1\}//p' "$0" && return 1 ;;
    esac
    [[ $answer == yes ]] || ask_first
    local begun=$SECONDS
    prepare
    prove
    final_screen $((SECONDS - begun))
    if [[ $FAILED == yes ]]; then exit 1; fi
}

ask_first() {
    say "This installs what is missing of PostgreSQL, Dovecot, Postfix, isync and swaks from Debian (their services"
    say "are not started), builds Mailswitch, and runs everything on 127.0.0.x under unprivileged ports."
    read -r -p "Go on? [y/N] " answer
    [[ $answer == [yY]* ]] || die "nothing was done"
}

prepare() {
    command -v cargo >/dev/null || die "there is no cargo: install Rust 1.95 or newer first"
    choose_state
    stop >/dev/null
    as_root rm -rf "${STATE:?}"/*
    step "1/4 Install what is missing"
    tests/install.sh
    step "2/4 Build (a few minutes the first time)"
    cargo build --quiet --locked -p mailswitch-control-plane -p mailswitch-data-plane -p mailswitchctl
    step "3/4 Start two mail systems: legacy (${ADDRESS[legacy]}) and new (${ADDRESS[new]}), Dovecot and Postfix each"
    free_ports
    start_servers
    write_copy_script
    step "4/4 Start the fleet: control plane ($CONTROL_PLANE), nodes fra-1 (${ADDRESS[fra-1]}) and ams-1 (${ADDRESS[ams-1]})"
    start_fleet
}

# deploy/.quickstart, or a link there to a place that the servers' users can reach and whose name is short enough
# for Unix sockets.
choose_state() {
    local here
    here="$(pwd)/deploy/.quickstart"
    STATE=$here
    [[ -L $here ]] && STATE=$(readlink "$here") && mkdir -p "$STATE" && return
    mkdir -p "$here"
    if ((${#here} > 60)) || ! as_root setpriv --reuid=65534 --clear-groups test -x "$here"; then
        STATE=/var/tmp/mailswitch-quickstart
        rmdir "$here" && mkdir -p "$STATE" && ln -s "$STATE" "$here"
    fi
}

stop() {
    STATE="$(pwd)/deploy/.quickstart"
    [[ -e $STATE ]] || { say "Nothing is running."; return 0; }
    STATE=$(realpath "$STATE")
    stop_fleet
    stop_servers
    say "Stopped. Its files are still in deploy/.quickstart/."
}

free_ports() {
    local name port
    for name in "${!ADDRESS[@]}"; do
        for port in $IMAP $IMAPS $SUBMISSION $SUBMISSIONS; do
            ! listening "${ADDRESS[$name]}" "$port" || die "something listens on ${ADDRESS[$name]}:$port already"
        done
    done
    ! listening "${CONTROL_PLANE%:*}" "${CONTROL_PLANE#*:}" || die "something listens on $CONTROL_PLANE already"
}

quietly() {
    local said
    said=$("$@" 2>&1) || die "$*"$'\n'"$said"
}

trap 'printf "%s\n" "Failed unexpectedly: $BASH_COMMAND" >&2' ERR
main "$@"
