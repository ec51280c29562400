# shellcheck shell=bash
# What the quickstart proves: each claim, the command, and the evidence from the backends' own logs. Sourced by
# ../quickstart.sh.

LOGINS=0 LOGIN_FAILURES=0

prove() {
    moves_under_load
    slow_handshake
    stopped_node
    killed_control_plane
    rolls_back
}

moves_under_load() {
    claim "alice moves while she reads and sends" \
        "alice and bob log in, read and send without pause through both nodes, over IMAP and submission." \
        "alice moves to new with her mail. No login fails; every message is there once; after the command has" \
        "returned, legacy never sees her again."
    start_load
    sleep 4
    local last_on_legacy
    run "mailswitchctl cutover alice@$DOMAIN --from legacy --to new --copy '$STATE/copy.sh alice@$DOMAIN legacy new' --reason 'first of all'"
    local done_code=$CODE returned
    returned=$(date '+%F %T.%6N')
    sleep 4
    stop_load
    last_on_legacy=$(logins_of alice legacy | tail -n 1)
    evidence "legacy/dovecot.log, her last login there" "$last_on_legacy"
    evidence "new/dovecot.log, her first login there, from the same address (rip)" "$(logins_of alice new | head -n 1)"
    evidence "new-smtp/postfix.log, her first message there, from the same address (client)" \
        "$(grep 'sasl_username=alice@' "$STATE/new-smtp/postfix.log" | head -n 1)"
    local late
    late=$(logins_of alice legacy | awk -v t="$returned" 'substr($0, 1, 26) > t' | wc -l)
    evidence "her logins on legacy after $returned, when the command had returned" "$late"
    deliver_all
    evidence "her messages" "$(count_messages alice new)"
    proven '((done_code == 0 && late == 0 && LOAD_FAILURES == 0)) && count_messages alice new >/dev/null'
}

slow_handshake() {
    claim "a login in the middle of a slow backend handshake ends on the right side" \
        "legacy answers slowly (2 s a packet). While bob's login is being dialled there, bob moves. His login is" \
        "neither refused nor left on legacy: it ends on new."
    echo 2 >"$STATE/slow"
    local before client
    before=$(logins_of bob legacy | wc -l)
    one_login bob fra-1 >"$STATE/slow-login.json" &
    client=$!
    sleep 1
    run "mailswitchctl session list --identifier bob@$DOMAIN"
    run "mailswitchctl cutover bob@$DOMAIN --from legacy --to new --reason 'while he signs in'"
    local code=$CODE
    wait $client || true
    rm -f "$STATE/slow"
    evidence "what bob's client saw" "$(<"$STATE/slow-login.json")"
    evidence "new/dovecot.log" "$(logins_of bob new | tail -n 1)"
    local on_legacy=$(($(logins_of bob legacy | wc -l) - before))
    evidence "logins of bob on legacy since this login began" "$on_legacy"
    proven "((code == 0 && on_legacy == 0)) && grep -q '\"ok\": true' '$STATE/slow-login.json'"
}

stopped_node() {
    claim "what cannot be proven is not reported as done" \
        "node ams-1 is frozen (SIGSTOP): whether it still has a session of carol, nobody can know. The command" \
        "refuses with exit code 7, names the node, and carol stays where she is."
    kill -STOP "$(<"$STATE/ams-1.pid")"
    run "mailswitchctl cutover carol@$DOMAIN --from legacy --to new --max-hold 5s --reason 'a node is frozen'"
    local code=$CODE said=$SAID
    kill -CONT "$(<"$STATE/ams-1.pid")"
    one_login carol fra-1 >/dev/null || true
    evidence "legacy/dovecot.log: carol signs in where she was" "$(logins_of carol legacy | tail -n 1)"
    proven '[[ $code == 7 && $said == *ams-1* ]] && [[ -z $(logins_of carol new) ]]'
}

killed_control_plane() {
    claim "a control plane that dies in the middle tells the truth afterwards" \
        "while carol is held for her copy, the control plane is killed (kill -9) and started again. The cutover" \
        "ends as done or as released, and says which; carol's next login goes there."
    mailswitchctl cutover "carol@$DOMAIN" --from legacy --to new --copy "sleep 3" --reason "killed" \
        >"$STATE/killed.out" 2>&1 &
    local command=$! code=0
    say "   ${BOLD}\$ mailswitchctl cutover carol@$DOMAIN --from legacy --to new --copy 'sleep 3' &$PLAIN"
    wait_for "the copy of carol's mail" operation_is copying
    say "   ${BOLD}\$ kill -9 $(<"$STATE/control-plane.pid")   # the control plane$PLAIN"
    end control-plane KILL
    start_control_plane
    wait $command || code=$?
    evidence "what the command said (exit $code)" "$(<"$STATE/killed.out")"
    wait_for "the end of the operation" no_operation_runs
    run "mailswitchctl operation list --ended --limit 1"
    local outcome=$SAID where
    one_login carol ams-1 >"$STATE/killed-login.json" || true
    if [[ $outcome == *done* ]]; then where=new; else where=legacy; fi
    evidence "$where/dovecot.log" "$(logins_of carol $where | tail -n 1)"
    proven '[[ $outcome == *done* || $outcome == *released* ]] && grep -q "\"ok\": true" "$STATE/killed-login.json" && [[ -n $(logins_of carol $where) ]]'
}

