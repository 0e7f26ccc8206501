# SPDX-License-Identifier: Apache-2.0
"""The value of --pinnedpubkey of curl and wget: hashes of keys, or the contents of a public key file."""

from __future__ import annotations

from pinverify.errors import InvalidPin, InvalidPolicyFile
from pinverify.formats.common import Exported, Imported, Source, sole_entry, undated, unsaid
from pinverify.pins import Pin
from pinverify.policy import Policy

__all__ = ["read", "write"]

_PREFIX = "sha256//"

_LEAF_ALONE = (
    "curl and wget compare the leaf's key alone; here a CA of the verified chain may have the key as well"
    ' (trust="pins" goes by the leaf alone)'
)


def read(data: bytes, *, source: str, host: str | None = None) -> Imported:
    """The pins for `host`: `sha256//<base64>;sha256//<base64>`, or a public key in PEM or DER.

    No blanks are taken between them, since curl does not know a pin behind one.
    """
    key = _key_file(data, source)
    file = Source(data if key is None else _text(key).encode(), source)
    pattern = file.host_wanted(host)
    value = file.text.strip()
    line = file.line_at(file.text.index(value))
    pins: list[Pin] = []
    for text in value.split(";"):
        pin = file.pin(text, line=line, entry=pattern)
        if not text.startswith(_PREFIX):  # Pin.parse takes more
            file.fail(f"a pin for curl begins with {_PREFIX}, without blanks ahead", line=line, entry=pattern)
        pins.append(pin)
    file.warn(_LEAF_ALONE)
    file.add(pattern, pins, line=line)
    return file.finish()


def _key_file(data: bytes, source: str) -> Pin | None:
    """The pin of a key file; None if it is not one."""
    if b"-----BEGIN" not in data and data[:1] != b"\x30":  # a SEQUENCE, X.690 8.9
        return None
    try:
        return Pin.from_public_key(data)
    except InvalidPin as error:
        raise InvalidPolicyFile(source, f"it is no public key file: {error}") from error


def _text(pin: Pin) -> str:
    return str(pin).replace("/", "//", 1)


def write(policy: Policy, *, host: str | None = None) -> Exported:
    """The value for an entry. Raises InvalidPolicy for pins of certificates and for denied keys."""
    pattern, pins = sole_entry(policy, host)
    warnings = unsaid(pattern, pins) + undated(pattern, pins)
    warnings += [
        f"{pattern}: curl and wget compare the leaf's key alone, so that the pin of a CA never matches",
        f"{pattern}: the value names no host; it holds for each that the call goes to, redirects among them",
    ]
    return Exported(";".join(map(_text, pins.allow)) + "\n", tuple(warnings))
