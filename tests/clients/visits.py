#!/usr/bin/env python3
"""One account that visits its mail through every node without pause, over one protocol, until standard input ends.

usage: visits.py '{"protocol": "imap" | "submission" | "http" | "websocket", "account": …, "password": …,
                   "endpoints": [[host, port], …], "ca": …, "events": "file"}'

A thread for every endpoint. Each event is a line of JSON: `in` (let in), `out` (not let in, and why), `refused` (told that
its password is wrong: never to happen), `accepted` and `unknown` (of what has an id: the server said that it has it, or
the connection ended before its answer), `cut` (a visit that ended early).
"""

import asyncio
import base64
import http.client
import imaplib
import json
import random
import smtplib
import ssl
import sys
import threading
import time
import uuid

import mail

JOB = json.loads(sys.argv[1])
ACCOUNT = JOB["account"]
STOP = threading.Event()
LOCK = threading.Lock()
EVENTS = open(JOB["events"], "a", buffering=1)
BASIC = "Basic " + base64.b64encode(f"{ACCOUNT}:{JOB['password']}".encode()).decode()


def say(kind, endpoint, **fields):
    with LOCK:
        at = time.time_ns() // 1000
        EVENTS.write(json.dumps({"at": at, "kind": kind, "endpoint": endpoint[0], **fields}) + "\n")


def how(endpoint):
    return {"host": endpoint[0], "port": endpoint[1], "tls": "implicit", "ca": JOB["ca"], "timeout": 30}


def imap(endpoint):
    client = mail.Imap(**how(endpoint))
    try:
        client.login(ACCOUNT, JOB["password"])
    except imaplib.IMAP4.error as error:
        say("refused" if "AUTHENTICATIONFAILED" in str(error) else "out", endpoint, error=str(error))
        return
    say("in", endpoint)
    # The login is over, whatever comes: what ends it early is a cut.
    try:
        client.select("INBOX")
        message_id = f"<{uuid.uuid4()}@faults.test>"
        keep(endpoint, message_id, lambda: client.append("INBOX", None, None, mail.message(ACCOUNT, ACCOUNT, message_id))[0] == "OK")
        for _ in range(random.choice((1, 3, 8))):
            if STOP.wait(random.choice((0.02, 0.1, 0.4))):
                break
            client.noop()
        client.logout()
    except Exception as error:
        say("cut", endpoint, error=repr(error))
    finally:
        try:
            client.shutdown()
        except OSError:
            pass


def keep(endpoint, name, act):
    """Does what must be done once, and says what is known of it."""
    try:
        done = act()
    except Exception as error:
        say("unknown", endpoint, id=name, error=repr(error))
        raise
    if done:
        say("accepted", endpoint, id=name)


def submission(endpoint):
    client = mail.Smtp(**how(endpoint))
    try:
        client.login(ACCOUNT, JOB["password"])
    except smtplib.SMTPAuthenticationError as error:
        say("refused" if error.smtp_code == 535 else "out", endpoint, error=str(error))
        return
    say("in", endpoint)
    try:
        client.mail(ACCOUNT)
        client.rcpt(ACCOUNT)
        message_id = f"<{uuid.uuid4()}@faults.test>"
        keep(endpoint, message_id, lambda: client.data(mail.message(ACCOUNT, ACCOUNT, message_id))[0] == 250)
        client.quit()
    except Exception as error:
        say("cut", endpoint, error=repr(error))
    finally:
        client.close()


def webmail(endpoint):
    context = ssl.create_default_context(cafile=JOB["ca"])
    connection = http.client.HTTPSConnection(endpoint[0], endpoint[1], timeout=30, context=context)
    try:
        for _ in range(random.choice((1, 5, 10))):
            name = str(uuid.uuid4())

            def post():
                connection.request("POST", "/add?wait=0.02", body=name, headers={"Authorization": BASIC})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    say("in", endpoint)
                elif answer.status == 401:
                    say("refused", endpoint, error="401")
                else:
                    say("out", endpoint, error=str(answer.status))
                return answer.status == 200

            keep(endpoint, name, post)
            if STOP.wait(0.03):
                break
    except Exception as error:
        say("cut", endpoint, error=repr(error))
    finally:
        connection.close()


def websocket(endpoint):
    asyncio.run(socket_visit(endpoint))


async def socket_visit(endpoint):
    import websockets

    context = ssl.create_default_context(cafile=JOB["ca"])
    try:
        async with websockets.connect(
            f"wss://{endpoint[0]}:{endpoint[1]}/ws", ssl=context, additional_headers={"Authorization": BASIC},
            subprotocols=["echo"], open_timeout=30, close_timeout=2, compression=None,
        ) as socket:
            await asyncio.wait_for(socket.recv(), 30)
            say("in", endpoint)
            try:
                for number in range(random.choice((3, 10, 50))):
                    if STOP.is_set():
                        break
                    await socket.send(str(number))
                    await asyncio.wait_for(socket.recv(), 30)
                    await asyncio.sleep(random.choice((0.01, 0.05, 0.3)))
            except Exception as error:
                say("cut", endpoint, error=repr(error))
    except websockets.exceptions.InvalidStatus as error:
        status = error.response.status_code
        say("refused" if status == 401 else "out", endpoint, error=str(status))


VISIT = {"imap": imap, "submission": submission, "http": webmail, "websocket": websocket}[JOB["protocol"]]


def visit_again_and_again(endpoint):
    while not STOP.is_set():
        try:
            VISIT(endpoint)
        except Exception as error:
            say("out", endpoint, error=repr(error))
        STOP.wait(random.choice((0.02, 0.1)))


def main():
    threads = [threading.Thread(target=visit_again_and_again, args=(endpoint,)) for endpoint in JOB["endpoints"]]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    STOP.set()
    for thread in threads:
        thread.join()


main()