rolls_back() {
    claim "a move can be taken back" \
        "alice goes back to legacy with what has arrived on new, again without a failed login or a lost message."
    start_load
    sleep 3
    run "mailswitchctl rollback alice@$DOMAIN --copy '$STATE/copy.sh alice@$DOMAIN new legacy' --reason 'taken back'"
    local code=$CODE
    sleep 3
    stop_load
    deliver_all
    evidence "legacy/dovecot.log, her last login" "$(logins_of alice legacy | tail -n 1)"
    evidence "her messages" "$(count_messages alice legacy)"
    proven '((code == 0 && LOAD_FAILURES == 0)) && count_messages alice legacy >/dev/null'
}

final_screen() {
    local line
    printf '\n%s\n' "$BOLD────────────────────────────────────────────────────────────$PLAIN"
    for line in "${PROVEN[@]}"; do say "  $line"; done
    say
    say "  logins           $LOGINS"
    say "  failed logins    $LOGIN_FAILURES"
    say "  $(hold_times)"
    say "  all of it took   $1 s"
    say
    say "The fleet is still running. To try it by hand:"
    say
    say "  source deploy/.quickstart/env"
    say "  mailswitchctl status"
    say "  mailswitchctl session list"
    say "  mailswitchctl resolve alice --all-nodes"
    say "  mailswitchctl cutover alice@$DOMAIN --from legacy --to new --copy '$STATE/copy.sh alice@$DOMAIN legacy new'"
    say "  mailswitchctl audit"
    say "  openssl s_client -quiet -connect ${ADDRESS[fra-1]}:$IMAPS    # then: a login alice@$DOMAIN $PASSWORD"
    say
    say "Logs and configurations: deploy/.quickstart/    End it: deploy/quickstart.sh --stop"
    say "What to read next: docs/architecture.md"
}

# ---- the parts ------------------------------------------------------------------------------------

logins_of() { grep -a "Login: user=<$1@" "$STATE/$2/dovecot.log" || true; }

start_load() {
    local job
    job=$(cat <<JSON
{"accounts": ["alice@$DOMAIN", "bob@$DOMAIN"], "password": "$PASSWORD", "ca": "$STATE/tls/ca.pem",
 "imap": [["${ADDRESS[fra-1]}", $IMAPS, "implicit"], ["${ADDRESS[ams-1]}", $IMAP, "starttls"]],
 "submission": [["${ADDRESS[fra-1]}", $SUBMISSION, "starttls"], ["${ADDRESS[ams-1]}", $SUBMISSIONS, "implicit"]],
 "source_network": "127.0.0", "pause": 0.15, "events": "$STATE/load.jsonl"}
JSON
    )
    rm -f "$STATE/load.fifo" && mkfifo "$STATE/load.fifo"
    python3 tests/clients/load.py "$job" <"$STATE/load.fifo" >"$STATE/load.out" 2>"$STATE/load.log" &
    LOAD=$!
    echo $LOAD >"$STATE/load.pid"
    exec 9>"$STATE/load.fifo"
}

stop_load() {
    exec 9>&-
    wait $LOAD || die "the clients ended badly: see $STATE/load.log"
    rm -f "$STATE/load.pid"
    tail -n 1 "$STATE/load.out" >>"$STATE/loads.jsonl"
    local sums
    sums=$(python3 deploy/quickstart/sums.py load "$STATE/loads.jsonl")
    read -r LOAD_LOGINS LOAD_FAILURES LOAD_P50 LOAD_MAX <<<"$sums"
    LOGINS=$((LOGINS + LOAD_LOGINS)) LOGIN_FAILURES=$((LOGIN_FAILURES + LOAD_FAILURES))
    evidence "what the clients saw" \
        "$LOAD_LOGINS logins, $LOAD_FAILURES failed; a login took $LOAD_P50 s (p50), $LOAD_MAX s at most (it waited while alice moved)"
}

# one_login USER NODE
one_login() {
    python3 tests/clients/once.py '{"protocol": "imap", "host": "'"${ADDRESS[$2]}"'", "port": '$IMAPS', "tls": "implicit",
        "user": "'"$1@$DOMAIN"'", "password": "'$PASSWORD'", "ca": "'"$STATE/tls/ca.pem"'", "source": "127.0.0.150"}'
}

deliver_all() {
    local name
    for name in legacy new; do
        wait_for "$name's mail queue" queue_empty $name
    done
}

queue_empty() {
    local queue="$STATE/$1-smtp/queue"
    [[ -z $(as_root find "$queue"/{maildrop,incoming,active,deferred} -type f) ]]
}

# count_messages USER SERVER: fails unless each message that was accepted is there exactly once.
count_messages() { messages "$2" "$1@$DOMAIN" | python3 deploy/quickstart/sums.py messages "$STATE/loads.jsonl" "$1@$DOMAIN"; }

operation_is() { mailswitchctl status --output json | python3 deploy/quickstart/sums.py step "$1"; }
no_operation_runs() { mailswitchctl status --output json | python3 deploy/quickstart/sums.py step none; }
hold_times() { mailswitchctl operation list --ended --output json | python3 deploy/quickstart/sums.py holds; }
