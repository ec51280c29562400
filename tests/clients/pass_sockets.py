#!/usr/bin/env python3
"""Passes listening sockets to a program as systemd does (sd_listen_fds(3)), and keeps them: the supervisor of a test.

usage: pass_sockets.py '{"sockets": [[host, port], …], "again": true}' PROGRAM ARGUMENT …

Listens on the addresses, then starts the program with them as its descriptors 3 and on. When the program ends it is
started again on the same sockets if "again" is true, for as long as standard input is open; each start prints its process id, each end its
status. Ends with the program's status when standard input has ended. A socket written as ["udp", host, port] is one that
nobody can accept on, as ["tcp", host, port] one that does not listen.
"""

import json
import os
import socket
import sys
import threading

JOB = json.loads(sys.argv[1])
COMMAND = sys.argv[2:]
FIRST = 3


def made(what):
    kind, host, port = what if len(what) == 3 else ["listen", *what]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((host, port))
    if kind == "listen":
        one.listen(1024)
    return one


def started(sockets):
    child = os.fork()
    if child:
        return child
    # Out of the way first: a socket may have the number that another one gets.
    high = [os.dup2(one.fileno(), 200 + at, inheritable=False) for at, one in enumerate(sockets)]
    for at, descriptor in enumerate(high):
        os.dup2(descriptor, FIRST + at)
    os.environ["LISTEN_FDS"] = str(len(high))
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDNAMES"] = ":".join("unknown" for _ in high)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.execv(COMMAND[0], COMMAND)


def main():
    sockets = [made(what) for what in JOB["sockets"]]
    over = threading.Event()

    def until_told():
        sys.stdin.read()
        over.set()

    threading.Thread(target=until_told, daemon=True).start()
    while True:
        child = started(sockets)
        print(f"started {child}", flush=True)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print(f"ended {code}", flush=True)
        if over.is_set() or not JOB.get("again"):
            sys.exit(code if code >= 0 else 128 - code)


main()
