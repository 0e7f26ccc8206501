# SPDX-License-Identifier: Apache-2.0
"""The certificates of a Verdict, each with what a person wants to know of it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, NamedTuple

from pinverify.diagnosis import pin_of, pins_of
from pinverify.reading import attempt, days_left, public_key
from pinverify.verdict import Verdict, subject_of

__all__ = ["Link", "links"]


class Link(NamedTuple):
    """One certificate. `depth` is its place in the verified chain, None if it was only sent."""

    depth: int | None
    subject: str
    issuer: str
    key: str
    pin: str
    sent: bool
    days_left: int | None
    matched: bool


def links(verdict: Verdict) -> list[Link]:
    """The verified chain from the leaf up, then what was sent besides."""
    besides = [der for der in verdict.sent if der not in verdict.chain]
    places = [*enumerate(verdict.chain), *((None, der) for der in besides)]
    return [_link(verdict, depth, der) for depth, der in places]


def _link(verdict: Verdict, depth: int | None, der: bytes) -> Link:
    key = public_key(der)
    return Link(
        depth,
        subject_of(der),
        subject_of(der, of_issuer=True),
        "" if key is None else attempt(lambda: _key(key)) or "",
        str(pin_of(der) or "malformed"),
        der in verdict.sent,
        days_left(der, datetime.now(timezone.utc)),
        not pins_of((der,)).isdisjoint(verdict.expected),
    )


def _key(key: Any) -> str:
    """The kind of a key in a word or two: "P-256", "RSA 2048", "Ed25519"."""
    curve = getattr(key, "curve", None)
    if curve is not None:
        return _CURVES.get(curve.name, str(curve.name))
    name = type(key).__name__.removesuffix("PublicKey").removeprefix("_")
    size = getattr(key, "key_size", None)
    return f"{name} {size}" if size is not None else name


_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}  # by NIST's names
