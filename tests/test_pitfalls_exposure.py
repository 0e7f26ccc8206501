# SPDX-License-Identifier: Apache-2.0
"""How pinning failed elsewhere: in what a server got to see that fails (P13)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from pinned import ABSENT, HOST, both_versions, open_pair, pinned, refusal
from support import Node, accepting, exchange, intermediate, leaf, root, server_ssl

from pinverify import PinSet, Reason, client_context


class Recorded(SSL.Connection):
    """A connection over memory BIOs that keeps what it has sent."""

    wire = b""

    def bio_read(self, bufsiz: int) -> bytes:
        data = super().bio_read(bufsiz)
        self.wire += data
        return data


@contextmanager
def curious(server: Node, version: int) -> Iterator[tuple[SSL.Context, list[bytes]]]:
    """A server's context that asks for a certificate, and those that it got."""

    context, seen = server_ssl(server, version=version), list[bytes]()

    def note(connection: SSL.Connection, certificate: Any, error: int, depth: int, ok: int) -> bool:
        seen.append(certificate.to_cryptography().public_bytes(Encoding.DER))
        return True

    context.set_verify(SSL.VERIFY_PEER, note)
    yield context, seen


FAILING = {  # the policy, the trust anchor, the host, and why the server fails
    "pin": ([ABSENT], "root", HOST, Reason.NOT_PINNED),
    "name": ([leaf(HOST).pin], "root", "www.example.com", Reason.OPENSSL),
    "CA": ([leaf(HOST).pin], "another root", HOST, Reason.OPENSSL),
    "denied": (PinSet([leaf(HOST).pin], deny=[root().pin]), "root", HOST, Reason.DENIED),
}


@pytest.mark.parametrize(("pins", "anchor", "host", "reason"), FAILING.values(), ids=FAILING)
@both_versions
def test_p13_a_server_that_fails_gets_neither_certificate_nor_data(
    version: int, pins: Any, anchor: str, host: str, reason: Reason
) -> None:
    """A server that fails gets a ClientHello and an alert, though it asks for a certificate."""
    device = intermediate("clients").issue()
    context = client_context({host: pins}, trust=root(anchor).certificate, identity=device.identity)
    with curious(leaf(HOST), version) as (plain, seen):
        client, server = Recorded(context, None), accepting(plain)
        client.set_tlsext_host_name(host.encode())
        client.set_connect_state()
        assert refusal(client, server).verdict.reason is reason
        with pytest.raises(SSL.Error):
            client.send(b"secret")
        with suppress(SSL.WantReadError):
            server.bio_write(client.bio_read(1 << 20))
        with pytest.raises(SSL.Error):
            server.recv(100)
    assert (seen, server.get_peer_certificate()) == ([], None)
    hello = 5 + int.from_bytes(client.wire[3:5], "big")
    assert len(client.wire) - hello < 64 < len(device.der)


@both_versions
def test_p13_a_server_that_passes_gets_both(version: int) -> None:
    """The same server gets both when it passes, so that the test above shows something."""
    device = intermediate("clients").issue()
    with curious(leaf(HOST), version) as (plain, seen):
        client, server = open_pair(pinned(identity=device.identity), plain)
        assert exchange(client, server) == b"ping"
    assert device.der in seen
