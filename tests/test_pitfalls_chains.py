# SPDX-License-Identifier: Apache-2.0
"""How pinning failed elsewhere: which certificates were matched, and on whose word (P01, P04, P07, P09, P14,
P15).
"""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from pinned import without_a_ca
from support import Node, accepting, client_ssl, leaf, make_node, root, server_ssl, shake

from pinverify import (
    Diagnosis,
    MalformedCertificate,
    Pin,
    PinRefused,
    PinSet,
    Policy,
    Reason,
    client_context,
    server_context,
    spki_sha256,
)

HOST = "host.test"


def refusal(pins: object, server: SSL.Context, **options: object) -> PinRefused:
    """What a client with these pins says of a server that it must refuse."""
    context = client_context({HOST: pins}, **{"trust": root().pem, **options})  # type: ignore[arg-type, dict-item]
    error, _ = shake(context.connection(HOST), accepting(server))
    assert isinstance(error, PinRefused), error
    assert context.stats().accepted == 0
    return error


def accepted(pins: object, server: SSL.Context, **options: object) -> Reason:
    """By which reason a client with these pins accepts a server."""
    context = client_context({HOST: pins}, **{"trust": root().pem, **options})  # type: ignore[arg-type, dict-item]
    assert shake(context.connection(HOST), accepting(server)) == (None, None)
    assert context.stats().refused == 0
    return next(reason for reason, count in context.stats().by_reason.items() if count)


def test_p01_a_pinned_certificate_appended_to_another_chain_does_not_count() -> None:
    """An attacker with a chain of a trusted CA sends the pinned certificate along, and is refused."""
    pinned, attacker = leaf(HOST), root().issue_ca("another intermediate").issue(HOST)
    error = refusal([pinned.pin], server_ssl(attacker, extra=(pinned,)))
    assert error.verdict.reason is Reason.NOT_PINNED
    assert error.verdict.diagnosis is Diagnosis.SENT_NOT_VERIFIED
    assert accepted([pinned.pin], server_ssl(pinned)) is Reason.PINNED


def test_p01_without_a_ca_only_the_leaf_counts() -> None:
    """In pins-only mode only a leaf is matched; a pinned certificate behind a foreign one is nothing."""
    pinned, attacker = make_node("device", hosts=(HOST,)), make_node("attacker", hosts=(HOST,))
    server = server_ssl(attacker, extra=(pinned,))
    assert refusal([pinned.pin], server, trust="pins").verdict.reason is Reason.NOT_PINNED
    assert accepted([pinned.pin], server_ssl(pinned), trust="pins") is Reason.PINNED


def test_p01_a_pinned_ca_without_trust_in_it_counts_for_nothing_in_pins_only_mode() -> None:
    """In pins-only mode the key of a CA above the leaf is not looked at."""
    node = leaf(HOST)
    assert node.issuer is not None
    assert refusal([node.issuer.pin], server_ssl(node), trust="pins").verdict.reason is Reason.NOT_PINNED


def test_p04_an_untrusted_ca_stays_refused_though_its_key_is_pinned() -> None:
    """A pinned key does not make up for a chain that OpenSSL refuses."""
    foreign = leaf(HOST, under="foreign root")
    pins = [node.pin for node in (foreign, foreign.issuer, root("foreign root")) if node is not None]
    error = refusal(pins, server_ssl(foreign))
    assert error.verdict.reason is Reason.OPENSSL
    assert "unable to get local issuer certificate" in str(error)


@pytest.mark.parametrize("days", [(-20, -10), (10, 20)], ids=["expired", "not yet valid"])
def test_p04_a_pinned_leaf_out_of_date_stays_refused(days: tuple[int, int]) -> None:
    """A pinned key does not make up for a certificate out of date, save where there is no CA at all."""
    node = root().issue(HOST, days=days)
    assert refusal([node.pin], server_ssl(node)).verdict.reason is Reason.OPENSSL
    assert accepted([node.pin], server_ssl(node), trust="pins") is Reason.PINNED


def test_p04_pins_only_waives_nothing_for_an_entry_that_accepts_without_a_pin() -> None:
    """Report mode and unlisted="pkix" leave OpenSSL's verdict on an unknown device as it is."""
    device, other = make_node("device", hosts=(HOST,)), leaf(HOST)
    reported = {HOST: PinSet([other.pin], mode="report")}
    for policy in (Policy(reported), Policy({"other.test": [other.pin]}, unlisted="pkix")):
        error, _ = shake(without_a_ca(policy).connection(HOST), accepting(server_ssl(device)))
        assert isinstance(error, PinRefused)
        assert error.verdict.reason is Reason.OPENSSL


