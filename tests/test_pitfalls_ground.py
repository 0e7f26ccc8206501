# SPDX-License-Identifier: Apache-2.0
"""How pinning failed elsewhere: in what the check stands on, certificates and memory (P16, P17)."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
from OpenSSL import SSL
from pinned import ABSENT, HOST, both_versions, pinned, raw
from support import accepting, client_ssl, leaf, server_ssl, shake

from pinverify import (
    PinnedContext,
    PinRefused,
    server_context,
)

# -- P16: suites without certificates --


WITHOUT_CERTIFICATES = ("ADH", "AECDH", "PSK", "SRP", "NULL")


@pytest.mark.parametrize("asked", [None, b"ALL:COMPLEMENTOFALL:@SECLEVEL=0", b"aNULL:HIGH", b"PSK:HIGH"])
def test_p16_no_suite_goes_without_certificates(asked: bytes | None) -> None:
    """Neither by default nor when they are asked for are there anonymous, PSK, SRP or unencrypted suites."""
    for context in (pinned(), server_context(leaf(HOST).identity, clients=[ABSENT])):
        if asked is not None:
            context.set_cipher_list(asked)
        names = SSL.Connection(context, None).get_cipher_list()
        assert names
        assert not [name for name in names if any(part in name for part in WITHOUT_CERTIFICATES)]


@pytest.mark.parametrize("asked", [b"aNULL", b"PSK", b"eNULL"])
def test_p16_a_list_of_nothing_else_is_an_error(asked: bytes) -> None:
    """A list of which nothing is left is refused where it is given."""
    with pytest.raises(SSL.Error):
        pinned().set_cipher_list(asked)


def test_p16_an_anonymous_server_is_not_talked_to() -> None:
    """With a server that offers nothing but anonymous suites there is no handshake."""
    anonymous = SSL.Context(SSL.TLS_SERVER_METHOD)
    anonymous.set_max_proto_version(SSL.TLS1_2_VERSION)
    anonymous.set_cipher_list(b"aNULL@SECLEVEL=0")
    error, _ = shake(raw(pinned()), accepting(anonymous))
    assert isinstance(error, SSL.Error)
    plain = client_ssl()
    plain.set_cipher_list(b"aNULL@SECLEVEL=0")
    assert shake(raw(plain), accepting(anonymous)) == (None, None)  # a plain client would have talked to it


# -- P17: lifetimes --


def leave(context: PinnedContext) -> SSL.Connection:
    return raw(context)


def replace_callback(context: PinnedContext) -> SSL.Connection:
    client = raw(context)
    client.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    return client


def replace_context(context: PinnedContext) -> SSL.Connection:
    client = raw(context)
    client.set_context(client_ssl())
    return client


def replace_both(context: PinnedContext) -> SSL.Connection:
    client = replace_callback(context)
    client.set_context(client_ssl())
    return client


def with_cookies(context: PinnedContext) -> SSL.Connection:
    context.set_cookie_generate_callback(lambda connection: b"cookie")
    context.set_cookie_verify_callback(lambda connection, cookie: True)
    return replace_both(context)


MADE = (leave, replace_callback, replace_context, replace_both, with_cookies)


@both_versions
@pytest.mark.parametrize("steps", range(3), ids=["before it", "after the first flight", "in the middle"])
@pytest.mark.parametrize("make", MADE, ids=lambda value: value.__name__)
def test_p17_a_context_dropped_in_mid_handshake_still_guards(
    make: Callable[[PinnedContext], SSL.Connection], steps: int, version: int
) -> None:
    """The connection holds all that its guard needs, to its end and no longer."""
    for pin, is_accepted in ((None, True), (ABSENT, False)):
        context = pinned(pin=pin)
        guard, wholly = weakref.ref(context._guard), weakref.ref(context)
        client, server = make(context), accepting(server_ssl(leaf(HOST), version=version))
        if steps:
            with pytest.raises(SSL.WantReadError):
                client.do_handshake()
        if steps == 2:
            server.bio_write(client.bio_read(1 << 16))
            with pytest.raises(SSL.WantReadError):
                server.do_handshake()
            client.bio_write(server.bio_read(600))
        del context
        gc.collect()
        assert guard() is not None
        outcome = [type(error) for error in shake(client, server)]
        assert (outcome[0] is type(None)) == is_accepted
        assert issubclass(outcome[0], (SSL.Error, type(None)))
        del client
        gc.collect()
        assert guard() is None
        assert wholly() is None


def test_p17_a_guard_goes_with_its_last_connection() -> None:
    """Memory is given back at once, and does not wait for the collector."""
    gc.collect()
    gc.disable()
    try:
        context = pinned()
        guard = weakref.ref(context._guard)
        client = raw(context)
        del context
        assert guard() is not None
        del client
        assert guard() is None
    finally:
        gc.enable()


def test_p17_many_contexts_come_and_go() -> None:
    """Contexts dropped while their connections live leave neither wrong verdicts nor memory behind."""
    connections = []
    for number in range(50):
        pin = None if number % 2 else ABSENT
        connections.append((pin, raw(pinned(pin=pin))))
    gc.collect()
    server = server_ssl(leaf(HOST))
    for pin, client in reversed(connections):
        error, _ = shake(client, accepting(server))
        assert isinstance(error, PinRefused) if pin else error is None
