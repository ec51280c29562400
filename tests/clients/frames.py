"""HTTP/2 by hand (the libraries h2, hyperframe, hpack): floods, streams that are reset, a WebSocket over a stream.

    frames.py '{"host": …, "port": …, "ca": FILE, "what": "reset" | "continuation" | "ping" | "settings" | "websocket" |
                "requests", …}'

Says how many frames went out before the server had enough, and with what it said so.
"""

import base64
import json
import select
import socket
import ssl
import sys
import time

import hpack
import wsproto
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

WANTED = json.loads(sys.argv[1])
ENCODER, DECODER = hpack.Encoder(), hpack.Decoder()
AUTHORITY = f"{WANTED['host']}:{WANTED['port']}"


class Connection:
    def __init__(self):
        context = ssl.create_default_context(cafile=WANTED["ca"])
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        tcp = socket.create_connection((WANTED["host"], WANTED["port"]), timeout=30)
        self.socket = context.wrap_socket(tcp, server_hostname=WANTED["host"])
        assert self.socket.selected_alpn_protocol() == "h2"
        self.socket.setblocking(False)
        self.buffer = b""
        self.goaway = None
        self.closed = False
        self.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize())

    def write(self, data):
        """False when the other side has ended the connection."""
        end = time.monotonic() + 30
        while data and not self.closed and time.monotonic() < end:
            try:
                data = data[self.socket.send(data):]
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                # Somebody who does not read is not written to: what it has said meanwhile is taken.
                self.read(0.05)
            except OSError:
                self.closed = True
        return not self.closed and not data

    def read(self, patience):
        """The frames that came, waiting so long for the first."""
        frames = []
        end = time.monotonic() + patience
        while not self.closed:
            try:
                data = self.socket.recv(65536)
                if not data:
                    self.closed = True
                self.buffer += data
            except ssl.SSLWantReadError:
                left = end - time.monotonic()
                if frames or left <= 0:
                    break
                select.select([self.socket], [], [], left)
                continue
            except OSError:
                self.closed = True
            while len(self.buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) < 9 + length:
                    break
                frame.parse_body(memoryview(self.buffer[9 : 9 + length]))
                self.buffer = self.buffer[9 + length :]
                if isinstance(frame, GoAwayFrame):
                    self.goaway = frame.error_code
                frames.append(frame)
        return frames

    def headers(self, stream, fields, flags=("END_HEADERS", "END_STREAM")):
        frame = HeadersFrame(stream, data=ENCODER.encode(fields))
        for flag in flags:
            frame.flags.add(flag)
        return frame.serialize()


def request(path, user=None, method="GET", more=()):
    fields = [(":method", method), (":scheme", "https"), (":authority", AUTHORITY), (":path", path)]
    if user:
        fields.append(("authorization", "Basic " + base64.b64encode(f"{user}:secret".encode()).decode()))
    return fields + list(more)


def flood(connection, piece):
    """Writes pieces until the server ends it, at most `most` of them."""
    sent = 0
    while sent < WANTED["most"] and not connection.closed and connection.goaway is None:
        if not connection.write(piece(sent)):
            break
        sent += 1
        if sent % 50 == 0:
            connection.read(0)
    # It may have said so while the last ones were on their way.
    end = time.monotonic() + 10
    while not connection.closed and connection.goaway is None and time.monotonic() < end:
        connection.read(0.2)
    return {"sent": sent, "goaway": connection.goaway, "closed": connection.closed}


def reset(connection):
    def piece(number):
        stream = 2 * number + 1
        head = connection.headers(stream, request(WANTED.get("path", "/wait?seconds=5"), WANTED.get("user")))
        return head + RstStreamFrame(stream, error_code=8).serialize()

    return flood(connection, piece)


def continuation(connection):
    head = HeadersFrame(1, data=ENCODER.encode(request("/")))
    connection.write(head.serialize())
    return flood(connection, lambda _: ContinuationFrame(1, data=b"\0\1a" + bytes([127, 0xC1, 0x3D]) + b"x" * 8000).serialize())


def ping(connection):
    return flood(connection, lambda number: PingFrame(0, opaque_data=number.to_bytes(8, "big")).serialize() * 10)


