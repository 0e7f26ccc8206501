# SPDX-License-Identifier: Apache-2.0
"""P12 with the real frameworks, given a pinned context in the naive way, and in the ways that
docs/frameworks.md shows.
"""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest
import urllib3
from support import PATIENCE, Background, Node, intermediate, leaf, root
from urllib3.contrib.pyopenssl import PyOpenSSLContext

from pinverify import Pin, PinnedContext, PinRefused, PinverifyError, Stats, client_context

HOST = "api.example.com"  # as on the page
ABSENT = Pin(bytes(32))  # nobody's
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"
PAGE = (Path(__file__).parent.parent / "docs" / "frameworks.md").read_text("utf-8")
PIN = re.compile(r"sha256/[A-Za-z0-9+/]{43}=")

OTHER = leaf("www.example.com")
SITUATIONS: dict[str, tuple[Node, Pin, str]] = {  # the server, the pin of HOST, and what is decided
    "right": (leaf(HOST), leaf(HOST).pin, "PINNED"),
    "wrong pin": (leaf(HOST), ABSENT, "NOT_PINNED"),
    "wrong name": (OTHER, OTHER.pin, "OPENSSL"),
}
every_situation = pytest.mark.parametrize("situation", SITUATIONS)


class Web(socketserver.ThreadingTCPServer):
    """A web server with TLS of Python's own, which keeps what it has received."""

    request_queue_size = 64

    def __init__(self, identity: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.seen: list[bytes] = []
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(identity)
        self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self.server_address[1])


class Answer(socketserver.StreamRequestHandler):
    """Answers a request, however it reads."""

    server: Web
    timeout = PATIENCE

    def handle(self) -> None:
        with suppress(OSError):
            while line := self.rfile.readline():
                self.server.seen.append(line)
                if line == b"\r\n":
                    self.wfile.write(ANSWER)
                    return


@contextmanager
def web(node: Node) -> Iterator[Web]:
    """A web server on loopback with the certificate of `node`; on leaving, it has heard its clients out."""
    with TemporaryDirectory() as directory:
        identity = Path(directory, "identity.pem")
        identity.write_bytes(node.chain_pem + node.key_pem)
        server = Web(identity)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def on_page(words: str, pin: Pin, *changes: tuple[str, str]) -> str:
    """The one block of Python on the page that says `words`, with `pin` as the second of its pins."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (code,) = [block for block in blocks if words in block]
    first, second = PIN.findall(code)
    for before, after in [(first, str(leaf("old.example").pin)), (second, str(pin)), *changes]:
        assert before in code, f"frameworks.md no longer shows {before!r}"
        code = code.replace(before, after)
    return code


def counted(stats: Stats) -> tuple[int, int, dict[str, int]]:
    """How many were accepted and refused, and for what reasons."""
    by_reason = {reason.name: count for reason, count in stats.by_reason.items() if count}
    return stats.accepted, stats.refused, by_reason


# -- Twisted --

WAYS = ["ClientTLSOptions", "creator", "Agent", "page"]


def twisted_cases() -> dict[str, tuple[Node, dict[str, Any]]]:
    """For each case of framework_twisted.py the server, and what it is told."""
    cases: dict[str, tuple[Node, dict[str, Any]]] = {}
    for situation, (server, pin, _) in SITUATIONS.items():
        told = {"host": HOST, "policy": {HOST: [str(pin)]}, "code": on_page("twisted", pin)}
        cases |= {f"{way}, {situation}": (server, told | {"way": way}) for way in WAYS}
    several = {HOST: [str(leaf(HOST).pin)], "www.example.com": [str(leaf(HOST).pin)]}
    cases["context factory"] = leaf(HOST), {"way": "context factory", "host": HOST, "policy": several}
    return cases


@cache
def twisted_outcomes(engine: str) -> dict[str, dict[str, Any]]:
    """What came of each case, with what its server has seen."""
    with ExitStack() as stack:
        servers, told = {}, {}
        for name, (node, case) in twisted_cases().items():
            servers[name] = stack.enter_context(web(node))
            told[name] = case | {"port": servers[name].port}
        roots = Path(stack.enter_context(TemporaryDirectory()), "roots.pem")
        roots.write_bytes(root().pem)
        environment = {
            "PINVERIFY_ENGINE": engine,
            "SSL_CERT_FILE": str(roots),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        command = [sys.executable, str(Path(__file__).with_name("framework_twisted.py"))]
        printed = subprocess.check_output(
            command, input=json.dumps(told), env=os.environ | environment, text=True, timeout=10 * PATIENCE
        )
    return {name: outcome | {"seen": servers[name].seen} for name, outcome in json.loads(printed).items()}


@every_situation
@pytest.mark.parametrize("way", WAYS)
def test_p12_twisted(engine: ModuleType, way: str, situation: str) -> None:
    """Twisted gets its answer from the pinned server alone, and the decision is the guard's, though
    `ClientTLSOptions` replaces the verify callback; a server that is refused sees nothing of the request.
    """
    outcome = twisted_outcomes(engine.NAME)[f"{way}, {situation}"]
    reason = SITUATIONS[situation][2]
    assert outcome["engine"] == engine.NAME
    if situation == "right":
        assert outcome["stats"] == [1, 0, {"PINNED": 1}], outcome
        assert outcome["answer"].endswith("hello")
        assert outcome["seen"][0].startswith(b"GET / HTTP/1.")
    else:
        assert outcome["stats"] == [0, 1, {reason: 1}], outcome
        assert (outcome["reason"], outcome["answer"], outcome["seen"]) == (reason, "", [])


def test_p12_twisted_without_a_server_name(engine: ModuleType) -> None:
    """A context factory, which knows of no host, is refused where there are pins of several."""
    outcome = twisted_outcomes(engine.NAME)["context factory"]
    assert outcome["stats"] == [0, 1, {"NO_REFERENCE": 1}], outcome
    assert (outcome["reason"], outcome["answer"], outcome["seen"]) == ("NO_REFERENCE", "", [])


# -- urllib3 --


def naive(context: PinnedContext) -> PyOpenSSLContext:
    wrapper = PyOpenSSLContext(ssl.PROTOCOL_TLS_CLIENT)
    wrapper._ctx = context
    return wrapper


def refusal_behind(error: BaseException | None) -> PinRefused:
    """The refusal that an error of urllib3's stems from."""
    while error is not None and not isinstance(error, PinRefused):
        error = error.__cause__ or error.__context__
    assert error is not None
    return error


