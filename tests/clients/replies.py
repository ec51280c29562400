#!/usr/bin/env python3
"""What real mail programs do with each reply that a node gives: makes the tables of docs/clients.md.

usage: replies.py [--protocol imap] [--client NAME] [--case NAME] [--raw]

Each program is run against a server that says what a node says in that case, word for word, and that lets everybody in
where the case says so. What is noted: the exit code, how often the program connected and sent a password while it was
watched, whether it asked for the password again, and its own words. Programs with a screen are watched for some
seconds in a terminal. The programs are those of Debian 12; one that is missing is left out:
    apt-get install isync fetchmail getmail6 offlineimap3 neomutt mutt alpine mpop msmtp s-nail swaks sieve-connect curl
"""

import argparse
import base64
import concurrent.futures
import os
import pty
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

USER, PASSWORD = "alice@example.org", "secret"
WATCH, WATCH_IDLE = 15, 30

# The words of a node: a test of the dialogue crate compares them. "END" ends the connection.
IMAP = {
    "wrong password": ["TAG NO [AUTHENTICATIONFAILED] Authentication failed.",
                       "* BYE Not logged in, closing the connection.", "END"],
    "temporary failure": ["TAG NO [UNAVAILABLE] backend unavailable", "* BYE backend unavailable", "END"],
    "held, bye": ["* BYE This mailbox is being moved, connect again.", "END"],
    "held, no": ["TAG NO [UNAVAILABLE] This mailbox is being moved, try again.",
                 "* BYE This mailbox is being moved.", "END"],
    "needs TLS": ["TAG NO [PRIVACYREQUIRED] Encryption required for authentication"],
}
POP3 = {
    "wrong password": ["-ERR [AUTH] Authentication failed.", "END"],
    "temporary failure": ["-ERR [SYS/TEMP] backend unavailable, wait and try again", "END"],
    "held, bye": ["END"],
    "held, no": ["-ERR [SYS/TEMP] This mailbox is being moved, wait and try again", "END"],
    "needs TLS": ["-ERR Authentication requires TLS"],
}
SUBMISSION = {
    "wrong password": ["535 5.7.8 Authentication failed.", "END"],
    "temporary failure": ["421 4.3.0 backend unavailable", "END"],
    "held, bye": ["421 4.3.2 This mailbox is being moved, connect again", "END"],
    "held, no": ["454 4.7.0 This mailbox is being moved, try again", "421 4.3.2 closing connection", "END"],
    "needs TLS": ["538 5.7.11 Encryption required for authentication"],
}
SIEVE = {
    "wrong password": ['NO "Authentication failed."', 'BYE "Not logged in, closing the connection."', "END"],
    "temporary failure": ['NO (TRYLATER) "backend unavailable"', 'BYE (TRYLATER) "backend unavailable"', "END"],
    "held, bye": ['BYE (TRYLATER) "This mailbox is being moved, connect again."', "END"],
    "held, no": ['NO (TRYLATER) "This mailbox is being moved, try again."',
                 'BYE (TRYLATER) "This mailbox is being moved."', "END"],
    "needs TLS": ['NO (ENCRYPT-NEEDED) "Encryption required for authentication"'],
}
BUSY = {
    "imap": "* BYE Too many connections, connect again later.",
    "pop3": "-ERR [SYS/TEMP] Too many connections, wait and connect again",
    "submission": "421 4.7.0 Too many connections, connect again later",
    "sieve": 'BYE (TRYLATER) "Too many connections, connect again later."',
}
REPLIES = {"imap": IMAP, "pop3": POP3, "submission": SUBMISSION, "sieve": SIEVE}
# "cut": let in, and the connection ends at the first command on the mailbox: as in a drain that has come to its end
# while the client was busy. Let in after that.
# "idle, cut, held, in": what a session sees of a cutover when it had to wait for too long: ended when nothing moves,
# then held as by default, then let in. "idle, cut, in": when it had not.
# "new UIDs": the program is run twice, and comes to a copy with other UIDs, another UIDVALIDITY and other UIDLs the
# second time. Its row counts the messages that it fetched in each run, and tells of the second.
IDLE_CUT, IDLE_CUT_IN, NEW_UIDS = "idle, cut, held, in", "idle, cut, in", "new UIDs"
CASES = ["in", "wrong password", "temporary failure", "held, bye", "held, no", "busy", "full listener", "refused",
         "needs TLS", "cut", IDLE_CUT_IN, IDLE_CUT, NEW_UIDS]


