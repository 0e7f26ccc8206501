# SPDX-License-Identifier: Apache-2.0
"""Writes vectors.h: real certificates for the C tests, in their parts, so that each part can be broken.

The same octets come out each time: keys, dates and serial numbers are fixed, and signatures of Ed25519 and of
RSA with PKCS #1 v1.5 have nothing random in them. `cryptography` makes the certificates and says what their
digests are; asn1crypto takes them apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from asn1crypto.x509 import Certificate
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HEAD = """\
// SPDX-License-Identifier: Apache-2.0
//
// Made by make_vectors.py: real certificates in their parts, and what `cryptography` says of the whole.

#ifndef VECTORS_H
#define VECTORS_H

#include "certificate.h"

// clang-format off
static const struct {
  const char *name;
  pv_slice parts[PARTS];
  size_t spki_offset, spki_len;
  const char *certificate_sha256, *spki_sha256;
} real[] = {
"""
TAIL = """\
};
// clang-format on

#endif  // VECTORS_H
"""


def prime(seed: str) -> int:
    """A prime of 1024 bits; Fermat's test will do for a key that protects nothing."""
    octets = b"".join(hashlib.sha256(f"{seed} {i}".encode()).digest() for i in range(4))
    candidate = int.from_bytes(octets, "big") | 3 << 1022 | 1  # both bits: the product has 2048
    while candidate % 65537 == 1 or pow(2, candidate - 1, candidate) != 1:
        candidate += 2
    return candidate


def rsa_key() -> rsa.RSAPrivateKey:
    e, p, q = 65537, prime("p"), prime("q")
    d = pow(e, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


RSA = rsa_key()
P256 = ec.derive_private_key(0x5EED, ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def certificate(
    subject: str,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    issuer: str,
    signer: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    *,
    serial: int,
    extensions: list[x509.ExtensionType],
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .not_valid_before(datetime(2024, 1, 1))  # UTCTime
        .not_valid_after(datetime(2050, 1, 1))  # GeneralizedTime, RFC 5280 4.1.2.5
        .serial_number(serial)
        .public_key(key.public_key())
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(signer, hashes.SHA256() if isinstance(signer, rsa.RSAPrivateKey) else None)


def certificates() -> Iterator[tuple[str, x509.Certificate]]:
    ca = x509.BasicConstraints(ca=True, path_length=None)
    names = x509.SubjectAlternativeName([x509.DNSName("a.example"), x509.DNSName("*.b.example")])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    known = x509.AuthorityKeyIdentifier.from_issuer_public_key(RSA.public_key())
    root = [ca, x509.SubjectKeyIdentifier.from_public_key(RSA.public_key())]
    leaf = [x509.BasicConstraints(ca=False, path_length=None), names, usage, known]
    yield "RSA-2048 root", certificate("Root", RSA, "Root", RSA, serial=1, extensions=root)
    yield "P-256 leaf", certificate("a.example", P256, "Root", RSA, serial=0xFEDC << 136, extensions=leaf)
    yield (
        "Ed25519 leaf",
        certificate("a.example", ED25519, "a.example", ED25519, serial=128, extensions=[names]),
    )


def parts(der: bytes) -> dict[str, bytes]:
    """The parts of a certificate as certificate.h names them, without those that are not there."""
    whole = Certificate.load(der)
    tbs = whole["tbs_certificate"]
    spki = tbs["subject_public_key_info"]
    found = {
        "VERSION": tbs["version"],
        "SERIAL": tbs["serial_number"],
        "SIGNATURE": tbs["signature"],
        "ISSUER": tbs["issuer"],
        "VALIDITY": tbs["validity"],
        "SUBJECT": tbs["subject"],
        "SPKI_ALGORITHM": spki["algorithm"],
        "SPKI_KEY": spki["public_key"],
        "EXTENSIONS": tbs["extensions"],
        "SIGNATURE_ALGORITHM": whole["signature_algorithm"],
        "SIGNATURE_VALUE": whole["signature_value"],
    }
    return {name: part.dump() for name, part in found.items()}


def literal(octets: bytes, indent: str) -> str:
    """A string literal of C, broken into lines that fit."""
    width = (108 - len(indent)) // 4
    lines = [octets[at : at + width] for at in range(0, len(octets), width)]
    return f"\n{indent}".join('"' + "".join(f"\\x{octet:02x}" for octet in line) + '"' for line in lines)


def entry(name: str, made: x509.Certificate) -> str:
    der = made.public_bytes(serialization.Encoding.DER)
    spki = made.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert der.count(spki) == 1
    lines = [f'  {{"{name}", {{']
    for part, octets in parts(der).items():
        lines.append(f"    [{part}] = OCTETS(\n      {literal(octets, ' ' * 6)}),")
    lines.append(f"  }}, {der.index(spki)}, {len(spki)},")
    lines.append(f"    {literal(hashlib.sha256(der).digest(), ' ' * 4)},")
    lines.append(f"    {literal(hashlib.sha256(spki).digest(), ' ' * 4)}}},")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = HEAD + "".join(entry(name, made) for name, made in certificates()) + TAIL
    Path(__file__).with_name("vectors.h").write_text(text, encoding="ascii", newline="\n")
