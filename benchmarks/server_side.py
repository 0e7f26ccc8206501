# SPDX-License-Identifier: Apache-2.0
"""Servers that know their clients by their keys: handshakes a second, and memory a key.

Each server is its own process on one core and takes turns with the others; the client, on another core, is
plain pyOpenSSL with a certificate. All servers verify the client's chain too, so that the one without pins
does the same but for the pin.

`python -m benchmarks.server_side serve|client|memory …` are the processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

from benchmarks.common import Run, python, ratio, spread
from benchmarks.keys import HOST, key_pem, owner, pem
from benchmarks.server import cores, on_core

__all__ = ["TITLES", "measure"]

_ENGINES = {"native": "", "python": ", Python engine"}
_KEYS = (1, 1000, 1_000_000)
_PLAIN = "plain"
TITLES = {_PLAIN: "pyOpenSSL, no pin"} | {
    f"{engine}-{count}": f"pinverify{suffix}, {count:,} key{'s' if count > 1 else ''}"
    for engine, suffix in _ENGINES.items()
    for count in _KEYS
}


def measure(run: Run) -> dict[str, Any]:
    """Seconds of the server's CPU and of time for one handshake, and bytes for one of a million keys."""
    count, rounds = run.pick((200, 21), (50, 5))
    cpu: dict[str, list[float]] = {name: [] for name in TITLES}
    wall: dict[str, list[float]] = {name: [] for name in TITLES}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        _write_identities(Path(folder))
        servers = {name: stack.enter_context(_process(cores()[0], "serve", name, folder)) for name in TITLES}
        client = stack.enter_context(_process(cores()[1], "client", folder))
        ports = {name: _line(server) for name, server in servers.items()}
        for name in TITLES:
            _ask(client, port=ports[name], count=20)  # warm
        turns = [name for _ in range(rounds) for name in TITLES]
        for name in run.track(turns, TITLES.__getitem__):
            before = _ask(servers[name])
            wall[name].append(_ask(client, port=ports[name], count=count) / count)
            cpu[name].append((_ask(servers[name]) - before) / count)
    return {
        "handshakes": count,
        "rounds": rounds,
        "servers": {
            name: {
                "cpu": spread(cpu[name]),
                "rate": spread([1 / seconds for seconds in wall[name]]),
                "cpu_ratio": ratio(cpu[name], cpu[_PLAIN]),
            }
            for name in TITLES
        },
        "bytes_a_key": {engine: _memory(engine) for engine in _ENGINES},
    }


def _process(core: int, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PINVERIFY_ENGINE": "python" if "python" in arguments[1] else "native"}
    return python("-m", "benchmarks.server_side", *arguments, env=environment, preexec_fn=on_core(core))


def _line(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a process of the benchmark has ended")
    return json.loads(line)


def _ask(process: subprocess.Popen[str], **job: int) -> Any:
    print(json.dumps(job), file=process.stdin, flush=True)
    return _line(process)


def _memory(engine: str) -> dict[str, float]:
    environment = {**os.environ, "PINVERIFY_ENGINE": engine}
    with python("-m", "benchmarks.server_side", "memory", str(_KEYS[-1]), env=environment) as process:
        found: dict[str, float] = _line(process)
    return found


def _write_identities(folder: Path) -> None:
    server, client = owner("P-256", 3), owner("P-256", 3, host="client.example")
    for name, who in (("server", server), ("client", client)):
        (folder / f"{name}.pem").write_bytes(pem(who.chain[:-1]))
        (folder / f"{name}.key").write_bytes(key_pem(who))
        (folder / f"{name}.root").write_bytes(pem(who.chain[-1:]))
    (folder / "client.pin").write_text(str(client.pin))


# -- The processes --


def _keys(folder: Path, count: int) -> Iterator[Any]:
    from pinverify import Pin

    yield Pin.parse((folder / "client.pin").read_text())
    yield from _strangers(count - 1)


def _strangers(count: int) -> Iterator[Any]:
    from pinverify import Pin

    for number in range(count):
        yield Pin(hashlib.sha256(number.to_bytes(8, "big")).digest())


def _server_context(name: str, folder: Path) -> Any:
    identity = folder / "server.pem", folder / "server.key"
    if name == _PLAIN:
        from OpenSSL import SSL

        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate_chain_file(str(identity[0]))
        context.use_privatekey_file(str(identity[1]))
        context.load_verify_locations(str(folder / "client.root"))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        return context
    from pinverify import engine_info, server_context

    engine, _, count = name.partition("-")
    if engine_info().name != engine:
        raise SystemExit(f"the engine is {engine_info().name}")
    return server_context(identity, clients=list(_keys(folder, int(count))), trust=folder / "client.root")


def _serve(name: str, folder: Path) -> None:
    from OpenSSL import SSL

    context = _server_context(name, folder)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def work() -> None:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with closing(sock):
                connection = SSL.Connection(context, sock)
                connection.set_accept_state()
                with suppress(SSL.Error):
                    connection.do_handshake()
                    connection.sendall(b"welcome")
                    connection.shutdown()

    threading.Thread(target=work, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    for _ in sys.stdin:
        print(time.process_time(), flush=True)


def _client(folder: Path) -> None:
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.use_certificate_chain_file(str(folder / "client.pem"))
    context.use_privatekey_file(str(folder / "client.key"))
    context.load_verify_locations(str(folder / "server.root"))
    context.set_verify(SSL.VERIFY_PEER)
    for line in sys.stdin:
        job, began = json.loads(line), time.perf_counter()
        for _ in range(job["count"]):
            with socket.create_connection(("127.0.0.1", job["port"])) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = SSL.Connection(context, sock)
                connection.set_tlsext_host_name(HOST.encode())
                connection.set_connect_state()
                connection.do_handshake()
                if connection.recv(7) != b"welcome":  # who is not let in, fails here at the latest
                    raise SystemExit("not let in")
        print(time.perf_counter() - began, flush=True)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _measure_memory(count: int) -> None:
    from pinverify import Policy

    began = _resident()
    policy = Policy({"server.example": list(_strangers(count))})
    made = _resident()
    clock = time.perf_counter()
    kept = policy.compiled
    seconds = time.perf_counter() - clock
    assert kept is not None
    found = {"policy": (made - began) / count, "compiled": (_resident() - made) / count, "seconds": seconds}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "serve":
        _serve(rest[0], Path(rest[1]))
    elif what == "client":
        _client(Path(rest[0]))
    else:
        _measure_memory(int(rest[0]))