class Server(threading.Thread):
    """Plays a case on each connection, and counts."""

    def __init__(self, protocol, case, tls=None):
        super().__init__(daemon=True)
        self.tls = tls
        self.protocol, self.case = protocol, case
        self.connections, self.logins, self.let_in, self.commands = 0, [], 0, []
        self.uid, self.fetched = 1, [0]
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = self.listener.getsockname()[1]
        if case == "refused":
            self.listener.close()

    def run(self):
        if self.case == "refused":
            return
        while True:
            connection, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection, self.connections), daemon=True).start()

    def what(self, number):
        """What this connection is told."""
        if self.case == IDLE_CUT:
            return {1: "idle", 2: "held, bye"}.get(number, "in")
        if self.case == IDLE_CUT_IN:
            return "idle" if number == 1 else "in"
        if self.case == NEW_UIDS:
            return "in"
        if self.case == "cut":
            return "cut" if number == 1 else "in"
        return self.case

    def serve(self, connection, number):
        case = self.what(number)
        try:
            connection.settimeout(60)
            if case == "full listener":
                return
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            talk = Talk(connection)
            if case == "busy":
                talk.say(BUSY[self.protocol])
                return
            getattr(self, self.protocol)(talk, case)
        except (OSError, EOFError):
            pass
        finally:
            try:
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(1)
                while connection.recv(4096):
                    pass
            except OSError:
                pass
            connection.close()

    def login(self, talk, case, secret, tag=""):
        """Answers a login; true when it is let in."""
        self.logins.append(secret)
        if case in ("in", "cut", "idle"):
            self.let_in += 1
            if case == "idle":
                # What is silent for so long has nothing to do.
                talk.connection.settimeout(1.5)
            return True
        for line in REPLIES[self.protocol][case]:
            if line == "END":
                raise EOFError
            talk.say(line.replace("TAG", tag, 1))
        return False

    def imap(self, talk, case):
        methods = "LOGINDISABLED STARTTLS" if case == "needs TLS" else "AUTH=PLAIN AUTH=LOGIN"
        before = f"IMAP4rev1 ENABLE SASL-IR LITERAL+ ID {methods}"
        talk.say(f"* OK [CAPABILITY {before}] Mailswitch at your service.")
        selected = False
        while True:
            tag, _, rest = talk.imap_line().partition(" ")
            verb, _, arguments = rest.partition(" ")
            verb = verb.upper()
            self.commands.append(rest if self.let_in else verb)
            if verb == "CAPABILITY":
                talk.say(f"* CAPABILITY {'IMAP4rev1 IDLE UIDPLUS' if self.let_in else before}", f"{tag} OK done")
            elif verb == "LOGIN":
                if self.login(talk, case, arguments, tag):
                    talk.say(f"{tag} OK [CAPABILITY IMAP4rev1 IDLE UIDPLUS] Logged in")
            elif verb == "AUTHENTICATE":
                words = arguments.split()
                secret = words[1] if len(words) > 1 else ""
                if words[0].upper() == "LOGIN":
                    talk.say("+ VXNlcm5hbWU6")
                    talk.line()
                    talk.say("+ UGFzc3dvcmQ6")
                    secret = talk.line()
                elif not secret:
                    talk.say("+ ")
                    secret = talk.line()
                if self.login(talk, case, secret, tag):
                    talk.say(f"{tag} OK [CAPABILITY IMAP4rev1 IDLE UIDPLUS] Logged in")
            elif verb == "LOGOUT":
                talk.say("* BYE bye", f"{tag} OK done")
                return
            elif verb == "STARTTLS":
                talk.say(f"{tag} BAD not here")
            elif verb in ("SELECT", "EXAMINE"):
                talk.say("* FLAGS (\\Seen \\Deleted)", "* OK [PERMANENTFLAGS (\\Seen \\Deleted)] x", "* 1 EXISTS",
                         "* 0 RECENT", f"* OK [UIDVALIDITY {self.uid}] x",
                         f"* OK [UIDNEXT {self.uid + 1}] x", f"{tag} OK [READ-WRITE] done")
                selected = True
            elif verb in ("LIST", "LSUB"):
                root = arguments.rstrip().endswith('""') and verb == "LIST"
                talk.say(f'* {verb} ({"" if not root else chr(92) + "Noselect"}) "/" {chr(34) * 2 if root else "INBOX"}',
                         f"{tag} OK done")
            elif verb == "STATUS":
                talk.say("* STATUS INBOX (MESSAGES 1 UNSEEN 1 UIDNEXT 2 UIDVALIDITY 1 RECENT 0)", f"{tag} OK done")
            elif selected and case == "cut" and verb in ("FETCH", "UID", "IDLE", "NOOP", "SEARCH"):
                return
            elif verb == "IDLE":
                talk.say("+ idling")
                talk.line()
                talk.say(f"{tag} OK done")
            elif verb == "FETCH" or rest.upper().startswith("UID FETCH"):
                talk.fetch(tag, rest.upper(), self)
            elif rest.upper().startswith(("UID SEARCH", "SEARCH")):
                talk.say(f"* SEARCH {self.uid if verb == 'UID' else 1}", f"{tag} OK done")
            else:
                talk.say(f"{tag} OK done")

    def pop3(self, talk, case):
        talk.say("+OK Mailswitch at your service.")
        user = ""
        while True:
            verb, _, rest = talk.line().partition(" ")
            verb = verb.upper()
            if verb == "CAPA":
                clear = ["STLS"] if case == "needs TLS" else ["USER", "SASL PLAIN LOGIN"]
                talk.say("+OK", *clear, "TOP", "RESP-CODES", "PIPELINING", "EXPIRE NEVER", "UIDL", "UTF8", ".")
            elif verb == "USER":
                user = rest
                if case == "needs TLS":
                    self.login(talk, case, rest)
                else:
                    talk.say("+OK")
            elif verb in ("PASS", "AUTH"):
                secret = f"{user} {rest}"
                if verb == "AUTH" and rest.upper() == "LOGIN":
                    talk.say("+ VXNlcm5hbWU6")
                    talk.line()
                    talk.say("+ UGFzc3dvcmQ6")
                    secret = talk.line()
                elif verb == "AUTH" and " " not in rest and rest:
                    talk.say("+ ")
                    secret = talk.line()
                elif verb == "AUTH" and not rest:
                    talk.say("+OK", "PLAIN", "LOGIN", ".")
                    continue
                if self.login(talk, case, secret):
                    talk.say("+OK Logged in")
            elif verb == "QUIT":
                talk.say("+OK")
                return
            elif verb in ("STAT", "LIST", "UIDL", "RETR", "TOP") and case == "cut":
                return
            elif verb == "STAT":
                talk.say(f"+OK 1 {len(MESSAGE)}")
            elif verb == "LIST":
                talk.say(*([f"+OK 1 {len(MESSAGE)}"] if rest else ["+OK", f"1 {len(MESSAGE)}", "."]))
            elif verb == "UIDL":
                talk.say(*([f"+OK 1 u{self.uid}"] if rest else ["+OK", f"1 u{self.uid}", "."]))
            elif verb in ("RETR", "TOP"):
                self.fetched[-1] += 1
                talk.say("+OK", MESSAGE + ".")
            elif verb == "NOOP":
                talk.say("+OK")
            else:
                talk.say("-ERR")

    def submission(self, talk, case):
        talk.say("220 proxy.example.org ESMTP at your service.")
        while True:
            line = talk.line()
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            if verb == "EHLO":
                auth = ["STARTTLS"] if case == "needs TLS" else ["AUTH PLAIN LOGIN"]
                words = ["proxy.example.org at your service", "ENHANCEDSTATUSCODES", "8BITMIME", "PIPELINING", "SIZE"]
                words += auth
                talk.say(*(f"250-{word}" for word in words[:-1]), f"250 {words[-1]}")
            elif verb == "HELO":
                talk.say("250 proxy.example.org")
            elif verb == "AUTH":
                mechanism, _, secret = rest.partition(" ")
                if mechanism.upper() == "LOGIN":
                    if not secret:
                        talk.say("334 VXNlcm5hbWU6")
                        talk.line()
                    talk.say("334 UGFzc3dvcmQ6")
                    secret = talk.line()
                elif not secret:
                    talk.say("334 ")
                    secret = talk.line()
                if self.login(talk, case, secret):
                    talk.say("235 2.7.0 in")
            elif verb == "QUIT":
                talk.say("221 2.0.0 bye")
                return
            elif verb in ("NOOP", "RSET"):
                talk.say("250 2.0.0")
            elif not self.let_in:
                talk.say("530 5.7.0 Authentication required")
            elif case == "cut":
                return
            elif verb == "DATA":
                talk.say("354 go")
                while talk.line() != ".":
                    pass
                talk.say("250 2.0.0 taken")
            else:
                talk.say("250 2.1.0 well")

    def sieve(self, talk, case):
        sasl = "" if case == "needs TLS" else "PLAIN LOGIN"
        more = ['"STARTTLS"'] if case == "needs TLS" else []
        block = ['"IMPLEMENTATION" "Mailswitch"', '"VERSION" "1.0"', f'"SASL" "{sasl}"', '"SIEVE" "fileinto"', *more,
                 'OK "ready."']
        talk.say(*block)
        while True:
            line = talk.line()
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            if verb == "CAPABILITY":
                talk.say(*block)
            elif verb == "AUTHENTICATE":
                if match := re.search(r"\{(\d+)\+?\}$", rest):
                    rest += talk.exactly(int(match[1])) + talk.line()
                if '"LOGIN"' in rest.upper() and rest.count('"') == 2:
                    talk.say("{12}", "VXNlcm5hbWU6")
                    talk.string()
                    talk.say("{12}", "UGFzc3dvcmQ6")
                    rest = talk.string()
                elif rest.count('"') == 2 and "{" not in rest:
                    talk.say('""')
                    rest = talk.string()
                if self.login(talk, case, rest):
                    talk.say('OK "in"')
            elif verb == "LOGOUT":
                talk.say('OK "bye"')
                return
            elif case == "cut":
                return
            elif verb == "LISTSCRIPTS":
                talk.say('"rules" ACTIVE', 'OK "done"')
            else:
                talk.say('OK "done"')


