# SPDX-License-Identifier: Apache-2.0
"""What cannot be right: a typed error that says what, where, and what would be right; never an accept."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from pinned import ABSENT, HOST, pinned, raw, refusal
from support import accepting, client_ssl, leaf, make_node, new_key, root, server_ssl, shake

import pinverify
from pinverify import (
    InvalidHost,
    InvalidIdentity,
    InvalidPin,
    InvalidPolicy,
    InvalidTrust,
    MalformedCertificate,
    Pin,
    PinverifyError,
    Policy,
    Reason,
    client_context,
    server_context,
    spki_sha256,
)

LEAF = leaf(HOST)
PINS = {HOST: [LEAF.pin]}
TEXT = str(LEAF.pin)
BINARY = bytes(range(256)) * 40


def context(**options: Any) -> SSL.Context:
    return client_context(**{"policy": PINS, "trust": "pins", **options})


def server(identity: Any, clients: Any = (ABSENT,)) -> SSL.Context:
    return server_context(identity, clients=clients)


# What is given; the error that it is; and words of the message: what is wrong, where, what would be right.
POLICIES: dict[str, tuple[Any, type[Exception], list[str]]] = {
    "no mapping": ("a.test", InvalidPolicy, ["hosts is 'a.test'", "mapping from patterns to pins"]),
    "no host": ({}, InvalidPolicy, ["without hosts", "name at least one"]),
    "no pin": ({HOST: []}, InvalidPin, [f"entry '{HOST}'", "never means that all are", "at least one"]),
    "no list": ({HOST: TEXT}, InvalidPin, [f"entry '{HOST}'", "put pins in a list"]),
    "short": ({HOST: ["sha256/" + "A" * 39 + "="]}, InvalidPin, [f"entry '{HOST}'", "32"]),
    "long": ({HOST: ["sha256/" + "A" * 44]}, InvalidPin, [f"entry '{HOST}'", "32"]),
    "no padding": ({HOST: [TEXT[:-1]]}, InvalidPin, [f"entry '{HOST}'", "padding"]),
    "alphabet": ({HOST: ["sha256/" + "!" * 43 + "="]}, InvalidPin, [f"entry '{HOST}'", "base64"]),
    "SHA-1": ({HOST: ["sha1/" + "A" * 27 + "="]}, InvalidPin, [f"entry '{HOST}'", "SHA1", "only SHA-256"]),
    "no text": ({HOST: [bytes(32)]}, InvalidPin, [f"entry '{HOST}'", "Pin(digest)"]),
    "a certificate": ({HOST: [LEAF.pem]}, InvalidPin, [f"entry '{HOST}'", "is not the text of a pin"]),
    "URL": ({"https://a.test": [TEXT]}, InvalidPolicy, ["entry 'https://a.test'", "URL scheme", "not a URL"]),
    "port": ({"a.test:443": [TEXT]}, InvalidPolicy, ["entry 'a.test:443'", "without a port"]),
    "NUL": ({"a.test\0.b.test": [TEXT]}, InvalidPolicy, ["NUL at character 7", "a host name alone"]),
    "wildcard": ({"a.*.test": [TEXT]}, InvalidPolicy, ["misplaced wildcard at character 3", "first label"]),
    "twice": ({"a.test": [TEXT], "A.test.": [TEXT]}, InvalidPolicy, ["are the same pattern, 'a.test'"]),
}
HOSTS: dict[str, tuple[Any, list[str]]] = {
    "URL": ("https://a.test/x", ["URL scheme at character 6", "a host name alone"]),
    "port": ("a.test:443", ["port at character 7", "without a port"]),
    "NUL": ("a.test\0.b.test", ["NUL at character 7"]),
    "path": ("a.test/x", ["path at character 7"]),
    "user": ("me@a.test", ["user name"]),
    "pattern": ("*.a.test", ["wildcard"]),
    "white space": ("a.test ", ["white space at character 7"]),
    "empty": ("", ["it is empty"]),
    "empty label": ("a..test", ["label 2 is empty"]),
    "too long": ("a" * 64 + ".test", ["label 1 has 64 octets", "63"]),
    "zone": ("fe80::1%eth0", ["zone", "without zone"]),
    "no address": ("300.1.1.1", ["no IPv4 address"]),
    "no text": (None, ["a str was expected"]),
}
OPTIONS: dict[str, tuple[dict[str, Any], type[Exception], list[str]]] = {
    "a protocol alone": ({"alpn": "h2"}, InvalidPolicy, ["alpn='h2'", "a list", "['h2']"]),
    "an empty protocol": ({"alpn": [""]}, InvalidPolicy, ["alpn has ''", "1 to 255 octets"]),
    "a long protocol": ({"alpn": ["h" * 256]}, InvalidPolicy, ["256 in all", "1 to 255 octets"]),
    "no protocol": ({"alpn": [2]}, InvalidPolicy, ["alpn has 2", "str or bytes"]),
    "an old version": ({"minimum_version": "TLSv1.1"}, InvalidPolicy, ["'TLSv1.1'", "'TLSv1.2', 'TLSv1.3'"]),
    "TLS for datagrams": (
        {"minimum_version": "TLSv1.3", "dtls": True},
        InvalidPolicy,
        ["'TLSv1.3'", "'DTLSv1.2'"],
    ),
    "no function": (
        {"on_violation": "log"},
        InvalidPolicy,
        ["on_violation='log'", "a function of a Verdict"],
    ),
    "no pins": ({"policy": {HOST: None}}, InvalidPin, [f"entry '{HOST}'", "allow is None"]),
}


def says(error: BaseException, words: list[str]) -> bool:
    """Whether the message is of one readable line, and has all these words."""
    text = str(error)
    return all(word in text for word in words) and len(text) < 500 and text.isprintable()


@pytest.mark.parametrize(("hosts", "error", "words"), POLICIES.values(), ids=POLICIES)
def test_a_bad_policy(hosts: Any, error: type[Exception], words: list[str]) -> None:
    """The error comes when the policy is made, and names the entry."""
    for make in (Policy, lambda hosts: client_context(hosts, trust="pins")):
        with pytest.raises(error) as caught:
            make(hosts)
        assert says(caught.value, words), str(caught.value)


@pytest.mark.parametrize(("host", "words"), HOSTS.values(), ids=HOSTS)
def test_a_bad_host(host: Any, words: list[str]) -> None:
    """The error comes before there is a connection, wherever a host is asked for."""
    calls: list[Callable[[], object]] = [
        lambda: pinned().connection(host),
        lambda: Policy(PINS).decide(host, []),
        lambda: Policy(PINS).entry(host),
    ]
    for call in calls:
        with pytest.raises(InvalidHost) as caught:
            call()
        assert says(caught.value, words), str(caught.value)


@pytest.mark.parametrize(("options", "error", "words"), OPTIONS.values(), ids=OPTIONS)
def test_a_bad_option(options: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    """The error names the option and what it may be."""
    with pytest.raises(error) as caught:
        context(**options)
    assert says(caught.value, words), str(caught.value)


@pytest.mark.parametrize("clients", [[], None, TEXT, ["sha256/AAAA"]], ids=repr)
def test_bad_pins_of_clients(clients: Any) -> None:
    """A server without pins would let everybody in: it cannot be made."""
    with pytest.raises(InvalidPin):
        server(LEAF.identity, clients)


# -- Files and certificates --

MISSING = "/nonexistent/ca.pem"
TRUST: dict[str, tuple[Any, list[str]]] = {
    "missing file": (MISSING, [f"trust='{MISSING}'", "No such file", "PEM file or directory"]),
    "empty name": ("", ["trust='' is no path", '"system", "pins"']),
    "a word": ("pin", ["trust='pin'", '"system", "pins"']),
    "NUL": ("a\0b", ["is no path"]),
    "PEM as text": (LEAF.pem.decode(), ["<PEM>", "PEM as bytes"]),
    "nothing": ([], ["no certificate", 'trust="pins"']),
    "None": (None, ["trust is None", '"system", "pins"']),
    "a number": ([7], ["holds 7", "PEM, DER or objects"]),
    "binary": (BINARY, [f"{len(BINARY)} bytes", "not a certificate"]),
    "truncated": (LEAF.der[:-1], ["not a certificate"]),
    "trailing": (LEAF.der + b"\0", ["not a certificate"]),
    "half a PEM": (LEAF.pem[:200], ["cannot be read"]),
    "one of two": ([LEAF.pem, b"junk"], ["4 bytes", "not a certificate"]),
}


@pytest.mark.parametrize(("trust", "words"), TRUST.values(), ids=TRUST)
def test_bad_trust(trust: Any, words: list[str]) -> None:
    """The error comes when the context is made; it never ends in one that trusts nobody, or everybody."""
    with pytest.raises(InvalidTrust) as caught:
        context(trust=trust)
    assert says(caught.value, words), str(caught.value)


FILES = {"empty": b"", "binary": BINARY, "a key": LEAF.key_pem, "half": LEAF.pem[:200]}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_bad_file(content: bytes, tmp_path: Path) -> None:
    """A file without what is wanted of it is named, as anchors, as a directory of them and as an identity."""
    path = tmp_path / "given.pem"
    path.write_bytes(content)
    for trust in (path, str(path), tmp_path):
        with pytest.raises(InvalidTrust, match=re.escape(str(trust))):
            context(trust=trust)
    with pytest.raises(InvalidIdentity, match=re.escape(str(path))):
        server(path)


SECRET = LEAF.key_pem.decode().splitlines()[1]
OTHER = leaf("other.test")
IDENTITIES: dict[str, tuple[Any, list[str]]] = {
    "another key": ((LEAF.sent, OTHER.key), [f"CN={HOST}", "is not the one", "the leaf comes first"]),
    "another kind of key": ((LEAF.sent, new_key("Ed25519")), [f"CN={HOST}", "is not the one"]),
    "wrong order": ((LEAF.chain[::-1], LEAF.key), ["CN=root", "the leaf comes first"]),
    "missing file": (MISSING, [MISSING, "No such file"]),
    "no key": (LEAF.pem, ["no usable PEM private key"]),
    "no chain": (LEAF.key_pem, ["no PEM certificate chain"]),
    "empty chain": (([], LEAF.key), ["no certificate chain", "PEM file, PEM bytes"]),
    "DER": ((LEAF.der, LEAF.key_pem), ["no PEM certificate chain"]),
    "half a key": ((LEAF.pem, LEAF.key_pem[:60]), ["no usable PEM private key"]),
    "a number": (7, ["no certificate chain"]),
}


@pytest.mark.parametrize(("identity", "words"), IDENTITIES.values(), ids=IDENTITIES)
def test_a_bad_identity(identity: Any, words: list[str]) -> None:
    """A chain and key that cannot be had, or do not belong together, are known when the context is made."""
    for make in (server, lambda identity: context(identity=identity)):
        with pytest.raises(InvalidIdentity) as caught:
            make(identity)
        assert says(caught.value, words), str(caught.value)
        assert SECRET not in str(caught.value)


LONG = b"\x30\x84\x00\x98\x96\x80" + bytes(10_000_000)  # a SEQUENCE of ten million octets
NO_CERTIFICATES = {
    "empty": b"",
    "binary": BINARY,
    "truncated": LEAF.der[:-1],
    "trailing": LEAF.der + b"\0",
    "10 MB": LONG,
    "10 MB of zeros": bytes(10_000_000),
}


@pytest.mark.parametrize("der", NO_CERTIFICATES.values(), ids=NO_CERTIFICATES)
def test_what_is_no_certificate(der: bytes) -> None:
    """It has no pin and no hash, and a chain with it is refused, whatever else is in it."""
    for function in (spki_sha256, Pin.from_certificate, lambda der: Pin.from_certificate(der, kind="cert")):
        with pytest.raises(MalformedCertificate, match="not a certificate"):
            function(der)
    for chain in ([der], [OTHER.der, der, LEAF.der]):
        verdict = Policy(PINS).decide(HOST, chain)
        assert (verdict.accepted, verdict.reason) == (False, Reason.MALFORMED)
        assert verdict.depth == chain.index(der)


@pytest.mark.parametrize("count", [0, 33, 200])
def test_a_chain_of_no_length_to_speak_of(count: int) -> None:
    """No certificate, or more than 32 without a pinned one among them, are refused as such."""
    verdict = Policy(PINS).decide(HOST, [OTHER.der] * count)
    assert (verdict.accepted, verdict.reason) == (False, Reason.CHAIN_LENGTH)
    assert "no certificate, or more than 32" in verdict.summary


# -- From a peer --


def test_a_peer_that_sends_200_certificates() -> None:
    """What is sent beyond the verified chain does not count, and a verified chain of 200 there is not."""
    sent = tuple(make_node(f"extra {number}") for number in range(196))
    client, far = raw(pinned(pin=ABSENT)), accepting(server_ssl(LEAF, extra=sent))
    assert refusal(client, far).verdict.reason is Reason.NOT_PINNED
    authority = root()
    for number in range(200):
        authority = authority.issue_ca(f"intermediate {number}")
    deep = authority.issue(HOST)
    client = raw(client_context({HOST: [deep.pin]}, trust=root().certificate))
    error, _ = shake(client, accepting(server_ssl(deep)))
    assert isinstance(error, SSL.Error)
    with pytest.raises(SSL.Error):
        client.send(b"secret")


@pytest.mark.parametrize(
    ("size", "is_accepted"), [(60_000, True), (70_000, False), (10_000_000, False)], ids=str
)
def test_a_peer_with_a_large_certificate(size: int, is_accepted: bool) -> None:
    """A certificate of up to 64 KiB is read; a larger one is refused, by the walk or ahead of it."""
    node = root().issue(HOST, padding=size)
    context = client_context({HOST: [Pin.from_public_key(node.key.public_key())]}, trust=root().certificate)
    client = raw(context)
    error, _ = shake(client, accepting(server_ssl(node)))
    assert (error is None) == is_accepted
    assert context.stats().accepted == int(is_accepted)
    if not is_accepted:
        assert isinstance(error, SSL.Error)
        with pytest.raises(SSL.Error):
            client.send(b"secret")


JUNK = {"nothing": b"", "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n", "binary": BINARY}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_a_peer_that_does_not_speak_tls(junk: bytes) -> None:
    """The handshake ends in an error of pyOpenSSL's, and in no verdict."""
    client = raw(pinned())
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    client.bio_write(junk) if junk else client.bio_shutdown()
    with pytest.raises(SSL.Error):
        client.do_handshake()
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(client)


def test_connections_are_asked_for_on_the_right_side() -> None:
    """A server's context has no hosts to connect to, and a plain one no connection() at all."""
    with pytest.raises(PinverifyError, match=r"a server uses OpenSSL\.SSL\.Connection"):
        server_context(LEAF.identity, clients=[ABSENT]).connection(HOST)
    with pytest.raises(PinverifyError, match="there is no verdict"):
        pinverify.verdict(raw(client_ssl()))
