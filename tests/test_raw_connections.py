# SPDX-License-Identifier: Apache-2.0
"""Connections as programs open them: sockets, memory BIOs, `pinverify.connect`, datagrams, many threads."""

from __future__ import annotations

import gc
import os
import random
import select
import selectors
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from OpenSSL import SSL
from support import (
    PATIENCE,
    Background,
    Node,
    accepting,
    client_ssl,
    exchange,
    intermediate,
    leaf,
    root,
    server_ssl,
    serving,
    shake,
)

import pinverify
from pinverify import (
    InvalidHost,
    Pin,
    PinnedContext,
    PinRefused,
    PinSet,
    PinverifyError,
    Reason,
    client_context,
    server_context,
)

HOST = "api.example.com"
ABSENT = Pin(bytes(32))  # nobody's
VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}
both_versions = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)


def pinned(host: str = HOST, pin: Pin | None = None, **options: Any) -> PinnedContext:
    """A client context for one host, whose leaf is pinned unless another pin is given."""
    return client_context({host: [pin or leaf(host).pin]}, trust=root().certificate, **options)


def raw(context: SSL.Context, sock: socket.socket | None = None, host: str = HOST) -> SSL.Connection:
    """A client connection made in the way of pyOpenSSL alone."""
    connection = SSL.Connection(context, sock)
    connection.set_tlsext_host_name(host.encode())
    connection.set_connect_state()
    return connection


def open_pair(context: PinnedContext, server: SSL.Context) -> tuple[SSL.Connection, SSL.Connection]:
    """Both ends of a connection over memory BIOs, the client's first, with their handshake done."""
    ends = raw(context), accepting(server)
    assert shake(*ends) == (None, None)
    return ends


def refusal(client: SSL.Connection, server: SSL.Connection) -> PinRefused:
    """What the client's end raises in a handshake that it refuses."""
    error, _ = shake(client, server)
    assert isinstance(error, PinRefused)
    return error


# -- Sockets and memory BIOs --

Talk = Callable[[SSL.Context, socket.socket, bytes], tuple[SSL.Connection, bytes]]


def talk_blocking(context: SSL.Context, sock: socket.socket, data: bytes) -> tuple[SSL.Connection, bytes]:
    """Handshake and echo on a blocking socket."""
    connection = raw(context, sock)
    connection.do_handshake()
    connection.sendall(data)
    echo = b""
    while len(echo) < len(data):
        echo += connection.recv(1 << 16)
    return connection, echo


def patiently(sock: socket.socket, call: Callable[[], Any]) -> Any:
    """Repeats a call on a non-blocking connection until it has all that it wants."""
    while True:
        try:
            return call()
        except SSL.WantReadError:
            assert select.select([sock], [], [], PATIENCE)[0]
        except SSL.WantWriteError:
            assert select.select([], [sock], [], PATIENCE)[1]


def talk_non_blocking(context: SSL.Context, sock: socket.socket, data: bytes) -> tuple[SSL.Connection, bytes]:
    """The same on a non-blocking one."""
    sock.setblocking(False)
    connection = raw(context, sock)
    patiently(sock, connection.do_handshake)
    sent, echo = 0, b""
    while sent < len(data):
        sent += patiently(sock, partial(connection.send, data[sent:]))
    while len(echo) < len(data):
        echo += patiently(sock, partial(connection.recv, 1 << 16))
    return connection, echo


