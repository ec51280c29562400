# shellcheck shell=bash
# The two mail systems of the quickstart: Dovecot and Postfix, twice. Their configurations are those of the tests.
# Sourced by ../quickstart.sh; everything they write is under $STATE/NAME.

# Addresses on this machine that stand for machines of their own.
declare -A ADDRESS=([legacy]=127.0.0.21 [new]=127.0.0.22 [fra-1]=127.0.0.11 [ams-1]=127.0.0.12)
IMAP=1143 IMAPS=1993 SUBMISSION=1587 SUBMISSIONS=1465
# In front of legacy's IMAP stands a relay that can be made slow.
RELAY=2993
USERS=(alice bob carol)
DOMAIN=example.org
PASSWORD=secret

make_certificates() {
    local dir="$STATE/tls" name
    [[ -e $dir/ca.pem ]] && return
    mkdir -p "$dir"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=Quickstart authority" \
        -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
    for name in legacy new fra-1 ams-1; do
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name.test" \
            -keyout "$dir/$name.key" -out "$dir/$name.csr" 2>/dev/null
        openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 30 \
            -extfile <(printf 'subjectAltName=DNS:%s.test,IP:%s\nextendedKeyUsage=serverAuth\n' "$name" "${ADDRESS[$name]}") \
            -out "$dir/$name.pem" 2>/dev/null
    done
}

fingerprint() { openssl x509 -in "$1" -outform DER | sha256sum | cut -d' ' -f1; }

# fill TEMPLATE WORD=VALUE…
fill() {
    local text pair
    text=$(<"$1")
    shift
    for pair in "$@"; do text=${text//@${pair%%=*}@/${pair#*=}}; done
    printf '%s\n' "$text"
}

# start_dovecot NAME TRUSTED-NETWORKS HAPROXY-NETWORKS yes|no
start_dovecot() {
    local name=$1 dir="$STATE/$1" user
    as_root mkdir -p "$dir/mail"
    as_root chown nobody:nogroup "$dir/mail"
    as_root cp "$STATE/tls/$name.pem" "$dir/cert.pem"
    as_root cp "$STATE/tls/$name.key" "$dir/key.pem"
    for user in "${USERS[@]}"; do echo "$user@$DOMAIN:$PASSWORD"; done | as_root tee "$dir/users" >/dev/null
    fill tests/servers/dovecot.conf NAME="$name" DIR="$dir" ADDRESS="${ADDRESS[$name]}" IMAP_PORT=$IMAP \
        IMAPS_PORT=$IMAPS TRUSTED="$2" HAPROXY_TRUSTED="$3" HAPROXY="$4" DISABLE_PLAINTEXT=yes |
        as_root tee "$dir/dovecot.conf" >/dev/null
    as_root dovecot -c "$dir/dovecot.conf" >"$STATE/$name.log" 2>&1 </dev/null
    wait_for "Dovecot $name" listening "${ADDRESS[$name]}" $IMAPS
}

# start_postfix NAME TRUSTED-NETWORKS haproxy|""
start_postfix() {
    local name=$1 dir="$STATE/$1-smtp" file
    as_root mkdir -p "$dir/queue/pid" "$dir/data"
    as_root chown postfix "$dir/data"
    as_root cp "$STATE/tls/$name.pem" "$dir/cert.pem"
    as_root cp "$STATE/tls/$name.key" "$dir/key.pem"
    for file in main master; do
        fill "tests/servers/postfix-$file.cf" NAME="$name" DIR="$dir" DOVECOT_DIR="$STATE/$name" \
            ADDRESS="${ADDRESS[$name]}" HOST="$name.test" DOMAIN=$DOMAIN SUBMISSION_PORT=$SUBMISSION \
            SUBMISSIONS_PORT=$SUBMISSIONS TRUSTED="$2" UPSTREAM_PROXY="$3" DISABLE_PLAINTEXT=yes |
            as_root tee "$dir/$file.cf" >/dev/null
    done
    as_root /usr/sbin/postfix -c "$dir" start >/dev/null 2>&1 </dev/null || die "Postfix $name did not start: see $dir/postfix.log"
    wait_for "Postfix $name" listening "${ADDRESS[$name]}" $SUBMISSION
}

stop_servers() {
    local name
    for name in legacy new; do
        if [[ -e $STATE/$name-smtp/main.cf ]]; then
            as_root /usr/sbin/postfix -c "$STATE/$name-smtp" stop >/dev/null 2>&1 || true
        fi
        if [[ -e $STATE/$name/dovecot.conf ]]; then
            as_root doveadm -c "$STATE/$name/dovecot.conf" stop >/dev/null 2>&1 || true
        fi
    done
}

start_servers() {
    make_certificates
    start_dovecot legacy 127.0.0.0/8 "" no
    start_dovecot new "" 127.0.0.0/8 yes
    start_postfix legacy 127.0.0.0/8 ""
    start_postfix new "" haproxy
    spawn relay python3 tests/clients/relay.py "${ADDRESS[legacy]}" $RELAY "${ADDRESS[legacy]}" $IMAPS "$STATE/slow"
    wait_for "the relay" listening "${ADDRESS[legacy]}" $RELAY
}

# The shell script that makes a mailbox on one server what it is on the other: what --copy runs. Postfix first
# delivers what it has accepted.
write_copy_script() {
    cat >"$STATE/copy.sh" <<SCRIPT
#!/bin/sh
# usage: copy.sh ACCOUNT FROM TO
set -e
account=\$1 from=\$2 to=\$3
while [ -n "\$(cd "$STATE/\$from-smtp/queue" && $SUDO find maildrop incoming active deferred -type f)" ]; do sleep 0.05; done
$SUDO doveadm -c "$STATE/\$from/dovecot.conf" backup -u "\$account" "maildir:$STATE/\$to/mail/\$account/Maildir"
SCRIPT
    chmod +x "$STATE/copy.sh"
}

# messages SERVER ACCOUNT: the Message-IDs in its INBOX.
messages() {
    as_root doveadm -c "$STATE/$1/dovecot.conf" -f flow fetch -u "$2" hdr.message-id mailbox INBOX |
        sed -n 's/.*hdr\.message-id=//p'
}
