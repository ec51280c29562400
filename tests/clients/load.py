#!/usr/bin/env python3
"""Accounts that log in, read and send without pause, as real clients do, until standard input ends.

usage: load.py '{"accounts": […], "password": …, "imap": [[host, port, tls], …], "pop3": […], "sieve": […], "submission": […], "ca": …,
                 "source_network": "127.9.9", "pause": 0.1, "events": "file"}'

One thread for every account and endpoint. Each event is a line of JSON in the file `events`; at the end one line
with the sums goes to standard output. A login counts as failed when it was not accepted for whatever reason. A
session that the server ends later is no failure (clients come back), and is counted as `cut`. A message is
`accepted` when the server has said so, and `unknown` when the connection ended before its answer.
"""

import json
import random
import sys
import threading
import time
import uuid

import mail

JOB = json.loads(sys.argv[1])
STOP = threading.Event()
LOCK = threading.Lock()
EVENTS = open(JOB["events"], "a", buffering=1)
TOTAL = {"logins": 0, "failures": [], "accepted": {}, "unknown": {}, "cut": 0}
SECONDS = []


def say(kind, **fields):
    with LOCK:
        EVENTS.write(json.dumps({"at": time.time(), "kind": kind, **fields}) + "\n")
        if kind == "login":
            TOTAL["logins"] += 1
            SECONDS.append(fields["seconds"])
        elif kind == "failed":
            TOTAL["failures"].append(fields)
        elif kind == "cut":
            TOTAL["cut"] += 1
        elif kind in ("accepted", "unknown"):
            TOTAL[kind].setdefault(fields["account"], []).append(fields["id"])


def login(protocol, account, endpoint, make):
    """A client that is logged in, or None."""
    began = time.time()
    where = {"protocol": protocol, "account": account, "endpoint": f"{endpoint[0]}:{endpoint[1]}"}
    try:
        client = make()
        client.login(account, JOB["password"])
    except Exception as error:
        say("failed", **where, seconds=time.time() - began, error=f"{type(error).__name__}: {error}")
        return None
    say("login", **where, seconds=time.time() - began)
    return client


def how(endpoint, source):
    return {"host": endpoint[0], "port": endpoint[1], "tls": endpoint[2], "ca": JOB.get("ca"),
            "source": source, "timeout": 60}


def read(account, endpoint, source):
    while not STOP.is_set():
        client = login("imap", account, endpoint, lambda: mail.Imap(**how(endpoint, source)))
        if client:
            try:
                _, count = client.select("INBOX")
                last = int(count[0])
                if last:
                    client.fetch(f"{max(1, last - 4)}:{last}", "(UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
                for _ in range(3):
                    # Some sessions are busy all the time, some are idle long enough to be ended.
                    if STOP.wait(JOB["pause"] * random.choice((0.3, 1, 5))):
                        break
                    client.noop()
                client.logout()
            except Exception as error:
                say("cut", protocol="imap", account=account, error=str(error))
            finally:
                try:
                    client.shutdown()
                except Exception:
                    pass
        STOP.wait(JOB["pause"])


def fetch(account, endpoint, source):
    while not STOP.is_set():
        client = login("pop3", account, endpoint, lambda: mail.Pop3(**how(endpoint, source)))
        if client:
            try:
                count, _ = client.stat()
                if count:
                    client.top(count, 0)
                client.quit()
            except Exception as error:
                say("cut", protocol="pop3", account=account, error=str(error))
            finally:
                try:
                    client.close()
                except Exception:
                    pass
        STOP.wait(JOB["pause"])


def filter_(account, endpoint, source):
    while not STOP.is_set():
        client = login("sieve", account, endpoint, lambda: mail.Sieve(**how(endpoint, source)))
        if client:
            try:
                client.command("LISTSCRIPTS")
                STOP.wait(JOB["pause"])
                client.command("NOOP")
                client.logout()
            except Exception as error:
                say("cut", protocol="sieve", account=account, error=str(error))
            finally:
                client.sock.close()
        STOP.wait(JOB["pause"])


def send(account, endpoint, source):
    while not STOP.is_set():
        client = login("submission", account, endpoint, lambda: mail.Smtp(**how(endpoint, source)))
        if client:
            message_id = f"<{uuid.uuid4()}@load.test>"
            sent = False
            try:
                client.mail(account)
                client.rcpt(account)
                sent = True
                code, text = client.data(mail.message(account, account, message_id))
                sent = False
                if code == 250:
                    say("accepted", account=account, id=message_id)
                else:
                    say("cut", protocol="submission", account=account, error=f"{code} {text!r}")
                client.quit()
            except Exception as error:
                if sent:
                    say("unknown", account=account, id=message_id, error=str(error))
                else:
                    say("cut", protocol="submission", account=account, error=str(error))
            finally:
                client.close()
        STOP.wait(JOB["pause"] * 2)


def main():
    threads = []
    for number, account in enumerate(JOB["accounts"]):
        source = f"{JOB['source_network']}.{101 + number % 150}" if JOB.get("source_network") else None
        for work, protocol in ((read, "imap"), (fetch, "pop3"), (filter_, "sieve"), (send, "submission")):
            for endpoint in JOB.get(protocol, []):
                threads.append(threading.Thread(target=work, args=(account, endpoint, source)))
    for thread in threads:
        thread.start()
    print("running", flush=True)
    sys.stdin.read()
    STOP.set()
    for thread in threads:
        thread.join()
    SECONDS.sort()
    TOTAL["login_seconds_p50"] = SECONDS[len(SECONDS) // 2] if SECONDS else 0
    TOTAL["login_seconds_max"] = SECONDS[-1] if SECONDS else 0
    print(json.dumps(TOTAL), flush=True)


main()
