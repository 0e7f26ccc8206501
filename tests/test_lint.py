# SPDX-License-Identifier: Apache-2.0
"""Lint: each finding comes up where it should, and nowhere else."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pinverify import Kind, Pin, PinSet, Policy
from pinverify.lint import Severity, lint

ONE, TWO, THREE = (Pin(bytes([number]) * 32) for number in (1, 2, 3))
GOOD = PinSet([ONE, TWO])
NOW = datetime(2027, 6, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)


def codes(hosts: dict[str, Any]) -> list[tuple[str, str]]:
    return [(finding.code, finding.entry) for finding in lint(Policy(hosts), now=NOW)]


def test_a_good_policy_has_no_findings() -> None:
    """Two keys, an expiry that is far, hosts of one owner: nothing to say."""
    far = PinSet([ONE, TWO], expires=NOW + 31 * DAY)
    assert codes({"a.example.com": far, "**.b.example.com": GOOD, "192.0.2.1": GOOD, "::1": GOOD}) == []


CASES: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "no backup": ({"a.test": [ONE]}, [("no-backup", "a.test")]),
    "expired": ({"a.test": PinSet([ONE, TWO], expires=NOW)}, [("expired", "a.test")]),
    "expires soon": ({"a.test": PinSet([ONE, TWO], expires=NOW + 30 * DAY)}, [("expires-soon", "a.test")]),
    "certificate pin": ({"a.test": [ONE, Pin(bytes(32), Kind.CERT)]}, [("certificate-pin", "a.test")]),
    "same digest": (
        {"a.test": [ONE, TWO, Pin(ONE.digest, Kind.CERT)]},
        [("certificate-pin", "a.test"), ("same-digest", "a.test")],
    ),
    "public suffix": (
        {"**.co.uk": GOOD, "*.github.io": GOOD, "com": GOOD, "*.a.github.io": GOOD, "*.internal": GOOD},
        [("public-suffix", "**.co.uk"), ("public-suffix", "*.github.io"), ("public-suffix", "com")],
    ),
    "overlap": (
        {"a.x.test": [ONE, THREE], "*.x.test": [TWO, THREE], "**.x.test": [ONE, TWO], "y.test": [ONE, TWO]},
        [("overlap", "a.x.test"), ("overlap", "*.x.test"), ("repeated", "y.test")],
    ),
    "overlap that has all": ({"a.x.test": [ONE, TWO, THREE], "**.x.test": GOOD}, []),
    "overlap at any depth": (
        {"**.b.x.test": [ONE, THREE], "**.x.test": GOOD},
        [("overlap", "**.b.x.test")],
    ),
    "repeated": ({"a.test": [ONE, TWO], "b.test": [TWO, ONE]}, [("repeated", "b.test")]),
    "one entry for two": ({"a.test": GOOD, "b.test": GOOD}, []),
    "denied elsewhere": (
        {"a.test": GOOD, "b.test": PinSet([TWO, THREE], deny=[ONE])},
        [("denied-elsewhere", "b.test")],
    ),
    "report mode": ({"a.test": PinSet([ONE, TWO], mode="report")}, [("report-mode", "a.test")]),
}


@pytest.mark.parametrize(("hosts", "expected"), CASES.values(), ids=CASES)
def test_what_is_found(hosts: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Each code comes up for the entries that it is about, and for no other."""
    assert codes(hosts) == expected


def test_a_finding_says_why_and_what_to_do() -> None:
    """Each in a line; the worst come first."""
    hosts = {
        "a.test": PinSet([ONE], expires=NOW, mode="report"),
        "**.co.uk": PinSet([TWO], deny=[ONE]),
    }
    findings = lint(Policy(hosts), now=NOW)
    assert [finding.severity for finding in findings] == sorted(
        (finding.severity for finding in findings), reverse=True
    )
    assert findings[0].severity is Severity.ERROR
    for finding in findings:
        assert "\n" not in finding.why + finding.remedy
        assert finding.why
        assert finding.remedy


def test_the_clock_is_the_default() -> None:
    """Without `now` it is now."""
    yesterday = PinSet([ONE, TWO], expires=datetime.now(timezone.utc) - DAY)
    assert [finding.code for finding in lint(Policy({"a.test": yesterday}))] == ["expired"]


@pytest.mark.slow
def test_many_hosts() -> None:
    """A policy of 20,000 hosts is no trouble."""
    assert lint(Policy({f"h{number}.example.com": GOOD for number in range(20_000)}), now=NOW) == []