MESSAGE = "From: x@x.test\r\nTo: alice@example.org\r\nSubject: a message\r\nMessage-ID: <1@x.test>\r\n" \
          "Date: Mon, 23 Nov 2026 07:00:00 +0000\r\n\r\nhello\r\n"


class Talk:
    def __init__(self, connection):
        self.connection = connection
        self.file = connection.makefile("rb")

    def say(self, *lines):
        self.connection.sendall("".join(line + "\r\n" for line in lines).encode())

    def line(self):
        line = self.file.readline()
        if not line:
            raise EOFError
        return line.decode(errors="replace").rstrip("\r\n")

    def exactly(self, count):
        return self.file.read(count).decode(errors="replace")

    def string(self):
        line = self.line()
        if match := re.search(r"\{(\d+)\+?\}$", line):
            line += self.exactly(int(match[1])) + self.line()
        return line

    def imap_line(self):
        line = self.line()
        while match := re.search(r"\{(\d+)(\+?)\}$", line):
            if not match[2]:
                self.say("+ go")
            line = line[:match.start()] + '"' + self.exactly(int(match[1])) + '"' + self.line()
        return line

    def fetch(self, tag, what, server):
        if wanted := re.match(r"UID FETCH (\d+)(?::(\d+|\*))?", what):
            last = wanted[2] or wanted[1]
            if not int(wanted[1]) <= server.uid <= (10**9 if last == "*" else int(last)):
                self.say(f"{tag} OK done")
                return
        values = {"UID": str(server.uid), "FLAGS": "()", "INTERNALDATE": '"23-Nov-2026 07:00:00 +0000"',
                  "RFC822.SIZE": str(len(MESSAGE))}
        asked = re.sub(r"\[[^]]*\]", "", what)
        parts = [f"{name} {value}" for name, value in values.items()
                 if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", asked)]
        if "ENVELOPE" in what:
            who = '(("" NIL "x" "x.test"))'
            parts.append(f'ENVELOPE ("Mon, 23 Nov 2026 07:00:00 +0000" "a message" {who} {who} {who} {who} NIL NIL NIL '
                         f'"<1@x.test>")')
        if "BODYSTRUCTURE" in what:
            parts.append('BODYSTRUCTURE ("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 7 1)')
        if match := re.search(r"BODY(?:\.PEEK)?(\[[^\]]*\])", what):
            name = match[1]
            text = MESSAGE.split("\r\n\r\n")[0] + "\r\n\r\n" if "HEADER" in name else MESSAGE
            server.fetched[-1] += "HEADER" not in name
            parts.append(f"BODY{name} {{{len(text)}}}\r\n{text}")
        elif "RFC822.HEADER" in what:
            text = MESSAGE.split("\r\n\r\n")[0] + "\r\n\r\n"
            parts.append(f"RFC822.HEADER {{{len(text)}}}\r\n{text}")
        self.say(f"* 1 FETCH ({' '.join(parts)})", f"{tag} OK done")


def write(path, text, mode=0o600):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


# Each makes (command, environment, what to type) for a server on a port; `home` is a directory of its own. What to
# type: None for programs that run to an end; a list of (pattern on the screen, keys) for those with a screen.

def python(code):
    return lambda home, port: (["python3", "-c", f"H, P, U, W = '127.0.0.1', {port}, '{USER}', '{PASSWORD}'\n{code}"],
                               None, None)


IMAPLIB = """import imaplib
m = imaplib.IMAP4(H, P); m.login(U, W); m.select(); print(m.fetch('1', '(FLAGS)')); m.logout()"""
POPLIB = """import poplib
m = poplib.POP3(H, P); m.user(U); m.pass_(W); print(m.stat()); m.quit()"""
SMTPLIB = """import smtplib
m = smtplib.SMTP(H, P); m.login(U, W); m.sendmail(U, [U], 'Subject: x'); m.quit()"""


def curl(scheme):
    def make(home, port):
        write(f"{home}/mail", "Subject: x\n\nx\n")
        more = ["--upload-file", f"{home}/mail", "--mail-from", USER, "--mail-rcpt", USER] if scheme == "smtp" else []
        path = "/INBOX;MAILINDEX=1" if scheme == "imap" else "/1" if scheme == "pop3" else "/client.test"
        return (["curl", "-sS", "--max-time", "20", "--user", f"{USER}:{PASSWORD}",
                 f"{scheme}://127.0.0.1:{port}{path}", *more], None, None)
    return make


def mbsync(home, port):
    os.makedirs(f"{home}/box")
    write(f"{home}/rc", f"IMAPAccount a\nHost 127.0.0.1\nPort {port}\nUser {USER}\nPass {PASSWORD}\nSSLType None\n"
          f"AuthMechs *\nTimeout 20\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nPath {home}/box/\n"
          f"Inbox {home}/box/INBOX\n\nChannel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n")
    return ["mbsync", "-c", f"{home}/rc", "c"], None, None


def fetchmail(protocol, once=True):
    uidl = "uidl" if protocol == "POP3" else ""

    def make(home, port):
        write(f"{home}/rc", f"poll 127.0.0.1 protocol {protocol} port {port} auth password {uidl} user \"{USER}\" "
              f"password \"{PASSWORD}\" keep sslproto '' mda \"/bin/sh -c 'cat >/dev/null'\"\n")
        daemon = [] if once else ["--daemon", "2"]
        return (["fetchmail", "--nodetach", "--nosyslog", "--pidfile", f"{home}/pid", *daemon, "-f", f"{home}/rc"],
                {"FETCHMAILHOME": home}, None if once else [])
    return make


def getmail(protocol):
    def make(home, port):
        kind = "SimpleIMAPRetriever" if protocol == "imap" else "SimplePOP3Retriever"
        write(f"{home}/rc", f"[retriever]\ntype = {kind}\nserver = 127.0.0.1\nport = {port}\nusername = {USER}\n"
              f"password = {PASSWORD}\n[destination]\ntype = MDA_external\npath = /bin/true\n[options]\nread_all = false\n")
        # It delivers nothing as root.
        aside = []
        if os.geteuid() == 0:
            aside = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            for name in (home, f"{home}/rc"):
                os.chown(name, 65534, 65534)
        return [*aside, "getmail", "--getmaildir", home, "--rcfile", f"{home}/rc"], None, None
    return make


def offlineimap(home, port):
    write(f"{home}/rc", f"[general]\naccounts = a\nmetadata = {home}/meta\nmaxsyncaccounts = 1\n[Account a]\n"
          f"localrepository = l\nremoterepository = r\n[Repository l]\ntype = Maildir\nlocalfolders = {home}/box\n"
          f"[Repository r]\ntype = IMAP\nremotehost = 127.0.0.1\nremoteport = {port}\nremoteuser = {USER}\n"
          f"remotepass = {PASSWORD}\nssl = no\nstarttls = no\nauth_mechanisms = PLAIN, LOGIN\n")
    return ["offlineimap", "-o", "-c", f"{home}/rc", "-u", "basic"], None, None


def mutt(program, protocol):
    def make(home, port):
        user = USER.replace("@", "%40")
        os.makedirs(f"{home}/Mail")
        write(f"{home}/rc", f"set imap_pass='{PASSWORD}'\nset pop_pass='{PASSWORD}'\nset ssl_starttls=no\n"
              f"set ssl_force_tls=no\nset mail_check=3\n"
              f"set timeout=2\nset imap_keepalive=3\nset header_cache=''\n")
        return ([program, "-n", "-F", f"{home}/rc", "-f",
                 f"{protocol}://{user}@127.0.0.1:{port}" + ("/INBOX" if protocol == "imap" else "")],
                {"TERM": "vt100"}, [])
    return make


def alpine(protocol):
    def make(home, port):
        write(f"{home}/rc", "user-domain=example.org\nfeature-list=quit-without-confirm,no-enable-suspend,"
              "disable-password-file-saving\nmail-check-interval=3\nlast-version-used=9.99\ninit-passfile=\n")
        kind = "imap" if protocol == "imap" else "pop3"
        return (["alpine", "-p", f"{home}/rc", "-f", f"{{127.0.0.1:{port}/{kind}/ssl/novalidate-cert/user={USER}}}INBOX"],
                {"TERM": "vt100"}, [(r"PASSWORD", PASSWORD + "\r")] * 3)
    return make


def msmtp(home, port):
    return (["sh", "-c", f"printf 'Subject: x\\n\\nx\\n' | msmtp -C /dev/null --host 127.0.0.1 --port {port} --auth=plain "
             f"--user {USER} --passwordeval 'echo {PASSWORD}' --tls=off --from {USER} {USER}"], None, None)


def mpop(home, port):
    os.makedirs(f"{home}/Maildir/new"), os.makedirs(f"{home}/Maildir/cur"), os.makedirs(f"{home}/Maildir/tmp")
    return (["mpop", "-C", "/dev/null", "--host", "127.0.0.1", "--port", str(port), "--auth=user", "--user", USER,
             "--passwordeval", f"echo {PASSWORD}", "--tls=off", "--keep=on", "--delivery", f"maildir,{home}/Maildir",
             "--uidls-file", f"{home}/uidls"], None, None)


def swaks(home, port):
    return (["swaks", "--server", "127.0.0.1", "--port", str(port), "--auth", "PLAIN", "--auth-user", USER,
             "--auth-password", PASSWORD, "--from", USER, "--to", USER, "--timeout", "20"], None, None)


def s_nail(home, port):
    user = USER.replace("@", "%40")
    write(f"{home}/rc", f"set v15-compat\nset mta=smtp://{user}:{PASSWORD}@127.0.0.1:{port}\nset smtp-auth=plain\n"
          f"set from={USER}\nset sendwait\n")
    return (["sh", "-c", f"echo x | s-nail -:u -s x {USER}"], {"MAILRC": f"{home}/rc"}, None)


def sieve_connect(home, port):
    return (["sh", "-c", f"echo {PASSWORD} | sieve-connect --server 127.0.0.1 --port {port} --user {USER} "
             "--passwordfd 0 --clearchan --list"], None, None)


CLIENTS = {
    "imap": {"imaplib": python(IMAPLIB), "curl": curl("imap"), "mbsync": mbsync, "fetchmail": fetchmail("IMAP"),
             "fetchmail --daemon": fetchmail("IMAP", once=False), "getmail": getmail("imap"),
             "offlineimap": offlineimap, "neomutt": mutt("neomutt", "imap"), "mutt": mutt("mutt", "imap"),
             "alpine": alpine("imap")},
    "pop3": {"poplib": python(POPLIB), "curl": curl("pop3"), "fetchmail": fetchmail("POP3"),
             "getmail": getmail("pop3"), "mpop": mpop, "mutt": mutt("mutt", "pop"), "alpine": alpine("pop3")},
    "submission": {"smtplib": python(SMTPLIB), "curl": curl("smtp"), "msmtp": msmtp, "swaks": swaks,
                   "s-nail": s_nail},
    "sieve": {"sieve-connect": sieve_connect},
}


# They send no password in clear, also when told to.
WANT_TLS = {"alpine"}


PACKAGE = {"mbsync": "isync", "getmail": "getmail6", "offlineimap": "offlineimap3", "python3": "curl"}


def program_of(client):
    return {"imaplib": "python3", "poplib": "python3", "smtplib": "python3"}.get(client, client.split()[0])


def run(protocol, client, case):
    home = tempfile.mkdtemp(prefix="ms-clients-")
    server = Server(protocol, case, certificate(home) if client in WANT_TLS else None)
    server.start()
    try:
        command, more, typed = CLIENTS[protocol][client](home, server.port)
        environment = {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "COLUMNS": "160", **(more or {})}
        if case == NEW_UIDS and typed is None:
            to_the_end(command, environment, home)
            server.uid = 7
            server.fetched.append(0)
        code, said, asked = (to_the_end(command, environment, home) if typed is None
                             else watched(command, environment, home, typed, WATCH_IDLE if case.startswith("idle") else WATCH))
        # Those that have no password of their own ask once.
        asked -= 1 if typed and asked else 0
        return {"code": code, "said": said, "asked": asked, "connections": server.connections,
                "logins": len(server.logins), "in": server.let_in, "fetched": server.fetched,
                "commands": server.commands}
    finally:
        shutil.rmtree(home, ignore_errors=True)


def certificate(home):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-subj", "/CN=127.0.0.1", "-keyout", f"{home}/key", "-out", f"{home}/cert"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{home}/cert", f"{home}/key")
    return context


