# SPDX-License-Identifier: Apache-2.0
"""Connections of a pinned context: making one over TCP, and the verdict on a live one."""

from __future__ import annotations

import selectors
import socket
import time

from OpenSSL import SSL

from pinverify.context import PinnedContext
from pinverify.engine import openssl, pyopenssl
from pinverify.errors import PinRefused, PinverifyError
from pinverify.verdict import Verdict

__all__ = ["connect", "verdict"]


def connect(
    address: tuple[str, int], context: PinnedContext, *, host: str | None = None, timeout: float | None = None
) -> SSL.Connection:
    """A TCP connection to `address` (host, port) with its handshake done, blocking from then on.

    `host` is the reference name, by default `address[0]`. `timeout` in seconds covers both. Raises
    PinRefused, any other `SSL.Error`, TimeoutError or OSError, with the socket closed.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    sock = socket.create_connection(address, timeout)
    try:
        connection = context.connection(host or address[0], sock)
        _handshake(connection, sock, deadline)
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return connection


def _handshake(connection: SSL.Connection, sock: socket.socket, deadline: float | None) -> None:
    while True:
        try:
            return connection.do_handshake()
        except SSL.WantReadError:
            _wait(sock, selectors.EVENT_READ, deadline)
        except SSL.WantWriteError:
            _wait(sock, selectors.EVENT_WRITE, deadline)


def _wait(sock: socket.socket, event: int, deadline: float | None) -> None:
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    with selectors.DefaultSelector() as selector:
        selector.register(sock, event)
        if not selector.select(left):
            raise TimeoutError("the TLS handshake timed out")


def verdict(connection: SSL.Connection) -> Verdict:
    """The Verdict of a live connection of a pinned context, made anew from its verified chain.

    Raises PinRefused if the policy does not accept it (any more), and PinverifyError if there is nothing to
    judge: no pinned context, or no handshake that has succeeded.
    """
    context = pyopenssl.maker_of(connection)
    if not isinstance(context, PinnedContext):
        raise PinverifyError("there is no verdict: the connection was not made from a pinned context")
    if not openssl.handshake_succeeded(pyopenssl.ssl_of(connection)):
        raise PinverifyError(
            "there is no verdict: the connection is not open with its handshake done and its peer accepted"
        )
    result = context._guard.judge(connection)
    if not result.accepted:
        raise PinRefused(result)
    return result
