# SPDX-License-Identifier: Apache-2.0
"""SHA-256 fingerprints of whole certificates in hex, as urllib3, aiohttp and netty take them."""

from __future__ import annotations

import re

from pinverify.formats.common import Exported, Imported, Source, sole_entry, undated, unsaid
from pinverify.pins import Kind, Pin
from pinverify.policy import Policy

__all__ = ["read", "write"]

_LABEL = re.compile(r"\A[ \t]*sha-?256 fingerprint[ \t]*=", re.IGNORECASE)  # of `openssl x509 -fingerprint`
_HEX = re.compile(r"[0-9A-Fa-f:]+")

_LEAF_ALONE = (
    "a fingerprint is of the leaf alone, and may stand in for CA and name; here OpenSSL verifies both too,"
    ' and a CA of the verified chain may have the fingerprint (trust="pins" goes by the leaf alone)'
)


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The fingerprints for `host`: 64 hex digits or 32 pairs with colons, each on a line or between commas.

    A line may begin with "sha256 Fingerprint=", and what follows a # is a comment.
    """
    file = Source(data, source)
    pattern = file.host_wanted(host)
    pins: list[Pin] = []
    for number, line in enumerate(file.text.split("\n"), start=1):
        digests = _LABEL.sub("", line.partition("#")[0], count=1).replace(",", " ").split()
        pins += [_pin(file, digest, number, pattern) for digest in digests]
    file.warn(_LEAF_ALONE)
    file.add(pattern, pins)
    return file.finish()


def _pin(file: Source, digest: str, line: int, entry: str) -> Pin:
    pin = file.pin(digest, kind=Kind.CERT, line=line, entry=entry)
    if _HEX.fullmatch(digest) is None:  # Pin.parse takes more
        file.fail("a fingerprint has hex digits and colons alone", line=line, entry=entry)
    return pin


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """The fingerprints of an entry, one a line. Raises InvalidPolicy for pins of keys and for denied ones."""
    pattern, pins = sole_entry(policy, host)
    warnings = unsaid(pattern, pins, kinds=(Kind.CERT,)) + undated(pattern, pins)
    warnings.append(
        f"{pattern}: the leaf's fingerprint alone is compared, so that one of a CA never matches, and neither"
        " CA nor name may be asked for any more (urllib3 leaves the name out)"
    )
    if len(pins.allow) > 1:
        warnings.append(f"{pattern}: urllib3 and aiohttp take one fingerprint a connection, netty all")
    return Exported("".join(f"{pin.digest.hex()}\n" for pin in pins.allow), tuple(warnings))
