# SPDX-License-Identifier: Apache-2.0
"""Connections as programs open them: `pinverify.connect`, and every sort of host."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from OpenSSL import SSL
from pinned import ABSENT, HOST, both_versions, pinned, refusal
from support import PATIENCE, Background, accepting, exchange, leaf, root, server_ssl, serving, shake

import pinverify
from pinverify import InvalidHost, PinRefused, Reason, client_context

# -- pinverify.connect --


def test_connect_gives_a_blocking_connection() -> None:
    """After `connect` the handshake is done, and the connection waits for data as long as it takes."""
    with serving(server_ssl(leaf(HOST))) as server:
        address = ("127.0.0.1", server.port)
        connection = pinverify.connect(address, pinned(), host=HOST, timeout=PATIENCE)
        assert connection.gettimeout() is None
        connection.sendall(b"ping")
        assert connection.recv(100) == b"ping"
        connection.close()


def read_to_the_end(sock: socket.socket) -> None:
    with suppress(ConnectionResetError):
        while sock.recv(1 << 16):
            pass


def answer_in_plain(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def hang_up(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def answer_with_tls(sock: socket.socket) -> None:
    sock.settimeout(None)
    connection = SSL.Connection(server_ssl(leaf(HOST)), sock)
    connection.set_accept_state()
    with suppress(SSL.Error):
        connection.do_handshake()
    sock.settimeout(PATIENCE)


def trickle(sock: socket.socket) -> None:
    """Never stops sending a record, a byte at a time."""
    sock.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
    pause = threading.Event()
    with suppress(OSError):
        for _ in range(1500):
            sock.sendall(b"\0")
            pause.wait(0.02)
        pytest.fail("nobody hung up for half a minute")


FAILURES = {  # what the server does, the host that is asked for, the timeout in seconds, and what is raised
    "silence": (lambda sock: None, HOST, 0.2, TimeoutError),
    "a byte now and then": (trickle, HOST, 0.5, TimeoutError),
    "no TLS": (answer_in_plain, HOST, PATIENCE, SSL.Error),
    "end of the stream": (hang_up, HOST, None, SSL.SysCallError),
    "another key": (answer_with_tls, HOST, PATIENCE, PinRefused),
    "another key, no timeout": (answer_with_tls, HOST, None, PinRefused),
    "no host name": (lambda sock: None, "https://api.example.com/", PATIENCE, InvalidHost),
}


@pytest.mark.parametrize(("behave", "host", "timeout", "expected"), FAILURES.values(), ids=FAILURES)
def test_connect_closes_the_socket_when_it_fails(
    behave: Callable[[socket.socket], None], host: str, timeout: float | None, expected: type[Exception]
) -> None:
    """Whatever goes wrong, `connect` raises the fitting error and leaves no socket open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def server() -> str:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(PATIENCE)
                behave(sock)
                read_to_the_end(sock)
            return "the client closed"

        server_end = Background(server)
        with pytest.raises(expected):
            pinverify.connect(listener.getsockname(), pinned(pin=ABSENT), host=host, timeout=timeout)
        # The exception is still there with its frames, so that no collector has closed the socket instead.
        assert server_end.result(PATIENCE) == "the client closed"


def test_connect_to_a_port_where_nobody_listens() -> None:
    """An error of TCP is passed on as it is."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            pinverify.connect(unused.getsockname(), pinned(), host=HOST, timeout=PATIENCE)


# -- Names --

NAMES = {  # the host as a program writes it, its canonical form, and the server name that is sent
    "name": (HOST, HOST, HOST.encode()),
    "capitals and a final dot": ("API.Example.COM.", HOST, HOST.encode()),
    "international": ("bücher.test", "xn--bcher-kva.test", b"xn--bcher-kva.test"),
    "international, in A-labels": ("xn--bcher-kva.test", "xn--bcher-kva.test", b"xn--bcher-kva.test"),
    "IPv4": ("192.0.2.7", "192.0.2.7", None),
    "IPv6": ("2001:DB8:0::7", "2001:db8::7", None),
    "IPv6 in brackets": ("[2001:db8::7]", "2001:db8::7", None),
}


@pytest.mark.parametrize(("host", "canonical", "server_name"), NAMES.values(), ids=NAMES)
@both_versions
def test_a_connection_knows_its_host(
    version: int, host: str, canonical: str, server_name: bytes | None
) -> None:
    """`ctx.connection(host)` sends the right server name or none; the certificate must be for that host."""
    server = server_ssl(leaf(canonical), version=version)
    context = client_context({"other.test": [ABSENT], host: [leaf(canonical).pin]}, trust=root().certificate)
    ends = context.connection(host), accepting(server)
    assert shake(*ends) == (None, None)
    assert ends[1].get_servername() == server_name
    assert (pinverify.verdict(ends[0]).host, exchange(*ends)) == (canonical, b"ping")

    other = server_ssl(leaf("elsewhere.test"), version=version)
    context = client_context({host: [leaf("elsewhere.test").pin]}, trust=root().certificate)
    verdict = refusal(context.connection(host), accepting(other)).verdict
    assert (verdict.reason, verdict.host) == (Reason.OPENSSL, canonical)
    assert "mismatch" in verdict.detail


def test_connections_without_a_server_name_keep_their_hosts_apart() -> None:
    """Connections to many addresses, alive at once and made of one context, are each held to their own."""
    addresses = [f"192.0.2.{number}" for number in range(1, 21)]
    context = client_context(
        {address: [leaf(address).pin] for address in addresses}, trust=root().certificate
    )
    clients = [context.connection(address) for address in addresses]
    for client, address in zip(clients, addresses, strict=True):
        assert shake(client, accepting(server_ssl(leaf(address)))) == (None, None)
    assert [pinverify.verdict(client).host for client in clients] == addresses
    del client, clients
    gc.collect()
    for address in addresses:  # the memory of the former ones is used again
        wrong = addresses[addresses.index(address) - 1]
        verdict = refusal(context.connection(wrong), accepting(server_ssl(leaf(address)))).verdict
        assert (verdict.host, verdict.reason) == (wrong, Reason.OPENSSL)
    gc.collect()
    for address in addresses:
        nameless = SSL.Connection(context, None)
        nameless.set_connect_state()
        verdict = refusal(nameless, accepting(server_ssl(leaf(address)))).verdict
        assert (verdict.host, verdict.reason) == (None, Reason.NO_REFERENCE)
