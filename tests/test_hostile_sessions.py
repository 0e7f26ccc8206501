# SPDX-License-Identifier: Apache-2.0
"""Hostile peers: sessions and tickets that are not theirs, or not what they say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hostile import (
    Wire,
    assert_broken_off,
    assert_cut_off,
    assert_outcome,
    device,
    drained,
    feed,
    openssl_peer,
    ours,
    step,
)
from hostile_script import NEW_SESSION_TICKET, SERVER_HELLO, Hostile, meet, message_of
from OpenSSL import SSL
from pinned import ABSENT, HOST, VERSIONS, both_versions, pinned, raw
from support import (
    accepting,
    intermediate,
    leaf,
    root,
    server_ssl,
    session_after,
    shake,
    use_session,
    was_resumed,
)

import pinverify
from pinverify import Pin, PinRefused, Reason, server_context

TLS_1_2, TLS_1_3 = VERSIONS.values()

# -- Who resumes --


@both_versions
def test_a_server_with_other_ticket_keys_is_judged_by_its_chain(version: int) -> None:
    """A ticket is worth something to whoever has its key, and to nobody else who gets to see it."""
    context, keys = ours([leaf(HOST).pin], root().certificate, False), {"ticketKeys": [bytearray(b"k" * 32)]}
    peer = Hostile(leaf(HOST), version, settings=keys)
    assert_outcome(meet(context, peer), Reason.PINNED)
    assert_outcome(meet(context, peer, session=peer.session), Reason.RESUMED)
    for settings in ({"ticketKeys": [bytearray(b"o" * 32)]}, {}):
        stranger = Hostile(intermediate().issue(HOST), version, settings=settings)
        assert_outcome(meet(context, stranger, session=peer.session), Reason.NOT_PINNED)
        assert stranger.shown == []


def plain(pin: Pin) -> SSL.Context:
    return server_ssl(leaf(HOST))


def of_the_same_policy(pin: Pin) -> SSL.Context:
    return server_context(leaf(HOST).identity, clients=[pin])


def of_another_policy(pin: Pin) -> SSL.Context:
    return server_context(leaf(HOST).identity, clients=[device().pin, leaf("other.test").pin])


def with_a_ca(pin: Pin) -> SSL.Context:
    return server_context(leaf(HOST).identity, clients=[device().pin], trust=root("clients").certificate)


OTHERS = [plain, of_the_same_policy, of_another_policy, with_a_ca]
CASES = [(make, False) for make in OTHERS] + [(plain, True)]  # a pinned one takes nobody in: see P20


@both_versions
@pytest.mark.parametrize(
    ("make", "moves"),
    CASES,
    ids=lambda value: value.__name__ if callable(value) else ("", "moved there")[value],
)
def test_a_client_with_a_session_of_another_server_is_judged_anew(
    make: Callable[[Pin], SSL.Context], version: int, moves: bool
) -> None:
    """A server of ours resumes its own sessions alone, though for a name it may change to the other context
    of the process.
    """
    caller = openssl_peer([device(), intermediate("clients")], version, is_server=False)
    elsewhere = make(device().pin)
    session = session_after(raw(caller), accepting(elsewhere))
    for pin, expected in ((device().pin, Reason.PINNED), (ABSENT, Reason.NOT_PINNED)):
        context = server_context(leaf(HOST).identity, clients=[pin])
        if moves:
            context.set_tlsext_servername_callback(lambda connection: connection.set_context(elsewhere))
        near, far = accepting(context), raw(caller)
        use_session(far, session)
        error, _ = shake(near, far)
        assert not was_resumed(near)
        assert context.stats().by_reason[expected] == 1
        if expected.accepts:
            assert error is None
            assert pinverify.verdict(near).reason is expected
        else:  # by the helper of the context that it has now, which in a plain one is not ours
            assert isinstance(error, SSL.Error if moves else PinRefused)
            assert_cut_off(near)


@both_versions
def test_the_session_of_a_refused_connection_is_none(version: int) -> None:
    """What a client was left with when it refused a server, or was refused by one, lets nobody in later."""
    for context, peer, is_server in (
        (pinned(pin=ABSENT), openssl_peer([leaf(HOST), intermediate()], version), False),
        (
            server_context(leaf(HOST).identity, clients=[ABSENT]),
            openssl_peer([device()], version, is_server=False),
            True,
        ),
    ):
        session = None
        for _ in range(2):
            wire = Wire(context, peer, is_server)
            client = wire.far if is_server else wire.near
            if session is not None:
                use_session(client, session)
            error, _ = shake(wire.near, wire.far)
            assert isinstance(error, PinRefused)
            assert error.verdict.reason is Reason.NOT_PINNED
            assert_cut_off(wire.near)
            session = client.get_session()
            client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        assert context.stats().accepted == 0


# -- Who says that he does --


def with_psk_selected(message: bytes) -> list[bytes]:
    """A TLS 1.3 server says that it goes by the first ticket that it was offered (RFC 8446 4.2.11)."""
    if message[0] != SERVER_HELLO:
        return [message]
    at = 4 + 2 + 32 + 1 + message[38] + 2 + 1  # its extensions
    extensions = message[at + 2 :] + b"\x00\x29\x00\x02\x00\x00"
    return [message_of(SERVER_HELLO, message[4:at] + len(extensions).to_bytes(2, "big") + extensions)]


def test_a_server_that_only_says_it_knows_the_ticket_is_found_out() -> None:
    """Without the secret of the session it selects, its next message cannot be read (TLS 1.3)."""
    context = ours([leaf(HOST).pin], root().certificate, False)
    known = Hostile(leaf(HOST), TLS_1_3, settings={"ticketKeys": [bytearray(b"k" * 32)]})
    assert_outcome(meet(context, known), Reason.PINNED)
    liar = Hostile(leaf(HOST), TLS_1_3, with_psk_selected)
    assert_broken_off(meet(context, liar, session=known.session))
    assert_broken_off(meet(context, liar), "extension")  # nothing was offered
    assert (context.stats().accepted, context.stats().refused) == (1, 0)


def test_a_server_that_only_says_it_knows_the_session_is_found_out() -> None:
    """One that takes up the session's name and then sends a certificate is out of step (TLS 1.2)."""
    context, peer = pinned(), openssl_peer([leaf(HOST), intermediate()], TLS_1_2)
    session = session_after(raw(context), accepting(peer))
    honest = Wire(context, peer, False)
    use_session(honest.near, session)
    assert shake(honest.near, honest.far) == (None, None)
    assert pinverify.verdict(honest.near).reason is Reason.RESUMED
    wire = Wire(context, openssl_peer([leaf(HOST), intermediate()], TLS_1_2), False)
    use_session(wire.near, session)
    step(wire.near)
    hello = drained(wire.near)
    feed(wire.far, hello)
    step(wire.far)
    name = hello[44 : 44 + hello[43]]  # behind the headers, the version and the random
    feed(wire.near, renamed(drained(wire.far), name))
    assert_broken_off(step(wire.near), "unexpected message")
    assert_cut_off(wire.near)
    assert context.stats().accepted == 3  # the last time at the hello, ahead of what would have shown


def renamed(flight: bytes, session_id: bytes) -> bytes:
    """The first flight of a TLS 1.2 server with another session's name in its ServerHello."""
    end = 5 + int.from_bytes(flight[3:5], "big")
    hello, rest = flight[5:end], flight[end:]
    body = hello[4:38] + bytes([len(session_id)]) + session_id + hello[39 + hello[38] :]
    message = message_of(SERVER_HELLO, body)
    return flight[:3] + len(message).to_bytes(2, "big") + message + rest


def twenty_times(message: bytes) -> list[bytes]:
    return [message] * (20 if message[0] == NEW_SESSION_TICKET else 1)


def test_a_flood_of_tickets_is_no_matter() -> None:
    """Forty tickets behind the handshake, and the connection and its session are as ever (TLS 1.3)."""
    context, keys = ours([leaf(HOST).pin], root().certificate, False), {"ticketKeys": [bytearray(b"k" * 32)]}
    peer = Hostile(leaf(HOST), TLS_1_3, twenty_times, settings=keys)
    assert_outcome(meet(context, peer), Reason.PINNED)
    assert_outcome(meet(context, peer, session=peer.session), Reason.RESUMED)