def to_the_end(command, environment, home):
    try:
        done = subprocess.run(command, env=environment, cwd=home, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=40)
    except subprocess.TimeoutExpired as late:
        return "runs on", (late.stdout or b"").decode(errors="replace"), 0
    said = (done.stdout + done.stderr).decode(errors="replace")
    return done.returncode, said, int(bool(re.search(r"assword.*:\s*$", said)))


def watched(command, environment, home, typed, seconds):
    """In a terminal, for so many seconds."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(home)
        os.execvpe(command[0], command, environment)
    import fcntl, struct, termios
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 160, 0, 0))
    screen, typed, asked, seen, code = "", list(typed), 0, 0, "runs on"
    until = time.time() + seconds
    while time.time() < until:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if ready:
            try:
                screen += os.read(terminal, 65536).decode(errors="replace")
            except OSError:
                break
        plain = clean(screen)
        found = len(re.findall(r"(?:PASSWORD|[Pp]assword) (?:for|:)|PASSWORD: ", plain[seen:]))
        if found:
            asked, seen = asked + 1, len(plain)
            if typed:
                os.write(terminal, typed.pop(0)[1].encode())
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
        else:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    except OSError:
        pass
    os.close(terminal)
    return code, clean(screen), asked


def clean(screen):
    text = re.sub(r"\x1b\[[0-9;?]*[Hf]", "\n", screen)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1b[=>78DMc]|[\x0e\x0f\x07]", "", text)
    return text.replace("\r", "\n")


BORING = re.compile(r"^\s*$|^-+$|PINE|Copyright|^\? |q:Quit|q:Exit|---|Reading|Sorting|^\[|Fetching|Traceback|File \"|^ +m = ")


def words(result):
    """The last of its words that tell something."""
    lines = [line.strip() for line in result["said"].splitlines() if not BORING.search(line)]
    telling = [line for line in lines if re.search(
        r"fail|error|denied|refus|unavail|moved|clos|lost|login|auth|TLS|again|bye|try|nable|many|\b[45]\d\d\b", line, re.I)]
    chosen = (telling or lines or [""])[-2:]
    return " / ".join(dict.fromkeys(line[:110] for line in chosen))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--protocol"), parser.add_argument("--client"), parser.add_argument("--case")
    parser.add_argument("--raw", action="store_true", help="all that the program said")
    wanted = parser.parse_args()
    jobs = [(protocol, client, case) for protocol, clients in CLIENTS.items() for client in clients for case in CASES
            if wanted.protocol in (None, protocol) and wanted.client in (None, client) and wanted.case in (None, case)]
    missing = {client for _, client, _ in jobs if not shutil.which(program_of(client))}
    jobs = [job for job in jobs if job[1] not in missing]
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        results = dict(zip(jobs, pool.map(lambda job: run(*job), jobs)))
    for protocol in CLIENTS:
        for case in CASES:
            rows = [(job, result) for job, result in results.items() if job[0] == protocol and job[2] == case]
            if not rows:
                continue
            print(f"\n### {protocol}: {case}\n")
            print("| client | exit | connects | passwords sent | let in | asks again | its words |")
            print("|---|---|---|---|---|---|---|")
            for (_, client, _), result in rows:
                if case == NEW_UIDS:
                    result["said"] = f"fetched {' and again '.join(map(str, result['fetched']))} " + words(result)
                print(f"| {client} | {result['code']} | {result['connections']} | {result['logins']} | {result['in']} | "
                      f"{result['asked'] or 'no'} | {words(result)} |")
                if wanted.raw:
                    print(result["said"], *result["commands"], sep="\n")
    packages = sorted({PACKAGE.get(program_of(client), program_of(client)) for _, client, _ in jobs})
    versions = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}, ", *packages], capture_output=True)
    print(f"\nPython {sys.version.split()[0]}, {versions.stdout.decode().rstrip(', ')}")
    for client in sorted(missing):
        print(f"left out, not installed: {client}", file=sys.stderr)


main()
