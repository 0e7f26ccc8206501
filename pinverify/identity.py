# SPDX-License-Identifier: Apache-2.0
"""Identity: the certificate chain and private key that this side shows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cryptography import x509
from OpenSSL import SSL

from pinverify.errors import PATH_LIMIT, InvalidIdentity, shown
from pinverify.reading import attempt

__all__ = ["Identity", "IdentitySource"]

PathOrPem: TypeAlias = "str | os.PathLike[str] | bytes"
IdentitySource: TypeAlias = "Identity | PathOrPem | tuple[Any, Any]"


@dataclass(frozen=True, slots=True)
class Identity:
    """A chain, leaf first, and the private key of the leaf."""

    chain: tuple[x509.Certificate, ...]
    key: Any

    @classmethod
    def load(cls, source: IdentitySource, *, password: bytes | None = None) -> Identity:
        """The identity in `source`: one PEM (path or bytes) with chain and key, or a pair (chain, key).

        In a pair each is a path, PEM bytes, or cryptography's objects; a chain may be an iterable of
        certificates. Raises InvalidIdentity if something is missing, unreadable, encrypted without a
        `password`, or if the key is not the leaf's.
        """
        if isinstance(source, Identity):
            return source
        chain, key = source if isinstance(source, tuple) and len(source) == 2 else (source, source)
        identity = cls(_chain(chain), _key(key, password))
        identity._check()
        return identity

    def attach(self, context: SSL.Context) -> None:
        """Makes `context` show this identity."""
        try:
            context.use_certificate(self.chain[0])
            for certificate in self.chain[1:]:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(self.key)
            context.check_privatekey()
        except (SSL.Error, TypeError) as error:
            raise InvalidIdentity(
                f"OpenSSL does not take the identity {_subject(self.chain[0])}: {error}"
            ) from error

    def _check(self) -> None:
        leaf = attempt(lambda: _spki(self.chain[0].public_key()))
        if leaf is None:
            raise InvalidIdentity(
                f"the key in the first certificate, {_subject(self.chain[0])}, is unreadable"
            )
        if leaf != _spki(self.key.public_key()):
            raise InvalidIdentity(
                f"the private key is not the one of the first certificate, {_subject(self.chain[0])}; "
                "the leaf comes first, its issuers after it"
            )


def _subject(certificate: x509.Certificate) -> str:
    subject = attempt(lambda: certificate.subject.rfc4514_string())
    return "(unreadable subject)" if subject is None else subject or "(empty subject)"


def _spki(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _name(source: PathOrPem) -> str:
    """What to call a source in a message; its bytes may be a private key."""
    return "the bytes given" if isinstance(source, bytes) else shown(os.fspath(source), limit=PATH_LIMIT)


def _read(source: PathOrPem, what: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidIdentity(f"identity: the {what} {_name(source)} cannot be read: {reason}") from error


def _chain(source: Any) -> tuple[x509.Certificate, ...]:
    if isinstance(source, x509.Certificate):
        return (source,)
    if isinstance(source, (str, bytes, os.PathLike)):
        try:
            return tuple(x509.load_pem_x509_certificates(_read(source, "certificate chain")))
        except InvalidIdentity:
            raise
        except Exception as error:  # cryptography has no common one for what it cannot read
            raise InvalidIdentity(
                f"identity: no PEM certificate chain in {_name(source)}: {error}"
            ) from error
    chain = tuple(source) if isinstance(source, Iterable) else ()
    if not chain or not all(isinstance(certificate, x509.Certificate) for certificate in chain):
        raise InvalidIdentity(
            f"identity: a {type(source).__name__} is no certificate chain; give a PEM file, PEM bytes or "
            "x509.Certificate objects"
        )
    return chain


def _key(source: Any, password: bytes | None) -> Any:
    if hasattr(source, "private_bytes") and hasattr(source, "public_key"):
        return source
    if not isinstance(source, (str, bytes, os.PathLike)):
        raise InvalidIdentity(
            f"identity: a {type(source).__name__} is no private key; give a PEM file, PEM bytes or an object"
        )
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(_read(source, "private key"), password)
    except (ValueError, TypeError) as error:
        if isinstance(error, InvalidIdentity):
            raise
        hint = "; load it yourself with Identity.load(…, password=…)" if isinstance(error, TypeError) else ""
        raise InvalidIdentity(
            f"identity: no usable PEM private key in {_name(source)}: {error}{hint}"
        ) from error
