# shellcheck shell=bash
# How the quickstart talks: claims, commands, evidence. Sourced by ../quickstart.sh.

if [[ -t 1 && -z "${NO_COLOR:-}" ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' GREEN=$'\e[32m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
    BOLD="" DIM="" GREEN="" RED="" PLAIN=""
fi

PROOF=0
PROVEN=()

say() { printf '%s\n' "$*"; }
step() { printf '%s\n' "$BOLD$*$PLAIN"; }
die() {
    printf '\n%s\n' "${RED}Stopped:$PLAIN $*" >&2
    printf "%s\n" "What was started goes on running: deploy/quickstart.sh --stop ends it." >&2
    exit 1
}

# claim TITLE, then the claim itself from the other arguments.
claim() {
    PROOF=$((PROOF + 1))
    TITLE=$1
    printf '\n%s\n' "$BOLD── $PROOF. $1$PLAIN"
    shift
    printf '   claim     %s\n' "$*" | fold -s -w 110 | sed '2,$s/^/             /'
}

# Prints a command, runs it, prints what it says; its exit code is in $CODE, what it said in $SAID.
run() {
    printf '   %s\n' "${BOLD}\$ $*$PLAIN"
    SAID=$(eval "$*" 2>&1) && CODE=0 || CODE=$?
    [[ -z $SAID ]] || printf '%s\n' "$SAID" | sed 's/^/     /'
    ((CODE == 0)) || printf '     %s\n' "${DIM}(exit $CODE)$PLAIN"
}

# evidence SOURCE TEXT: lines of a log, or a count.
evidence() {
    printf '   evidence  %s\n' "$1:"
    printf '%s\n' "${2:-(nothing)}" | sed "s/^/     $DIM/; s/\$/$PLAIN/"
}

# The claim held, or did not: proven TEST [ARGUMENTS], for `[[ … ]]` as a string.
proven() {
    if eval "$1"; then
        printf '   %s\n' "${GREEN}holds$PLAIN"
        PROVEN+=("holds    $TITLE")
    else
        printf '   %s\n' "${RED}does not hold: $1$PLAIN"
        PROVEN+=("FAILED   $TITLE")
        FAILED=yes
    fi
}

wait_for() {
    local what=$1 until=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || die "$what: not there after 30 seconds"
        sleep 0.05
    done
}

listening() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# spawn NAME COMMAND…: in the background, its pid and log in $STATE.
spawn() {
    local name=$1
    shift
    setsid "$@" >>"$STATE/$name.log" 2>&1 </dev/null &
    echo $! >"$STATE/$name.pid"
    disown
}

# Ends what `spawn` started. The pid must still be that of the same command.
end() {
    local name=$1 pid
    [[ -e $STATE/$name.pid ]] || return 0
    pid=$(<"$STATE/$name.pid")
    kill -CONT "$pid" 2>/dev/null || true
    kill "${2:--TERM}" "$pid" 2>/dev/null || true
    for _ in {1..100}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$STATE/$name.pid"
}
