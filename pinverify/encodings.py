# SPDX-License-Identifier: Apache-2.0
"""One certificate or public key in DER, out of what people have: PEM, DER, or an object.

Nothing of the input is shown in an error: it may hold a private key.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from pinverify.errors import InvalidPin

__all__ = ["certificate_der", "key_der", "pem_blocks"]

_BOUNDARY = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]{1,64})-----")
_SEQUENCE = 0x30


def certificate_der(cert: object) -> bytes:
    """The DER of a certificate. Bytes that are not PEM come back as they are. Raises InvalidPin."""
    if isinstance(cert, bytes):
        return _unarmoured(cert, "CERTIFICATE") if b"-----BEGIN" in cert else cert
    if hasattr(cert, "to_cryptography"):  # OpenSSL.crypto.X509
        cert = cert.to_cryptography()
    if not isinstance(cert, x509.Certificate):
        raise InvalidPin(f"a certificate was expected, an object or bytes in PEM or DER, not {_name(cert)}")
    return cert.public_bytes(Encoding.DER)


def key_der(key: object) -> bytes:
    """The SubjectPublicKeyInfo of a public key; as it stands, if `key` has it. Raises InvalidPin."""
    if isinstance(key, bytes):
        der = _unarmoured(key, "PUBLIC KEY") if b"-----BEGIN" in key else key
        _check_key(der)
        return der
    if hasattr(key, "private_bytes"):
        raise InvalidPin("that is a private key; what is pinned is key.public_key()")
    if not hasattr(key, "public_bytes") or hasattr(key, "issuer"):
        raise InvalidPin(f"a public key was expected, an object or bytes in PEM or DER, not {_name(key)}")
    return cast(PublicKeyTypes, key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _name(value: object) -> str:
    return "a str (for a file, give its contents)" if isinstance(value, str) else type(value).__name__


def pem_blocks(pem: bytes) -> Iterator[tuple[str, bytes]]:
    """The labels and the base64 of all blocks of PEM (RFC 7468 2) that are complete.

    A block ends at the next boundary, whatever that is. To look for each end anew would take time in the
    square of the length.
    """
    for begin, end in pairwise(_BOUNDARY.finditer(pem)):
        body = pem[begin.end() : end.start()]
        if (begin[1], end[1]) == (b"BEGIN", b"END") and begin[2] == end[2] and body[:1].isspace():
            yield begin[2].decode("ascii"), body


def _unarmoured(pem: bytes, label: str) -> bytes:
    """The contents of the one block with that label, RFC 7468 2."""
    blocks = list(pem_blocks(pem))
    bodies = [body for found, body in blocks if found == label]
    if len(bodies) > 1:
        raise InvalidPin(f"the PEM holds {len(bodies)} blocks of {label}; choose the one to pin")
    if not bodies:
        others = ", ".join(found for found, _ in blocks) or "nothing complete"
        raise InvalidPin(f"a PEM block of {label} was expected, and there is {others}")
    try:
        return base64.b64decode(b"".join(bodies[0].split()), validate=True)
    except ValueError as error:
        raise InvalidPin(f"the PEM block of {label} is not base64: {error}") from error


def _check_key(der: bytes) -> None:
    """Raise InvalidPin unless it is a SubjectPublicKeyInfo.

    That alone has a SEQUENCE inside of its SEQUENCE. PKCS #1 and all kinds of private keys have an INTEGER;
    cryptography reads PKCS #1 here as well, and the hash of that would never match.
    """
    long_form = len(der) > 2 and der[1] & 0x80
    contents = 2 + (der[1] & 0x7F if long_form else 0)
    if der[:1] != bytes([_SEQUENCE]) or der[contents : contents + 1] != bytes([_SEQUENCE]):
        raise InvalidPin("not a SubjectPublicKeyInfo; is it a private key, or PKCS #1 ('RSA PUBLIC KEY')?")
    try:
        load_der_public_key(der)
    except Exception as error:  # cryptography has no common one for what it cannot read
        raise InvalidPin("not a readable public key; is it a certificate, or a private key?") from error
