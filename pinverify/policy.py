# SPDX-License-Identifier: Apache-2.0
"""Policy: which pins count for which host."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from pinverify.errors import InvalidHost, InvalidPin, InvalidPolicy, shown
from pinverify.hostnames import Match, candidate_patterns, canonical_host, canonical_pattern, split_pattern
from pinverify.pins import Pin, PinSet, one_of

if TYPE_CHECKING:
    from pinverify.engine import Compiled
    from pinverify.verdict import Verdict

__all__ = ["Policy"]

Pins: TypeAlias = PinSet | Iterable[Pin | str]
Unlisted: TypeAlias = Literal["deny", "pkix"]


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Policy:
    """Host patterns and the PinSet of each. Immutable; equal if equal in all that counts for a decision.

    `hosts` maps canonical patterns to PinSets, read-only: "api.example.com", "*.example.com" (one label
    more), "**.example.com" (the name itself and any depth). The most specific pattern decides alone. A host
    that none covers is refused (`unlisted` "deny") or left to OpenSSL ("pkix").

    The policy of a server, made by `of_clients`, has no hosts, and as `unlisted` the PinSet of everybody.
    """

    hosts: MappingProxyType[str, PinSet]
    unlisted: Unlisted | PinSet
    _fingerprint: bytes | None
    _compiled: Compiled | None

    def __init__(self, hosts: Mapping[str, Pins], *, unlisted: Unlisted = "deny") -> None:
        """Take patterns in any spelling, and for each a PinSet or the pins that it is to allow.

        Raises InvalidPolicy if there is no host, if two patterns are the same one or one is no pattern, and
        for a bad option; InvalidPin, with the name of the entry, for bad pins.
        """
        if not isinstance(hosts, Mapping):
            raise InvalidPolicy(f"hosts is {shown(hosts)}, and has to be a mapping from patterns to pins")
        if not hosts:
            raise InvalidPolicy("a policy without hosts pins nothing; name at least one")
        one_of("unlisted", unlisted, ("deny", "pkix"))
        self._set(_entries(hosts), unlisted)

    @classmethod
    def of_entries(cls, entries: Mapping[str, PinSet], *, unlisted: Unlisted = "deny") -> Policy:
        """The policy of patterns that are canonical already, and PinSets."""
        policy = object.__new__(cls)
        policy._set(dict(entries), unlisted)
        return policy

    @classmethod
    def of_clients(cls, pins: Pins) -> Policy:
        """The policy of a server, whose peers have keys and no names: one PinSet for all of them."""
        policy = object.__new__(cls)
        policy._set({}, pins if isinstance(pins, PinSet) else PinSet(pins))
        return policy

    def _set(self, hosts: dict[str, PinSet], unlisted: Unlisted | PinSet) -> None:
        object.__setattr__(self, "hosts", MappingProxyType(hosts))
        object.__setattr__(self, "unlisted", unlisted)
        object.__setattr__(self, "_fingerprint", None)
        object.__setattr__(self, "_compiled", None)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """The policy in a TOML file. Raises InvalidPolicyFile, with file, line and entry."""
        from pinverify.formats import read_file, toml

        return toml.read(read_file(path), source=os.fspath(path)).policy

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Writes a TOML file that `load` makes this policy of again.

        Raises InvalidPolicy for a server's policy, which has no hosts, and OSError.
        """
        from pinverify.formats import toml

        text = toml.write(self).text
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)

    def entry(self, host: str | bytes) -> tuple[str, PinSet] | None:
        """The pattern that decides for `host`, and its PinSet; None if there is none. Raises InvalidHost."""
        pattern, pins = self.find(canonical_host(host))
        return None if pattern is None or pins is None else (pattern, pins)

    def find(self, host: str | None) -> tuple[str | None, PinSet | None]:
        """As `entry`, of a host that is canonical already, or None for a client of a server. The pattern is
        None where no pattern decides, and the PinSet where none does.
        """
        for pattern in candidate_patterns(host) if host else ():
            pins = self.hosts.get(pattern)
            if pins is not None:
                return pattern, pins
        return None, self.unlisted if isinstance(self.unlisted, PinSet) else None

    def decided_by(self, host: str | None, entry: int) -> tuple[str | None, PinSet | None]:
        """The pattern and the PinSet of a decision about a canonical `host`: those of the entry that the
        engine gave, by its number, and not those that a second search would find. None for a number below 0.
        """
        if entry < 0:
            return None, None
        pins = self.compiled.entries[entry]
        patterns = candidate_patterns(host) if host else ()
        return next((name for name in patterns if self.hosts.get(name) is pins), None), pins

    def decide(self, host: str | bytes, chain: Sequence[bytes], *, now: datetime | None = None) -> Verdict:
        """What this policy says of `host` with the verified `chain`, DER certificates, leaf first, at `now`.

        No network and no OpenSSL: neither signatures nor names are checked. `now` is aware; the default
        is the clock's. Raises InvalidHost, and InvalidPolicy for a naive `now`.
        """
        from pinverify.verdict import Verdict

        name, ders = canonical_host(host), tuple(chain)
        if now is not None and now.utcoffset() is None:
            raise InvalidPolicy(f"now is {now}, which has no offset from UTC")
        moment = int(time.time() if now is None else now.timestamp())
        return Verdict.of(self, self.compiled.decide(name, ders, moment), host=name, chain=ders)

    @property
    def compiled(self) -> Compiled:
        """This policy as the engine wants it: compiled when first asked for, then shared by all contexts."""
        from pinverify.engine import engine

        if self._compiled is None:
            object.__setattr__(self, "_compiled", engine.compile(self))
        assert self._compiled is not None
        return self._compiled

    @property
    def sole_host(self) -> str | None:
        """The one host that the policy lets in: a single entry without a wildcard, with the rest denied."""
        if len(self.hosts) != 1 or self.unlisted != "deny":
            return None
        match, name = split_pattern(next(iter(self.hosts)))
        return name if match is Match.EXACT else None

    @property
    def fingerprint(self) -> bytes:
        """The SHA-256, 32 bytes, of all that counts for a decision. No order does: of hosts or of pins."""
        if self._fingerprint is None:
            object.__setattr__(self, "_fingerprint", _digest(_policy_fields(self)))
        assert self._fingerprint is not None
        return self._fingerprint

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Policy) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        names = ", ".join(map(repr, list(self.hosts)[:_SHOWN]))
        more = f", … {len(self.hosts) - _SHOWN:,} more" if len(self.hosts) > _SHOWN else ""
        return f"<Policy of [{names}{more}], unlisted={self.unlisted!r}>"

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (dict(self.hosts), self.unlisted)  # a mapping proxy cannot be pickled


