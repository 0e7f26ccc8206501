# SPDX-License-Identifier: Apache-2.0
"""Hostile peers: a connection that is cut, stalls or changes a bit, at any octet of the handshake."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count

import pytest
from hostile import (
    Wire,
    answering,
    assert_broken_off,
    assert_cut_off,
    both_roles,
    drained,
    openssl_peer,
    ours,
    step,
    usual,
)
from OpenSSL import SSL
from pinned import ABSENT, HOST, both_versions, raw
from support import PATIENCE, Background, Node, exchange, intermediate, leaf, root, shake

import pinverify
from pinverify import PinRefused, Reason


@both_versions
@both_roles
@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "each"])
def test_a_connection_that_ends_within_the_handshake_is_not_let_in(
    version: int, is_server: bool, stride: int
) -> None:
    """After any number of octets OpenSSL's error comes out, or where the certificate was there, the refusal
    of that; and nothing of it is left for the next connection of the thread.
    """
    peer = openssl_peer([leaf(HOST), intermediate()], version, is_server=not is_server)
    right, wrong = (usual(pin, is_server) for pin in (leaf(HOST).pin, ABSENT))
    total, judged = Wire(right, peer, is_server).received(), list[bool]()
    for limit in [*range(0, total - 4, stride), *range(total - 4, total + 8)]:
        wire = Wire(wrong, peer, is_server)
        error, _ = wire.cut(limit)
        judged.append(isinstance(error, PinRefused))
        assert isinstance(error, SSL.Error)
        assert_cut_off(wire.near)
        wire = Wire(right, peer, is_server)
        error, is_cut = wire.cut(limit)
        if is_cut:
            assert_broken_off(error)
            assert_cut_off(wire.near)
        else:
            assert error is None
            assert pinverify.verdict(wire.near).reason is Reason.PINNED
    assert not is_cut
    assert judged == sorted(judged)  # from the octet on that completes the certificate
    assert judged[-1]
    assert not judged[0]
    assert wrong.stats().refused == judged.count(True)
    assert wrong.stats().accepted == 0


def closed(sock: socket.socket) -> None:
    sock.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def break_off(
    sock: socket.socket, far: SSL.Connection, limit: int, end: Callable[[socket.socket], None]
) -> None:
    """Speaks for a peer over memory BIOs until `limit` octets have been sent, or there is nobody any more."""
    while step(far) is None or far.get_state_string() != b"error":
        data = drained(far)
        sock.sendall(data[:limit])
        limit -= len(data)
        heard = sock.recv(1 << 16) if limit >= 0 else b""
        if not heard:
            break
        far.bio_write(heard)
    end(sock)


@both_versions
@both_roles
@pytest.mark.parametrize(
    ("end", "steps"),
    [(closed, 18), (reset, 18), pytest.param(reset, 10_000, marks=pytest.mark.slow)],
    ids=["closed", "reset", "reset at each octet"],
)
def test_a_socket_that_is_closed_or_reset_within_the_handshake(
    version: int, is_server: bool, end: Callable[[socket.socket], None], steps: int
) -> None:
    """Over TCP too, with whatever the system says of it."""
    peer = openssl_peer([leaf(HOST), intermediate()], version, is_server=not is_server)
    right, wrong = (usual(pin, is_server) for pin in (leaf(HOST).pin, ABSENT))
    total = Wire(usual(leaf(HOST).pin, is_server), peer, is_server).received()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for number, limit in enumerate(range(0, total - 8, max(1, total // steps))):
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
            with near, far:
                context = (wrong, right)[number % 2]
                speaking = Background(partial(break_off, far, Wire(right, peer, is_server).far, limit, end))
                connection = answering(context, near) if is_server else raw(context, near)
                error = Background(connection.do_handshake).exception(PATIENCE)
                assert isinstance(error, SSL.Error)
                assert context is wrong or not isinstance(error, PinRefused)
                assert_cut_off(connection)
                speaking.result(PATIENCE)
    assert (right.stats().refused, wrong.stats().accepted) == (0, 0)
    assert right.stats().accepted + wrong.stats().refused > 0  # the end came after some certificates too


# -- A peer that stalls --


class Slow:
    """A connection whose peer sends one octet at a time."""

    def __init__(self, wire: Wire, expected: Reason) -> None:
        self._wire, self._expected = wire, expected
        self._coming: Iterator[int] = iter(b"")
        self.is_done = False

    def step(self, thread: ThreadPoolExecutor) -> None:
        """One step in that thread, and if it has to wait, one more octet."""
        error = thread.submit(step, self._wire.near).result(PATIENCE)
        if isinstance(error, SSL.WantReadError):
            octet = next(self._coming, None)
            if octet is None:
                self._coming = iter(self._wire.answer())
                octet = next(self._coming)
            return self._wire.near.bio_write(bytes([octet]))
        self.is_done = True
        if self._expected.accepts:
            assert error is None
            assert pinverify.verdict(self._wire.near).reason is self._expected
        else:
            assert isinstance(error, PinRefused)
            assert error.verdict.reason is self._expected
            assert_cut_off(self._wire.near)
        assert next(self._coming, None) is None or not self._expected.accepts
        return None


@both_versions
@both_roles
def test_a_peer_that_stalls_between_octets_keeps_everybody_waiting_and_nothing_else(
    version: int, is_server: bool
) -> None:
    """Between any two octets the caller is told to wait; another thread may go on with the connection, and
    may have connections with other verdicts under way.
    """
    node, old = leaf(HOST), root().issue(HOST, days=(-20, -10))
    cases = [
        (node, node.pin, Reason.PINNED),
        (node, ABSENT, Reason.NOT_PINNED),
        (old, old.pin, Reason.OPENSSL),
    ]
    slow = [
        Slow(
            Wire(
                ours([pin], root().certificate, is_server),
                openssl_peer(sent(sender), version, is_server=not is_server),
                is_server,
            ),
            expected,
        )
        for sender, pin, expected in cases
    ]
    with ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(3)]
        for turn in count():
            waiting = [connection for connection in slow if not connection.is_done]
            if not waiting:
                break
            for connection in waiting:
                connection.step(threads[turn % 3])
    assert turn > 1000


def sent(node: Node) -> list[Node]:
    assert node.issuer is not None
    return [node, node.issuer]


# -- A bit that is not what it was --


def certificate_record(flight: bytes) -> tuple[int, int]:
    """Where the record of the Certificate starts and ends in the first flight of a TLS 1.2 server."""
    at = 0
    while flight[at + 5] != 11:
        at += 5 + int.from_bytes(flight[at + 3 : at + 5], "big")
    return at, at + 5 + int.from_bytes(flight[at + 3 : at + 5], "big")


@pytest.mark.parametrize("trust", ["CA", "pins"])
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "each"])
def test_a_flipped_bit_in_the_certificate_message_is_not_let_in(trust: str, stride: int) -> None:
    """A change of any octet on the wire is found by somebody, at the latest in Finished (TLS 1.2)."""
    anchors = {"pins": "pins", "CA": root().certificate}[trust]
    peer = openssl_peer([leaf(HOST), intermediate()], SSL.TLS1_2_VERSION)
    context = ours([leaf(HOST).pin], anchors, False)
    start, end = certificate_record(flight_of(Wire(context, peer, False)))
    for at in range(start, end, stride):
        wire = Wire(context, peer, False)
        flight = bytearray(flight_of(wire))
        flight[at] ^= 1 << at % 8
        wire.near.bio_write(bytes(flight))
        error, _ = shake(wire.near, wire.far)
        if error is None:  # it waits for more, by a length that is too large
            wire.near.bio_shutdown()
            error = step(wire.near)
        assert isinstance(error, SSL.Error)
        assert_cut_off(wire.near)
    wire = Wire(context, peer, False)
    wire.near.bio_write(flight_of(wire))
    assert shake(wire.near, wire.far) == (None, None)
    assert exchange(wire.near, wire.far) == b"ping"


def flight_of(wire: Wire) -> bytes:
    """The first flight of the server."""
    assert isinstance(step(wire.near), SSL.WantReadError)
    return wire.answer()
