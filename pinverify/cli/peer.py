# SPDX-License-Identifier: Apache-2.0
"""The certificates that a peer sends, and what becomes of errors on the command line."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click
from OpenSSL import SSL

from pinverify.engine import openssl
from pinverify.engine.pyopenssl import ssl_of
from pinverify.errors import PinRefused, PinverifyError
from pinverify.hostnames import host_ip

__all__ = ["NoConnection", "invalid_input", "no_connection", "sent_by"]


class NoConnection(click.ClickException):
    """There is no connection, so that nothing can be said of the peer."""

    exit_code = 3


@contextmanager
def invalid_input() -> Iterator[None]:
    """Turns what pinverify says of bad input into click's error of usage, exit status 2."""
    try:
        yield
    except PinverifyError as error:
        raise click.UsageError(str(error)) from error


@contextmanager
def no_connection(whom: str) -> Iterator[None]:
    """Turns errors of the network and of TLS into NoConnection."""
    try:
        yield
    except PinRefused:  # an SSL.Error too, and a verdict
        raise
    except OSError as error:  # TimeoutError and socket.gaierror are some
        raise NoConnection(f"no connection to {whom}: {error.strerror or error}") from error
    except SSL.Error as error:
        raise NoConnection(f"TLS with {whom} failed: {_text(error)}") from error


def sent_by(host: str, port: int, timeout: float) -> tuple[bytes, ...]:
    """The certificates that a server sends, in DER, leaf first. NOTHING about them is verified.

    Raises OSError or `SSL.Error` if there are none.
    """
    deadline = time.monotonic() + timeout
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)  # verifies nothing
    if host_ip(host) is None:
        connection.set_tlsext_host_name(host.encode("ascii"))
    connection.set_connect_state()
    with socket.create_connection((host, port), timeout) as sock:
        try:
            _shake(connection, sock, deadline)
        except (SSL.Error, OSError):
            # A server that wants to know its client, or that has no cipher for us, may yet have shown itself.
            if not openssl.sent_chain(ssl_of(connection)):
                raise
    return openssl.sent_chain(ssl_of(connection))


def _shake(connection: SSL.Connection, sock: socket.socket, deadline: float) -> None:
    """A handshake over memory BIOs, which leave the timeouts to the socket."""
    while True:
        try:
            return connection.do_handshake()
        except SSL.WantReadError:
            with suppress(SSL.WantReadError):
                sock.sendall(connection.bio_read(1 << 16))
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        if not (data := sock.recv(1 << 16)):
            raise ConnectionResetError("the server closed the connection during the handshake")
        connection.bio_write(data)


def _text(error: SSL.Error) -> str:
    """The reasons of OpenSSL's errors, or what pyOpenSSL says instead."""
    first = error.args[0] if error.args else None
    if isinstance(first, list) and first:
        return "; ".join(str(entry[-1]) for entry in first)
    return str(error.args[-1]) if error.args else type(error).__name__
