# SPDX-License-Identifier: Apache-2.0
"""Hostile peers: another certificate once the connection stands, by renegotiation (TLS 1.2) or by
authentication after the handshake (TLS 1.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hostile import (
    OURS,
    assert_broken_off,
    assert_cut_off,
    assert_outcome,
    both_roles,
    drained,
    feed,
    openssl_peer,
    ours,
)
from OpenSSL import SSL
from OpenSSL._util import lib
from pinned import HOST, pinned, raw
from support import Node, accepting, client_ssl, exchange, intermediate, leaf, root, shake

import pinverify
from pinverify import PinnedContext, Reason, Verdict, client_context

TLS_1_2 = SSL.TLS1_2_VERSION
PINNED, NOT_PINNED, OPENSSL = Reason.PINNED, Reason.NOT_PINNED, Reason.OPENSSL
ALLOW_CLIENT_RENEGOTIATION, NO_RESUMPTION_ON_RENEGOTIATION = 1 << 8, 1 << 16  # SSL_CTX_set_options(3)


class Pair(NamedTuple):
    """A connection of ours that stands, and the peer's end of it."""

    near: SSL.Connection
    far: SSL.Connection

    def settle(self) -> Verdict | Exception:
        """Lets both ends go on as programs do until a renegotiation is over; what comes of it at ours."""
        for _ in range(4):
            for end, other in ((self.far, self.near), (self.near, self.far)):
                error = going_on(end)
                feed(other, drained(end))
                if end is self.near and error is not None:
                    return error
        return pinverify.verdict(self.near)


def going_on(connection: SSL.Connection) -> Exception | None:
    """What a handshake that may be due raises, or the reading after it."""
    for call in (connection.do_handshake, lambda: connection.recv(100)):
        try:
            call()
        except SSL.WantReadError:
            pass
        except Exception as error:
            return error
    return None


def pair(context: PinnedContext, peer: SSL.Context, is_server: bool) -> Pair:
    made = Pair(*((accepting(context), raw(peer)) if is_server else (raw(context), accepting(peer))))
    assert shake(*made) == (None, None)
    assert exchange(*made) == b"ping"
    return made


def sender(node: Node, is_server: bool, version: int = TLS_1_2) -> SSL.Context:
    """A peer with a leaf under the intermediate, which resumes no session where it could renegotiate."""
    context = openssl_peer([node, intermediate()], version, is_server=is_server)
    context.set_options(ALLOW_CLIENT_RENEGOTIATION | NO_RESUMPTION_ON_RENEGOTIATION)
    return context


def ours_that_renegotiates(is_server: bool, *pinned: Node) -> PinnedContext:
    context = ours([node.pin for node in pinned], root().certificate, is_server)
    context.set_options(NO_RESUMPTION_ON_RENEGOTIATION)
    return context


def expired() -> Node:
    return intermediate().issue(HOST, key=leaf(HOST).key, days=(-20, -10))


CHANGES: dict[str, tuple[Callable[[], Node], Reason]] = {
    "the same": (lambda: leaf(HOST), PINNED),
    "renewed": (lambda: intermediate().issue(HOST, key=leaf(HOST).key), PINNED),
    "another key": (lambda: intermediate().issue(HOST), NOT_PINNED),
    "expired": (expired, OPENSSL),
    "another CA": (lambda: root("foreign root").issue(HOST, key=leaf(HOST).key), OPENSSL),
}


@both_roles
@pytest.mark.parametrize("change", CHANGES)
def test_a_certificate_that_comes_by_renegotiation_is_judged(change: str, is_server: bool) -> None:
    """A server starts a renegotiation: who changes to a certificate that is not pinned is refused, and gets
    no more data; who stays as he is goes on.
    """
    make, expected = CHANGES[change]
    context = ours_that_renegotiates(is_server, leaf(HOST))
    made = pair(context, sender(leaf(HOST), not is_server), is_server)
    node = make()
    made.far.set_context(sender(node, not is_server))
    (made.near if is_server else made.far).renegotiate()
    outcome = made.settle()
    assert_outcome(outcome, expected)
    assert context.stats().accepted == 1 + expected.accepts
    assert context.stats().by_reason[expected] == 1 + expected.accepts
    if isinstance(outcome, Verdict):
        assert outcome.chain[0] == node.der
        assert made.far.total_renegotiations() == 1
        assert exchange(made.near, made.far, OURS) == OURS
    else:
        assert_cut_off(made.near)


@pytest.mark.parametrize(("change", "expected"), [("the same", PINNED), ("another key", NOT_PINNED)])
def test_a_renegotiation_of_our_clients_is_judged_too(change: str, expected: Reason) -> None:
    """A client of ours renegotiates with a server that lets it, and looks as closely as before."""
    made = pair(ours_that_renegotiates(False, leaf(HOST)), sender(leaf(HOST), True), False)
    made.far.set_context(sender(CHANGES[change][0](), True))
    made.near.renegotiate()
    assert_outcome(made.settle(), expected)


