# SPDX-License-Identifier: Apache-2.0
"""`pinverify pins`: the certificates of a file or of a server, each with its pins."""

from __future__ import annotations

import base64
import os
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
from cryptography import x509

from pinverify.cli.peer import invalid_input, no_connection, sent_by
from pinverify.errors import MalformedCertificate, shown
from pinverify.hostnames import host_and_port
from pinverify.pins import Pin
from pinverify.verdict import subject_of

__all__ = ["Entry", "Listing", "certificates_in", "listing_of"]

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s(.*?)-----END CERTIFICATE-----", re.DOTALL)


class Entry(NamedTuple):
    """A certificate; without pins, and with a `problem`, if it is malformed."""

    depth: int
    subject: str
    pin: Pin | None
    cert_pin: Pin | None
    not_after: datetime | None
    problem: str | None

    @property
    def as_json(self) -> dict[str, Any]:
        """The entry in JSON's types. `pin` is the one of the key."""
        return {
            "depth": self.depth,
            "subject": self.subject,
            "pin": self.pin and str(self.pin),
            "cert_pin": self.cert_pin and str(self.cert_pin),
            "not_after": self.not_after and self.not_after.isoformat(),
            "problem": self.problem,
        }


class Listing(NamedTuple):
    """Certificates in their order. `note` says what the reader must know about them, if anything."""

    source: str
    entries: tuple[Entry, ...]
    note: str | None


def listing_of(source: str, timeout: float) -> Listing:
    """The certificates of a file, if there is one of that name, else those that a server sends.

    Raises click's exceptions: of usage, or NoConnection.
    """
    if source == "-" or Path(source).exists():
        return Listing(source, _entries(certificates_in(source)), None)
    if os.sep in source and "://" not in source:
        raise click.UsageError(f"there is no file {shown(source)}")
    with invalid_input():
        host, port = host_and_port(source)
    with no_connection(f"{source} (there is no file of that name)"):
        sent = sent_by(host, port, timeout)
    note = f"NOT VERIFIED: this is what {source} sends; anybody in between could have sent it"
    return Listing(source, _entries(sent), note)


def certificates_in(source: str) -> list[bytes]:
    """The certificates of a file ("-" is standard input) as DER. Raises click's error of usage."""
    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        ders = [base64.b64decode(b"".join(body.split()), validate=True) for body in _PEM.findall(content)]
    except OSError as error:
        raise click.UsageError(f"{shown(source)} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise click.UsageError(f"{shown(source)}: a PEM certificate in it is not base64: {error}") from error
    if not ders and content[:1] == b"\x30":  # the SEQUENCE that a certificate in DER is
        ders = [content]
    if not ders:
        raise click.UsageError(f"{shown(source)} holds no certificate, neither in PEM nor in DER")
    return ders


def _entries(ders: list[bytes] | tuple[bytes, ...]) -> tuple[Entry, ...]:
    return tuple(_entry(depth, der) for depth, der in enumerate(ders))


def _entry(depth: int, der: bytes) -> Entry:
    subject = subject_of(der)
    try:
        pin, cert_pin = Pin.from_certificate(der), Pin.from_certificate(der, "cert")
    except MalformedCertificate as error:
        return Entry(depth, subject, None, None, None, str(error))
    return Entry(depth, subject, pin, cert_pin, _not_after(der), None)


def _not_after(der: bytes) -> datetime | None:
    try:
        return x509.load_der_x509_certificate(der).not_valid_after_utc
    except ValueError:  # a pin needs only the key; that dates cannot be read is no reason to hide it
        return None
