# SPDX-License-Identifier: Apache-2.0
"""Hostile peers: Certificate messages that are none, and messages left out, doubled and out of turn."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
from hostile import (
    answering,
    assert_broken_off,
    assert_cut_off,
    assert_outcome,
    both_roles,
    device,
    usual,
)
from hostile_script import (
    CERTIFICATE,
    CERTIFICATE_VERIFY,
    COMPRESSED_CERTIFICATE,
    FINISHED,
    NEW_SESSION_TICKET,
    SERVER_KEY_EXCHANGE,
    Hostile,
    Script,
    certificate_message,
    honest,
    instead_of,
    meet,
    message_of,
)
from OpenSSL import SSL
from pinned import ABSENT, HOST, both_versions, pinned, raw
from support import PATIENCE, Background, client_ssl, leaf, server_ssl

import pinverify
from pinverify import Pin, Reason

KEY_UPDATE, UNKNOWN = 24, 99
PROOFS = (SERVER_KEY_EXCHANGE, CERTIFICATE_VERIFY)  # a server's signature is in the one or in the other

Make = Callable[[int], Script]


def good(version: int) -> bytes:
    """The Certificate message of the peer whose leaf is pinned."""
    return listing(leaf(HOST).der, intermediate_der())(version)


def intermediate_der() -> bytes:
    above = leaf(HOST).issuer
    assert above is not None
    return above.der


def listing(*ders: bytes) -> Callable[[int], bytes]:
    return lambda version: certificate_message(ders, version)


def replaced(*messages: Callable[[int], bytes] | bytes) -> Make:
    """Other messages in place of the Certificate."""
    return lambda version: instead_of(
        CERTIFICATE, *(message if isinstance(message, bytes) else message(version) for message in messages)
    )


def without(*kinds: int) -> Make:
    """Messages left out, with a Finished that is right over the others."""
    return lambda version: lambda message: [] if message[0] in kinds else [message]


def body(change: Callable[[bytes], bytes]) -> Make:
    """The Certificate message with another body, under a header that is right for it."""
    return lambda version: instead_of(CERTIFICATE, message_of(CERTIFICATE, change(good(version)[4:])))


def compressed(version: int) -> bytes:
    """The Certificate message as RFC 8879 4 has it compressed by zlib."""
    plain = good(version)[4:]
    packed = zlib.compress(plain)
    lengths = b"\x00\x01" + len(plain).to_bytes(3, "big") + len(packed).to_bytes(3, "big")
    return message_of(COMPRESSED_CERTIFICATE, lengths + packed)


def after_its_signature(version: int) -> Script:
    def script(message: bytes) -> list[bytes]:
        if message[0] in PROOFS:
            return [message, good(version)]
        return [] if message[0] == CERTIFICATE else [message]

    return script


def empty_and_unsigned(version: int) -> Script:
    """What a client sends that has no certificate to show."""
    empty = instead_of(CERTIFICATE, certificate_message([], version))
    return lambda message: [] if message[0] in PROOFS else list(empty(message))


def wrong_finished(version: int) -> Script:
    return lambda message: [message[:-1] + bytes([message[-1] ^ 1])] if message[0] == FINISHED else [message]


class Case(NamedTuple):
    """A script; what OpenSSL says of it; and whether the peer's certificate has been accepted by then."""

    make: Make
    words: str
    is_judged: bool = False


