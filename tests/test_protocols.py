# SPDX-License-Identifier: Apache-2.0
"""What else a pinned context negotiates: application protocols, and datagrams."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from OpenSSL import SSL
from pinned import ABSENT, HOST, open_pair, pinned, raw, refusal
from support import Node, accepting, client_ssl, exchange, intermediate, leaf, server_ssl, shake

import pinverify
from pinverify import PinRefused, Reason, server_context

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