_SHOWN = 3  # hosts of a policy that its repr has


def _restore(hosts: dict[str, PinSet], unlisted: Unlisted | PinSet) -> Policy:
    return Policy.of_clients(unlisted) if isinstance(unlisted, PinSet) else Policy(hosts, unlisted=unlisted)


def _entries(hosts: Mapping[str, Pins]) -> dict[str, PinSet]:
    entries: dict[str, PinSet] = {}
    for name, pins in hosts.items():
        pattern = _pattern(name)
        if pattern in entries:
            first = next(other for other in hosts if _pattern(other) == pattern)
            raise InvalidPolicy(f"{shown(first)} and {shown(name)} are the same pattern, {pattern!r}")
        entries[pattern] = pins if isinstance(pins, PinSet) else _pin_set(name, pins)
    return entries


def _pattern(name: str) -> str:
    try:
        return canonical_pattern(name)
    except InvalidHost as error:
        raise InvalidPolicy(f"entry {shown(name)}: {error}") from error


def _pin_set(name: str, pins: Iterable[Pin | str]) -> PinSet:
    try:
        return PinSet(pins)
    except InvalidPin as error:
        raise InvalidPin(f"entry {shown(name)}: {error}") from error


# -- The fingerprint --

# Each field is a tag of one octet, the length of its value in eight, big-endian, and the value, so that no
# two policies have the same encoding.
_VERSION = b"pinverify policy 1"


def _field(tag: bytes, value: bytes) -> bytes:
    return tag + len(value).to_bytes(8, "big") + value


def _digest(fields: Iterable[bytes]) -> bytes:
    state = hashlib.sha256()
    for field in fields:
        state.update(field)
    return state.digest()


def _policy_fields(policy: Policy) -> Iterable[bytes]:
    digests: dict[int, bytes] = {}  # by id: a PinSet that many hosts share is hashed once

    def of(pins: PinSet) -> bytes:
        if id(pins) not in digests:
            digests[id(pins)] = _digest(_pin_set_fields(pins))
        return digests[id(pins)]

    unlisted = policy.unlisted
    yield _field(b"V", _VERSION)
    yield _field(b"p", of(unlisted)) if isinstance(unlisted, PinSet) else _field(b"u", unlisted.encode())
    for pattern in sorted(policy.hosts):
        yield _field(b"h", pattern.encode("ascii"))
        yield _field(b"p", of(policy.hosts[pattern]))


def _pin_set_fields(pins: PinSet) -> Iterable[bytes]:
    yield _field(b"a", _packed(pins.allow))
    yield _field(b"d", _packed(pins.deny))
    yield _field(b"m", pins.mode.encode())
    yield _field(b"e", b"" if pins.expires is None else pins.expires.isoformat().encode())
    yield _field(b"o", pins.on_expiry.encode())


def _packed(pins: tuple[Pin, ...]) -> bytes:
    """Pins of 33 octets each, sorted: the kind, then the digest."""
    return b"".join(sorted([b"%c%b" % (pin.kind, pin.digest) for pin in pins]))
