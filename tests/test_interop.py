# SPDX-License-Identifier: Apache-2.0
"""Pinned contexts against TLS of others: nginx, OpenSSL's command line tools, and plain pyOpenSSL."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from external import nginx, s_client, s_server
from OpenSSL import SSL
from support import PATIENCE, Background, Node, client_ssl, intermediate, leaf, make_node, new_key, root

import pinverify
from pinverify import Pin, PinnedContext, PinRefused, Reason, client_context, server_context

HOST = "api.example.com"
ABSENT = Pin(bytes(32))  # nobody's
VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}
both_versions = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)

Program = Callable[[str], str]


def connect(port: int, context: PinnedContext, host: str = HOST, address: str = "127.0.0.1") -> Any:
    """A connection to a child process, to be used in `with`."""
    return closing(pinverify.connect((address, port), context, host=host, timeout=PATIENCE))


def get(connection: SSL.Connection) -> str:
    """The body of a GET of /, with the connection closed by the server."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\nConnection: close\r\n\r\n")
    return read_all(connection).partition(b"\r\n\r\n")[2].decode()


def read_all(connection: SSL.Connection) -> bytes:
    """Everything up to the peer's close_notify."""
    data = b""
    while True:
        try:
            data += connection.recv(1 << 16)
        except SSL.ZeroReturnError:
            return data


@pytest.mark.parametrize("depth", [0, 1, 2], ids=["leaf", "intermediate", "root"])
def test_nginx_is_accepted_by_a_pin_at_any_depth(program: Program, tmp_path: Path, depth: int) -> None:
    """A pin on the leaf, the intermediate or the root lets a request through, and the verdict says which it
    was.
    """
    server_node = leaf(HOST)
    pin = Pin.from_certificate(server_node.chain[depth])
    context = client_context({HOST: [ABSENT, pin]}, trust=root().certificate)
    with (
        nginx(program("nginx"), tmp_path, server_node) as server,
        connect(server.port, context) as connection,
    ):
        verdict = pinverify.verdict(connection)
        assert (verdict.reason, verdict.depth, verdict.host) == (Reason.PINNED, depth, HOST)
        assert list(verdict.chain) == server_node.ders
        assert get(connection) == f"name={HOST} reused=. client="


REFUSED = {  # the policy, the host, the trust anchor, and why nginx is refused
    "wrong pin": ({HOST: [ABSENT]}, HOST, "root", Reason.NOT_PINNED),
    "wrong name": ({"**.example.com": [leaf(HOST).pin]}, "www.example.com", "root", Reason.OPENSSL),
    "other anchor": ({HOST: [leaf(HOST).pin]}, HOST, "another root", Reason.OPENSSL),
    "denied key": (
        {HOST: pinverify.PinSet([leaf(HOST).pin], deny=[intermediate().pin])},
        HOST,
        "root",
        Reason.DENIED,
    ),
    "unlisted host": ({"other.example": [leaf(HOST).pin]}, HOST, "root", Reason.UNLISTED),
}


