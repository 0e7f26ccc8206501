# SPDX-License-Identifier: Apache-2.0
"""Pin: one SHA-256 that a certificate may have. PinSet: the pins of one host, and what to do with them."""

from __future__ import annotations

import base64
import binascii
import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timezone
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pinverify.errors import InvalidPin, InvalidPolicy, shown

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from cryptography.x509 import Certificate
    from OpenSSL.crypto import X509

__all__ = ["Kind", "Pin", "PinSet"]

DIGEST_SIZE: Final = 32  # octets of a SHA-256

Mode: TypeAlias = Literal["enforce", "report"]
OnExpiry: TypeAlias = Literal["deny", "pkix"]


class Kind(enum.IntEnum):
    """What a pin is the SHA-256 of; `enum pv_kind` of the C core."""

    SPKI = 0  # the certificate's SubjectPublicKeyInfo, RFC 7469 2.4
    CERT = 1  # the whole certificate

    @classmethod
    def of(cls, kind: Kind | str) -> Kind:
        """The kind that is called "spki" or "cert". Raises InvalidPin for any other name."""
        if isinstance(kind, cls):
            return kind
        names = {member.name.lower(): member for member in cls}
        if not isinstance(kind, str) or kind not in names:
            raise InvalidPin(f"{shown(kind)} is not a kind of pin; there are 'spki' and 'cert'")
        return names[kind]


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """The SHA-256, 32 octets, of a certificate's SubjectPublicKeyInfo as it stands there, or of all of it."""

    digest: bytes
    kind: Kind = Kind.SPKI

    def __post_init__(self) -> None:
        if type(self.digest) is not bytes or len(self.digest) != DIGEST_SIZE:
            raise InvalidPin(f"{shown(self.digest)} is not a digest of 32 bytes; see Pin.parse for text")
        if type(self.kind) is not Kind:
            object.__setattr__(self, "kind", Kind.of(self.kind))

    def __str__(self) -> str:
        return _PREFIX[self.kind] + base64.b64encode(self.digest).decode("ascii")

    def __repr__(self) -> str:
        return f"Pin.parse({str(self)!r})"

    @classmethod
    def parse(cls, text: str, *, kind: Kind | str | None = None) -> Pin:
        """Read a pin in one of these forms.

        `sha256/<base64>`, `sha256//<base64>` (curl) and `pin-sha256="<base64>"` (RFC 7469 2.1.1) of a key;
        `cert-sha256/<base64>` of a whole certificate;
        64 hex digits, or 32 pairs of them with colons, if `kind` says what they are the hash of.

        The base64 is that of RFC 4648 4, padded, and the only one for its 32 octets. Raises InvalidPin for
        all else, and if `kind` contradicts the text.
        """
        wanted = None if kind is None else Kind.of(kind)
        if not isinstance(text, str):
            raise InvalidPin(f"{shown(text)} is not the text of a pin; a digest becomes one by Pin(digest)")
        if "-----BEGIN" in text:  # not shown: it might be a private key
            raise InvalidPin("a PEM block is not a pin; see Pin.from_certificate and Pin.from_public_key")
        if len(text) > _TEXT_MAX:
            raise InvalidPin(
                f"{shown(text)} is not a pin: none has more than {_TEXT_MAX} characters; write"
                " 'sha256/<base64>' or 'cert-sha256/<base64>'"
            )
        for regex, found in _FORMS:
            form = regex.fullmatch(text)
            if form is not None:
                if wanted not in (None, found):
                    raise InvalidPin(f"{shown(text)} is of {_OF_WHAT[found]}, and kind says otherwise")
                return cls(_from_base64(form[1], text), found)
        return cls(*_from_hex(text, wanted))

    @classmethod
    def from_certificate(cls, cert: bytes | Certificate | X509, kind: Kind | str = Kind.SPKI) -> Pin:
        """The pin of a certificate's key as it stands in it, or with kind="cert" of the whole certificate.

        `cert` is one certificate in DER or PEM, or an object of cryptography or pyOpenSSL. Raises InvalidPin
        if it is something else or there are several, MalformedCertificate if it is not that of RFC 5280 4.1.
        """
        from pinverify.encodings import certificate_der
        from pinverify.engine import engine

        kind = Kind.of(kind)
        der = certificate_der(cert)
        spki = engine.spki(der)  # for either kind: the hash of what is no certificate would never match
        return cls(engine.sha256(spki if kind is Kind.SPKI else der), kind)

    @classmethod
    def from_public_key(cls, key: bytes | PublicKeyTypes) -> Pin:
        """The pin of a public key.

        `key` is a SubjectPublicKeyInfo (RFC 5280 4.1.2.7) in DER or PEM ("PUBLIC KEY"), which is hashed as it
        stands, or an object of cryptography. Raises InvalidPin for all else, private keys among it.
        """
        from pinverify.encodings import key_der
        from pinverify.engine import engine

        return cls(engine.sha256(key_der(key)))


