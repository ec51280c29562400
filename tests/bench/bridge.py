#!/usr/bin/env python3
"""What bridging costs: CPU seconds of a node per GiB, by how its two legs are secured. Prints figures, asserts nothing.

    cargo build --release -p mailswitch-data-plane
    tests/bench/bridge.py [--program target/release/mailswitch-data-plane] [--gib 2] [--rounds 3]

A passed-through listener (nothing is read before the bridge), a backend that sends, a client that takes. CPU time is the
node's whole process; wall-clock depends on the machine's other work and is shown only to tell whether it was busy.
"""

import argparse
import multiprocessing
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHUNK = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def backend(listener: socket.socket, certificate: str | None, size: int) -> None:
    """Sends `size` bytes to everybody who connects."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    chunk = memoryview(os.urandom(CHUNK))
    while True:
        connection, _ = listener.accept()
        try:
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            for _ in range(size // CHUNK):
                connection.sendall(chunk)
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # who only looked whether the node listens
        connection.close()


def take(port: int, secured: bool) -> int:
    """Reads one session to its end; gives the number of bytes."""
    connection = socket.create_connection(("127.0.0.1", port))
    if secured:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    buffer, total = bytearray(CHUNK), 0
    while read := connection.recv_into(buffer):
        total += read
    return total


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wait_for(port: int) -> None:
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit("the node does not listen")


def measure(program: str, directory: Path, certificate: str, client_tls: bool, backend_tls: bool, gib: float) -> tuple[float, float]:
    size = int(gib * (1 << 30)) // CHUNK * CHUNK
    listener = socket.create_server(("127.0.0.1", 0))
    serving = multiprocessing.Process(
        target=backend, args=(listener, certificate if backend_tls else None, size), daemon=True
    )
    serving.start()
    port = free_port()
    (directory / "moved").write_text("")
    config = directory / "node.toml"
    config.write_text(
        f"""
[server]
log_level = "warn"
threads = 1
[routing]
default_destination = "b"
smtp_passthrough_destination = "b"
[mapping]
source = "file"
[mapping.file]
path = "{directory}/moved"
[destination.b]
host = "127.0.0.1"
tls_server_name = "b.test"
tls_allow_invalid_certs = true
forwarding = "none"
[destination.b.protocol]
smtp = {{ port = {listener.getsockname()[1]}, tls = "{'implicit' if backend_tls else 'plain'}" }}
[listener.mx]
protocol = "smtp"
bind = ["127.0.0.1:{port}"]
tls = "{'implicit' if client_tls else 'plain'}"
"""
    )
    node = subprocess.Popen([program, str(config)], stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        time.sleep(0.3)
        before, began = cpu(node.pid), time.monotonic()
        taken = take(port, client_tls)
        wall = time.monotonic() - began
        time.sleep(0.1)
        spent = cpu(node.pid) - before
        if taken != size:
            sys.exit(f"{taken} bytes of {size} arrived")
    finally:
        node.send_signal(signal.SIGKILL)
        node.wait()
        serving.terminate()
        serving.join()
        listener.close()
    return spent / gib, wall / gib


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", default="target/release/mailswitch-data-plane")
    arguments.add_argument("--gib", type=float, default=2)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        key, certificate = directory / "key.pem", directory / "certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
            + ["-subj", "/CN=b.test", "-addext", "subjectAltName=DNS:b.test", "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
        both = directory / "both.pem"
        both.write_text(key.read_text() + certificate.read_text())
        print("client   backend   CPU-s/GiB (least of the rounds; all)   wall-s/GiB")
        for client_tls, backend_tls in [(False, False), (True, False), (False, True), (True, True)]:
            rounds = [
                measure(options.program, directory, str(both), client_tls, backend_tls, options.gib)
                for _ in range(options.rounds)
            ]
            spent = [figure for figure, _ in rounds]
            shown = "TLS" if client_tls else "plain", "TLS" if backend_tls else "plain"
            every = " ".join(f"{figure:.3f}" for figure in spent)
            print(f"{shown[0]:8} {shown[1]:9} {min(spent):.3f}  ({every})   {min(wall for _, wall in rounds):.2f}", flush=True)


if __name__ == "__main__":
    main()