def talk_memory_bio(context: SSL.Context, sock: socket.socket, data: bytes) -> tuple[SSL.Connection, bytes]:
    """The same on memory BIOs, with the program itself at the socket."""
    connection = raw(context)

    def pumped(call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except SSL.WantReadError:
                flush()
                connection.bio_write(sock.recv(1 << 16))
            finally:
                flush()

    def flush() -> None:
        with suppress(SSL.WantReadError):
            while True:
                sock.sendall(connection.bio_read(1 << 16))

    pumped(connection.do_handshake)
    pumped(partial(connection.sendall, data))
    echo = b""
    while len(echo) < len(data):
        echo += pumped(partial(connection.recv, 1 << 16))
    return connection, echo


every_talk = pytest.mark.parametrize(
    "talk",
    [talk_blocking, talk_non_blocking, talk_memory_bio],
    ids=["blocking", "non-blocking", "memory BIO"],
)


@every_talk
@both_versions
def test_an_accepted_connection_carries_data(talk: Talk, version: int) -> None:
    """However the connection is driven, data gets through whole, and the verdict can be had."""
    data = os.urandom(40_000)  # some records
    with (
        serving(server_ssl(leaf(HOST), version=version)) as server,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock,
    ):
        sock.settimeout(None)
        connection, echo = talk(pinned(), sock, data)
        assert echo == data
        verdict = pinverify.verdict(connection)
    assert (verdict.reason, verdict.host, verdict.depth) == (Reason.PINNED, HOST, 0)


@every_talk
@both_versions
def test_a_refused_connection_carries_none(talk: Talk, version: int) -> None:
    """However the connection is driven, another server's is refused by the handshake, before any data."""
    with serving(server_ssl(leaf(HOST), version=version)) as server:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
            sock.settimeout(None)
            with pytest.raises(PinRefused) as caught:
                talk(pinned(pin=ABSENT), sock, b"secret")
        assert server.data == []
    assert caught.value.verdict.reason is Reason.NOT_PINNED


def test_a_handshake_that_has_to_wait_for_writing() -> None:
    """A handshake on a full socket wants to write, and goes on when it can."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        filling = 0
        with suppress(BlockingIOError):
            while True:
                filling += near.send(bytes(1 << 10))
        context, server = pinned(), SSL.Connection(server_ssl(leaf(HOST)), far)
        server.set_accept_state()
        client = raw(context, near)
        with pytest.raises(SSL.WantWriteError):
            client.do_handshake()
        while filling:
            filling -= len(far.recv(min(filling, 1 << 16)))
        server_end = Background(server.do_handshake)
        patiently(near, client.do_handshake)
        server_end.result(PATIENCE)
        assert pinverify.verdict(client).reason is Reason.PINNED


def test_the_first_write_is_not_sent_to_a_refused_server() -> None:
    """A program that writes at once, and leaves the handshake to OpenSSL, sends a refused server nothing."""
    client, server = raw(pinned(pin=ABSENT)), accepting(server_ssl(leaf(HOST)))
    with pytest.raises(SSL.WantReadError):
        client.send(b"secret")
    server.bio_write(client.bio_read(1 << 20))
    with pytest.raises(SSL.WantReadError):
        server.do_handshake()
    client.bio_write(server.bio_read(1 << 20))
    for expected in (PinRefused, SSL.Error):  # nor does it when it tries again
        with pytest.raises(expected):
            client.send(b"secret")
    server.bio_write(client.bio_read(1 << 20))
    with pytest.raises(SSL.Error, match="alert"):
        server.recv(100)


def test_many_connections_interleaved_in_one_thread() -> None:
    """In an event loop each refused connection raises its own refusal, and no other connection does."""
    pool, policy = Pool(), client_context(Pool.policy(), trust=root().certificate)
    jobs = [pool.good(0), pool.bad(0), pool.good(1), pool.bad(1), pool.bad(2), pool.bad(3), pool.good(2)] * 3
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        results: dict[Any, BaseException | None] = {}
        for number, job in enumerate(jobs):
            near, far = (stack.enter_context(sock) for sock in socket.socketpair())
            near.setblocking(False)
            server = SSL.Connection(server_ssl(job.server), far)
            server.set_accept_state()
            Background(server.do_handshake)
            selector.register(near, selectors.EVENT_WRITE, (number, raw(policy, near, job.host)))
        while len(results) < len(jobs):
            ready = selector.select(PATIENCE)
            assert ready
            for key, _ in ready:
                number, connection = key.data
                try:
                    connection.do_handshake()
                except SSL.WantReadError:
                    selector.modify(key.fileobj, selectors.EVENT_READ, key.data)
                    continue
                except Exception as error:
                    results[number] = error
                else:
                    results[number] = None
                selector.unregister(key.fileobj)
    for number, job in enumerate(jobs):
        job.check(results[number])


def test_a_handshake_that_changes_threads() -> None:
    """Each step of a handshake may run in another thread; the refusal is raised in the one where it falls."""
    for pin, refused in ((None, False), (ABSENT, True)):
        client, server = raw(pinned(pin=pin)), accepting(server_ssl(leaf(HOST)))
        error: BaseException | None = SSL.WantReadError()
        for _ in range(4):
            if isinstance(error, SSL.WantReadError):
                error = Background(client.do_handshake).exception(PATIENCE)
            with suppress(SSL.WantReadError):
                server.bio_write(client.bio_read(1 << 20))
            with suppress(SSL.Error):
                server.do_handshake()
            with suppress(SSL.WantReadError):
                client.bio_write(server.bio_read(1 << 20))
        assert isinstance(error, PinRefused) if refused else error is None


# -- pinverify.connect --


def test_connect_gives_a_blocking_connection() -> None:
    """After `connect` the handshake is done, and the connection waits for data as long as it takes."""
    with serving(server_ssl(leaf(HOST))) as server:
        address = ("127.0.0.1", server.port)
        connection = pinverify.connect(address, pinned(), host=HOST, timeout=PATIENCE)
        assert connection.gettimeout() is None
        connection.sendall(b"ping")
        assert connection.recv(100) == b"ping"
        connection.close()


def read_to_the_end(sock: socket.socket) -> None:
    with suppress(ConnectionResetError):
        while sock.recv(1 << 16):
            pass


def answer_in_plain(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def hang_up(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def answer_with_tls(sock: socket.socket) -> None:
    sock.settimeout(None)
    connection = SSL.Connection(server_ssl(leaf(HOST)), sock)
    connection.set_accept_state()
    with suppress(SSL.Error):
        connection.do_handshake()
    sock.settimeout(PATIENCE)


def trickle(sock: socket.socket) -> None:
    """Never stops sending a record, a byte at a time."""
    sock.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
    pause = threading.Event()
    with suppress(OSError):
        for _ in range(1500):
            sock.sendall(b"\0")
            pause.wait(0.02)
        pytest.fail("nobody hung up for half a minute")


FAILURES = {  # what the server does, the host that is asked for, the timeout in seconds, and what is raised
    "silence": (lambda sock: None, HOST, 0.2, TimeoutError),
    "a byte now and then": (trickle, HOST, 0.5, TimeoutError),
    "no TLS": (answer_in_plain, HOST, PATIENCE, SSL.Error),
    "end of the stream": (hang_up, HOST, None, SSL.SysCallError),
    "another key": (answer_with_tls, HOST, PATIENCE, PinRefused),
    "another key, no timeout": (answer_with_tls, HOST, None, PinRefused),
    "no host name": (lambda sock: None, "https://api.example.com/", PATIENCE, InvalidHost),
}


@pytest.mark.parametrize(("behave", "host", "timeout", "expected"), FAILURES.values(), ids=FAILURES)
def test_connect_closes_the_socket_when_it_fails(
    behave: Callable[[socket.socket], None], host: str, timeout: float | None, expected: type[Exception]
) -> None:
    """Whatever goes wrong, `connect` raises the fitting error and leaves no socket open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def server() -> str:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(PATIENCE)
                behave(sock)
                read_to_the_end(sock)
            return "the client closed"

        server_end = Background(server)
        with pytest.raises(expected):
            pinverify.connect(listener.getsockname(), pinned(pin=ABSENT), host=host, timeout=timeout)
        # The exception is still there with its frames, so that no collector has closed the socket instead.
        assert server_end.result(PATIENCE) == "the client closed"


def test_connect_to_a_port_where_nobody_listens() -> None:
    """An error of TCP is passed on as it is."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            pinverify.connect(unused.getsockname(), pinned(), host=HOST, timeout=PATIENCE)


# -- Names --

NAMES = {  # the host as a program writes it, its canonical form, and the server name that is sent
    "name": (HOST, HOST, HOST.encode()),
    "capitals and a final dot": ("API.Example.COM.", HOST, HOST.encode()),
    "international": ("bücher.test", "xn--bcher-kva.test", b"xn--bcher-kva.test"),
    "international, in A-labels": ("xn--bcher-kva.test", "xn--bcher-kva.test", b"xn--bcher-kva.test"),
    "IPv4": ("192.0.2.7", "192.0.2.7", None),
    "IPv6": ("2001:DB8:0::7", "2001:db8::7", None),
    "IPv6 in brackets": ("[2001:db8::7]", "2001:db8::7", None),
}


@pytest.mark.parametrize(("host", "canonical", "server_name"), NAMES.values(), ids=NAMES)
@both_versions
def test_a_connection_knows_its_host(
    version: int, host: str, canonical: str, server_name: bytes | None
) -> None:
    """`ctx.connection(host)` sends the right server name or none; the certificate must be for that host."""
    server = server_ssl(leaf(canonical), version=version)
    context = client_context({"other.test": [ABSENT], host: [leaf(canonical).pin]}, trust=root().certificate)
    ends = context.connection(host), accepting(server)
    assert shake(*ends) == (None, None)
    assert ends[1].get_servername() == server_name
    assert (pinverify.verdict(ends[0]).host, exchange(*ends)) == (canonical, b"ping")

    other = server_ssl(leaf("elsewhere.test"), version=version)
    context = client_context({host: [leaf("elsewhere.test").pin]}, trust=root().certificate)
    verdict = refusal(context.connection(host), accepting(other)).verdict
    assert (verdict.reason, verdict.host) == (Reason.OPENSSL, canonical)
    assert "mismatch" in verdict.detail


def test_connections_without_a_server_name_keep_their_hosts_apart() -> None:
    """Connections to many addresses, alive at once and made of one context, are each held to their own."""
    addresses = [f"192.0.2.{number}" for number in range(1, 21)]
    context = client_context(
        {address: [leaf(address).pin] for address in addresses}, trust=root().certificate
    )
    clients = [context.connection(address) for address in addresses]
    for client, address in zip(clients, addresses, strict=True):
        assert shake(client, accepting(server_ssl(leaf(address)))) == (None, None)
    assert [pinverify.verdict(client).host for client in clients] == addresses
    del client, clients
    gc.collect()
    for address in addresses:  # the memory of the former ones is used again
        wrong = addresses[addresses.index(address) - 1]
        verdict = refusal(context.connection(wrong), accepting(server_ssl(leaf(address)))).verdict
        assert (verdict.host, verdict.reason) == (wrong, Reason.OPENSSL)
    gc.collect()
    for address in addresses:
        nameless = SSL.Connection(context, None)
        nameless.set_connect_state()
        verdict = refusal(nameless, accepting(server_ssl(leaf(address)))).verdict
        assert (verdict.host, verdict.reason) == (None, Reason.NO_REFERENCE)


# -- verdict(connection) --


def test_the_verdict_of_a_live_connection() -> None:
    """It says who was accepted and by which certificate of which chain, as often as it is asked."""
    client, server = open_pair(pinned(pin=intermediate().pin), server_ssl(leaf(HOST)))
    for _ in range(2):
        verdict = pinverify.verdict(client)
        assert (verdict.reason, verdict.accepted, verdict.host) == (Reason.PINNED, True, HOST)
        assert (verdict.depth, list(verdict.chain)) == (1, leaf(HOST).ders)
        assert exchange(client, server) == b"ping"


def test_the_verdict_of_a_servers_connection() -> None:
    """A server's verdict has the client's chain, and no host."""
    device = intermediate("clients").issue()
    context = server_context(leaf(HOST).identity, clients=[device.pin])
    client, server = accepting(context), raw(client_ssl(device))
    assert shake(server, client) == (None, None)
    verdict = pinverify.verdict(client)
    assert (verdict.reason, verdict.host, verdict.chain) == (Reason.PINNED, None, (device.der,))


def no_handshake(context: PinnedContext) -> SSL.Connection:
    return raw(context)


def half_a_handshake(context: PinnedContext) -> SSL.Connection:
    client = raw(context)
    with suppress(SSL.WantReadError):
        client.do_handshake()
    return client


def refused(context: PinnedContext) -> SSL.Connection:
    client = raw(pinned(pin=ABSENT))
    refusal(client, accepting(server_ssl(leaf(HOST))))
    return client


def shut_down(context: PinnedContext) -> SSL.Connection:
    client, _ = open_pair(context, server_ssl(leaf(HOST)))
    client.shutdown()
    return client


def of_a_plain_context(context: PinnedContext) -> SSL.Connection:
    client = raw(client_ssl())
    assert shake(client, accepting(server_ssl(leaf(HOST)))) == (None, None)
    return client


def moved_into_a_pinned_context(context: PinnedContext) -> SSL.Connection:
    client = of_a_plain_context(context)
    client.set_context(context)
    return client


WITHOUT_VERDICT = [
    no_handshake,
    half_a_handshake,
    refused,
    shut_down,
    of_a_plain_context,
    moved_into_a_pinned_context,
]


@pytest.mark.parametrize("make", WITHOUT_VERDICT, ids=lambda make: make.__name__)
def test_no_verdict_where_nothing_was_judged(make: Callable[[PinnedContext], SSL.Connection]) -> None:
    """A connection that is not open, or that no pinned context has judged, has no verdict."""
    connection = make(pinned())
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(connection)


def test_the_verdict_stays_with_the_policy_that_judged() -> None:
    """`set_context` on a live connection changes nothing about who was accepted, and why."""
    client, server = open_pair(pinned(), server_ssl(leaf(HOST)))
    for other in (client_ssl(), pinned(pin=ABSENT)):
        client.set_context(other)
        assert pinverify.verdict(client).reason is Reason.PINNED
        assert exchange(client, server) == b"ping"


def test_set_context_ahead_of_the_handshake_does_not_take_the_pins_away() -> None:
    """A connection that is moved into a plain context is judged by the policy that it was made with."""
    for pin, is_accepted in ((None, True), (ABSENT, False)):
        client, server = raw(pinned(pin=pin)), accepting(server_ssl(leaf(HOST)))
        client.set_context(client_ssl())
        error, _ = shake(client, server)
        if is_accepted:
            assert error is None
            assert pinverify.verdict(client).reason is Reason.PINNED
        else:
            assert isinstance(error, SSL.Error)
            assert "certificate verify failed" in str(error) or isinstance(error, PinRefused)


def session_of(context: PinnedContext, server: SSL.Context, host: str = HOST) -> SSL.Session:
    """A session to be resumed, of an accepted connection."""
    client, far = raw(context, host=host), accepting(server)
    assert shake(client, far) == (None, None)
    exchange(far, client)  # brings the tickets of TLS 1.3
    session = client.get_session()
    assert session is not None
    client.shutdown()
    return session


def resuming(context: PinnedContext, session: SSL.Session, host: str = HOST) -> SSL.Connection:
    client = raw(context, host=host)
    client.set_session(session)
    return client


@both_versions
def test_the_verdict_after_resumption(version: int) -> None:
    """A resumed connection has the verdict RESUMED, and no chain to show."""
    context, server = pinned(), server_ssl(leaf(HOST), version=version)
    client = resuming(context, session_of(context, server))
    far = accepting(server)
    assert shake(client, far) == (None, None)
    verdict = pinverify.verdict(client)
    assert (verdict.reason, verdict.accepted, verdict.chain) == (Reason.RESUMED, True, ())
    assert exchange(client, far) == b"ping"
    stats = context.stats()
    assert (stats.accepted, stats.refused, stats.by_reason[Reason.RESUMED]) == (2, 0, 1)


@both_versions
def test_a_session_is_not_resumed_for_another_host(version: int) -> None:
    """A context for one host does not resume its session for another one, even if the server would."""
    context, server = pinned(), server_ssl(leaf(HOST), version=version)
    server.set_tlsext_servername_callback(lambda connection: None)
    client = resuming(context, session_of(context, server), "other.example.com")
    error, _ = shake(client, accepting(server))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.SESSION
    with pytest.raises(SSL.Error):
        client.send(b"secret")
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(client)


@both_versions
def test_a_session_is_not_resumed_in_a_context_for_many_hosts(version: int) -> None:
    """A context for more than one host refuses a resumed session, for it cannot know whose it was."""
    policy = {"**.example.com": [leaf(HOST).pin]}
    context, server = (
        client_context(policy, trust=root().certificate),
        server_ssl(leaf(HOST), version=version),
    )
    error, _ = shake(resuming(context, session_of(context, server)), accepting(server))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.SESSION


@both_versions
def test_another_host_than_the_contexts_is_unlisted(version: int) -> None:
    """Without a session too, a context for one host refuses another one, and says that it is not listed."""
    server = server_ssl(leaf("other.example.com"), version=version)
    far = accepting(server)
    verdict = refusal(raw(pinned(), host="other.example.com"), far).verdict
    assert (verdict.reason, verdict.host) == (Reason.UNLISTED, "other.example.com")


# -- ALPN --

PROTOCOLS = {  # the client's, the server's, and what comes of it
    "the first of both": (["h2", "http/1.1"], ["h2", "http/1.1"], b"h2"),
    "the server's choice": (["h2", "http/1.1"], ["http/1.1"], b"http/1.1"),
    "in bytes": ([b"dot"], [b"dot"], b"dot"),
    "nothing in common": (["h2"], ["dot"], b""),
}
every_protocols = pytest.mark.parametrize(("offered", "known", "chosen"), PROTOCOLS.values(), ids=PROTOCOLS)


@every_protocols
def test_alpn(offered: list[Any], known: list[Any], chosen: bytes) -> None:
    """Pinned contexts at both ends agree on a protocol, or go on without one."""
    device = intermediate("clients").issue()
    server = server_context(leaf(HOST).identity, clients=[device.pin], alpn=known)
    client, far = open_pair(pinned(alpn=offered, identity=device.identity), server)
    assert client.get_alpn_proto_negotiated() == far.get_alpn_proto_negotiated() == chosen


def test_alpn_with_plain_ends() -> None:
    """A pinned client offers its protocols to a plain server, and a pinned server chooses from a plain
    client's.
    """
    plain = server_ssl(leaf(HOST))
    plain.set_alpn_select_callback(lambda connection, offered: offered[-1])
    client, _ = open_pair(pinned(alpn=["h2", "http/1.1"]), plain)
    assert client.get_alpn_proto_negotiated() == b"http/1.1"

    device = intermediate("clients").issue()
    server = accepting(server_context(leaf(HOST).identity, clients=[device.pin], alpn=["h2", "http/1.1"]))
    theirs = client_ssl(device)
    theirs.set_alpn_protos([b"http/1.1", b"h2"])
    assert shake(raw(theirs), server) == (None, None)
    assert server.get_alpn_proto_negotiated() == b"h2"


# -- DTLS --


def datagrams(connection: SSL.Connection) -> SSL.Connection:
    """Tells a connection over memory BIOs how large a datagram may be."""
    connection.set_ciphertext_mtu(1400)
    return connection


def without_socket(context: SSL.Context) -> SSL.Context:
    """A DTLS context whose connections do not ask their socket how large a datagram may be."""
    context.set_options(SSL.OP_NO_QUERY_MTU)
    return context


def dtls_server(identity: Node) -> SSL.Context:
    context = without_socket(SSL.Context(SSL.DTLS_SERVER_METHOD))
    context.use_certificate(identity.certificate)
    for certificate in identity.sent[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(identity.key)
    return context


def dtls_client(**options: Any) -> SSL.Connection:
    return datagrams(raw(without_socket(pinned(dtls=True, **options))))


def test_dtls() -> None:
    """Over datagrams a client accepts the pinned server, and refuses any other."""
    server = dtls_server(leaf(HOST))
    client, far = dtls_client(), datagrams(accepting(server))
    assert shake(client, far) == (None, None)
    assert client.get_protocol_version_name() == "DTLSv1.2"
    assert pinverify.verdict(client).reason is Reason.PINNED
    assert exchange(client, far) == b"ping"

    client, far = dtls_client(pin=ABSENT), datagrams(accepting(server))
    assert refusal(client, far).verdict.reason is Reason.NOT_PINNED
    with pytest.raises(SSL.Error):
        client.send(b"secret")


@pytest.mark.parametrize("cookies", [False, True], ids=["plain", "with cookies"])
def test_dtls_with_pins_at_both_ends(cookies: bool) -> None:
    """A DTLS server knows its clients by their keys, with a cookie exchange ahead of it or without."""
    device, stranger = intermediate("clients").issue(), intermediate("clients").issue()
    server = without_socket(server_context(leaf(HOST).identity, clients=[device.pin], dtls=True))
    if cookies:
        server.set_cookie_generate_callback(lambda connection: b"cookie")
        server.set_cookie_verify_callback(lambda connection, cookie: cookie == b"cookie")
    for node, is_accepted in ((device, True), (stranger, False)):
        client = dtls_client(identity=node.identity)
        far = datagrams(accepting(server))
        if cookies:
            listen(client, far)
        _, error = shake(client, far)
        if is_accepted:
            assert error is None
            assert pinverify.verdict(far).chain == (device.der,)
            assert exchange(client, far) == b"ping"
        else:
            assert isinstance(error, PinRefused)
            assert error.verdict.chain == (stranger.der,)


def listen(client: SSL.Connection, server: SSL.Connection) -> None:
    """Sends the ClientHello until it comes back with the server's cookie."""
    for _ in range(3):
        with suppress(SSL.WantReadError):
            client.do_handshake()
        server.bio_write(client.bio_read(1 << 16))
        try:
            return server.DTLSv1_listen()
        except SSL.WantReadError:
            client.bio_write(server.bio_read(1 << 16))
    pytest.fail("no ClientHello with a valid cookie")


# -- Many connections --


class Job:
    """A server to connect to, and what has to come of it."""

    def __init__(self, host: str, server: Node, reason: Reason | None) -> None:
        self.host, self.server, self.reason = host, server, reason

    def check(self, error: BaseException | None) -> None:
        """Checks that a handshake raised this server's own refusal, or nothing if there is none."""
        if self.reason is None:
            assert error is None
            return
        assert isinstance(error, PinRefused)
        verdict = error.verdict
        assert (verdict.reason, verdict.host) == (self.reason, self.host)
        assert (verdict.chain[0], verdict.sent[0]) == (self.server.der, self.server.der)
        assert error.args[0] == [("pinverify", self.reason.name.lower(), verdict.summary)]


class Pool:
    """Servers that one context connects to: good ones, and bad ones of each sort with a certificate each."""

    ca = root().issue_ca("pool")

    @classmethod
    def policy(cls) -> dict[str, list[Pin]]:
        return {"**.pool.test": [cls.ca.pin]}

    def __init__(self) -> None:
        self._good = [self.ca.issue(f"good{number}.pool.test") for number in range(4)]
        self._rogue = make_rogue_ca()

    def good(self, number: int) -> Job:
        host = f"good{number % 4}.pool.test"
        return Job(host, self._good[number % 4], None)

    def bad(self, number: int) -> Job:
        host = f"bad{number}.pool.test"
        issuers = {
            0: (intermediate(), host, host, Reason.NOT_PINNED),
            1: (self.ca, host, "elsewhere.test", Reason.OPENSSL),  # another name
            2: (self._rogue, host, host, Reason.OPENSSL),  # an unknown CA
            3: (self.ca, f"bad{number}.unlisted.test", f"bad{number}.unlisted.test", Reason.UNLISTED),
        }
        issuer, asked, certified, reason = issuers[number % 4]
        return Job(asked, issuer.issue(certified), reason)


def make_rogue_ca() -> Node:
    return root("rogue").issue_ca("rogue intermediate")


@pytest.fixture
def _restless_threads() -> Iterator[None]:
    """Lets the interpreter change threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.slow
@pytest.mark.usefixtures("_restless_threads")
@pytest.mark.parametrize(("count", "bad_every"), [(1600, 100), (320, 2)], ids=["1 % bad", "half bad"])
def test_p05_each_thread_hears_of_its_own_refusals_alone(count: int, bad_every: int) -> None:
    """With 16 threads on one context each bad server is refused with its own error, and no good one is."""
    pool, context = Pool(), client_context(Pool.policy(), trust=root().certificate)
    jobs = [pool.good(n) if n % bad_every else pool.bad(n // bad_every) for n in range(count)]
    random.Random(5).shuffle(jobs)
    contexts = {id(job.server): server_ssl(job.server) for job in jobs}
    start = threading.Barrier(16)

    def work(number: int) -> list[tuple[Job, Exception | None]]:
        start.wait(PATIENCE)
        return [
            (job, shake(raw(context, host=job.host), accepting(contexts[id(job.server)]))[0])
            for job in jobs[number::16]
        ]

    workers = [Background(partial(work, number)) for number in range(16)]
    for worker in workers:
        for job, error in worker.result(4 * PATIENCE):
            job.check(error)
    assert context.stats().refused == count // bad_every
    assert context.stats().accepted == count - count // bad_every


def resident_bytes() -> int:
    """How much memory of this process is in use, without what waits for the collector."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def live_objects() -> int:
    """How many connections and refusals there are."""
    return sum(type(thing) in (SSL.Connection, PinRefused) for thing in gc.get_objects())


def handshake(client: SSL.Connection, server: SSL.Connection) -> Exception | None:
    """What the client raises in a handshake to the end of both, with no more calls than it takes."""
    ends = [(client, server), (server, client)] * 2
    for near, far in ends:
        try:
            near.do_handshake()
        except SSL.WantReadError:
            pass
        except PinRefused as error:
            return error.with_traceback(None)
        far.bio_write(near.bio_read(1 << 16))
    assert client.get_peer_finished()
    assert server.get_peer_finished()
    return None


# A certificate, an OpenSSL object or an exception that each connection left behind would come to more, over
# thousands of them. What the allocators keep for themselves comes to less.
BOUND = 1 << 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("pin", "connections"), [(None, 10_000), (ABSENT, 4_000)], ids=["accepted", "refused"]
)
def test_connections_leave_nothing_behind(engine: ModuleType, pin: Pin | None, connections: int) -> None:
    """After thousands of connections, accepted or refused, the process has not grown."""
    connections //= 1 if engine.NAME == "native" else 3  # the other one is slower
    context, server = pinned(pin=pin), server_ssl(leaf(HOST))
    for number in range(connections):
        if number == connections // 8:  # warmed up
            bytes_before, objects_before = resident_bytes(), live_objects()
        assert (handshake(raw(context), accepting(server)) is None) == (pin is None)
    assert resident_bytes() - bytes_before < BOUND
    assert live_objects() <= objects_before


