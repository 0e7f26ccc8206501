# SPDX-License-Identifier: Apache-2.0
"""Trust anchors, parsed once and shared between contexts."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509

from pinverify.engine import openssl
from pinverify.engine.pyopenssl import context_of
from pinverify.errors import PATH_LIMIT, InvalidTrust, shown

__all__ = ["Anchors", "TrustSource", "load_anchors"]

Certificate: TypeAlias = "bytes | x509.Certificate | X509"
TrustSource: TypeAlias = "str | os.PathLike[str] | Certificate | Iterable[Certificate]"

_get_store = openssl.borrow("SSL_CTX_get_cert_store", "X509_STORE *(*)(SSL_CTX *)")
_set_store = openssl.borrow("SSL_CTX_set_cert_store", "void(*)(SSL_CTX *, X509_STORE *)")
_up_ref = openssl.borrow("X509_STORE_up_ref", "int(*)(X509_STORE *)")
_get_objects = openssl.borrow(
    "X509_STORE_get0_objects", "Cryptography_STACK_OF_X509_OBJECT *(*)(X509_STORE *)"
)
_count_objects = openssl.borrow("sk_X509_OBJECT_num", "int(*)(Cryptography_STACK_OF_X509_OBJECT *)")
_default_directory = openssl.borrow("X509_get_default_cert_dir", "char *(*)()")


class Anchors:
    """A set of trust anchors, which any number of contexts use at once.

    `fingerprint` is 32 bytes that differ between sets: session ids are derived from it.
    """

    def __init__(self, fill: Callable[[SSL.Context], None], *identity: bytes) -> None:
        self._fill = fill
        self._donor = SSL.Context(SSL.TLS_METHOD)
        fill(self._donor)
        digest = hashlib.sha256()
        for part in identity:
            digest.update(len(part).to_bytes(8, "big") + part)
        self.fingerprint = digest.digest()

    def share_with(self, context: SSL.Context) -> None:
        """Gives `context` the store of these anchors. It must not be changed through `context`."""
        store = _get_store(context_of(self._donor))
        if _up_ref(store) != 1:
            raise MemoryError("X509_STORE_up_ref")
        _set_store(context_of(context), store)

    def copy(self) -> Anchors:
        """The same anchors in a store that is not shared yet, and may become other ones: nobody's equal."""
        return Anchors(self._fill, secrets.token_bytes(32))


def load_anchors(trust: TrustSource) -> Anchors:
    """The anchors that `trust` stands for.

    `"system"`: what OpenSSL finds on this machine (SSL_CERT_FILE and SSL_CERT_DIR are heeded), else certifi's
    list. `"pins"`: none. Any other str or path: a PEM file, or a directory of them, each of whose files is
    read. Else one certificate, or an iterable of them: PEM or DER bytes, cryptography's or pyOpenSSL's
    objects.

    Raises InvalidTrust for what cannot be read, or holds no certificate.
    """
    if isinstance(trust, str) and trust in ("system", "pins"):
        environment = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        return _system(environment) if trust == "system" else _none()
    if isinstance(trust, (str, os.PathLike)):
        return _from_path(os.fspath(trust))
    if not isinstance(trust, Iterable) and not isinstance(trust, (x509.Certificate, X509)):
        raise InvalidTrust(f"trust is {shown(trust)}; {_WANTED}")
    certificates = list(trust) if not isinstance(trust, (bytes, x509.Certificate, X509)) else [trust]
    return _from_certificates(tuple(der for certificate in certificates for der in _ders(certificate)))


@lru_cache(maxsize=1)
def _none() -> Anchors:
    return Anchors(lambda context: None, b"none")


@lru_cache(maxsize=8)
def _system(environment: tuple[str | None, str | None]) -> Anchors:
    anchors = Anchors(
        SSL.Context.set_default_verify_paths, b"system", *(str(value).encode() for value in environment)
    )
    if _is_empty(anchors) and not any(environment) and not _system_directories():
        import certifi  # seldom needed, and slow to import

        return Anchors(lambda context: context.load_verify_locations(certifi.where()), b"certifi")
    return anchors


