# SPDX-License-Identifier: Apache-2.0
"""The certificates of the demonstration, made anew each time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from pinverify.pins import Pin

__all__ = ["HOST", "Owner", "Pki", "PrivateKey"]

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

HOST = "service.example"
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Owner:
    """A certificate, its private key, and the owner of the key that signed it."""

    certificate: x509.Certificate
    key: PrivateKey
    issuer: Owner | None = None

    @classmethod
    def make(
        cls,
        name: str,
        issuer: Owner | None = None,
        *,
        host: str | None = None,
        key: PrivateKey | None = None,
    ) -> Owner:
        """A server for `host`, or without one a CA; self-signed without an `issuer`. Its key is on P-256,
        unless one is given.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        signer = issuer.key if issuer else key
        digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return cls(builder.sign(signer, digest), key, issuer)

    @property
    def pin(self) -> Pin:
        """The pin of the key."""
        return Pin.from_certificate(self.certificate)

    @property
    def chain(self) -> list[x509.Certificate]:
        """The certificate and all above it, leaf first, the root included."""
        return [self.certificate, *(self.issuer.chain if self.issuer else [])]

    @property
    def ders(self) -> list[bytes]:
        return [certificate.public_bytes(Encoding.DER) for certificate in self.chain]

    @property
    def identity(self) -> tuple[list[x509.Certificate], PrivateKey]:
        """What the owner shows: the chain without its root, and the key."""
        return self.chain[:-1], self.key

    def context(self, *extra: Owner) -> SSL.Context:
        """A plain server context, which sends the chain without its root, and then `extra`."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(self.certificate)
        for certificate in [*self.chain[1:-1], *(owner.certificate for owner in extra)]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(self.key)
        return context


class Pki:
    """Two CAs that clients trust, an intermediate of each, and those who hold certificates under them."""

    def __init__(self) -> None:
        self.ca = Owner.make("root CA")
        self.intermediate = Owner.make("issuing CA", self.ca)
        self.server = Owner.make("server", self.intermediate, host=HOST)
        self.backup = Owner.make("backup", self.intermediate, host=HOST)
        self.stranger = Owner.make("stranger", self.intermediate, host=HOST)
        self.neighbour = Owner.make("neighbour", self.intermediate, host="neighbour.example")
        self.client = Owner.make("client", self.intermediate, host="client.example")
        self.other_client = Owner.make("other client", self.intermediate, host="other.example")
        self.other_ca = Owner.make("other root CA")
        self.other_intermediate = Owner.make("other issuing CA", self.other_ca)
        self.attacker = Owner.make("attacker", self.other_intermediate, host=HOST)

    @property
    def trusted(self) -> list[x509.Certificate]:
        """The trust anchors: both CAs, as a system trusts many."""
        return [self.ca.certificate, self.other_ca.certificate]
