# SPDX-License-Identifier: Apache-2.0
"""Pinned clients for the tests, and handshakes of theirs over memory BIOs."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from OpenSSL import SSL
from support import accepting, leaf, root, shake

from pinverify import Pin, PinnedContext, PinRefused, Policy, client_context
from pinverify.trust import load_anchors

HOST = "api.example.com"
ABSENT = Pin(bytes(32))  # nobody's
VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}
both_versions = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)


def pinned(host: str = HOST, pin: Pin | None = None, **options: Any) -> PinnedContext:
    """A client context for one host, whose leaf is pinned unless another pin is given."""
    return client_context({host: [pin or leaf(host).pin]}, trust=root().certificate, **options)


def without_a_ca(policy: Policy) -> PinnedContext:
    """A pins-only client context, also of a policy that `client_context` refuses there: the guard must hold
    by itself.
    """
    return PinnedContext(
        policy,
        load_anchors("pins"),
        is_server=False,
        pins_only=True,
        dtls=False,
        minimum_version=None,
        on_violation=lambda verdict: None,
    )


def raw(context: SSL.Context, sock: socket.socket | None = None, host: str = HOST) -> SSL.Connection:
    """A client connection made in the way of pyOpenSSL alone."""
    connection = SSL.Connection(context, sock)
    connection.set_tlsext_host_name(host.encode())
    connection.set_connect_state()
    return connection


def open_pair(context: PinnedContext, server: SSL.Context) -> tuple[SSL.Connection, SSL.Connection]:
    """Both ends of a connection over memory BIOs, the client's first, with their handshake done."""
    ends = raw(context), accepting(server)
    assert shake(*ends) == (None, None)
    return ends


def refusal(client: SSL.Connection, server: SSL.Connection) -> PinRefused:
    """What the client's end raises in a handshake that it refuses."""
    error, _ = shake(client, server)
    assert isinstance(error, PinRefused)
    return error