@every_situation
def test_p12_urllib3_wrap_socket(situation: str) -> None:
    """A socket wrapped by `PyOpenSSLContext` is held to the pins, and a refused server gets no data."""
    node, pin, reason = SITUATIONS[situation]
    context = client_context({HOST: [pin]}, trust=root().certificate)
    with web(node) as server, socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
        if situation == "right":
            wrapped = naive(context).wrap_socket(sock, server_hostname=HOST)
            wrapped.sendall(REQUEST)
            assert wrapped.recv(1 << 16).startswith(b"HTTP/1.0 200")
            assert counted(context.stats()) == (1, 0, {"PINNED": 1})
        else:
            with pytest.raises(ssl.SSLError, match=reason.lower()) as caught:
                naive(context).wrap_socket(sock, server_hostname=HOST)
            assert refusal_behind(caught.value).verdict.reason.name == reason
            assert counted(context.stats()) == (0, 1, {reason: 1})
    assert server.seen == ([REQUEST[:16], b"\r\n"] if situation == "right" else [])


def first_bytes(listener: socket.socket) -> bytes:
    """What the first client sends first; nothing if it just hangs up."""
    with listener.accept()[0] as client:
        return client.recv(1 << 16)


@pytest.mark.parametrize(
    "options", [{}, {"cert_reqs": "CERT_NONE"}], ids=["as it is", "without verification"]
)
def test_p12_urllib3_pool_manager_fails_closed(options: dict[str, str]) -> None:
    """A `PoolManager` with a naive wrapper fails, since it sets the verify mode, and sends not one byte."""
    context = client_context({HOST: [leaf(HOST).pin]}, trust=root().certificate)
    http = urllib3.PoolManager(ssl_context=naive(context), retries=False, **options)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        received = Background(lambda: first_bytes(listener))
        with pytest.raises(PinverifyError, match="set_verify"):
            http.request("GET", f"https://127.0.0.1:{listener.getsockname()[1]}/")
        http.clear()
        assert received.result(PATIENCE) == b""
    assert counted(context.stats()) == (0, 0, {})


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the block of urllib3 for a server, with other options or host, and gives its names."""
    (tmp_path / "roots.pem").write_bytes(root().pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest: resolve("127.0.0.1", *rest))

    def run(server: Web, pin: Pin, options: str = "", host: str = HOST) -> dict[str, Any]:
        url = (f'"https://{HOST}/"', f'"https://{host}:{server.port}/"')
        code = on_page("urllib3", pin, url, ("retries=False", f"retries=False, {options}"))
        names: dict[str, Any] = {"error": None}
        try:
            exec(compile(code, "frameworks.md", "exec"), names)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            names["error"] = error
        return names

    return run


@every_situation
def test_p12_urllib3_as_the_page_shows(run_page: Run, situation: str) -> None:
    """The wrapper on the page gets an answer from the pinned server alone; any other sees no request."""
    node, pin, reason = SITUATIONS[situation]
    with web(node) as server:
        names = run_page(server, pin)
    if situation == "right":
        assert names["error"] is None
        assert (names["response"].status, names["response"].data) == (200, b"hello")
        assert counted(names["context"].stats()) == (1, 0, {"PINNED": 1})
    else:
        assert isinstance(names["error"], urllib3.exceptions.SSLError)
        assert reason.lower() in str(names["error"])
        assert refusal_behind(names["error"]).verdict.reason.name == reason
        assert counted(names["context"].stats()) == (0, 1, {reason: 1})
        assert server.seen == []


def test_p12_urllib3_checks_the_name_too(run_page: Run) -> None:
    """Asked for an address, which sends no server name, the wrapper on the page gets through a handshake
    with the one host of its context; urllib3 then finds that this is not what was asked for.
    """
    with web(leaf(HOST)) as server:
        names = run_page(server, leaf(HOST).pin, host="127.0.0.1")
    assert "doesn't match" in str(names["error"])
    assert counted(names["context"].stats()) == (1, 0, {"PINNED": 1})
    assert server.seen == []


def test_p12_urllib3_cannot_add_cas(run_page: Run, tmp_path: Path) -> None:
    """CAs given to urllib3, as requests always does, make no server trusted, even one whose key is pinned."""
    stranger = intermediate("another root").issue(HOST)
    (tmp_path / "cas.pem").write_bytes(root("another root").pem)
    with web(stranger) as server:
        names = run_page(server, stranger.pin, f"ca_certs={str(tmp_path / 'cas.pem')!r}")
    assert refusal_behind(names["error"]).verdict.reason.name == "OPENSSL"
    assert server.seen == []


def test_p12_urllib3_cannot_turn_verification_off(run_page: Run) -> None:
    """`CERT_NONE` is an error with the wrapper on the page, before anything is sent."""
    with web(leaf(HOST)) as server:
        names = run_page(server, leaf(HOST).pin, "cert_reqs='CERT_NONE'")
    assert isinstance(names["error"], ValueError)
    assert counted(names["context"].stats()) == (0, 0, {})
    assert server.seen == []
