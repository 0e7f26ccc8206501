# SPDX-License-Identifier: Apache-2.0
"""Hostile peers by OpenSSL, which sends any certificates as long as the first is its own; and wires between
them and us that can be cut.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from OpenSSL import SSL
from pinned import HOST, raw
from support import Node, accepting, exchange, intermediate, leaf, root, shake

import pinverify
from pinverify import (
    Pin,
    PinnedContext,
    PinRefused,
    PinSet,
    PinverifyError,
    Reason,
    Verdict,
    client_context,
    server_context,
)

OURS, THEIRS = b"from us", b"from them"

both_roles = pytest.mark.parametrize("is_server", [False, True], ids=["client", "server"])


@cache
def device() -> Node:
    """The client whose certificate is not to come into the wrong hands."""
    return intermediate("clients").issue()


def ours(pins: list[Pin] | PinSet, trust: Any, is_server: bool) -> PinnedContext:
    """A client's or a server's context with these pins, for `judge` and `meet`."""
    if is_server:
        return server_context(leaf(HOST).identity, clients=pins, trust=trust)
    return client_context({HOST: pins}, trust=trust, identity=(device().certificate, device().key))


def usual(pin: Pin, is_server: bool) -> PinnedContext:
    """A context of the usual kind: a client's with a CA, a server's without one."""
    return ours([pin], "pins" if is_server else root().certificate, is_server)


def nodes(leaf: Node) -> list[Node]:
    """A leaf and all that is above it."""
    return [leaf, *(nodes(leaf.issuer) if leaf.issuer else [])]


def openssl_peer(sent: Sequence[Node], version: int, *, is_server: bool = True) -> SSL.Context:
    """A plain context that sends these certificates as they stand there, with the key of the first."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD if is_server else SSL.TLS_CLIENT_METHOD)
    context.use_certificate(sent[0].certificate)
    for node in sent[1:]:
        context.add_extra_chain_cert(node.certificate)
    context.use_privatekey(sent[0].key)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if is_server:
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)  # asks for a certificate, and takes any
        context.set_session_id(b"hostile")  # without which it resumes no session of such a client
    return context


def judge(context: PinnedContext, peer: SSL.Context, *, is_server: bool = False) -> Verdict | Exception:
    """What a connection of ours says of a peer: the verdict that let it in, or what the handshake raised.

    Whoever is let in gets data, and our certificate if we have one; whoever is not gets neither.
    """
    near, far = (accepting(context), raw(peer)) if is_server else (raw(context), accepting(peer))
    error, _ = shake(near, far)
    if error is None:
        assert exchange(near, far, OURS) == OURS
        assert exchange(far, near, THEIRS) == THEIRS
        assert is_server or far.get_peer_certificate() is not None
        return pinverify.verdict(near)
    assert_cut_off(near)
    assert is_server or far.get_peer_certificate() is None
    return error


def step(connection: SSL.Connection) -> Exception | None:
    """What a step of a handshake raises."""
    try:
        connection.do_handshake()
    except Exception as error:
        return error
    return None


def drained(connection: SSL.Connection) -> bytes:
    """What a connection over memory BIOs has to send."""
    with suppress(SSL.WantReadError):
        return connection.bio_read(1 << 20)
    return b""


def feed(connection: SSL.Connection, data: bytes) -> None:
    """Hands it what has come for it."""
    if data:  # of no data pyOpenSSL makes a WantReadError
        connection.bio_write(data)


class Wire:
    """A pinned connection over memory BIOs and its peer, which has the key of a leaf."""

    def __init__(self, context: PinnedContext, peer: SSL.Context, is_server: bool) -> None:
        self.near = accepting(context) if is_server else raw(context)
        self.far = raw(peer) if is_server else accepting(peer)

    def answer(self) -> bytes:
        """Hands over what our end has to say; the answer to that."""
        feed(self.far, drained(self.near))
        step(self.far)
        return drained(self.far)

    def received(self) -> int:
        """How many octets our end gets in a handshake that is let be."""
        total = 0
        while isinstance(step(self.near), SSL.WantReadError):
            data = self.answer()
            feed(self.near, data)
            total += len(data)
        return total

    def cut(self, limit: int) -> tuple[Exception | None, bool]:
        """What our handshake comes to with that many octets and then the end of the connection; and whether
        there would have been more.
        """
        while isinstance(error := step(self.near), SSL.WantReadError):
            data = self.answer()
            feed(self.near, data[:limit])
            limit -= len(data)
            if limit < 0:
                self.near.bio_shutdown()
                return step(self.near), True
        return error, False


def answering(context: SSL.Context, sock: socket.socket) -> SSL.Connection:
    """The server's end of a connection over a socket."""
    connection = SSL.Connection(context, sock)
    connection.set_accept_state()
    return connection


def assert_cut_off(connection: SSL.Connection) -> None:
    """Checks that a connection has no verdict, and neither sends nor takes application data."""
    with pytest.raises(SSL.Error):
        connection.send(OURS)
    with pytest.raises(SSL.Error):
        connection.recv(100)
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(connection)


def assert_outcome(outcome: Verdict | Exception, expected: Reason) -> None:
    """Checks that a peer was let in, or refused by us, for that reason."""
    verdict = outcome.verdict if isinstance(outcome, PinRefused) else outcome
    assert isinstance(verdict, Verdict), outcome
    assert (verdict.reason, verdict.accepted) == (expected, expected.accepts)


def assert_broken_off(outcome: Verdict | Exception, words: str = "") -> None:
    """Checks that OpenSSL ended a handshake with such an error, of which no refusal was made."""
    assert isinstance(outcome, SSL.Error), outcome
    assert not isinstance(outcome, PinRefused)
    assert words in str(outcome)