def test_both_keys_of_a_rotation_may_change_about() -> None:
    """From one pinned key to the other: the verdict is of the certificate that came last."""
    new = intermediate().issue(HOST)
    made = pair(ours_that_renegotiates(False, leaf(HOST), new), sender(leaf(HOST), True), False)
    assert pinverify.verdict(made.near).pins[0] == leaf(HOST).pin
    made.far.set_context(sender(new, True))
    made.far.renegotiate()
    outcome = made.settle()
    assert_outcome(outcome, PINNED)
    assert isinstance(outcome, Verdict)
    assert outcome.pins[0] == new.pin


def test_a_client_of_our_server_does_not_renegotiate_of_itself() -> None:
    """OpenSSL refuses a renegotiation that a client starts; nothing is judged."""
    context = ours_that_renegotiates(True, leaf(HOST))
    made = pair(context, sender(leaf(HOST), False), True)
    made.far.set_context(sender(intermediate().issue(HOST), False))
    made.far.renegotiate()
    assert_broken_off(made.settle(), "alert")
    assert_cut_off(made.near)
    assert (context.stats().accepted, context.stats().refused) == (1, 0)


def test_a_client_of_our_server_cannot_drop_its_certificate() -> None:
    """Who shows no certificate in the renegotiation is out."""
    made = pair(ours_that_renegotiates(True, leaf(HOST)), sender(leaf(HOST), False), True)
    made.far.set_context(client_ssl())
    made.near.renegotiate()
    assert_broken_off(made.settle(), "peer did not return a certificate")
    assert_cut_off(made.near)


def test_a_renegotiation_that_resumes_the_session_shows_no_other_certificate() -> None:
    """In a context for one host the session is the one that was accepted, whatever the server has now."""
    context = pinned()
    made = pair(context, openssl_peer([leaf(HOST), intermediate()], TLS_1_2), False)
    made.far.set_context(openssl_peer([intermediate().issue(HOST), intermediate()], TLS_1_2))
    made.far.renegotiate()
    outcome = made.settle()
    assert isinstance(outcome, Verdict)
    assert outcome.chain[0] == leaf(HOST).der
    assert context.stats().by_reason[Reason.RESUMED] == 1
    assert exchange(made.near, made.far, OURS) == OURS


def test_a_renegotiation_resumes_nothing_where_sessions_are_not_kept() -> None:
    """In a context for more than one host, a renegotiation too would resume what might be another host's."""
    context = client_context({"**.example.com": [leaf(HOST).pin]}, trust=root().certificate)
    made = pair(context, openssl_peer([leaf(HOST), intermediate()], TLS_1_2), False)
    made.far.set_context(openssl_peer([intermediate().issue(HOST), intermediate()], TLS_1_2))
    made.far.renegotiate()
    assert_outcome(made.settle(), NOT_PINNED)
    assert_cut_off(made.near)


@pytest.mark.parametrize(("change", "expected"), [("the same", PINNED), ("another key", NOT_PINNED)])
def test_a_client_that_shows_its_certificate_later_is_judged_then(change: str, expected: Reason) -> None:
    """Authentication after the handshake (RFC 8446 4.6.2), if a server asks for it, goes by the pins."""
    version = SSL.TLS1_3_VERSION
    near = accepting(ours_that_renegotiates(True, leaf(HOST)))
    far = raw(sender(leaf(HOST), False, version))
    lib.SSL_set_post_handshake_auth(far._ssl, 1)
    assert shake(near, far) == (None, None)
    assert exchange(near, far) == b"ping"
    far.set_context(sender(CHANGES[change][0](), False, version))
    assert lib.SSL_verify_client_post_handshake(near._ssl) == 1
    outcome = Pair(near, far).settle()
    assert_outcome(outcome, expected)
    if expected.accepts:
        assert exchange(far, near) == b"ping"
    else:
        assert_cut_off(near)


@pytest.mark.parametrize("end", ["near", "far"])
def test_in_tls_1_3_there_is_no_renegotiation(end: str) -> None:
    """Neither end can start one, and the connection goes on."""
    near, far = raw(pinned()), accepting(openssl_peer([leaf(HOST), intermediate()], SSL.TLS1_3_VERSION))
    assert shake(near, far) == (None, None)
    with pytest.raises(SSL.Error, match="wrong ssl version"):
        {"near": near, "far": far}[end].renegotiate()
    assert exchange(near, far, OURS) == OURS
    assert pinverify.verdict(near).reason is PINNED
