# SPDX-License-Identifier: Apache-2.0
"""The keys and certificates of the benchmarks.

Chains that only the decision sees are kept in chains/, so that each run counts the same octets:
`python -m benchmarks.keys` makes them anew. Those of handshakes are made for each run, since they expire.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pinverify.demo.pki import Owner, PrivateKey

__all__ = ["HOST", "KINDS", "key_pem", "kept", "owner", "pem"]

HOST = "server.example"
KINDS: dict[str, Callable[[], PrivateKey]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
    "RSA-4096": lambda: rsa.generate_private_key(65537, 4096),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
_LONGEST = 5
_FOLDER = Path(__file__).with_name("chains")


def owner(kind: str, length: int, *, host: str = HOST) -> Owner:
    """A server for `host` at the end of a chain of `length` certificates, the root included."""
    issuer = None
    for depth in range(length - 1, 0, -1):
        issuer = Owner.make(f"CA {depth}", issuer, key=KINDS[kind]())
    return Owner.make("server", issuer, host=host, key=KINDS[kind]())


@cache
def kept(kind: str) -> tuple[bytes, ...]:
    """The kept chain of five of one kind of key, as DER, leaf first."""
    certificates = x509.load_pem_x509_certificates((_FOLDER / f"{kind}.pem").read_bytes())
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def pem(certificates: list[x509.Certificate]) -> bytes:
    """Certificates as PEM, one behind the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def key_pem(who: Owner) -> bytes:
    """The private key of someone, as PEM."""
    return who.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


if __name__ == "__main__":
    for kind in KINDS:
        (_FOLDER / f"{kind}.pem").write_bytes(pem(owner(kind, _LONGEST).chain))
