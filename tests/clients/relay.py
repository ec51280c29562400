#!/usr/bin/env python3
"""A TCP relay in front of a backend that can make its answers slow: relay.py LISTEN-HOST PORT BACKEND-HOST PORT FILE

Each piece of bytes from the backend waits as many seconds as FILE says (nothing, while there is no such file), so
that a login can be caught in the middle of its backend handshake."""

import socket
import sys
import threading
import time


def delay(path):
    try:
        with open(path) as file:
            return float(file.read() or 0)
    except (OSError, ValueError):
        return 0


def copy(source, sink, path):
    try:
        while data := source.recv(65536):
            if path:
                time.sleep(delay(path))
            sink.sendall(data)
    except OSError:
        pass
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def main():
    host, port, backend, backend_port, path = sys.argv[1:]
    listener = socket.create_server((host, int(port)), backlog=512, reuse_port=False)
    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection((backend, int(backend_port)))
        except OSError:
            client.close()
            continue
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=copy, args=(client, server, None), daemon=True).start()
        threading.Thread(target=copy, args=(server, client, path), daemon=True).start()


main()
