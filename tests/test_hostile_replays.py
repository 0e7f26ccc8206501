# SPDX-License-Identifier: Apache-2.0
"""Hostile peers: what an honest one has said, said again."""

from __future__ import annotations

from typing import NamedTuple

from hostile import (
    OURS,
    Wire,
    assert_broken_off,
    assert_cut_off,
    device,
    drained,
    feed,
    openssl_peer,
    ours,
    step,
)
from OpenSSL import SSL
from pinned import HOST, both_versions, raw
from support import (
    accepting,
    exchange,
    intermediate,
    leaf,
    root,
    session_after,
    shake,
    use_session,
    was_resumed,
)

import pinverify
from pinverify import PinnedContext, Reason, server_context

ALERT = 21


class Recorded(NamedTuple):
    """What the peer said in an accepted connection: in turn, until both were done and it had sent data."""

    flights: list[bytes]

    @classmethod
    def of(cls, wire: Wire) -> Recorded:
        flights = []
        for _ in range(4):
            step(wire.near)
            flights.append(wire.answer())
            feed(wire.near, flights[-1])
        assert pinverify.verdict(wire.near).accepted
        wire.far.send(OURS)
        flights.append(drained(wire.far))
        feed(wire.near, flights[-1])
        assert wire.near.recv(100) == OURS
        return cls([flight for flight in flights if flight])


def replay(recorded: Recorded, connection: SSL.Connection) -> tuple[Exception | None, bytes]:
    """What a connection of ours raises when it hears all of it again; and what it says after the first."""
    said = b""
    error = step(connection)
    for flight in recorded.flights:
        drained(connection)
        feed(connection, flight)
        error = step(connection)
        said += drained(connection)
        if not isinstance(error, SSL.WantReadError):
            break
    return error, said


def types(records: bytes) -> set[int]:
    """The content types of TLS records."""
    found, at = set(), 0
    while at < len(records):
        found.add(records[at])
        at += 5 + int.from_bytes(records[at + 3 : at + 5], "big")
    return found


@both_versions
def test_a_server_that_says_again_what_another_has_said_is_found_out(version: int) -> None:
    """A recorded server flight is for another client's random: its signature or its keys do not fit, and the
    client answers with an alert alone.
    """
    context = ours([leaf(HOST).pin], root().certificate, False)
    recorded = Recorded.of(Wire(context, openssl_peer([leaf(HOST), intermediate()], version), False))
    client = raw(context)
    error, said = replay(recorded, client)
    assert_broken_off(error)
    assert types(said) <= {ALERT, 20}  # and a ChangeCipherSpec, which means nothing in TLS 1.3
    assert_cut_off(client)


def server() -> PinnedContext:
    return server_context(leaf(HOST).identity, clients=[device().pin])


def caller(version: int) -> SSL.Context:
    return openssl_peer([device()], version, is_server=False)


@both_versions
def test_a_client_that_says_again_what_another_has_said_is_found_out(version: int) -> None:
    """A recorded client, certificate and signature and all, is for another server's random."""
    context = server()
    recorded = Recorded.of(Wire(context, caller(version), True))
    for _ in range(3):
        connection = accepting(context)
        error, _ = replay(recorded, connection)
        assert_broken_off(error)
        assert_cut_off(connection)
    assert context.stats().refused == 0
    assert exchange(*reversed(connected(context, version))) == b"ping"


def connected(context: PinnedContext, version: int) -> tuple[SSL.Connection, SSL.Connection]:
    """The ends of an accepted connection, ours first."""
    wire = Wire(context, caller(version), True)
    assert shake(wire.near, wire.far) == (None, None)
    assert pinverify.verdict(wire.near).reason is Reason.PINNED
    return wire.near, wire.far


@both_versions
def test_a_client_that_resumed_cannot_be_replayed(version: int) -> None:
    """Nor does a recorded resumption let anybody in: the ticket is good, and the Finished is not. It is
    decided about at the hello, as a chain is ahead of the peer's signature.
    """
    context, plain = server(), caller(version)
    session = session_after(raw(plain), accepting(context))
    wire = Wire(context, plain, True)
    use_session(wire.far, session)
    recorded = Recorded.of(wire)
    assert was_resumed(wire.near)
    connection = accepting(context)
    error, _ = replay(recorded, connection)
    assert_broken_off(error)
    assert_cut_off(connection)
    assert context.stats().by_reason[Reason.RESUMED] == 2


@both_versions
def test_a_client_hello_said_again_is_answered_anew_and_lets_nobody_in(version: int) -> None:
    """Each gets a random and keys of its own, and the server goes on waiting for a certificate."""
    context = server()
    client = raw(caller(version))
    step(client)
    hello, answers = drained(client), set()
    for _ in range(3):
        connection = accepting(context)
        feed(connection, hello)
        assert isinstance(step(connection), SSL.WantReadError)
        answers.add(drained(connection))
        connection.bio_shutdown()
        assert_broken_off(step(connection))
        assert_cut_off(connection)
    assert len(answers) == 3
    assert (context.stats().accepted, context.stats().refused) == (0, 0)
    assert connected(context, version)
