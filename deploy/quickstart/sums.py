"""The quickstart's sums: of what the clients counted, of messages, of operations. One line on standard output."""

import collections
import json
import sys


def load(path):
    last = json.loads(open(path).read().splitlines()[-1])
    print(last["logins"], len(last["failures"]), round(last["login_seconds_p50"], 3), round(last["login_seconds_max"], 3))


def messages(path, account):
    """Of all loads so far; the Message-IDs that are there come on standard input."""
    accepted, unknown = set(), set()
    for line in open(path):
        result = json.loads(line)
        accepted.update(result["accepted"].get(account, []))
        unknown.update(result["unknown"].get(account, []))
    there = collections.Counter(line.strip() for line in sys.stdin if line.strip())
    missing = [message for message in accepted if not there[message]]
    doubled = [message for message, count in there.items() if count > 1]
    strange = [message for message in there if message not in accepted | unknown]
    print(f"{len(accepted)} sent, {sum(there.values())} found; {len(missing)} missing, {len(doubled)} doubled")
    sys.exit(bool(missing or doubled or strange))


def step(wanted):
    """Exit 0 when an operation is at this step; `none`: when none runs."""
    operations = json.load(sys.stdin)["operations"]
    steps = [str(operation["step"]).lower() for operation in operations]
    sys.exit(bool(steps) if wanted == "none" else not any(wanted in step for step in steps))


def holds():
    """Of the moves that were made; a hold that was given up lasted as long as it was allowed to."""
    operations = json.load(sys.stdin)["operations"]
    times = sorted(operation["held_millis"] for operation in operations if operation["outcome"] == "done")
    if times:
        middle = times[len(times) // 2]
        print(f"hold time        {middle} ms (p50), {times[-1]} ms (max), of {len(times)} moves with their copies")


{"load": load, "messages": messages, "step": step, "holds": holds}[sys.argv[1]](*sys.argv[2:])
