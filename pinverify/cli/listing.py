# SPDX-License-Identifier: Apache-2.0
"""`pinverify pins`: what has a key in a file, or the certificates of a server, each with its pins."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from pinverify.cli.peer import invalid_input, no_connection, sent_by
from pinverify.encodings import pem_blocks
from pinverify.errors import MalformedCertificate, shown
from pinverify.hostnames import host_and_port
from pinverify.pins import Pin
from pinverify.reading import not_after
from pinverify.verdict import printable, subject_of

__all__ = ["Entry", "Listing", "certificates_in", "listing_of"]

_PUBLIC = ("CERTIFICATE", "PUBLIC KEY", "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
_PRIVATE = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY")


class Entry(NamedTuple):
    """A certificate, or something else with a key; without pins, and with a `problem`, if it is malformed.

    `cert_pin` and `not_after` are those of a certificate.
    """

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

    def at(self, depths: Collection[int]) -> Listing:
        """What is at these places; all of it if none is named. Raises click's error of usage."""
        absent = set(depths) - {entry.depth for entry in self.entries}
        if absent:
            raise click.UsageError(f"there is nothing at depth {min(absent)} of {shown(self.source)}")
        return self._replace(
            entries=tuple(entry for entry in self.entries if not depths or entry.depth in depths)
        )


def listing_of(source: str, timeout: float) -> Listing:
    """What has a key in a file, if there is one of that name, else the certificates that a server sends.

    Raises click's exceptions: of usage, or NoConnection.
    """
    if source == "-" or Path(source).exists():
        entries = [_entry(depth, label, der) for depth, (label, der) in enumerate(_blocks(source))]
        return Listing(source, tuple(entries), None)
    if os.sep in source and "://" not in source:
        raise click.UsageError(f"there is no file {shown(source)}")
    with invalid_input():
        host, port = host_and_port(source)
    with no_connection(f"{source} (there is no file of that name)"):
        sent = sent_by(host, port, timeout)
    note = f"NOT VERIFIED: this is what {source} sends; anybody in between could have sent it"
    return Listing(source, tuple(map(_of_certificate, range(len(sent)), sent)), note)


def certificates_in(source: str) -> list[bytes]:
    """The certificates of a file ("-" is standard input) as DER. Raises click's error of usage."""
    ders = [der for label, der in _blocks(source) if label == "CERTIFICATE"]
    if not ders:
        raise click.UsageError(f"{shown(source)} holds no certificate, neither in PEM nor in DER")
    return ders


def _blocks(source: str) -> list[tuple[str, bytes]]:
    """What has a key in a file: labels of PEM (RFC 7468) with the DER below them.

    A private key is passed over where its certificate stands beside it.
    """
    try:
        content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{shown(source)} cannot be read: {error.strerror}") from error
    pem = list(pem_blocks(content))
    found = [block for block in pem if block[0] in _PUBLIC] or [
        block for block in pem if block[0] in _PRIVATE
    ]
    if not found and content[:1] == b"\x30":  # the SEQUENCE that all of them are in DER
        return [(_label_of(content), content)]
    if not found:
        raise click.UsageError(f"{shown(source)} holds no certificate and no key, neither in PEM nor in DER")
    return [(label, _from_base64(source, label, body)) for label, body in found]


def _from_base64(source: str, label: str, body: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except ValueError as error:
        raise click.UsageError(f"{shown(source)}: its PEM {label.lower()} is not base64: {error}") from error


def _label_of(der: bytes) -> str:
    """What a DER file is. A certificate, unless it can be read as something else."""
    for label, load in (
        ("PUBLIC KEY", load_der_public_key),
        ("CERTIFICATE REQUEST", x509.load_der_x509_csr),
        ("PRIVATE KEY", _load_private),
    ):
        with suppress(Exception):  # cryptography has no common one for what it cannot read
            load(der)
            return label
    return "CERTIFICATE"


def _load_private(der: bytes) -> Any:
    return load_der_private_key(der, None)


def _entry(depth: int, label: str, der: bytes) -> Entry:
    if label == "CERTIFICATE":
        return _of_certificate(depth, der)
    try:
        if label.endswith("REQUEST"):
            request = x509.load_der_x509_csr(der)
            subject = printable(request.subject.rfc4514_string())
            return _of_key(depth, f"{subject} (request)", request.public_key())
        if label == "PUBLIC KEY":
            return _of_key(depth, "(public key)", der)
        return _of_key(depth, "(private key)", _load_private(der).public_key())
    except Exception as error:  # cryptography has no common one for what it cannot read
        return Entry(depth, f"({label.lower()})", None, None, None, str(error))


def _of_key(depth: int, subject: str, key: Any) -> Entry:
    return Entry(depth, subject, Pin.from_public_key(key), None, None, None)


def _of_certificate(depth: int, der: bytes) -> Entry:
    subject = subject_of(der)
    try:
        pin, cert_pin = Pin.from_certificate(der), Pin.from_certificate(der, "cert")
    except MalformedCertificate as error:
        return Entry(depth, subject, None, None, None, str(error))
    # A pin needs only the key: that dates cannot be read is no reason to hide it.
    return Entry(depth, subject, pin, cert_pin, not_after(der), None)
