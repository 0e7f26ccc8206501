# SPDX-License-Identifier: Apache-2.0
"""What is likely to hurt in a policy, before it does."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from itertools import dropwhile, islice

from publicsuffixlist import PublicSuffixList

from pinverify.hostnames import Match, candidate_patterns, host_ip, split_pattern
from pinverify.pins import Kind, Pin, PinSet
from pinverify.policy import Policy

__all__ = ["SOON", "Finding", "Severity", "lint"]

SOON = timedelta(days=30)  # ahead of an end, within which it is warned of


class Severity(enum.IntEnum):
    """How much a finding matters: an ERROR will refuse peers or pins nothing that was meant."""

    INFO = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about one entry: `why` it matters and the `remedy`, a line each. `code` does not change."""

    code: str
    severity: Severity
    entry: str
    why: str
    remedy: str


def lint(policy: Policy, *, now: datetime | None = None) -> list[Finding]:
    """What is found in the policy alone, without asking anybody; the worst first. `now` is aware."""
    now = now or datetime.now(timezone.utc)
    findings = [finding for pattern in policy.hosts for finding in _of_entry(policy, pattern, now)]
    findings += _between_entries(policy)
    return sorted(findings, key=lambda finding: -finding.severity)  # stable: entries keep their order


def _of_entry(policy: Policy, pattern: str, now: datetime) -> Iterator[Finding]:
    pins = policy.hosts[pattern]
    yield from _backup(pattern, pins)
    yield from _expiry(pattern, pins, now)
    yield from _kinds(pattern, pins)
    yield from _public_suffix(pattern)
    yield from _overlap(policy, pattern)
    if pins.mode == "report":
        yield Finding(
            "report-mode",
            Severity.INFO,
            pattern,
            "the entry only reports: it protects nobody",
            'set mode = "enforce" once the reports stay away',
        )


def _backup(pattern: str, pins: PinSet) -> Iterator[Finding]:
    if len({pin.digest for pin in pins.allow}) < 2:
        yield Finding(
            "no-backup",
            Severity.WARNING,
            pattern,
            "there is one pin: when that key is lost or replaced, every peer is refused (RFC 7469 4.3)",
            "add the pin of a second key, which is kept offline and not in use",
        )


def _expiry(pattern: str, pins: PinSet, now: datetime) -> Iterator[Finding]:
    if pins.expires is None or pins.expires > now + SOON:
        return
    expired = pins.expires <= now
    tense = f"{'expired' if expired else 'expire'} on {pins.expires:%Y-%m-%d}"
    then = "every peer is refused" if pins.on_expiry == "deny" else "OpenSSL alone decides, without pins"
    yield Finding(
        "expired" if expired else "expires-soon",
        Severity.ERROR if expired else Severity.WARNING,
        pattern,
        f"the pins {tense}; {'since' if expired else 'from'} then {then}",
        "look whether the pins are still right, and set a later date",
    )


def _kinds(pattern: str, pins: PinSet) -> Iterator[Finding]:
    if any(pin.kind is Kind.CERT for pin in pins.allow):
        yield Finding(
            "certificate-pin",
            Severity.WARNING,
            pattern,
            "a pin of a whole certificate matches nothing any more when the certificate is renewed",
            "pin the key instead: `pinverify pins FILE|HOST` prints its pin",
        )
    digests = [pin.digest for pin in pins.allow]
    if len(set(digests)) < len(digests):
        yield Finding(
            "same-digest",
            Severity.WARNING,
            pattern,
            "one digest stands as the pin of a key and of a certificate; it can be but one of them",
            "keep sha256/… if it is a key's, cert-sha256/… if it is a certificate's",
        )


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=False)


def _public_suffix(pattern: str) -> Iterator[Finding]:
    _, name = split_pattern(pattern)
    if host_ip(name) is None and _suffixes().publicsuffix(name) == name:
        yield Finding(
            "public-suffix",
            Severity.ERROR,
            pattern,
            f"{name!r} is a public suffix (publicsuffix.org): the hosts under it are many owners'",
            "name the hosts that are meant, or a domain that is one owner's",
        )


def _overlap(policy: Policy, pattern: str) -> Iterator[Finding]:
    wider = _wider(policy, pattern)
    if wider is not None and not set(policy.hosts[wider].allow) <= set(policy.hosts[pattern].allow):
        yield Finding(
            "overlap",
            Severity.INFO,
            pattern,
            f"{wider!r} covers it too, but the more specific entry decides alone: those pins do not count",
            "repeat them here if they are meant to count",
        )


def _wider(policy: Policy, pattern: str) -> str | None:
    """The entry that would decide if this one were not there."""
    match, name = split_pattern(pattern)
    labels = {Match.EXACT: "", Match.ONE_LABEL: "?.", Match.ANY_DEPTH: "?.?."}  # no entry has these
    candidates = dropwhile(lambda candidate: candidate != pattern, candidate_patterns(labels[match] + name))
    return next((candidate for candidate in islice(candidates, 1, None) if candidate in policy.hosts), None)


def _between_entries(policy: Policy) -> Iterator[Finding]:
    """What shows only when all entries are looked at together."""
    allowed: dict[Pin, str] = {}
    first: dict[PinSet, str] = {}
    for pattern, pins in policy.hosts.items():
        for pin in pins.allow:
            allowed.setdefault(pin, pattern)
        twin = first.setdefault(pins, pattern)
        if policy.hosts[twin] is not pins:
            yield Finding(
                "repeated",
                Severity.INFO,
                pattern,
                f"the entry has the same pins as {twin!r}: a rotation may forget one of the two",
                "give them one entry with names = [...]",
            )
    for pattern, pins in policy.hosts.items():
        for pin in pins.deny:
            if pin in allowed:
                yield Finding(
                    "denied-elsewhere",
                    Severity.ERROR,
                    pattern,
                    f"{pin} is denied here and allowed in {allowed[pin]!r}: a lost key is lost to all",
                    "deny it in all entries, or in none",
                )
