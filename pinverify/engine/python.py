# SPDX-License-Identifier: Apache-2.0
"""The engine in Python: what csrc/ does, function for function, for where the extension is not there.

It is slower and never laxer. The guard is in engine/python_guard.py.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL

from pinverify.decision import Decision, Reason, Status
from pinverify.engine.der import spki_of
from pinverify.engine.program import UNLISTED_PKIX, Program
from pinverify.engine.python_guard import PythonGuard
from pinverify.errors import MalformedCertificate
from pinverify.hostnames import Match, canonical_sni
from pinverify.pins import Kind, Pin, PinSet

if TYPE_CHECKING:
    from pinverify.policy import Policy

__all__ = ["NAME", "canonical_sni", "compile", "cpu_features", "install", "sha256", "spki"]

NAME = "python"

_MAX_CHAIN = 32  # PV_MAX_CHAIN


def cpu_features() -> str:
    """Which SHA-256 code runs: hashlib's."""
    return "hashlib"


def spki(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo element of a DER certificate. Raises MalformedCertificate."""
    status, element = spki_of(bytes(memoryview(der)))
    if status is not Status.OK:
        raise MalformedCertificate(f"not a certificate in DER: {status.text}")
    return element


def sha256(data: bytes) -> bytes:
    """The 32 bytes of SHA-256 (FIPS 180-4)."""
    return hashlib.sha256(data).digest()


class _Digests:
    """A set of digests in buckets, as csrc/pv_pinset.h has it.

    The whole of one bucket is compared, each digest with hmac.compare_digest, whose time does not depend on
    where two differ. No more is promised of time: what the interpreter does around it has not been examined.
    """

    __slots__ = ("_buckets", "_key", "_shift")

    def __init__(self, digests: list[bytes]) -> None:
        self._key = secrets.randbits(64) | 1
        self._shift = 64 - (len(digests) - 1).bit_length() if digests else 64
        self._buckets: dict[int, list[bytes]] = {}
        for digest in digests:
            self._buckets.setdefault(self._bucket(digest), []).append(digest)

    def __len__(self) -> int:
        return len(self._buckets)

    def __contains__(self, digest: bytes) -> bool:
        found = False
        for candidate in self._buckets.get(self._bucket(digest), ()):
            found |= hmac.compare_digest(candidate, digest)
        return found

    def _bucket(self, digest: bytes) -> int:
        return (int.from_bytes(digest[:8], "little") * self._key & 0xFFFFFFFFFFFFFFFF) >> self._shift


class _Pins:
    """The pins of one role: those on keys and those on whole certificates."""

    __slots__ = ("_certs", "_keys")

    def __init__(self, pins: Iterable[Pin]) -> None:
        pins = list(pins)
        self._keys = _Digests([pin.digest for pin in pins if pin.kind is Kind.SPKI])
        self._certs = _Digests([pin.digest for pin in pins if pin.kind is Kind.CERT])

    def __bool__(self) -> bool:
        return len(self._keys) + len(self._certs) > 0

    def have(self, key: bytes, der: bytes) -> bool:
        return key in self._keys or (len(self._certs) > 0 and sha256(der) in self._certs)


class _Entry:
    __slots__ = ("allow", "deny", "expires", "pkix_when_expired", "report_only")

    def __init__(self, pins: PinSet) -> None:
        self.allow = _Pins(pins.allow)
        self.deny = _Pins(pins.deny)
        self.expires = int(pins.expires.timestamp()) if pins.expires else None
        self.pkix_when_expired = pins.on_expiry == "pkix"
        self.report_only = pins.mode == "report"

    def judge(self, chain: Iterable[bytes]) -> tuple[Reason, int, Status]:
        """Reason, depth and status, as `pv_decision_add` of csrc/pv_decide.c finds them."""
        reason, settled, status = Reason.CHAIN_LENGTH, -1, Status.UNSET
        for depth, der in enumerate(chain):
            if depth == _MAX_CHAIN:
                return Reason.CHAIN_LENGTH, depth, status
            status, element = spki_of(der)
            if status is not Status.OK:
                return Reason.MALFORMED, depth, status
            key = sha256(element)
            if self.deny.have(key, der):
                return Reason.DENIED, depth, status
            if reason is not Reason.PINNED:
                reason = Reason.NOT_PINNED
                if self.allow.have(key, der):
                    reason, settled = Reason.PINNED, depth
            if reason is Reason.PINNED and not self.deny:
                break
        return reason, settled, status


class Compiled:
    """A policy as Python structures, immutable."""

    def __init__(self, policy: Policy) -> None:
        program = Program.of(policy)
        self.entries = program.entries
        self._entries = [_Entry(pins) for pins in program.entries]
        self._patterns = {(match, name): index for match, name, index in program.patterns}
        self._unlisted = program.unlisted

    def _find(self, host: str) -> int:
        """The index of the entry that decides: the most specific pattern's, or what is set for unlisted
        hosts.
        """
        labels = host.split(".")
        parents = [".".join(labels[i:]) for i in range(len(labels))]
        keys = [(Match.EXACT, host), *((Match.ONE_LABEL, parent) for parent in parents[1:2])]
        keys += [(Match.ANY_DEPTH, parent) for parent in parents]
        return next((self._patterns[key] for key in keys if key in self._patterns), self._unlisted)

    def open(self, host: str, now: int) -> tuple[int, Reason | None]:
        """The entry for a host, and the reason if the chain does not matter."""
        index = self._find(host)
        if index < 0:
            return index, Reason.UNLISTED_OK if index == UNLISTED_PKIX else Reason.UNLISTED
        entry = self._entries[index]
        if entry.expires is not None and now >= entry.expires:
            return index, Reason.EXPIRED_OK if entry.pkix_when_expired else Reason.EXPIRED
        return index, None

    def decide(self, host: str | None, chain: Iterable[bytes], now: int) -> Decision:
        """What the policy says of the canonical `host` with this chain, leaf first in DER, at Unix time
        `now`.
        """
        index, reason = self.open(host or "", now)
        if reason is not None:
            return self.close(index, reason)
        return self.close(index, *self._entries[index].judge(chain))

    def close(self, index: int, reason: Reason, depth: int = -1, status: Status = Status.UNSET) -> Decision:
        """The decision for a reason; report mode waives the verdict on pins."""
        reported = index >= 0 and self._entries[index].report_only and reason.is_violation
        return Decision(reason, reason.accepts or reported, index, depth, status)


def compile(policy: Policy) -> Compiled:
    """The policy as this engine wants it."""
    return Compiled(policy)


def install(context: SSL.Context, policy: Policy, **options: Any) -> PythonGuard:
    """Guards all connections that are made from `context` from now on, which must keep what is returned.

    The options are those of `Guard`.
    """
    return PythonGuard(context, policy, **options)