def settings(connection):
    return flood(connection, lambda _: SettingsFrame(0, settings={4: 65535}).serialize() * 10)


def empty(connection):
    """DATA without any data, on an open stream."""
    connection.write(connection.headers(1, request("/echo", WANTED.get("user"), "POST"), ("END_HEADERS",)))
    return flood(connection, lambda _: DataFrame(1).serialize() * 10)


def requests(connection):
    """Several at once, as several users: each answer's status and body, in the order in which they were asked for."""
    for number, one in enumerate(WANTED["requests"]):
        fields = request(one["path"], one.get("user"), one.get("method", "GET"), [tuple(f) for f in one.get("fields", [])])
        if "raw" in one:
            fields = [tuple(f) for f in one["raw"]]
        body = one.get("body")
        flags = ("END_HEADERS",) if body is not None else ("END_HEADERS", "END_STREAM")
        data = connection.headers(2 * number + 1, fields, flags)
        if body is not None:
            frame = DataFrame(2 * number + 1, data=body.encode())
            frame.flags.add("END_STREAM")
            data += frame.serialize()
        connection.write(data)
    answers = [{"status": None, "body": "", "reset": None, "ended": False} for _ in WANTED["requests"]]
    end = time.monotonic() + 30
    while not all(answer["ended"] for answer in answers) and not connection.closed and time.monotonic() < end:
        for frame in connection.read(0.2):
            if frame.stream_id == 0 or frame.stream_id > 2 * len(answers):
                continue
            answer = answers[frame.stream_id // 2]
            if isinstance(frame, HeadersFrame):
                fields = [(n.decode() if isinstance(n, bytes) else n, v.decode() if isinstance(v, bytes) else v)
                          for n, v in DECODER.decode(frame.data)]
                answer.setdefault("fields", fields)
                answer["status"] = answer["status"] or int(dict(fields).get(":status", "0"))
            elif isinstance(frame, DataFrame):
                answer["body"] += frame.data.decode()
                size = max(1, len(frame.data))
                connection.write(WindowUpdateFrame(0, window_increment=size).serialize())
            elif isinstance(frame, RstStreamFrame):
                answer["reset"], answer["ended"] = frame.error_code, True
            answer["ended"] |= "END_STREAM" in frame.flags
        if connection.goaway:
            break
    return {"answers": answers, "goaway": connection.goaway, "closed": connection.closed}


def websocket(connection):
    """RFC 8441."""
    frames = connection.read(5)
    enabled = any(isinstance(f, SettingsFrame) and f.settings.get(8) == 1 for f in frames)
    fields = request("/ws", WANTED.get("user"), "CONNECT", [("sec-websocket-version", "13"), ("sec-websocket-protocol", "echo")])
    fields.insert(1, (":protocol", "websocket"))
    connection.write(connection.headers(1, fields, ("END_HEADERS",)))
    peer = wsproto.connection.Connection(wsproto.ConnectionType.CLIENT)
    status, heard, said, closed = None, [], False, None
    end = time.monotonic() + 30
    while time.monotonic() < end and not connection.closed:
        for frame in connection.read(0.2):
            if isinstance(frame, HeadersFrame):
                status = int(dict(DECODER.decode(frame.data))[":status"])
            elif isinstance(frame, DataFrame):
                if not frame.data:
                    continue
                peer.receive_data(frame.data)
                for event in peer.events():
                    if isinstance(event, wsproto.events.Message):
                        heard.append(event.data)
                    elif isinstance(event, wsproto.events.CloseConnection):
                        closed = event.code
            elif isinstance(frame, RstStreamFrame):
                return {"enabled": enabled, "status": status, "heard": heard, "reset": frame.error_code}
        if status not in (None, 200):
            break
        if heard and not said:
            said = True
            connection.write(DataFrame(1, data=peer.send(wsproto.events.Message(data="hello"))).serialize())
        if len(heard) == 2 and closed is None:
            connection.write(DataFrame(1, data=peer.send(wsproto.events.CloseConnection(code=1000))).serialize())
            closed = 0
        if closed:
            break
    return {"enabled": enabled, "status": status, "heard": heard, "closed": closed}


def main():
    connection = Connection()
    print(json.dumps(globals()[WANTED["what"]](connection)))


main()