# -- What a server gets to see that fails --


class Recorded(SSL.Connection):
    """A connection over memory BIOs that keeps what it has sent."""

    wire = b""

    def bio_read(self, bufsiz: int) -> bytes:
        data = super().bio_read(bufsiz)
        self.wire += data
        return data


@contextmanager
def curious(server: Node, version: int) -> Iterator[tuple[SSL.Context, list[bytes]]]:
    """A server's context that asks for a certificate, and those that it got."""
    from cryptography.hazmat.primitives.serialization import Encoding

    context, seen = server_ssl(server, version=version), list[bytes]()

    def note(connection: SSL.Connection, certificate: Any, error: int, depth: int, ok: int) -> bool:
        seen.append(certificate.to_cryptography().public_bytes(Encoding.DER))
        return True

    context.set_verify(SSL.VERIFY_PEER, note)
    yield context, seen


FAILING = {  # the policy, the trust anchor, the host, and why the server fails
    "pin": ([ABSENT], "root", HOST, Reason.NOT_PINNED),
    "name": ([leaf(HOST).pin], "root", "www.example.com", Reason.OPENSSL),
    "CA": ([leaf(HOST).pin], "another root", HOST, Reason.OPENSSL),
    "denied": (PinSet([leaf(HOST).pin], deny=[root().pin]), "root", HOST, Reason.DENIED),
}


