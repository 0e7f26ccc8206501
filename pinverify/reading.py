# SPDX-License-Identifier: Apache-2.0
"""What can be told of a peer's certificate. Whatever the certificate holds, nothing here raises.

OpenSSL accepts certificates that cryptography does not: of X.509 version 2 or 4, with a BIT STRING in a name,
with a key on a curve of their own. cryptography has no exception in common for them: ValueError, KeyError,
TypeError, InvalidVersion, UnsupportedAlgorithm and InternalError have been seen. A text that explains a
refusal must not depend on any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from cryptography import x509

__all__ = ["attempt", "days_left", "not_after", "public_key", "read"]

_T = TypeVar("_T")


def attempt(action: Callable[[], _T]) -> _T | None:
    """What `action` returns, or None if it raises an Exception."""
    try:
        return action()
    except Exception:
        return None


def read(der: bytes, field: Callable[[x509.Certificate], _T]) -> _T | None:
    """What `field` makes of the certificate in DER, or None where cryptography cannot read either."""
    return attempt(lambda: field(x509.load_der_x509_certificate(der)))


def not_after(der: bytes) -> datetime | None:
    """The moment in UTC at which the certificate ends (RFC 5280 4.1.2.5), or None."""
    return read(der, lambda certificate: certificate.not_valid_after_utc)


def days_left(der: bytes, now: datetime) -> int | None:
    """Whole days, rounded down, from the aware `now` to the certificate's end, or None."""
    end = not_after(der)
    return None if end is None else (end - now).days


def public_key(der: bytes) -> Any:
    """The certificate's key as an object of cryptography, or None."""
    return read(der, lambda certificate: certificate.public_key())