@pytest.mark.parametrize(("policy", "host", "anchor", "reason"), REFUSED.values(), ids=REFUSED)
def test_nginx_is_refused_and_gets_no_request(
    program: Program, tmp_path: Path, policy: Any, host: str, anchor: str, reason: Reason
) -> None:
    """Whatever is wrong with it, nginx is refused for that very reason, and its log shows no request but that
    of a good client.
    """
    context = client_context(policy, trust=root(anchor).certificate)
    good = client_context({HOST: [leaf(HOST).pin]}, trust=root().certificate)
    with nginx(program("nginx"), tmp_path, leaf(HOST)) as server:
        with pytest.raises(PinRefused) as caught:
            pinverify.connect(("127.0.0.1", server.port), context, host=host, timeout=PATIENCE)
        with connect(server.port, good) as connection:
            get(connection)
        assert server.requests() == ["NONE GET / HTTP/1.1"]
    verdict = caught.value.verdict
    assert (verdict.reason, verdict.accepted, verdict.host) == (reason, False, host)
    assert list(verdict.sent) == leaf(HOST).ders[:2]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_nginx_at_an_address(program: Program, tmp_path: Path, address: str) -> None:
    """A host may be an IPv4 or IPv6 address: it is checked against the certificate's, and no name is sent."""
    server_node = leaf(address)
    good, bad = (
        client_context({address: [pin]}, trust=root().certificate) for pin in (server_node.pin, ABSENT)
    )
    with nginx(program("nginx"), tmp_path, server_node, host=address) as server:
        with connect(server.port, good, address, address) as connection:
            assert get(connection).startswith("name= reused=")
        with pytest.raises(PinRefused) as caught:
            pinverify.connect((address, server.port), bad, timeout=PATIENCE)
    assert (caught.value.verdict.reason, caught.value.verdict.host) == (Reason.NOT_PINNED, address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_nginx_at_another_address_than_its_certificates(
    program: Program, tmp_path: Path, address: str
) -> None:
    """A pinned certificate for a name does not do for an address."""
    context = client_context({address: [root().pin]}, trust=root().certificate)
    with (
        nginx(program("nginx"), tmp_path, leaf(HOST), host=address) as server,
        pytest.raises(PinRefused, match="IP address mismatch") as caught,
    ):
        pinverify.connect((address, server.port), context, timeout=PATIENCE)
    assert caught.value.verdict.reason is Reason.OPENSSL


@both_versions
def test_nginx_that_knows_its_clients(program: Program, tmp_path: Path, version: int) -> None:
    """With mutual TLS nginx sees the client's certificate on an accepted connection, and nothing of it on a
    refused one.
    """
    device = intermediate("clients").issue()
    options: dict[str, Any] = {"trust": root().certificate, "identity": device.identity}
    good, bad = (client_context({HOST: [pin]}, **options) for pin in (leaf(HOST).pin, ABSENT))
    with nginx(
        program("nginx"), tmp_path, leaf(HOST), version=version, client_root=root("clients")
    ) as server:
        with pytest.raises(PinRefused):
            pinverify.connect(("127.0.0.1", server.port), bad, host=HOST, timeout=PATIENCE)
        with connect(server.port, good) as connection:
            assert get(connection).endswith("client=CN=device")
        assert server.requests() == ["SUCCESS GET / HTTP/1.1"]


def test_nginx_that_misses_its_clients_certificate(program: Program, tmp_path: Path) -> None:
    """A context without an identity sends none, and nginx says so in its own way."""
    context = client_context({HOST: [leaf(HOST).pin]}, trust=root().certificate)
    with (
        nginx(program("nginx"), tmp_path, leaf(HOST), client_root=root("clients")) as server,
        connect(server.port, context) as connection,
    ):
        assert "No required SSL certificate was sent" in get(connection)


@both_versions
def test_nginx_resumes_a_session_of_a_context_for_one_host(
    program: Program, tmp_path: Path, version: int
) -> None:
    """A second connection of the same context resumes, by nginx's account and by ours."""
    context = client_context({HOST: [leaf(HOST).pin]}, trust=root().certificate)
    with nginx(program("nginx"), tmp_path, leaf(HOST), version=version) as server:
        with connect(server.port, context) as first:
            assert " reused=. " in get(first)
            session = first.get_session()
            first.shutdown()
        with resumed(server.port, context, session) as second:
            assert pinverify.verdict(second).reason is Reason.RESUMED
            assert " reused=r " in get(second)
    assert counts(context) == {Reason.PINNED: 1, Reason.RESUMED: 1}


@contextmanager
def resumed(port: int, context: PinnedContext, session: SSL.Session | None) -> Iterator[SSL.Connection]:
    """A connection that has offered `session` and has its handshake done."""
    assert session is not None
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.settimeout(None)
        connection = context.connection(HOST, sock)
        connection.set_session(session)
        connection.do_handshake()
        yield connection


def counts(context: PinnedContext) -> dict[Reason, int]:
    """The counters of a context that are not zero."""
    return {reason: count for reason, count in context.stats().by_reason.items() if count}


# -- openssl s_server --

KINDS = ["RSA-2048", "P-256", "P-384", "Ed25519"]


@cache
def chain_of(kind: str, length: int) -> Node:
    """A leaf for HOST with `length` certificates up to its root, all keys of one kind; of length 1, a
    self-signed leaf.
    """
    issuer = None
    for depth in range(length - 1, 0, -1):
        name = f"{kind} CA {depth}"
        issuer = make_node(name, issuer=issuer, is_ca=True, key=key_at(kind, depth))
    return make_node(HOST, hosts=(HOST,), issuer=issuer, key=key_at(kind, 0))


@cache
def key_at(kind: str, depth: int) -> Any:
    """The key at a depth, the same one in chains of any length: RSA keys take their time."""
    return new_key(kind)


def reversed_by(connection: SSL.Connection) -> bytes:
    """What `openssl s_server -rev` makes of "pinverify"."""
    connection.sendall(b"pinverify\n")
    line = b""
    while not line.endswith(b"\n"):
        line += connection.recv(100)
    return line


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", KINDS)
@both_versions
def test_s_server_is_accepted_by_a_pin_at_any_depth_and_by_no_other(
    program: Program, tmp_path: Path, version: int, kind: str, length: int
) -> None:
    """For each version, kind of key and length of chain, a pin at each depth accepts, another does not."""
    server_node = chain_of(kind, length)
    anchor = server_node.chain[-1]
    with s_server(program("openssl"), tmp_path, server_node, version) as port:
        for depth, certificate in enumerate(server_node.chain):
            context = client_context({HOST: [Pin.from_certificate(certificate)]}, trust=anchor)
            with connect(port, context) as connection:
                verdict = pinverify.verdict(connection)
                assert (verdict.reason, verdict.depth) == (Reason.PINNED, depth)
                assert list(verdict.chain) == server_node.ders
                assert reversed_by(connection) == b"yfirevnip\n"
        refuse(port, client_context({HOST: [ABSENT]}, trust=anchor), server_node.ders)


def refuse(port: int, context: PinnedContext, chain: list[bytes]) -> None:
    """Checks that the context refuses the server for its pins, on that chain."""
    with pytest.raises(PinRefused) as caught:
        pinverify.connect(("127.0.0.1", port), context, host=HOST, timeout=PATIENCE)
    assert caught.value.verdict.reason is Reason.NOT_PINNED
    assert list(caught.value.verdict.chain) == chain


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@both_versions
def test_s_server_without_a_ca_is_known_by_its_leaf_alone(
    program: Program, tmp_path: Path, version: int, kind: str, length: int
) -> None:
    """With trust="pins" the leaf's pin accepts, self-signed or under an unknown CA; no pin above it does."""
    server_node = chain_of(kind, length)
    above = [Pin.from_certificate(certificate) for certificate in server_node.chain[1:]]
    with s_server(program("openssl"), tmp_path, server_node, version) as port:
        with connect(port, client_context({HOST: [server_node.pin]}, trust="pins")) as connection:
            assert pinverify.verdict(connection).depth == 0
            assert reversed_by(connection) == b"yfirevnip\n"
        refuse(port, client_context({HOST: [ABSENT, *above]}, trust="pins"), [server_node.der])


@both_versions
def test_s_server_resumes_a_session_of_a_context_for_one_host(
    program: Program, tmp_path: Path, version: int
) -> None:
    """A second connection of the same context resumes, and is counted."""
    context = client_context({HOST: [leaf(HOST).pin]}, trust=root().certificate)
    with s_server(program("openssl"), tmp_path, leaf(HOST), version) as port:
        with connect(port, context) as first:
            reversed_by(first)
            session = first.get_session()
            first.shutdown()
        with resumed(port, context, session) as second:
            assert pinverify.verdict(second).reason is Reason.RESUMED
            assert reversed_by(second) == b"yfirevnip\n"
    assert counts(context) == {Reason.PINNED: 1, Reason.RESUMED: 1}


# -- our servers --


def greet(connection: SSL.Connection) -> bytes:
    """A server's part: handshake, a greeting, and then what the client says."""
    connection.do_handshake()
    connection.sendall(b"welcome\n")
    return connection.recv(100)


def answer(connection: SSL.Connection) -> bytes:
    """A client's part: handshake, then wait for the greeting, for a client of TLS 1.3 learns only there that
    it was refused, and speak.
    """
    connection.do_handshake()
    greeting = connection.recv(100)
    connection.sendall(b"thanks\n")
    return greeting


PINNED, UNKNOWN = intermediate("clients").issue(), intermediate("clients").issue()
STRANGER = intermediate("stranger").issue()
CLIENTS_ROOT = root("clients").certificate

# The trust anchors and the pins of a server, its client, and whether and why it is refused there.
CLIENTS = {
    "pins: pinned": ("pins", PINNED.pin, PINNED, None),
    "pins: unknown": ("pins", PINNED.pin, UNKNOWN, Reason.NOT_PINNED),
    "pins: only its CA is pinned": ("pins", intermediate("clients").pin, PINNED, Reason.NOT_PINNED),
    "CA: leaf is pinned": (CLIENTS_ROOT, PINNED.pin, PINNED, None),
    "CA: intermediate is pinned": (CLIENTS_ROOT, intermediate("clients").pin, UNKNOWN, None),
    "CA: unknown": (CLIENTS_ROOT, PINNED.pin, UNKNOWN, Reason.NOT_PINNED),
    "CA: pinned, of another CA": (CLIENTS_ROOT, STRANGER.pin, STRANGER, Reason.OPENSSL),
    "pins: none": ("pins", PINNED.pin, None, "no certificate"),
    "CA: none": (CLIENTS_ROOT, PINNED.pin, None, "no certificate"),
}
every_client = pytest.mark.parametrize(("trust", "pin", "client", "refusal"), CLIENTS.values(), ids=CLIENTS)


def check_server(context: PinnedContext, outcome: Future[Any], client: Node | None, refusal: Any) -> None:
    """Checks what the server's end of a connection came to: what the client said, or the right error."""
    error = outcome.exception(PATIENCE)
    if refusal is None:
        assert outcome.result() == b"thanks\n"
        assert counts(context) == {Reason.PINNED: 1}
    elif refusal == "no certificate":
        assert isinstance(error, SSL.Error)
        assert "peer did not return a certificate" in str(error)
        assert counts(context) == {}
    else:
        assert client is not None
        assert isinstance(error, PinRefused)
        assert (error.verdict.reason, error.verdict.host) == (refusal, None)
        assert error.verdict.sent[:1] in ((client.der,), ())
        assert error.verdict.chain[0] == client.der
        assert counts(context) == {refusal: 1}


@every_client
@both_versions
def test_our_server_and_a_plain_pyopenssl_client(
    version: int, trust: Any, pin: Pin, client: Node | None, refusal: Any
) -> None:
    """A pinned client is served; any other is refused, with the reason at the server and an alert at the
    client.
    """
    context = server_context(leaf(HOST).identity, clients=[pin], trust=trust)
    plain = client_ssl(client)
    plain.set_max_proto_version(version)
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        near = stack.enter_context(socket.create_connection(listener.getsockname()))
        far = stack.enter_context(listener.accept()[0])
        theirs, ours = SSL.Connection(plain, near), SSL.Connection(context, far)
        theirs.set_connect_state()
        ours.set_accept_state()
        server, client_end = Background(lambda: greet(ours)), Background(lambda: answer(theirs))
        check_server(context, server, client, refusal)
        if refusal is None:
            assert client_end.result(PATIENCE) == b"welcome\n"
        else:
            error = client_end.exception(PATIENCE)
            assert isinstance(error, SSL.Error)
            assert "alert" in str(error)


@every_client
@both_versions
def test_our_server_and_s_client(
    program: Program,
    tmp_path: Path,
    version: int,
    trust: Any,
    pin: Pin,
    client: Node | None,
    refusal: Any,
) -> None:
    """OpenSSL's own client is served or refused in the same way, and says that it got an alert."""
    context = server_context(leaf(HOST).identity, clients=[pin], trust=trust)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        port = listener.getsockname()[1]
        with s_client(program("openssl"), tmp_path, port, root(), version, client) as process:
            sock, _ = listener.accept()
            sock.settimeout(None)
            with sock:
                ours = SSL.Connection(context, sock)
                ours.set_accept_state()
                server = Background(lambda: greet(ours))
                if refusal is None:
                    assert process.stdout is not None
                    assert process.stdin is not None
                    assert process.stdout.readline() == b"welcome\n"
                    process.stdin.write(b"thanks\n")
                    check_server(context, server, client, refusal)
                else:
                    check_server(context, server, client, refusal)
                    sock.shutdown(socket.SHUT_WR)  # s_client waits for it
                    said, complaint = process.communicate(timeout=PATIENCE)
                    assert said == b""
                    assert b"alert" in complaint
