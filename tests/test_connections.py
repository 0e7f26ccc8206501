# SPDX-License-Identifier: Apache-2.0
"""Connections as programs open them: sockets, blocking or not, and memory BIOs."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from OpenSSL import SSL
from pinned import ABSENT, HOST, both_versions, pinned, raw
from support import PATIENCE, Background, accepting, leaf, server_ssl, serving

import pinverify
from pinverify import PinRefused, Reason

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
