# SPDX-License-Identifier: Apache-2.0
"""What a refusal says is the matter, at three in the morning: with real chains and real handshakes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL
from pinned import ABSENT, HOST, pinned, raw, refusal
from support import (
    Node,
    accepting,
    client_ssl,
    intermediate,
    leaf,
    make_node,
    new_key,
    root,
    server_ssl,
    shake,
)

from pinverify import Diagnosis, Pin, PinRefused, Policy, Verdict, client_context, server_context
from pinverify.diagnosis import diagnose, is_public

RSA = intermediate().issue(HOST, key=new_key("RSA-2048"))
EC = leaf(HOST)
ED = intermediate().issue(HOST, key=new_key("Ed25519"))


def refused(node: Node, *pins: Pin, **options: Any) -> Verdict:
    """The verdict of a client on a server that has none of these pins."""
    context = client_context({HOST: pins}, **{"trust": root().certificate, **options})
    return refusal(raw(context), accepting(server_ssl(node))).verdict


def sha256(data: bytes) -> Pin:
    return Pin(hashlib.sha256(data).digest())


def spki(node: Node, encoding: Encoding, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    encoded: bytes = node.key.public_key().public_bytes(encoding, form)
    return encoded


MISTAKES: dict[str, tuple[Node, Callable[[Node], bytes]]] = {
    "PEM of the key": (EC, lambda node: spki(node, Encoding.PEM)),
    "PEM without its last newline": (EC, lambda node: spki(node, Encoding.PEM).rstrip()),
    "PEM of the certificate": (EC, lambda node: node.pem),
    "base64": (EC, lambda node: base64.b64encode(spki(node, Encoding.DER))),
    "hex": (EC, lambda node: spki(node, Encoding.DER).hex().encode()),
    "HEX": (EC, lambda node: spki(node, Encoding.DER).hex().upper().encode()),
    "the point": (EC, lambda node: spki(node, Encoding.X962, PublicFormat.UncompressedPoint)),
    "PKCS #1": (RSA, lambda node: spki(node, Encoding.DER, PublicFormat.PKCS1)),
    "PKCS #1 in PEM": (RSA, lambda node: spki(node, Encoding.PEM, PublicFormat.PKCS1)),
    "the bare key": (ED, lambda node: spki(node, Encoding.Raw, PublicFormat.Raw)),
    "OpenSSH": (ED, lambda node: spki(node, Encoding.OpenSSH, PublicFormat.OpenSSH)),
}


@pytest.mark.parametrize(("node", "encode"), MISTAKES.values(), ids=MISTAKES)
def test_the_hash_of_another_encoding(node: Node, encode: Callable[[Node], bytes]) -> None:
    """A pin that was made of the right key in the wrong encoding is recognised."""
    verdict = refused(node, sha256(encode(node)))
    assert verdict.diagnosis is Diagnosis.WRONG_ENCODING
    assert "SubjectPublicKeyInfo in DER" in verdict.explain()
    assert str(node.pin) in verdict.explain()


def test_an_interceptor() -> None:
    """A chain that ends in a CA which the public list lacks is called what it may be."""
    verdict = refused(EC, ABSENT)
    assert verdict.diagnosis is Diagnosis.LOCAL_CA
    assert "unless that CA is your own, somebody intercepts" in verdict.explain()


def test_without_a_ca_there_is_no_talk_of_one() -> None:
    """In pins-only mode a wrong key is a wrong key."""
    device = make_node("device", hosts=(HOST,))
    assert refused(device, ABSENT, trust="pins").diagnosis is Diagnosis.WRONG_KEY


def test_a_clients_own_ca_is_no_interceptor() -> None:
    """A server's clients have a CA of their own as a rule, and a wrong key among them is a wrong key."""
    trust = root("clients").certificate
    context = server_context(EC.identity, clients=[ABSENT], trust=trust)
    device = intermediate("clients").issue()
    error, _ = shake(accepting(context), client_of(device))
    assert isinstance(error, PinRefused)
    assert len(error.verdict.chain) == 3
    assert error.verdict.diagnosis is Diagnosis.WRONG_KEY


def client_of(device: Node) -> SSL.Connection:
    connection = SSL.Connection(client_ssl(device), None)
    connection.set_connect_state()
    return connection


def a_public_root() -> bytes:
    """The first certificate of certifi's list."""
    content = Path(certifi.where()).read_bytes()
    body = content.partition(b"-----BEGIN CERTIFICATE-----")[2].partition(b"-----END")[0]
    return base64.b64decode(body)


def test_the_public_list_is_certifis() -> None:
    """A certificate of certifi's list is public, and one of the tests is not."""
    assert is_public(a_public_root())
    assert not is_public(root().der)


SAME_NAME = intermediate().issue(HOST)
OTHER_CA = root().issue_ca("another intermediate").issue(HOST)
OTHER_NAME = make_node("another", hosts=(HOST,), issuer=intermediate())
FORMER = {
    "another key, same name and CA": (SAME_NAME, Diagnosis.KEY_ROTATED),
    "another CA": (OTHER_CA, Diagnosis.CA_CHANGED),
    "another name of the same CA": (OTHER_NAME, Diagnosis.WRONG_KEY),
}


@pytest.mark.parametrize(("now", "expected"), FORMER.values(), ids=FORMER)
def test_compared_with_a_former_chain(now: Node, expected: Diagnosis) -> None:
    """With a chain that was accepted before, a rotation can be told from a change of CA."""
    verdict = refused(now, EC.pin)
    assert verdict.diagnose(former=tuple(EC.ders)) is expected
    assert expected.value in verdict.explain(former=tuple(EC.ders))


def test_a_former_public_chain_and_now_a_local_one() -> None:
    """Where the chain used to end in a public CA, one that does not is an interceptor's."""
    found = diagnose(SAME_NAME.ders, SAME_NAME.ders, {EC.pin}, former=[EC.der, a_public_root()])
    assert found is Diagnosis.LOCAL_CA
    assert diagnose([SAME_NAME.der, a_public_root()], [], {EC.pin}) is Diagnosis.WRONG_KEY


def test_what_cannot_be_read_is_no_match() -> None:
    """Malformed certificates, on either side of a comparison, do not keep a diagnosis from being made."""
    for chain in ([b"junk"], [b"\x30\x00", EC.der], []):
        assert diagnose(chain, [b"junk"], {ABSENT}) in {Diagnosis.WRONG_KEY, Diagnosis.LOCAL_CA}
        assert diagnose(chain, chain, {ABSENT}, former=[b"junk", *chain]) is Diagnosis.WRONG_KEY


def test_a_refusal_is_cheap_however_many_pins_there_are() -> None:
    """The summary, which each refusal has, looks at no pin; the diagnosis waits until it is asked for."""
    verdict = refused(EC, Pin(EC.cert_pin.digest))
    assert "a pinned key" in verdict.summary
    assert verdict.diagnosis is Diagnosis.CERTIFICATE_HASH
    assert verdict.explain().startswith(f"refused {HOST}: a pin is the hash of a whole certificate")


def test_there_is_no_diagnosis_of_anything_else() -> None:
    """Reasons that speak for themselves have none."""
    verdict = Policy({HOST: [EC.pin]}).decide("other.test", EC.ders)
    assert verdict.diagnosis is None
    assert verdict.diagnose(former=tuple(EC.ders)) is None
    assert pinned().policy.decide(HOST, EC.ders).diagnosis is None