LEAF = leaf(HOST).der
CASES = {
    "none": Case(replaced(), "unexpected message"),
    "twice": Case(replaced(good, good), "unexpected message", True),
    "an empty list": Case(replaced(listing()), ""),
    "an empty list and no signature": Case(empty_and_unsigned, ""),
    "an empty entry": Case(replaced(listing(b"")), "ASN1"),
    "an empty entry behind the leaf": Case(replaced(listing(LEAF, b"")), "ASN1"),
    "garbage": Case(replaced(listing(b"garbage" * 40)), "ASN1"),
    "garbage behind the leaf": Case(replaced(listing(LEAF, b"garbage" * 40)), "ASN1"),
    "an octet too many in the leaf": Case(replaced(listing(LEAF + b"\x00")), "length mismatch"),
    "an octet too few in the leaf": Case(replaced(listing(LEAF[:-1])), "asn1"),
    "an octet behind the list": Case(body(lambda octets: octets + b"\x00"), "length mismatch"),
    "a list cut short": Case(body(lambda octets: octets[:-1]), "length mismatch"),
    "no list": Case(body(lambda octets: b""), ""),
    "neither certificate nor signature": Case(without(CERTIFICATE, *PROOFS), "unexpected message"),
    "no signature": Case(without(*PROOFS), "unexpected message", True),
    "certificate behind its signature": Case(after_its_signature, "unexpected message"),
    "Finished in its place": Case(replaced(message_of(FINISHED, bytes(32))), "unexpected message"),
    "Finished ahead of it": Case(replaced(message_of(FINISHED, bytes(32)), good), "unexpected message"),
    "KeyUpdate ahead of it": Case(replaced(message_of(KEY_UPDATE, b"\x00"), good), "unexpected message"),
    "unknown message ahead of it": Case(replaced(message_of(UNKNOWN, b"?"), good), "unexpected message"),
    "a ticket in its place": Case(replaced(message_of(NEW_SESSION_TICKET, bytes(20))), "unexpected message"),
    "another Finished": Case(wrong_finished, "digest check failed", True),
}


@both_versions
@both_roles
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_peer_out_of_step_is_not_let_in(case: Case, version: int, is_server: bool) -> None:
    """OpenSSL ends such a handshake, though the peer has the pinned key, and no refusal of ours is made
    of it.
    """
    context = usual(leaf(HOST).pin, is_server)
    outcome = meet(context, Hostile(leaf(HOST), version, case.make(version)), is_server=is_server)
    assert_broken_off(outcome, case.words)
    assert (context.stats().accepted, context.stats().refused) == (case.is_judged, 0)


@both_versions
@both_roles
@pytest.mark.parametrize("make", [lambda version: honest, replaced(good)], ids=["as is", "replaced"])
def test_a_peer_in_step_is_let_in(make: Make, version: int, is_server: bool) -> None:
    """The same peer with the messages that are due, its own or those of the script."""
    peer = Hostile(leaf(HOST), version, make(version))
    assert_outcome(meet(usual(leaf(HOST).pin, is_server), peer, is_server=is_server), Reason.PINNED)


@both_versions
@both_roles
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.is_judged])
def test_a_peer_out_of_step_without_a_pinned_key_is_refused_for_that(
    name: str, version: int, is_server: bool
) -> None:
    """The certificate is judged before anything that follows it is looked at."""
    context = usual(ABSENT, is_server)
    outcome = meet(context, Hostile(leaf(HOST), version, CASES[name].make(version)), is_server=is_server)
    assert_outcome(outcome, Reason.NOT_PINNED)


@both_versions
@both_roles
def test_a_message_in_records_of_one_octet_is_judged_like_any_other(version: int, is_server: bool) -> None:
    """How a Certificate message is cut into records changes nothing."""
    for pin, expected in ((leaf(HOST).pin, Reason.PINNED), (ABSENT, Reason.NOT_PINNED)):
        peer = Hostile(leaf(HOST), version, honest, record_size=1)
        assert_outcome(meet(usual(pin, is_server), peer, is_server=is_server), expected)


# -- What the peer hears --


def heard_from(context: SSL.Context, peer: Hostile, is_server: bool) -> str:
    """What a peer makes of the alert that it gets, or of what else ends its handshake (RFC 8446 6.2)."""
    near, far = socket.socketpair()
    with near, far:
        running = Background(partial(peer.run, far, not is_server))
        connection = answering(context, near) if is_server else raw(context, near)
        error = Background(connection.do_handshake).exception(PATIENCE)
        assert isinstance(error, SSL.Error)
        near.shutdown(socket.SHUT_WR)  # the peer may still have something to say, ahead of what it reads
        running.result(PATIENCE)
    return str(peer.error)


