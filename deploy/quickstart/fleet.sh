# shellcheck shell=bash
# The fleet of the quickstart: one control plane on a private PostgreSQL, and two nodes in two sites. Sourced by
# ../quickstart.sh. The files that this writes are examples to read: $STATE/*.toml.

CONTROL_PLANE=127.0.0.1:7443
declare -A SITE=([fra-1]=frankfurt [ams-1]=amsterdam)

make_pki() {
    local node
    [[ -e $STATE/pki/ca.pem ]] && return
    quietly mailswitchctl pki init "$STATE/pki"
    quietly mailswitchctl pki issue control-plane cp1 --dir "$STATE/pki" --san 127.0.0.1
    quietly mailswitchctl pki issue admin operator --dir "$STATE/pki"
    for node in fra-1 ams-1; do quietly mailswitchctl pki issue node $node --dir "$STATE/pki"; done
}

write_control_plane_config() {
    cat >"$STATE/control-plane.toml" <<TOML
[control_plane]
bind = "$CONTROL_PLANE"
advertise = "https://$CONTROL_PLANE"
state_dir = "$STATE/control-plane"
ca = "$STATE/pki/ca.pem"
cert = "$STATE/pki/control-plane-cp1.pem"
key = "$STATE/pki/control-plane-cp1.key"
# No [database] url: it runs a private PostgreSQL of its own in state_dir.

[metrics]
bind = "127.0.0.1:9181"
TOML
}

write_node_config() {
    local node=$1 address=${ADDRESS[$1]}
    cat >"$STATE/$node.toml" <<TOML
[server]
hostname = "mail.$DOMAIN"

[tls.certificate.public]
cert = "$STATE/tls/$node.pem"
key = "$STATE/tls/$node.key"
default = true

[listener]
imap        = { protocol = "imap",       bind = ["$address:$IMAP"], tls = "starttls" }
imaps       = { protocol = "imap",       bind = ["$address:$IMAPS"], tls = "implicit" }
submission  = { protocol = "submission", bind = ["$address:$SUBMISSION"], tls = "starttls" }
submissions = { protocol = "submission", bind = ["$address:$SUBMISSIONS"], tls = "implicit" }

[mapping]
source = "control-plane"

[control_plane]
endpoints = ["https://$CONTROL_PLANE"]
node = "$node"
site = "${SITE[$node]}"
ca = "$STATE/pki/ca.pem"
cert = "$STATE/pki/node-$node.pem"
key = "$STATE/pki/node-$node.key"
state_dir = "$STATE/$node"

[telemetry]
identifiers = "plain"

[metrics]
bind = "$address:9180"
TOML
}

# What belongs to the fleet: it is applied with mailswitchctl, not written on the nodes.
write_fleet_config() {
    cat >"$STATE/fleet.toml" <<TOML
[routing]
default_destination = "legacy"
bare_domain = "$DOMAIN"

[destination.legacy]                     # told who the client is by XCLIENT and IMAP ID
host = "${ADDRESS[legacy]}"
tls_server_name = "legacy.test"
forwarding = "xclient"
tls_pinned_cert_sha256 = "$(fingerprint "$STATE/tls/legacy.pem")"
[destination.legacy.protocol]
imap       = { port = $RELAY, tls = "implicit" }
submission = { port = $SUBMISSION, tls = "starttls" }

[destination.new]                        # told by a PROXY header
host = "${ADDRESS[new]}"
tls_server_name = "new.test"
forwarding = "proxy"
tls_pinned_cert_sha256 = "$(fingerprint "$STATE/tls/new.pem")"
[destination.new.protocol]
imap       = { port = $IMAPS, tls = "implicit" }
submission = { port = $SUBMISSION, tls = "starttls" }

[cutover]
hold_login_timeout = "30s"
max_hold = "20s"
drain_timeout = "10s"
TOML
}

# What to have in the environment to use mailswitchctl by hand.
write_environment() {
    cat >"$STATE/env" <<ENV
export PATH="$BIN:\$PATH"
export MAILSWITCH_ENDPOINT="https://$CONTROL_PLANE"
export MAILSWITCH_CA="$STATE/pki/ca.pem"
export MAILSWITCH_CERT="$STATE/pki/admin-operator.pem"
export MAILSWITCH_KEY="$STATE/pki/admin-operator.key"
ENV
}

start_control_plane() {
    spawn control-plane "$BIN/mailswitch-control-plane" "$STATE/control-plane.toml"
    wait_for "the control plane" mailswitchctl status
}

start_node() {
    spawn "$1" "$BIN/mailswitch-data-plane" "$STATE/$1.toml"
    wait_for "node $1" listening "${ADDRESS[$1]}" $IMAPS
}

start_fleet() {
    local node
    write_environment
    # shellcheck source=/dev/null
    source "$STATE/env"
    make_pki
    write_control_plane_config
    start_control_plane
    write_fleet_config
    quietly mailswitchctl apply -f "$STATE/fleet.toml" --reason "quickstart"
    write_accounts
    quietly mailswitchctl account import "$STATE/accounts.txt" --reason "quickstart"
    for node in fra-1 ams-1; do
        write_node_config $node
        start_node $node
    done
    wait_for "both nodes in the fleet" nodes_in_sync
}

write_accounts() {
    local user
    for user in "${USERS[@]}"; do echo "$user@$DOMAIN"; done >"$STATE/accounts.txt"
}

# Both are connected and have applied what is committed.
nodes_in_sync() {
    mailswitchctl status --output json | python3 -c '
import json, sys
status = json.load(sys.stdin)
nodes = status["nodes"]
sys.exit(not (len(nodes) == 2 and all(node["in_sync"] for node in nodes)))'
}

stop_fleet() {
    end load KILL
    end fra-1
    end ams-1
    end control-plane
    end relay
}