def _is_empty(anchors: Anchors) -> bool:
    objects = _get_objects(_get_store(context_of(anchors._donor)))
    return objects == openssl.ffi.NULL or bool(_count_objects(objects) == 0)


def _system_directories() -> list[str]:
    """Directories in which OpenSSL looks certificates up when it needs one, so that a store starts out
    empty.
    """
    default = openssl.ffi.string(_default_directory()).decode()
    return [path for path in (default, "/etc/ssl/certs") if os.path.isdir(path) and os.listdir(path)]


_WANTED = '"system", "pins", the path of a PEM file or directory, or certificates are wanted'


def _from_path(name: str) -> Anchors:
    if not name or "\0" in name or "-----BEGIN" in name:
        raise InvalidTrust(f"trust={shown(name, limit=PATH_LIMIT)} is no path; {_WANTED} (PEM as bytes)")
    path = Path(name)
    try:
        files = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
        stamps = tuple(_stamp(file) for file in files)
    except OSError as error:
        raise InvalidTrust(f"trust={shown(name, limit=PATH_LIMIT)}: {error.strerror}; {_WANTED}") from error
    return _from_files(name, stamps, path.is_dir())


def _stamp(file: Path) -> tuple[str, int, int, int]:
    """What tells one state of a file from another."""
    stat = file.stat()
    return str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=64)
def _from_files(source: str, stamps: tuple[tuple[str, int, int, int], ...], is_directory: bool) -> Anchors:
    contents = [Path(file).read_bytes() for file, *_ in stamps]
    ders = [der for content in contents if b"-----BEGIN " in content for der in _pem_ders(content, source)]
    if not ders:
        what = "none of its files holds" if is_directory else "it does not hold"
        raise InvalidTrust(
            f"trust={shown(source, limit=PATH_LIMIT)}: {what} a PEM certificate (-----BEGIN CERTIFICATE-----)"
        )
    return _from_certificates(tuple(ders))


@lru_cache(maxsize=64)
def _from_certificates(ders: tuple[bytes, ...]) -> Anchors:
    if not ders:
        raise InvalidTrust('trust has no certificate; to do without a CA, say trust="pins"')

    def fill(context: SSL.Context) -> None:
        store = context.get_cert_store()
        assert store is not None
        for der in ders:
            store.add_cert(X509.from_cryptography(x509.load_der_x509_certificate(der)))

    return Anchors(fill, b"certificates", *ders)


def _ders(certificate: object) -> list[bytes]:
    from cryptography.hazmat.primitives.serialization import Encoding

    if isinstance(certificate, X509):
        certificate = certificate.to_cryptography()
    if isinstance(certificate, x509.Certificate):
        return [certificate.public_bytes(Encoding.DER)]
    if not isinstance(certificate, bytes):
        raise InvalidTrust(f"trust holds {shown(certificate)}; certificates are wanted: PEM, DER or objects")
    return _pem_ders(certificate, "PEM") if b"-----BEGIN " in certificate else [_checked_der(certificate)]


def _checked_der(der: bytes) -> bytes:
    try:
        x509.load_der_x509_certificate(der)
    except Exception as error:  # cryptography has no common one for what it cannot read
        raise InvalidTrust(
            f"trust holds {len(der)} bytes that are not a certificate in PEM or DER: {error}"
        ) from error
    return der


def _pem_ders(pem: bytes, source: str) -> list[bytes]:
    from cryptography.hazmat.primitives.serialization import Encoding

    if b"-----BEGIN CERTIFICATE" not in pem and b"-----BEGIN TRUSTED" not in pem:
        return []
    try:
        return [
            certificate.public_bytes(Encoding.DER) for certificate in x509.load_pem_x509_certificates(pem)
        ]
    except Exception as error:
        raise InvalidTrust(
            f"trust={shown(source, limit=PATH_LIMIT)}: a certificate in it cannot be read: {error}"
        ) from error