@pytest.mark.parametrize(("pins", "anchor", "host", "reason"), FAILING.values(), ids=FAILING)
@both_versions
def test_p13_a_server_that_fails_gets_neither_certificate_nor_data(
    version: int, pins: Any, anchor: str, host: str, reason: Reason
) -> None:
    """A server that fails gets a ClientHello and an alert, though it asks for a certificate."""
    device = intermediate("clients").issue()
    context = client_context({host: pins}, trust=root(anchor).certificate, identity=device.identity)
    with curious(leaf(HOST), version) as (plain, seen):
        client, server = Recorded(context, None), accepting(plain)
        client.set_tlsext_host_name(host.encode())
        client.set_connect_state()
        assert refusal(client, server).verdict.reason is reason
        with pytest.raises(SSL.Error):
            client.send(b"secret")
        with suppress(SSL.WantReadError):
            server.bio_write(client.bio_read(1 << 20))
        with pytest.raises(SSL.Error):
            server.recv(100)
    assert (seen, server.get_peer_certificate()) == ([], None)
    hello = 5 + int.from_bytes(client.wire[3:5], "big")
    assert len(client.wire) - hello < 64 < len(device.der)


@both_versions
def test_p13_a_server_that_passes_gets_both(version: int) -> None:
    """The same server gets both when it passes, so that the test above shows something."""
    device = intermediate("clients").issue()
    with curious(leaf(HOST), version) as (plain, seen):
        client, server = open_pair(pinned(identity=device.identity), plain)
        assert exchange(client, server) == b"ping"
    assert device.der in seen
