# SPDX-License-Identifier: Apache-2.0
"""`pinverify.verdict`: what is said of a connection that is open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from pinned import ABSENT, HOST, open_pair, pinned, raw, refusal
from support import (
    accepting,
    client_ssl,
    exchange,
    intermediate,
    leaf,
    root,
    server_ssl,
    session_after,
    shake,
)

import pinverify
from pinverify import (
    PinnedContext,
    PinRefused,
    PinSet,
    PinverifyError,
    Policy,
    Reason,
    client_context,
    server_context,
)


def test_the_verdict_of_a_live_connection() -> None:
    """It says who was accepted and by which certificate of which chain, as often as it is asked."""
    client, server = open_pair(pinned(pin=intermediate().pin), server_ssl(leaf(HOST)))
    for _ in range(2):
        verdict = pinverify.verdict(client)
        assert (verdict.reason, verdict.accepted, verdict.host) == (Reason.PINNED, True, HOST)
        assert (verdict.depth, list(verdict.chain)) == (1, leaf(HOST).ders)
        assert exchange(client, server) == b"ping"


@pytest.mark.parametrize("padding", [0, 20_000], ids=["", "larger than the native engine's buffer"])
def test_the_chain_is_the_one_that_openssl_verified(padding: int) -> None:
    """It is pyOpenSSL's, certificate by certificate, whether it fits the native engine's buffer or not."""
    node = intermediate().issue(HOST, padding=padding)
    client, _ = open_pair(pinned(pin=node.pin), server_ssl(node))
    verified = client.get_verified_chain()
    assert verified is not None
    encoded = [certificate.to_cryptography().public_bytes(Encoding.DER) for certificate in verified]
    assert list(pinverify.verdict(client).chain) == encoded


def test_the_verdict_of_a_servers_connection() -> None:
    """A server's verdict has the client's chain, and no host."""
    device = intermediate("clients").issue()
    context = server_context(leaf(HOST).identity, clients=[device.pin])
    client, server = accepting(context), raw(client_ssl(device))
    assert shake(server, client) == (None, None)
    verdict = pinverify.verdict(client)
    assert (verdict.reason, verdict.host, verdict.chain) == (Reason.PINNED, None, (device.der,))


def test_a_verdict_has_what_the_peer_sent() -> None:
    """Its own certificate and those along with it, of servers and clients; of a resumed session nothing."""
    node, extra = leaf(HOST), leaf("elsewhere.test")
    sent = (node.der, intermediate().der, extra.der)
    client, _ = open_pair(pinned(), server_ssl(node, extra=(extra,)))
    assert pinverify.verdict(client).sent == sent
    for trust in ("pins", root().certificate):
        context = server_context(leaf(HOST).identity, clients=[node.pin], trust=trust)
        plain = client_ssl(node)
        near, far = accepting(context), raw(plain)
        session = session_after(far, near)
        near.set_shutdown(0)
        assert pinverify.verdict(near).sent == sent[:2]
        near, far = accepting(context), raw(plain)
        far.set_session(session)
        assert shake(far, near) == (None, None)
        verdict = pinverify.verdict(near)
        assert (verdict.reason, verdict.sent, verdict.chain) == (Reason.RESUMED, (), (node.der,))


def test_a_verdict_names_the_entry_that_decided() -> None:
    """It is the engine's own entry, found by its number, and not what a second search would find."""
    entries = {"**.example.com": PinSet([ABSENT]), HOST: PinSet([leaf(HOST).pin])}
    policy = Policy(entries)
    context = client_context(policy, trust=root().certificate)
    client, _ = open_pair(context, server_ssl(leaf(HOST)))
    verdict = pinverify.verdict(client)
    assert (verdict.pattern, verdict.entry) == (HOST, entries[HOST])
    assert policy.decided_by("other.example.com", 0) == ("**.example.com", entries["**.example.com"])
    assert policy.decided_by(HOST, 0) == ("**.example.com", entries["**.example.com"])
    assert policy.decided_by(HOST, -1) == (None, None)


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
