#!/usr/bin/env python3
"""One login by Python's imaplib, poplib or smtplib, or over ManageSieve, told in one line of JSON.

usage: once.py '{"protocol": "imap" | "pop3" | "sieve" | "submission", "host": …, "port": …, "tls": "implicit", "user": …, "password": …,
                 "ca": …, "source": …, "proxy_header": [client, port, server, port], "id": {…},
                 "xclient": {…}, "send": "<message-id>", "sasl": "plain" | "login" | …, "authzid": …,
                 "stay": true}'

`stay`: says "in" when it is logged in, and then stays until its standard input ends or the server closes.
"""

import json
import select
import sys
import time

import mail


def main():
    job = json.loads(sys.argv[1])
    began = time.time()
    result = {"ok": False, "began": began}
    try:
        {"imap": imap, "pop3": pop3, "sieve": sieve, "submission": submission}[job["protocol"]](job, result)
    except Exception as error:
        result["error"] = f"{type(error).__name__}: {error}"
    result["seconds"] = round(time.time() - began, 4)
    print(json.dumps(result), flush=True)
    sys.exit(0 if result["ok"] else 1)


def how(job):
    return {key: job.get(key) for key in ("ca", "source", "proxy_header")} | {
        "tls": job.get("tls", "plain"),
        "timeout": job.get("timeout", 60),
    }


def imap(job, result):
    client = mail.Imap(job["host"], job["port"], **how(job))
    result["greeting"] = client.welcome.decode()
    if job.get("id"):
        client.id(job["id"])
    if job.get("sasl", "").lower() == "plain":
        answer = f"{job.get('authzid', '')}\0{job['user']}\0{job['password']}".encode()
        client.authenticate("PLAIN", lambda _: answer)
    elif job.get("sasl", "").lower() == "login":
        answers = iter([job["user"].encode(), job["password"].encode()])
        client.authenticate("LOGIN", lambda _: next(answers))
    else:
        client.login(job["user"], job["password"])
    result["login_seconds"] = round(time.time() - result["began"], 4)
    status, count = client.select("INBOX")
    result["messages"] = int(count[0])
    if job.get("stay"):
        stay(client.socket(), lambda: client.noop())
    client.logout()
    result["ok"] = status == "OK"


def pop3(job, result):
    client = mail.Pop3(job["host"], job["port"], **how(job))
    result["greeting"] = client.getwelcome().decode()
    client.user(job["user"])
    client.pass_(job["password"])
    result["login_seconds"] = round(time.time() - result["began"], 4)
    result["messages"], _ = client.stat()
    if result["messages"]:
        client.retr(1)
        client.uidl()
    if job.get("stay"):
        stay(client.sock, client.noop)
    client.quit()
    result["ok"] = True


SCRIPT = b'require "fileinto";\r\nif header :contains "subject" "sieved" { fileinto "Sieved"; }\r\n'


def sieve(job, result):
    client = mail.Sieve(job["host"], job["port"], **how(job))
    client.login(job["user"], job["password"], job.get("authzid", ""))
    result["login_seconds"] = round(time.time() - result["began"], 4)
    client.command('PUTSCRIPT "of the tests"', SCRIPT)
    if "\n" + SCRIPT.decode() not in client.command('GETSCRIPT "of the tests"')[0]:
        raise RuntimeError("another script came back")
    client.command('SETACTIVE "of the tests"')
    if '"of the tests" ACTIVE' not in client.command("LISTSCRIPTS"):
        raise RuntimeError("the script is not the active one")
    if job.get("stay"):
        stay(client.sock, lambda: client.command("NOOP"))
    client.logout()
    result["ok"] = True


def submission(job, result):
    client = mail.Smtp(job["host"], job["port"], **how(job))
    if job.get("xclient"):
        line = " ".join(f"{key}={value}" for key, value in job["xclient"].items())
        code, text = client.docmd("XCLIENT", line)
        if code != 220:
            raise RuntimeError(f"XCLIENT: {code} {text!r}")
        client.ehlo()
    client.login(job["user"], job["password"])
    result["login_seconds"] = round(time.time() - result["began"], 4)
    if job.get("stay"):
        stay(client.sock, lambda: client.noop())
    if job.get("send"):
        to = job.get("to", job["user"])
        client.sendmail(job["user"], [to], mail.message(job["user"], to, job["send"]))
    client.quit()
    result["ok"] = True


def stay(sock, noop):
    print("in", flush=True)
    while True:
        ready, _, _ = select.select([sock, sys.stdin], [], [])
        if sys.stdin in ready:
            sys.stdin.read()
            return
        noop()


main()
