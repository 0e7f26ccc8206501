# SPDX-License-Identifier: Apache-2.0
"""What else a pinned context negotiates: application protocols, and datagrams."""

from __future__ import annotations

from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from OpenSSL import SSL
from pinned import ABSENT, HOST, open_pair, pinned, raw, refusal
from support import (
    Node,
    accepting,
    client_ssl,
    exchange,
    intermediate,
    leaf,
    server_ssl,
    session_after,
    shake,
    use_session,
    was_resumed,
)
from test_pitfalls_faults import instead_of
from test_pitfalls_proof import displacing

import pinverify
from pinverify import PinnedContext, PinRefused, Reason, server_context

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


def test_a_dtls_client_without_a_certificate_hears_why() -> None:
    """The alert of a server that wanted one goes out."""
    server = without_socket(server_context(leaf(HOST).identity, clients=[ABSENT], dtls=True))
    client = datagrams(raw(without_socket(SSL.Context(SSL.DTLS_CLIENT_METHOD))))
    error, _ = shake(client, datagrams(accepting(server)))
    assert "alert" in str(error)


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


# -- DTLS: what holds of sessions, of refusals and of moves (P18, P19, P20) --


def dtls_device() -> Node:
    return leaf("device.test", under="clients")


def dtls_servers(*known: Node, **options: Any) -> PinnedContext:
    """A DTLS server of ours that knows some clients by their keys."""
    pins = [node.pin for node in known]
    return without_socket(server_context(leaf(HOST).identity, clients=pins, dtls=True, **options))  # type: ignore[return-value]


def dtls_caller(node: Node | None) -> SSL.Context:
    """A plain DTLS client's context."""
    context = without_socket(SSL.Context(SSL.DTLS_CLIENT_METHOD))
    if node is not None:
        context.use_certificate(node.certificate)
        context.use_privatekey(node.key)
    return context


def dtls_ends(client: SSL.Context, server: SSL.Context) -> tuple[SSL.Connection, SSL.Connection]:
    return datagrams(raw(client)), datagrams(accepting(server))


def test_p18_a_dtls_session_is_judged_by_its_leaf() -> None:
    """It is resumed for a pinned leaf, at either end, and not offered where a pin above let the peer in."""
    server = dtls_server(leaf(HOST))
    for pin, resumes in ((leaf(HOST).pin, True), (intermediate().pin, False)):
        context = without_socket(pinned(dtls=True, pin=pin))
        session = session_after(*dtls_ends(context, server))
        client, far = dtls_ends(context, server)
        use_session(client, session)
        assert shake(client, far) == (None, None)
        assert was_resumed(client) is resumes
        assert pinverify.verdict(client).reason is (Reason.RESUMED if resumes else Reason.PINNED)
    context, caller = dtls_servers(dtls_device()), dtls_caller(dtls_device())
    session = session_after(*dtls_ends(caller, context))
    client, near = dtls_ends(caller, context)
    use_session(client, session)
    assert shake(client, near) == (None, None)
    assert pinverify.verdict(near).reason is Reason.RESUMED


@pytest.mark.parametrize("is_server", [False, True], ids=["client", "server"])
def test_p19_a_dtls_peer_about_whom_nobody_decided_is_refused_at_its_finished(
    is_server: bool, engine: ModuleType
) -> None:
    """Its Finished is found wrong, it gets an alert, and there is no session."""
    stranger = leaf("stranger.test", under="clients")
    if is_server:
        context, caller = dtls_servers(dtls_device()), dtls_caller(stranger)
        client, server = dtls_ends(caller, context)
    else:
        context = without_socket(pinned(dtls=True, pin=ABSENT))  # type: ignore[assignment]
        client, server = dtls_ends(context, dtls_server(leaf(HOST)))
    near = server if is_server else client
    with instead_of("SSL_set_verify", engine, displacing([near], SSL.VERIFY_PEER)):
        errors = shake(client, server)
    error, heard = errors[is_server], errors[not is_server]
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.INTERNAL
    if heard is None:
        with pytest.raises(SSL.Error) as caught:
            (client if is_server else server).recv(1)
        heard = caught.value
    assert "alert decrypt error" in str(heard)
    with pytest.raises(SSL.Error):
        near.send(b"secret")
    assert context.stats().accepted == 0


def test_p20_a_dtls_connection_that_is_moved_in_is_refused() -> None:
    """From a plain context, at either end, and from another pinned one."""
    client, server = dtls_ends(dtls_caller(None), dtls_server(leaf(HOST)))
    client.set_context(pinned(dtls=True))
    assert refusal(client, server).verdict.reason is Reason.MOVED
    context, other = dtls_servers(dtls_device()), dtls_servers(leaf("stranger.test", under="clients"))
    for default in (dtls_server(leaf(HOST)), other):
        default.set_tlsext_servername_callback(lambda connection: connection.set_context(context))
        client, server = dtls_ends(dtls_caller(dtls_device()), default)
        _, error = shake(client, server)
        assert isinstance(error, PinRefused)
        assert error.verdict.reason is Reason.MOVED
