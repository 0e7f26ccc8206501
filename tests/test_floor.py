# SPDX-License-Identifier: Apache-2.0
"""Below which version and with which suites a pinned context never speaks, whatever a program asks for."""

from __future__ import annotations

from contextlib import suppress

import pytest
from OpenSSL import SSL
from OpenSSL._util import lib
from pinned import ABSENT, HOST, pinned, raw
from support import accepting, exchange, leaf, server_ssl, shake
from test_protocols import datagrams, dtls_server

import pinverify
from pinverify import PinnedContext, PinverifyError, Reason, server_context

DTLS1_BAD_VERSION, DTLS1, DTLS1_2 = 0x0100, 0xFEFF, 0xFEFD
OP_CISCO_ANYCONNECT = 0x8000  # lets a client speak DTLS1_BAD_VERSION


def contexts(dtls: bool) -> list[PinnedContext]:
    """A client's and a server's."""
    return [pinned(dtls=dtls), server_context(leaf(HOST).identity, clients=[ABSENT], dtls=dtls)]


# -- Versions --

# By dtls: what is below, or of the other protocol, which OpenSSL would ignore.
OLD, NEW = (SSL.SSL3_VERSION, SSL.TLS1_VERSION, SSL.TLS1_1_VERSION), (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
BELOW = {
    False: [0, 1, *OLD, -1, DTLS1_BAD_VERSION, DTLS1, DTLS1_2, 0xFEFC, 1 << 16 | SSL.TLS1_1_VERSION],
    True: [0, 1, -1, DTLS1_BAD_VERSION, *OLD, *NEW, 1 << 16 | DTLS1_2, 0xFFFF, 0xFF00, 0xFEFE, DTLS1],
}
NAMES = {False: "below TLS 1.2", True: "below DTLS 1.2"}
each_below = pytest.mark.parametrize(
    ("dtls", "version"), [(dtls, version) for dtls, versions in BELOW.items() for version in versions]
)


@each_below
def test_no_first_version_below_the_floor(dtls: bool, version: int) -> None:
    """The error has what was given, what would be right, and an example; 0 would mean the lowest."""
    for context in contexts(dtls):
        with pytest.raises(PinverifyError, match=NAMES[dtls]) as caught:
            context.set_min_proto_version(version)
        for words in (f"set_min_proto_version({version:#06x})", "as context.set_min_proto_version("):
            assert words in str(caught.value)


@each_below
def test_no_last_version_below_the_floor(dtls: bool, version: int) -> None:
    """No version at all would be left; 0 means the highest there is, and is taken."""
    for context in contexts(dtls):
        if version == 0:
            context.set_max_proto_version(version)
            continue
        with pytest.raises(PinverifyError, match=NAMES[dtls]):
            context.set_max_proto_version(version)


def old_server(dtls: bool) -> SSL.Connection:
    """A server that knows TLS 1.0 and 1.1, or DTLS 1.0, and nothing above."""
    context = dtls_server(leaf(HOST)) if dtls else server_ssl(leaf(HOST))
    context.set_min_proto_version(DTLS1 if dtls else SSL.TLS1_VERSION)
    context.set_max_proto_version(DTLS1 if dtls else SSL.TLS1_1_VERSION)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    return datagrams(accepting(context)) if dtls else accepting(context)


def asked_for_less(dtls: bool, options: int) -> PinnedContext:
    """A client's context that has been asked in every way to go below the floor."""
    context = pinned(dtls=dtls)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    for version in BELOW[dtls]:
        for ask in (context.set_min_proto_version, context.set_max_proto_version):
            with suppress(PinverifyError, SSL.Error, OverflowError):
                ask(version)
    context.set_options(options | SSL.OP_NO_QUERY_MTU | OP_CISCO_ANYCONNECT)
    return context


OPTIONS = {
    "none": 0,
    "without 1.2": SSL.OP_NO_TLSv1_2,
    "without 1.3": SSL.OP_NO_TLSv1_3,
    "without either": SSL.OP_NO_TLSv1_2 | SSL.OP_NO_TLSv1_3,
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("dtls", [False, True], ids=["TLS", "DTLS"])
def test_an_old_server_gets_no_handshake(dtls: bool, options: int) -> None:
    """Whatever a program asks for, no connection speaks a version below the floor; a plain one would."""
    client = raw(asked_for_less(dtls, options))
    error, _ = shake(datagrams(client) if dtls else client, old_server(dtls))
    assert isinstance(error, SSL.Error)
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(client)


@pytest.mark.parametrize("dtls", [False, True], ids=["TLS", "DTLS"])
def test_the_old_server_talks_to_a_plain_client(dtls: bool) -> None:
    """The server of the test below is one that can be talked to."""
    context = SSL.Context(SSL.DTLS_CLIENT_METHOD if dtls else SSL.TLS_CLIENT_METHOD)
    context.set_options(SSL.OP_NO_QUERY_MTU)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.set_min_proto_version(0)
    client = raw(context)
    assert shake(datagrams(client) if dtls else client, old_server(dtls)) == (None, None)
    assert client.get_protocol_version() in (DTLS1, SSL.TLS1_1_VERSION)


@pytest.mark.parametrize(
    ("dtls", "version", "name"),
    [
        (False, SSL.TLS1_2_VERSION, "TLSv1.2"),
        (False, SSL.TLS1_3_VERSION, "TLSv1.3"),
        (True, DTLS1_2, "DTLSv1.2"),
    ],
)
def test_versions_at_the_floor_and_above_are_taken(dtls: bool, version: int, name: str) -> None:
    """As the first and the last version at once they are what is spoken."""
    context = pinned(dtls=dtls)
    context.set_options(SSL.OP_NO_QUERY_MTU)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    client, far = raw(context), accepting(dtls_server(leaf(HOST)) if dtls else server_ssl(leaf(HOST)))
    assert shake(*map(datagrams, (client, far)) if dtls else (client, far)) == (None, None)
    assert client.get_protocol_version_name() == name
    assert pinverify.verdict(client).reason is Reason.PINNED


def test_what_is_no_version_is_no_version() -> None:
    """What is no number is a TypeError, as pyOpenSSL has it."""
    for ask in (pinned().set_min_proto_version, pinned().set_max_proto_version):
        with pytest.raises(TypeError):
            ask("TLSv1.2")


# -- Suites of TLS 1.3 --

needs_suites = pytest.mark.skipif(
    not hasattr(SSL.Context, "set_tls13_ciphersuites"), reason="pyOpenSSL has it from 25.2 on"
)
BAD_SUITES = [
    b"TLS_SHA256_SHA256",  # RFC 9150: integrity alone
    b"TLS_SHA384_SHA384",
    b"tls_sha256_sha256",
    b"TLS_Sha384_Sha384",
    b"TLS_AES_128_GCM_SHA256:TLS_SHA256_SHA256",
    b"TLS_SHA256_SHA256:TLS_AES_128_GCM_SHA256",
    b"::TLS_SHA256_SHA256:",
    b" TLS_SHA256_SHA256",
    b"\tTLS_AES_128_GCM_SHA256\n:\r\n\x0b\x0cTLS_SHA256_SHA256 ",
    b"TLS_SHA256_SHA256\0",
    b"TLS_AES_128_GCM_SHA256\0:TLS_AES_256_GCM_SHA384",
    b"TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384",
    b"TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384",
    b"ECDHE-ECDSA-NULL-SHA",
    b"TLS_ECDHE_ECDSA_WITH_NULL_SHA",  # OpenSSL 3 found those of TLS 1.2 too
    b"TLS_ECDH_anon_WITH_AES_128_CBC_SHA",
    b"TLS_PSK_WITH_AES_128_GCM_SHA256",
    b"TLS_FALLBACK_SCSV",
    b"TLS_AES_512_GCM_SHA512",
    b"eNULL",
    b"\xff",
    b"A" * 100,
]


@needs_suites
@pytest.mark.parametrize("suites", BAD_SUITES)
def test_p16_no_suite_without_encryption(suites: bytes) -> None:
    """A list with a suite that does not encrypt, or is none of TLS 1.3, is refused, and changes nothing."""
    for context in contexts(False):
        with pytest.raises(PinverifyError, match=r"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256'"):
            context.set_tls13_ciphersuites(suites)
        offered = SSL.Connection(context, None).get_cipher_list()
        assert offered == SSL.Connection(contexts(False)[0], None).get_cipher_list()


@needs_suites
def test_p16_nothing_is_sent_in_the_clear() -> None:
    """A server that speaks nothing but such a suite gets no handshake, not even at security level 0."""
    context, server = pinned(), server_ssl(leaf(HOST), version=SSL.TLS1_3_VERSION)
    for end in (context, server):
        end.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    if lib.SSL_CTX_set_ciphersuites(server._context, b"TLS_SHA256_SHA256") != 1:
        pytest.skip("this OpenSSL has no suites of RFC 9150")
    with pytest.raises(PinverifyError, match="encrypts"):
        context.set_tls13_ciphersuites(b"TLS_SHA256_SHA256")
    error, _ = shake(raw(context), accepting(server))
    assert isinstance(error, SSL.Error)


SUITES = [b"TLS_AES_128_GCM_SHA256", b"tls_chacha20_poly1305_sha256", b" : TLS_AES_256_GCM_SHA384\n:"]


@needs_suites
@pytest.mark.parametrize("suites", SUITES)
def test_suites_that_encrypt_are_taken(suites: bytes) -> None:
    """A good name is taken as OpenSSL takes it, and is what is spoken."""
    context = pinned()
    context.set_tls13_ciphersuites(suites)
    client, far = raw(context), accepting(server_ssl(leaf(HOST), version=SSL.TLS1_3_VERSION))
    assert shake(client, far) == (None, None)
    assert client.get_cipher_name() == suites.strip(b" :\n").decode().upper()
    assert exchange(client, far) == b"ping"


@needs_suites
def test_no_suite_of_tls_1_3_leaves_those_of_tls_1_2() -> None:
    """An empty list is taken, as pyOpenSSL takes it; what is no bytes is its TypeError."""
    context = pinned()
    context.set_tls13_ciphersuites(b"")
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    client, far = raw(context), accepting(server_ssl(leaf(HOST), version=SSL.TLS1_2_VERSION))
    assert shake(client, far) == (None, None)
    with pytest.raises(TypeError):
        pinned().set_tls13_ciphersuites("TLS_AES_128_GCM_SHA256")


def test_an_older_pyopenssl_has_no_suites_of_tls_1_3_to_set() -> None:
    """The method is there if `Context` has it, and only then."""
    name = "set_tls13_ciphersuites"
    assert hasattr(PinnedContext, name) == hasattr(SSL.Context, name)