@dataclass(frozen=True, slots=True, init=False, eq=False)
class PinSet:
    """The pins of one host, and what to do with them. Immutable.

    `allow` and `deny` keep their order, without repetitions; order does not count when sets are compared.
    `mode` "report" waives the verdict on pins and nothing else: a violation is told, and the peer accepted.
    `expires` is the moment, in UTC and whole seconds, from which on the pins do not count; then `on_expiry`
    refuses ("deny") or accepts what OpenSSL accepts ("pkix"). `note` is for people, and counts for nothing.
    """

    allow: tuple[Pin, ...]
    deny: tuple[Pin, ...]
    mode: Mode
    expires: datetime | None
    on_expiry: OnExpiry
    note: str

    def __init__(
        self,
        allow: Iterable[Pin | str],
        *,
        deny: Iterable[Pin | str] = (),
        mode: Mode = "enforce",
        expires: date | datetime | str | None = None,
        on_expiry: OnExpiry = "deny",
        note: str = "",
    ) -> None:
        """Take pins, or texts for Pin.parse. `expires` is an aware datetime, a date (its start in UTC), or
        either in ISO 8601, as "2027-06-01"; fractions of a second are cut off.

        Raises InvalidPin for a bad pin, if none is allowed (it never means that all are) and if one is both
        allowed and denied; InvalidPolicy for a bad option.
        """
        allowed, denied = _pins("allow", allow), _pins("deny", deny)
        if not allowed:
            raise InvalidPin("no pin is allowed, which never means that all are; name at least one")
        both = set(denied).intersection(allowed) if denied else None
        if both:
            raise InvalidPin(f"{min(both)} is both allowed and denied")
        set_field = object.__setattr__
        set_field(self, "allow", allowed)
        set_field(self, "deny", denied)
        set_field(self, "mode", one_of("mode", mode, ("enforce", "report")))
        set_field(self, "expires", None if expires is None else _moment(expires))
        set_field(self, "on_expiry", one_of("on_expiry", on_expiry, ("deny", "pkix")))
        if not isinstance(note, str):
            raise InvalidPolicy(f"note is {shown(note)}, and has to be a str")
        set_field(self, "note", note)

    @classmethod
    def from_digests(cls, digests: Iterable[bytes], kind: Kind | str = Kind.SPKI, **options: Any) -> PinSet:
        """The set that allows all pins of a kind with these digests, 32 bytes each; options as PinSet has."""
        kind = Kind.of(kind)
        return cls([Pin(digest, kind) for digest in digests], **options)

    def __eq__(self, other: object) -> bool:
        return self._content() == other._content() if isinstance(other, PinSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._content())

    def __repr__(self) -> str:
        expires = self.expires and self.expires.isoformat()
        options = f"mode={self.mode!r}, expires={expires!r}, on_expiry={self.on_expiry!r}"
        return f"PinSet({_few(self.allow)}, deny={_few(self.deny)}, {options})"

    def _content(self) -> tuple[object, ...]:
        return frozenset(self.allow), frozenset(self.deny), self.mode, self.expires, self.on_expiry


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """Return `value`, the option called `name`, if it is one of those allowed. Raises InvalidPolicy."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidPolicy(f"{name} is {shown(value)}, and has to be {' or '.join(map(repr, allowed))}")
    return value


def _pins(name: str, values: Iterable[Pin | str]) -> tuple[Pin, ...]:
    """Pins in the order given, without repetitions."""
    if isinstance(values, (str, bytes, Pin)) or not isinstance(values, Iterable):
        raise InvalidPin(f"{name} is {shown(values)}; put pins in a list, even a single one")
    pins = [value if isinstance(value, Pin) else Pin.parse(value) for value in values]
    if len(set(map(attrgetter("digest"), pins))) == len(pins):  # as a rule, and without calling Pin.__hash__
        return tuple(pins)
    return tuple(dict.fromkeys(pins))


def _few(pins: tuple[Pin, ...]) -> str:
    texts = [repr(str(pin)) for pin in pins[:_SHOWN]]
    more = [f"… {len(pins) - _SHOWN:,} more"] if len(pins) > _SHOWN else []
    return f"[{', '.join(texts + more)}]"


_SHOWN = 3  # pins of a set that its repr has

# -- Moments --

# Fewer of the forms of ISO 8601 than later Pythons read, so that all read the same.
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_MOMENT = "a date such as '2027-06-01', or a date and time with its offset from UTC"


def _moment(given: date | datetime | str) -> datetime:
    """The moment in UTC. Raises InvalidPolicy."""
    try:
        moment = _from_iso(given) if isinstance(given, str) else given
        if not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day, tzinfo=timezone.utc)
        if moment.utcoffset() is None:
            raise ValueError("it has a time without an offset from UTC")
        return moment.astimezone(timezone.utc).replace(microsecond=0)
    except (ValueError, OverflowError, AttributeError) as error:
        raise InvalidPolicy(f"expires is {shown(given)}, and has to be {_MOMENT}: {error}") from error


def _from_iso(text: str) -> datetime:
    parts = _ISO.fullmatch(text)
    if parts is None:
        raise ValueError("it is not in ISO 8601")
    day, time, offset = parts.groups()
    offset = "+00:00" if time is None or offset == "Z" else offset or ""
    return datetime.fromisoformat(f"{day}T{time or '00:00'}{offset}")


# -- Pins as text --

_TEXT_MAX = 1000  # characters; the longest form, pairs of hex digits, has 95
_PREFIX = {Kind.SPKI: "sha256/", Kind.CERT: "cert-sha256/"}
_OF_WHAT = {Kind.SPKI: "a key", Kind.CERT: "a whole certificate"}
# A second slash is curl's, unless there would be 43 characters left: base64 has slashes too.
_FORMS = (
    (re.compile(r"sha256/(?:/(?![^=]{42}=\Z))?(.*)", re.DOTALL), Kind.SPKI),
    (re.compile(r'pin-sha256="([^"]*)"'), Kind.SPKI),
    (re.compile(r"cert-sha256/(.*)", re.DOTALL), Kind.CERT),
)
# 32 octets, padded, the two bits of the last character that are left over zero (RFC 4648 3.5).
_BASE64 = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
_OTHER_HASH = re.compile(r"(?:cert-|pin-)?(md5|sha-?(?:1|224|384|512|3-?\d+))[/:=]", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-fA-F]{2}(?:(?::[0-9a-fA-F]{2})+|(?:[0-9a-fA-F]{2})+)")
_HASH_OF_SIZE = {16: "MD5", 20: "SHA-1", 48: "SHA-384", 64: "SHA-512"}


def _from_base64(body: str, text: str) -> bytes:
    if _BASE64.fullmatch(body) is None:
        raise InvalidPin(f"{shown(text)} {_base64_trouble(body)}")
    return binascii.a2b_base64(body)


def _base64_trouble(body: str) -> str:
    """Say why `body` is not the base64 of a SHA-256."""
    if re.search(r"[-_]", body):
        return "has URL-safe base64; write '+' for '-' and '/' for '_'"
    if re.search(r"\s", body):
        return "has white space in its base64"
    try:
        size = len(base64.b64decode(body, validate=True))
    except ValueError as error:
        return f"is not base64 with its padding (RFC 4648 4): {error}"
    if size != DIGEST_SIZE:
        return _size_trouble(size)
    return "sets bits that base64 leaves unused (RFC 4648 3.5); was it changed?"


def _from_hex(text: str, kind: Kind | None) -> tuple[bytes, Kind]:
    other = _OTHER_HASH.match(text)
    if other is not None:
        raise InvalidPin(f"{shown(text)} is a pin of {other[1].upper()}, and only SHA-256 is taken")
    if _HEX.fullmatch(text) is None:
        raise InvalidPin(f"{shown(text)} is not a pin; write 'sha256/<base64>' or 'cert-sha256/<base64>'")
    digest = bytes.fromhex(text.replace(":", ""))
    if len(digest) != DIGEST_SIZE:
        raise InvalidPin(f"{shown(text)} {_size_trouble(len(digest))}")
    if kind is None:
        raise InvalidPin(f"{shown(text)} does not say of what; give kind='spki' (a key) or kind='cert'")
    return digest, kind


def _size_trouble(size: int) -> str:
    like = f", as a digest of {_HASH_OF_SIZE[size]}" if size in _HASH_OF_SIZE else ""
    return f"holds {size} bytes{like}; a SHA-256 has {DIGEST_SIZE}"