def plain(is_server: bool) -> SSL.Context:
    """A plain pyOpenSSL context that asks for a certificate and takes any."""
    context = server_ssl(leaf(HOST)) if is_server else client_ssl(device())
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    return context


ALERTS = {
    "unexpected_message",
    "decode_error",
    "decrypt_error",
    "bad_certificate",
    "handshake_failure",
    "certificate_required",
}


@both_versions
@both_roles
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_p19_a_peer_out_of_step_gets_the_alert_that_openssl_sends(
    case: Case, version: int, is_server: bool
) -> None:
    """A pinned connection keeps back no alert that a plain one sends in its place."""
    alerts = [
        heard_from(context, Hostile(leaf(HOST), version, case.make(version)), is_server)
        for context in (plain(is_server), usual(leaf(HOST).pin, is_server))
    ]
    assert alerts[0] == alerts[1]
    assert alerts[0] in ALERTS


# -- Compression of certificates, RFC 8879 --

ZLIB = 1


def compressions(client_hello: bytes) -> set[int]:
    """The compressions that a ClientHello, in one record, offers to read (RFC 8446 4.1.2, RFC 8879 3)."""
    at = 5 + 4 + 2 + 32  # behind the headers of record and message, the version and the random
    for size in (1, 2, 1):  # session, ciphers and compressions of records
        at += size + int.from_bytes(client_hello[at : at + size], "big")
    at += 2
    extensions = {}
    while at < len(client_hello):
        size = int.from_bytes(client_hello[at + 2 : at + 4], "big")
        extensions[int.from_bytes(client_hello[at : at + 2], "big")] = client_hello[at + 4 : at + 4 + size]
        at += 4 + size
    assert HOST.encode() in extensions[0]  # the server's name: the walk has gone through
    return {*extensions.get(27, b"")[2::2]}


def hello() -> bytes:
    """The ClientHello of a pinned client."""
    client = raw(pinned())
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    return client.bio_read(1 << 16)


@both_versions
@both_roles
@pytest.mark.parametrize("pin", [leaf(HOST).pin, ABSENT], ids=["pinned", "not pinned"])
def test_a_compressed_certificate_is_judged_where_it_was_asked_for(
    pin: Pin, version: int, is_server: bool
) -> None:
    """An OpenSSL that offers compression has what it unpacks judged; from any other, as cryptography's wheels
    have it, a compressed certificate comes unasked and ends the handshake.
    """
    context = usual(pin, is_server)
    outcome = meet(context, Hostile(leaf(HOST), version, replaced(compressed)(version)), is_server=is_server)
    if ZLIB in compressions(hello()) and version == SSL.TLS1_3_VERSION:
        assert_outcome(outcome, Reason.NOT_PINNED if pin is ABSENT else Reason.PINNED)
    else:
        assert_broken_off(outcome, "unexpected message")
        assert context.stats().accepted == 0


# -- After the handshake --


@both_versions
@both_roles
@pytest.mark.parametrize("kind", [CERTIFICATE, FINISHED, UNKNOWN])
def test_a_message_that_comes_too_late_ends_the_connection(kind: int, version: int, is_server: bool) -> None:
    """A certificate that follows the handshake is not looked at, and the connection carries no more data."""
    message = certificate_message([leaf("other.test").der], version) if kind == CERTIFICATE else b""
    peer = Hostile(leaf(HOST), version, afterwards=message or message_of(kind, bytes(32)))
    near, far = socket.socketpair()
    with near, far:
        running = Background(partial(peer.run, far, not is_server))
        context = usual(leaf(HOST).pin, is_server)
        connection = answering(context, near) if is_server else raw(context, near)
        connection.do_handshake()
        assert pinverify.verdict(connection).reason is Reason.PINNED
        with pytest.raises(SSL.Error, match="unexpected message"):
            connection.recv(100)
        assert_cut_off(connection)
        near.shutdown(socket.SHUT_RDWR)
        running.result(PATIENCE)
    assert peer.data == b""
    assert (context.stats().accepted, context.stats().refused) == (1, 0)
