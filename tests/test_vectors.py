# SPDX-License-Identifier: Apache-2.0
"""The certificates of the `cryptography_vectors` package: PKITS, odd encodings, keys of every kind.

Of each one that OpenSSL takes, the engines find the key as it stands there. The oracle is asn1crypto, a third
parser that keeps the encoding of what it has read.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import cryptography_vectors
from asn1crypto.core import Sequence
from asn1crypto.x509 import Certificate
from OpenSSL import crypto

from pinverify import MalformedCertificate, Pin, spki_sha256
from pinverify.engine import openssl

# Certificates that OpenSSL takes and the walk refuses, by the SHA-256 of their DER, with the status. There is
# none; an addition needs a comment that says why strictness is right.
REFUSED: dict[str, str] = {}

PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)
# Containers: certificates stand within them as they are.
CONTAINERS = {".cp", ".p12", ".p7b", ".eml"}
BASE64_LINES = re.compile(rb"(?:[A-Za-z0-9+/]{60,}\r?\n)+[A-Za-z0-9+/=]+")


def decoded(text: bytes) -> Iterator[bytes]:
    try:
        yield base64.b64decode(
            b"".join(line for line in text.splitlines() if b":" not in line), validate=True
        )
    except ValueError:
        return


def candidates(path: Path) -> Iterator[bytes]:
    """Octets of a file that may begin with a certificate."""
    content = path.read_bytes()
    yield content
    for label, body in PEM.findall(content):
        for der in decoded(body):
            yield der
            if b"CERTIFICATE" not in label:
                yield from embedded(der)
    if path.suffix in CONTAINERS:
        yield from embedded(content)
        for text in BASE64_LINES.findall(content):
            for der in decoded(text):
                yield from embedded(der)


def embedded(container: bytes) -> Iterator[bytes]:
    """Where one SEQUENCE with a length of two octets begins with another one."""
    for found in re.finditer(rb"(?=\x30\x82..\x30)", container, re.DOTALL):
        yield container[found.start() :]


@cache
def vectors() -> dict[bytes, Path]:
    """Each certificate that OpenSSL takes, as OpenSSL gives it back, which is what the guard sees of it."""
    found: dict[bytes, Path] = {}
    for path in sorted(Path(cryptography_vectors.__file__).parent.glob("**/*")):
        if not path.is_file() or path.suffix in {".py", ".pyc", ".rsp"}:
            continue
        for candidate in candidates(path):
            try:
                certificate = crypto.load_certificate(crypto.FILETYPE_ASN1, candidate)
            except crypto.Error:
                continue
            der = openssl.der_of(certificate._x509)
            # As it stood in the file: OpenSSL took no laxer encoding for another one.
            assert candidate.startswith(der), path
            found.setdefault(der, path)
    return found


def test_the_key_of_each_vector_is_found_as_it_stands(engine: ModuleType) -> None:
    """Of more than 400 certificates each key is the octets that an independent parser has kept of it."""
    refused = {}
    for der, path in vectors().items():
        try:
            key = engine.spki(der)
        except MalformedCertificate as error:
            refused[engine.sha256(der).hex()] = f"{path.name}: {error}"
            continue
        assert key == Certificate.load(der)["tbs_certificate"]["subject_public_key_info"].dump(), path
        assert der.count(key) >= 1, path
        assert spki_sha256(der) == engine.sha256(key) == Pin.from_certificate(der).digest, path
    assert refused.keys() == REFUSED.keys(), refused
    assert len(vectors()) - len(refused) > 400


def test_the_vectors_are_of_many_kinds() -> None:
    """Among them are version 1, keys of RSA, DSA, elliptic and Edwards curves, and parameters that differ."""
    parsed = [Certificate.load(der)["tbs_certificate"] for der in vectors()]
    keys = [Sequence.load(tbs["subject_public_key_info"].dump()) for tbs in parsed]
    rsa, dsa, ec = "1.2.840.113549.1.1.1", "1.2.840.10040.4.1", "1.2.840.10045.2.1"
    ed25519, ed448, pss = "1.3.101.112", "1.3.101.113", "1.2.840.113549.1.1.10"
    assert {key[0][0].dotted for key in keys} >= {rsa, dsa, ec, ed25519, ed448, pss}
    assert {tbs["version"].native for tbs in parsed} >= {"v1", "v3"}
    assert {path.suffix for path in vectors().values()} >= {".crt", ".pem", ".der", ".cp"}
