"""What the client scripts share: IMAP, POP3 and submission connections of Python's own libraries, and ManageSieve
ones, made from a chosen address so that a backend's log shows which client it was, with a PROXY header or an ID
where asked."""

import base64
import imaplib
import poplib
import smtplib
import socket
import ssl
import struct

imaplib._MAXLINE = 10_000_000


def context(ca):
    if ca is None:
        made = ssl.create_default_context()
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made
    return ssl.create_default_context(cafile=ca)


def connect(host, port, source=None, timeout=30, proxy_header=None):
    address = (source, 0) if source else None
    sock = socket.create_connection((host, port), timeout=timeout, source_address=address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if proxy_header:
        sock.sendall(proxy_v2(*proxy_header))
    return sock


def proxy_v2(client, client_port, server, server_port):
    """PROXY protocol version 2, PROXY command, TCP over IPv4."""
    body = socket.inet_aton(client) + socket.inet_aton(server) + struct.pack("!HH", client_port, server_port)
    return b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11" + struct.pack("!H", len(body)) + body


class Imap(imaplib.IMAP4):
    """tls is "plain", "starttls" or "implicit"."""

    def __init__(self, host, port, tls="plain", ca=None, source=None, timeout=30, proxy_header=None):
        self._how = (tls, ca, source, timeout, proxy_header)
        super().__init__(host, port, timeout)
        if tls == "starttls":
            self.starttls(context(ca))

    def _create_socket(self, timeout):
        tls, ca, source, timeout, proxy_header = self._how
        sock = connect(self.host, self.port, source, timeout, proxy_header)
        if tls == "implicit":
            sock = context(ca).wrap_socket(sock, server_hostname=self.host)
        return sock

    def id(self, fields):
        text = " ".join(f'"{key}" "{value}"' for key, value in fields.items())
        return self._simple_command("ID", f"({text})")


imaplib.Commands.setdefault("ID", ("NONAUTH", "AUTH", "SELECTED"))


class Smtp(smtplib.SMTP):
    def __init__(self, host, port, tls="plain", ca=None, source=None, timeout=30, proxy_header=None):
        self._how = (tls, ca, source, proxy_header)
        super().__init__(host, port, local_hostname="client.test", timeout=timeout)
        self.ehlo()
        if tls == "starttls":
            self.starttls(context=context(ca))
            self.ehlo()

    def _get_socket(self, host, port, timeout):
        tls, ca, source, proxy_header = self._how
        sock = connect(host, port, source, timeout, proxy_header)
        if tls == "implicit":
            sock = context(ca).wrap_socket(sock, server_hostname=host)
        return sock


class Pop3(poplib.POP3):
    def __init__(self, host, port, tls="plain", ca=None, source=None, timeout=30, proxy_header=None):
        self._how = (tls, ca, source, proxy_header)
        super().__init__(host, port, timeout)
        if tls == "starttls":
            self.stls(context(ca))

    def _create_socket(self, timeout):
        tls, ca, source, proxy_header = self._how
        sock = connect(self.host, self.port, source, timeout, proxy_header)
        if tls == "implicit":
            sock = context(ca).wrap_socket(sock, server_hostname=self.host)
        return sock

    def login(self, user, password):
        self.user(user)
        return self.pass_(password)


class Sieve:
    """ManageSieve (RFC 5804): Python has none. Commands give the lines of the answer, or raise what was said."""

    def __init__(self, host, port, tls="plain", ca=None, source=None, timeout=30, proxy_header=None):
        self.sock = connect(host, port, source, timeout, proxy_header)
        if tls == "implicit":
            self.sock = context(ca).wrap_socket(self.sock, server_hostname=host)
        self._reads()
        self.capabilities = self._answer()
        if tls == "starttls":
            self.command("STARTTLS")
            self.sock = context(ca).wrap_socket(self.sock, server_hostname=host)
            self._reads()
            self.capabilities = self._answer()

    def _reads(self):
        self.file = self.sock.makefile("rb")

    def _answer(self):
        lines = []
        while True:
            line = self.file.readline()
            if not line.endswith(b"\r\n"):
                raise EOFError(f"the connection ended behind {lines} {line}")
            text = line.decode().rstrip("\r\n")
            if text.endswith("}") and "{" in text:
                size = int(text[text.rindex("{") + 1:-1].rstrip("+"))
                text += "\n" + self.file.read(size).decode() + self.file.readline().decode().rstrip("\r\n")
            if text.startswith("OK"):
                return lines
            if text.startswith(("NO", "BYE")):
                raise RuntimeError(text)
            lines.append(text)

    def command(self, text, literal=None):
        data = text.encode()
        if literal is not None:
            data += b" {%d+}\r\n" % len(literal) + literal
        self.sock.sendall(data + b"\r\n")
        return self._answer()

    def login(self, user, password, authzid=""):
        frame = base64.b64encode(f"{authzid}\0{user}\0{password}".encode()).decode()
        return self.command(f'AUTHENTICATE "PLAIN" "{frame}"')

    def logout(self):
        self.command("LOGOUT")
        self.sock.close()


def message(sender, recipient, message_id, subject="test"):
    return (
        f"From: {sender}\r\nTo: {recipient}\r\nMessage-ID: {message_id}\r\nSubject: {subject}\r\n\r\n"
        "A message of the tests.\r\n"
    ).encode()