def test_p04_a_server_refuses_a_client_that_openssl_refuses() -> None:
    """Mutual TLS with a CA: the pinned key of a client under another CA does not let it in."""
    client = leaf("client.test", under="foreign root")
    context = server_context(leaf(HOST).identity, clients=[client.pin], trust=root().pem)
    connection = SSL.Connection(client_ssl(client), None)
    connection.set_connect_state()
    _, error = shake(connection, accepting(context))
    assert isinstance(error, PinRefused)
    assert error.verdict.reason is Reason.OPENSSL


def test_p04_under_a_ca_a_pinned_leaf_is_used_for_what_it_is_for() -> None:
    """A certificate that is for clients only is no server's, pinned or not. Without a CA the key decides."""
    node = root().issue(HOST, usages=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    refused = refusal([node.pin], server_ssl(node))
    assert refused.verdict.reason is Reason.OPENSSL
    assert "purpose" in str(refused)
    assert accepted([node.pin], server_ssl(node), trust="pins") is Reason.PINNED


def lengthened(node: Node) -> bytes:
    """The certificate with the length of its validity in two octets where one would do (X.690 10.1)."""
    der = node.der
    times = node.certificate.not_valid_before_utc.strftime("%y%m%d%H%M%SZ").encode()
    at = der.index(b"\x30\x1e\x17\x0d" + times)
    crafted = der[: at + 1] + b"\x81\x1e" + der[at + 2 :]
    for position in (2, 6):  # the lengths of the certificate and of tbsCertificate are one more
        length = int.from_bytes(der[position : position + 2], "big") + 1
        crafted = crafted[:position] + length.to_bytes(2, "big") + crafted[position + 2 :]
    return crafted


def test_p07_a_crafted_validity_length_is_malformed() -> None:
    """A certificate as in curl's CVE-2026-87866, with a crafted validity length, is none here."""
    crafted = lengthened(leaf(HOST))
    with pytest.raises(MalformedCertificate, match="validity"):
        spki_sha256(crafted)
    assert spki_sha256(leaf(HOST).der) == leaf(HOST).pin.digest


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519", "RSA-2048"])
def test_p07_the_key_is_the_one_that_openssl_reads(kind: str) -> None:
    """Our walk and OpenSSL read the same key out of a certificate."""
    node = make_node("key", kind=kind)
    spki = node.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert Pin.from_public_key(spki) == node.pin == Pin(spki_sha256(node.der))


def test_p09_a_certificate_hash_in_place_of_a_key_hash_is_named() -> None:
    """Who pins the hash of the whole certificate as if it were the key's hears just that."""
    node = leaf(HOST)
    confused = Pin(node.cert_pin.digest)
    error = refusal([confused], server_ssl(node))
    assert error.verdict.diagnosis is Diagnosis.CERTIFICATE_HASH
    assert "hash of a whole certificate" in str(error)
    assert accepted([node.cert_pin], server_ssl(node)) is Reason.PINNED


def test_p09_a_key_hash_in_place_of_a_certificate_hash_is_named() -> None:
    """And the other way round."""
    node = leaf(HOST)
    confused = Pin.parse(f"cert-sha256/{str(node.pin)[7:]}")
    assert refusal([confused], server_ssl(node)).verdict.diagnosis is Diagnosis.KEY_HASH


def test_p09_a_denied_key_is_refused_wherever_it_stands() -> None:
    """A denied key refuses at each depth, though the leaf is pinned."""
    node = leaf(HOST)
    for depth, above in enumerate((node, node.issuer, root())):
        assert above is not None
        allow = [node.pin] if above is not node else [root().pin]
        error = refusal(PinSet(allow, deny=[above.pin]), server_ssl(node))
        assert (error.verdict.reason, error.verdict.depth) == (Reason.DENIED, depth)
    assert accepted(PinSet([node.pin], deny=[leaf("elsewhere.test").pin]), server_ssl(node)) is Reason.PINNED


def test_p14_another_path_than_the_pinned_one_is_named() -> None:
    """OpenSSL builds to the new root; the old one, which is pinned and was sent, is not in that chain."""
    old, new = root("old root"), root("new root")
    crossed = make_node("new root", key=new.key, issuer=old, is_ca=True)
    node = new.issue_ca("issuing").issue(HOST)
    server = server_ssl(node, extra=(crossed, old))
    error = refusal([old.pin], server, trust=old.pem + new.pem)
    assert error.verdict.diagnosis is Diagnosis.SENT_NOT_VERIFIED
    assert "another path to a trust anchor" in str(error)
    assert accepted([new.pin], server, trust=old.pem + new.pem) is Reason.PINNED


def test_p15_a_refusal_prints_what_would_have_matched() -> None:
    """The message has each pin of the chain and each pin of the entry, fit to be pasted into a policy."""
    node, expected = leaf(HOST), leaf("rotated.test")
    message = str(refusal([expected.pin], server_ssl(node)))
    for certificate in (node, node.issuer, root(), expected):
        assert certificate is not None
        assert str(certificate.pin) in message
